"""Feedback: how cloud-to-device messages ended, told to the services that asked for it.

Stands for "Message feedback" in "Understand cloud-to-device messaging" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-messages-c2d). Records are gathered into messages: one goes out when 64 records wait, or 15 s
after the last one went out, whichever comes first (so the first after a quiet time goes out at once). How a message is
locked, completed and delivered again is in `service_queue`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from iotedge_lab.hub.command_message import Ack, Outcome, wants_feedback
from iotedge_lab.hub.identities import iso
from iotedge_lab.hub.service_queue import Limits, ServiceQueue

if TYPE_CHECKING:
    import sqlite3

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.command_settings import CommandSettings
    from iotedge_lab.hub.store import Store

CONTENT_TYPE: Final = "application/vnd.microsoft.iothub.feedback.json"
BATCH: Final = 64


class Feedback(ServiceQueue):
    """The queue `/messages/serviceBound/feedback`; the body of a message is a JSON array of records."""

    table = "feedback_message"
    what = "feedback message"
    content_type = CONTENT_TYPE

    def __init__(self, store: Store, clock: Clock, settings: CommandSettings) -> None:
        super().__init__(store, clock)
        self.settings = settings
        self._sent: float | None = None  # when the last message went out (monotonic)

    def limits(self) -> Limits:
        """Of the hub's options."""
        settings = self.settings
        return Limits(settings.feedback_ttl, settings.feedback_max_deliveries, settings.feedback_lock)

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
        super().tick()

    def _send_due(self) -> None:
        waiting = self._store.db.execute("SELECT COUNT(*) FROM feedback_record").fetchone()[0]
        monotonic = self._clock.monotonic()
        quiet = self._sent is None or monotonic - self._sent >= self.settings.feedback_interval
        if not waiting or (waiting < BATCH and not quiet):
            return
        with self._store.transaction() as db:
            while waiting >= BATCH or (waiting and quiet):
                rows = db.execute(
                    "SELECT id, body FROM feedback_record ORDER BY id LIMIT ?", (BATCH,)
                ).fetchall()
                db.execute("DELETE FROM feedback_record WHERE id <= ?", (rows[-1][0],))
                self.enqueue(db, "[" + ",".join(body for _, body in rows) + "]")
                waiting -= len(rows)
        self._sent = monotonic
        self.tell()
