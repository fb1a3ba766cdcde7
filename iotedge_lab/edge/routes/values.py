"""Values and types of the condition language, and its three-valued logic.

A value is a float, a str, True, False, None (null) or `UNDEFINED`. Each expression has a type that is known
when the route is compiled; only what comes out of a message's body has the type `ANY`, which is checked for each
message. Stands for the query types of the open-source edgeHub (Azure/iotedge, edge-hub/core,
Microsoft.Azure.Devices.Routing.Core, query/types).

Rules that surprise, all of them the runtime's:

- An application property is text, always: `temperature > 30` does not compile, `as_number(temperature) > 30` does.
- Nothing equals undefined, and nothing differs from it: each comparison with it is undefined, which is no match.
- What a JSON body does not have is **null**, not undefined: `is_defined($body.x)` is true without an `x`.
- Values of two types out of a body are ordered by type (boolean < number < text < null), so
  `$body.speed > 30` is true of a body without `speed`. Guard it: `$body.speed != null and $body.speed > 30`.
- An object, an array or an ISO date with a time in a body is undefined.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from iotedge_lab.edge.routes.message import RoutedMessage


class Undefined(enum.Enum):
    """The one undefined value."""

    UNDEFINED = "undefined"


UNDEFINED: Final = Undefined.UNDEFINED

Value = float | str | bool | None | Undefined
Evaluate = Callable[["RoutedMessage"], Value]
"""A compiled expression."""


class Type(enum.Enum):
    """What an expression gives; the value is the word that an error message uses."""

    NUMBER = "a number"
    TEXT = "text"
    BOOL = "true or false"
    NULL = "null"
    UNDEFINED = "undefined"
    ANY = "a value of the body"


SOLID: Final = frozenset({Type.NUMBER, Type.TEXT, Type.BOOL, Type.NULL})
"""The types that a value of the body may turn out to have."""


def fits(expected: Type, given: Type) -> bool:
    """Whether an operand of the type `given` may stand where `expected` is asked for."""
    return (
        expected is given
        or (given is Type.ANY and expected in SOLID)
        or (expected is Type.ANY and given in SOLID)
    )


def is_nan(value: Value) -> bool:
    """Whether a value is the number that is none."""
    return isinstance(value, float) and math.isnan(value)


def defined(value: Value) -> bool:
    """Whether a value is defined. NaN is how undefined shows among numbers."""
    return value is not UNDEFINED and not is_nan(value)


def rank(value: float | str | bool | None) -> int:
    """The place of a value's type in the order of types."""
    if value is True or value is False:
        return 1
    if isinstance(value, float):
        return 2
    return 3 if isinstance(value, str) else 4


def order(left: Value, right: Value) -> int | None:
    """-1, 0 or 1 as left stands before, with or after right; None where either is undefined.

    Text is ordered by UTF-16 code units in the runtime and by code points here; the two differ only between
    characters beyond U+FFFF and those from U+E000 to U+FFFF.
    """
    if left is UNDEFINED or right is UNDEFINED:
        return None
    if isinstance(left, float) and isinstance(right, float):
        if left < right:
            return -1
        if left > right:
            return 1
        return 0 if left == right else None  # NaN
    if isinstance(left, str) and isinstance(right, str):
        return -1 if left < right else int(left > right)
    if is_nan(left) or is_nan(right):
        return None
    place, other = rank(left), rank(right)
    if place != other:
        return -1 if place < other else 1
    return int(left is True) - int(right is True) if place == 1 else 0


# Each comparison as the set of answers of `order` that make it true.
COMPARISONS: Final[dict[str, frozenset[int]]] = {
    "=": frozenset({0}),
    "!=": frozenset({-1, 1}),
    "<>": frozenset({-1, 1}),
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
    ">": frozenset({1}),
    ">=": frozenset({0, 1}),
}
