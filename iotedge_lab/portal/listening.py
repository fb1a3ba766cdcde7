"""The messages that arrive, from the built-in endpoint to every open page.

One reader for all pages (`azure.eventhub`, so a hub on Azure is read as well), which begins when the first page
listens, with the last messages that the hub has kept: what was sent a moment before a page was opened is on it too.
A page that does not keep up misses messages and is told how many; the reader waits for none.

A page's stream ends after `LIFE` seconds and the page asks again from its place: behind a proxy that does not pass on
that a page has gone, no stream stays for good.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.event_text import ShownEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from azure.eventhub import EventData
    from azure.eventhub.aio import EventHubConsumerClient

_SHOWN: Final = ("message-id", "correlation-id", "user-id", "content-type", "content-encoding")

log = logging.getLogger(__name__)

KEPT: Final = 200
BODY: Final = 2_000  # characters of a body that a page is sent
EACH: Final = 0.25  # s at least between two deliveries to a page
MOST: Final = 200  # messages in one delivery; of more, the latest
BEAT: Final = 5.0  # s after which a page is told that nothing came
LIFE: Final = 60.0  # s of a page's stream
_ALONE: Final = 30.0  # s without a listener after which the reader ends
_AGAIN: Final = 1.0
_BEGIN: Final = 10.0  # s to wait for the reader's first messages
_AWAY: Final = "The built-in endpoint cannot be reached; it is tried again every second."


class Listening:
    """The reader and its listeners; `connect` makes a client for the hub as it can be reached now.

    `life` and `beat`: see `LIFE` and `BEAT`.
    """

    def __init__(
        self, connect: Callable[[], EventHubConsumerClient], *, life: float = LIFE, beat: float = BEAT
    ) -> None:
        self._connect = connect
        self._life = life
        self._beat = beat
        self._latest: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._arrived = 0
        self._run = ""  # which beginning of the reader `_arrived` counts from
        self._listeners: set[asyncio.Event] = set()  # each set when there is something to tell
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._someone = asyncio.Event()  # listens
        # The SDK looks here whenever it opens a partition (again), so it is kept up to date.
        self._places: dict[str, str | int] = {}
        self._ends: dict[str, int] = {}  # where the partitions ended when the reader began
        self.trouble = ""

    async def deliveries(self, place: str = "") -> AsyncIterator[dict[str, Any]]:
        """What has come, when it comes: `events`, `skipped`, `trouble`, `earlier`, `place`.

        `place`: the last delivery's, to go on from there. Without one, or with one of before the reader began anew,
        the first delivery has all that is kept (`earlier`), the oldest first. Without events every `BEAT` seconds.
        """
        told = asyncio.Event()
        self._listeners.add(told)
        self._someone.set()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="portal-events")
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), _BEGIN)
            run, _, number = place.partition("-")
            ends = time.monotonic() + self._life
            while True:
                told.clear()
                known = run == self._run and number.isdecimal() and int(number) <= self._arrived
                new = self._arrived - int(number) if known else len(self._latest)
                shown = min(new, MOST, len(self._latest))
                events = list(self._latest)[-shown:] if shown else []
                run, number = self._run, str(self._arrived)
                yield {
                    "events": events if known else sorted(events, key=lambda each: str(each["time"])),
                    "skipped": new - shown if known else 0,
                    "trouble": self.trouble,
                    "earlier": not known,
                    "place": f"{run}-{number}",
                }
                if time.monotonic() > ends:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), self._beat)
                    await asyncio.sleep(EACH)
        finally:
            self._listeners.discard(told)
            if not self._listeners:
                self._someone.clear()

    async def close(self) -> None:
        """End the reader."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None

    async def _read(self) -> None:
        try:
            while self._listeners or await self._someone_comes():
                try:
                    async with self._connect() as client:
                        await self._from(client)
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, the page says it and it is tried again
                    self._places.clear()  # a hub that was reset counts anew
                    self._tell(error)
                    log.warning("messages cannot be read: %s", error)
                await asyncio.sleep(_AGAIN)
        finally:
            self._ready.clear()
            self._places.clear()

    async def _from(self, client: EventHubConsumerClient) -> None:
        """Read until there is no listener any more; raises what the SDK raises."""
        if not self._places:
            await self._begin(client)
        self._tell(None)
        receiving = asyncio.create_task(
            client.receive(
                on_event=self._event,
                on_error=self._error,
                starting_position=self._places,
                prefetch=50,
            )
        )
        try:
            while not receiving.done() and (self._listeners or await self._someone_comes()):
                await asyncio.wait({receiving}, timeout=1.0)
            if receiving.done():
                receiving.result()
        finally:
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await receiving

    async def _begin(self, client: EventHubConsumerClient) -> None:
        """Go back so far that `KEPT` messages come first, if there are so many; then the pages begin anew, too."""
        partitions = await client.get_partition_ids()
        found = await asyncio.gather(*map(client.get_partition_properties, partitions))
        self._places.update(
            (name, before(each, KEPT // len(partitions)))
            for name, each in zip(partitions, found, strict=True)
        )
        self._ends = {
            name: int(each["last_enqueued_sequence_number"])
            for name, each in zip(partitions, found, strict=True)
            if not each["is_empty"]
        }
        self._latest.clear()
        self._arrived = 0
        self._run = secrets.token_hex(4)
        if self._ends:
            self._ready.clear()
        else:
            self._ready.set()

    def _tell(self, error: Exception | None) -> None:
        """Have all pages know what is wrong, or that nothing is any more."""
        text = "" if error is None else _said(error)
        if text != self.trouble:
            self.trouble = text
            self._wake()
        if text:
            self._ready.set()  # nobody waits for what does not come

    def _wake(self) -> None:
        for told in self._listeners:
            told.set()

    async def _someone_comes(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._someone.wait(), _ALONE)
        return bool(self._listeners)

    async def _event(self, context: Any, event: EventData | None) -> None:
        if event is None:
            return
        place = self._places[context.partition_id]
        if isinstance(place, int) and (event.sequence_number or 0) <= place:
            return  # opened again at an older place
        number = self._places[context.partition_id] = event.sequence_number or 0
        self._tell(None)
        self._arrived += 1
        self._latest.append({"partition": context.partition_id, **shown(event)})
        if not self._ready.is_set():
            if number >= self._ends.get(context.partition_id, 0):
                self._ends.pop(context.partition_id, None)
            if not self._ends:
                self._ready.set()
        self._wake()

    async def _error(self, _: Any, error: Exception) -> None:
        self._tell(error)


def before(properties: Mapping[str, Any], count: int) -> str | int:
    """The place before a partition's last `count` events, from `get_partition_properties`."""
    if properties["is_empty"]:
        return "-1"
    first, last = properties["beginning_sequence_number"], properties["last_enqueued_sequence_number"]
    place = max(int(first) - 1, int(last) - count)
    return place if place >= 0 else "-1"


def _said(error: Exception) -> str:
    from azure.eventhub.exceptions import ConnectError, ConnectionLostError

    if "epoch" in str(error).lower():  # `owner_level`: as Event Hubs has it, that one reads alone
        return "Another program reads $Default exclusively (owner_level). Messages go on when it has ended."
    if isinstance(error, ConnectError | ConnectionLostError | OSError):
        return _AWAY
    return f"Messages cannot be read: {str(error)[:200]}"


def shown(event: EventData) -> dict[str, Any]:
    """A message as a page shows it; a body that is no text is in base64 (`encoding`), a long one is cut (`bytes`)."""
    seen = ShownEvent.of("", event)
    try:
        text, encoding = seen.body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(seen.body).decode(), "base64"
    return {
        "time": seen.enqueued.isoformat(timespec="milliseconds"),
        "device": seen.device_id,
        "module": seen.module_id,
        "sequence": seen.sequence_number,
        "source": str(seen.system.get("iothub-message-source", "")),
        "system": {
            name: str(seen.system[name]) for name in _SHOWN if seen.system.get(name) not in (None, "")
        },
        "properties": {name: str(value) for name, value in seen.properties.items()},
        "body": text[:BODY],
        "bytes": len(seen.body),
        "encoding": encoding,
    }
