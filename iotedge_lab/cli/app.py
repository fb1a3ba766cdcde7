"""What the commands share: how errors end a command, `--state`, and which hub a command works on.

Exit status, for every command: 0 done; 1 it could not be done, and standard error says `error: ...`; 2 the
command line is wrong; 130 stopped by Ctrl-C. `status` and `doctor` say more in their help.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from iotedge_lab.errors import HubNotRunning, LabError

if TYPE_CHECKING:
    from iotedge_lab.lab import Lab

SERVICE_VARIABLE = "IOTHUB_CONNECTION_STRING"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_Command = TypeVar("_Command", bound=Callable[..., Any])


class LabGroup(click.Group):
    """A group whose commands end with a line and a status, never with a traceback for what is foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; `LabError` and `OSError` become `error: ...` and 1, Ctrl-C becomes 130."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            _end(ctx, f"{error}")
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except click.Abort as error:  # a prompt was left: by Ctrl-C, or because there is nobody to answer
            if isinstance(error.__context__, KeyboardInterrupt):
                ctx.exit(INTERRUPTED)
            _end(ctx, "a question had no answer; give --yes where nobody can answer.")
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # `| head` has seen enough: click ends quietly
            where = f": {error.filename}" if error.filename else ""
            _end(ctx, f"{error.strerror or error}{where}. 'iotedge-lab doctor' may say more.")


def _end(ctx: click.Context, message: str) -> None:
    click.echo(f"error: {message}", err=True)
    ctx.exit(1)


def state_option(command: _Command) -> _Command:
    """The option `--state DIR`, given to the command as `state_dir`."""
    return click.option(
        "--state",
        "state_dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="The hub's state folder. Default: $IOTEDGE_LAB_STATE, else a folder of the user's.",
    )(command)


def not_empty(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A click callback: refuse the empty string, which would name every device at once in a path."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty.")
    return value


def state_flag(state_dir: Path | None) -> str:
    """`--state DIR` as it must stand in a command that is advised, or nothing where it was not given."""
    return "" if state_dir is None else f" --state {shlex.quote(str(state_dir))}"


def local_lab(state_dir: Path | None) -> Lab:
    """The lab of the state folder's running hub; `HubNotRunning` with advice if it does not run."""
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.lab import Lab

    state = StateFolder(state_dir)
    if not state.locked():
        raise HubNotRunning(
            f"no hub runs on {state.path}. Start it with 'iotedge-lab up{state_flag(state_dir)}'."
        )
    with service_variable_aside():
        return Lab.open(state.path)


def target_lab(state_dir: Path | None) -> Lab:
    """The lab that a command on devices and events works on; nothing is started.

    Without `--state`, an `IOTHUB_CONNECTION_STRING` that leads beyond this machine names a hub on Azure. All else
    is the local hub of the state folder, as for `Lab.open`.
    """
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.lab import Lab, is_local

    asked = os.environ.get(SERVICE_VARIABLE)
    if state_dir is None and asked and not is_local(asked, StateFolder().read()):
        return Lab.open()  # attaches by the connection string, and starts nothing
    return local_lab(state_dir)


@contextlib.contextmanager
def service_variable_aside() -> Iterator[None]:
    """Without `IOTHUB_CONNECTION_STRING`, which would turn `Lab.open` to a hub elsewhere."""
    kept = os.environ.pop(SERVICE_VARIABLE, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[SERVICE_VARIABLE] = kept


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, two spaces between them and none at the end."""
    if not rows:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def echo_lines(lines: Sequence[str]) -> None:
    """Each line to standard output."""
    for line in lines:
        click.echo(line)


def quiet_sdk_logs() -> None:
    """Keep the SDKs' own log lines off the terminal: what matters of them, a command says itself."""
    import logging

    for name in ("azure", "uamqp", "paho"):
        logging.getLogger(name).addHandler(logging.NullHandler())
