"""`monitor`: what arrives at the built-in endpoint, printed as VS Code's Azure IoT Hub extension prints it.

The reader is the vendor's `azure.eventhub`, so the same command watches a hub on Azure. What an event looks
like is `event_text`'s; here is when to start, and when to stop.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from iotedge_lab.cli.app import not_empty, quiet_sdk_logs, state_option, target_lab
from iotedge_lab.errors import EnvironmentProblem, LabError, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from iotedge_lab.event_text import ShownEvent
    from iotedge_lab.lab import Lab

_BALANCE_SECONDS = 3.0  # how soon a partition whose connection broke for good is opened again


@click.command(short_help="Print messages as they arrive.")
@state_option
@click.option(
    "--device",
    "device_id",
    metavar="ID",
    callback=not_empty,
    help="Only what this device and its modules send.",
)
@click.option("--from-start", is_flag=True, help="All that the endpoint has kept, then what comes.")
@click.option(
    "--consumer-group",
    default="$Default",
    metavar="G",
    show_default=True,
    callback=not_empty,
    help="Read as this consumer group.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, for programs; nothing else is printed."
)
@click.option("--properties", is_flag=True, help="Also each message's application and system properties.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Stop after S seconds; with --count, fail if fewer than N have come.",
)
def monitor(
    *,
    state_dir: Path | None,
    device_id: str | None,
    from_start: bool,
    consumer_group: str,
    as_json: bool,
    properties: bool,
    count: int | None,
    timeout: float | None,
) -> None:
    """Print each device-to-cloud message as it arrives, until Ctrl-C.

    It begins with the first message that arrives after the line 'Created partition receiver', or with --from-start
    with the oldest kept. A hub that is stopped and started again meanwhile loses nothing here.

    A body that is JSON is shown indented, other text as a JSON string, and anything else in base64. With --json
    each line has body and bodyEncoding (json, text or base64), who sent it, when, and all properties.
    """
    quiet_sdk_logs()
    lab = target_lab(state_dir)
    check_group(lab, consumer_group)
    wanted = Watch(device_id, from_start, consumer_group, count, timeout)
    if as_json:

        def show(event: ShownEvent) -> None:
            click.echo(json.dumps(event.to_json()))
    else:
        click.echo(
            "[IoTHubMonitor] Start monitoring message arrived in built-in endpoint for "
            f"{f'device [{device_id}]' if device_id else 'all devices'} ..."
        )

        def show(event: ShownEvent) -> None:
            click.echo(event.text(properties=properties))

    def opened(partitions: list[str]) -> None:
        if not as_json:
            for number in partitions:
                click.echo(
                    f"[IoTHubMonitor] Created partition receiver [{number}] for consumerGroup [{consumer_group}]"
                )

    seen = watch(lab, wanted, show, opened)
    if count is not None and seen < count:
        raise LabError(f"only {seen} of {count} messages came within {timeout:g} s.")


@dataclass(frozen=True, slots=True)
class Watch:
    """What to read and when to stop. `timeout` is in seconds; None: until interrupted."""

    device_id: str | None = None
    from_start: bool = False
    consumer_group: str = "$Default"
    count: int | None = None
    timeout: float | None = None


def watch(
    lab: Lab,
    wanted: Watch,
    show: Callable[[ShownEvent], None],
    opened: Callable[[list[str]], None] = lambda _partitions: None,
) -> int:
    """Call `show` with each event; how many there were when `count` or `timeout` ended it.

    `opened` is called with the partitions once the places to read from are settled: what arrives from then on
    is shown. Raises `EnvironmentProblem` if the endpoint refuses or cannot be reached.
    """
    try:
        from azure.eventhub.exceptions import EventHubError
    except ImportError as error:
        raise EnvironmentProblem(
            f"azure-eventhub cannot be imported ({error}): pip install azure-eventhub"
        ) from error
    import asyncio

    reading = _Reading(wanted, show)
    try:
        asyncio.run(reading.run(lab, opened))
    except EventHubError as error:
        said = " ".join(str(error).split())
        raise EnvironmentProblem(
            f"the built-in endpoint of {lab.hostname} cannot be read: {said[:400]}"
        ) from error
    return reading.seen


@dataclass(slots=True)
class _Reading:
    wanted: Watch
    show: Callable[[ShownEvent], None]
    seen: int = 0
    # The SDK looks a partition's place up here whenever it opens it (again), so it is kept up to date.
    places: dict[str, str | int] = field(default_factory=dict)
    complaint: str = ""

    async def run(self, lab: Lab, opened: Callable[[list[str]], None]) -> None:
        import asyncio

        from azure.eventhub.aio import EventHubConsumerClient

        from iotedge_lab.event_text import behind

        client = EventHubConsumerClient.from_connection_string(
            lab.events_connection_string,
            consumer_group=self.wanted.consumer_group,
            eventhub_name=lab.events_name,
            load_balancing_interval=_BALANCE_SECONDS,
            retry_total=2,
        )
        started = time.monotonic()
        try:
            partitions = sorted(await client.get_partition_ids(), key=lambda each: (len(each), each))
            if self.wanted.from_start:
                self.places.update(dict.fromkeys(partitions, "-1"))
            else:
                # The place after the last event: what comes from now on, with no gap.
                found = await asyncio.gather(*map(client.get_partition_properties, partitions))
                self.places.update(zip(partitions, map(behind, found), strict=True))
            opened(list(self.places))
            done = asyncio.get_running_loop().create_future()
            receiving = asyncio.ensure_future(
                client.receive(
                    self._receiver(done),
                    starting_position=self.places,
                    on_error=self._complain,
                )
            )
            left = None if self.wanted.timeout is None else self.wanted.timeout - (time.monotonic() - started)
            try:
                await asyncio.wait({done, receiving}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)
            if done.done():
                done.result()  # raises what showing an event raised, a closed pipe for one
        finally:
            await client.close()

    def _receiver(self, done: asyncio.Future[None]) -> Callable[[Any, Any], Any]:
        async def on_event(partition: Any, event: Any) -> None:
            from iotedge_lab.event_text import ShownEvent

            if event is None or done.done():
                return
            place = self.places[partition.partition_id]
            if isinstance(place, int) and event.sequence_number <= place:
                return  # opened again at an older place: this one was shown
            self.places[partition.partition_id] = event.sequence_number
            self.complaint = ""
            shown = ShownEvent.of(partition.partition_id, event)
            if self.wanted.device_id is not None and shown.device_id != self.wanted.device_id:
                return
            try:
                self.show(shown)
            except Exception as error:  # noqa: BLE001 - handed on through the future; the SDK would swallow it
                done.set_exception(error)
                return
            self.seen += 1
            if self.seen == self.wanted.count:
                done.set_result(None)

        return on_event

    async def _complain(self, partition: Any, error: Exception) -> None:
        """The SDK gave up on a partition for now; it tries again within seconds. Say so once a spell."""
        said = " ".join(str(error).split())[:200]
        if said != self.complaint:
            self.complaint = said
            where = "" if partition is None else f" (partition {partition.partition_id})"
            click.echo(f"note: the endpoint does not answer{where}, trying again: {said}", err=True)
            sys.stderr.flush()


def check_group(lab: Lab, group: str) -> None:
    """Refuse a consumer group that the local hub does not have; the SDK would try for half a minute."""
    if not lab.is_local:
        return
    there = lab.rest().call("GET", "/lab/consumer-groups")
    if group.lower() not in {each.lower() for each in there}:
        raise UsageError(
            f"there is no consumer group {group!r}; there are {', '.join(there)}. "
            f"Make it with 'iotedge-lab consumer-group create {group}'."
        )
