"""Where devices' files go, how long they may take, and whether services are told.

Stands for "Configure IoT Hub file uploads" (learn.microsoft.com, IoT Hub, iot-hub-configure-file-upload). In JSON they
have the names that Azure Resource Manager has below `properties` (`storageEndpoints.$default`,
`messagingEndpoints.fileNotifications`), in one object:

    {"connectionString": "", "containerName": "uploads", "sasTtlAsIso8601": "PT1H",
     "enableFileUploadNotifications": true,
     "fileNotifications": {"ttlAsIso8601": "PT1H", "lockDurationAsIso8601": "PT1M", "maxDeliveryCount": 10}}

An empty `connectionString` is the lab's own storage. Notices are on to begin with; on Azure they are off.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import ArgumentInvalid, ConnectionStringError
from iotedge_lab.hub.options import count, iso_duration, seconds
from iotedge_lab.hub.service_queue import Limits
from iotedge_lab.serve.storage import UPLOADS
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY: Final = 86_400.0
_SAS_TTL: Final = (60.0, _DAY)
_TTL: Final = (60.0, 2 * _DAY)
_LOCK: Final = (5.0, 300.0)
_CONTAINER: Final = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_LIMITS: Final = Limits(3600.0, 10, 60.0)
_KNOWN: Final = {
    "connectionString",
    "containerName",
    "sasTtlAsIso8601",
    "enableFileUploadNotifications",
    "fileNotifications",
}
_KNOWN_NOTICES: Final = {"ttlAsIso8601", "lockDurationAsIso8601", "maxDeliveryCount"}


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Times in seconds. `storage`: a connection string, '' for the lab's own account."""

    storage: str = field(default="", repr=False)
    container: str = UPLOADS
    sas_ttl: float = 3600.0
    notices: bool = True
    notice_limits: Limits = _LIMITS

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FileSettings:
        """From ARM's names; what is left out has its default. Raises `ArgumentInvalid` naming the field."""
        told = body.get("fileNotifications", {})
        if not isinstance(told, dict):
            raise ArgumentInvalid("fileNotifications is an object.")
        for name in (
            *(body.keys() - _KNOWN),
            *(f"fileNotifications.{key}" for key in told.keys() - _KNOWN_NOTICES),
        ):
            raise ArgumentInvalid(
                f"there is no file upload option {name[:60]!r}; there are {', '.join(_KNOWN)}."
            )
        plain = cls()
        container = body.get("containerName", plain.container)
        if not isinstance(container, str) or _CONTAINER.fullmatch(container) is None:
            raise ArgumentInvalid(
                "containerName has 3 to 63 small letters, digits and single '-', a letter or digit first and last."
            )
        notices = body.get("enableFileUploadNotifications", plain.notices)
        if not isinstance(notices, bool):
            raise ArgumentInvalid(
                f"enableFileUploadNotifications is true or false, not {json.dumps(notices)[:40]}."
            )
        limits = plain.notice_limits
        return cls(
            _storage(body.get("connectionString", "")),
            container,
            seconds(body, "sasTtlAsIso8601", plain.sas_ttl, _SAS_TTL),
            notices,
            Limits(
                seconds(told, "ttlAsIso8601", limits.ttl, _TTL),
                count(told, limits.max_deliveries),
                seconds(told, "lockDurationAsIso8601", limits.lock, _LOCK),
            ),
        )

    def to_json(self, *, shown: bool = True) -> dict[str, Any]:
        """By ARM's names. `shown`: the key is not in it, as Azure shows the connection string."""
        storage = self.storage
        if shown and storage:
            account = StorageAccount.parse(storage)
            storage = storage.replace(account.key, "****")
        return {
            "connectionString": storage,
            "containerName": self.container,
            "sasTtlAsIso8601": iso_duration(self.sas_ttl),
            "enableFileUploadNotifications": self.notices,
            "fileNotifications": {
                "ttlAsIso8601": iso_duration(self.notice_limits.ttl),
                "lockDurationAsIso8601": iso_duration(self.notice_limits.lock),
                "maxDeliveryCount": self.notice_limits.max_deliveries,
            },
        }


def _storage(value: Any) -> str:
    if not isinstance(value, str):
        raise ArgumentInvalid(
            "connectionString is a text: a storage account's, or '' for the lab's own storage."
        )
    if not value:
        return ""
    try:
        return StorageAccount.parse(value).format()
    except ConnectionStringError as error:
        raise ArgumentInvalid(f"connectionString: {error}") from error
