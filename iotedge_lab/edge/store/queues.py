"""Store and forward: the queues between those who send and where it goes, durable, in order, at least once.

Stands for the message store and endpoint executors of the open-source edgeHub and for "Extended offline
capabilities" (learn.microsoft.com, IoT Edge, offline-capabilities). What differs: a message for several endpoints
is stored once for each; what is over its time to live is dropped wherever it stands in a queue (the runtime looks
at the front by default); ages do not follow a clock that is set anew (`ageing`).

What is stored is the truth. In memory are a few numbers for each queue, and spans of ids that are gone and not yet
deleted: deletions join the group commit. A kill between the acknowledgement of a message and its deletion has it
sent again.

A full disk refuses what is put; it does not stop what goes out. The deletions that such a disk refuses are tried
again with each write and `tick`.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.store.ageing import SteadyTime
from iotedge_lab.edge.store.parcels import QUEUES_MOST, SEQUENCE_BITS, Entry, Lane, Parcel, QueueFigures
from iotedge_lab.edge.store.spans import Spans
from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store.file import EdgeStore

log = logging.getLogger(__name__)

READ_BYTES: Final = 4 * 2**20  # a read ends here, whatever number was asked for
_PURGE_MOST: Final = 4096  # rows a transaction, so that no message waits long behind a large deletion
_SWEEP_MOST: Final = 4096  # rows that are over and are dropped in one turn
_TRIM_EVERY: Final = 60.0
_TELL_EVERY: Final = 60.0
_SHIFT_KEY: Final = "clock_shift"
_READ: Final = "SELECT id, enqueued, expires, topic, body FROM parcel WHERE id BETWEEN ? AND ? ORDER BY id"


@dataclass(slots=True)
class _Queue:
    """The queue of one lane and priority."""

    number: int
    lane: Lane
    priority: int
    next: int  # the id that the next parcel gets
    length: int = 0
    expired: int = 0
    refused: int = 0
    head: tuple[int, float] | None = None  # id and time of the oldest, where known

    @property
    def low(self) -> int:
        return self.number << SEQUENCE_BITS

    @property
    def high(self) -> int:
        return ((self.number + 1) << SEQUENCE_BITS) - 1


class Queues:
    """All queues of an edge. `put` is durable when its `done` is called with None."""

    def __init__(self, store: EdgeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._queues: dict[int, _Queue] = {}
        self._by_key: dict[tuple[Lane, int], _Queue] = {}
        self._by_lane: dict[Lane, list[_Queue]] = {}  # the first to go first
        self._gone = Spans()  # delivered, expired or refused: deleted with the next transaction
        self._purged = Spans()  # of queues that are no more: deleted bit by bit
        self._held: set[int] = set()
        self._counted: set[int] = set()  # numbers of queues whose counts are to be written
        self._listeners: dict[Lane, set[Callable[[int], None]]] = {}
        self._pending: list[tuple[Sequence[Entry], Callable[[StoreUnavailable | None], None]]] = []
        self._writing: list[tuple[Sequence[Entry], Callable[[StoreUnavailable | None], None]]] = []
        self._fresh: dict[tuple[Lane, int], _Queue] = {}  # begun in the transaction that is being written
        self._put: dict[int, list[int]] = {}  # by queue: how many, and the next id
        self._deleted: list[tuple[int, int, int]] = []  # first, last, how many there were
        self._cleared: list[tuple[int, int]] = []  # the same of what was purged
        self._enlisted = False
        self._stuck = False
        self._sweeping = False
        self._told_at = -math.inf
        self._untold = 0
        self._trim_at = clock.monotonic()
        try:
            shift = store.rows("SELECT value FROM meta WHERE key = ?", (_SHIFT_KEY,))
            self._time = SteadyTime(clock, float(shift[0][0]) if shift else 0.0)
            self._load()
        except StoreUnavailable as error:
            raise EnvironmentProblem(error.message) from error

    def _load(self) -> None:
        for number, endpoint, source, priority, expired, refused in self._store.rows(
            "SELECT number, endpoint, source, priority, expired, refused FROM queue"
        ):
            queue = _Queue(number, Lane(endpoint, source), priority, number << SEQUENCE_BITS)
            queue.expired, queue.refused = expired, refused
            self._add(queue)
        self._next_number = max(self._queues, default=0) + 1
        last = -math.inf
        # Walks the small index on `expires`, not the messages.
        for number, count, first, final in self._store.rows(
            f"SELECT id >> {SEQUENCE_BITS}, COUNT(*), MIN(id), MAX(id) FROM parcel GROUP BY 1"
        ):
            known = self._queues.get(number)
            if known is None:
                self._purged.add(first, final)
                self._next_number = max(self._next_number, number + 1)
                continue
            known.length, known.next = count, final + 1
            last = max(last, self._store.rows("SELECT enqueued FROM parcel WHERE id = ?", (final,))[0][0])
        self._time.resume(last)
        if self._purged or self._time.unsaved:
            self._enlist()

    def _add(self, queue: _Queue) -> None:
        self._queues[queue.number] = queue
        self._by_key[(queue.lane, queue.priority)] = queue
        lane = self._by_lane.setdefault(queue.lane, [])
        lane.append(queue)
        lane.sort(key=lambda one: one.priority)

    # -- putting and removing --------------------------------------------------------------------------

    def put(self, entries: Sequence[Entry], done: Callable[[StoreUnavailable | None], None]) -> None:
        """Store these in this turn's transaction, all or none; `done(None)` once it is committed.

        `done` gets `StoreUnavailable` where the disk has no room. After it the lanes' listeners are called.
        Raises ValueError for a text that is none (half a surrogate pair): it must not refuse the others' messages.
        """
        for entry in entries:
            for text in (entry.topic, entry.lane.endpoint, entry.lane.source):
                if not text.isascii():
                    text.encode()
        self._pending.append((entries, done))
        self._enlist()

    def remove(self, ids: Iterable[int]) -> None:
        """These are where they belong: read no more, and deleted with a coming transaction. Again does nothing."""
        for number in ids:
            self._gone.add(number)
            self._held.discard(number)
        if self._gone:
            self._enlist()

    def refuse(self, parcel: Parcel, reason: str) -> None:
        """Drop a parcel that its outlet will never take, and count it."""
        if parcel.id in self._gone:
            return
        log.warning(
            "a message of %d bytes for %s is dropped: %s", len(parcel.body), parcel.lane.endpoint, reason
        )
        queue = self._queues.get(parcel.id >> SEQUENCE_BITS)
        if queue is not None:
            queue.refused += 1
            self._counted.add(queue.number)
        self.remove((parcel.id,))

    def purge(self, endpoint: str, source: str | None = None) -> int:
        """Drop all that waits for an endpoint (from one source alone, where it is named); how many that were.

        Durable when this returns; the disk's room is given free bit by bit. Raises `StoreUnavailable`.
        """
        self._store.flush()  # what was put before goes with the rest
        found = [
            queue
            for queue in self._queues.values()
            if queue.lane.endpoint == endpoint and source in (None, queue.lane.source)
        ]
        with self._store.transaction() as db:
            db.executemany("DELETE FROM queue WHERE number = ?", [(queue.number,) for queue in found])
        for queue in found:
            head = self._head(queue)
            del self._queues[queue.number]
            del self._by_key[(queue.lane, queue.priority)]
            self._by_lane[queue.lane].remove(queue)
            if not self._by_lane[queue.lane]:
                del self._by_lane[queue.lane]
            if head is not None:
                self._purged.add(head[0], queue.next - 1)
        if self._purged:
            self._enlist()
        return sum(queue.length for queue in found)

    def _enlist(self) -> None:
        if not self._enlisted:
            self._enlisted = True
            self._store.enlist(self)

    # -- the group commit (`broker.store.Participant`) -------------------------------------------------

    def write(self, db: sqlite3.Connection) -> None:
        """Delete what is gone, then insert what was put: the pages that fall free are used again."""
        self._enlisted = False
        self._writing, self._pending = self._pending, []
        self._tidy(db)
        if self._writing:
            self._insert(db)
        self._save_shift(db)

    def _tidy(self, db: sqlite3.Connection) -> None:
        self._delete(db)
        for number in self._counted:
            queue = self._queues.get(number)
            if queue is not None:
                db.execute(
                    "UPDATE queue SET expired = ?, refused = ? WHERE number = ?",
                    (queue.expired, queue.refused, number),
                )

    def _save_shift(self, db: sqlite3.Connection) -> None:
        if self._time.unsaved:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SHIFT_KEY, repr(self._time.shift)))

    def _delete(self, db: sqlite3.Connection) -> None:
        self._deleted = [(first, last, _delete(db, first, last)) for first, last in self._gone]
        self._cleared = []
        room = _PURGE_MOST if self._store.has_loop else math.inf
        for first, last in self._purged:
            begin: int | None = first
            while room > 0 and begin is not None:
                final = min(last, begin + _PURGE_MOST - 1)
                room -= _delete(db, begin, final)
                # What expired or was delivered has left gaps, wide ones too: step over them.
                begin = db.execute(
                    "SELECT MIN(id) FROM parcel WHERE id BETWEEN ? AND ?", (final + 1, last)
                ).fetchone()[0]
                self._cleared.append((first, last if begin is None else begin - 1))
            if room <= 0:
                break

    def _insert(self, db: sqlite3.Connection) -> None:
        now = self._time.now()
        self._fresh = {}
        self._put = {}
        by_key, fresh, put = self._by_key, self._fresh, self._put
        rows = []
        for entries, _ in self._writing:
            for entry in entries:
                key = (entry.lane, entry.priority)
                queue = by_key.get(key) or fresh.get(key) or self._begin(db, entry.lane, entry.priority)
                place = put.get(queue.number)
                if place is None:
                    place = put[queue.number] = [0, queue.next]
                rows.append((place[1], now, now + entry.time_to_live, entry.topic, entry.body))
                place[0] += 1
                place[1] += 1
        rows.sort()  # as they lie in the file: neighbours are written together
        db.executemany("INSERT INTO parcel VALUES (?, ?, ?, ?, ?)", rows)

    def _begin(self, db: sqlite3.Connection, lane: Lane, priority: int) -> _Queue:
        number = self._next_number + len(self._fresh)
        if number >= QUEUES_MOST:
            raise StoreUnavailable(f"{self._store.path} has had {QUEUES_MOST} queues; restart the runtime.")
        db.execute(
            "INSERT INTO queue (number, endpoint, source, priority) VALUES (?, ?, ?, ?)",
            (number, lane.endpoint, lane.source, priority),
        )
        queue = self._fresh[(lane, priority)] = _Queue(number, lane, priority, number << SEQUENCE_BITS)
        return queue

    def durable(self) -> None:
        """Count, acknowledge, wake who waits."""
        self._stuck = False
        self._time.unsaved = False
        self._counted.clear()
        written, self._writing = self._writing, []
        for first, last, count in self._deleted:
            self._gone.cut(first, last)
            queue = self._queues.get(first >> SEQUENCE_BITS)
            if queue is not None:
                queue.length -= count
                if queue.head is not None and queue.head[0] <= last:
                    queue.head = None
        for first, last in self._cleared:
            self._purged.cut(first, last)
        self._deleted, self._cleared = [], []
        woken: dict[Lane, int] = {}
        if written:
            for queue in self._fresh.values():
                self._add(queue)
            self._next_number += len(self._fresh)
            self._fresh = {}
            for number, (count, following) in self._put.items():
                known = self._queues.get(number)
                if known is None:  # purged by one who was told before us
                    self._purged.add(following - count, following - 1)
                    continue
                queue = known
                queue.length += count
                queue.next = following
                woken[queue.lane] = min(queue.priority, woken.get(queue.lane, queue.priority))
            self._put = {}
        for _, done in written:
            _call(done, None)
        for lane, priority in woken.items():
            for wake in tuple(self._listeners.get(lane, ())):
                _call(wake, priority)
        if self._gone or self._purged:
            self._enlist()

    def failed(self, error: StoreUnavailable) -> None:
        """Tell each sender that nothing was stored, and try the deletions by themselves."""
        self._enlisted = False
        lost, self._writing, self._pending = [*self._writing, *self._pending], [], []
        self._fresh, self._put, self._deleted, self._cleared = {}, {}, [], []
        for _, done in lost:
            _call(done, error)
        self._delete_alone()

    def _delete_alone(self) -> None:
        """Deletions in a transaction of their own: what does not fit must not keep them from making room."""
        if not self._gone and not self._purged:
            return
        if not self._stuck:
            self._store.make_room()
        try:
            with self._store.transaction() as db:
                self._tidy(db)
                self._save_shift(db)
        except StoreUnavailable as error:
            if not self._stuck:
                log.warning("delivered messages cannot be deleted now; it is tried again: %s", error)
            self._stuck = True
            return
        self.durable()

    # -- reading ---------------------------------------------------------------------------------------

    def lanes(self) -> list[Lane]:
        """The lanes in which something waits."""
        return [lane for lane, queues in self._by_lane.items() if any(queue.length for queue in queues)]

    def length(self, lane: Lane) -> int:
        """How many wait in a lane, in flight or not."""
        return sum(queue.length for queue in self._by_lane.get(lane, ()))

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
        early too, and `tick` goes on with it. Raises `StoreUnavailable`.
        """
        found: list[Parcel] = []
        expired: list[int] = []
        now, shift = self._time.now(), self._time.shift
        size = 0
        for queue in self._by_lane.get(lane, ()):
            start = max(queue.low, (after or {}).get(queue.priority, 0) + 1)
            if len(found) >= count or (found and size >= most_bytes) or len(expired) >= _SWEEP_MOST:
                break
            if not queue.length:
                continue
            with self._store.reading(_READ, (self._gone.past(start), queue.high)) as rows:
                for number, enqueued, expires, topic, body in rows:
                    if number in self._gone:
                        continue
                    if expires <= now:
                        expired.append(number)
                        if len(expired) >= _SWEEP_MOST:
                            break
                        continue
                    size += len(body)
                    found.append(
                        Parcel(number, lane, queue.priority, topic, body, enqueued + shift, expires + shift)
                    )
                    if len(found) >= count or size >= most_bytes:
                        break
        self._expire(expired)
        return found

    @property
    def clock_steps(self) -> int:
        """How often the clock was set: the times of parcels that were read before belong to another clock."""
        self._time.now()
        return self._time.steps

    def still_waits(self, parcel: Parcel) -> bool:
        """Whether a parcel that was read is still to be delivered: not removed, purged or expired since."""
        if parcel.id >> SEQUENCE_BITS not in self._queues or parcel.id in self._gone:
            return False
        if parcel.expires > self._clock.now():
            return True
        # Over, or the clock was set since it was read: the file knows.
        found = self._store.rows("SELECT expires FROM parcel WHERE id = ?", (parcel.id,))
        if found and found[0][0] > self._time.now():
            return True
        self._expire([parcel.id] if found else [])
        return False

    def hold(self, number: int) -> None:
        """Take a parcel as in flight: it does not expire until it is removed or released."""
        self._held.add(number)

    def release(self, ids: Iterable[int]) -> None:
        """These are in flight no more, and wait again."""
        self._held.difference_update(ids)

    def later(self, callback: Callable[[], None]) -> bool:
        """Have the loop call `callback` in its next turn; False if there is none."""
        return self._store.later(callback)

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

    # -- figures and housekeeping ----------------------------------------------------------------------

    def figures(self) -> list[QueueFigures]:
        """How each queue does that has ever had a message: empty ones too, for what they dropped."""
        now = self._time.now()
        made = []
        for queue in self._queues.values():
            head = self._head(queue)
            oldest = 0.0 if head is None else max(0.0, now - head[1])
            made.append(
                QueueFigures(queue.lane, queue.priority, queue.length, oldest, queue.expired, queue.refused)
            )
        return made

    def _head(self, queue: _Queue) -> tuple[int, float] | None:
        if not queue.length:
            return None
        if queue.head is not None and queue.head[0] not in self._gone:
            return queue.head
        start = queue.low if queue.head is None else queue.head[0]
        while True:
            start = self._gone.past(start)
            found = self._store.rows(
                "SELECT id, enqueued FROM parcel WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
                (start, queue.high),
            )
            if not found or found[0][0] not in self._gone:
                queue.head = (found[0][0], found[0][1]) if found else None
                return queue.head
            start = found[0][0]

    def tick(self) -> None:
        """Once a second: drop what has expired, try again what failed, shorten the file when it is due."""
        if not self._sweeping:
            self._sweep_on()
        if self._gone or self._purged or self._counted or self._time.unsaved:
            self._enlist()
        monotonic = self._clock.monotonic()
        if monotonic >= self._trim_at and not self._purged:
            self._trim_at = monotonic + _TRIM_EVERY
            self._store.trim()
        if self._untold and monotonic >= self._told_at + _TELL_EVERY:
            self._told_at = monotonic
            log.warning("%d waiting messages were dropped: their time to live was over", self._untold)
            self._untold = 0

    def _sweep(self) -> None:
        most = _SWEEP_MOST + len(self._held)
        rows = self._store.rows("SELECT id FROM parcel WHERE expires <= ? LIMIT ?", (self._time.now(), most))
        over = [row[0] for row in rows if row[0] not in self._held and row[0] not in self._gone]
        self._expire(over)
        if over and len(rows) == most and not self._sweeping:
            self._sweeping = self._store.later(self._sweep_on)

    def _sweep_on(self) -> None:
        self._sweeping = False
        try:
            self._sweep()
        except StoreUnavailable as error:
            log.warning("what has expired was not looked for: %s", error)

    def _expire(self, ids: Sequence[int]) -> None:
        for number in ids:
            queue = self._queues.get(number >> SEQUENCE_BITS)
            if queue is not None:  # else it was purged, and goes with the rest
                queue.expired += 1
                self._counted.add(queue.number)
                self._untold += 1
                self._gone.add(number)
        if self._gone:
            self._enlist()


def _delete(db: sqlite3.Connection, first: int, last: int) -> int:
    return db.execute("DELETE FROM parcel WHERE id BETWEEN ? AND ?", (first, last)).rowcount


def _call(told: Callable[..., None], what: object) -> None:
    try:
        told(what)
    except Exception:  # a fault with one sender or receiver is not the others'
        log.exception("a fault after a commit")
