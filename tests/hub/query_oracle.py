"""What a condition comes to, worked out on a twin's JSON in plain Python: the model that the hub's SQL is held to."""

import math
import re

from iotedge_lab.hub.query.document import Collection, resolve
from iotedge_lab.hub.query.syntax import Call, Literal, Membership, Operation, Path, Undefined

UNDEFINED = Undefined.UNDEFINED


def holds(expression, document):
    """Whether a condition is true of a document."""
    return value(expression, document) is True


def value(expression, document):
    """The value of an expression."""
    match expression:
        case Path():
            return _at(document, resolve(expression, Collection.DEVICES))
        case Literal(value=constant):
            return constant
        case Membership():
            return _membership(expression, document)
        case Operation(operator="AND" | "OR" as operator, operands=operands):
            return _logic(operator, [_truth(value(one, document)) for one in operands])
        case Operation(operator="NOT", operands=(operand,)):
            truth = _truth(value(operand, document))
            return UNDEFINED if truth is UNDEFINED else not truth
        case Operation(operator=operator, operands=operands):
            return _OPERATORS[operator](*[value(one, document) for one in operands])
        case Call(name=name, arguments=arguments):
            return _FUNCTIONS[name](*[value(one, document) for one in arguments])
    raise AssertionError(expression)


def _at(document, names):
    for name in names:
        if not isinstance(document, dict) or name not in document:
            return UNDEFINED
        document = document[name]
    return document


def _truth(one):
    return one if isinstance(one, bool) else UNDEFINED


def _logic(operator, truths):
    decisive = operator == "OR"
    if decisive in truths:
        return decisive
    return UNDEFINED if UNDEFINED in truths else not decisive


def _number(one):
    return isinstance(one, int | float) and not isinstance(one, bool)


def _kind(one):
    if one is None or isinstance(one, bool):
        return "null" if one is None else "bool"
    if _number(one):
        return "number"
    return "text" if isinstance(one, str) else None


def _equal(one, other):
    kinds = _kind(one), _kind(other)
    if None in kinds:
        return UNDEFINED
    return kinds[0] == kinds[1] and one == other


def _unequal(one, other):
    equal = _equal(one, other)
    return UNDEFINED if equal is UNDEFINED else not equal


def _ordered(test):
    def compare(one, other):
        if _kind(one) == _kind(other) and _kind(one) in ("number", "text"):
            return test(one, other)
        return UNDEFINED

    return compare


def _arithmetic(operation):
    def calculate(*values):
        if not all(_number(one) for one in values):
            return UNDEFINED
        try:
            result = operation(*values)
        except (ZeroDivisionError, ValueError, OverflowError):
            return UNDEFINED
        return UNDEFINED if isinstance(result, float) and math.isnan(result) else result

    return calculate


def _finite(operation):
    def calculate(*values):
        result = _arithmetic(operation)(*values)
        return UNDEFINED if result is not UNDEFINED and math.isinf(result) else result

    return calculate


_OPERATORS = {
    "=": _equal,
    "!=": _unequal,
    "<": _ordered(lambda a, b: a < b),
    "<=": _ordered(lambda a, b: a <= b),
    ">": _ordered(lambda a, b: a > b),
    ">=": _ordered(lambda a, b: a >= b),
    "+": _arithmetic(lambda a, b: a + b),
    "-": _arithmetic(lambda a, b: a - b),
    "*": _arithmetic(lambda a, b: a * b),
    "/": _arithmetic(lambda a, b: a / b),
    "%": _finite(math.fmod),
    "NEGATIVE": _arithmetic(lambda a: -a),
}


def _membership(expression, document):
    operand = value(expression.operand, document)
    if _kind(operand) is None:
        return UNDEFINED
    found = any(_equal(operand, one) is True for one in expression.values)
    return found is not expression.negated


def _texts(operation):
    return lambda *values: operation(*values) if all(isinstance(one, str) for one in values) else UNDEFINED


def _substring(whole, start, length=math.inf):
    if not isinstance(whole, str) or not (_number(start) and _number(length)) or start < 0 or length < 0:
        return UNDEFINED
    first = int(min(start, 1e9))
    return whole[first : first + int(min(length, 1e9))]


def _as_number(one):
    if _number(one):
        return one
    if isinstance(one, str) and re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", one):
        return float(one)
    return UNDEFINED


_FUNCTIONS = {
    "IS_DEFINED": lambda one: one is not UNDEFINED,
    "IS_NULL": lambda one: one is None,
    "IS_BOOL": lambda one: isinstance(one, bool),
    "IS_NUMBER": _number,
    "IS_STRING": lambda one: isinstance(one, str),
    "IS_OBJECT": lambda one: isinstance(one, dict),
    "IS_ARRAY": lambda one: isinstance(one, list),
    "IS_PRIMITIVE": lambda one: _kind(one) is not None,
    "AS_NUMBER": _as_number,
    "STARTSWITH": _texts(str.startswith),
    "ENDSWITH": _texts(str.endswith),
    "CONTAINS": _texts(lambda whole, part: part in whole),
    "INDEX_OF": _texts(str.find),
    "SUBSTRING": _substring,
    "LENGTH": _texts(len),
    "LOWER": _texts(str.lower),
    "UPPER": _texts(str.upper),
    "CONCAT": _texts(lambda *parts: "".join(parts)),
    "ABS": _arithmetic(abs),
    "SIGN": _arithmetic(lambda one: (one > 0) - (one < 0)),
    "SQUARE": _finite(lambda one: one * one),
    "CEILING": _finite(math.ceil),
    "FLOOR": _finite(math.floor),
    "SQRT": _finite(math.sqrt),
    "EXP": _finite(math.exp),
    "POWER": _finite(math.pow),
}
