"""What is written of the queues: parcels come and go with the group commit, and the counts with them.

What is stored is the truth. In memory are a few numbers for each queue, and spans of ids that are gone and not yet
deleted: deletions join the group commit. A kill between the acknowledgement of a message and its deletion has it
sent again.

A full disk refuses what is put; it does not stop what goes out. The deletions that such a disk refuses are tried
again with each write.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.store.ageing import SteadyTime
from iotedge_lab.edge.store.parcels import QUEUES_MOST, SEQUENCE_BITS, Entry, Lane
from iotedge_lab.edge.store.spans import Spans
from iotedge_lab.errors import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store.file import EdgeStore

log = logging.getLogger(__name__)

_PURGE_MOST: Final = 4096  # rows a transaction, so that no message waits long behind a large deletion
_SHIFT_KEY: Final = "clock_shift"


@dataclass(slots=True)
class Queue:
    """The queue of one lane and priority. `length` is that of what is stored."""

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
        """The first id that it may have."""
        return self.number << SEQUENCE_BITS

    @property
    def high(self) -> int:
        """The last one."""
        return ((self.number + 1) << SEQUENCE_BITS) - 1


class Ledger:
    """The queues as they are stored (`broker.store.Participant`).

    `on_put(lanes)` is called after a commit, with the first to go of the priorities that were put to each lane.
    Raises `StoreUnavailable` if the file cannot be read.
    """

    def __init__(self, store: EdgeStore, clock: Clock, on_put: Callable[[dict[Lane, int]], None]) -> None:
        self._store = store
        self._on_put = on_put
        self._queues: dict[int, Queue] = {}
        self._by_key: dict[tuple[Lane, int], Queue] = {}
        self.by_lane: dict[Lane, list[Queue]] = {}  # of a lane, the first to go first
        self.gone = Spans()  # delivered, expired or refused: deleted with the next transaction
        self._purged = Spans()  # of queues that are no more: deleted bit by bit
        self._counted: dict[int, tuple[int, int]] = {}  # by queue: counts that are to be written
        self._pending: list[tuple[Sequence[Entry], Callable[[StoreUnavailable | None], None]]] = []
        self._enlisted = False
        self._stuck = False
        # What is being written, until it is committed:
        self._writing: list[tuple[Sequence[Entry], Callable[[StoreUnavailable | None], None]]] = []
        self._fresh: dict[tuple[Lane, int], Queue] = {}  # queues that begin
        self._put: dict[int, list[int]] = {}  # by queue: how many come, and the id after them
        self._deleted: list[tuple[int, int, int]] = []  # first, last, how many there were
        self._cleared: list[tuple[int, int]] = []  # the same of what was purged
        self._counts: dict[int, tuple[int, int]] = {}
        self._shift = 0.0
        kept = store.rows("SELECT value FROM meta WHERE key = ?", (_SHIFT_KEY,))
        self.time = SteadyTime(clock, float(kept[0][0]) if kept else 0.0)
        self._load()

    def _load(self) -> None:
        for number, endpoint, source, priority, expired, refused in self._store.rows(
            "SELECT number, endpoint, source, priority, expired, refused FROM queue"
        ):
            queue = Queue(number, Lane(endpoint, source), priority, number << SEQUENCE_BITS)
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
        self.time.resume(last)
        self.tidy()

    def _add(self, queue: Queue) -> None:
        self._queues[queue.number] = queue
        self._by_key[(queue.lane, queue.priority)] = queue
        lane = self.by_lane.setdefault(queue.lane, [])
        lane.append(queue)
        lane.sort(key=lambda one: one.priority)

    def queues(self) -> Iterable[Queue]:
        """All there are, in the order in which they began."""
        return self._queues.values()

    def queue_of(self, parcel_id: int) -> Queue | None:
        """The queue that a parcel lies in; None if that was purged."""
        return self._queues.get(parcel_id >> SEQUENCE_BITS)

    @property
    def is_purging(self) -> bool:
        """Whether something purged is still to be deleted."""
        return bool(self._purged)

    # -- what is to be written -------------------------------------------------------------------------

    def put(self, entries: Sequence[Entry], done: Callable[[StoreUnavailable | None], None]) -> None:
        """`Queues.put`."""
        for entry in entries:
            for text in (entry.topic, entry.lane.endpoint, entry.lane.source):
                if not text.isascii():
                    text.encode()
        self._pending.append((entries, done))
        self._enlist()

    def remove(self, ids: Iterable[int]) -> None:
        """`Queues.remove`."""
        for number in ids:
            self.gone.add(number)
        if self.gone:
            self._enlist()

    def count(self, queue: Queue, *, expired: int = 0, refused: int = 0) -> None:
        """Count what was dropped; written with what is removed."""
        queue.expired += expired
        queue.refused += refused
        self._counted[queue.number] = (queue.expired, queue.refused)

    def purge(self, found: Sequence[Queue], heads: Sequence[int | None]) -> None:
        """End these queues, whose oldest parcels have the ids in `heads`. Durable when this returns."""
        with self._store.transaction() as db:
            db.executemany("DELETE FROM queue WHERE number = ?", [(queue.number,) for queue in found])
        for queue, head in zip(found, heads, strict=True):
            del self._queues[queue.number]
            del self._by_key[(queue.lane, queue.priority)]
            self.by_lane[queue.lane].remove(queue)
            if not self.by_lane[queue.lane]:
                del self.by_lane[queue.lane]
            if head is not None:
                self._purged.add(head, queue.next - 1)
        self.tidy()

    def tidy(self) -> None:
        """Write with this turn's transaction what is to be deleted or kept and is not yet."""
        if self.gone or self._purged or self._counted or self.time.unsaved:
            self._enlist()

    def _enlist(self) -> None:
        if not self._enlisted:
            self._enlisted = True
            self._store.enlist(self)

    # -- the group commit ------------------------------------------------------------------------------

    def write(self, db: sqlite3.Connection) -> None:
        """Delete what is gone, then insert what was put: the pages that fall free are used again."""
        self._enlisted = False
        self._writing, self._pending = self._pending, []
        self._delete(db)
        if self._writing:
            self._insert(db)
        self._keep(db)

    def _delete(self, db: sqlite3.Connection) -> None:
        self._deleted = [(first, last, _delete(db, first, last)) for first, last in self.gone]
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
        now = self.time.now()
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

    def _begin(self, db: sqlite3.Connection, lane: Lane, priority: int) -> Queue:
        number = self._next_number + len(self._fresh)
        if number >= QUEUES_MOST:
            raise StoreUnavailable(f"{self._store.path} has had {QUEUES_MOST} queues; restart the runtime.")
        db.execute(
            "INSERT INTO queue (number, endpoint, source, priority) VALUES (?, ?, ?, ?)",
            (number, lane.endpoint, lane.source, priority),
        )
        queue = self._fresh[(lane, priority)] = Queue(number, lane, priority, number << SEQUENCE_BITS)
        return queue

    def _keep(self, db: sqlite3.Connection) -> None:
        self._counts = dict(self._counted)
        db.executemany(
            "UPDATE queue SET expired = ?, refused = ? WHERE number = ?",
            [(*counts, number) for number, counts in self._counts.items()],
        )
        self._shift = self.time.shift
        if self.time.unsaved:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SHIFT_KEY, repr(self._shift)))

    def durable(self) -> None:
        """Count, acknowledge, wake who waits."""
        self._stuck = False
        written, self._writing = self._writing, []
        # Others of this transaction were told before us, and may have changed any of this since it was written.
        self.time.unsaved = self.time.unsaved and self.time.shift != self._shift
        for number, counts in self._counts.items():
            if self._counted.get(number) == counts:
                del self._counted[number]
        for first, last, count in self._deleted:
            self.gone.cut(first, last)
            queue = self.queue_of(first)
            if queue is not None:
                queue.length -= count
                if queue.head is not None and queue.head[0] <= last:
                    queue.head = None
        for first, last in self._cleared:
            self._purged.cut(first, last)
        self._counts, self._deleted, self._cleared = {}, [], []
        woken = self._stored() if written else {}
        for _, done in written:
            call(done, None)
        if woken:
            self._on_put(woken)
        self.tidy()

    def _stored(self) -> dict[Lane, int]:
        for queue in self._fresh.values():
            self._add(queue)
        self._next_number += len(self._fresh)
        woken: dict[Lane, int] = {}
        for number, (count, following) in self._put.items():
            known = self._queues.get(number)
            if known is None:
                self._purged.add(following - count, following - 1)
                continue
            known.length += count
            known.next = following
            woken[known.lane] = min(known.priority, woken.get(known.lane, known.priority))
        self._fresh, self._put = {}, {}
        return woken

    def failed(self, error: StoreUnavailable) -> None:
        """Tell each sender that nothing was stored, and try the deletions by themselves."""
        self._enlisted = False
        lost, self._writing, self._pending = [*self._writing, *self._pending], [], []
        self._fresh, self._put, self._deleted, self._cleared, self._counts = {}, {}, [], [], {}
        for _, done in lost:
            call(done, error)
        if self.gone or self._purged:
            self._delete_alone()

    def _delete_alone(self) -> None:
        # In a transaction of their own: what does not fit must not keep them from making room.
        if not self._stuck:
            self._store.make_room()
        try:
            with self._store.transaction() as db:
                self._delete(db)
                self._keep(db)
        except StoreUnavailable as error:
            if not self._stuck:
                log.warning("delivered messages cannot be deleted now; it is tried again: %s", error)
            self._stuck = True
            self._deleted, self._cleared, self._counts = [], [], {}
            return
        self.durable()


def _delete(db: sqlite3.Connection, first: int, last: int) -> int:
    return db.execute("DELETE FROM parcel WHERE id BETWEEN ? AND ?", (first, last)).rowcount


def call(told: Callable[..., None], what: object) -> None:
    """Tell one of several; a fault of it is logged, and is not the others'."""
    try:
        told(what)
    except Exception:
        log.exception("a fault after a commit")
