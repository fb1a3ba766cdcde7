r"""The grammar of a query, and `parse_statement`, `parse_condition`, `parse_target`.

    SELECT [TOP n] * | property [AS alias], ... | COUNT() | AVG(property) | SUM | MIN | MAX AS alias, ...
    FROM devices | devices.modules | devices.jobs
    [WHERE condition] [GROUP BY property]

Operators from the tightest: `-` before one operand; `* / %`; `+ -`; `= != <> < <= > >= IN NIN`; `NOT`; `AND`; `OR`.
Keywords and functions are read in any case. A property's name that is a keyword or has other characters than letters,
digits, `_` and `$` is written in double brackets: `tags.[[group]]`. Texts stand in single or double quotes; a quote in
one is escaped with a backslash (the language's page) or doubled (IoT Edge, module-deployment-monitoring).

Stands for the grammar of iot-hub-devguide-query-language (learn.microsoft.com, IoT Hub). Where it and its examples
disagree the examples count: a property needs no alias, `true` and `false` are constants. An aggregate needs none either
(Microsoft's own services ask so); the first is then called `$1`, as in the tests of the Azure CLI.
Comments are `/* ... */`.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput

from iotedge_lab.hub.query.hints import KEYWORDS, explained
from iotedge_lab.hub.query.syntax import (
    MAX_LENGTH,
    Call,
    Constant,
    Expression,
    Fault,
    Item,
    Literal,
    Membership,
    Operation,
    Path,
    QueryError,
    Statement,
    Undefined,
    nested,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

GRAMMAR: Final = r"""
statement: SELECT [top] selection FROM path [where] [group]
condition: expression
target: FROM path [where]

top: TOP DECIMAL
selection: STAR | item (COMMA item)*
item: path [alias] | NAME LPAR [path | STAR] RPAR [alias]
alias: AS segment
where: WHERE expression
group: GROUP BY path (COMMA path)*

path: segment (DOT segment)*
?segment: NAME | QUOTED

?expression: conjunction
           | conjunction (OR conjunction)+      -> disjunction
?conjunction: negation
            | negation (AND negation)+          -> conjunction
?negation: comparison
         | NOT negation                         -> negated
?comparison: sum
           | sum _comparator sum                -> comparison
           | sum (IN | NIN) LBRACKET [constant (COMMA constant)*] RBRACKET -> membership
_comparator: EQ | NE | LT | LE | GT | GE
?sum: product
    | product ((PLUS | MINUS) product)+         -> chain
?product: unary
        | unary ((STAR | SLASH | PERCENT) unary)+ -> chain
?unary: atom
      | MINUS unary                             -> negative
?atom: LPAR expression RPAR                     -> parenthesised
     | (STRING | DECIMAL | HEX | TRUE | FALSE | NULL | UNDEFINED) -> literal
     | path
     | NAME LPAR [expression (COMMA expression)*] RPAR -> call
constant: [MINUS] (DECIMAL | HEX) | STRING | TRUE | FALSE | NULL | UNDEFINED

