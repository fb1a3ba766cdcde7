"""What the edge remembers of the hub while the link is cut: sessions, identities, twins.

Stands for the caches of the open-source edgeHub (DeviceScopeIdentitiesCache, TwinManager). What they mean is the
callers' matter; here they are loaded and saved. What a call has saved when it returns, or `done(None)` has told,
outlives a kill. Each raises `StoreUnavailable`, or tells it to `done`, where the disk has no room.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.group_commit import GroupCommit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from iotedge_lab.edge.store.file import EdgeStore
    from iotedge_lab.errors import ServiceError

Json = dict[str, Any]


class KeptSessions:
    """MQTT sessions (`broker.sessions.SessionStore`)."""

    def __init__(self, store: EdgeStore) -> None:
        self._store = store

    def load(self, device: str, module: str) -> tuple[int, str] | None:
        """Epoch and subscriptions (JSON) of a kept session, or None."""
        found = self._store.rows(
            "SELECT epoch, subscriptions FROM session WHERE device = ? AND module = ?", (device, module)
        )
        return (found[0][0], found[0][1]) if found else None

    def save(self, device: str, module: str, epoch: int, subscriptions: str) -> None:
        """Keep a session; durable when this returns."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?)", (device, module, epoch, subscriptions)
            )

    def forget(self, device: str, module: str) -> None:
        """Drop a kept session; one that is not there is no error."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM session WHERE device = ? AND module = ?", (device, module))

    def list(self) -> list[tuple[str, str]]:
        """Device and module of each kept session, sorted."""
        return [
            (row[0], row[1]) for row in self._store.rows("SELECT device, module FROM session ORDER BY 1, 2")
        ]


class KeptIdentities:
    """The identities of the device scope, as JSON documents with their keys; module '' is the device itself."""

    def __init__(self, store: EdgeStore) -> None:
        self._store = store

    def load(self, device: str, module: str = "") -> Json | None:
        """The document of one identity, or None."""
        found = self._store.rows(
            "SELECT document FROM identity WHERE device = ? AND module = ?", (device, module)
        )
        return json.loads(found[0][0]) if found else None

    def save(self, device: str, module: str, document: Json) -> None:
        """Keep one identity, in place of what was kept of it."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO identity VALUES (?, ?, ?)", (device, module, json.dumps(document))
            )

    def replace(self, identities: Iterable[tuple[str, str, Json]]) -> None:
        """Keep these (device, module, document) and no others: the whole scope was read anew."""
        rows = [(device, module, json.dumps(document)) for device, module, document in identities]
        with self._store.transaction() as db:
            db.execute("DELETE FROM identity")
            db.executemany("INSERT OR REPLACE INTO identity VALUES (?, ?, ?)", rows)

    def delete(self, device: str, module: str | None = "") -> None:
        """Forget one identity, or (None) a device with all its modules."""
        with self._store.transaction() as db:
            db.execute(
                "DELETE FROM identity WHERE device = ? AND (? IS NULL OR module = ?)",
                (device, module, module),
            )

    def list(self) -> list[tuple[str, str, Json]]:
        """All as (device, module, document), sorted."""
        found = self._store.rows("SELECT device, module, document FROM identity ORDER BY 1, 2")
        return [(row[0], row[1], json.loads(row[2])) for row in found]


@dataclass(frozen=True, slots=True)
class KeptTwin:
    """A twin as the edge knows it. `pending` is the patch of reported properties that the hub does not have yet.

    Patches that follow each other cannot be merged into one without knowing what they apply to (`{"a": null}`, then
    `{"a": {"b": 1}}`); `broker.twin.difference(what the hub has, what the module has)` always gives one that is
    right.
    """

    document: Json
    pending: Json | None = None


class KeptTwins:
    """The twins of the edge's modules and of the devices behind it."""

    def __init__(self, store: EdgeStore) -> None:
        self._store = store
        self._group = GroupCommit(store)
        self._soon: dict[tuple[str, str], KeptTwin] = {}  # saved with this turn's transaction

    def load(self, device: str, module: str = "") -> KeptTwin | None:
        """One twin, or None; what was saved a moment ago counts, durable or not."""
        soon = self._soon.get((device, module))
        if soon is not None:
            return soon
        found = self._store.rows(
            "SELECT document, pending FROM twin WHERE device = ? AND module = ?", (device, module)
        )
        return _twin(found[0][0], found[0][1]) if found else None

    def save(self, device: str, module: str, twin: KeptTwin) -> None:
        """Keep a twin with its pending patch; durable when this returns."""
        row = _row(device, module, twin)
        if self._soon:
            self._store.flush()  # else an older one would be written over this
        with self._store.transaction() as db:
            _save(db, row)

    def save_soon(
        self, device: str, module: str, twin: KeptTwin, done: Callable[[ServiceError | None], None]
    ) -> None:
        """Keep a twin in this turn's transaction; `done(None)` when it is durable: acknowledge a report then."""
        row = _row(device, module, twin)
        key = (device, module)
        self._soon[key] = twin

        def saved(error: ServiceError | None) -> None:
            if self._soon.get(key) is twin:
                del self._soon[key]
            done(error)

        self._group.do(lambda db: _save(db, row), saved)

    def delete(self, device: str, module: str | None = "") -> None:
        """Forget one twin, or (None) those of a device and all its modules."""
        if self._soon:
            self._store.flush()
        with self._store.transaction() as db:
            db.execute(
                "DELETE FROM twin WHERE device = ? AND (? IS NULL OR module = ?)", (device, module, module)
            )

    def pending(self) -> list[tuple[str, str]]:
        """Device and module of each twin with a pending patch, sorted: what to send when the link is back."""
        found = self._store.rows("SELECT device, module FROM twin WHERE pending IS NOT NULL ORDER BY 1, 2")
        return [(row[0], row[1]) for row in found]

    def list(self) -> list[tuple[str, str, KeptTwin]]:
        """All as (device, module, twin), sorted."""
        found = self._store.rows("SELECT device, module, document, pending FROM twin ORDER BY 1, 2")
        return [(row[0], row[1], _twin(row[2], row[3])) for row in found]


_Row = tuple[str, str, str, str | None]


def _row(device: str, module: str, twin: KeptTwin) -> _Row:
    # Made before the transaction: JSON that cannot be written is a fault of this caller alone.
    pending = None if twin.pending is None else json.dumps(twin.pending)
    return device, module, json.dumps(twin.document), pending


def _save(db: sqlite3.Connection, row: _Row) -> None:
    db.execute("INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?)", row)


def _twin(document: str, pending: str | None) -> KeptTwin:
    return KeptTwin(json.loads(document), None if pending is None else json.loads(pending))
