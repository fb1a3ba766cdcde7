"""The functions of the condition language: their names, their arguments, what they give.

An argument that turns out undefined, or of another type than the function takes (only values of the body can),
makes the result undefined; so does a result that is not a number. Names are read in any case.

Stands for the open-source edgeHub's (Azure/iotedge, edge-hub/core, Routing.Core, query/builtins). Left out:
`twin_change_includes`, which the runtime offers to no route of an edge; `is_null` of a body's value gives what its
name says (the runtime's gives true for any value that is there).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.routes.values import UNDEFINED, Evaluate, Type, Value, defined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NUMBER: Final = re.compile(
    r"\s*[+-]?(?:[0-9][0-9,]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*|\s*[+-]?Infinity\s*"
)


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `takes` are the types that each argument may have; none means any.

    `least` of them must be given; with `more`, the last one repeats. `call` gets the arguments' values.
    """

    name: str
    gives: Type
    takes: tuple[tuple[Type, ...], ...]
    call: Callable[..., Value]
    least: int
    more: bool = False

    @property
    def signature(self) -> str:
        """How it is called, for an error message."""
        short = {Type.TEXT: "text", Type.NUMBER: "number"}
        words = [" or ".join(short[one] for one in types) or "value" for types in self.takes]
        given, optional = words[: self.least], words[self.least :]
        tail = ", ..." if self.more else "".join(f"[, {word}]" for word in optional)
        return f"{self.name}({', '.join(given)}{tail})"


def _text(operation: Callable[..., Value]) -> Callable[..., Value]:
    """Give undefined unless each argument is text."""

    def guarded(*values: Value) -> Value:
        for value in values:
            if not isinstance(value, str):
                return UNDEFINED
        return operation(*values)

    return guarded


def _number(operation: Callable[..., float]) -> Callable[..., Value]:
    """Give undefined unless each argument is a number, and undefined for a result that is none."""

    def guarded(*values: Value) -> Value:
        for value in values:
            if not isinstance(value, float):
                return UNDEFINED
        result = operation(*values)
        return UNDEFINED if math.isnan(result) else result

    return guarded


def _whole(operation: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: float(operation(value)) if math.isfinite(value) else value


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def power(base: float, exponent: float) -> float:
    """`base` to the `exponent` as IEEE 754 has it: no errors, NaN and infinities instead."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        odd = exponent % 2 == 1
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:
        if base == 0:  # to a negative power
            return math.copysign(math.inf, base) if exponent % 2 == 1 else math.inf
        return math.nan


def as_number(value: Value) -> Value:
    """A number, or text that reads as one: with sign, thousands' commas, point and exponent."""
    if isinstance(value, float):
        return value
    if not isinstance(value, str) or len(value) > 400 or not _NUMBER.fullmatch(value):
        return UNDEFINED
    return float(value.replace(",", ""))


def concat(*values: Value) -> Value:
    """Text after text; null adds nothing."""
    if all(isinstance(value, str) or value is None for value in values):
        return "".join(value for value in values if isinstance(value, str))
    return UNDEFINED


def _substring(text: Value, start: Value, length: Value = None) -> Value:
    if not isinstance(text, str) or not isinstance(start, float):
        return UNDEFINED
    if length is None:
        return text[int(start) :] if 0 <= start <= len(text) else UNDEFINED
    if not isinstance(length, float) or not 0 <= start < len(text) or not 0 <= length <= len(text) - start:
        return UNDEFINED
    return text[int(start) : int(start) + int(length)]


def _is_number(value: Value) -> Value:
    return isinstance(value, float) and math.isfinite(value)


def _sign(value: float) -> float:
    return float((value > 0) - (value < 0))


_TEXT: Final = (Type.TEXT,)
_NUMERIC: Final = (Type.NUMBER,)


def _one(name: str, operation: Callable[[float], float]) -> Function:
    return Function(name, Type.NUMBER, (_NUMERIC,), _number(operation), 1)


def _two_texts(name: str, gives: Type, operation: Callable[[str, str], Value]) -> Function:
    return Function(name, gives, (_TEXT, _TEXT), _text(operation), 2)


def _test(name: str, operation: Callable[[Value], Value]) -> Function:
    return Function(name, Type.BOOL, ((),), operation, 1)


_ALL: Final = (
    _one("abs", abs),
    _one("ceiling", _whole(math.ceil)),
    _one("exp", _exp),
    _one("floor", _whole(math.floor)),
    Function("power", Type.NUMBER, (_NUMERIC, _NUMERIC), _number(power), 2),
    _one("sign", _sign),
    _one("sqrt", lambda value: math.sqrt(value) if value >= 0 else math.nan),
    _one("square", lambda value: value * value),
    Function("as_number", Type.NUMBER, ((Type.TEXT, Type.NUMBER),), as_number, 1),
    _test("is_bool", lambda value: value is True or value is False),
    _test("is_defined", defined),
    _test("is_null", lambda value: value is None),
    _test("is_number", _is_number),
    _test("is_string", lambda value: isinstance(value, str)),
    Function("concat", Type.TEXT, (_TEXT, _TEXT), concat, 2, more=True),
    Function("length", Type.NUMBER, (_TEXT,), _text(lambda text: float(len(text))), 1),
    Function("lower", Type.TEXT, (_TEXT,), _text(str.lower), 1),
    Function("upper", Type.TEXT, (_TEXT,), _text(str.upper), 1),
    Function("substring", Type.TEXT, (_TEXT, _NUMERIC, _NUMERIC), _substring, 2),
    _two_texts("index_of", Type.NUMBER, lambda text, part: float(text.find(part))),
    _two_texts("starts_with", Type.BOOL, lambda text, part: text.startswith(part)),
    _two_texts("ends_with", Type.BOOL, lambda text, part: text.endswith(part)),
    _two_texts("contains", Type.BOOL, lambda text, part: part in text),
)

FUNCTIONS: Final[Mapping[str, Function]] = {function.name: function for function in _ALL}
"""Each function by its name in lower case."""


def applied(function: Function, arguments: tuple[Evaluate, ...]) -> Evaluate:
    """The evaluation of a call; the common cases of one and two arguments without a list."""
    call = function.call
    if len(arguments) == 1:
        (only,) = arguments
        return lambda message: call(only(message))
    if len(arguments) == 2:
        first, second = arguments
        return lambda message: call(first(message), second(message))
    return lambda message: call(*[argument(message) for argument in arguments])
