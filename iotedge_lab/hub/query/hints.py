"""What is wrong with a query that cannot be read, in words: its place, and what was probably meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lark.exceptions import UnexpectedCharacters, UnexpectedToken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lark import Token
    from lark.exceptions import UnexpectedInput

_CONSTANTS: Final = frozenset(("STRING", "DECIMAL", "HEX", "TRUE", "FALSE", "NULL", "UNDEFINED", "MINUS"))
_LOGIC: Final = frozenset(("AND", "OR", "NOT", "IN", "NIN"))
_CLAUSES: Final = frozenset(("SELECT", "TOP", "FROM", "WHERE", "GROUP", "BY", "AS"))
KEYWORDS: Final = _CLAUSES | _LOGIC | {"TRUE", "FALSE", "NULL", "UNDEFINED"}
_VALUES: Final = _CONSTANTS | {"NAME", "QUOTED", "LPAR"}
_OPERATORS: Final = (_LOGIC - {"NOT"}) | {
    *("EQ", "NE", "LT", "LE", "GT", "GE"),
    *("PLUS", "MINUS", "STAR", "SLASH", "PERCENT"),
}
_WORDS: Final = {
    "STAR": "'*'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACKET": "'['",
    "RBRACKET": "']'",
    "COMMA": "','",
    "DOT": "'.'",
    "DECIMAL": "a number",
    "NAME": "a name",
    "$END": "the end",
}
# What people write who know other languages.
_FOREIGN: Final = {
    "LIKE": "there is no LIKE; STARTSWITH, ENDSWITH and CONTAINS look into texts.",
    "ORDER": "there is no ORDER BY; sort what comes back.",
    "LIMIT": "there is no LIMIT; SELECT TOP n takes the first n.",
    "HAVING": "there is no HAVING.",
    "DISTINCT": "there is no DISTINCT; GROUP BY gives each value once.",
    "JOIN": "there is no JOIN; devices, devices.modules and devices.jobs are queried one by one.",
    "BETWEEN": "there is no BETWEEN; write x >= 1 AND x <= 5.",
    "IS": "there is no IS; IS_NULL(x) and IS_DEFINED(x) tell.",
    "EXISTS": "there is no EXISTS; IS_DEFINED(x) tells.",
}


def explained(text: str, unexpected: UnexpectedInput) -> tuple[int, str]:
    """The place and the reason of what lark could not take."""
    if isinstance(unexpected, UnexpectedCharacters):
        at = unexpected.pos_in_stream or 0
        return at, _no_token(text, at)
    assert isinstance(unexpected, UnexpectedToken)
    token: Token = unexpected.token
    expected = {str(name) for name in unexpected.accepts or unexpected.expected}
    if token.type == "$END":
        why = "a '(' is not closed" if "RPAR" in expected else f"{_named(expected)} could follow"
        return len(text.rstrip()), f"it ends too early: {why}."
    at, word = token.start_pos or 0, str(token)
    hint = _hint(token, text[:at], expected)
    return at, hint or f"{word[:60]!r} cannot stand here; {_named(expected)} could."


def _no_token(text: str, at: int) -> str:
    letter = text[at]
    if letter in "'\"":
        closed = re.compile(rf"{letter}(?:[^{letter}\\]|\\.)*{letter}", re.DOTALL).match(text, at)
        if closed:
            return (
                r"a backslash in a text stands before a quote, a backslash, or u and four hexadecimal digits."
            )
        return "this text has no closing quote."
    return f"{letter!r} has no meaning here."


def _hint(token: Token, before: str, expected: set[str]) -> str:
    """What was probably meant by a token that cannot stand where it does, or ''."""
    word, kind = str(token), token.type
    adjacent, before = before[-1:], before.rstrip()
    for foreign in (word.upper(), before.rpartition(" ")[2].upper()):
        if foreign in _FOREIGN and kind in ("NAME", "LPAR", "QUOTED", "NULL", "NOT"):
            return _FOREIGN[foreign]
    if kind == "FROM" and before.endswith(","):
        return "nothing stands after the last ','."
    if kind in KEYWORDS and (before.endswith(".") or expected == {"NAME", "QUOTED"}):
        return f"{word!r} is a keyword; as a name it is written [[{word}]]."
    if kind == "EQ" and before.endswith(("=", "!")):
        return "equality is written with one '='."
    if kind == "NOT" and "NIN" in expected:
        return "NOT stands before a whole condition; 'not in' is written NIN."
    if kind == "STAR" and before.endswith("/"):
        return "this comment is not closed."
    if kind == "LPAR" and "LBRACKET" in expected:
        return "the values of IN and NIN stand in square brackets: x IN ['a', 'b']."
    if kind == "LBRACKET":
        return "square brackets hold the values of IN and NIN; an element of an array cannot be named."
    if kind == "DECIMAL" and (adjacent.isalnum() or adjacent in ("_", "$", "]", ".")):
        return "a name that begins with a digit is written in double brackets: [[1a]]."
    if kind == "RPAR" and "$END" in expected:
        return "there is no '(' before it that is still open."
    if kind == "FROM" and expected & {"STAR", "TOP"}:
        return "nothing is selected: SELECT * takes all."
    return ""


def _named(expected: Iterable[str]) -> str:
    """What could have stood at a place, in words: tokens that belong together under one name."""
    left = set(expected)
    names: list[str] = []
    for kinds, name in ((_VALUES, "a value"), (_CONSTANTS, "a constant"), ({"NAME", "QUOTED"}, "a name")):
        if left >= kinds:
            left -= {*kinds, "NOT"}
            names.append(name)
    if left & _OPERATORS:
        left -= _OPERATORS
        names.append("an operator")
    names += sorted(_WORDS.get(name, name) for name in left)
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
