"""The twins of devices and modules: stored, patched by either side, the other side told.

Stands for "Understand and use device twins in IoT Hub" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-device-twins). The rules of merging are in `broker/twin`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.twin import (
    Section,
    changed_part,
    difference,
    new_section,
    patch_section,
    patch_tags,
    replace_section,
    without_metadata,
)
from iotedge_lab.errors import ArgumentInvalid, PreconditionFailed
from iotedge_lab.hub.identities import Identity, etag_matches, iso

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identities
    from iotedge_lab.hub.store import Store

Json = dict[str, Any]
Told = "Callable[[str, str, Json, int], None]"


@dataclass(frozen=True, slots=True)
class Twin:
    """A twin's own data. `version` counts every change, `etag_version` those of tags and desired."""

    device: str
    module: str
    tags: Json
    desired: Section
    reported: Section
    version: int
    etag_version: int
    model_id: str

    @property
    def etag(self) -> str:
        """Changes with tags and desired properties, as the service's does."""
        return base64.b64encode(self.etag_version.to_bytes(8, "big")).decode()


@dataclass(frozen=True, slots=True)
class TwinChange:
    """A change of one twin, worked out and not yet stored (`Twins.plan`)."""

    identity: Identity
    twin: Twin  # as it will be
    told: Json | None  # the patch for a connected device, None where desired properties are not touched
    event: Json  # the body of the twin change event
    operation: str


