"""From the built-in endpoint to the tables: batches by time and size, one commit after another.

Messages are sorted into rows as they arrive, on the loop; a batch is written on a thread, while the next one fills. If
the tables fall behind, the endpoint is read no further until they have caught up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.lake import messages, sorting, status
from iotedge_lab.lake.endpoint import Ends, Reader
from iotedge_lab.lake.tables import Batch, application_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.lake.endpoint import LogFacts
    from iotedge_lab.lake.place import CaptureSettings
    from iotedge_lab.lake.tables import Tables

log = logging.getLogger(__name__)

_BYTES: Final = 16_000_000  # of bodies in a batch, at which it is written
_CLOSING: Final = 10.0  # s that the SDK may take to let go of its connections
_TURN: Final = 200  # messages that are sorted before the loop has its turn


class _Filling:
    """The batch that messages go into, and when they arrived."""

    def __init__(self) -> None:
        self.batch = Batch()
        self.messages = 0
        self.bytes = 0
        self.arrived: Counter[int] = Counter()
        self.since = 0.0


class Engine:
    """One capture. `run` it; `report` says how it is (on the loop's thread)."""

    def __init__(self, settings: CaptureSettings, tables: Tables, clock: Clock) -> None:
        self._settings = settings
        self._tables = tables
        self._clock = clock
        self._meter = status.Meter(clock.now())
        self._filling = _Filling()
        self._log = ""
        self._logs: dict[str, str] = {}  # by partition: the id, with the mark of a log that went back
        self._places: dict[str, int] = {}  # by partition: the last message that was taken
        self._stored: dict[str, int] = {}
        self._ends = Ends({})
        self._news = asyncio.Event()
        self._due = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ending = False
        self._thread = ThreadPoolExecutor(1, "tables")
        self.state = status.CONNECTING
        self.word = "It connects to the built-in endpoint."
        self.messages = 0
        self.missed = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Capture until `stop`; what was taken until then is written. Raises what the tables raise."""
        reading = asyncio.create_task(Reader(self._settings, self).run())
        writing = asyncio.create_task(self._write())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({reading, writing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            await asyncio.wait({reading}, timeout=_CLOSING)
            self._ending = True
            self._news.set()
            self._due.set()
            await writing
            if reading.done() and not reading.cancelled():
                reading.result()
        finally:
            for task in (reading, writing, stopping):
                task.cancel()
            await asyncio.gather(reading, writing, stopping, return_exceptions=True)
            self._thread.shutdown()

    # -- as the reader's sink ------------------------------------------------------------------------------

    async def begin(self, facts: LogFacts) -> Mapping[str, int]:
        """Where the tables are in this log."""
        if facts.log != self._log:
            await self._drained()
            self._log = facts.log
            self._logs, self._places, self._stored = {}, {}, {}
        for partition, end in facts.ends.last.items():
            if partition not in self._places or end < self._places[partition]:
                await self._drained()
                await self._settle(partition, end)
        self._ends = facts.ends
        if self.state != status.CAPTURING:
            log.info("capturing %s from %s", self._log, self._places)
        self.state, self.word = status.CAPTURING, ""
        return dict(self._places)

    async def _settle(self, partition: str, end: int) -> None:
        """Find the partition's id and place. A log that went back goes on under another id.

        A hub that lost its last messages (a power cut, a backup that was restored) gives their numbers to others. What
        is older than `end` is in the tables; what comes is new, though its numbers are not.
        """
        turn = 1
        name = self._log
        while self._tables.seen(application_id(f"{self._log}~{turn + 1}", partition)) is not None:
            turn += 1
            name = f"{self._log}~{turn}"
        seen = self._tables.seen(application_id(name, partition))
        if seen is not None and seen > end:
            name = f"{self._log}~{turn + 1}"
            log.warning(
                "partition %s went back from message %d to %d: it goes on as %s", partition, seen, end, name
            )
            mark = Batch()
            mark.first[application_id(name, partition)] = mark.last[application_id(name, partition)] = end
            await self._on_thread(self._tables.write, mark)
            seen = end
        self._logs[partition] = name
        self._places[partition] = self._stored[partition] = -1 if seen is None else seen

    async def take(self, partition: str, events: Sequence[Any]) -> None:
        """Sort messages into the batch."""
        name, number, place = self._logs[partition], int(partition), self._places[partition]
        application = application_id(name, partition)
        for done, event in enumerate(events, 1):
            sequence = int(event.sequence_number)
            if sequence <= place:
                continue  # the endpoint was opened again at an older place
            if sequence > place + 1:
                self._gap(partition, place, sequence)
            message = messages.of_event(number, event)
            table, row = sorting.sort(message, name)
            filling = self._filling  # another one after each turn of the loop
            if not filling.messages:
                filling.since = self._clock.monotonic()
                self._news.set()
            filling.batch.add(application, sequence, table, row)
            filling.messages += 1
            filling.bytes += len(message.body)
            filling.arrived[message.enqueued] += 1
            self._places[partition] = place = sequence
            if filling.messages >= self._settings.rows or filling.bytes >= _BYTES:
                self._due.set()
                self._room.clear()
                await self._room.wait()
            elif done % _TURN == 0:
                await asyncio.sleep(0)

    def _gap(self, partition: str, place: int, sequence: int) -> None:
        """Messages that are not there any more; those before the first one ever are not counted as missed."""
        if place < 0:
            return
        self.missed += sequence - place - 1
        log.warning(
            "%d messages of partition %s were gone from the hub, by age or by a reset, before they were read: %d to %d",
            sequence - place - 1,
            partition,
            place + 1,
            sequence - 1,
        )

    def ends(self, ends: Ends) -> set[str]:
        """Where the partitions end now; those of which there is more than has been taken."""
        self._ends = ends
        return {
            name for name, end in ends.last.items() if self._places[name] < end and name not in ends.empty
        }

    def retrying(self, word: str) -> None:
        """The endpoint does not answer."""
        self.state, self.word = status.RETRYING, word

    # -- writing -------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            if not self._filling.messages:
                if self._ending:
                    return
                self._news.clear()
                await self._news.wait()
                continue
            left = self._filling.since + self._settings.seconds - self._clock.monotonic()
            if left > 0 and not self._due.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._due.wait(), left)
            if not self._ending:
                self._due.clear()
            full, self._filling = self._filling, _Filling()
            self._room.set()
            await self._on_thread(self._tables.write, full.batch)
            now = self._clock.now()
            self._meter.add(now, ((now - ms / 1000, count) for ms, count in full.arrived.items()))
            self.messages += full.messages
            for partition, name in self._logs.items():
                last = full.batch.last.get(application_id(name, partition))
                if last is not None:
                    self._stored[partition] = last

    async def _drained(self) -> None:
        """Until all that was taken is in the tables."""
        while self._places != self._stored:
            self._due.set()
            await asyncio.sleep(0.01)

    async def _on_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # -- how it is -----------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """What a `Status` holds of it."""
        now = self._clock.now()
        places = {}
        for partition, name in self._logs.items():
            stored = self._stored[partition]
            end = self._places[partition] if partition in self._ends.empty else self._ends.last.get(partition)
            places[partition] = status.Place(name, stored, None if end is None else max(end, stored))
        return {
            "state": self.state,
            "word": self.word,
            "log": self._log,
            "rows": self._tables.rows(),
            "versions": self._tables.versions(),
            "messages": self.messages,
            "rate": round(self._meter.rate(now), 1),
            "lag": self._meter.lag(now),
            "missed": self.missed,
            "partitions": places,
        }
