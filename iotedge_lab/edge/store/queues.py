"""Store and forward: the queues between those who send and where it goes, durable, in order, at least once.

Stands for the message store of the open-source edgeHub and for "Extended offline capabilities"
(learn.microsoft.com, IoT Edge, offline-capabilities). What differs: a message for several endpoints is stored once
for each; what is over its time to live is dropped wherever it stands in a queue (the runtime looks at the front by
default); ages do not follow a clock that is set anew (`ageing`). How it is written is in `ledger`.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.store.ledger import Ledger, Queue, call
from iotedge_lab.edge.store.parcels import Entry, Lane, Parcel, QueueFigures
from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store.file import EdgeStore

log = logging.getLogger(__name__)

READ_BYTES: Final = 4 * 2**20  # a read ends here, whatever number was asked for
_SWEEP_MOST: Final = 4096  # rows that are over and are dropped in one turn
_TRIM_EVERY: Final = 60.0
_TELL_EVERY: Final = 60.0
_READ: Final = "SELECT id, enqueued, expires, topic, body FROM parcel WHERE id BETWEEN ? AND ? ORDER BY id"


class Queues:
    """All queues of an edge. `put` is durable when its `done` is called with None.

    Raises `EnvironmentProblem` where the file cannot be read.
    """

    def __init__(self, store: EdgeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._held: set[int] = set()
        self._listeners: dict[Lane, set[Callable[[int], None]]] = {}
        self._sweeping = False
        self._expired_told = self._refused_told = -math.inf
        self._expired_untold = self._refused_untold = 0
        self._trim_at = clock.monotonic()
        try:
            self._ledger = Ledger(store, clock, self._wake)
        except StoreUnavailable as error:
            raise EnvironmentProblem(error.message) from error

    # -- putting and removing --------------------------------------------------------------------------

    def put(self, entries: Sequence[Entry], done: Callable[[StoreUnavailable | None], None]) -> None:
        """Store these in this turn's transaction, all or none; `done(None)` once it is committed.

        `done` gets `StoreUnavailable` where the disk has no room. After it the lanes' listeners are called.
        Raises ValueError for a text that is none (half a surrogate pair): it must not refuse the others' messages.
        """
        self._ledger.put(entries, done)

    def remove(self, ids: Iterable[int]) -> None:
        """These are where they belong: not read any more, and deleted with this turn's transaction.

        Again does nothing.
        """
        ids = tuple(ids)
        self._held.difference_update(ids)
        self._ledger.remove(ids)

    def refuse(self, parcel: Parcel, reason: str) -> None:
        """Drop a parcel that its outlet will never take, and count it; a line a minute says why."""
        if parcel.id in self._ledger.gone:
            return
        monotonic = self._clock.monotonic()
        if monotonic >= self._refused_told + _TELL_EVERY:
            others = f" (and {self._refused_untold} before)" if self._refused_untold else ""
            log.warning(
                "a message of %d bytes for %s is dropped: %s%s", len(parcel.body), parcel.lane, reason, others
            )
            self._refused_told, self._refused_untold = monotonic, 0
        else:
            self._refused_untold += 1
        queue = self._ledger.queue_of(parcel.id)
        if queue is not None:
            self._ledger.count(queue, refused=1)
        self.remove((parcel.id,))

    def purge(self, endpoint: str, source: str | None = None) -> int:
        """Drop all that waits for an endpoint (from one source alone, where it is named); how many that were.

        Durable when this returns; the disk's room is given free bit by bit. Raises `StoreUnavailable`.
        """
        self._store.flush()  # what was put before goes with the rest
        found = [
            queue
            for queue in self._ledger.queues()
            if queue.lane.endpoint == endpoint and source in (None, queue.lane.source)
        ]
        heads = [self._head(queue) for queue in found]
        self._ledger.purge(found, [None if head is None else head[0] for head in heads])
        return sum(queue.length for queue in found)

    # -- reading ---------------------------------------------------------------------------------------

    def lanes(self) -> list[Lane]:
        """The lanes in which something waits."""
        return [
            lane for lane, queues in self._ledger.by_lane.items() if any(queue.length for queue in queues)
        ]

    def length(self, lane: Lane) -> int:
        """How many wait in a lane, in flight or not."""
        return sum(queue.length for queue in self._ledger.by_lane.get(lane, ()))

    def read(
        self,
        lane: Lane,
        after: Mapping[int, int] | None = None,
        count: int = 256,
        most_bytes: int = READ_BYTES,
    ) -> list[Parcel]:
        """Up to `count` parcels of a lane: by priority, in a priority in order.

        `after` has for a priority the id after which to read. Bodies of `most_bytes` end a read early, though
        not before the first parcel. What has expired is left out and dropped; where that is very much the read ends
        early too, and `tick` goes on with it. Raises `StoreUnavailable` where the first one cannot be read.
        """
        found: list[Parcel] = []
        expired: list[int] = []
        after = after or {}
        size = 0
        try:
            for queue in self._ledger.by_lane.get(lane, ()):
                if len(found) >= count or (found and size >= most_bytes) or len(expired) >= _SWEEP_MOST:
                    break
                if queue.length:
                    size += self._read(
                        queue, after.get(queue.priority, 0), (count, most_bytes - size), found, expired
                    )
        except StoreUnavailable:
            if not found:
                raise
        self._expire(expired)
        return found

    def _read(
        self, queue: Queue, after: int, most: tuple[int, int], found: list[Parcel], expired: list[int]
    ) -> int:
        """Read on in one queue; how many bytes came to `found`."""
        gone = self._ledger.gone
        now, shift = self._ledger.time.now(), self._ledger.time.shift
        start = gone.past(max(queue.low, after + 1))
        size = 0
        with self._store.reading(_READ, (start, queue.high)) as rows:
            for number, enqueued, expires, topic, body in rows:
                if number in gone:
                    continue
                if expires <= now:
                    expired.append(number)
                    if len(expired) >= _SWEEP_MOST:
                        break
                    continue
                size += len(body)
                found.append(
                    Parcel(number, queue.lane, queue.priority, topic, body, enqueued + shift, expires + shift)
                )
                if len(found) >= most[0] or size >= most[1]:
                    break
        return size

    @property
    def clock_steps(self) -> int:
        """How often the clock was set: the times of parcels that were read before belong to another clock."""
        self._ledger.time.now()
        return self._ledger.time.steps

    def still_waits(self, parcel: Parcel) -> bool:
        """Whether a parcel that was read is still to be delivered: not removed, purged or expired since."""
        if parcel.id in self._ledger.gone or self._ledger.queue_of(parcel.id) is None:
            return False
        if parcel.expires > self._clock.now():
            return True
        # Over, or the clock was set since it was read: the file knows.
        found = self._store.rows("SELECT expires FROM parcel WHERE id = ?", (parcel.id,))
        if found and found[0][0] > self._ledger.time.now():
            return True
        self._expire([parcel.id] if found else [])
        return False

    def hold(self, parcel_id: int) -> None:
        """Take a parcel as in flight: it does not expire until it is removed or released."""
        self._held.add(parcel_id)

    def release(self, ids: Iterable[int]) -> None:
        """These are in flight no more, and wait again."""
        self._held.difference_update(ids)

    # -- those who are told ----------------------------------------------------------------------------

    def listen(self, lane: Lane, wake: Callable[[int], None]) -> Callable[[], None]:
        """Call `wake(priority)` after each put to a lane, with the first to go of the priorities put.

        The answer takes it off again.
        """
        self._listeners.setdefault(lane, set()).add(wake)

        def stop() -> None:
            found = self._listeners.get(lane)
            if found is not None:
                found.discard(wake)
                if not found:
                    del self._listeners[lane]

        return stop

    def _wake(self, lanes: Mapping[Lane, int]) -> None:
        for lane, priority in lanes.items():
            for wake in tuple(self._listeners.get(lane, ())):
                call(wake, priority)

    def later(self, callback: Callable[[], None]) -> bool:
        """Have the loop call `callback` in its next turn; False if there is none."""
        return self._store.later(callback)

    # -- figures and housekeeping ----------------------------------------------------------------------

    def figures(self) -> list[QueueFigures]:
        """How each queue does that has ever had a message: empty ones too, for what they dropped.

        Raises `StoreUnavailable` where the file cannot be read.
        """
        now = self._ledger.time.now()
        made = []
        for queue in self._ledger.queues():
            head = self._head(queue)
            oldest = 0.0 if head is None else max(0.0, now - head[1])
            made.append(
                QueueFigures(queue.lane, queue.priority, queue.length, oldest, queue.expired, queue.refused)
            )
        return made

    def _head(self, queue: Queue) -> tuple[int, float] | None:
        """Id and time of the oldest one that is not gone; looked up when another has come to the front."""
        if not queue.length:
            return None
        gone = self._ledger.gone
        if queue.head is not None and queue.head[0] not in gone:
            return queue.head
        start = queue.low if queue.head is None else queue.head[0]
        while True:
            start = gone.past(start)
            found = self._store.rows(
                "SELECT id, enqueued FROM parcel WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
                (start, queue.high),
            )
            if not found or found[0][0] not in gone:
                queue.head = (found[0][0], found[0][1]) if found else None
                return queue.head
            start = found[0][0]

    def tick(self) -> None:
        """Once a second: drop what has expired, try again what failed, shorten the file when it is due."""
        if not self._sweeping:
            self._sweep()
        self._ledger.tidy()
        monotonic = self._clock.monotonic()
        if monotonic >= self._trim_at and not self._ledger.is_purging:
            self._trim_at = monotonic + _TRIM_EVERY
            self._store.trim()
        if self._expired_untold and monotonic >= self._expired_told + _TELL_EVERY:
            log.warning("%d waiting messages were dropped: their time to live was over", self._expired_untold)
            self._expired_told, self._expired_untold = monotonic, 0

    def _sweep(self) -> None:
        """Drop what is over, so much in one turn."""
        self._sweeping = False
        most = _SWEEP_MOST + len(self._held)
        try:
            rows = self._store.rows(
                "SELECT id FROM parcel WHERE expires <= ? LIMIT ?", (self._ledger.time.now(), most)
            )
        except StoreUnavailable as error:
            log.warning("what has expired was not looked for: %s", error)
            return
        over = [row[0] for row in rows if row[0] not in self._held and row[0] not in self._ledger.gone]
        self._expire(over)
        if over and len(rows) == most:
            self._sweeping = self._store.later(self._sweep)

    def _expire(self, ids: Sequence[int]) -> None:
        found = [(number, self._ledger.queue_of(number)) for number in ids]
        waiting = [(number, queue) for number, queue in found if queue is not None]  # not purged
        for _, queue in waiting:
            self._ledger.count(queue, expired=1)
        self._expired_untold += len(waiting)
        self._ledger.remove(number for number, _ in waiting)
