"""`fleet`: many cars against the hub, with a live line of how it goes.

The cars are `iotedge_lab.fleet`'s; here are the question before a hub on Azure is flooded, the display, and
what is said at the end.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import not_empty, state_option, target_lab
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.fleet import Fleet, FleetStatus, FleetSummary

_SHOWN = 3  # refused cars named one by one; the rest are counted
_ERASE = "\r\x1b[2K"


@click.command(short_help="Drive many cars at once.")
@state_option
@click.option("--cars", type=click.IntRange(1, 20_000), default=20, show_default=True, help="How many.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    help="Messages a second of each car.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Stop S seconds after the cars have set off. Default: Ctrl-C stops them.",
)
@click.option(
    "--prefix",
    default="car-",
    show_default=True,
    callback=not_empty,
    help="The devices are PREFIX0001, PREFIX0002, ...",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="How many processes to spread the cars over.",
)
@click.option(
    "--simulate",
    type=click.IntRange(min=0),
    metavar="SEED",
    help="A simulated drive of its own for each car (takes some seconds for a hundred), not a shipped one.",
)
@click.option("--remove", is_flag=True, help="At the end delete the devices that a fleet has made.")
@click.option("--yes", is_flag=True, help="Do not ask before a hub on Azure is used.")
def fleet(
    *,
    state_dir: Path | None,
    cars: int,
    rate: float,
    seconds: float | None,
    prefix: str,
    processes: int,
    simulate: int | None,
    remove: bool,
    yes: bool,
) -> None:
    """Drive many cars against the hub, each a device of its own, and show how it keeps up.

    Each car replays a drive from a place of its own and sends a row a beat: JSON, with the properties driveId and,
    for hard braking, alert. The devices are registered in bulk with the tag iotedgeLab; those that are there
    already are taken as they are. A car that loses the hub comes back by itself and sends again what was not
    acknowledged.

    Latency is from sending a message to its acknowledgement, over the last three seconds. Ctrl-C lets the cars
    disconnect in order and sums up. On Azure messages are paid for, so this asks first.
    """
    from iotedge_lab.fleet import Demand, Fleet

    lab = target_lab(state_dir)
    made = Fleet(lab, cars=cars, rate=rate, prefix=prefix, processes=processes, simulate=simulate, yes=True)
    if not made.on_this_machine:
        click.echo(f"{lab.hostname} is not on this machine. {Demand.of(made.plan, seconds).text()}")
        if not yes and not click.confirm("Send them?"):
            raise LabError("nothing was sent.")
    try:
        _drive(made, seconds)
    finally:
        if remove:
            click.echo(f"deleted {made.remove():,} devices")


def _drive(made: Fleet, seconds: float | None) -> None:
    """Register, drive, and say how it was; raises what went wrong, KeyboardInterrupt too."""
    names = made.register()
    which = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    click.echo(f"{len(names):,} devices are registered: {which}")
    show = _Display()
    try:
        summary = made.run(seconds, show, show.interval)
    except KeyboardInterrupt:
        show.close()
        _sum_up(made.stop())
        raise
    except BaseException:
        show.close()
        raise
    show.close()
    _sum_up(summary)
    if summary.unacknowledged:
        raise LabError(
            f"{summary.unacknowledged:,} messages were not acknowledged: the hub may have them or not. "
            "'iotedge-lab status' shows whether it runs."
        )


class _Display:
    """One line that changes in place on a terminal, and a line a second where output goes elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self.interval = 0.25 if self._live else 1.0
        self._open = False

    def __call__(self, status: FleetStatus) -> None:
        line = status_line(status)
        if self._live:
            width = shutil.get_terminal_size().columns
            click.echo(f"{_ERASE}{line[: width - 1]}", nl=False)
            self._open = True
        else:
            click.echo(line)
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the last line standing."""
        if self._open:
            click.echo()
            self._open = False


def status_line(status: FleetStatus) -> str:
    """How it goes, in one line."""
    clock = f"{int(status.seconds) // 60}:{int(status.seconds) % 60:02}"
    parts = [f"{clock:>6}", f"{status.connected:,}/{status.cars:,} connected"]
    if status.refused:
        parts.append(f"{status.refused:,} refused")
    if status.trouble and status.connected + status.refused < status.cars:
        parts.append(status.trouble)
    if status.seconds:
        parts += [
            f"{status.rate:,.0f}/s",
            f"p50 {_ms(status.p50_ms)}",
            f"p99 {_ms(status.p99_ms)}",
            f"{status.in_flight:,} in flight",
            f"{status.acknowledged:,} acknowledged",
        ]
    if status.reconnects:
        parts.append(f"{status.reconnects:,} reconnects")
    return "  ".join(parts)


def _sum_up(summary: FleetSummary) -> None:
    """The whole run to standard output, what went wrong to standard error."""
    click.echo(
        f"sent {summary.sent:,}, acknowledged {summary.acknowledged:,} in {summary.seconds:.1f} s "
        f"({summary.rate:,.0f} messages/s)"
    )
    click.echo(
        f"latency p50 {_ms(summary.p50_ms)}, p99 {_ms(summary.p99_ms)}, longest {_ms(summary.longest_ms)}; "
        f"{summary.reconnects:,} reconnects"
    )
    refused = summary.refused
    for car in refused[:_SHOWN]:
        click.echo(f"note: {car.device} was refused: {car.refusal}", err=True)
    if len(refused) > _SHOWN:
        click.echo(f"note: and {len(refused) - _SHOWN:,} more cars were refused", err=True)
    cut_off = summary.cut_off
    if cut_off:
        click.echo(
            f"note: {len(cut_off):,} cars had no connection at the end: {cut_off[0].trouble}", err=True
        )
    if summary.held:
        click.echo(
            f"note: {summary.held:,} rows were due when they could not be sent, and the drives waited",
            err=True,
        )


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"
