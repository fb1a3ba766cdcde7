"""MQTT sessions: what a client is subscribed to, kept while it is away and while the server is.

Shared by the hub and the edge runtime. A client of the official SDK connects with clean_session=False and
never subscribes again after a reconnect, so a session outlives connections and restarts (MQTT 3.1.1, 3.1.2.4).

An epoch is a stretch of a session in which the client may still re-send something: it ends with a clean
DISCONNECT or with a clean session. See `Log.replays` for what it is good for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from iotedge_lab.broker.outbox import Outbox
from iotedge_lab.wire.mqtt.filters import matches

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Session:
    """The session of one identity. `subscriptions` maps topic filters to granted QoS."""

    device: str
    module: str
    epoch: int
    persistent: bool
    subscriptions: dict[str, int] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)

    def granted(self, topic: str) -> int | None:
        """The QoS at which the client takes `topic`, or None if it is not subscribed (MQTT 3.1.1, 3.3.5)."""
        found = [qos for topic_filter, qos in self.subscriptions.items() if matches(topic_filter, topic)]
        return max(found, default=None)


class Connection(Protocol):
    """A live connection, as the sessions see it."""

    def deliver(self, topic: str, payload: bytes) -> bool:
        """Send a message to the client, if it is subscribed to the topic; whether it was."""
        ...

    def drop(self, reason: str) -> None:
        """Close it: a newer connection of the same identity has come, or the identity is gone."""
        ...


class SessionStore(Protocol):
    """Where sessions are kept."""

    def load(self, device: str, module: str) -> tuple[int, str] | None:
        """Epoch and subscriptions (JSON) of a kept session, or None."""
        ...

    def save(self, device: str, module: str, epoch: int, subscriptions: str) -> None:
        """Keep a session durably; raises `StoreUnavailable`."""
        ...

    def forget(self, device: str, module: str) -> None:
        """Drop a kept session."""
        ...


class Sessions:
    """One session and at most one connection an identity."""

    def __init__(self, store: SessionStore, new_epoch: Callable[[], int]) -> None:
        self._store = store
        self._new_epoch = new_epoch
        self._live: dict[tuple[str, str], tuple[Session, Connection]] = {}
        self._outboxes: dict[tuple[str, str], Outbox] = {}  # of persistent sessions whose client is away

    def open(self, device: str, module: str, connection: Connection, *, clean: bool) -> tuple[Session, bool]:
        """The session for a new connection, and whether it was there before (CONNACK's session present).

        An older connection of the same identity is dropped (MQTT 3.1.1, 3.1.4-2).
        """
        older = self._live.pop((device, module), None)
        outbox = self._outboxes.pop((device, module), None)
        if older is not None:
            if older[0].persistent:
                # What is unacknowledged goes over to the new connection; the older one may end after this.
                outbox, older[0].outbox = older[0].outbox, Outbox()
                outbox.disconnected()
            older[1].drop(
                "another connection of the same identity was opened (400027 "
                "ConnectionForcefullyClosedOnNewConnection)"
            )
        kept = self._store.load(device, module)
        if clean:
            if kept is not None:
                self._store.forget(device, module)
            session, present = Session(device, module, self._new_epoch(), persistent=False), False
        elif kept is None:
            session, present = Session(device, module, self._new_epoch(), persistent=True), False
            self._save(session)
        else:
            session = Session(device, module, kept[0], persistent=True, subscriptions=json.loads(kept[1]))
            session.outbox = outbox or session.outbox
            present = True
        self._live[(device, module)] = (session, connection)
        return session, present

    def close(self, session: Session, connection: Connection, *, clean: bool) -> None:
        """The connection has ended; `clean`: by a DISCONNECT, after which nothing is re-sent."""
        if clean and session.persistent:
            session.epoch = self._new_epoch()
            self._save(session)
        session.outbox.disconnected()
        key = (session.device, session.module)
        current = self._live.get(key)
        if current is not None and current[1] is connection:
            del self._live[key]
            if session.persistent and session.outbox:
                self._outboxes[key] = session.outbox

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> None:
        """Add a subscription; kept before this returns if the session is persistent."""
        if session.subscriptions.get(topic_filter) != qos:
            session.subscriptions[topic_filter] = qos
            self._save(session)

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Take a subscription away."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._save(session)

    def connection_of(self, device: str, module: str = "") -> Connection | None:
        """The live connection of an identity, or None."""
        live = self._live.get((device, module))
        return None if live is None else live[1]

    def drop(self, device: str, module: str | None, reason: str) -> None:
        """Drop the connection of a module, or (None) of a device and all its modules."""
        for key in [key for key in self._live if key[0] == device and module in (None, key[1])]:
            self._live.pop(key)[1].drop(reason)

    def forget(self, device: str, module: str) -> None:
        """The identity is gone: what its client had not acknowledged is nobody's."""
        self._outboxes.pop((device, module), None)

    def clear(self, reason: str) -> None:
        """Drop every connection and forget what is unacknowledged: all identities are gone."""
        live, self._live = self._live, {}
        self._outboxes.clear()
        for _, connection in live.values():
            connection.drop(reason)

    def __len__(self) -> int:
        return len(self._live)

    def _save(self, session: Session) -> None:
        if session.persistent:
            subscriptions = json.dumps(session.subscriptions, sort_keys=True)
            self._store.save(session.device, session.module, session.epoch, subscriptions)
