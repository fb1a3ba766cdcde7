"""The identity registry: devices and modules, their keys and state.

Stands for "Understand the identity registry in your IoT hub" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-identity-registry), REST api-version 2021-04-12. JSON goes in and out as the service has it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceAlreadyExists,
    DeviceNotFound,
    ModuleAlreadyExists,
    ModuleNotFound,
    PreconditionFailed,
    TooManyModules,
)
from iotedge_lab.hub.access import new_key
from iotedge_lab.hub.identity_body import (
    check_ids,
    guess_type,
    read_key,
    read_section,
    read_text,
    read_thumbprint,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Mapping

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.store import Store

MODULES_PER_DEVICE = 50
NEVER = "0001-01-01T00:00:00Z"
EDGE_MODULES = ("$edgeAgent", "$edgeHub")
_AUTH_TYPES = ("sas", "selfSigned", "certificateAuthority", "none")
_COLUMNS: Final = (
    "device, module, generation_id, etag, auth_type, primary_key, secondary_key, primary_thumbprint, "
    "secondary_thumbprint, status, status_reason, status_updated, state_updated, last_activity, iot_edge, "
    "device_scope, parent_scopes, managed_by"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A device (`module` is '') or a module of it. Times are seconds since 1970, or None for never."""

    device: str
    module: str
    generation_id: str
    etag: str
    auth_type: str
    primary_key: str | None
    secondary_key: str | None
    primary_thumbprint: str | None
    secondary_thumbprint: str | None
    status: str
    status_reason: str | None
    status_updated: float | None
    state_updated: float | None
    last_activity: float | None
    iot_edge: bool
    device_scope: str | None
    parent_scopes: tuple[str, ...]
    managed_by: str | None

    @property
    def enabled(self) -> bool:
        """Whether it may connect."""
        return self.status == "enabled"

    def __repr__(self) -> str:
        name = f"{self.device}/{self.module}" if self.module else self.device
        return f"Identity({name!r}, {self.auth_type}, {self.status}, keys=***)"


@dataclass(slots=True)
class Presence:
    """Whether an identity is connected, since when, and when it was last heard of (s since 1970).

    `kept`: the activity that is stored; what came since would not outlive the process.
    """

    connected: bool
    updated: float | None
    activity: float
    kept: float | None = None


