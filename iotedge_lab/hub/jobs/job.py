"""One job: reading it from the body of a request, and showing it.

Stands for "JobRequest" and "JobResponse" (learn.microsoft.com, rest/api/iothub/service/jobs), api-version 2021-04-12.
An id has 1 to 64 letters, digits and dashes (iot-hub-devguide-jobs). `queryCondition` is what would follow WHERE in a
query of devices, `*` for all, or `FROM devices.modules WHERE ...`. `updateTwin` is a forced update: its etag is `*`,
and Azure refuses any other, also none (412001). Without startTime a job begins at once.

Where the documents are silent: maxExecutionTimeInSeconds is an hour where it is left out or 0, and a condition that
cannot be read is refused at once (400004), with its place.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.broker.methods import Call
from iotedge_lab.broker.twin import new_section, patch_section, patch_tags
from iotedge_lab.errors import ArgumentInvalid, ArgumentNull, PreconditionFailed
from iotedge_lab.hub.identities import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SECONDS: Final = 3600
_MOST_SECONDS: Final = 2**31 - 1
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_EPOCH: Final = "2000-01-01T00:00:00Z"  # of a twin that is thrown away
Json = dict[str, Any]


class Kind(enum.Enum):
    """What a job does; the value is its `type`."""

    TWIN = "scheduleUpdateTwin"
    METHOD = "scheduleDeviceMethod"


class Status(enum.Enum):
    """Where a job stands."""

    SCHEDULED = "scheduled"  # its time has not come
    QUEUED = "queued"  # its time has come
    RUNNING = "running"
    COMPLETED = "completed"  # each device has had its turn, or the time is up
    FAILED = "failed"  # its condition could not be worked out
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will begin."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


# What the API's models list; jobs of the other types are none of this hub's.
TYPES: Final = frozenset(
    (
        *("unknown", "export", "import", "backup", "readDeviceProperties", "writeDeviceProperties"),
        *("updateDeviceConfiguration", "rebootDevice", "factoryResetDevice", "firmwareUpdate"),
        *("scheduleDeviceMethod", "scheduleUpdateTwin", "restoreFromBackup", "failoverDataCopy"),
    )
)
STATUSES: Final = frozenset(("unknown", "enqueued", *(status.value for status in Status)))


@dataclass(frozen=True, slots=True)
class Draft:
    """What a body asks for. `content`: the patch of a twin, or the call of a method; `start` in s, None for at once."""

    id: str
    kind: Kind
    condition: str
    content: Json
    start: float | None
    seconds: int

    @classmethod
    def read(cls, name: str, body: Mapping[str, Any]) -> Self:
        """Raises `ArgumentInvalid`, `ArgumentNull`, `PreconditionFailed` (the twin's etag).

        Whether the condition can be read is not looked at yet.
        """
        check_id(name)
        given = body.get("jobId")
        if given is not None and given != name:
            raise ArgumentInvalid(f"the body's jobId is {repr(given)[:80]} and the address says {name!r}.")
        kind = _kind(body.get("type"))
        content = _twin(body.get("updateTwin")) if kind is Kind.TWIN else _call(body)
        return cls(name, kind, _condition(body), content, _start(body), _seconds(body))


@dataclass(frozen=True, slots=True)
class Job:
    """A job that is kept. Times in s since 1970; `serial` tells which was made first.

    `counted`: whether the devices that it is for are known. `reason`: why it failed, or what ended it.
    """

    serial: int
    id: str
    kind: Kind
    condition: str
    content: Json
    created: float
    start: float
    seconds: int
    status: Status
    begun: float | None = None
    ended: float | None = None
    counted: bool = False
    reason: str = ""

    @property
    def deadline(self) -> float:
        """When what has not begun will not begin any more."""
        return (self.start if self.begun is None else self.begun) + self.seconds

    def to_json(self, statistics: Mapping[str, int] | None) -> Json:
        """As the REST API shows it."""
        content = {"etag": "*", **self.content} if self.kind is Kind.TWIN else self.content
        made: Json = {
            "jobId": self.id,
            "type": self.kind.value,
            "status": self.status.value,
            "queryCondition": self.condition,
            "createdTime": iso(self.created),
            "startTime": iso(self.start),
            "maxExecutionTimeInSeconds": self.seconds,
            "updateTwin" if self.kind is Kind.TWIN else "cloudToDeviceMethod": content,
        }
        if self.ended is not None:
            made["endTime"] = iso(self.ended)
        if self.reason:
            made["failureReason" if self.status is Status.FAILED else "statusMessage"] = self.reason
        if statistics is not None:
            made["deviceJobStatistics"] = dict(statistics)
        return made


def unknown(name: str) -> Json:
    """What the service answers of a job that it does not have: 200, and a status that says so."""
    return {"jobId": name, "type": "unknown", "status": "unknown"}


def check_id(name: str) -> None:
    """Raises `ArgumentInvalid` for what is no id of a job."""
    if not _ID.fullmatch(name):
        raise ArgumentInvalid(f"{name[:80]!r} is no id of a job: 1 to 64 letters, digits and dashes.")


def _kind(given: object) -> Kind:
    for kind in Kind:
        if kind.value == given:
            return kind
    raise ArgumentInvalid(
        f"type is {repr(given)[:60]}; it is one of {', '.join(kind.value for kind in Kind)}."
    )


def _condition(body: Mapping[str, Any]) -> str:
    given = body.get("queryCondition")
    if given is None or given == "":
        raise ArgumentNull("queryCondition is missing: such as tags.floor = 3, or * for all devices.")
    if not isinstance(given, str):
        raise ArgumentInvalid(f"queryCondition is a text, not {json.dumps(given)[:40]}.")
    return given


def _start(body: Mapping[str, Any]) -> float | None:
    given = body.get("startTime")
    if given is None or given == "":
        return None
    try:
        at = datetime.fromisoformat(given)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        iso(seconds)  # at the ends of the calendar a time zone leads beyond it
    except (TypeError, ValueError, OverflowError):
        raise ArgumentInvalid(
            f"startTime is a time in ISO 8601, such as 2030-01-31T12:00:00Z, not {json.dumps(given)[:40]}."
        ) from None
    return seconds


def _seconds(body: Mapping[str, Any]) -> int:
    given = body.get("maxExecutionTimeInSeconds")
    if given is None:
        return DEFAULT_SECONDS
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= _MOST_SECONDS:
        raise ArgumentInvalid(
            f"maxExecutionTimeInSeconds is a whole number of seconds, not {json.dumps(given)[:40]}."
        )
    return given or DEFAULT_SECONDS


def _call(body: Mapping[str, Any]) -> Json:
    given = body.get("cloudToDeviceMethod")
    if not isinstance(given, dict):
        raise ArgumentNull(f"a job of type {Kind.METHOD.value} has cloudToDeviceMethod, with a methodName.")
    Call.read(given)
    return given


def _twin(given: object) -> Json:
    """The tags and desired properties of a patch, checked as those of an empty twin."""
    if not isinstance(given, dict):
        raise ArgumentNull(
            f"a job of type {Kind.TWIN.value} has updateTwin, with tags or properties.desired."
        )
    made: Json = {}
    if given.get("tags") is not None:
        patch_tags({}, given["tags"])
        made["tags"] = given["tags"]
    properties = given.get("properties")
    desired = properties.get("desired") if isinstance(properties, dict) else None
    if desired is not None:
        if not isinstance(desired, dict):
            raise ArgumentInvalid(f"properties.desired is a JSON object, not {json.dumps(desired)[:40]}.")
        patch_section(new_section(_EPOCH), desired, _EPOCH)
        made["properties"] = {"desired": desired}
    if not made:
        raise ArgumentInvalid(
            'updateTwin has neither tags nor properties.desired; such as {"etag": "*", "tags": {"floor": 3}}.'
        )
    if given.get("etag") != "*":
        raise PreconditionFailed(
            f"updateTwin.etag is {repr(given.get('etag'))[:60]}; a job updates twins whatever their version, and "
            "says so with the etag '*': Twin(etag='*', ...)."
        )
    return made
