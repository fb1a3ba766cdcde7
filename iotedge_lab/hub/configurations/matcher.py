"""Which configurations target a device and its modules: all target conditions at once, as SQL over the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.hub.configurations.content import Kind
from iotedge_lab.hub.query.document import Bindings, Collection, Need
from iotedge_lab.hub.query.sql import Compiler

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from iotedge_lab.hub.configurations.configuration import Configuration

_MOST_VALUES: Final = 4000  # of one statement; SQLite allows more
_MOST_SQL: Final = 200_000


class Matcher:
    """Made anew when there are other configurations."""

    def __init__(self, configurations: Sequence[Configuration]) -> None:
        aimed = [one for one in configurations if not one.target.nobody]
        modules = [one for one in aimed if one.content.kind is Kind.MODULE]
        devices = [one for one in aimed if one.content.kind is not Kind.MODULE]
        self.reported = any(one.target.reported for one in aimed)
        self.modules = bool(modules)
        self._of_devices = tuple(_statements(devices, Collection.DEVICES))
        self._of_modules = tuple(_statements(modules, Collection.MODULES))

    def device(self, db: sqlite3.Connection, device: str) -> list[Configuration]:
        """Those of devices and edge devices that target a device."""
        found: list[Configuration] = []
        for statement in self._of_devices:
            for _, matched in statement.run(db, device):
                found += matched
        return found

    def of_modules(self, db: sqlite3.Connection, device: str) -> dict[str, list[Configuration]]:
        """Those of modules that target the modules of a device, for each module that has some."""
        found: dict[str, list[Configuration]] = {}
        for statement in self._of_modules:
            for module, matched in statement.run(db, device):
                if matched:
                    found.setdefault(module, []).extend(matched)
        return found


class _Statement:
    """Some conditions as the columns of one SELECT: a twin's JSON is read once for all of them."""

    def __init__(self, of: Collection) -> None:
        self._of = of
        self._bindings = Bindings(0, needs={Need.TWIN})
        self._compiler = Compiler(of, self._bindings)
        self._configurations: list[Configuration] = []
        self._columns: list[str] = []
        self._size = 0
        self._sql = ""

    def takes(self) -> bool:
        """Whether there is room for another condition."""
        return len(self._bindings.values) < _MOST_VALUES and self._size < _MOST_SQL

    def add(self, configuration: Configuration) -> None:
        """Add a condition."""
        where = configuration.target.where
        self._columns.append("1" if where is None else self._compiler.condition(where))
        self._size += len(self._columns[-1])
        self._configurations.append(configuration)

    def run(self, db: sqlite3.Connection, device: str) -> Iterator[tuple[str, list[Configuration]]]:
        """Each module of a device ('' for itself) with the configurations whose condition is true of it."""
        if not self._sql:
            last = len(self._bindings.values) + 1
            self._sql = (
                f"SELECT i.module, {', '.join(self._columns)} FROM identity i {Need.TWIN.value} "
                f"WHERE i.device = ?{last} AND {self._of.rows}"
            )
        for row in db.execute(self._sql, (*self._bindings.values, device)).fetchall():
            matched = zip(row[1:], self._configurations, strict=True)
            yield row[0], [one for true, one in matched if true]


def _statements(configurations: Sequence[Configuration], of: Collection) -> Iterator[_Statement]:
    statement = _Statement(of)
    for one in configurations:
        if not statement.takes():
            yield statement
            statement = _Statement(of)
        statement.add(one)
    if configurations:
        yield statement
