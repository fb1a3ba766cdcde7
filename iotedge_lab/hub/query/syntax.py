"""A query as read: its clauses and the expressions in them, and the error for one that cannot be read.

Every part knows where it begins in the text (`at`), for errors that are found later, and how deep it is nested.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import ArgumentInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LENGTH: Final = 8192
"""Characters of a query: "Query expressions can have a maximum length of 8192 characters" (query-twins)."""

MAX_DEPTH: Final = 16
"""How deep an expression may be nested: operators, functions and NOT inside one another, not their number."""


class QueryError(ArgumentInvalid):
    """400004: a query that cannot be read, with the place. `line` and `column` count from 1."""

    def __init__(self, text: str, at: int, reason: str) -> None:
        at = min(at, len(text))
        self.line = text.count("\n", 0, at) + 1
        self.column = at - (text.rfind("\n", 0, at) + 1) + 1
        self.reason = reason
        super().__init__(f"the query is invalid at line {self.line}, column {self.column}: {reason}")


class Fault(Exception):
    """What is wrong at a place of the text, found where the text is not at hand."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


class Undefined(enum.Enum):
    """The constant `undefined`."""

    UNDEFINED = "undefined"


Constant = str | int | float | bool | None | Undefined


@dataclass(frozen=True, slots=True)
class Path:
    """A property: its names from the root of the document."""

    at: int
    names: tuple[str, ...]
    depth: int = 1

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    at: int
    value: Constant
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator with its operands: `AND` and `OR` have any number, `NOT` and `NEGATIVE` one, the others two."""

    at: int
    operator: str
    operands: tuple[Expression, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class Membership:
    """`x IN [...]`, or with `negated` `x NIN [...]`."""

    at: int
    operand: Expression
    values: tuple[Constant, ...]
    negated: bool
    depth: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; `name` in upper case."""

    at: int
    name: str
    arguments: tuple[Expression, ...]
    depth: int


Expression = Path | Literal | Operation | Membership | Call


@dataclass(frozen=True, slots=True)
class Item:
    """One column of a result: a property, or an aggregate of one (of none for COUNT)."""

    at: int
    path: Path | None
    aggregate: str | None
    alias: str | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole query. `items` None is `SELECT *`."""

    items: tuple[Item, ...] | None
    source: Path
    where: Expression | None
    group: Path | None
    top: int | None


def nested(at: int, parts: Sequence[Expression]) -> int:
    """The depth of what holds `parts`; raises `Fault` where it is too deep."""
    depth = 1 + max((part.depth for part in parts), default=0)
    if depth > MAX_DEPTH:
        raise Fault(at, f"the expression is nested deeper than {MAX_DEPTH} levels here; write it flatter.")
    return depth
