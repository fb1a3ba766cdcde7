"""What a query can name: the twin of a device or module as one document, and where each part of it is stored.

Stands for the document of query-twins (learn.microsoft.com, IoT Hub): the twin as `GET /twins/{id}` shows it. The
names that the service gives are read in any case (`SELECT DeviceId`), those of tags and properties as they were
written. A name that no twin has is undefined, not an error. `devices.` and `devices.modules.` before a name are
allowed (`devices.deviceId`).
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iotedge_lab.broker.twin import TEXT_LIMIT
from iotedge_lab.hub.query.syntax import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iotedge_lab.hub.query.syntax import Path


class Kind(enum.Enum):
    """What is known of a value before a query runs. The SQL of one that is undefined is NULL."""

    NUMBER = "a number"
    TEXT = "a text"
    BOOL = "true or false"  # 1 and 0
    NULL = "null"
    UNDEFINED = "undefined"
    OBJECT = "an object"
    ANY = "a property"  # `type` tells for each twin


class Need(enum.Enum):
    """A table that a query reads beside `identity`."""

    TWIN = "JOIN twin t ON t.device = i.device AND t.module = i.module"
    ASSIGNMENT = "LEFT JOIN assignment a ON a.device = i.device AND a.module = i.module"
    PRESENCE = "LEFT JOIN presence p ON p.device = i.device AND p.module = i.module"


@dataclass(frozen=True, slots=True)
class Value:
    """An expression in SQL. `type`, of one that is ANY, gives the name of its type as `json_type` does, or NULL.

    `longest`: how many characters it has at most, if it is a text.
    """

    kind: Kind
    sql: str = "NULL"
    type: str = "NULL"
    longest: int = TEXT_LIMIT


class Collection(enum.Enum):
    """What stands after FROM."""

    DEVICES = "devices"
    MODULES = "devices.modules"
    JOBS = "devices.jobs"  # its documents are `job_document`'s

    @property
    def rows(self) -> str:
        """The condition that an identity is one of it, for devices and modules."""
        return "i.module = ''" if self is Collection.DEVICES else "i.module != ''"


@dataclass(slots=True)
class Bindings:
    """The values that go into a statement beside its text, and the tables that it needs. `now`: ms since 1970."""

    now: int
    values: list[str | int | float] = field(default_factory=list)
    needs: set[Need] = field(default_factory=set)
    _known: dict[tuple[type, str | int | float], str] = field(default_factory=dict)

    def bind(self, value: str | float) -> str:
        """The placeholder of a value; equal ones share one."""
        key = (type(value), value)
        if key not in self._known:
            self.values.append(value)
            self._known[key] = f"?{len(self.values)}"
        return self._known[key]


def collection(source: Path) -> Collection:
    """What FROM names; raises `Fault`."""
    name = str(source).lower()
    for known in Collection:
        if known.value == name:
            return known
    raise Fault(
        source.at,
        f"there is no collection {str(source)[:60]!r}; there are {', '.join(known.value for known in Collection)}.",
    )


def resolve(path: Path, of: Collection) -> tuple[str, ...]:
    """The names of a property as the document has them: the service's own ones in their spelling."""
    names = path.names
    if len(names) > 1 and names[0].lower() == "devices":
        names = names[1:]
        if of is Collection.MODULES and len(names) > 1 and names[0].lower() == "modules":
            names = names[1:]
    spelled: list[str] = []
    known: Mapping[str, object] | None = _SPELLING
    for name in names:
        own = next((word for word in known or () if word.lower() == name.lower()), name)
        spelled.append(own)
        following = known.get(own) if known else None
        known = following if isinstance(following, dict) else None
    return tuple(spelled)


def value(names: tuple[str, ...], of: Collection, bindings: Bindings) -> Value:
    """The SQL of a property."""
    root, *rest = names
    if root == "tags":
        return _member("t.tags", rest, bindings) if rest else Value(Kind.OBJECT)
    if root == "properties":
        return _property(rest, bindings)
    if root == "configurations":
        return _configuration(rest, bindings)
    if root == "x509Thumbprint":
        return _thumbprint(rest)
    if root == "capabilities" and of is Collection.DEVICES:
        if not rest:
            return Value(Kind.OBJECT)
        return Value(Kind.BOOL, "i.iot_edge") if rest == ["iotEdge"] else Value(Kind.UNDEFINED)
    make = _SYSTEM.get(root)
    if make is None or rest:
        return Value(Kind.UNDEFINED)
    return make(of, bindings)


def _property(names: list[str], bindings: Bindings) -> Value:
    """Below `properties`: desired or reported, with `$version` and `$metadata`."""
    if not names:
        return Value(Kind.OBJECT)
    section, *rest = names
    if section not in ("desired", "reported"):
        return Value(Kind.UNDEFINED)
    if not rest:
        return Value(Kind.OBJECT)
    if rest[0] == "$version":
        bindings.needs.add(Need.TWIN)
        return Value(Kind.NUMBER, f"t.{section}_version") if len(rest) == 1 else Value(Kind.UNDEFINED)
    if rest[0] == "$metadata":
        return _member(f"t.{section}_meta", rest[1:], bindings) if rest[1:] else Value(Kind.OBJECT)
    return _member(f"t.{section}", rest, bindings)


