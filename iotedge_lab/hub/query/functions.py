"""The functions of a condition, in SQL, and those few that Python gives to SQLite.

Stands for the tables "Functions" of iot-hub-devguide-query-language (learn.microsoft.com, IoT Hub). Azure documents
IS_DEFINED alone for twins and the others for routes; STARTSWITH is known to work there (azure-docs, issue 110329),
and here all of them do. An argument that is undefined or of another type makes the result undefined; a test of a
type (IS_NUMBER) is then false. Texts are counted in code points, and end at a NUL as SQLite's do.
"""

from __future__ import annotations

import base64
import difflib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.hub.identities import iso
from iotedge_lab.hub.query.document import Kind, Value
from iotedge_lab.hub.query.syntax import Fault, Path

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from iotedge_lab.hub.query.syntax import Call

# SQLite makes an index of a list of more than two, each time that a statement is begun.
PRIMITIVE: Final = "NOT IN ('object', 'array')"
_NUMBERS: Final = "('integer', 'real')"
_SHORT: Final = 80  # characters of SQL: a property or a constant
LONGEST: Final = 65_536
"""Characters of a text that an expression may make of others (CONCAT): sixteen of the longest that a twin can hold."""


# -- a value as one of a type, else undefined ----------------------------------------------------------


def number(value: Value) -> str:
    """The SQL of a number."""
    if value.kind is Kind.NUMBER:
        return value.sql
    if value.kind is Kind.ANY:
        return f"CASE WHEN {value.type} IN {_NUMBERS} THEN {value.sql} END"
    return "NULL"


def text(value: Value) -> str:
    """The SQL of a text."""
    if value.kind is Kind.TEXT:
        return value.sql
    if value.kind is Kind.ANY:
        return f"CASE {value.type} WHEN 'text' THEN {value.sql} END"
    return "NULL"


def boolean(value: Value) -> str:
    """The SQL of a truth value, 1 or 0."""
    if value.kind is Kind.BOOL:
        return value.sql
    if value.kind is Kind.ANY:
        return f"CASE {value.type} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
    return "NULL"


def json_type(value: Value) -> str:
    """The SQL of the name of its type, as `json_type` gives it; NULL where it is undefined."""
    match value.kind:
        case Kind.ANY:
            return value.type
        case Kind.NUMBER:
            return f"CASE WHEN {value.sql} NOT NULL THEN 'real' END"
        case Kind.TEXT:
            return f"CASE WHEN {value.sql} NOT NULL THEN 'text' END"
        case Kind.BOOL:
            return f"CASE {value.sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"
        case Kind.NULL:
            return "'null'"
        case Kind.OBJECT:
            return "'object'"
        case _:
            return "NULL"


# -- the table -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Function:
    """How many arguments it takes, and what it is in SQL."""

    least: int
    most: int
    make: Callable[[Sequence[Value]], Value]


def call(asked: Call, arguments: Sequence[Value]) -> Value:
    """A function applied; raises `Fault` for one that there is not, or for the wrong number of arguments."""
    function = FUNCTIONS.get(asked.name)
    if function is None:
        near = difflib.get_close_matches(asked.name.replace("_", ""), FUNCTIONS, 1, 0.6)
        hint = f" Is {near[0]} meant?" if near else f" There are {', '.join(sorted(FUNCTIONS))}."
        raise Fault(asked.at, f"there is no function {asked.name[:60]}.{hint}")
    count = len(arguments)
    if not function.least <= count <= function.most:
        takes = str(function.least) if function.least == function.most else f"{function.least} or more"
        raise Fault(
            asked.at, f"{asked.name} takes {takes} {_plural(function.least)}, and here it has {count}."
        )
    if asked.name == "IS_DEFINED" and not isinstance(asked.arguments[0], Path):
        raise Fault(asked.at, "IS_DEFINED takes a property.")
    made = function.make(arguments)
    if made.longest > LONGEST:
        raise Fault(asked.at, f"this text could have more than {LONGEST} characters; put fewer together.")
    return made


def _plural(count: int) -> str:
    return "argument" if count == 1 else "arguments"


