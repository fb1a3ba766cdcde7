"""The grammar of a route, and `parse_route`.

    route = [SELECT *] FROM source [WHERE condition] INTO sink

Operators from the tightest: `-` and `not` before one operand; `* / %`; `+ - ||`; `< <= > >=`; `= != <>`; `and`;
`or`; `??`. All others group from the left. Keywords, functions, sinks and property names are read in any case;
`true`, `false`, `null` and `undefined` in lower case only.

Stands for the grammars Route.g4 and Condition.g4 of the open-source edgeHub (Azure/iotedge, edge-hub/core), which
"Declare routes" (learn.microsoft.com, IoT Edge, module-composition) describes. Unlike the runtime, which stops
reading after the sink, this one refuses what follows it: a WHERE at the end would else be dropped unseen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from lark import Lark, Token, UnexpectedToken
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from iotedge_lab.edge.errors import RouteError
from iotedge_lab.edge.routes import places
from iotedge_lab.edge.routes.compiler import Compiler, Node, condition
from iotedge_lab.edge.routes.lexer import RouteLexer, unescaped
from iotedge_lab.edge.routes.places import SOURCES, UPSTREAM, Endpoint, Source, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from iotedge_lab.edge.routes.message import RoutedMessage

MAX_LENGTH: Final = 4096
"""Characters of a route: what a text in a twin may have (iot-hub-devguide-device-twins, value size)."""

GRAMMAR: Final = r"""
route: select? FROM source where? INTO sink

select: SELECT STAR
source: (SLASH segment)+
?segment: STAR | NAME | INTEGER | HEX | REAL | TRUE | FALSE | NULL | UNDEFINED | AND | OR | NOT
        | SELECT | FROM | WHERE | INTO | SYS_PROP
where: WHERE coalesce
?sink: SYS_PROP                         -> upstream
     | NAME LPAR STRING RPAR            -> brokered

?coalesce: disjunction (COALESCE disjunction)*
?disjunction: conjunction (OR conjunction)*
?conjunction: equality (AND equality)*
?equality: comparison ((EQ | NE) comparison)*
?comparison: sum ((LT | LE | GT | GE) sum)*
?sum: product ((PLUS | MINUS | CONCAT) product)*
?product: unary ((STAR | SLASH | PERCENT) unary)*
?unary: MINUS unary                     -> negative
      | NOT unary                       -> negated
      | atom
?atom: LPAR coalesce RPAR               -> nested
     | (STRING | INTEGER | HEX | REAL | TRUE | FALSE | NULL | UNDEFINED) -> literal
     | NAME                             -> property
     | SYS_PROP                         -> system_property
     | LBRACE SYS_PROP RBRACE           -> escaped
     | NAME LPAR [arguments] RPAR       -> call
arguments: coalesce (COMMA coalesce)*

%declare SELECT FROM WHERE INTO AND OR NOT TRUE FALSE NULL UNDEFINED NAME SYS_PROP STRING INTEGER HEX REAL
%declare NE LE GE CONCAT COALESCE EQ LT GT LPAR RPAR LBRACE RBRACE COMMA PLUS MINUS STAR SLASH PERCENT
"""
"""The whole language, for lark (LALR); its terminals are those of `lexer`."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route, ready to run. `text` is what it was made of, `condition` the text after WHERE (None: takes all).

    `needs_body` tells whether the condition looks into the message's body. Two routes of one text are equal.
    """

    text: str
    source: Source = field(compare=False)
    endpoint: Endpoint = field(compare=False)
    condition: str | None = field(default=None, compare=False)
    needs_body: bool = field(default=False, compare=False)
    test: Callable[[RoutedMessage], bool] | None = field(default=None, compare=False, repr=False)

    def matches(self, message: RoutedMessage) -> bool:
        """Whether a message comes from the route's source and meets its condition. Raises nothing."""
        return self.source.takes(message.source) and (self.test is None or self.test(message))

    def __str__(self) -> str:
        return self.text


