"""`FROM devices.jobs`: what became of each job on each device, as one document, and queries of it.

Stands for "Queries for IoT Hub jobs" (learn.microsoft.com, IoT Hub, query-jobs). As there, only `SELECT *` is
possible, a condition looks at the job's properties alone, and nothing is aggregated. `devices.jobs.` before a name is
allowed. The page's example calls `createdDateTimeUtc` `createdTimeUtc` in its condition; both are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.hub.identities import iso
from iotedge_lab.hub.jobs.targets import ENDED, ERROR, STATUS
from iotedge_lab.hub.query.document import Kind, Value, json_member
from iotedge_lab.hub.query.syntax import Fault

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from iotedge_lab.hub.query.document import Bindings
    from iotedge_lab.hub.query.syntax import Path, Statement

Json = dict[str, Any]
JobKey = tuple[int, str, str]  # serial, device and module
_TABLES: Final = "job_device d JOIN job b ON b.serial = d.job"
_BEGUN: Final = "COALESCE(d.begun, b.begun)"
_UPDATED: Final = f"COALESCE({ENDED}, {_BEGUN}, b.created)"


def _time(sql: str) -> Value:
    return Value(Kind.TEXT, f"CASE WHEN {sql} NOT NULL THEN lab_iso({sql}) END")


_NAMES: Final = {
    "deviceId": Value(Kind.TEXT, "d.device"),
    "moduleId": Value(Kind.TEXT, "NULLIF(d.module, '')"),
    "jobId": Value(Kind.TEXT, "b.id"),
    "jobType": Value(Kind.TEXT, "b.type"),
    "status": Value(Kind.TEXT, f"({STATUS})"),
    "startTimeUtc": _time(_BEGUN),
    "endTimeUtc": _time(ENDED),
    "createdDateTimeUtc": _time("b.created"),
    "createdTimeUtc": _time("b.created"),
    "lastUpdatedDateTimeUtc": _time(_UPDATED),
}
_OBJECTS: Final = {"outcome": "d.outcome", "error": f"({ERROR})"}


def value(path: Path, bindings: Bindings) -> Value:
    """The SQL of a property; one that there is not is undefined. Raises `Fault` for one of the twin."""
    names = path.names
    if len(names) > 1 and names[0].lower() == "devices":
        names = names[1:]
    if len(names) > 1 and names[0].lower() == "jobs":
        names = names[1:]
    root, *rest = names
    known = {name.lower(): name for name in (*_NAMES, *_OBJECTS)}
    name = known.get(root.lower(), root)
    if name in _NAMES and not rest:
        return _NAMES[name]
    if name in _OBJECTS:
        column = _OBJECTS[name]
        if rest:
            return json_member(column, rest, bindings)
        return Value(Kind.ANY, column, f"CASE WHEN {column} NOT NULL THEN 'object' END")
    if name in ("tags", "properties"):
        raise Fault(path.at, "a query of devices.jobs looks at properties of jobs, not at the twin.")
    return Value(Kind.UNDEFINED)


def check(statement: Statement) -> None:
    """Raises `Fault` for what queries of jobs cannot have."""
    if statement.items is not None:
        raise Fault(statement.items[0].at, "of devices.jobs only SELECT * is possible.")
    if statement.group is not None:
        raise Fault(statement.group.at, "devices.jobs cannot be grouped.")


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A query whose rows are devices of jobs, in the order of the jobs and of the devices' ids."""

    where: str
    bindings: Bindings
    top: int | None

    def rows(self, db: sqlite3.Connection, after: JobKey, limit: int) -> list[tuple[JobKey, Json]]:
        """Up to `limit` rows from behind `after` on, each with its key."""
        last = len(self.bindings.values)
        found = db.execute(
            f"SELECT b.serial, d.device, d.module, b.id, b.type, {STATUS}, b.created, {_BEGUN}, {ENDED}, {_UPDATED}, "
            f"d.outcome, {ERROR} FROM {_TABLES} WHERE {self.where} "
            f"AND (d.job, d.device, d.module) > (?{last + 1}, ?{last + 2}, ?{last + 3}) "
            f"ORDER BY d.job, d.device, d.module LIMIT ?{last + 4}",
            [*self.bindings.values, *after, limit],
        )
        return [((row[0], row[1], row[2]), _shown(row[1:])) for row in found]

    def count(self, db: sqlite3.Connection) -> int:
        """How many rows it has in all."""
        row = db.execute(
            f"SELECT COUNT(*) FROM {_TABLES} WHERE {self.where} LIMIT ?{len(self.bindings.values) + 1}",
            [*self.bindings.values, 1],
        ).fetchone()
        return int(row[0]) if self.top is None else min(int(row[0]), self.top)


def _shown(row: Sequence[Any]) -> Json:
    device, module, job, kind, status, created, begun, ended, updated, outcome, error = row
    made: Json = {"deviceId": device}
    if module:
        made["moduleId"] = module
    made |= {"jobId": job, "jobType": kind, "status": status}
    for name, seconds in (("startTimeUtc", begun), ("endTimeUtc", ended)):
        if seconds is not None:
            made[name] = iso(seconds)
    made |= {"createdDateTimeUtc": iso(created), "lastUpdatedDateTimeUtc": iso(updated)}
    for name, text in (("outcome", outcome), ("error", error)):
        if text is not None:
            made[name] = json.loads(text)
    return made
