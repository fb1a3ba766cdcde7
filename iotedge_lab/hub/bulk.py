"""Many identities in one request: create, update, delete, each by itself.

Stands for "Bulk Registry - Update Registry" (learn.microsoft.com, rest/api/iothub/service/bulk-registry), POST
`/devices` with up to 100 entries, and the import modes of "Import and export IoT Hub device identities in bulk".
One entry's error does not keep the others from being done; the answer lists it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ArgumentInvalid, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iotedge_lab.hub.identities import Identities
    from iotedge_lab.hub.twins import Twins

MOST = 100
Json = dict[str, Any]
# Import mode to (creates, updates, deletes, by etag)
_MODES = {
    "create": (True, False, False, False),
    "update": (False, True, False, False),
    "updateIfMatchETag": (False, True, False, True),
    "createOrUpdate": (True, True, False, False),
    "createOrUpdateIfMatchETag": (True, True, False, True),
    "delete": (False, False, True, False),
    "deleteIfMatchETag": (False, False, True, True),
    "updateTwin": (False, False, False, False),
    "updateTwinIfMatchETag": (False, False, False, True),
}


class Bulk:
    """`ended(device, module, why)` is told of who may not stay connected."""

    def __init__(self, identities: Identities, twins: Twins, ended: Callable[[str, str, str], None]) -> None:
        self._identities = identities
        self._twins = twins
        self._ended = ended

    def run(self, entries: Any) -> Json:
        """The result as the REST API gives it; raises `ArgumentInvalid` if the list as a whole is none."""
        if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
            raise ArgumentInvalid(f"the body is a list of 1 to {MOST} devices or modules.")
        errors = []
        for entry in entries:
            device, module = "", ""
            try:
                if not isinstance(entry, dict):
                    raise ArgumentInvalid(f"an entry is an object, not {json.dumps(entry)[:40]}.")
                device, module = _text(entry, "id"), _text(entry, "moduleId")
                self._one(device, module, entry)
            except ServiceError as error:
                told: Json = {"deviceId": device, "errorCode": error.name, "errorStatus": error.message}
                if module:
                    told["moduleId"] = module
                errors.append(told)
        return {"isSuccessful": not errors, "errors": errors, "warnings": []}

    def _one(self, device: str, module: str, entry: Mapping[str, Any]) -> None:
        given = entry.get("importMode") or "createOrUpdate"
        # Capitals do not matter: the SDK for Node says 'Update'.
        mode = next((known for known in _MODES if known.lower() == str(given).lower()), None)
        if mode is None:
            raise ArgumentInvalid(f"importMode is {str(given)[:40]!r}; it is one of {', '.join(_MODES)}.")
        creates, updates, deletes, by_etag = _MODES[mode]
        etag = _text(entry, "eTag") if by_etag else "*"
        if by_etag and not etag and not creates:
            raise ArgumentInvalid(f"importMode {mode} needs the entry's eTag.")
        if deletes:
            self._identities.delete(device, module, etag)
            self._ended(device, module, "its identity was deleted")
            return
        if creates or updates:
            exists = self._identities.find(device, module) is not None
            body = {
                key: value
                for key, value in entry.items()
                if key not in ("id", "eTag", "importMode", "moduleId")
            }
            match = etag or "*" if (exists and updates) or not creates else None
            identity, _ = self._identities.put(device, module, body, match)
            if not identity.enabled:
                self._ended(device, module, "its identity was disabled")
        twin = {key: entry[key] for key in ("tags", "properties") if entry.get(key) is not None}
        if twin:
            match = _text(entry, "twinETag") if mode == "updateTwinIfMatchETag" else None
            self._twins.patch(device, module, twin, match)


def _text(entry: Mapping[str, Any], name: str) -> str:
    """A text of the entry, '' where it is null or missing; raises `ArgumentInvalid`."""
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ArgumentInvalid(f"{name} is a text, not {json.dumps(value)[:40]}.")
    return value