class Identities:
    """Create, read, update, delete; and who is connected."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._presence: dict[tuple[str, str], Presence] = {}
        # In the transaction that makes an identity; after it; after one was changed; before one is deleted (what
        # that gives back is called after); and when one connects (True) or disconnects.
        self.on_creating: list[Callable[[sqlite3.Connection, Identity], None]] = []
        self.on_created: list[Callable[[Identity], None]] = []
        self.on_changed: list[Callable[[Identity], None]] = []
        self.on_deleting: list[Callable[[Identity], Callable[[], None]]] = []
        self.on_presence: list[Callable[[str, str, bool], None]] = []
        self.pending: Callable[[str], int] = lambda _: 0  # cloud-to-device messages that wait for a device

    # -- reading ---------------------------------------------------------------------------------------

    def find(self, device: str, module: str = "") -> Identity | None:
        """The identity, or None."""
        row = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM identity WHERE device = ? AND module = ?",
            (device, module),
        ).fetchone()
        return None if row is None else _from_row(row)

    def get(self, device: str, module: str = "") -> Identity:
        """The identity; raises `DeviceNotFound` (404001) or `ModuleNotFound` (404010)."""
        found = self.find(device, module)
        if found is not None:
            return found
        if not module or self.find(device) is None:
            raise DeviceNotFound(f"there is no device {device!r}; register it first.")
        raise ModuleNotFound(f"device {device!r} has no module {module!r}; create its identity first.")

    def devices(self, limit: int) -> list[Identity]:
        """Up to `limit` devices, in the order of their ids."""
        rows = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM identity WHERE module = '' ORDER BY device LIMIT ?",
            (limit,),
        )
        return [_from_row(row) for row in rows]

    def modules(self, device: str) -> list[Identity]:
        """The modules of a device, in the order of their ids; raises `DeviceNotFound`."""
        self.get(device)
        rows = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM identity WHERE device = ? AND module != '' ORDER BY module",
            (device,),
        )
        return [_from_row(row) for row in rows]

    def in_scope(self, edge: Identity, after: str, limit: int) -> list[Identity]:
        """Devices in the scope of an edge device, itself among them, by id, from behind `after` on."""
        rows = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM identity WHERE module = '' AND device > ? AND (device = ? OR "
            "? IN (SELECT value FROM json_each(parent_scopes))) ORDER BY device LIMIT ?",
            (after, edge.device, edge.device_scope, limit),
        )
        return [_from_row(row) for row in rows]

    def of_scopes(self, scopes: Collection[str]) -> list[Identity]:
        """The edge devices whose own scopes these are."""
        rows = self._store.db.execute(
            f"SELECT {_COLUMNS} FROM identity WHERE module = '' AND iot_edge AND device_scope IN "
            f"({', '.join('?' * len(scopes))})",
            tuple(scopes),
        )
        return [_from_row(row) for row in rows]

    def count(self) -> tuple[int, int, int]:
        """(all, enabled, disabled) devices."""
        row = self._store.db.execute(
            "SELECT COUNT(*), COALESCE(SUM(status = 'enabled'), 0) FROM identity WHERE module = ''"
        ).fetchone()
        return row[0], row[1], row[0] - row[1]

    def presence(self) -> list[tuple[str, str, bool, float]]:
        """Who has been heard of since the start: device, module, whether it is connected, and when it was last."""
        return [(*key, each.connected, each.activity) for key, each in self._presence.items()]

    def connected_devices(self) -> int:
        """How many devices (modules not counted) are connected."""
        return sum(1 for (_, module), presence in self._presence.items() if presence.connected and not module)

    # -- writing ---------------------------------------------------------------------------------------

    def put(
        self, device: str, module: str, body: Mapping[str, Any], if_match: str | None
    ) -> tuple[Identity, bool]:
        """Create (no `if_match`) or update; the identity and whether it is new.

        Raises `ArgumentInvalid` (400004), `DeviceAlreadyExists` (409001), `ModuleAlreadyExists` (409301),
        `PreconditionFailed` (412), `DeviceNotFound`, `ModuleNotFound`, `TooManyModules` (413003).
        """
        check_ids(device, module, body)
        if module:
            self.get(device)
        current = self.find(device, module)
        if if_match is None:
            if current is not None:
                raise (ModuleAlreadyExists if module else DeviceAlreadyExists)(
                    f"{module or device!r} exists already; to change it, send its etag in If-Match."
                )
            if module:
                self._check_room(device, [module])
        elif current is None:
            self.get(device, module)
        elif not etag_matches(if_match, current.etag):
            raise PreconditionFailed(f"the etag is {current.etag!r} now; read the identity again and retry.")
        made = self._merge(current, device, module, body)
        new = [] if current else [made]
        with self._store.transaction() as db:
            _write(db, made)
            if made.iot_edge and not (current and current.iot_edge):
                for name in EDGE_MODULES:
                    if self.find(device, name) is None:
                        new.append(self._merge(None, device, name, {"managedBy": None}))
                        _write(db, new[-1])
            for identity in new:
                for create in self.on_creating:
                    create(db, identity)
        for identity in new:
            self.tell_created(identity)
        if current is not None:
            for tell in self.on_changed:
                tell(made)
        return made, current is None

    def plan_modules(self, device: str, modules: Mapping[str, Any]) -> list[Identity]:
        """New modules of a device with bodies as for `put`, worked out and not yet stored.

        For several in one transaction: plan them, `add` each, `tell_created` of each. Raises `ArgumentInvalid`,
        `TooManyModules`.
        """
        for module, body in modules.items():
            check_ids(device, module, body)
        self._check_room(device, modules)
        return [self._merge(None, device, module, body) for module, body in modules.items()]

    def add(self, db: sqlite3.Connection, identity: Identity) -> None:
        """Store a planned identity and what comes with it, in the caller's transaction."""
        _write(db, identity)
        for create in self.on_creating:
            create(db, identity)

    def tell_created(self, identity: Identity) -> None:
        """Tell of an identity that is stored."""
        for tell in self.on_created:
            tell(identity)

    def _check_room(self, device: str, modules: Collection[str]) -> None:
        """Those of the user's count; $edgeAgent and $edgeHub come in addition (IoT Edge, module-composition)."""
        have = [each.module for each in self.modules(device) if each.module not in EDGE_MODULES]
        come = [module for module in modules if module not in EDGE_MODULES]
        if come and len(have) + len(come) > MODULES_PER_DEVICE:
            raise TooManyModules(
                f"device {device!r} has {len(have)} modules, and {MODULES_PER_DEVICE} are the most: there is no "
                f"room for {len(come)} more. Delete the identities of those that it no longer needs."
            )

    def delete(self, device: str, module: str, if_match: str | None) -> Identity:
        """Delete an identity (a device with its modules); raises as `put` does. Returns what it was."""
        current = self.get(device, module)
        if if_match is not None and not etag_matches(if_match, current.etag):
            raise PreconditionFailed(f"the etag is {current.etag!r} now; read the identity again and retry.")
        where = "device = ? AND module = ?" if module else "device = ?"
        keys = (device, module) if module else (device,)
        going = [current] if module or not self.on_deleting else [*self.modules(device), current]
        told = [prepare(identity) for identity in going for prepare in self.on_deleting]
        with self._store.transaction() as db:
            for table in ("identity", "session", "twin", "assignment"):
                db.execute(f"DELETE FROM {table} WHERE {where}", keys)
            if not module:
                for table in ("command", "feedback_record", "file_upload"):
                    db.execute(f"DELETE FROM {table} WHERE device = ?", (device,))
        for key in [key for key in self._presence if key[0] == device and (not module or key[1] == module)]:
            del self._presence[key]
        for tell in told:
            tell()
        return current

    def _merge(self, current: Identity | None, device: str, module: str, body: Mapping[str, Any]) -> Identity:
        now = self._clock.now()
        auth = read_section(body, "authentication")
        kind = auth.get("type")
        if kind is None:
            kind = current.auth_type if current else guess_type(auth)
        if kind not in _AUTH_TYPES:
            raise ArgumentInvalid(
                f"authentication.type is {repr(kind)[:40]}; it is one of {', '.join(_AUTH_TYPES)}."
            )
        keys = read_section(auth, "symmetricKey")
        thumbs = read_section(auth, "x509Thumbprint")
        primary, secondary = None, None
        if kind == "sas":
            primary = (
                read_key(keys, "primaryKey") or (current and current.primary_key) or new_key(self._clock)
            )
            secondary = (
                read_key(keys, "secondaryKey") or (current and current.secondary_key) or new_key(self._clock)
            )
        first, second = (
            read_thumbprint(thumbs, "primaryThumbprint"),
            read_thumbprint(thumbs, "secondaryThumbprint"),
        )
        if current and kind == current.auth_type and "x509Thumbprint" not in auth:
            first, second = current.primary_thumbprint, current.secondary_thumbprint
        status = body.get("status")
        if status is None:
            status = current.status if current else "enabled"
        if status not in ("enabled", "disabled"):
            raise ArgumentInvalid(f"status is {repr(status)[:40]}; it is 'enabled' or 'disabled'.")
        reason = read_text(body, "statusReason", current.status_reason if current else None)
        if reason is not None and len(reason) > 128:
            raise ArgumentInvalid("statusReason is a text of at most 128 characters.")
        edge = read_section(body, "capabilities").get("iotEdge")
        if edge is None:
            edge = current.iot_edge if current else False
        if not isinstance(edge, bool):
            raise ArgumentInvalid("capabilities.iotEdge is true or false.")
        generation = (
            current.generation_id if current else str(int.from_bytes(self._clock.token(8), "big") >> 4)
        )
        scope, parents = _scope(body, current, edge=edge)
        if edge and not scope:
            scope = f"ms-azure-iot-edge://{device}-{generation}"
        return Identity(
            device=device,
            module=module,
            generation_id=generation,
            etag=base64.b64encode(str(int.from_bytes(self._clock.token(4), "big")).encode()).decode(),
            auth_type=kind,
            primary_key=primary,
            secondary_key=secondary,
            primary_thumbprint=first,
            secondary_thumbprint=second,
            status=status,
            status_reason=reason,
            status_updated=_status_updated(current, status, now),
            state_updated=current.state_updated if current else None,
            last_activity=current.last_activity if current else None,
            iot_edge=edge and not module,
            device_scope=scope if not module else None,
            parent_scopes=parents if not module else (),
            managed_by=read_text(body, "managedBy", current.managed_by if current else None)
            if module
            else None,
        )

    # -- presence --------------------------------------------------------------------------------------

    def connected(self, device: str, module: str) -> Presence:
        """Note that it has connected; the answer's `activity` may be set as it is heard of."""
        now = self._clock.now()
        before = self._presence.get((device, module))
        presence = self._presence[(device, module)] = Presence(connected=True, updated=now, activity=now)
        if before is None or not before.connected:
            for tell in self.on_presence:
                tell(device, module, True)
        return presence

    def disconnected(self, device: str, module: str, presence: Presence) -> None:
        """Note that the connection of `presence` has ended, unless a newer one has taken over."""
        if self._presence.get((device, module)) is not presence:
            return
        presence.connected = False
        presence.updated = self._clock.now()
        with self._store.transaction() as db:
            db.execute(
                "UPDATE identity SET state_updated = ?, last_activity = ? WHERE device = ? AND module = ?",
                (presence.updated, presence.activity, device, module),
            )
        presence.kept = presence.activity
        for tell in self.on_presence:
            tell(device, module, False)

    def heard(self, device: str, module: str) -> None:
        """Note that it has sent or received something, over a connection of its own or by a request."""
        presence = self._presence.get((device, module))
        if presence is None:
            identity = self.find(device, module)
            if identity is None:
                return
            presence = Presence(False, identity.state_updated, 0.0, identity.last_activity)
            self._presence[(device, module)] = presence
        presence.activity = self._clock.now()

    def keep_activity(self) -> None:
        """Store who was heard of when; what is not stored is forgotten when the process dies."""
        due = [(key, each) for key, each in self._presence.items() if each.activity != each.kept]
        if not due:
            return
        with self._store.transaction() as db:
            db.executemany(
                "UPDATE identity SET last_activity = ? WHERE device = ? AND module = ?",
                [(presence.activity, *key) for key, presence in due],
            )
        for _, presence in due:
            presence.kept = presence.activity

    def clear_presence(self) -> None:
        """Forget who is connected (all identities are gone)."""
        self._presence.clear()

    def to_json(self, identity: Identity) -> dict[str, Any]:
        """The identity as the REST API shows it, keys included."""
        presence = self._presence.get((identity.device, identity.module))
        updated = presence.updated if presence else identity.state_updated
        activity = presence.activity if presence else identity.last_activity
        shown: dict[str, Any] = {"deviceId": identity.device}
        if identity.module:
            shown["moduleId"] = identity.module
            shown["managedBy"] = identity.managed_by
        shown |= {
            "generationId": identity.generation_id,
            "etag": identity.etag,
            "connectionState": "Connected" if presence and presence.connected else "Disconnected",
            "connectionStateUpdatedTime": iso(updated),
            "lastActivityTime": iso(activity),
            "cloudToDeviceMessageCount": 0 if identity.module else self.pending(identity.device),
            "authentication": {
                "symmetricKey": {"primaryKey": identity.primary_key, "secondaryKey": identity.secondary_key},
                "x509Thumbprint": {
                    "primaryThumbprint": identity.primary_thumbprint,
                    "secondaryThumbprint": identity.secondary_thumbprint,
                },
                "type": identity.auth_type,
            },
        }
        if identity.module:
            return shown
        shown |= {
            "status": identity.status,
            "statusReason": identity.status_reason,
            "statusUpdatedTime": iso(identity.status_updated),
            "capabilities": {"iotEdge": identity.iot_edge},
        }
        if identity.device_scope:
            shown["deviceScope"] = identity.device_scope
        if identity.parent_scopes:
            shown["parentScopes"] = list(identity.parent_scopes)
        return shown


