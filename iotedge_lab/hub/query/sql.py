"""Expressions as SQL over the store.

What is undefined is NULL, and SQL's three-valued logic is the language's: a comparison with undefined is undefined,
NOT of it too, and only what is true is taken. JSON's null is a value of its own. Where the documents are silent:
values of two types are unequal and not ordered; true, false and null are not ordered either; objects and arrays are
compared with nothing ("comparisons are supported only between primitive types"); what is divided by zero is undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.hub.query import job_document
from iotedge_lab.hub.query.document import Bindings, Collection, Kind, Value, resolve, value
from iotedge_lab.hub.query.functions import PRIMITIVE, boolean, call, json_type, number
from iotedge_lab.hub.query.syntax import Literal, Membership, Operation, Path, Undefined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.hub.query.syntax import Constant, Expression

_TOGETHER: Final = 24  # operands of AND and OR side by side: SQLite bounds the height of an expression
_FEW: Final = 16
_ORDERED: Final = {Kind.NUMBER: "('integer', 'real')", Kind.TEXT: "('text')"}
_LESS: Final = ("<", "<=", ">", ">=")


class Compiler:
    """Compiles what belongs to one statement; values go into `bindings`."""

    def __init__(self, of: Collection, bindings: Bindings) -> None:
        self._of = of
        self._bindings = bindings

    def condition(self, expression: Expression) -> str:
        """An expression as a condition: 1, 0 or NULL."""
        return boolean(self.value(expression))

    def path(self, path: Path) -> Value:
        """A property."""
        if self._of is Collection.JOBS:
            return job_document.value(path, self._bindings)
        return value(resolve(path, self._of), self._of, self._bindings)

    def value(self, expression: Expression) -> Value:
        """Any expression. Raises `Fault`."""
        if isinstance(expression, Path):
            return self.path(expression)
        if isinstance(expression, Literal):
            return self._constant(expression.value)
        if isinstance(expression, Membership):
            return self._membership(expression)
        if isinstance(expression, Operation):
            return self._operation(expression)
        return call(expression, [self.value(argument) for argument in expression.arguments])

    # -- operators -------------------------------------------------------------------------------------

    def _operation(self, operation: Operation) -> Value:
        operator, operands = operation.operator, operation.operands
        if operator in ("AND", "OR"):
            return _bool(_many(operator, [self.condition(operand) for operand in operands]))
        if operator == "NOT":
            return _bool(f"NOT {self.condition(operands[0])}")
        values = [self.value(operand) for operand in operands]
        if operator == "NEGATIVE":
            return Value(Kind.NUMBER, f"(- {number(values[0])})")
        if operator in ("=", "!="):
            return _equality(operator, *values)
        if operator in _LESS:
            return _order(operator, *values)
        left, right = (number(one) for one in values)
        if operator == "%":
            return Value(Kind.NUMBER, f"lab_modulo({left}, {right})")
        # As JSON's numbers: 5 / 2 is 2.5.
        made = f"CAST({left} AS REAL) / {right}" if operator == "/" else f"{left} {operator} {right}"
        return Value(Kind.NUMBER, f"({made})")

    def _membership(self, membership: Membership) -> Value:
        operand = self.value(membership.operand)
        lists = {
            kind: [self._constant(one).sql for one in membership.values if _kind(one) is kind]
            for kind in Kind
        }
        if operand.kind is Kind.ANY:
            made = _any_in(operand, lists)
        elif operand.kind in (Kind.UNDEFINED, Kind.OBJECT):
            made = "NULL"
        elif operand.kind is Kind.NULL:
            made = "1" if lists[Kind.NULL] else "0"
        elif isinstance(membership.operand, Path) and operand.kind is Kind.TEXT:
            made = f"CASE WHEN {operand.sql} NOT NULL THEN {_in_few(operand.sql, lists[operand.kind])} END"
        else:
            made = _in(operand.sql, lists[operand.kind])
        return _bool(f"NOT {made}" if membership.negated else made)

    def _constant(self, constant: Constant) -> Value:
        kind = _kind(constant)
        if kind in (Kind.TEXT, Kind.NUMBER):
            assert isinstance(constant, str | int | float)
            longest = len(constant) if isinstance(constant, str) else 0
            return Value(kind, self._bindings.bind(constant), longest=longest)
        if kind is Kind.BOOL:
            return Value(kind, "1" if constant else "0")
        return Value(kind)


def _kind(constant: Constant) -> Kind:
    if constant is None:
        return Kind.NULL
    if isinstance(constant, bool):
        return Kind.BOOL
    if isinstance(constant, str):
        return Kind.TEXT
    return Kind.UNDEFINED if isinstance(constant, Undefined) else Kind.NUMBER


def _bool(sql: str) -> Value:
    return Value(Kind.BOOL, f"({sql})")


def _many(operator: str, conditions: Sequence[str]) -> str:
    """Many operands of AND or OR, in bunches."""
    while len(conditions) > _TOGETHER:
        conditions = [
            f"({f' {operator} '.join(conditions[at : at + _TOGETHER])})"
            for at in range(0, len(conditions), _TOGETHER)
        ]
    return f" {operator} ".join(conditions)


def _in(sql: str, values: Sequence[str]) -> str:
    return f"{sql} IN ({', '.join(values)})" if values else f"CASE WHEN {sql} NOT NULL THEN 0 END"


def _in_few(sql: str, values: Sequence[str]) -> str:
    """Of a value that is defined; a few are compared one by one, without the index that SQLite makes of a list."""
    if len(values) > _FEW:
        return _in(sql, values)
    return f"CASE {sql} {' '.join(f'WHEN {one} THEN 1' for one in values)} ELSE 0 END" if values else "0"


def _any_in(operand: Value, lists: dict[Kind, list[str]]) -> str:
    texts, numbers = (_in_few(operand.sql, lists[kind]) for kind in (Kind.TEXT, Kind.NUMBER))
    true, false = ("1" if sql in lists[Kind.BOOL] else "0" for sql in ("1", "0"))
    return (
        f"CASE {operand.type} WHEN 'text' THEN {texts} WHEN 'integer' THEN {numbers} WHEN 'real' THEN {numbers} "
        f"WHEN 'true' THEN {true} WHEN 'false' THEN {false} WHEN 'null' THEN {1 if lists[Kind.NULL] else 0} END"
    )


# -- comparisons ---------------------------------------------------------------------------------------


def _equality(operator: str, left: Value, right: Value) -> Value:
    if {left.kind, right.kind} & {Kind.UNDEFINED, Kind.OBJECT}:
        return _bool("NULL")
    equal, unequal = ("1", "0") if operator == "=" else ("0", "1")
    if left.kind is Kind.ANY and right.kind is Kind.ANY:
        return _bool(_equal_properties(operator, left, right))
    if left.kind is Kind.ANY or right.kind is Kind.ANY:
        some, known = (left, right) if left.kind is Kind.ANY else (right, left)
        return _bool(_equal_to(operator, some, known))
    if left.kind is Kind.NULL and right.kind is Kind.NULL:
        return _bool(equal)
    if left.kind is right.kind:
        return _bool(f"{left.sql} {operator} {right.sql}")
    there = " AND ".join(f"{one.sql} NOT NULL" for one in (left, right) if one.kind is not Kind.NULL)
    return _bool(f"CASE WHEN {there} THEN {unequal} END")


def _equal_to(operator: str, some: Value, known: Value) -> str:
    """A property and a value of a type that is known."""
    if known.kind is Kind.NULL:
        equal, unequal = (1, 0) if operator == "=" else (0, 1)
        return f"CASE WHEN {some.type} = 'null' THEN {equal} WHEN {some.type} {PRIMITIVE} THEN {unequal} END"
    # The other one is written once: nested ones would grow with a power. Nothing that it can be equals a blob.
    if known.kind is Kind.BOOL:
        own = f"CASE {some.type} WHEN 'true' THEN 1 WHEN 'false' THEN 0"
    else:
        own = f"CASE WHEN {some.type} IN {_ORDERED[known.kind]} THEN {some.sql}"
    otherwise = f"ELSE CASE WHEN {some.type} {PRIMITIVE} THEN x'' END END"
    return f"{own} {otherwise} {operator} {known.sql}"


def _equal_properties(operator: str, left: Value, right: Value) -> str:
    return (
        f"CASE WHEN {left.type} {PRIMITIVE} AND {right.type} {PRIMITIVE} THEN "
        f"CASE WHEN {_both_of_a_kind(left, right)} THEN {left.sql} {operator} {right.sql} "
        f"ELSE {left.type} {operator} {right.type} END END"
    )


def _both_of_a_kind(left: Value, right: Value) -> str:
    """Whether two properties are both numbers or both texts."""
    return " OR ".join(f"({left.type} IN {types} AND {right.type} IN {types})" for types in _ORDERED.values())


def _order(operator: str, left: Value, right: Value) -> Value:
    if left.kind is Kind.ANY and right.kind is Kind.ANY:
        return _bool(f"CASE WHEN {_both_of_a_kind(left, right)} THEN {left.sql} {operator} {right.sql} END")
    if left.kind in _ORDERED and right.kind is left.kind:
        return _bool(f"{left.sql} {operator} {right.sql}")
    for some, known in ((left, right), (right, left)):
        if some.kind is Kind.ANY and known.kind in _ORDERED:
            return _bool(
                f"CASE WHEN {some.type} IN {_ORDERED[known.kind]} THEN {left.sql} {operator} {right.sql} END"
            )
    return _bool("NULL")


def group_key(value: Value) -> tuple[str, str]:
    """The type and the value by which twins are grouped: 1 and 1.0 are one value."""
    kind = json_type(value)
    return f"CASE {kind} WHEN 'integer' THEN 'real' ELSE {kind} END", value.sql
