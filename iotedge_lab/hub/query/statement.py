"""A whole query as a statement of SQL: the twins that it finds, or the rows of its aggregates.

Twins come in the order of their ids. What a query selects of them is taken from the twins themselves
(`projection`); aggregates are worked out by SQLite.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.hub.query.document import Bindings, Collection, Kind, Need, Value, collection, resolve
from iotedge_lab.hub.query.functions import number
from iotedge_lab.hub.query.grammar import parse_condition, parse_statement, parse_target
from iotedge_lab.hub.query.job_document import JobQuery, check
from iotedge_lab.hub.query.projection import Column, json_value, output_name
from iotedge_lab.hub.query.sql import Compiler, group_key
from iotedge_lab.hub.query.syntax import Fault, QueryError

if TYPE_CHECKING:
    import sqlite3

    from iotedge_lab.hub.query.syntax import Item, Path, Statement

Key = tuple[str, str]  # device and module
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TwinQuery:
    """A query whose rows are twins, whole (`columns` None) or some properties of them."""

    of: Collection
    where: str
    bindings: Bindings
    columns: tuple[Column, ...] | None
    top: int | None

    def keys(self, db: sqlite3.Connection, after: Key, limit: int) -> list[Key]:
        """Up to `limit` twins that it finds, from behind `after` on."""
        values = [*self.bindings.values, *after, limit]
        last = len(self.bindings.values)
        rows = db.execute(
            f"SELECT i.device, i.module FROM {tables(self.bindings)} WHERE {self.of.rows} AND {self.where} "
            f"AND (i.device, i.module) > (?{last + 1}, ?{last + 2}) ORDER BY i.device, i.module LIMIT ?{last + 3}",
            values,
        )
        return [(row[0], row[1]) for row in rows]

    def count(self, db: sqlite3.Connection) -> int:
        """How many twins it finds in all."""
        # The last value is always used: SQLite takes no more values than its statement has places for.
        row = db.execute(
            f"SELECT COUNT(*) FROM {tables(self.bindings)} WHERE {self.of.rows} AND {self.where} LIMIT ?{_last(self)}",
            [*self.bindings.values, 1],
        ).fetchone()
        return int(row[0]) if self.top is None else min(int(row[0]), self.top)


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """A query whose rows are groups; without GROUP BY one row, of all twins that it finds.

    `names` are those of the columns, each with whether it is the group's own value.
    """

    of: Collection
    where: str
    bindings: Bindings
    columns: str
    names: tuple[tuple[str, bool], ...]
    group: tuple[str, str] | None
    top: int | None

    def rows(self, db: sqlite3.Connection, offset: int, limit: int) -> list[Json]:
        """Up to `limit` rows from `offset` on."""
        kind, value = self.group or ("NULL", "NULL")
        order = " GROUP BY 1, 2 ORDER BY 1, 2" if self.group else ""
        found = db.execute(
            f"SELECT {kind}, {value}{self.columns} FROM {tables(self.bindings)} "
            f"WHERE {self.of.rows} AND {self.where}{order} LIMIT {limit:d} OFFSET ?{_last(self)}",
            [*self.bindings.values, offset],
        ).fetchall()
        return [self._row(row) for row in found]

    def count(self, db: sqlite3.Connection) -> int:
        """How many rows it has."""
        return len(self.rows(db, 0, self.top or _ALL))

    def _row(self, row: tuple[Any, ...]) -> Json:
        made: Json = {}
        aggregates = iter(row[2:])
        for name, own in self.names:
            defined, value = json_value(row[0], row[1]) if own else json_value("real", next(aggregates))
            if defined:
                made[name] = value
        return made


_ALL: Final = 2**31 - 1
_FROM: Final = re.compile(r"\s*from\b", re.IGNORECASE)
_SELECT: Final = re.compile(r"\s*select\b", re.IGNORECASE)
Compiled = TwinQuery | GroupQuery | JobQuery


def compile_query(text: str, now: int) -> Compiled:
    """Read and compile a query. `now`: ms since 1970. Raises `QueryError`."""
    statement = parse_statement(text)
    try:
        return _compiled(statement, now)
    except Fault as fault:
        raise QueryError(text, fault.at, fault.reason) from None


def compile_condition(text: str, now: int) -> TwinQuery:
    """Read and compile a condition by itself, as jobs have it: the query for the twins that meet it.

    What would follow WHERE for devices; `*` for all of them; or `FROM devices.modules WHERE ...`. Raises `QueryError`.
    """
    try:
        return _of_condition(text, now)
    except Fault as fault:
        raise QueryError(text, fault.at, fault.reason) from None


def _of_condition(text: str, now: int) -> TwinQuery:
    bindings = Bindings(now)
    of, where = Collection.DEVICES, None
    if _FROM.match(text):
        source, where = parse_target(text)
        of = collection(source)
        if of is Collection.JOBS:
            raise Fault(source.at, "there are devices and devices.modules here.")
    elif _SELECT.match(text):
        raise Fault(0, "this is what would follow WHERE, such as tags.floor = 3; or * for all.")
    elif text.strip() != "*":
        where = parse_condition(text)
    condition = "1" if where is None else Compiler(of, bindings).condition(where)
    return TwinQuery(of, condition, bindings, None, None)


def tables(bindings: Bindings) -> str:
    """What stands after FROM."""
    joins = [need.value for need in Need if need in bindings.needs]
    return " ".join(["identity i", *joins])


def _last(query: TwinQuery | GroupQuery) -> int:
    """The number of the parameter behind those of the query."""
    return len(query.bindings.values) + 1


def _compiled(statement: Statement, now: int) -> Compiled:
    of = collection(statement.source)
    bindings = Bindings(now)
    compiler = Compiler(of, bindings)
    where = "1" if statement.where is None else compiler.condition(statement.where)
    if of is Collection.JOBS:
        check(statement)
        return JobQuery(where, bindings, statement.top)
    items = statement.items
    if statement.group is None and not (items and any(item.aggregate for item in items)):
        columns = None if items is None else tuple(_column(item, of) for item in items)
        if columns is not None:
            _check_names(items or (), [column.name for column in columns])
        return TwinQuery(of, where, bindings, columns, statement.top)
    if items is None:
        assert statement.group is not None
        raise Fault(statement.group.at, "GROUP BY takes no SELECT *; select the property and aggregates.")
    group = None if statement.group is None else _group(compiler, statement.group)
    sql, names = _aggregates(compiler, items, statement.group, of)
    return GroupQuery(of, where, bindings, sql, names, group, statement.top)


def _column(item: Item, of: Collection) -> Column:
    assert item.path is not None
    names = resolve(item.path, of)
    return Column(item.alias or output_name(names), names)


def _check_names(items: tuple[Item, ...], names: list[str]) -> None:
    for index, item in enumerate(items):
        if names[index] in names[:index]:
            raise Fault(item.at, f"two columns are called {names[index][:60]!r}; give one a name with AS.")


def _group(compiler: Compiler, path: Path) -> tuple[str, str]:
    value = compiler.path(path)
    if value.kind is Kind.OBJECT:
        raise Fault(path.at, f"{str(path)[:60]!r} is an object; group by a property that has values.")
    return group_key(value)


def _aggregates(
    compiler: Compiler, items: tuple[Item, ...], group: Path | None, of: Collection
) -> tuple[str, tuple[tuple[str, bool], ...]]:
    """The columns of the aggregates, and the names of all columns; aggregates without one are $1, $2 and so on."""
    made, names, unnamed = [], [], 0
    key = None if group is None else resolve(group, of)
    for item in items:
        if item.aggregate is None:
            assert item.path is not None
            column = _column(item, of)
            if column.path != key:
                what = f"the one of GROUP BY, {'.'.join(key)[:60]!r}" if key else "one of a GROUP BY"
                raise Fault(item.at, f"beside aggregates a property can only be {what}.")
            names.append((column.name, True))
            continue
        made.append("COUNT(*)" if item.path is None else _aggregate(item.aggregate, compiler.path(item.path)))
        unnamed += item.alias is None
        names.append((item.alias or f"${unnamed}", False))
    _check_names(items, [name for name, _ in names])
    return "".join(f", {sql}" for sql in made), tuple(names)


def _aggregate(name: str, value: Value) -> str:
    """AVG and SUM of the numbers; MIN and MAX of the numbers and the texts."""
    if name in ("AVG", "SUM"):
        return f"{name}(CAST({number(value)} AS REAL))"
    if value.kind is Kind.ANY:
        return f"{name}(CASE WHEN {value.type} IN ('integer', 'real', 'text') THEN {value.sql} END)"
    return f"{name}({value.sql})" if value.kind in (Kind.NUMBER, Kind.TEXT) else f"{name}(NULL)"
