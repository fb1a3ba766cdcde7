"""Whom a configuration is for: its target condition.

    tags.environment = 'test' AND properties.reported.model = '4000x'      devices, and edge devices
    FROM devices.modules WHERE moduleId = 'filter'                         modules
    *                                                                      all
    (nothing)                                                              none

A condition looks at `deviceId`, tags and reported properties (at `moduleId` too for modules), and has no double
quotes (learn.microsoft.com, IoT Edge, module-deployment-monitoring; IoT Hub, iot-hub-automatic-device-management).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from iotedge_lab.errors import InvalidConfigurationTargetCondition
from iotedge_lab.hub.configurations.content import Kind
from iotedge_lab.hub.query.document import Bindings, Collection, resolve
from iotedge_lab.hub.query.syntax import Call, Fault, Literal, Membership, Operation, Path, QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.hub.query.syntax import Expression

ALL: Final = "*"
_FROM: Final = re.compile(r"\s*from\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A target condition, read. `where` None takes all, unless `text` is empty: then none."""

    text: str
    of: Collection
    where: Expression | None = field(compare=False)
    reported: bool  # whether it looks at reported properties

    @classmethod
    def read(cls, text: str, kind: Kind) -> Self:
        """Raises `InvalidConfigurationTargetCondition` with the place."""
        of = Collection.MODULES if kind is Kind.MODULE else Collection.DEVICES
        if not text.strip() or text.strip() == ALL:
            return cls(text.strip(), of, None, reported=False)
        try:
            return cls(text, of, *_read(text, of))
        except QueryError as error:
            raise InvalidConfigurationTargetCondition(
                error.message.replace("the query", "the target condition", 1)
            ) from error
        except Fault as fault:
            wrong = QueryError(text, fault.at, fault.reason)
            raise InvalidConfigurationTargetCondition(
                wrong.message.replace("the query", "the target condition", 1)
            ) from fault

    @property
    def nobody(self) -> bool:
        """Whether it takes none."""
        return not self.text

    @property
    def query(self) -> str:
        """The query for those that it takes, as the system metric `targetedCount` has it."""
        names = "deviceId, moduleId" if self.of is Collection.MODULES else "deviceId"
        if self.nobody:
            return ""
        if self.where is None:
            return f"select {names} from {self.of.value}"
        if self.of is Collection.MODULES:
            return f"select {names} {self.text.strip()}"
        return f"select {names} from devices where {self.text.strip()}"


def kind_of(text: str) -> Kind:
    """What a target condition can only be for, as far as it tells."""
    return Kind.MODULE if _FROM.match(text) else Kind.DEVICE


def _read(text: str, of: Collection) -> tuple[Expression | None, bool]:
    # Imported with the first condition: a hub without one need not load the grammar's library.
    from iotedge_lab.hub.query.grammar import parse_condition, parse_target
    from iotedge_lab.hub.query.sql import Compiler

    quote = text.find('"')
    if quote >= 0:
        raise Fault(quote, "a target condition has no double quotes; texts stand in single ones.")
    if of is Collection.DEVICES:
        if re.match(r"\s*(select|from)\b", text, re.IGNORECASE):
            raise Fault(
                0, "a target condition is what would follow WHERE, such as tags.floor = 3; or * for all."
            )
        where: Expression | None = parse_condition(text)
    else:
        if not _FROM.match(text):
            raise Fault(
                0, "that of moduleContent begins with FROM devices.modules WHERE; or it is * for all."
            )
        source, where = parse_target(text)
        if str(source).lower() != of.value:
            raise Fault(source.at, "that of moduleContent is FROM devices.modules.")
    reported = _check_paths(where, of)
    if where is not None:
        Compiler(of, Bindings(0)).condition(where)  # refuses functions that there are not
    return where, reported


def _check_paths(where: Expression | None, of: Collection) -> bool:
    """Refuse what a condition may not look at; whether it looks at reported properties."""
    reported = False
    for path in _paths(where):
        names = resolve(path, of)
        if names[:2] == ("properties", "reported"):
            reported = True
        elif names[0] not in ("tags", "deviceId") and not (
            names[0] == "moduleId" and of is Collection.MODULES
        ):
            raise Fault(
                path.at,
                f"a target condition looks at deviceId, tags and properties.reported, not at {str(path)[:80]!r}.",
            )
    return reported


def _paths(expression: Expression | None) -> Iterator[Path]:
    """The properties in an expression."""
    waiting = [] if expression is None else [expression]
    while waiting:
        one = waiting.pop()
        match one:
            case Path():
                yield one
            case Operation():
                waiting += one.operands
            case Membership():
                waiting.append(one.operand)
            case Call():
                waiting += one.arguments
            case Literal():
                pass
