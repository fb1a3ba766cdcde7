"""A queue of messages for services: feedback, and notices of files. One at a time has a message, locked.

Stands for the endpoints `/messages/serviceBound/...` of an IoT Hub ("Understand cloud-to-device messaging", learn.
microsoft.com, IoT Hub). A message is locked while a service has it, and comes again if that does not complete it in
time. A delivery that ends without completion (abandoned, lock ended, link lost) counts; at the last one that is allowed
the message is dropped, as it is at the end of its own time to live.

All that changes is durable when the call returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.errors import MessageLockLost

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.store import Store

_COLUMNS = "seq, message_id, enqueued, expires, deliveries, body"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a message lives and is locked (s), and how often it is delivered at the most."""

    ttl: float
    max_deliveries: int
    lock: float


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A locked message. `enqueued` and `expires` in ms since 1970; `body` is JSON."""

    seq: int
    message_id: str
    enqueued: int
    expires: int
    deliveries: int
    body: bytes
    lock: str


class ServiceQueue:
    """The queue in a table of the store. `what`: how messages speak of one of its messages."""

    table: str
    what: str
    content_type: str

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []

    def limits(self) -> Limits:
        """What holds now."""
        raise NotImplementedError

    def listen(self, told: Callable[[], None]) -> Callable[[], None]:
        """Have `told` called when a message may be taken; call the answer to end that."""
        self._listeners.append(told)
        return lambda: self._listeners.remove(told)

    def enqueue(self, db: sqlite3.Connection, body: str) -> None:
        """Put a message in, within a transaction of the caller's, who calls `tell` when it is durable."""
        now = self._now()
        db.execute(
            f"INSERT INTO {self.table} (message_id, enqueued, expires, deliveries, body) VALUES (?, ?, ?, 0, ?)",
            (self._clock.new_id(), now, now + int(self.limits().ttl * 1000), body),
        )

    def tick(self) -> None:
        """Once a second: end locks and messages whose time is up."""
        now = self._now()
        overdue = self._store.db.execute(
            f"SELECT 1 FROM {self.table} WHERE expires <= ?1 OR locked_until <= ?1 LIMIT 1", (now,)
        ).fetchone()
        if overdue:
            with self._store.transaction() as db:
                self._unlock(db, "locked_until <= ?", now)
                db.execute(f"DELETE FROM {self.table} WHERE expires <= ? AND lock IS NULL", (now,))
            self.tell()

    def take(self) -> QueuedMessage | None:
        """Lock and give the oldest message that is free, or None."""
        now = self._now()
        row = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM {self.table} WHERE lock IS NULL AND expires > ? ORDER BY seq LIMIT 1",
            (now,),
        ).fetchone()
        if row is None:
            return None
        lock = self._clock.new_id()
        with self._store.transaction() as db:
            db.execute(
                f"UPDATE {self.table} SET lock = ?, locked_until = ? WHERE seq = ?",
                (lock, now + int(self.limits().lock * 1000), row[0]),
            )
        return QueuedMessage(row[0], row[1], row[2], row[3], row[4], row[5].encode(), lock)

    def complete(self, lock: str) -> None:
        """The service has it (or does not want it): gone. Raises `MessageLockLost` (412002)."""
        self._require(lock)
        with self._store.transaction() as db:
            db.execute(f"DELETE FROM {self.table} WHERE lock = ?", (lock,))

    def abandon(self, lock: str) -> None:
        """The service could not use it: it may be taken again. Raises `MessageLockLost` (412002)."""
        self._require(lock)
        with self._store.transaction() as db:
            self._unlock(db, "lock = ?", lock)
        self.tell()

    def tell(self) -> None:
        """A message may be taken: say so to all who listen."""
        for told in tuple(self._listeners):
            told()

    def _require(self, lock: str) -> None:
        row = self._store.db.execute(
            f"SELECT 1 FROM {self.table} WHERE lock = ? AND locked_until > ?", (lock, self._now())
        ).fetchone()
        if row is None:
            raise MessageLockLost(
                f"no {self.what} is locked by {lock[:40]!r}: its lock has ended, or it was settled before. "
                "Receive again; the message comes once more if it was not completed."
            )

    def _unlock(self, db: sqlite3.Connection, which: str, value: str | int) -> None:
        db.execute(
            f"UPDATE {self.table} SET lock = NULL, locked_until = NULL, deliveries = deliveries + 1 WHERE {which}",
            (value,),
        )
        db.execute(
            f"DELETE FROM {self.table} WHERE lock IS NULL AND deliveries >= ?",
            (self.limits().max_deliveries,),
        )

    def _now(self) -> int:
        return int(self._clock.now() * 1000)