def _status_updated(current: Identity | None, status: str, now: float) -> float | None:
    if current is None:
        return None
    return current.status_updated if current.status == status else now


def iso(seconds: float | None) -> str:
    """Seconds since 1970 as the service writes times; None is the year 1."""
    if seconds is None:
        return NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def etag_matches(if_match: str, etag: str) -> bool:
    """Whether an If-Match header (RFC 9110, 13.1.1; quotes optional, as the SDKs send it) holds `etag`."""
    tags = [tag.strip().strip('"') for tag in if_match.split(",")]
    return "*" in tags or etag in tags


def _scope(
    body: Mapping[str, Any], current: Identity | None, *, edge: bool
) -> tuple[str | None, tuple[str, ...]]:
    """A device's scope, and those of its parents.

    An edge device has a scope of its own, and its parent's in parentScopes. Any other device has its parent's
    scope in both; either may be given, and '' (or an empty list) takes it out of its parent's scope.
    """
    given = read_text(body, "deviceScope", None)
    parents = _scopes(body, current)
    if edge:
        kept = current.device_scope if current and current.iot_edge else None
        return given or kept, parents
    if given is not None:
        return given or None, parents if body.get("parentScopes") else ((given,) if given else ())
    if body.get("parentScopes") is not None:
        return (parents[0] if parents else None), parents
    if current is None or current.iot_edge:
        return None, parents
    return current.device_scope, parents


def _scopes(body: Mapping[str, Any], current: Identity | None) -> tuple[str, ...]:
    scopes = body.get("parentScopes")
    if scopes is None:
        return current.parent_scopes if current else ()
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise ArgumentInvalid("parentScopes is a list of texts.")
    return tuple(scopes)


def _from_row(row: tuple[Any, ...]) -> Identity:
    identity = Identity(*row)
    return replace(identity, iot_edge=bool(identity.iot_edge), parent_scopes=tuple(json.loads(row[16])))


def _write(db: sqlite3.Connection, identity: Identity) -> None:
    db.execute(
        f"INSERT OR REPLACE INTO identity ({_COLUMNS}) VALUES ({', '.join('?' * 18)})",
        (
            identity.device,
            identity.module,
            identity.generation_id,
            identity.etag,
            identity.auth_type,
            identity.primary_key,
            identity.secondary_key,
            identity.primary_thumbprint,
            identity.secondary_thumbprint,
            identity.status,
            identity.status_reason,
            identity.status_updated,
            identity.state_updated,
            identity.last_activity,
            int(identity.iot_edge),
            identity.device_scope,
            json.dumps(list(identity.parent_scopes)),
            identity.managed_by,
        ),
    )
