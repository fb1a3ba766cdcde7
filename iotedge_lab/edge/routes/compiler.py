"""From the parts of a condition to one Python function, bottom up while lark parses.

Each part becomes a `Node`: its type, a function from message to value, and its place in the text. Types are
checked here, so a condition that cannot work is an error of the manifest and not a route that never matches.
Parts without a message in them are worked out at once.

Two faults of the runtime's compiler are not copied: it does not compile `- $body.x` and `%` with a value of the
body, and lets the right side of `and` be a value of the body only where the left side is one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lark import Token

from iotedge_lab.edge.errors import RouteError
from iotedge_lab.edge.routes.functions import FUNCTIONS, Function, applied, concat
from iotedge_lab.edge.routes.lexer import unescaped
from iotedge_lab.edge.routes.message import SYSTEM_NAMES, RoutedMessage
from iotedge_lab.edge.routes.values import COMPARISONS, UNDEFINED, Evaluate, Type, Value, defined, fits, order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_DEPTH: Final = 40
"""How deep a condition may be nested: parentheses with operators in them, functions, `not`, `-`."""

_NOTHING: Final = RoutedMessage(None, None, {}, {}, b"")
_LOGIC: Final = frozenset({Type.BOOL, Type.NULL, Type.UNDEFINED, Type.ANY})
_STEP: Final = re.compile(r"([^\[\]]+)(?:\[([0-9]{1,9})\])?")


@dataclass(frozen=True, slots=True)
class Node:
    """A compiled part of a condition; `start` is where it begins in the text of the route."""

    type: Type
    evaluate: Evaluate
    start: int
    depth: int = 1
    constant: bool = False
    body: bool = False  # whether it looks into the body


class Compiler:
    """Makes nodes. `text` is the route, for errors."""

    def __init__(self, text: str) -> None:
        self.text = text

    # -- leaves ----------------------------------------------------------------------------------------

    def literal(self, token: Token) -> Node:
        """A number, a text or a constant."""
        word, at = str(token), _start(token)
        match token.type:
            case "STRING":
                return _constant(Type.TEXT, unescaped(word), at)
            case "HEX":
                number = int(word, 16)
                if number >= 2**63:
                    raise RouteError(self.text, at, "a hexadecimal number has at most 63 bits.")
                return _constant(Type.NUMBER, float(number), at)
            case "TRUE" | "FALSE":
                return _constant(Type.BOOL, token.type == "TRUE", at)
            case "NULL":
                return _constant(Type.NULL, None, at)
            case "UNDEFINED":
                return _constant(Type.UNDEFINED, UNDEFINED, at)
            case _:
                return _constant(Type.NUMBER, float(word), at)

    def property(self, token: Token) -> Node:
        """A bare name: an application property."""
        name = str(token)
        return Node(Type.TEXT, lambda message: message.own_property(name), _start(token))

    def system_property(self, token: Token, *, escaped: bool) -> Node:
        """`$name`: an application property of that name (unless `escaped`), the body, or a system property."""
        word, at = str(token), _start(token)
        lowered = word.lower()
        if lowered.startswith("$body."):
            inside = self._body(word[len("$body.") :], at)
        elif "[" in word or "]" in word:
            raise RouteError(
                self.text, at, f"{word!r} has brackets; only a path that begins with '$body.' has them."
            )
        elif lowered == "$twin" or lowered.startswith("$twin."):
            raise RouteError(
                self.text, at, "the routes of an edge do not see twins; '$twin' is for an IoT Hub's."
            )
        else:
            name = SYSTEM_NAMES.get(lowered[1:], lowered[1:])
            inside = Node(Type.TEXT, lambda message: message.system_property(name), at)
        if escaped or "[" in word:
            return inside
        otherwise = inside.evaluate

        def evaluate(message: RoutedMessage) -> Value:
            # Nearly no message has such a property of its own: look before asking in any case.
            if message.properties:
                own = message.own_property(word)
                if own is not UNDEFINED:
                    return own
            return otherwise(message)

        return Node(inside.type, evaluate, at, body=inside.body)

    def _body(self, query: str, at: int) -> Node:
        """A path into the body: names with dots between them, each with one index at most."""
        steps: list[str | int] = []
        for part in query.split("."):
            match = _STEP.fullmatch(part)
            if not match or "*" in part:
                raise RouteError(
                    self.text,
                    at,
                    f"'$body.{query}' is no path; write names and indices, as in '$body.a.b[0].c'.",
                )
            steps.append(match[1])
            if match[2] is not None:
                steps.append(int(match[2]))
        path = tuple(steps)
        return Node(Type.ANY, lambda message: message.body_value(path), at, body=True)

    # -- functions and unary operators -----------------------------------------------------------------

    def call(self, token: Token, arguments: Sequence[Node]) -> Node:
        """A function with its arguments."""
        at = _start(token)
        function = FUNCTIONS.get(str(token).lower())
        if function is None:
            raise RouteError(
                self.text, at, f"there is no function {str(token)!r}.", _near(str(token).lower())
            )
        self._check_arguments(function, arguments, at)
        given = [
            _joined(argument) if function.name == "concat" else argument.evaluate for argument in arguments
        ]
        evaluate = applied(function, tuple(given))
        return self._made(function.gives, evaluate, at, arguments)

    def _check_arguments(self, function: Function, arguments: Sequence[Node], at: int) -> None:
        most = len(function.takes)
        if len(arguments) < function.least or (len(arguments) > most and not function.more):
            raise RouteError(
                self.text,
                at,
                f"{function.name} does not take {len(arguments)} arguments: {function.signature}.",
            )
        for number, argument in enumerate(arguments):
            types = function.takes[min(number, most - 1)]
            if types and not any(fits(one, argument.type) for one in types):
                advice = _advice(types[0], argument.type)
                raise RouteError(
                    self.text,
                    argument.start,
                    f"{function.name} takes {' or '.join(t.value for t in types)} here, and this is "
                    f"{argument.type.value}{advice}: {function.signature}.",
                )

    def negative(self, token: Token, operand: Node) -> Node:
        """`- x`."""
        self._check(operand, Type.NUMBER, "-")
        inner = operand.evaluate

        def evaluate(message: RoutedMessage) -> Value:
            value = inner(message)
            return -value if isinstance(value, float) else UNDEFINED

        kind = operand.type if operand.type is Type.ANY else Type.NUMBER
        return self._made(kind, evaluate, _start(token), (operand,))

    def negated(self, token: Token, operand: Node) -> Node:
        """`not x`, which binds tighter than any other operator: `not a = b` is `(not a) = b`."""
        if operand.type not in _LOGIC or operand.type is Type.UNDEFINED:
            raise RouteError(
                self.text,
                operand.start,
                f"'not' takes true or false, and this is {operand.type.value}; 'not' binds tighter than '=', so a "
                "whole comparison stands in parentheses after it.",
            )
        inner = operand.evaluate
        null = operand.type is Type.NULL

        def evaluate(message: RoutedMessage) -> Value:
            value = inner(message)
            if value is True:
                return False
            return True if value is False or null else UNDEFINED

        kind = operand.type if operand.type is Type.ANY else Type.BOOL
        return self._made(kind, evaluate, _start(token), (operand,))

    # -- binary operators, left to right ---------------------------------------------------------------

    def arithmetic(self, parts: Sequence[Node | Token]) -> Node:
        """A chain of `+ - ||` or of `* / %`."""
        operands, operators = _split(parts)
        for index, operator in enumerate(operators):
            wanted = Type.TEXT if operator == "||" else Type.NUMBER
            for operand in operands[index : index + 2] if index == 0 else operands[index + 1 : index + 2]:
                self._check(operand, wanted, str(operator))
            if index and (operator == "||") != (operators[0] == "||"):
                raise RouteError(self.text, _start(operator), "text and numbers do not mix; use parentheses.")
        evaluates = tuple(operand.evaluate for operand in operands)
        start = operands[0].start
        if operators[0] == "||":
            texts = [_joined(operand) for operand in operands]
            return self._made(
                Type.TEXT, lambda message: concat(*[one(message) for one in texts]), start, operands
            )
        steps = tuple(
            (_ARITHMETIC[str(operator)], one) for operator, one in zip(operators, evaluates[1:], strict=True)
        )
        first = evaluates[0]

        def evaluate(message: RoutedMessage) -> Value:
            total = first(message)
            if not isinstance(total, float):
                return UNDEFINED
            for operation, one in steps:
                value = one(message)
                if not isinstance(value, float):
                    return UNDEFINED
                total = operation(total, value)
            return UNDEFINED if math.isnan(total) else total

        kind = Type.ANY if any(operand.type is Type.ANY for operand in operands) else Type.NUMBER
        return self._made(kind, evaluate, start, operands)

    def comparison(self, parts: Sequence[Node | Token]) -> Node:
        """A chain of `< <= > >=` or of `= != <>`: `a = b = c` compares the answer of `a = b` with c."""
        operands, operators = _split(parts)
        node = operands[0]
        for operator, right in zip(operators, operands[1:], strict=True):
            node = self._compare(node, operator, right)
        return node

    def _compare(self, left: Node, operator: Token, right: Node) -> Node:
        if not fits(left.type, right.type):
            text = Type.TEXT in (left.type, right.type) and Type.NUMBER in (left.type, right.type)
            place = left if text and left.type is Type.TEXT else right
            advice = "; as_number(...) makes a number of text" if text else ""
            raise RouteError(
                self.text,
                place.start,
                f"'{operator}' compares {left.type.value} with {right.type.value}{advice}.",
            )
        true_of = COMPARISONS[str(operator)]
        first, second = left.evaluate, right.evaluate
        # A null property is not comparable, while null itself and a null of the body are.
        texts = left.type is Type.TEXT and right.type is Type.TEXT

        def evaluate(message: RoutedMessage) -> Value:
            one, other = first(message), second(message)
            if texts and (one is None or other is None):
                return UNDEFINED
            answer = order(one, other)
            return UNDEFINED if answer is None else answer in true_of

        if texts and right.constant:
            fixed = second(_NOTHING)
            if isinstance(fixed, str) and str(operator) in ("=", "!=", "<>"):
                return self._made(
                    Type.BOOL, _text_equals(first, fixed, str(operator) == "="), left.start, (left, right)
                )
        return self._made(Type.BOOL, evaluate, left.start, (left, right))

    def conjunction(self, parts: Sequence[Node | Token]) -> Node:
        """`a and b and ...`: false if one is false, undefined if one is undefined, null if one is null."""
        operands = self._logical(parts, "and")
        if any(operand.type is Type.NULL for operand in operands):
            return _constant(Type.NULL, None, operands[0].start)
        return self._kleene(operands, stop=False)

    def disjunction(self, parts: Sequence[Node | Token]) -> Node:
        """`a or b or ...`: true if one is true, undefined if one is undefined; null counts for nothing."""
        operands = self._logical(parts, "or")
        solid = [operand for operand in operands if operand.type is not Type.NULL]
        if not solid:
            return _constant(Type.NULL, None, operands[0].start)
        return self._kleene(solid, stop=True)

    def _logical(self, parts: Sequence[Node | Token], operator: str) -> list[Node]:
        operands, _ = _split(parts)
        for operand in operands:
            if operand.type not in _LOGIC:
                raise RouteError(
                    self.text,
                    operand.start,
                    f"'{operator}' joins what is true or false, and this is {operand.type.value}; compare it with "
                    "something.",
                )
        return operands

    def _kleene(self, operands: Sequence[Node], *, stop: bool) -> Node:
        """Three-valued `and` (stop at false) and `or` (stop at true).

        From the first value of the body on, both sides must be true or false, else the answer is undefined: the
        runtime's logic for values whose type it learns late is that plain.
        """
        first, *rest = (operand.evaluate for operand in operands)
        kinds = [operand.type for operand in operands]
        strict = [Type.ANY in kinds[: index + 2] for index in range(len(rest))]

        def kleene(message: RoutedMessage) -> Value:
            value = first(message)
            unknown = value is UNDEFINED
            if value is stop:
                return stop
            for one in rest:
                value = one(message)
                if value is stop:
                    return stop
                unknown = unknown or value is UNDEFINED
            return UNDEFINED if unknown else not stop

        def late(message: RoutedMessage) -> Value:
            value = first(message)
            for both, one in zip(strict, rest, strict=True):
                right = one(message)
                known = isinstance(value, bool) and isinstance(right, bool)
                if (both and known) or (not both and (value is stop or right is stop)):
                    value = stop if value is stop or right is stop else not stop
                else:
                    value = (not stop) if known else UNDEFINED
            return value

        kind = Type.ANY if Type.ANY in kinds else Type.BOOL
        return self._made(kind, late if kind is Type.ANY else kleene, operands[0].start, operands)

    def coalesce(self, parts: Sequence[Node | Token]) -> Node:
        """`a ?? b ?? ...`: the first that is defined."""
        operands, operators = _split(parts)
        kind = operands[0].type
        for operator, right in zip(operators, operands[1:], strict=True):
            if not fits(kind, right.type):
                raise RouteError(
                    self.text,
                    right.start,
                    f"'{operator}' takes two of one type, and these are {kind.value} and {right.type.value}; it "
                    "binds weaker than any other operator.",
                )
            kind = Type.ANY if Type.ANY in (kind, right.type) else kind
        evaluates = tuple(operand.evaluate for operand in operands)

        def evaluate(message: RoutedMessage) -> Value:
            value: Value = UNDEFINED
            for one in evaluates:
                value = one(message)
                if defined(value):
                    break
            return value

        return self._made(kind, evaluate, operands[0].start, operands)

    # -- inside ----------------------------------------------------------------------------------------

    def _check(self, operand: Node, wanted: Type, operator: str) -> None:
        if not fits(wanted, operand.type):
            raise RouteError(
                self.text,
                operand.start,
                f"'{operator}' takes {wanted.value}, and this is {operand.type.value}{_advice(wanted, operand.type)}.",
            )

    def _made(self, kind: Type, evaluate: Evaluate, start: int, operands: Sequence[Node]) -> Node:
        depth = 1 + max((operand.depth for operand in operands), default=0)
        if depth > MAX_DEPTH:
            raise RouteError(self.text, start, f"the condition is nested deeper than {MAX_DEPTH} levels.")
        if operands and all(operand.constant for operand in operands):
            return _constant(kind, evaluate(_NOTHING), start, depth)
        return Node(kind, evaluate, start, depth, body=any(operand.body for operand in operands))


def condition(node: Node) -> Callable[[RoutedMessage], bool]:
    """The test that a whole condition is: whether it comes out true. Undefined, null and all else is no match."""
    evaluate = node.evaluate
    if node.constant:
        fixed = evaluate(_NOTHING) is True
        return lambda _: fixed
    return lambda message: evaluate(message) is True


def _text_equals(first: Evaluate, fixed: str, equal: bool) -> Evaluate:
    """The commonest condition of all, `property = 'text'`, in one step."""

    def evaluate(message: RoutedMessage) -> Value:
        value = first(message)
        return (value == fixed) is equal if isinstance(value, str) else UNDEFINED

    return evaluate


def _joined(operand: Node) -> Evaluate:
    """An operand of `||`: a property without a value adds nothing, but a null of the body makes all undefined."""
    evaluate = operand.evaluate
    if operand.type is not Type.ANY:
        return evaluate

    def text(message: RoutedMessage) -> Value:
        value = evaluate(message)
        return UNDEFINED if value is None else value

    return text


def _constant(kind: Type, value: Value, start: int, depth: int = 1) -> Node:
    return Node(kind, lambda _: value, start, depth, constant=True)


def _start(token: Token) -> int:
    return token.start_pos or 0


def _split(parts: Sequence[Node | Token]) -> tuple[list[Node], list[Token]]:
    return (
        [part for part in parts if isinstance(part, Node)],
        [part for part in parts if isinstance(part, Token)],
    )


def _advice(wanted: Type, given: Type) -> str:
    if wanted is Type.NUMBER and given is Type.TEXT:
        return "; as_number(...) makes a number of it"
    return ""


def _near(name: str) -> tuple[str, ...]:
    """The functions whose names are like a wrong one."""
    from difflib import get_close_matches

    return tuple(get_close_matches(name, FUNCTIONS, n=3))


def _divided(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder(left: float, right: float) -> float:
    return math.nan if right == 0 or math.isinf(left) else math.fmod(left, right)


_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divided,
    "%": _remainder,
}
