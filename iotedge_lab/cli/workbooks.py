"""`lab`: JupyterLab on the workbooks, with the hub running and its variables set."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from iotedge_lab.cli import workspace
from iotedge_lab.cli.app import state_option
from iotedge_lab.errors import EnvironmentProblem, UsageError

#: Settings of ours for JupyterLab. Nothing here needs the network, so it looks for no update and no news, and does
#: not lay the question whether it may over the first notebook.
_CONFIG = Path(__file__).with_name("jupyter")


@click.command(
    short_help="Open JupyterLab on the workbooks.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
)
@state_option
@click.argument("jupyter_args", nargs=-1, type=click.UNPROCESSED, metavar="[JUPYTER ARGS]...")
@click.pass_context
def lab(ctx: click.Context, state_dir: Path | None, jupyter_args: tuple[str, ...]) -> None:
    """Open JupyterLab on the workbooks, with the local hub running.

    Starts the hub if it does not run, sets its variables (see 'iotedge-lab env') and becomes JupyterLab on the
    folder notebooks/ of the current directory, or of the repository that this package lies in. The hub runs on
    afterwards. With IOTHUB_CONNECTION_STRING set to a hub on Azure, nothing is started and the workbooks use that.

    \b
    Further arguments are JupyterLab's:
      iotedge-lab lab --no-browser --port 9999
    """  # noqa: D301 - click wants the character itself
    from iotedge_lab.lab import Lab

    notebooks = find_notebooks(Path.cwd())
    if find_spec("jupyterlab") is None:
        raise EnvironmentProblem(
            "JupyterLab is not installed in this environment. Install the workbooks' set: "
            "pip install 'iotedge-lab[workbook]'"
        )
    _check_jupyters_folder()
    opened = Lab.open(state_dir)
    click.echo(f"hub {opened.hostname}; workbooks {notebooks}")
    environment = os.environ | opened.env()
    before = environment.get("JUPYTER_CONFIG_PATH")
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, (before, str(_CONFIG))))
    if state_dir is not None:
        environment["IOTEDGE_LAB_STATE"] = str(opened.state_dir)
    command = jupyter_command(notebooks, jupyter_args, root=_is_root(), page=_page(notebooks))
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":  # exec there returns to the shell while the new program still runs
        ctx.exit(subprocess.call(command, env=environment))
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


def jupyter_command(
    notebooks: Path, arguments: tuple[str, ...], *, root: bool, page: str | None = None
) -> list[str]:
    """The command line: the person's arguments come last, so that they win. `page`: the first to be shown."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks}"]
    if page is not None:
        command.append(f"--LabApp.default_url={page}")
    if root and "--allow-root" not in arguments:
        command.append("--allow-root")  # JupyterLab refuses root without it: containers, CI
    return [*command, *arguments]


def _page(notebooks: Path) -> str | None:
    """The workspace with the first notebook and the portal side by side, where both are there to be shown."""
    if find_spec("jupyter_server_proxy") is None or not (notebooks / workspace.FIRST).exists():
        return None
    try:
        return workspace.offer("")
    except OSError as error:
        click.echo(f"note: JupyterLab opens without its workspace: {error}", err=True)
        return None


def _check_jupyters_folder() -> None:
    """That JupyterLab can keep what it needs while it runs; raises EnvironmentProblem, where it would a traceback."""
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(jupyter_runtime_dir())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise EnvironmentProblem(
            f"JupyterLab keeps files in {folder}, which cannot be written ({reason}). Set HOME to a folder of yours "
            "that can, for example: export HOME=/tmp/home"
        )


def find_notebooks(here: Path) -> Path:
    """The folder of workbooks: `notebooks/` of `here`, `here` itself, or beside the package. Raises UsageError."""
    beside = Path(__file__).resolve().parents[2] / "notebooks"
    tried = [here / "notebooks", *([here] if here.name == "notebooks" else []), beside]
    for folder in tried:
        if folder.is_dir() and next(folder.glob("*.ipynb"), None) is not None:
            return folder.resolve()
    raise UsageError(
        "no workbooks were found: there is no *.ipynb in "
        + " or ".join(str(folder) for folder in dict.fromkeys(tried))
        + ". Run this in a clone of the repository; the installed package alone holds no workbooks."
    )


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
