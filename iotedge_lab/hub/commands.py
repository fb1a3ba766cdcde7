"""The cloud-to-device queues: up to 50 messages a device, kept until the device has them.

Stands for "Understand cloud-to-device messaging from an IoT hub" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-messages-c2d). A message is enqueued, invisible (locked, or on its way to an MQTT device), and
in the end completed or dead-lettered: expired, rejected, purged, delivered too often. How it ended is told to its
sender where that asked (`feedback`).

The store is the truth. What is kept in memory is what is on its way over a live MQTT connection: it needs no row,
because a connection does not outlive the hub. The lock of a message received over HTTPS is in the store.

Which deliveries count: the documents disagree. Here each that ends without completion does (abandoned, lock
ended, connection ended); the newest page says that only abandoning does, and then an MQTT device that never
acknowledges would get a message again and again until it expires. A hub that is killed counts nothing.

Left out: messages to modules, which IoT Hub does not have either.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from iotedge_lab.broker.group_commit import GroupCommit
from iotedge_lab.errors import (
    DeviceNotFound,
    MaximumQueueDepthExceeded,
    MessageLockLost,
    ServiceError,
    StoreUnavailable,
    Throttled,
)
from iotedge_lab.hub.command_message import Command, Draft, Outcome
from iotedge_lab.hub.command_settings import CommandSettings
from iotedge_lab.hub.feedback import Feedback

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identities
    from iotedge_lab.hub.store import Store

log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 50
TTL_LIMIT_SECONDS: Final = 172_800  # a message lives two days at most, whatever its sender asks
_SETTINGS_KEY = "cloud_to_device"
_COLUMNS = "seq, enqueued, deliveries, device, body, system, properties, ack, asked_expiry"


class Receiver(Protocol):
    """A live MQTT connection of a device."""

    def deliver(
        self,
        topic: str,
        payload: bytes,
        acknowledged: Callable[[], None] | None = None,
        *,
        kept: bool = False,
        again: Callable[[], bool] | None = None,
    ) -> bool:
        """Send, if the device is subscribed to the topic; whether it was. Raises `Throttled`.

        `kept`: send it again when the device returns, if `again()` then says that it is still wanted.
        """
        ...


@dataclass(slots=True)
class _Live:
    """A connection, and what is on its way over it (by sequence number)."""

    receiver: Receiver
    on_its_way: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Locked:
    """A message received over HTTPS; `lock` settles it."""

    command: Command
    lock: str


class Commands:
    """Send, deliver, receive, settle, purge. What a call reports done is durable."""

    def __init__(self, store: Store, identities: Identities, clock: Clock) -> None:
        self._store = store
        self._identities = identities
        self._clock = clock
        stored = store.get_meta(_SETTINGS_KEY)
        self.settings = CommandSettings.from_json(json.loads(stored)) if stored else CommandSettings()
        self.feedback = Feedback(store, clock, self.settings)
        self._group = GroupCommit(store)
        self._live: dict[str, _Live] = {}
        self._completing: set[int] = set()  # acknowledged by the device, and not durably so yet
        self._to_retry: list[tuple[str, int]] = []  # completions that the store refused
        self._behind: set[str] = set()  # devices whose connection had no room

    def configure(self, settings: CommandSettings) -> None:
        """Change the options, for good; messages that wait keep the expiry that they have."""
        self._store.set_meta(_SETTINGS_KEY, json.dumps(settings.to_json()))
        self.settings = self.feedback.settings = settings

    # -- the service's side ----------------------------------------------------------------------------

    def send(self, draft: Draft, done: Callable[[ServiceError | None], None]) -> None:
        """Enqueue a message, and deliver it if the device is there. `done(None)` when it is durable.

        `done` gets `DeviceNotFound` (404001), `MaximumQueueDepthExceeded` (403004) or `StoreUnavailable` (503).
        Raises `ArgumentInvalid` or `MessageTooLarge` for the draft itself.
        """
        draft.check()

        def committed(error: ServiceError | None) -> None:
            done(error)
            if error is None:
                self.pump(draft.device)

        self._group.do(partial(self._insert, draft), committed)

    def _insert(self, draft: Draft, db: sqlite3.Connection) -> None:
        if self._identities.find(draft.device) is None:
            raise DeviceNotFound(f"there is no device {draft.device!r}; register it first.")
        now = self._now()
        row = db.execute(
            "SELECT COUNT(*) FROM command WHERE device = ? AND expires > ?", (draft.device, now)
        ).fetchone()
        if row[0] >= QUEUE_LIMIT:
            raise MaximumQueueDepthExceeded(
                f"device {draft.device!r} has {QUEUE_LIMIT} messages waiting, the most there may be. Have the device "
                "receive them, purge its queue, or send with a shorter expiry."
            )
        latest = now + TTL_LIMIT_SECONDS * 1000
        expires = now + int(self.settings.ttl * 1000) if draft.expiry is None else min(draft.expiry, latest)
        db.execute(
            "INSERT INTO command (device, enqueued, expires, deliveries, body, system, properties, ack, asked_expiry)"
            " VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?)",
            (
                draft.device,
                now,
                expires,
                draft.body,
                json.dumps(dict(draft.system)),
                json.dumps(dict(draft.properties)),
                draft.ack,
                draft.expiry,
            ),
        )

    def count(self, device: str) -> int:
        """How many messages wait for a device (`cloudToDeviceMessageCount`), those on their way included."""
        row = self._store.db.execute(
            "SELECT COUNT(*) FROM command WHERE device = ? AND expires > ?", (device, self._now())
        ).fetchone()
        return int(row[0])

    def purge(self, device: str) -> int:
        """Drop all messages that wait for a device; how many. Raises `DeviceNotFound`."""
        self._identities.get(device)
        now = self._now()
        with self._store.transaction() as db:
            self._expire(db, now, device)
            rows = db.execute("SELECT seq FROM command WHERE device = ?", (device,)).fetchall()
            seqs = [row[0] for row in rows if row[0] not in self._completing]
            self._end(db, seqs, Outcome.PURGED)
        return len(seqs)

    # -- MQTT ------------------------------------------------------------------------------------------

    def connected(self, device: str, receiver: Receiver) -> None:
        """A device has connected; an older connection's deliveries have ended. `pump` comes after this."""
        older = self._live.pop(device, None)
        self._live[device] = _Live(receiver)
        if older is not None:
            self._returned(older.on_its_way)

    def gone(self, device: str, receiver: Receiver) -> None:
        """A connection has ended: what was on its way over it is in the queue again."""
        live = self._live.get(device)
        if live is not None and live.receiver is receiver:
            del self._live[device]
            self._behind.discard(device)
            self._returned(live.on_its_way)

    def pump(self, device: str) -> None:
        """Send a connected device all that waits for it, oldest first, if it is subscribed."""
        live = self._live.get(device)
        if live is None:
            return
        self._behind.discard(device)
        rows = self._store.db.execute(
            "SELECT seq FROM command WHERE device = ? AND lock IS NULL AND expires > ? ORDER BY seq",
            (device, self._now()),
        ).fetchall()
        for (seq,) in rows:
            if (
                seq not in live.on_its_way
                and seq not in self._completing
                and not self._deliver(live, device, seq)
            ):
                return

    def _deliver(self, live: _Live, device: str, seq: int) -> bool:
        command = self._command(seq)
        live.on_its_way.add(seq)
        try:
            taken = live.receiver.deliver(
                command.draft.topic(),
                command.draft.body,
                partial(self._acknowledged, device, seq),
                kept=True,
                again=partial(self._again, device, seq),
            )
        except Throttled:
            taken = False
            self._behind.add(device)  # tried again once a second
        if not taken:
            live.on_its_way.discard(seq)
        return taken

    def _again(self, device: str, seq: int) -> bool:
        """The device has returned and did not acknowledge `seq`: whether to send it again."""
        row = self._store.db.execute(
            "SELECT 1 FROM command WHERE seq = ? AND lock IS NULL AND expires > ?", (seq, self._now())
        ).fetchone()
        live = self._live.get(device)
        if row is None or live is None or seq in self._completing:
            return False
        live.on_its_way.add(seq)
        return True

    def _acknowledged(self, device: str, seq: int) -> None:
        self._completing.add(seq)
        self._identities.heard(device, "")

        def done(error: ServiceError | None) -> None:
            if error is not None:
                self._to_retry.append((device, seq))
                return
            self._completing.discard(seq)
            live = self._live.get(device)
            if live is not None:
                live.on_its_way.discard(seq)

        self._group.do(lambda db: self._end(db, (seq,), Outcome.SUCCESS), done)

    def _returned(self, seqs: Iterable[int]) -> None:
        failed = [seq for seq in sorted(seqs) if seq not in self._completing]
        if not failed:
            return
        try:
            with self._store.transaction() as db:
                self._failed(db, failed)
        except StoreUnavailable as error:
            log.warning("deliveries that ended were not counted: %s", error)  # the messages wait as before

    # -- HTTPS -----------------------------------------------------------------------------------------

    def receive(self, device: str, lock_seconds: float | None = None) -> Locked | None:
        """Lock the oldest free message of a device for `lock_seconds` (default 60), or None."""
        if not self.count(device):
            return None
        now = self._now()
        live = self._live.get(device)
        busy = self._completing | (live.on_its_way if live else set())
        with self._store.transaction() as db:
            self._unlock(db, now, device)
            rows = db.execute(
                "SELECT seq FROM command WHERE device = ? AND lock IS NULL AND expires > ? ORDER BY seq",
                (device, now),
            ).fetchall()
            seq = next((row[0] for row in rows if row[0] not in busy), None)
            if seq is None:
                return None
            lock = self._clock.new_id()
            until = now + int((self.settings.lock if lock_seconds is None else lock_seconds) * 1000)
            db.execute("UPDATE command SET lock = ?, locked_until = ? WHERE seq = ?", (lock, until, seq))
        return Locked(self._command(seq), lock)

    def complete(self, device: str, lock: str) -> None:
        """The device has the message. Raises `MessageLockLost` (412002)."""
        seq = self._locked(device, lock)
        with self._store.transaction() as db:
            self._end(db, (seq,), Outcome.SUCCESS)

    def reject(self, device: str, lock: str) -> None:
        """The device does not want the message. Raises `MessageLockLost` (412002)."""
        seq = self._locked(device, lock)
        with self._store.transaction() as db:
            self._end(db, (seq,), Outcome.REJECTED)

    def abandon(self, device: str, lock: str) -> None:
        """The device gives the message back to the queue. Raises `MessageLockLost` (412002)."""
        seq = self._locked(device, lock)
        with self._store.transaction() as db:
            self._failed(db, (seq,))
        self.pump(device)

    def _locked(self, device: str, lock: str) -> int:
        row = self._store.db.execute(
            "SELECT seq FROM command WHERE device = ? AND lock = ? AND locked_until > ?",
            (device, lock, self._now()),
        ).fetchone()
        if row is None:
            raise MessageLockLost(
                f"no message of {device!r} is locked by {lock[:40]!r}: its lock has ended, or it was settled before. "
                "Receive again; the message comes once more if it was not completed."
            )
        return int(row[0])

    # -- housekeeping ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: messages and locks whose time is up, what had no room, feedback that is due."""
        retry, self._to_retry = self._to_retry, []
        for device, seq in retry:
            self._acknowledged(device, seq)
        now = self._now()
        overdue = self._store.db.execute(
            "SELECT 1 FROM command WHERE expires <= ?1 OR locked_until <= ?1 LIMIT 1", (now,)
        ).fetchone()
        if overdue:
            with self._store.transaction() as db:
                freed = self._unlock(db, now)
                self._expire(db, now)
            self._behind |= freed
        for device in tuple(self._behind):
            self.pump(device)
        self.feedback.tick()

    def _unlock(self, db: sqlite3.Connection, now: int, device: str | None = None) -> set[str]:
        """End the locks whose time is up; the devices that had them."""
        rows = _select(db, "seq, device", "locked_until <= ?", now, device)
        self._failed(db, [row[0] for row in rows])
        return {row[1] for row in rows}

    def _expire(self, db: sqlite3.Connection, now: int, device: str | None = None) -> None:
        # A message that a device has locked in time may be completed until the lock ends.
        rows = _select(db, "seq", "expires <= ? AND lock IS NULL", now, device)
        self._end(db, [row[0] for row in rows if row[0] not in self._completing], Outcome.EXPIRED)

    def _failed(self, db: sqlite3.Connection, seqs: Iterable[int]) -> None:
        """Deliveries have ended without completion: into the queue again, or dead-lettered."""
        worn = []
        for seq in seqs:
            row = db.execute(
                "UPDATE command SET deliveries = deliveries + 1, lock = NULL, locked_until = NULL WHERE seq = ? "
                "RETURNING deliveries",
                (seq,),
            ).fetchone()
            if row is not None and row[0] >= self.settings.max_deliveries:
                worn.append(seq)
        self._end(db, worn, Outcome.DELIVERY_COUNT_EXCEEDED)

    def _end(self, db: sqlite3.Connection, seqs: Iterable[int], outcome: Outcome) -> None:
        """Take messages off their queues, with the feedback that was asked for; those that are gone are passed."""
        for seq in seqs:
            row = db.execute(
                "DELETE FROM command WHERE seq = ? RETURNING device, system, ack", (seq,)
            ).fetchone()
            if row is not None:
                self.feedback.record(db, row[0], json.loads(row[1]).get("message-id"), row[2], outcome)

    def _command(self, seq: int) -> Command:
        row = self._store.db.execute(f"SELECT {_COLUMNS} FROM command WHERE seq = ?", (seq,)).fetchone()
        draft = Draft(row[3], row[4], json.loads(row[5]), json.loads(row[6]), row[7], row[8])
        return Command(row[0], row[1], row[2], draft)

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _select(db: sqlite3.Connection, columns: str, where: str, now: int, device: str | None) -> list[Any]:
    if device is None:
        return db.execute(f"SELECT {columns} FROM command WHERE {where} ORDER BY seq", (now,)).fetchall()
    return db.execute(
        f"SELECT {columns} FROM command WHERE {where} AND device = ? ORDER BY seq", (now, device)
    ).fetchall()