def _bool(sql: str) -> Value:
    return Value(Kind.BOOL, f"({sql})")


def _number(sql: str) -> Value:
    return Value(Kind.NUMBER, f"({sql})")


def _text(sql: str, given: Sequence[Value]) -> Value:
    return Value(Kind.TEXT, f"({sql})", longest=sum(one.longest for one in given))


def _is(*types: str) -> Function:
    listed = ", ".join(f"'{name}'" for name in types)
    return Function(1, 1, lambda given: _bool(f"COALESCE({json_type(given[0])} IN ({listed}), 0)"))


def _of_number(template: str) -> Function:
    return Function(1, 1, lambda given: _number(template.format(number(given[0]))))


# SQLite looks for a text in another place by place, which takes long where both are long and nearly alike: what is
# put together of several is left to Python.


def _starts(given: Sequence[Value]) -> Value:
    if not _simple(given):
        return _bool(f"lab_starts({text(given[0])}, {text(given[1])})")
    return _bool(f"instr({_blob(given[0])}, {_blob(given[1])}) = 1")


def _contains(given: Sequence[Value]) -> Value:
    if not _simple(given):
        return _bool(f"lab_index({text(given[0])}, {text(given[1])}) >= 0")
    return _bool(f"instr({_blob(given[0])}, {_blob(given[1])}) > 0")


def _index(given: Sequence[Value]) -> Value:
    if not _simple(given):
        return _number(f"lab_index({text(given[0])}, {text(given[1])})")
    return _number(f"instr({text(given[0])}, {text(given[1])}) - 1")


def _ends(given: Sequence[Value]) -> Value:
    if not _simple(given):
        return _bool(f"lab_ends({text(given[0])}, {text(given[1])})")
    whole, part = _blob(given[0]), _blob(given[1])
    # An empty end is at every text's end; substr counts from the end by a negative number only.
    return _bool(
        f"CASE length({part}) WHEN 0 THEN CASE WHEN {whole} NOT NULL THEN 1 END ELSE "
        f"length({whole}) >= length({part}) AND substr({whole}, -length({part})) = {part} END"
    )


def _simple(values: Sequence[Value]) -> bool:
    """Whether they may be written more than once: what is nested would grow twofold with each level."""
    return all(len(value.sql) < _SHORT for value in values)


def _blob(value: Value) -> str:
    """A text as UTF-8: a part of one is a part of the other, byte by byte."""
    return f"CAST({text(value)} AS BLOB)"


def _substring(given: Sequence[Value]) -> Value:
    length = number(given[2]) if len(given) == 3 else "9e15"
    return _text(f"lab_substring({text(given[0])}, {number(given[1])}, {length})", given[:1])


def _as_number(given: Sequence[Value]) -> Value:
    value = given[0]
    if value.kind is Kind.NUMBER:
        return value
    if value.kind is Kind.TEXT:
        return _number(f"lab_number({value.sql})")
    if value.kind is Kind.ANY:
        return _number(
            f"CASE {value.type} WHEN 'text' THEN lab_number({value.sql}) "
            f"WHEN 'integer' THEN {value.sql} WHEN 'real' THEN {value.sql} END"
        )
    return Value(Kind.UNDEFINED)


