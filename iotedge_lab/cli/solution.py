"""`solution`: the folder of an IoT Edge solution, scaffolded."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from iotedge_lab.cli.app import not_empty


@click.group(short_help="Begin a solution of your own.")
def solution() -> None:
    """Make the folder of an IoT Edge solution: a deployment manifest and modules that run."""


@solution.command(short_help="Make a solution.")
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--module", default="SampleModule", show_default=True, callback=not_empty, help="Its first module."
)
def new(folder: Path, module: str) -> None:
    """Make the solution NAME: a manifest, a module in Python, and a .env for the manifest's placeholders.

    NAME may be a path; the folder must not be there yet, or be empty.
    """
    from iotedge_lab.solution import new_solution

    for file in new_solution(folder, module):
        click.echo(f"created {file}")
    manifest = shlex.quote(str(folder / "deployment.template.json"))
    modules = shlex.quote(str(folder / "modules"))
    click.echo(f"\nRun it, simulated:  iotedge-lab simulator start -v -d {manifest}")
    click.echo("On an edge device:  iotedge-lab device create car1 --edge")
    click.echo(f"                    iotedge-lab edge deploy car1 {manifest}")
    click.echo(f"                    iotedge-lab edge up car1 --modules {modules}")


@solution.command(short_help="Add a module to one.")
@click.argument("module", metavar="NAME", callback=not_empty)
@click.option(
    "--solution",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    metavar="DIR",
    help="The solution's folder. Default: the current one.",
)
def add(module: str, folder: Path) -> None:
    """Add the module NAME to the solution in the current folder, with its entry and a route in the manifest."""
    from iotedge_lab.solution import add_module

    *made, manifest = add_module(folder, module)
    for file in made:
        click.echo(f"created {file}")
    click.echo(f"changed {manifest}: the module {module}, and the route {module}ToIoTHub")
