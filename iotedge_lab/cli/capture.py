"""`capture`: what arrives at the hub, kept in Delta tables. `iotedge_lab.lake` does the work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import echo_lines, not_empty, state_flag, state_option, table, target_lab
from iotedge_lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iotedge_lab.capture import Capture

NOT_RUNNING = 3


@click.group(short_help="Keep what arrives in Delta tables.")
def capture() -> None:
    """Write what arrives at the built-in endpoint into Delta tables: telemetry, predictions, detections, rejected.

    Each message becomes one row of one table, however often the capture is stopped or killed. A second capture of one
    lake is refused.
    """


@capture.command(short_help="Start it.")
@state_option
@click.option(
    "--lake",
    metavar="WHERE",
    callback=not_empty,
    help="A folder, or the URL of an object store (abfss://, s3://, gs://). Default: lake in the state folder.",
)
@click.option(
    "--storage-option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="For an object store, as deltalake knows it. Keys are better left in the environment.",
)
@click.option(
    "--consumer-group",
    default="$Default",
    metavar="G",
    show_default=True,
    callback=not_empty,
    help="Read as this consumer group.",
)
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(0.05, 3600),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Write what has arrived after S seconds. More seconds make fewer versions and files.",
)
@click.option(
    "--keep-versions",
    type=click.IntRange(100, 1_000_000),
    default=3_000,
    show_default=True,
    metavar="N",
    help="How many of a table's newest versions can be read, besides those that are held.",
)
def start(
    *,
    state_dir: Path | None,
    lake: str | None,
    options: Sequence[str],
    consumer_group: str,
    seconds: float,
    keep_versions: int,
) -> None:
    """Start the capture of the local hub, or of the hub on Azure that the environment names.

    It goes on until 'capture stop', over restarts of the hub. One that runs otherwise than is asked for here is
    started anew.
    """
    from iotedge_lab.cli.monitor import check_group

    lab = target_lab(state_dir)
    check_group(lab, consumer_group)
    made = _handle(state_dir)
    made.open(
        lab.events_connection_string,
        lake=lake,
        storage_options=_options(options),
        events_name=lab.events_name,
        group=consumer_group,
        seconds=seconds,
        keep_versions=keep_versions,
    )
    click.echo(f"capturing {lab.hostname} into {made.lake.uri}")


@capture.command(short_help="Say how far it is.")
@state_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def status(ctx: click.Context, state_dir: Path | None, as_json: bool) -> None:
    """Say how many rows each table has, how late they come, and what stands in the way if something does.

    Exit status: 0 it captures; 3 it does not run; 1 it runs, and the hub does not answer.
    """
    from iotedge_lab.lake.status import CAPTURING, FAILED, Status

    made = _handle(state_dir)
    running = made.is_running  # before what it says: a last word may come between
    found = Status.read(made.folder.status_file)
    if as_json:
        click.echo(json.dumps({"running": running, **(found.to_json() if found else {})}))
    elif found is None:
        click.echo("capture  never ran here")
    else:
        state = found.state if running or not found.is_running else "was killed"
        rows = [("capture", f"{state}. {found.word}" if found.word else state), ("lake", found.lake)]
        rows += [
            (name, f"{count:,} rows, version {found.versions.get(name, 0)}")
            for name, count in sorted(found.rows.items())
        ]
        if running:
            rows.append(("messages a second", f"{found.rate:,.0f}"))
            if found.lag is not None:
                rows.append(("late", f"{found.lag.p50:.1f} s, 99 of 100 within {found.lag.p99:.1f} s"))
            rows.append(("not yet written", "not known" if found.behind is None else f"{found.behind:,}"))
            rows.append(("memory", f"{found.memory:.0f} MB"))
        if found.missed:
            rows.append(("gone from the hub", f"{found.missed:,} messages, before they were read"))
        echo_lines(table(rows))
    if not running:
        failed = found is not None and found.state == FAILED
        if not (as_json or failed):
            click.echo(f"Start it with 'iotedge-lab capture start{state_flag(state_dir)}'.", err=True)
        ctx.exit(NOT_RUNNING)
    if found is not None and found.state != CAPTURING:
        ctx.exit(1)


@capture.command(short_help="Stop it.")
@state_option
def stop(state_dir: Path | None) -> None:
    """Stop the capture; what it has read is written first. Stopping one that does not run is no error."""
    made = _handle(state_dir)
    if not made.stop():
        click.echo("no capture runs")
        return
    found = made.status()
    if found.state == "failed":
        raise LabError(f"it had failed: {found.word}")
    click.echo(f"stopped; {sum(found.rows.values()):,} rows are in {found.lake}")


def _handle(state_dir: Path | None) -> Capture:
    from iotedge_lab.capture import Capture
    from iotedge_lab.hub.state import StateFolder

    return Capture(StateFolder(state_dir).path)


def _options(given: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if any(not (name and equals) for name, equals, _ in pairs):
        raise UsageError(
            "A storage option is NAME=VALUE, such as --storage-option azure_storage_account_name=mine."
        )
    return {name: value for name, _, value in pairs}
