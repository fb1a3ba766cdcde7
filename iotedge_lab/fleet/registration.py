"""Registers a fleet's devices in bulk, and deletes them again.

Azure: "Bulk Registry - Update Registry" (rest/api/iothub/service/bulk-registry), up to 100 devices a request.
A device that is there already is taken as it is, with its key: nothing of it is changed, and it is deleted
with the fleet only if a fleet made it, which its twin's tag `iotedgeLab` tells.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from iotedge_lab.errors import LabError, ServiceError, UsageError
from iotedge_lab.fleet.plan import Login

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.fleet.plan import Plan

TAG: Final = "iotedgeLab"
AT_ONCE: Final = 100  # devices in a bulk request
_LISTED: Final = 1000  # the API lists no more
_KEY_BYTES: Final = 32


class Registry(Protocol):
    """The hub's REST API, as `iotedge_lab.rest.RestClient` has it: refusals raise ServiceError."""

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Any:
        """The JSON that the hub answers."""
        ...


class Registration:
    """The devices of one fleet at one hub."""

    def __init__(self, registry: Registry, plan: Plan, clock: Clock) -> None:
        self._registry = registry
        self._plan = plan
        self._clock = clock
        self.made: list[str] = []
        """what `register` created, and did not find"""

    def register(self) -> list[Login]:
        """Make the devices that are not there; the login of each, in order.

        Raises UsageError for one that has no key, and what the hub refuses; what was made is deleted then.
        """
        keys = self._existing()
        try:
            for batch in _batches([device for device in self._plan.devices if device not in keys]):
                keys |= self._create(batch)
        except BaseException:
            with contextlib.suppress(LabError):
                self._delete(self.made)
            raise
        for device in self._plan.devices:
            if not keys[device]:
                raise UsageError(
                    f"The device {device!r} is there and authenticates by certificate, so a fleet has no key for "
                    "it. Choose another prefix."
                )
        return [Login(index, device, keys[device]) for index, device in enumerate(self._plan.devices)]

    def remove(self) -> int:
        """Delete the fleet's devices that a fleet has made, now or earlier; how many are gone then."""
        made = set(self.made)
        others = [device for device in self._plan.devices if device not in made]
        return self._delete([*self.made, *(device for device in others if self._is_a_fleets(device))])

    def _existing(self) -> dict[str, str]:
        """Device to key, of those in the hub's list that belong to this fleet."""
        wanted = set(self._plan.devices)
        found = self._registry.call("GET", "/devices", query={"top": str(_LISTED)})
        return {each["deviceId"]: _key_of(each) for each in found if each["deviceId"] in wanted}

    def _create(self, devices: Sequence[str]) -> dict[str, str]:
        keys = {device: self._fresh_key() for device in devices}
        entries = [self._entry(device, key) for device, key in keys.items()]
        try:
            self._registry.call("POST", "/devices", entries, timeout=60.0)
        except ServiceError as error:
            if _status(error) != 400:
                raise
            # One of them is there (the list ends at 1,000), or cannot be: each by itself tells which.
            return {device: self._one_by_one(device, key) for device, key in keys.items()}
        self.made += devices
        return keys

    def _one_by_one(self, device: str, key: str) -> str:
        path = f"/devices/{quote(device, safe='')}"
        try:
            found = self._registry.call("GET", path)
        except ServiceError as error:
            if _status(error) != 404:
                raise
            entry = self._entry(device, key)
            body = {"deviceId": device, "status": "enabled", "authentication": entry["authentication"]}
            self._registry.call("PUT", path, body)
        else:
            if _key_of(found) != key:
                return _key_of(found)
        self.made.append(device)
        self._registry.call("PATCH", f"/twins/{quote(device, safe='')}", {"tags": self._tags()})
        return key

    def _entry(self, device: str, key: str) -> dict[str, Any]:
        return {
            "id": device,
            "importMode": "create",
            "status": "enabled",
            "authentication": {
                "type": "sas",
                "symmetricKey": {"primaryKey": key, "secondaryKey": self._fresh_key()},
            },
            "tags": self._tags(),
        }

    def _tags(self) -> dict[str, Any]:
        return {TAG: {"fleet": self._plan.prefix}}

    def _fresh_key(self) -> str:
        return base64.b64encode(self._clock.token(_KEY_BYTES)).decode()

    def _is_a_fleets(self, device: str) -> bool:
        try:
            twin = self._registry.call("GET", f"/twins/{quote(device, safe='')}")
        except ServiceError as error:
            if _status(error) != 404:
                raise
            return False
        tag = (twin.get("tags") or {}).get(TAG)
        return isinstance(tag, dict) and "fleet" in tag

    def _delete(self, devices: Sequence[str]) -> int:
        for batch in _batches(devices):
            entries = [{"id": device, "importMode": "delete"} for device in batch]
            try:
                self._registry.call("POST", "/devices", entries, timeout=60.0)
            except ServiceError as error:
                if _status(error) != 400:
                    raise
                for device in batch:  # one of them was gone already, and a hub may stop at it
                    self._delete_one(device)
        gone = set(devices)
        self.made = [device for device in self.made if device not in gone]
        return len(devices)

    def _delete_one(self, device: str) -> None:
        path = f"/devices/{quote(device, safe='')}"
        try:
            self._registry.call("DELETE", path, headers={"If-Match": "*"})
        except ServiceError as error:
            if _status(error) != 404:
                raise


def _status(error: ServiceError) -> int:
    """The HTTP status of a refusal: what the hub answered, where the error carries it."""
    return int(getattr(error, "http_status", error.status))


def _key_of(identity: dict[str, Any]) -> str:
    authentication = identity.get("authentication") or {}
    return str((authentication.get("symmetricKey") or {}).get("primaryKey") or "")


def _batches(devices: Iterable[str]) -> Iterator[list[str]]:
    rest = list(devices)
    for at in range(0, len(rest), AT_ONCE):
        yield rest[at : at + AT_ONCE]
