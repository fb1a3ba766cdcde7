"""What a service asks of the twins, page by page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from iotedge_lab.errors import DeviceNotFound, ModuleNotFound
from iotedge_lab.hub.query.continuation import Position
from iotedge_lab.hub.query.reader import Reader, note_presence

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identities
    from iotedge_lab.hub.query.document import Bindings
    from iotedge_lab.hub.query.job_document import JobQuery
    from iotedge_lab.hub.query.projection import Column
    from iotedge_lab.hub.query.statement import Compiled, GroupQuery, Key, TwinQuery
    from iotedge_lab.hub.store import Store
    from iotedge_lab.hub.twins import Twins

MOST: Final = 100
"""Rows of a page: "a max page size of less than or equal to 100 records" (iot-hub-devguide-query-language)."""

_AT_ONCE: Final = 10  # documents made in one go; then it is the turn of messages
Json = dict[str, Any]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a result: its rows, and what leads to the next page.

    `kind` is `Twin` for whole twins, `DeviceJob` for devices of jobs, else `Raw`.
    """

    items: list[Json]
    kind: str
    continuation: str | None


class Queries:
    """Runs queries off the loop; what they find is shown as the twins themselves are."""

    def __init__(self, store: Store, identities: Identities, twins: Twins, clock: Clock) -> None:
        self._identities = identities
        self._twins = twins
        self._clock = clock
        self._path = store.path
        self._made: Reader | None = None

    async def page(self, text: str, count: int, continuation: str | None = None) -> Page:
        """Up to `count` rows (at most `MOST`) of a query.

        Raises `QueryError` with the place, `ArgumentInvalid` for a token that is none, `RequestTimedOut`,
        `StoreUnavailable`.
        """
        from iotedge_lab.hub.query.job_document import JobQuery
        from iotedge_lab.hub.query.statement import TwinQuery

        compiled = await self._compile(text)
        position = Position(left=compiled.top) if not continuation else Position.read(continuation, text)
        size = max(1, min(count, MOST))
        if position.left is not None:
            size = min(size, position.left)
        if isinstance(compiled, TwinQuery):
            return await self._twin_page(text, compiled, position, size)
        if isinstance(compiled, JobQuery):
            return await self._job_page(text, compiled, position, size)
        return await self._group_page(text, compiled, position, size)

    async def count(self, text: str) -> int:
        """How many rows a query has. Raises as `page` does."""
        compiled = await self._compile(text)
        counted: int = await self._run(compiled.bindings, compiled.count)
        return counted

    async def check_condition(self, condition: str) -> None:
        """Read a condition as `targets` takes it. Raises `QueryError`."""
        from iotedge_lab.hub.query.statement import compile_condition

        await self._reader.run(lambda _: compile_condition(condition, 0))

    async def targets(self, condition: str, after: Key, limit: int) -> list[Key]:
        """Up to `limit` devices or modules that meet a condition, from behind `after` on.

        Raises `QueryError`, `RequestTimedOut`, `StoreUnavailable`.
        """
        from iotedge_lab.hub.query.statement import compile_condition

        now = int(self._clock.now() * 1000)
        compiled = await self._reader.run(lambda _: compile_condition(condition, now))
        found: list[Key] = await self._run(compiled.bindings, lambda db: compiled.keys(db, after, limit))
        return found

    async def read(self, job: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """What a job of one's own answers, run as queries are. Raises `RequestTimedOut`, `StoreUnavailable`."""
        return await self._reader.run(job)

    def close(self) -> None:
        """End what runs."""
        if self._made is not None:
            self._made.close()

    # -- inside ----------------------------------------------------------------------------------------

    @property
    def _reader(self) -> Reader:
        if self._made is None:
            self._made = Reader(self._path)
        return self._made

    async def _compile(self, text: str) -> Compiled:
        # Imported with the first query: a hub that is asked none need not load the grammar's library.
        from iotedge_lab.hub.query.statement import compile_query

        now = int(self._clock.now() * 1000)
        return await self._reader.run(lambda _: compile_query(text, now))

    async def _run(self, bindings: Bindings, job: Callable[[sqlite3.Connection], Any]) -> Any:
        from iotedge_lab.hub.query.document import Need

        presence = self._identities.presence() if Need.PRESENCE in bindings.needs else None

        def run(db: sqlite3.Connection) -> Any:
            if presence is not None:
                note_presence(db, presence)
            return job(db)

        return await self._reader.run(run)

    async def _twin_page(self, text: str, query: TwinQuery, position: Position, size: int) -> Page:
        after = (position.device, position.module)
        keys = await self._run(query.bindings, lambda db: query.keys(db, after, size + 1))
        items = await self._documents(keys[:size], query.columns)
        following = None
        left = None if position.left is None else position.left - size
        if len(keys) > size and left != 0:
            device, module = keys[size - 1]
            following = Position(device, module, left=left).token(text)
        return Page(items, "Twin" if query.columns is None else "Raw", following)

    async def _documents(self, keys: Sequence[Key], columns: Sequence[Column] | None) -> list[Json]:
        """What was found, as it is now; who has gone meanwhile is left out."""
        from iotedge_lab.hub.query.projection import project

        made = []
        for number, key in enumerate(keys, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                document = self._twins.to_json(*self._twins.get(*key))
            except (DeviceNotFound, ModuleNotFound):
                continue
            made.append(document if columns is None else project(document, columns))
        return made

    async def _job_page(self, text: str, query: JobQuery, position: Position, size: int) -> Page:
        after = (position.row, position.device, position.module)
        rows = await self._reader.run(lambda db: query.rows(db, after, size + 1))
        following = None
        left = None if position.left is None else position.left - size
        if len(rows) > size and left != 0:
            serial, device, module = rows[size - 1][0]
            following = Position(device, module, serial, left).token(text)
        return Page([row for _, row in rows[:size]], "DeviceJob", following)

    async def _group_page(self, text: str, query: GroupQuery, position: Position, size: int) -> Page:
        rows = await self._run(query.bindings, lambda db: query.rows(db, position.row, size + 1))
        left = None if position.left is None else position.left - size
        following = None
        if len(rows) > size and left != 0:
            following = replace(position, row=position.row + size, left=left).token(text)
        return Page(rows[:size], "Raw", following)
