"""One configuration: reading it from the body of a request, and showing it.

Stands for "Configuration" of the REST API (learn.microsoft.com, rest/api/iothub/service/configuration), api-version
2021-04-12. An id has 1 to 128 of the characters that the Azure CLI allows: lower-case letters, digits and `-+%_*!'`.
There are at most five custom metrics (iot-hub-automatic-device-management). What a body leaves out is empty, also when
a configuration is updated; `systemMetrics`, results, times and the body's own etag are the service's and ignored.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.errors import ArgumentInvalid, InvalidConfigurationCustomMetricsQuery, ServiceError
from iotedge_lab.hub.configurations.content import Content, Kind
from iotedge_lab.hub.configurations.target import ALL, Target, kind_of
from iotedge_lab.hub.identities import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 100
MOST_METRICS: Final = 5
_ID: Final = re.compile(r"[a-z0-9+%_*!'-]{1,128}")
_HIGHEST: Final = 2**31 - 1
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a body says of a configuration; whether its queries can be read is not looked at yet (`check`)."""

    id: str
    content: Content
    target: str
    priority: int
    labels: Mapping[str, str]
    metrics: Mapping[str, str]
    schema_version: str | None

    @classmethod
    def read(cls, name: str, body: Mapping[str, Any]) -> Self:
        """Raises `ArgumentInvalid`, `InvalidConfigurationContent`, `InvalidConfigurationCustomMetricsQuery`."""
        check_id(name)
        given = body.get("id")
        if given is not None and given != name:
            raise ArgumentInvalid(f"the body's id is {repr(given)[:140]} and the address says {name!r}.")
        content = Content.read(body.get("content"))
        priority = body.get("priority")
        priority = 0 if priority is None else priority
        if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= _HIGHEST:
            raise ArgumentInvalid(
                f"priority is a whole number from 0 to {_HIGHEST}, not {json.dumps(priority)[:40]}."
            )
        return cls(
            name,
            content,
            _text(body, "targetCondition") or "",
            priority,
            _texts(body, "labels"),
            _metrics(body),
            _text(body, "schemaVersion"),
        )

    def check(self) -> Target:
        """Read the target condition and the metrics' queries; this takes a while where they are long.

        Raises `InvalidConfigurationTargetCondition`, `InvalidConfigurationCustomMetricsQuery`.
        """
        target = Target.read(self.target, self.content.kind)
        for name, query in self.metrics.items():
            error = metric_error(query)
            if error is not None:
                raise InvalidConfigurationCustomMetricsQuery(
                    f"metrics.queries, {name[:60]!r}: {error.message}"
                )
        return target


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that is kept. `serial` tells which was made first, `version` counts its updates."""

    id: str
    serial: int
    version: int
    created: float
    updated: float
    content: Content
    target: Target
    priority: int
    labels: Mapping[str, str]
    metrics: Mapping[str, str]
    schema_version: str | None

    @property
    def etag(self) -> str:
        """Changes with each update, as the service's does."""
        return base64.b64encode(str(self.version).encode()).decode()

    @property
    def system_queries(self) -> dict[str, str]:
        """The queries of the system metrics, as the service shows them."""
        if self.content.kind is Kind.EDGE:
            condition = f" and ({self.target.text.strip()})" if self.target.where is not None else ""
            targeted = f"select deviceId from devices where capabilities.iotEdge = true{condition}"
            applied = (
                "select deviceId from devices.modules where moduleId = '$edgeAgent' and "
                f"configurations.[[{self.id}]].status = 'Applied'"
            )
            reported = (
                f"{applied} and properties.desired.$version = properties.reported.lastDesiredVersion and "
                "properties.reported.lastDesiredStatus.code"
            )
            return {
                "targetedCount": "" if self.target.nobody else targeted,
                "appliedCount": applied,
                "reportedSuccessfulCount": f"{reported} = 200",
                "reportedFailedCount": f"{reported} != 200",
            }
        names = "deviceId, moduleId" if self.content.kind is Kind.MODULE else "deviceId"
        return {
            "targetedCount": self.target.query,
            "appliedCount": (
                f"select {names} from {self.target.of.value} where configurations.[[{self.id}]].status = 'Applied'"
            ),
        }

    def to_json(self, system: Mapping[str, int], custom: Mapping[str, int]) -> Json:
        """As the REST API shows it, with the results of its metrics."""
        return {
            "id": self.id,
            "schemaVersion": self.schema_version,
            "labels": dict(self.labels),
            "content": self.content.given,
            "targetCondition": self.target.text,
            "createdTimeUtc": iso(self.created),
            "lastUpdatedTimeUtc": iso(self.updated),
            "priority": self.priority,
            "systemMetrics": {"results": dict(system), "queries": self.system_queries},
            "metrics": {"results": dict(custom), "queries": dict(self.metrics)},
            "etag": self.etag,
        }


def query_faults(body: Mapping[str, Any]) -> Json:
    """What is wrong with a target condition and with custom metrics: the answer of `testQueries`.

    Raises `ArgumentInvalid` where the body has another form.
    """
    made: Json = {}
    target = _text(body, "targetCondition")
    if target is not None:
        if target.strip() == ALL:
            made["targetConditionError"] = "'*' stands for all and is no condition; it needs no test."
        else:
            try:
                Target.read(target, kind_of(target))
            except ServiceError as error:
                made["targetConditionError"] = error.message
    wrong = {name: metric_error(query) for name, query in _texts(body, "customMetricQueries").items()}
    errors = {name: error.message for name, error in wrong.items() if error is not None}
    if errors:
        made["customMetricQueryErrors"] = errors
    return made


def check_id(name: str) -> None:
    """Raises `ArgumentInvalid` for what is no id of a configuration."""
    if not _ID.fullmatch(name):
        raise ArgumentInvalid(
            f"{name[:140]!r} is no id of a configuration: 1 to 128 lower-case letters, digits and -+%_*!'."
        )


def metric_error(query: str) -> ServiceError | None:
    """Why a custom metric cannot be worked out, or None."""
    from iotedge_lab.hub.query.statement import compile_query

    try:
        compile_query(query, 0)
    except ServiceError as error:
        return error
    return None


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value)):
        raise ArgumentInvalid(f"{name} is a text, not {json.dumps(value)[:40]}.")
    return value


def _texts(body: Mapping[str, Any], name: str) -> dict[str, str]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ArgumentInvalid(f"{name} is an object of texts, not {json.dumps(value)[:40]}.")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ArgumentInvalid(f"{name} has half a surrogate pair, which is no text.") from None
    return value


def _metrics(body: Mapping[str, Any]) -> dict[str, str]:
    metrics = body.get("metrics")
    if metrics is None:
        return {}
    if not isinstance(metrics, dict):
        raise ArgumentInvalid(f"metrics is an object with queries, not {json.dumps(metrics)[:40]}.")
    queries = _texts(metrics, "queries")
    if len(queries) > MOST_METRICS:
        raise InvalidConfigurationCustomMetricsQuery(
            f"metrics.queries has {len(queries)} queries, and {MOST_METRICS} are the most."
        )
    return queries