NAME: /(?:\$|[^\W\d])[\w$]*/
QUOTED: /\[\[(?!\[)(?:(?!\]\])[^\n])+\]\]/
STRING: /'(?:[^'\\]|\\(?:['"\\]|u[0-9a-fA-F]{4})|'')*'|"(?:[^"\\]|\\(?:['"\\]|u[0-9a-fA-F]{4})|"")*"/
HEX.1: /0[xX][0-9a-fA-F]+/
DECIMAL: /(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?/
EQ: "="
NE: "!=" | "<>"
LE: "<="
GE: ">="
LT: "<"
GT: ">"
LPAR: "("
RPAR: ")"
LBRACKET: "["
RBRACKET: "]"
COMMA: ","
DOT: "."
PLUS: "+"
MINUS: "-"
STAR: "*"
SLASH: "/"
PERCENT: "%"
COMMENT.1: /\/\*(?:[^*]|\*(?!\/))*\*\//
SPACE: /[ \t\r\n]+/
%ignore COMMENT
%ignore SPACE
%declare SELECT TOP FROM WHERE GROUP BY AS AND OR NOT IN NIN TRUE FALSE NULL UNDEFINED
"""
"""The whole language, for lark (LALR). Keywords are names until `_keyword` has seen them."""

AGGREGATES: Final = ("COUNT", "AVG", "SUM", "MIN", "MAX")
_LARGEST_TOP: Final = 2**31 - 1


def parse_statement(text: str) -> Statement:
    """Read a query. Raises `QueryError`, which has the place."""
    made: Statement = _parsed(text, "statement")
    return made


def parse_condition(text: str) -> Expression:
    """Read what may stand after WHERE. Raises `QueryError`."""
    made: Expression = _parsed(text, "condition")
    return made


def parse_target(text: str) -> tuple[Path, Expression | None]:
    """Read `FROM collection [WHERE condition]`, the target condition of modules. Raises `QueryError`."""
    made: tuple[Path, Expression | None] = _parsed(text, "target")
    return made


def _parsed(text: str, start: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise QueryError(
            text, MAX_LENGTH, f"a query has at most {MAX_LENGTH} characters, and this one has {len(text)}."
        )
    for at, letter in enumerate(text):
        if "\ud800" <= letter <= "\udfff":
            raise QueryError(text, at, "half a surrogate pair is no text.")
    try:
        return _parser().parse(text, start=start)
    except UnexpectedInput as unexpected:
        raise QueryError(text, *explained(text, unexpected)) from None
    except Fault as fault:
        raise QueryError(text, fault.at, fault.reason) from None


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(
        GRAMMAR,
        start=["statement", "condition", "target"],
        parser="lalr",
        lexer="basic",
        lexer_callbacks={"NAME": _keyword},
        maybe_placeholders=True,
        transformer=_Maker(),
    )


def _keyword(token: Token) -> Token:
    upper = token.upper()
    return token.update(type=upper) if upper in KEYWORDS else token


def _at(token: Token) -> int:
    return token.start_pos or 0


class _Maker(Transformer[Token, Any]):
    """Turns each rule into its part of the query as lark reduces it: no tree is built, and nothing recurses."""

    # -- clauses ---------------------------------------------------------------------------------------

    def statement(self, children: Sequence[Any]) -> Statement:
        _, top, items, _, source, where, group = children
        return Statement(items, source, where, group, top)

    def condition(self, children: Sequence[Expression]) -> Expression:
        return children[0]

    def target(self, children: Sequence[Any]) -> tuple[Path, Expression | None]:
        return children[1], children[2]

    def top(self, children: Sequence[Token]) -> int:
        word = children[1]
        if not word.isdigit() or not 1 <= int(word[:10]) <= _LARGEST_TOP or len(word) > 10:
            raise Fault(_at(word), f"TOP takes a whole number from 1 to {_LARGEST_TOP}.")
        return int(word)

    def selection(self, children: Sequence[Any]) -> tuple[Item, ...] | None:
        if isinstance(children[0], Token):
            return None
        return tuple(child for child in children if isinstance(child, Item))

    def item(self, children: Sequence[Any]) -> Item:
        if isinstance(children[0], Path):
            path, alias = children
            return Item(path.at, path, None, alias)
        name, _, inner, _, alias = children
        word, at = name.upper(), _at(name)
        if word not in AGGREGATES:
            raise Fault(
                at,
                f"{str(name)[:60]!r} is no aggregate; a result has properties and {', '.join(AGGREGATES)}.",
            )
        if isinstance(inner, Token) or (word == "COUNT") != (inner is None):
            needs = "nothing between its brackets" if word == "COUNT" else "one property"
            raise Fault(at, f"{word} takes {needs}.")
        return Item(at, inner, word, alias)

    def alias(self, children: Sequence[Token]) -> str:
        return _name(children[1])

    def where(self, children: Sequence[Any]) -> Any:
        return children[1]

    def group(self, children: Sequence[Any]) -> Path:
        paths = [child for child in children if isinstance(child, Path)]
        if len(paths) > 1:
            raise Fault(paths[1].at, "GROUP BY takes one property.")
        return paths[0]

    def path(self, children: Sequence[Token]) -> Path:
        names = tuple(_name(child) for child in children if child.type in ("NAME", "QUOTED"))
        return Path(_at(children[0]), names)

    # -- expressions -----------------------------------------------------------------------------------

    def disjunction(self, children: Sequence[Any]) -> Expression:
        return _joined("OR", children)

    def conjunction(self, children: Sequence[Any]) -> Expression:
        return _joined("AND", children)

    def negated(self, children: Sequence[Any]) -> Expression:
        return _operation(_at(children[0]), "NOT", (children[1],))

    def negative(self, children: Sequence[Any]) -> Expression:
        at, operand = _at(children[0]), children[1]
        if isinstance(operand, Literal) and _is_number(operand.value):
            return Literal(at, -operand.value)
        return _operation(at, "NEGATIVE", (operand,))

    def comparison(self, children: Sequence[Any]) -> Expression:
        left, operator, right = children
        written = "!=" if operator == "<>" else str(operator)
        return _operation(left.at, written, (left, right))

    def chain(self, children: Sequence[Any]) -> Expression:
        made: Expression = children[0]
        for operator, right in zip(children[1::2], children[2::2], strict=True):
            made = _operation(made.at, str(operator), (made, right))
        return made

    def membership(self, children: Sequence[Any]) -> Expression:
        operand, operator, *rest = children
        values = tuple(child.value for child in rest if isinstance(child, Literal))
        negated = operator.type == "NIN"
        return Membership(operand.at, operand, values, negated, nested(operand.at, (operand,)))

    def constant(self, children: Sequence[Token | None]) -> Literal:
        sign, token = children if len(children) == 2 else (None, children[0])
        assert token is not None
        value = _value(token)
        if sign is None:
            return Literal(_at(token), value)
        assert _is_number(value)
        return Literal(_at(sign), -value)

    def parenthesised(self, children: Sequence[Any]) -> Expression:
        inner: Expression = children[1]
        return inner

    def literal(self, children: Sequence[Token]) -> Literal:
        return Literal(_at(children[0]), _value(children[0]))

    def call(self, children: Sequence[Any]) -> Expression:
        name = children[0]
        arguments = tuple(
            child for child in children[1:] if child is not None and not isinstance(child, Token)
        )
        return Call(_at(name), name.upper(), arguments, nested(_at(name), arguments))


def _joined(operator: str, children: Sequence[Any]) -> Expression:
    """AND and OR of all their operands at once: a list of a thousand conditions is no nesting."""
    operands: list[Expression] = []
    for child in children:
        if isinstance(child, Token):
            continue
        if isinstance(child, Operation) and child.operator == operator:
            operands += child.operands
        else:
            operands.append(child)
    return _operation(operands[0].at, operator, tuple(operands))


def _operation(at: int, operator: str, operands: tuple[Expression, ...]) -> Operation:
    return Operation(at, operator, operands, nested(at, operands))


def _is_number(value: Constant) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(token: Token) -> str:
    return str(token)[2:-2] if token.type == "QUOTED" else str(token)


def _value(token: Token) -> Constant:
    """What a constant means."""
    word = str(token)
    match token.type:
        case "STRING":
            return _text(token)
        case "TRUE" | "FALSE":
            return token.type == "TRUE"
        case "NULL":
            return None
        case "UNDEFINED":
            return Undefined.UNDEFINED
        case "HEX":
            return _whole(token, int(word, 16))
    if word.isdigit() and len(word) <= 19:
        return _whole(token, int(word))
    number = float(word)
    if math.isinf(number):
        raise Fault(_at(token), "this number is out of range.")
    return number


def _whole(token: Token, number: int) -> int | float:
    """SQLite's integers have 64 bits; what is larger is a float, as any JSON number may be."""
    if number.bit_length() > 1023:
        raise Fault(_at(token), "this number is out of range.")
    return number if number < 2**63 else float(number)


_ESCAPE: Final = re.compile(r"""\\u([0-9a-fA-F]{4})|\\(.)|''|"\"""", re.DOTALL)


def _text(token: Token) -> str:
    word = str(token)
    quote = word[0]

    def plain(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        if found[2]:
            return found[2]
        return quote if found[0][0] == quote else found[0]

    made = _ESCAPE.sub(plain, word[1:-1])
    try:
        # Two escapes may be the halves of one character.
        return made.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Fault(_at(token), "this text holds half a surrogate pair.") from None
