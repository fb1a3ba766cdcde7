"""`demo`: the whole story, or the lab's promise: a message that was acknowledged is never lost, whatever is killed.

A hub of its own, in a temporary folder and gone afterwards; the vendors' SDKs on both sides of it.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iotedge_lab.cli.app import echo_lines, quiet_sdk_logs, service_variable_aside, table
from iotedge_lab.errors import DataError, EnvironmentProblem, LabError

if TYPE_CHECKING:
    from iotedge_lab.event_text import ShownEvent
    from iotedge_lab.lab import Lab

DEVICE = "demo-car"
BEFORE = 30  # rows sent before the hub is killed
ROWS = 60
_READ_SECONDS = 30.0


@click.command(short_help="Tell the whole story, or show that nothing is lost.")
@click.option(
    "--story",
    type=click.Choice(["loop", "nothing-lost"]),
    help="The loop from the cars to the model and back (the default), or the hub that is killed.",
)
@click.option(
    "--data",
    "data_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="nothing-lost: the rows to send (CSV with a header). Default: data/car.csv of the repository.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=BEFORE + 1),
    default=ROWS,
    show_default=True,
    help=f"nothing-lost: how many; {BEFORE} of them before the hub is killed.",
)
def demo(story: str | None, data_file: Path | None, rows: int) -> None:
    """Tell the whole story once, in about a minute and a half.

    Cars drive on edge devices, their messages fill a lake, a model is trained, registered and rolled out; then the cars
    are replaced, the error rises, and the loop turns again by itself until it falls. The hub, the edge devices and the
    lake are real, in a temporary folder; nothing is left running and nothing behind. Exit status 1 if an arrow does not
    turn.

    With --story nothing-lost: sends rows with azure.iot.device, kills the hub with SIGKILL halfway, starts it again,
    reads all of it back with azure.eventhub and compares. Exit status 1 if one message is missing or twice.
    """
    quiet_sdk_logs()
    if story is None:
        story = "loop" if data_file is None else "nothing-lost"  # whoever names rows wants them to be sent
    if story == "loop":
        _tell_the_loop()
        return
    sent = read_rows(data_file or find_car_data(Path.cwd()), rows)
    from iotedge_lab.lab import Lab
    from iotedge_lab.launch import Settings

    with (
        tempfile.TemporaryDirectory(prefix="iotedge-lab-demo-") as folder,
        service_variable_aside(),
        Lab.open(folder, ephemeral=True, settings=Settings(host=_out_of_the_way())) as lab,
    ):
        received = _journey(lab, sent)
    lines, fault = judged(sent, received)
    click.echo()
    echo_lines(lines)
    if fault:
        raise LabError(fault)


def _tell_the_loop() -> None:
    from iotedge_lab.cli.story import Numbers, Story
    from iotedge_lab.cli.telling import teller

    numbers = Numbers()
    with (
        tempfile.TemporaryDirectory(prefix="iotedge-lab-demo-") as folder,
        service_variable_aside(),
        teller(numbers) as told,
    ):
        found = Story(Path(folder), told.step, numbers=numbers, host=_out_of_the_way()).run()
        told.end(found.facts)


def find_car_data(here: Path) -> Path:
    """`data/car.csv` of `here` or of the repository that this package lies in; raises DataError."""
    tried = [here / "data" / "car.csv", Path(__file__).resolve().parents[2] / "data" / "car.csv"]
    for file in tried:
        if file.is_file():
            return file
    raise DataError(
        f"the car's data is not there: no {' and no '.join(map(str, dict.fromkeys(tried)))}. Run this in a clone of "
        "the repository, or name a CSV file with --data."
    )


def read_rows(file: Path, count: int) -> list[dict[str, str]]:
    """The first `count` rows of a CSV file as dictionaries by column; raises DataError."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey="")
            rows = [row for _, row in zip(range(count), reader, strict=False)]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{file} cannot be read as CSV: {getattr(error, 'strerror', None) or error}."
        ) from error
    if len(rows) < count:
        raise DataError(
            f"{file} has {len(rows)} rows, and {count} are needed; give fewer with --rows, or another file."
        )
    for number, row in enumerate(rows, 2):
        if "" in row or None in row.values():
            raise DataError(f"line {number} of {file} does not have the header's {len(columns)} columns.")
    return rows