def _member(column: str, names: list[str], bindings: Bindings) -> Value:
    """A member of a column of JSON."""
    bindings.needs.add(Need.TWIN)
    return json_member(column, names, bindings)


def json_member(column: str, names: list[str], bindings: Bindings) -> Value:
    """A member of what is stored as JSON in SQL."""
    if any('"' in name for name in names):
        # SQLite's paths cannot name these; a function of ours can (`functions.register`).
        path = bindings.bind(json.dumps(names))
        return Value(Kind.ANY, f"lab_value({column}, {path})", f"lab_type({column}, {path})")
    # Names in a path are compared with the stored JSON as it is written: escaped.
    path = bindings.bind("$" + "".join(f".{json.dumps(name)}" for name in names))
    return Value(Kind.ANY, f"json_extract({column}, {path})", f"json_type({column}, {path})")


def _configuration(names: list[str], bindings: Bindings) -> Value:
    """`configurations`, which only a twin has that is targeted by one."""
    bindings.needs.add(Need.ASSIGNMENT)
    if names:
        return json_member("a.statuses", names, bindings)
    return Value(Kind.ANY, "a.statuses", "CASE WHEN a.statuses != '{}' THEN 'object' END")


def _thumbprint(names: list[str]) -> Value:
    if not names:
        return Value(Kind.OBJECT)
    column = {"primaryThumbprint": "i.primary_thumbprint", "secondaryThumbprint": "i.secondary_thumbprint"}
    return _nullable(column[names[0]]) if len(names) == 1 and names[0] in column else Value(Kind.UNDEFINED)


def _nullable(column: str) -> Value:
    return Value(Kind.ANY, column, f"CASE WHEN {column} IS NULL THEN 'null' ELSE 'text' END")


_Maker = "Callable[[Collection, Bindings], Value]"


def _text(sql: str) -> Callable[[Collection, Bindings], Value]:
    return lambda _, __: Value(Kind.TEXT, sql)


def _module_id(of: Collection, _: Bindings) -> Value:
    return Value(Kind.TEXT, "i.module") if of is Collection.MODULES else Value(Kind.UNDEFINED)


def _of_twin(kind: Kind, sql: str) -> Callable[[Collection, Bindings], Value]:
    def made(_: Collection, bindings: Bindings) -> Value:
        bindings.needs.add(Need.TWIN)
        return Value(kind, sql)

    return made


def _connection_state(_: Collection, bindings: Bindings) -> Value:
    bindings.needs.add(Need.PRESENCE)
    return Value(Kind.TEXT, "CASE WHEN p.connected THEN 'Connected' ELSE 'Disconnected' END")


def _last_activity(_: Collection, bindings: Bindings) -> Value:
    bindings.needs.add(Need.PRESENCE)
    return Value(Kind.TEXT, "lab_iso(COALESCE(p.activity, i.last_activity))")


def _messages(of: Collection, bindings: Bindings) -> Value:
    if of is Collection.MODULES:
        return Value(Kind.NUMBER, "0")
    now = bindings.bind(bindings.now)
    return Value(
        Kind.NUMBER, f"(SELECT COUNT(*) FROM command c WHERE c.device = i.device AND c.expires > {now})"
    )


def _scope(of: Collection, _: Bindings) -> Value:
    if of is Collection.MODULES:
        return Value(Kind.UNDEFINED)
    return Value(Kind.TEXT, "NULLIF(i.device_scope, '')")


def _parents(of: Collection, _: Bindings) -> Value:
    if of is Collection.MODULES:
        return Value(Kind.UNDEFINED)
    return Value(
        Kind.ANY, "i.parent_scopes", "CASE WHEN NULLIF(i.device_scope, '') NOT NULL THEN 'array' END"
    )


_SYSTEM: Final[dict[str, Callable[[Collection, Bindings], Value]]] = {
    "deviceId": _text("i.device"),
    "moduleId": _module_id,
    "etag": _of_twin(Kind.TEXT, "lab_etag(t.etag_version)"),
    "deviceEtag": _text("i.etag"),
    "status": _text("i.status"),
    "statusReason": lambda _, __: _nullable("i.status_reason"),
    "statusUpdateTime": _text("lab_iso(i.status_updated)"),
    "connectionState": _connection_state,
    "lastActivityTime": _last_activity,
    "cloudToDeviceMessageCount": _messages,
    "authenticationType": _text("i.auth_type"),
    "modelId": _of_twin(Kind.TEXT, "t.model_id"),
    "version": _of_twin(Kind.NUMBER, "t.version"),
    "deviceScope": _scope,
    "parentScopes": _parents,
}
# How the service's own names are spelled; below `desired`, `reported` and `tags` they are the user's.
_SPELLING: Final[dict[str, object]] = {
    **dict.fromkeys(_SYSTEM),
    "tags": None,
    "configurations": None,
    "capabilities": {"iotEdge": None},
    "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
    "properties": {"desired": None, "reported": None},
}
