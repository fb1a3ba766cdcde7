r"""Tokens of a route. The longest match counts, as in the runtime's lexer, and names may hold nearly everything.

A name ends only at white space and at `( ) < > @ , ; : \ " / [ ] ? = { }`. So `temp-1` is one name, and so are
`3+4`, `temp!` in `temp!='x'` and `a||b`: the runtime reads them so and the condition then quietly never matches.
Those that can hardly be meant are refused here, with the advice to put spaces around operators.

Stands for the lexer rules of the open-source edgeHub (Azure/iotedge, edge-hub/core, GrammarLexer.g4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from lark import Token
from lark.lexer import Lexer, LexerState

from iotedge_lab.edge.errors import RouteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lark.common import LexerConf

KEYWORDS: Final = {
    word.lower(): word for word in ("SELECT", "FROM", "WHERE", "INTO", "AND", "OR", "NOT")
}  # in any case
CONSTANTS: Final = {"true": "TRUE", "false": "FALSE", "null": "NULL", "undefined": "UNDEFINED"}  # lower case

OPERATORS: Final = {
    "!=": "NE",
    "<>": "NE",
    "<=": "LE",
    ">=": "GE",
    "||": "CONCAT",
    "??": "COALESCE",
    "=": "EQ",
    "<": "LT",
    ">": "GT",
    "(": "LPAR",
    ")": "RPAR",
    "{": "LBRACE",
    "}": "RBRACE",
    ",": "COMMA",
    "+": "PLUS",
    "-": "MINUS",
    "*": "STAR",
    "/": "SLASH",
    "%": "PERCENT",
}

_SPACE: Final = re.compile(r"[ \t\r\n]+")
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_OPERATOR: Final = re.compile("|".join(re.escape(text) for text in OPERATORS))
_NAME: Final = re.compile(r'[^()<>@,;:\\"/\[\]?={} \t\n\r]+')
_SYSTEM: Final = re.compile(r'\$[^()<>@,;:\\"/?={} \t\n\r]+')
_STRING: Final = re.compile(
    r""""(?:\\(?:["'\\]|u[0-9a-fA-F]{4})|[^"\\])*"|'(?:\\(?:["'\\]|u[0-9a-fA-F]{4})|[^'\\])*'"""
)
_HEX: Final = re.compile(r"0[xX][0-9a-fA-F]+")
_REAL: Final = re.compile(r"-?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|-?[0-9]+[eE][+-]?[0-9]+")
_INTEGER: Final = re.compile(r"-?[0-9]+")

# In the order in which they win where two matches are equally long.
_BEFORE_NAMES: Final = (
    ("STRING", _STRING),
    ("INTEGER", _INTEGER),
    ("HEX", _HEX),
    ("REAL", _REAL),
    ("SYS_PROP", _SYSTEM),
)

_RUN_TOGETHER: Final = re.compile(r"[-+]?[0-9.]+[-+*%|!].*|'.*|-.+|.*\|\|.*", re.DOTALL)


class RouteLexer(Lexer):
    """Cuts a route into tokens for lark; raises RouteError, never one of lark's own errors."""

    __future_interface__ = 2  # lark hands over its lexer state

    def __init__(self, lexer_conf: LexerConf) -> None:
        """`lexer_conf` is lark's description of the terminals; the rules stand in this module."""

    def lex(self, lexer_state: LexerState, parser_state: Any) -> Iterator[Token]:  # noqa: ARG002  lark's signature
        """Give the tokens one by one; `parser_state` is not looked at."""
        return tokens(str(lexer_state.text.text))


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text`, each with its place. Raises RouteError where no token begins."""
    at, end, in_condition = 0, len(text), False
    while at < end:
        space = _SPACE.match(text, at)
        if space:
            at = space.end()
            continue
        # `/*` is a source before WHERE and begins a comment after it.
        comment = _COMMENT.match(text, at) if in_condition else None
        if comment:
            at = comment.end()
            continue
        kind, stop = _longest(text, at)
        word = text[at:stop]
        if kind == "NAME":
            lowered = word.lower()
            kind = KEYWORDS.get(lowered) or CONSTANTS.get(word) or "NAME"
            if kind == "NAME" and lowered in CONSTANTS and in_condition:
                raise RouteError(
                    text, at, f"{word!r} would be a property; the constant is written {lowered!r}."
                )
            in_condition = in_condition or kind == "WHERE"
        if in_condition:
            _check_word(text, at, kind, word)
        yield Token(kind, word, at, 1, at + 1, 1, stop + 1, stop)
        at = stop


def _longest(text: str, at: int) -> tuple[str, int]:
    """The kind and the end of the token at a place."""
    best, stop = "", at
    operator = _OPERATOR.match(text, at)
    if operator:
        best, stop = OPERATORS[operator.group()], operator.end()
    for kind, pattern in _BEFORE_NAMES:
        match = pattern.match(text, at)
        if match and match.end() > stop:
            best, stop = kind, match.end()
    name = _NAME.match(text, at)
    if name and name.end() > stop:
        best, stop = "NAME", name.end()
    if not best:
        raise RouteError(text, at, _no_token(text, at))
    if best == "NAME" and text[at] == "'" and text.find("'", at + 1) < 0:
        raise RouteError(text, at, "this text has no closing quote.")
    return best, stop


def _no_token(text: str, at: int) -> str:
    character = text[at]
    if character != '"':
        return f"{character!r} has no meaning here."
    closing = at + 1
    while closing < len(text) and text[closing] != '"':
        closing += 2 if text[closing] == "\\" else 1
    if closing >= len(text):
        return "this text has no closing quote."
    return "a backslash in a text stands before a quote, a backslash, or u and four hexadecimal digits."


def _check_word(text: str, at: int, kind: str, word: str) -> None:
    """Refuse a name that is surely meant as an expression."""
    if kind == "SYS_PROP":
        run_together = "||" in word or word.endswith("!")
    elif kind == "NAME":
        run_together = word.endswith("!") or bool(_RUN_TOGETHER.fullmatch(word))
    else:
        return
    if run_together:
        raise RouteError(
            text,
            at,
            f"{word!r} is read as one name, since names may hold operators; put spaces around the operators.",
        )


def unescaped(literal: str) -> str:
    """What a STRING token means: without its quotes, escapes resolved."""
    if "\\" not in literal:
        return literal[1:-1]
    plain = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda m: chr(int(m[1], 16)) if m[1] else str(m[2]),
        literal[1:-1],
        flags=re.DOTALL,
    )
    # Two escapes may be the halves of one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