class Twins:
    """Read and change twins. `on_desired(device, module, patch, version)` tells a connected device.

    `on_change(identity, body, operation)` is told of every change, for the twin change events: `updateTwin`
    with what has changed, `replaceTwin` with the whole. `statuses(device, module)` tells which configurations a
    twin has.
    """

    def __init__(self, store: Store, identities: Identities, clock: Clock) -> None:
        self._store = store
        self._identities = identities
        self._clock = clock
        self.on_desired: list[Callable[[str, str, Json, int], None]] = []
        self.on_change: list[Callable[[Identity, Json, str], None]] = []
        self.statuses: Callable[[str, str], Json] = lambda _, __: {}
        identities.on_creating.append(self._create)

    def get(self, device: str, module: str = "") -> tuple[Identity, Twin]:
        """The identity and its twin; raises `DeviceNotFound` or `ModuleNotFound`."""
        identity = self._identities.get(device, module)
        row = self._store.db.execute(
            "SELECT tags, desired, desired_meta, desired_version, reported, reported_meta, reported_version, "
            "version, etag_version, model_id FROM twin WHERE device = ? AND module = ?",
            (device, module),
        ).fetchone()
        if row is None:
            return identity, _new_twin(identity, iso(None))
        desired = Section(json.loads(row[1]), json.loads(row[2]), row[3])
        reported = Section(json.loads(row[4]), json.loads(row[5]), row[6])
        return identity, Twin(device, module, json.loads(row[0]), desired, reported, row[7], row[8], row[9])

    def patch(
        self, device: str, module: str, body: Mapping[str, Any], if_match: str | None
    ) -> tuple[Identity, Twin]:
        """The service's PATCH: tags and desired properties merged. Raises 400004, 404, 412."""
        return self._change(device, module, body, if_match, whole=False)

    def put(
        self, device: str, module: str, body: Mapping[str, Any], if_match: str | None
    ) -> tuple[Identity, Twin]:
        """The service's PUT: tags and desired properties replaced; what the body leaves out is emptied."""
        return self._change(device, module, body, if_match, whole=True)

    def report(
        self, device: str, module: str, patch: Mapping[str, Any], if_version: int | None = None
    ) -> int:
        """The device's patch of its reported properties; the new version. Raises 400004, 412."""
        identity, twin = self.get(device, module)
        if if_version is not None and if_version != twin.reported.version:
            raise PreconditionFailed(f"the reported properties are at version {twin.reported.version} now.")
        reported = patch_section(twin.reported, patch, iso(self._clock.now()), versioned=False)
        changed = replace(twin, reported=reported, version=twin.version + 1)
        self._write(changed)
        part = {"reported": changed_part(reported, patch)}
        self._announce(identity, {"version": changed.version, "properties": part}, "updateTwin")
        return reported.version

    def set_model(self, device: str, module: str, model_id: str) -> None:
        """Note the Plug and Play model that a device said when it connected."""
        _, twin = self.get(device, module)
        if twin.model_id != model_id:
            self._write(replace(twin, model_id=model_id, version=twin.version + 1))

    def for_device(self, device: str, module: str) -> Json:
        """What the device itself gets: desired and reported with their versions, no metadata."""
        _, twin = self.get(device, module)
        return {
            "desired": twin.desired.shown(metadata=False),
            "reported": twin.reported.shown(metadata=False),
        }

    def _change(
        self, device: str, module: str, body: Mapping[str, Any], if_match: str | None, *, whole: bool
    ) -> tuple[Identity, Twin]:
        identity, twin = self.get(device, module)
        if if_match is not None and not etag_matches(if_match, twin.etag):
            raise PreconditionFailed(f"the twin's etag is {twin.etag!r} now; read the twin again and retry.")
        change = self.plan(identity, twin, body, whole=whole)
        with self._store.transaction() as db:
            self.write(db, change)
        self.tell(change)
        return identity, change.twin

    def plan(self, identity: Identity, twin: Twin, body: Mapping[str, Any], *, whole: bool) -> TwinChange:
        """The service's PUT (`whole`) or PATCH of a twin, worked out; raises `ArgumentInvalid`. Nothing is stored.

        For changes of several twins in one transaction: `plan` each, `write` them, `tell` of each.
        """
        properties = _object(body, "properties")
        now = iso(self._clock.now())
        tags, desired = twin.tags, twin.desired
        told: Json | None = None
        if whole:
            tags = patch_tags({}, _object(body, "tags"))
            desired = replace_section(twin.desired, _object(properties, "desired"), now)
            told = difference(twin.desired.values, desired.values)
        else:
            if "tags" in body:
                tags = {} if body["tags"] is None else patch_tags(tags, _object(body, "tags"))
            if "desired" in properties:
                asked = _object(properties, "desired")
                desired = patch_section(twin.desired, asked, now)
                told = without_metadata(asked)
        changed = replace(
            twin, tags=tags, desired=desired, version=twin.version + 1, etag_version=twin.etag_version + 1
        )
        if whole:
            return TwinChange(identity, changed, told, self.content(changed), "replaceTwin")
        part: Json = {"version": changed.version}
        if "tags" in body:
            part["tags"] = body["tags"]
        if "desired" in properties:
            part["properties"] = {"desired": changed_part(desired, _object(properties, "desired"))}
        return TwinChange(identity, changed, told, part, "updateTwin")

    def write(self, db: sqlite3.Connection, change: TwinChange) -> None:
        """Store a planned change, in the caller's transaction."""
        _put(db, change.twin)

    def tell(self, change: TwinChange) -> None:
        """Tell of a change that is stored: the device, if it is connected, and whoever watches twins."""
        twin = change.twin
        if change.told is not None:
            for tell in self.on_desired:
                tell(twin.device, twin.module, change.told, twin.desired.version)
        self._announce(change.identity, change.event, change.operation)

    def fresh(self, identity: Identity) -> Twin:
        """The twin that a new identity has."""
        return _new_twin(identity, iso(self._clock.now()))

    def content(self, twin: Twin) -> Json:
        """A twin without what belongs to its identity: the body of lifecycle and replace events."""
        made: Json = {"deviceId": twin.device}
        if twin.module:
            made["moduleId"] = twin.module
        made |= {"etag": twin.etag, "version": twin.version}
        if twin.tags:
            made["tags"] = twin.tags
        made["properties"] = _shown(twin)
        return made

    def _announce(self, identity: Identity, body: Json, operation: str) -> None:
        for tell in self.on_change:
            tell(identity, body, operation)

    def _create(self, db: sqlite3.Connection, identity: Identity) -> None:
        """A twin is made with its identity, in one transaction."""
        _put(db, _new_twin(identity, iso(self._clock.now())))

    def _write(self, twin: Twin) -> None:
        with self._store.transaction() as db:
            _put(db, twin)

    def to_json(self, identity: Identity, twin: Twin) -> Json:
        """The twin as the REST API shows it."""
        shown = self._identities.to_json(identity)
        made: Json = {"deviceId": twin.device}
        if twin.module:
            made["moduleId"] = twin.module
        made |= {
            "etag": twin.etag,
            "deviceEtag": identity.etag,
            "status": identity.status,
            "statusReason": identity.status_reason,
            "statusUpdateTime": iso(identity.status_updated),
            "connectionState": shown["connectionState"],
            "lastActivityTime": shown["lastActivityTime"],
            "cloudToDeviceMessageCount": shown["cloudToDeviceMessageCount"],
            "authenticationType": identity.auth_type,
            "x509Thumbprint": shown["authentication"]["x509Thumbprint"],
            "modelId": twin.model_id,
            "version": twin.version,
        }
        if not twin.module:
            made["capabilities"] = {"iotEdge": identity.iot_edge}
            if identity.device_scope:
                made["deviceScope"] = identity.device_scope
                made["parentScopes"] = list(identity.parent_scopes)
        statuses = self.statuses(twin.device, twin.module)
        if statuses:
            made["configurations"] = statuses
        made["tags"] = twin.tags
        made["properties"] = _shown(twin)
        return made


def _new_twin(identity: Identity, now: str) -> Twin:
    return Twin(identity.device, identity.module, {}, new_section(now), new_section(now), 2, 1, "")


def _shown(twin: Twin) -> Json:
    return {
        "desired": twin.desired.shown(metadata=True),
        "reported": twin.reported.shown(metadata=True),
    }


def _put(db: sqlite3.Connection, twin: Twin) -> None:
    db.execute(
        "INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            twin.device,
            twin.module,
            json.dumps(twin.tags),
            json.dumps(twin.desired.values),
            json.dumps(twin.desired.metadata),
            twin.desired.version,
            json.dumps(twin.reported.values),
            json.dumps(twin.reported.metadata),
            twin.reported.version,
            twin.version,
            twin.etag_version,
            twin.model_id,
        ),
    )


def _object(body: Mapping[str, Any], name: str) -> Json:
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ArgumentInvalid(f"{name} is a JSON object, not {json.dumps(found)[:40]}.")
    return found
