"""The messages that arrive, from the built-in endpoint to every open page.

One reader for all pages (`azure.eventhub`, so a hub on Azure is read as well), which begins when the first page
listens. A page that does not keep up misses messages and is told how many; the reader waits for none.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.event_text import ShownEvent, behind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from azure.eventhub import EventData
    from azure.eventhub.aio import EventHubConsumerClient

log = logging.getLogger(__name__)

KEPT: Final = 200
BODY: Final = 2_000  # characters of a body that a page is sent
EACH: Final = 0.25  # s between two deliveries to a page
MOST: Final = 200  # messages in one delivery; of more, the latest
_ALONE: Final = 30.0  # s without a listener after which the reader ends
_AGAIN: Final = 1.0


class Listening:
    """The reader and its listeners; `connect` makes a client for the hub as it can be reached now."""

    def __init__(self, connect: Callable[[], EventHubConsumerClient]) -> None:
        self._connect = connect
        self._latest: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._arrived = 0
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._someone = asyncio.Event()  # listens
        # The SDK looks here whenever it opens a partition (again), so it is kept up to date.
        self._places: dict[str, str | int] = {}
        self.trouble = ""

    async def deliveries(self) -> AsyncIterator[dict[str, Any]]:
        """What has come since the last one, every `EACH` seconds, from now on: `events`, `skipped`, `trouble`.

        Also when nothing came (then without events), so that a page that has gone is noticed.
        """
        self._listeners += 1
        self._someone.set()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="portal-events")
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), 10.0)
            seen = self._arrived
            while True:
                new, seen = self._arrived - seen, self._arrived
                shown = min(new, MOST, len(self._latest))
                events = list(self._latest)[-shown:] if shown else []
                yield {"events": events, "skipped": new - shown, "trouble": self.trouble}
                await asyncio.sleep(EACH)
        finally:
            self._listeners -= 1
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
                    self.trouble = f"messages cannot be read: {str(error)[:200]}"
                    log.warning("%s", self.trouble)
                await asyncio.sleep(_AGAIN)
        finally:
            self._ready.clear()
            self._places.clear()

    async def _from(self, client: EventHubConsumerClient) -> None:
        """Read until there is no listener any more; raises what the SDK raises."""
        if not self._places:  # from now on; the SDK's own "@latest" would begin only when a link is open
            partitions = await client.get_partition_ids()
            ends = await asyncio.gather(*map(client.get_partition_properties, partitions))
            self._places.update(zip(partitions, map(behind, ends), strict=True))
        self._ready.set()
        self.trouble = ""
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
        self._places[context.partition_id] = event.sequence_number or 0
        self.trouble = ""
        self._arrived += 1
        self._latest.append({"n": self._arrived, "partition": context.partition_id, **shown(event)})

    async def _error(self, _: Any, error: Exception) -> None:
        self.trouble = f"messages cannot be read: {str(error)[:200]}"


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
        "source": str(seen.system.get("iothub-message-source", "")),
        "properties": {name: str(value) for name, value in seen.properties.items()},
        "body": text[:BODY],
        "bytes": len(seen.body),
        "encoding": encoding,
    }