def _journey(lab: Lab, rows: list[dict[str, str]]) -> list[ShownEvent]:
    """Send all rows with a crash after `BEFORE`, and read back what the hub has."""
    from iotedge_lab.cli.monitor import Watch, watch
    from iotedge_lab.rest import quote

    _step(f"the hub is up on {lab.hostname}")
    lab.rest().call("PUT", f"/devices/{quote(DEVICE)}", {"deviceId": DEVICE, "status": "enabled"})
    _step(f"registered {DEVICE}")
    client = _device_client(lab)
    from azure.iot.device import exceptions  # after _device_client has said what is wrong if it is not there

    try:
        _send(client, rows, range(BEFORE))
        _step(f"sent {BEFORE} rows, each acknowledged")
        lab.crash()
        _step("killed the hub (SIGKILL)")
        lab.start()
        _step("started it again, on what it had stored")
        _send(client, rows, range(BEFORE, len(rows)))
        _step(f"sent {len(rows) - BEFORE} more rows through the same client")
    except (exceptions.ClientError, exceptions.OperationTimeout, exceptions.OperationCancelled) as error:
        raise LabError(f"the device could not send: {error!r}. 'iotedge-lab doctor' may say more.") from error
    finally:
        client.shutdown()
    received: list[ShownEvent] = []
    watch(lab, Watch(from_start=True, count=len(rows), timeout=_READ_SECONDS), received.append)
    # Then whatever else is there: a message that came twice would be.
    total = int(lab.status()["messages"])
    if total > len(received):
        received.clear()
        watch(lab, Watch(from_start=True, count=total, timeout=_READ_SECONDS), received.append)
    _step(f"read {len(received)} messages back")
    return received


def _out_of_the_way() -> str | None:
    """An address that no other hub asks for, or None where there are no further ones (macOS).

    Others look from 127.0.0.1 on, and one that starts while ours is dead would take its place.
    """
    from iotedge_lab.hub.process import PORTS
    from iotedge_lab.serve.addresses import free_address

    try:
        return free_address(PORTS, first=100 + os.getpid() % 100)
    except LabError:
        return None


def _device_client(lab: Lab) -> Any:
    try:
        from azure.iot.device import IoTHubDeviceClient
    except ImportError as error:
        raise EnvironmentProblem(
            f"azure-iot-device cannot be imported ({error}): pip install azure-iot-device"
        ) from error
    return IoTHubDeviceClient.create_from_connection_string(
        lab.device_connection_string(DEVICE),
        server_verification_cert=lab.ca_file.read_text(encoding="utf-8"),
        connection_retry_interval=1,  # its default of 10 s would make the demo wait
    )


def _send(client: Any, rows: list[dict[str, str]], numbers: range) -> None:
    from azure.iot.device import Message

    for number in numbers:
        message = Message(  # type: ignore[no-untyped-call] # the SDK has no annotations
            json.dumps(rows[number]), content_encoding="utf-8", content_type="application/json"
        )
        message.message_id = str(number)
        client.send_message(message)  # returns when the hub has acknowledged it


def judged(sent: list[dict[str, str]], received: list[ShownEvent]) -> tuple[list[str], str]:
    """The summary's lines, and what is wrong in one sentence ('' if nothing is)."""
    times = Counter(str(event.system.get("message-id")) for event in received)
    wanted = {str(number): row for number, row in enumerate(sent)}
    missing = sum(times[number] == 0 for number in wanted)
    twice = sum(times[number] > 1 for number in wanted)
    altered = sum(
        json.loads(event.body) != wanted[name]
        for event in received
        if (name := str(event.system.get("message-id"))) in wanted
    )
    strange = sum(count for name, count in times.items() if name not in wanted)
    rows = [
        ("sent", str(len(sent))),
        ("received", str(len(received))),
        ("missing", str(missing)),
        ("more than once", str(twice)),
        ("altered", str(altered)),
        ("not ours", str(strange)),
    ]
    bad = [
        f"{count} {name}"
        for name, count in (
            ("missing", missing),
            ("more than once", twice),
            ("altered", altered),
            ("not ours", strange),
        )
        if count
    ]
    return table(rows), f"messages went wrong: {', '.join(bad)}." if bad else ""


def _step(what: str) -> None:
    click.echo(f"- {what}")
    sys.stdout.flush()