FUNCTIONS: Final[dict[str, Function]] = {
    "IS_DEFINED": Function(1, 1, lambda given: _bool(f"{json_type(given[0])} NOT NULL")),
    "IS_NULL": _is("null"),
    "IS_BOOL": _is("true", "false"),
    "IS_NUMBER": _is("integer", "real"),
    "IS_STRING": _is("text"),
    "IS_OBJECT": _is("object"),
    "IS_ARRAY": _is("array"),
    "IS_PRIMITIVE": Function(1, 1, lambda given: _bool(f"COALESCE({json_type(given[0])} {PRIMITIVE}, 0)")),
    "AS_NUMBER": Function(1, 1, _as_number),
    "STARTSWITH": Function(2, 2, _starts),
    "ENDSWITH": Function(2, 2, _ends),
    "CONTAINS": Function(2, 2, _contains),
    "INDEX_OF": Function(2, 2, _index),
    "SUBSTRING": Function(2, 3, _substring),
    "LENGTH": Function(1, 1, lambda given: _number(f"length({text(given[0])})")),
    "LOWER": Function(1, 1, lambda given: _text(f"lab_lower({text(given[0])})", given)),
    "UPPER": Function(1, 1, lambda given: _text(f"lab_upper({text(given[0])})", given)),
    "CONCAT": Function(2, 64, lambda given: _text(" || ".join(text(one) for one in given), given)),
    "ABS": _of_number("lab_abs({0})"),
    "SQUARE": _of_number("lab_power({0}, 2)"),
    "SIGN": _of_number("sign({0})"),
    "CEILING": _of_number("lab_ceiling({0})"),
    "FLOOR": _of_number("lab_floor({0})"),
    "SQRT": _of_number("lab_sqrt({0})"),
    "EXP": _of_number("lab_exp({0})"),
    "POWER": Function(2, 2, lambda given: _number(f"lab_power({number(given[0])}, {number(given[1])})")),
}


# -- what Python gives to SQLite -----------------------------------------------------------------------


def register(db: sqlite3.Connection) -> None:
    """Give a connection the functions that compiled queries call."""
    for name, count, function in (
        ("lab_iso", 1, iso),
        ("lab_etag", 1, _etag),
        ("lab_type", 2, _type_at),
        ("lab_value", 2, _value_at),
        ("lab_lower", 1, lambda value: None if value is None else value.lower()),
        ("lab_upper", 1, lambda value: None if value is None else value.upper()),
        ("lab_number", 1, _read_number),
        ("lab_starts", 2, _both(str.startswith)),
        ("lab_ends", 2, _both(str.endswith)),
        ("lab_index", 2, _both(str.find)),
        ("lab_substring", 3, _part),
        ("lab_modulo", 2, _guarded(math.fmod)),
        ("lab_abs", 1, _guarded(abs)),
        ("lab_sqrt", 1, _guarded(math.sqrt)),
        ("lab_power", 2, _guarded(math.pow)),
        ("lab_exp", 1, _guarded(math.exp)),
        ("lab_floor", 1, _guarded(math.floor)),
        ("lab_ceiling", 1, _guarded(math.ceil)),
    ):
        db.create_function(name, count, function, deterministic=True)


def _guarded(operation: Callable[..., float]) -> Callable[..., float | None]:
    """Undefined for what has no finite answer."""

    def made(*values: float | None) -> float | None:
        if None in values:
            return None
        try:
            result = float(operation(*values))
        except (ValueError, OverflowError, ZeroDivisionError):
            return None
        return result if math.isfinite(result) else None

    return made


def _both(test: Callable[[str, str], int]) -> Callable[..., int | None]:
    return lambda whole, part: None if whole is None or part is None else test(whole, part)


def _part(whole: str | None, start: float | None, length: float | None) -> str | None:
    if whole is None or start is None or length is None or start < 0 or length < 0:
        return None
    first = int(min(start, len(whole)))
    return whole[first : first + int(min(length, len(whole)))]


_NUMBER: Final = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


def _read_number(value: str | None) -> float | None:
    if value is None or not _NUMBER.fullmatch(value):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _etag(version: int) -> str:
    return base64.b64encode(version.to_bytes(8, "big")).decode()


def _found(text: str | None, path: str) -> Any:
    """The member at a path; KeyError where there is none."""
    found = json.loads(text or "{}")
    for name in json.loads(path):
        if not isinstance(found, dict):
            raise KeyError(name)
        found = found[name]
    return found


_TYPES: Final = {bool: "", int: "integer", float: "real", str: "text", dict: "object", list: "array"}


def _type_at(text: str | None, path: str) -> str | None:
    try:
        found = _found(text, path)
    except KeyError:
        return None
    if found is None:
        return "null"
    return str(found).lower() if isinstance(found, bool) else _TYPES[type(found)]


def _value_at(text: str | None, path: str) -> str | float | None:
    try:
        found = _found(text, path)
    except KeyError:
        return None
    return json.dumps(found) if isinstance(found, dict | list) else found
