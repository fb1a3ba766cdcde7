"""What the hub itself tells at the built-in endpoint: twins that change, identities that come and go.

Stands for "Azure IoT Hub non-telemetry event schemas" (learn.microsoft.com, IoT Hub,
iot-hub-non-telemetry-event-schema): twin change events, device lifecycle events, connection state events. On
Azure a route with that source leads each kind to an endpoint; here each kind is switched on, for the built-in
endpoint, and off to begin with. The switch is kept with the hub.

An event of a twin or of an identity is durable before the call that caused it is answered. Left out: digital
twin change events (Plug and Play), and routes to other endpoints.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ArgumentInvalid, StoreUnavailable
from iotedge_lab.hub.events import HUB_EVENT, encode_hub_event
from iotedge_lab.hub.identities import iso
from iotedge_lab.hub.log import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identities, Identity
    from iotedge_lab.hub.log import Log
    from iotedge_lab.hub.store import Store
    from iotedge_lab.hub.twins import Twins

log = logging.getLogger(__name__)

_META = "notices"
_FIELDS = {
    "twinChangeEvents": "twin_changes",
    "deviceLifecycleEvents": "lifecycle",
    "deviceConnectionStateEvents": "connections",
}
# The source of an event to its schema.
_SCHEMAS = {
    "twinChangeEvents": "twinChangeNotification",
    "deviceLifecycleEvents": "deviceLifecycleNotification",
    "deviceConnectionStateEvents": "deviceConnectionStateNotification",
}


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    """Which kinds are told."""

    twin_changes: bool = False
    lifecycle: bool = False
    connections: bool = False

    def changed(self, body: Mapping[str, Any]) -> NoticeSettings:
        """With what `body` names set; raises `ArgumentInvalid` for another name or a value not true or false."""
        for name, value in body.items():
            if name not in _FIELDS:
                raise ArgumentInvalid(f"there is no setting {name[:60]!r}; there are {', '.join(_FIELDS)}.")
            if not isinstance(value, bool):
                raise ArgumentInvalid(f"{name} is true or false, not {json.dumps(value)[:40]}.")
        return replace(self, **{_FIELDS[name]: value for name, value in body.items()})

    def to_json(self) -> dict[str, bool]:
        """By the names that Azure's routes have for these sources."""
        kept = asdict(self)
        return {name: kept[field] for name, field in _FIELDS.items()}


class Notices:
    """Watches identities and twins, and appends to the log what is switched on."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Log,
        identities: Identities,
        twins: Twins,
        *,
        hub_name: str,
        next_number: Callable[[], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = events
        self._identities = identities
        self._twins = twins
        self._hub_name = hub_name
        self._next_number = next_number  # strictly rising, across restarts too
        self.settings = NoticeSettings().changed(json.loads(store.get_meta(_META) or "{}"))
        twins.on_change.append(self._twin_changed)
        identities.on_created.append(self._created)
        identities.on_deleting.append(self._deleting)
        identities.on_presence.append(self._presence)

    def change(self, body: Mapping[str, Any]) -> NoticeSettings:
        """Switch kinds on or off; kept. Raises `ArgumentInvalid`."""
        settings = self.settings.changed(body)
        self._store.set_meta(_META, json.dumps(settings.to_json()))
        self.settings = settings
        return settings

    # -- what happens ----------------------------------------------------------------------------------

    def _twin_changed(self, identity: Identity, body: dict[str, Any], operation: str) -> None:
        if self.settings.twin_changes:
            self._tell(identity, "twinChangeEvents", operation, body)
            self._store.flush()

    def _created(self, identity: Identity) -> None:
        if self.settings.lifecycle:
            _, twin = self._twins.get(identity.device, identity.module)
            self._tell(identity, "deviceLifecycleEvents", "createDeviceIdentity", self._twins.content(twin))
            self._store.flush()

    def _deleting(self, identity: Identity) -> Callable[[], None]:
        if not self.settings.lifecycle:
            return lambda: None
        _, twin = self._twins.get(identity.device, identity.module)
        body = self._twins.content(twin)

        def deleted() -> None:
            self._tell(identity, "deviceLifecycleEvents", "deleteDeviceIdentity", body)
            self._store.flush()

        return deleted

    def _presence(self, device: str, module: str, connected: bool) -> None:
        identity = self._identities.find(device, module) if self.settings.connections else None
        if identity is None:
            return
        operation = "deviceConnected" if connected else "deviceDisconnected"
        body = {"sequenceNumber": f"{self._next_number():064X}"}
        self._tell(identity, "deviceConnectionStateEvents", operation, body)

    def _tell(self, identity: Identity, kind: str, operation: str, body: dict[str, Any]) -> None:
        system = {
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "correlation-id": self._clock.new_id().replace("-", "")[:11],
            "user-id": self._hub_name,
            "iothub-message-source": kind,
        }
        properties = {
            "hubName": self._hub_name,
            "deviceId": identity.device,
            "operationTimestamp": iso(self._clock.now()),
            "opType": operation,
            "iothub-message-schema": _SCHEMAS[kind],
        }
        if identity.module:
            properties["moduleId"] = identity.module
        raw = encode_hub_event(system, properties, json.dumps(body).encode())

        def done(error: StoreUnavailable | None) -> None:
            if error is not None:
                log.warning("a %s event of %s is lost: %s", operation, identity.device, error)

        partition = self._log.partition_of(identity.device)
        try:
            source = self._log.source_id(Source(identity.device, identity.module, identity.generation_id, ""))
        except StoreUnavailable as error:  # what it tells of is done all the same
            done(error)
        else:
            self._log.append(partition, source, raw, 1, done, form=HUB_EVENT)
