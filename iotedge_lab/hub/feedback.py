"""Feedback: how cloud-to-device messages ended, told to the services that asked for it.

Stands for "Message feedback" in "Understand cloud-to-device messaging" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-messages-c2d). Records are gathered into messages: one goes out when 64 records wait, or 15 s
after the last one went out, whichever comes first (so the first after a quiet time goes out at once). A message
is locked while a service has it, and comes again if that does not complete it in time.

A delivery of a feedback message that ends without completion (abandoned, lock ended, link lost) counts; at the
tenth the message is dropped, as it is at the end of its own time to live.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import MessageLockLost
from iotedge_lab.hub.command_message import Ack, Outcome, wants_feedback
from iotedge_lab.hub.identities import iso

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.command_settings import CommandSettings
    from iotedge_lab.hub.store import Store

CONTENT_TYPE: Final = "application/vnd.microsoft.iothub.feedback.json"
BATCH: Final = 64
_COLUMNS = "seq, message_id, enqueued, expires, deliveries, body"


@dataclass(frozen=True, slots=True)
class FeedbackMessage:
    """A locked feedback message. `enqueued` and `expires` in ms since 1970; `body` is a JSON array of records."""

    seq: int
    message_id: str
    enqueued: int
    expires: int
    deliveries: int
    body: bytes
    lock: str


class Feedback:
    """The queue `/messages/serviceBound/feedback`. All that changes is durable when the call returns."""

    def __init__(self, store: Store, clock: Clock, settings: CommandSettings) -> None:
        self._store = store
        self._clock = clock
        self.settings = settings
        self._sent: float | None = None  # when the last message went out (monotonic)
        self._listeners: list[Callable[[], None]] = []

    def listen(self, told: Callable[[], None]) -> Callable[[], None]:
        """Have `told` called when a message may be taken; call the answer to end that."""
        self._listeners.append(told)
        return lambda: self._listeners.remove(told)

    def record(
        self, db: sqlite3.Connection, device: str, message_id: str | None, ack: str | None, outcome: Outcome
    ) -> None:
        """Note, within a transaction of the caller's, how a message of `device` ended, if its sender asked."""
        if not wants_feedback(Ack(ack or Ack.NONE), outcome):
            return
        row = db.execute(
            "SELECT generation_id FROM identity WHERE device = ? AND module = ''", (device,)
        ).fetchone()
        if row is None:
            return  # "When a device is deleted, any pending feedback is deleted as well"
        told = {
            "originalMessageId": message_id,
            "description": outcome.value,
            "deviceGenerationId": row[0],
            "deviceId": device,
            "enqueuedTimeUtc": iso(self._clock.now()),
            "statusCode": outcome.value,
        }
        db.execute("INSERT INTO feedback_record (device, body) VALUES (?, ?)", (device, json.dumps(told)))

    def tick(self) -> None:
        """Once a second: send what is due, end locks and messages whose time is up."""
        self._send_due()
        now = self._now()
        overdue = self._store.db.execute(
            "SELECT 1 FROM feedback_message WHERE expires <= ?1 OR locked_until <= ?1 LIMIT 1", (now,)
        ).fetchone()
        if overdue:
            with self._store.transaction() as db:
                self._unlock(db, "locked_until <= ?", now)
                db.execute("DELETE FROM feedback_message WHERE expires <= ? AND lock IS NULL", (now,))
            self._tell()

    def take(self) -> FeedbackMessage | None:
        """Lock and give the oldest message that is free, or None."""
        now = self._now()
        row = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM feedback_message WHERE lock IS NULL AND expires > ? ORDER BY seq LIMIT 1",
            (now,),
        ).fetchone()
        if row is None:
            return None
        lock = self._clock.new_id()
        with self._store.transaction() as db:
            db.execute(
                "UPDATE feedback_message SET lock = ?, locked_until = ? WHERE seq = ?",
                (lock, now + int(self.settings.feedback_lock * 1000), row[0]),
            )
        return FeedbackMessage(row[0], row[1], row[2], row[3], row[4], row[5].encode(), lock)

    def complete(self, lock: str) -> None:
        """The service has it (or does not want it): gone. Raises `MessageLockLost` (412002)."""
        self._require(lock)
        with self._store.transaction() as db:
            db.execute("DELETE FROM feedback_message WHERE lock = ?", (lock,))

    def abandon(self, lock: str) -> None:
        """The service could not use it: it may be taken again. Raises `MessageLockLost` (412002)."""
        self._require(lock)
        with self._store.transaction() as db:
            self._unlock(db, "lock = ?", lock)
        self._tell()

    def _require(self, lock: str) -> None:
        row = self._store.db.execute(
            "SELECT 1 FROM feedback_message WHERE lock = ? AND locked_until > ?", (lock, self._now())
        ).fetchone()
        if row is None:
            raise MessageLockLost(
                f"no feedback message is locked by {lock[:40]!r}: its lock has ended, or it was settled before. "
                "Receive again; the message comes once more if it was not completed."
            )

    def _unlock(self, db: sqlite3.Connection, which: str, value: str | int) -> None:
        db.execute(
            f"UPDATE feedback_message SET lock = NULL, locked_until = NULL, deliveries = deliveries + 1 WHERE {which}",
            (value,),
        )
        db.execute(
            "DELETE FROM feedback_message WHERE lock IS NULL AND deliveries >= ?",
            (self.settings.feedback_max_deliveries,),
        )

    def _send_due(self) -> None:
        waiting = self._store.db.execute("SELECT COUNT(*) FROM feedback_record").fetchone()[0]
        monotonic = self._clock.monotonic()
        quiet = self._sent is None or monotonic - self._sent >= self.settings.feedback_interval
        if not waiting or (waiting < BATCH and not quiet):
            return
        now = self._now()
        with self._store.transaction() as db:
            while waiting >= BATCH or (waiting and quiet):
                rows = db.execute(
                    "SELECT id, body FROM feedback_record ORDER BY id LIMIT ?", (BATCH,)
                ).fetchall()
                db.execute("DELETE FROM feedback_record WHERE id <= ?", (rows[-1][0],))
                db.execute(
                    "INSERT INTO feedback_message (message_id, enqueued, expires, deliveries, body) "
                    "VALUES (?, ?, ?, 0, ?)",
                    (
                        self._clock.new_id(),
                        now,
                        now + int(self.settings.feedback_ttl * 1000),
                        "[" + ",".join(body for _, body in rows) + "]",
                    ),
                )
                waiting -= len(rows)
        self._sent = monotonic
        self._tell()

    def _tell(self) -> None:
        for told in tuple(self._listeners):
            told()

    def _now(self) -> int:
        return int(self._clock.now() * 1000)