def parse_route(text: str) -> Route:
    """Read a route. Raises RouteError, which shows the place and what could have stood there."""
    if len(text) > MAX_LENGTH:
        raise RouteError(
            text, MAX_LENGTH, f"a route has at most {MAX_LENGTH} characters, and this one has {len(text)}."
        )
    if not text.strip():
        raise RouteError(text, 0, "the route is empty.", ("FROM <source> INTO <sink>",))
    try:
        tree = _parser().parse(text)
    except UnexpectedToken as unexpected:
        raise _explained(text, unexpected) from None
    try:
        return _Maker(text).transform(tree)
    except VisitError as failed:
        # lark wraps what a callback raises.
        if isinstance(failed.orig_exc, RouteError):
            raise failed.orig_exc from None
        raise


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(GRAMMAR, start="route", parser="lalr", lexer=RouteLexer, maybe_placeholders=True)


_Part = Node | Token


@dataclass(frozen=True, slots=True)
class _Where:
    """The condition with the place where its text begins."""

    node: Node
    start: int


class _Maker(Transformer_NonRecursive[Token, Route]):
    """Turns lark's tree into a Route, leaves first. It does not recurse: parentheses may be deep.

    Each method is called with the children of one rule; its name is the rule's or its alias's.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.compiler = Compiler(text)

    def literal(self, children: list[Token]) -> Node:
        return self.compiler.literal(children[0])

    def property(self, children: list[Token]) -> Node:
        return self.compiler.property(children[0])

    def system_property(self, children: list[Token]) -> Node:
        return self.compiler.system_property(children[0], escaped=False)

    def escaped(self, children: list[Token]) -> Node:
        return self.compiler.system_property(children[1], escaped=True)

    def nested(self, children: list[Node]) -> Node:
        return children[1]

    def arguments(self, children: list[_Part]) -> list[Node]:
        return [child for child in children if isinstance(child, Node)]

    def call(self, children: tuple[Token, Token, list[Node] | None, Token]) -> Node:
        return self.compiler.call(children[0], children[2] or [])

    def negative(self, children: tuple[Token, Node]) -> Node:
        return self.compiler.negative(*children)

    def negated(self, children: tuple[Token, Node]) -> Node:
        return self.compiler.negated(*children)

    def product(self, children: Sequence[_Part]) -> Node:
        return self.compiler.arithmetic(children)

    def sum(self, children: Sequence[_Part]) -> Node:
        return self.compiler.arithmetic(children)

    def comparison(self, children: Sequence[_Part]) -> Node:
        return self.compiler.comparison(children)

    def equality(self, children: Sequence[_Part]) -> Node:
        return self.compiler.comparison(children)

    def conjunction(self, children: Sequence[_Part]) -> Node:
        return self.compiler.conjunction(children)

    def disjunction(self, children: Sequence[_Part]) -> Node:
        return self.compiler.disjunction(children)

    def coalesce(self, children: Sequence[_Part]) -> Node:
        return self.compiler.coalesce(children)

    def where(self, children: tuple[Token, Node]) -> _Where:
        return _Where(children[1], children[0].end_pos or 0)

    def source(self, children: list[Token]) -> Source:
        try:
            return places.source([str(child) for child in children if child.type != "SLASH"])
        except ValueError as wrong:
            raise RouteError(self.text, children[0].start_pos or 0, str(wrong), SOURCES) from None

    def upstream(self, children: list[Token]) -> Endpoint:
        (name,) = children
        if str(name).lower() != UPSTREAM:
            raise RouteError(self.text, name.start_pos or 0, f"there is no sink {str(name)!r}.", _SINKS)
        return Upstream()

    def brokered(self, children: list[Token]) -> Endpoint:
        name, _, address, _ = children
        if str(name).lower() != "brokeredendpoint":
            raise RouteError(self.text, name.start_pos or 0, f"there is no sink {str(name)!r}.", _SINKS)
        try:
            return places.module_input(unescaped(str(address)))
        except ValueError as wrong:
            raise RouteError(self.text, address.start_pos or 0, str(wrong)) from None

    def route(self, children: list[object]) -> Route:
        source = next(child for child in children if isinstance(child, Source))
        sink = next(child for child in children if isinstance(child, Endpoint))
        where = next((child for child in children if isinstance(child, _Where)), None)
        if where is None:
            return Route(self.text, source, sink)
        into = next(c for c in reversed(children) if isinstance(c, Token) and c.type == "INTO")
        written = self.text[where.start : into.start_pos].strip()
        return Route(self.text, source, sink, written, where.node.body, condition(where.node))


_SINKS: Final = (UPSTREAM, 'BrokeredEndpoint("/modules/{module}/inputs/{input}")')

_VALUES: Final = frozenset(
    {
        "STRING",
        "INTEGER",
        "HEX",
        "REAL",
        "TRUE",
        "FALSE",
        "NULL",
        "UNDEFINED",
        "NOT",
        "LBRACE",
        "MINUS",
        "NAME",
        "SYS_PROP",
        "LPAR",
    }
)
_OPERATORS: Final = frozenset(
    {
        "EQ",
        "NE",
        "LT",
        "LE",
        "GT",
        "GE",
        "AND",
        "OR",
        "PLUS",
        "MINUS",
        "CONCAT",
        "STAR",
        "SLASH",
        "PERCENT",
        "COALESCE",
    }
)
_WORDS: Final = {
    "SLASH": "'/'",
    "STAR": "'*'",
    "NAME": "a name",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COMMA": "','",
    "STRING": "text in quotes",
    "SYS_PROP": "a system property, as $name",
    "$END": "the end of the route",
}


def _explained(text: str, unexpected: UnexpectedToken) -> RouteError:
    token: Token = unexpected.token
    expected = {str(name) for name in unexpected.accepts or unexpected.expected}
    if token.type == "$END":
        return RouteError(text, len(text.rstrip()), "the route ends too early.", _named(expected))
    at = token.start_pos or 0
    reason = f"{str(token)!r} cannot stand here.{_hint(token, text[:at].rstrip(), expected)}"
    return RouteError(text, at, reason, _named(expected))


def _named(expected: Iterable[str]) -> tuple[str, ...]:
    """What could have stood at a place, in words: terminals that belong together under one name."""
    left = set(expected)
    if {"SELECT", "STAR", "TRUE"} <= left:
        return ("'*' or a name",)
    if left == {"SLASH"}:
        return ("a source such as /messages/*",)
    if left == {"SYS_PROP", "NAME"}:
        return _SINKS
    names: list[str] = []
    if left >= _VALUES:
        left -= _VALUES
        names.append("a value")
    if "EQ" in left:
        left -= _OPERATORS
        names.append("an operator")
    return (*names, *sorted(_WORDS.get(name, name) for name in left))


def _hint(token: Token, before: str, expected: set[str]) -> str:
    """What was probably meant by a token that cannot stand where it does."""
    word = str(token)
    if token.type == "EQ" and before.endswith("="):
        return " Equality is written with one '='."
    if word in ("&&", "&"):
        return " The operator is written 'and'."
    if token.type == "RPAR" and "INTO" in expected:
        return " There is no '(' before it that is still open."
    if token.type in ("INTO", "$END") and "RPAR" in expected:
        return " A '(' before it is not closed."
    if token.type == "WHERE":
        return " The condition stands before INTO."
    if before.endswith("{"):
        return " Braces are for system properties, as in {$name}; a property's name stands without."
    if "EQ" in expected and token.type in ("INTEGER", "REAL") and word[0] == "-":
        return " A minus between two values has a space after it."
    if "EQ" in expected and token.type == "NAME" and any(c in word for c in "+-*%|!"):
        return " Names may hold operators, so spaces stand around these."
    return ""
