"""The partition log: every device-to-cloud message, in order, each once.

Stands for the built-in endpoint's storage (an Event Hub): messages of one device go to one partition, by a
hash of its id; each has a sequence number that counts up by one a partition, an offset, and an enqueued time
that never steps back. Reading does not remove; age does (`retention`).

A chunk is what one connection sent in one turn of the event loop, kept as it came off the wire. It is taken
apart when it is read (`hub/events.py`): storing is the hot path, and a thousand messages cost one row.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.errors import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.store import Store

PARTITION_SHIFT = 48
DEFAULT_RETENTION_DAYS = 1
REPLAY_WINDOW_MS = 60_000
# Far fewer than the 65,535 packet ids: the last use of an id must not be taken for the one that is re-sent.
REPLAY_MESSAGES = 32_767
REPLAY_ROWS = 20_000
EPOCHS_KNOWN = 20_000
SOURCES_KNOWN = 20_000

Done = Callable[[StoreUnavailable | None], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent a chunk: the identity as it was when it connected."""

    device: str
    module: str
    generation_id: str
    auth_method: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of messages of one source. `enqueued` is in ms since 1970; `format` says how to read `raw`."""

    partition: int
    first_seq: int
    count: int
    enqueued: int
    source: Source
    format: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """What `$management` tells of a partition. An empty one has last_seq = begin_seq - 1."""

    begin_seq: int
    last_seq: int
    last_enqueued: int

    @property
    def is_empty(self) -> bool:
        """No message is kept in it."""
        return self.last_seq < self.begin_seq


class Log:
    """Append, read, prune. Appends are durable when their `done` is called with None."""

    def __init__(self, store: Store, clock: Clock, *, partitions: int = 2) -> None:
        self._store = store
        self._clock = clock
        stored = store.get_meta("partitions")
        # The number of partitions is fixed when a hub is made, as on Azure: a later one would split devices.
        self.partitions = int(stored) if stored else partitions
        if not stored:
            store.set_meta("partitions", str(partitions))
        if store.get_meta("log_id") is None:
            store.set_meta("log_id", clock.new_id())
        self.id = store.get_meta("log_id") or ""
        self._next = [0] * self.partitions
        self._last_enqueued = [0] * self.partitions
        self._load_positions()
        self._sources: dict[Source, int] = {}
        self._sources_by_id: dict[int, Source] = {}
        self._pending: list[tuple[int, int, int, int, int, bytes, Done]] = []
        self._written: list[int] = []
        self._after: tuple[list[int], list[int]] = ([], [])
        self._listeners: list[set[Callable[[], None]]] = [set() for _ in range(self.partitions)]
        # Where the newest chunk of a session's epoch lies: where a search for a re-sent message starts.
        self._tail_of_epoch: dict[int, int] = {}
        self._tail_at_start = list(self._next)

    def _load_positions(self) -> None:
        for partition in range(self.partitions):
            kept = self._store.db.execute(
                "SELECT next_seq, last_enqueued FROM partition WHERE id = ?", (partition,)
            ).fetchone()
            if kept:
                self._next[partition], self._last_enqueued[partition] = kept
            last = self._store.db.execute(
                "SELECT position, count, enqueued FROM chunk WHERE position >= ? AND position < ? "
                "ORDER BY position DESC LIMIT 1",
                self._span(partition),
            ).fetchone()
            if last:
                following = (last[0] & ((1 << PARTITION_SHIFT) - 1)) + last[1]
                self._next[partition] = max(self._next[partition], following)
                self._last_enqueued[partition] = max(self._last_enqueued[partition], last[2])

    @staticmethod
    def _span(partition: int) -> tuple[int, int]:
        return partition << PARTITION_SHIFT, (partition + 1) << PARTITION_SHIFT

    def partition_of(self, device: str) -> int:
        """The partition that holds the messages of `device`, modules included."""
        return zlib.crc32(device.encode()) % self.partitions

    # -- appending -------------------------------------------------------------------------------------

    def source_id(self, source: Source) -> int:
        """The number under which chunks refer to `source`; stored when it is new."""
        known = self._sources.get(source)
        if known is not None:
            return known
        key = (source.device, source.module, source.generation_id, source.auth_method)
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO source (device, module, generation_id, auth_method) "
                "VALUES (?, ?, ?, ?)",
                key,
            )
            row = db.execute(
                "SELECT id FROM source WHERE device = ? AND module = ? AND generation_id = ? "
                "AND auth_method = ?",
                key,
            ).fetchone()
        number = int(row[0])
        self._know(number, source)
        return number

    def _know(self, number: int, source: Source) -> None:
        """Remember a source; all are in the store, so a memory that is full may be emptied."""
        if len(self._sources_by_id) >= SOURCES_KNOWN:
            self._sources.clear()
            self._sources_by_id.clear()
        self._sources[source] = number
        self._sources_by_id[number] = source

    def append(
        self,
        partition: int,
        source: int,
        raw: bytes,
        count: int,
        done: Done,
        *,
        epoch: int = 0,
        form: int = 0,
    ) -> None:
        """Store `count` messages in `raw`; `done(None)` once they are durable, `done(error)` if refused."""
        first = not self._pending
        self._pending.append((partition, source, count, epoch, form, raw, done))
        if first:
            self._store.enlist(self)

    def write(self, db: sqlite3.Connection) -> None:
        """Give sequence numbers and write the rows (`Participant`)."""
        now = int(self._clock.now() * 1000)
        following = list(self._next)
        stamps = [max(now, last) for last in self._last_enqueued]
        rows = []
        written = []
        for partition, source, count, epoch, form, raw, _ in self._pending:
            position = (partition << PARTITION_SHIFT) + following[partition]
            rows.append((position, count, stamps[partition], source, epoch, form, raw))
            written.append(position)
            following[partition] += count
        db.executemany("INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._written = written
        self._after = (following, stamps)  # becomes true once the transaction is committed

    def durable(self) -> None:
        """Advance the counters, acknowledge, wake the readers (`Participant`)."""
        pending, self._pending = self._pending, []
        self._next, stamps = self._after
        touched = set()
        for (partition, _, _, epoch, *_), position in zip(pending, self._written, strict=True):
            touched.add(partition)
            if epoch:
                self._tail_of_epoch.pop(epoch, None)
                self._tail_of_epoch[epoch] = position
        while len(self._tail_of_epoch) > EPOCHS_KNOWN:  # the one that was silent longest
            del self._tail_of_epoch[next(iter(self._tail_of_epoch))]
        for partition in touched:
            self._last_enqueued[partition] = stamps[partition]
        for *_, done in pending:
            done(None)
        for partition in touched:
            for wake in tuple(self._listeners[partition]):
                wake()

    def failed(self, error: StoreUnavailable) -> None:
        """Tell each sender that nothing was stored (`Participant`)."""
        pending, self._pending = self._pending, []
        for *_, done in pending:
            done(error)

    # -- reading ---------------------------------------------------------------------------------------

    def listen(self, partition: int, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each append to `partition`; the answer takes it off again."""
        self._listeners[partition].add(wake)
        return lambda: self._listeners[partition].discard(wake)

    def info(self, partition: int) -> PartitionInfo:
        """First and last sequence number and last enqueued time (ms) of a partition."""
        low, high = self._span(partition)
        row = self._store.db.execute(
            "SELECT MIN(position) FROM chunk WHERE position >= ? AND position < ?", (low, high)
        ).fetchone()
        begin = self._next[partition] if row[0] is None else row[0] - low
        return PartitionInfo(begin, self._next[partition] - 1, self._last_enqueued[partition])

    def next_seq(self, partition: int) -> int:
        """The sequence number that the next message of this partition gets."""
        return self._next[partition]

    def read(self, partition: int, seq: int, *, chunks: int = 16) -> list[Chunk]:
        """Up to `chunks` chunks, starting with the one that holds `seq` (or the first kept after it)."""
        low, high = self._span(partition)
        start = self._store.db.execute(
            "SELECT position FROM chunk WHERE position >= ? AND position <= ? ORDER BY position DESC LIMIT 1",
            (low, low + max(seq, 0)),
        ).fetchone()
        rows = self._store.db.execute(
            "SELECT position, count, enqueued, source, format, raw FROM chunk "
            "WHERE position >= ? AND position < ? ORDER BY position LIMIT ?",
            (start[0] if start else low, high, chunks),
        ).fetchall()
        found = [
            Chunk(partition, row[0] - low, row[1], row[2], self._source(row[3]), row[4], row[5])
            for row in rows
        ]
        if found and found[0].first_seq + found[0].count <= seq:
            del found[0]  # the chunk before `seq` ends before it
        return found

    def _source(self, number: int) -> Source:
        known = self._sources_by_id.get(number)
        if known is None:
            row = self._store.db.execute(
                "SELECT device, module, generation_id, auth_method FROM source WHERE id = ?", (number,)
            ).fetchone()
            known = Source(*row)
            self._know(number, known)
        return known

    def first_seq_enqueued(self, partition: int, ms: int, *, after: bool = True) -> int:
        """The first sequence number enqueued later than `ms` (or at `ms` too, with after=False)."""
        info = self.info(partition)
        low, high = info.begin_seq, info.last_seq + 1
        base = partition << PARTITION_SHIFT
        while low < high:  # enqueued times never step back, so halving finds the place
            middle = (low + high) // 2
            position, count, enqueued = self._store.db.execute(
                "SELECT position, count, enqueued FROM chunk WHERE position <= ? "
                "ORDER BY position DESC LIMIT 1",
                (base + middle,),
            ).fetchone()
            if enqueued > ms or (enqueued == ms and not after):
                high = position - base
            else:
                low = position - base + count
        return low

    def replays(self, partition: int, epoch: int) -> Iterator[bytes]:
        """Raw chunks that a re-sending client may repeat: its epoch's newest first, the last minute of them.

        A client that was not told of a message sends it again (MQTT 3.1.1, 4.4). What was stored before the
        hub died, and not acknowledged, is found here, so that it is in the log once.
        """
        low, _ = self._span(partition)
        tail = self._tail_of_epoch.get(epoch)
        if tail is None:
            tail = low + self._tail_at_start[partition]
        oldest: int | None = None
        messages = 0
        rows = self._store.db.execute(
            "SELECT position, count, enqueued, epoch FROM chunk "
            "WHERE position >= ? AND position <= ? ORDER BY position DESC LIMIT ?",
            (low, tail, REPLAY_ROWS),
        ).fetchall()
        for position, count, enqueued, row_epoch in rows:
            if row_epoch == epoch:
                oldest = enqueued - REPLAY_WINDOW_MS if oldest is None else oldest
                if enqueued < oldest or messages >= REPLAY_MESSAGES:
                    return
                yield self._store.db.execute(
                    "SELECT raw FROM chunk WHERE position = ?", (position,)
                ).fetchone()[0]
                messages += count

    # -- ageing ----------------------------------------------------------------------------------------

    def prune(self, days: float) -> int:
        """Drop chunks older than `days` days; the number of messages that went."""
        gone = 0
        limit = int((self._clock.now() - days * 86_400) * 1000)
        for partition in range(self.partitions):
            low, _ = self._span(partition)
            keep_from = self.first_seq_enqueued(partition, limit)
            begin = self.info(partition).begin_seq
            if keep_from <= begin:
                continue
            with self._store.transaction() as db:
                db.execute(
                    "INSERT OR REPLACE INTO partition VALUES (?, ?, ?)",
                    (partition, self._next[partition], self._last_enqueued[partition]),
                )
                db.execute("DELETE FROM chunk WHERE position >= ? AND position < ?", (low, low + keep_from))
            gone += keep_from - begin
        return gone

    def clear(self) -> None:
        """Drop every message; sequence numbers go on counting, and the log gets a new id."""
        self._store.flush()
        with self._store.transaction() as db:
            for partition in range(self.partitions):
                db.execute(
                    "INSERT OR REPLACE INTO partition VALUES (?, ?, ?)",
                    (partition, self._next[partition], self._last_enqueued[partition]),
                )
            db.execute("DELETE FROM chunk")
            db.execute("INSERT OR REPLACE INTO meta VALUES ('log_id', ?)", (self._clock.new_id(),))
        self._tail_of_epoch.clear()
        self.id = self._store.get_meta("log_id") or ""
