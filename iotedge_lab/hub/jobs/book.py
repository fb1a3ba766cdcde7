"""All jobs of a hub: kept in its store, for 30 days after they have ended.

Ten may be under way at once, as on a hub of the tier S3 (iot-hub-devguide-quotas-throttling); one more is refused
(429004), and one whose time comes meanwhile waits, `queued`, until another has ended. Azure names no bound for those
that wait for their time; here there are `MOST` that have not ended (403003), since each is held in memory.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import (
    JobAlreadyExists,
    JobNotFound,
    JobQuotaExceeded,
    JobRunPreconditionFailed,
    TooManyActiveJobs,
)
from iotedge_lab.hub.jobs import targets
from iotedge_lab.hub.jobs.job import Job, Kind, Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.jobs.job import Draft
    from iotedge_lab.hub.store import Store

MOST_ACTIVE: Final = 10
MOST: Final = 1000
KEPT_SECONDS: Final = 30 * 86_400.0
_SWEEP: Final = 500  # rows deleted in one go: about a millisecond
_COLUMNS: Final = (
    "serial, id, type, condition, content, created, start, seconds, status, begun, ended, counted, reason"
)


class Jobs:
    """Create, read, cancel. `on_change` is told when there is something to begin, or to stop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        rows = store.db.execute(
            f"SELECT {_COLUMNS} FROM job WHERE ended IS NULL ORDER BY start, serial"
        ).fetchall()
        self._open = {job.id: job for job in map(_job, rows)}
        self._gone = [row[0] for row in store.db.execute(_ORPHANS)]
        self.on_change: list[Callable[[], None]] = []

    @property
    def unfinished(self) -> list[Job]:
        """Those that have not ended, the one that begins first before the others."""
        return sorted(self._open.values(), key=lambda job: (job.start, job.serial))

    def find(self, name: str) -> Job | None:
        """A job, or None."""
        if name in self._open:
            return self._open[name]
        row = self._store.db.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (name,)).fetchone()
        return None if row is None else _job(row)

    def put(self, draft: Draft) -> Job:
        """Keep a new one. Raises `JobAlreadyExists`, `TooManyActiveJobs`, `JobQuotaExceeded`, `StoreUnavailable`."""
        if self.find(draft.id) is not None:
            raise JobAlreadyExists(
                f"there is a job {draft.id!r} already; a job cannot be changed, make one with another id."
            )
        now = self._clock.now()
        start = now if draft.start is None else draft.start
        if start <= now and sum(job.start <= now for job in self._open.values()) >= MOST_ACTIVE:
            raise TooManyActiveJobs(
                f"{MOST_ACTIVE} jobs are under way, the most there may be at once; wait until one has ended, cancel "
                "one, or set a later startTime."
            )
        if len(self._open) >= MOST:
            raise JobQuotaExceeded(f"{MOST} jobs have not ended, the most there may be; cancel some of them.")
        status = Status.QUEUED if start <= now else Status.SCHEDULED
        with self._store.transaction() as db:
            made = db.execute(
                "INSERT INTO job (id, type, condition, content, created, start, seconds, status) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    draft.id,
                    draft.kind.value,
                    draft.condition,
                    json.dumps(draft.content),
                    now,
                    start,
                    draft.seconds,
                    status.value,
                ),
            )
        job = Job(
            made.lastrowid or 0,
            draft.id,
            draft.kind,
            draft.condition,
            draft.content,
            now,
            start,
            draft.seconds,
            status,
        )
        self._open[job.id] = job
        self._tell()
        return job

    def cancel(self, name: str) -> Job:
        """Begin nothing more of a job; what has begun goes on. Once more changes nothing.

        Raises `JobNotFound`, `JobRunPreconditionFailed` for one that has ended otherwise.
        """
        job = self.find(name)
        if job is None:
            raise JobNotFound(f"there is no job {name[:80]!r}.")
        if job.status is Status.CANCELLED:
            return job
        if job.status.ended:
            raise JobRunPreconditionFailed(
                f"job {name!r} has {job.status.value}; there is nothing to cancel."
            )
        job = self.change(job, status=Status.CANCELLED, ended=self._clock.now())
        self._tell()
        return job

    def change(self, job: Job, **changes: Any) -> Job:
        """Store another state of a job, if it has not ended meanwhile; the job as it is then."""
        current = self._open.get(job.id)
        if current is None or current.serial != job.serial:
            return self.find(job.id) or job
        made = replace(current, **changes)
        with self._store.transaction() as db:
            db.execute(
                "UPDATE job SET status = ?, begun = ?, ended = ?, counted = ?, reason = ? WHERE serial = ?",
                (made.status.value, made.begun, made.ended, made.counted, made.reason, made.serial),
            )
        if made.status.ended:
            del self._open[job.id]
        else:
            self._open[job.id] = made
        return made

    def prune(self) -> None:
        """Forget those that ended 30 days ago; the rows of their devices go with later calls of `sweep`."""
        until = self._clock.now() - KEPT_SECONDS
        old = self._store.db.execute("SELECT serial FROM job WHERE ended <= ?", (until,)).fetchall()
        if old:
            with self._store.transaction() as db:
                db.execute("DELETE FROM job WHERE ended <= ?", (until,))
            self._gone += [row[0] for row in old]

    def sweep(self) -> None:
        """Delete some rows of jobs that are forgotten."""
        if not self._gone:
            return
        with self._store.transaction() as db:
            more = targets.sweep(db, self._gone[-1], _SWEEP)
        if not more:
            self._gone.pop()

    def clear(self) -> None:
        """Forget all (the rows are gone)."""
        self._open.clear()
        self._gone.clear()

    def _tell(self) -> None:
        for tell in self.on_change:
            tell()


_ORPHANS: Final = """
WITH RECURSIVE seen(job) AS (
    SELECT MIN(job) FROM job_device UNION ALL
    SELECT (SELECT MIN(job) FROM job_device WHERE job > seen.job) FROM seen WHERE seen.job IS NOT NULL
)
SELECT job FROM seen WHERE job IS NOT NULL AND job NOT IN (SELECT serial FROM job)
"""


def page(db: sqlite3.Connection, kind: str | None, status: str | None, before: int, limit: int) -> list[Job]:
    """Up to `limit` jobs of a type and status (None for any), the newest first, from before a serial on."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM job WHERE serial < ?1 AND (?2 IS NULL OR type = ?2) "
        "AND (?3 IS NULL OR status = ?3) ORDER BY serial DESC LIMIT ?4",
        (before, kind, status, limit),
    )
    return [_job(row) for row in rows]


def _job(row: tuple[Any, ...]) -> Job:
    return Job(
        row[0],
        row[1],
        Kind(row[2]),
        row[3],
        json.loads(row[4]),
        row[5],
        row[6],
        row[7],
        Status(row[8]),
        row[9],
        row[10],
        bool(row[11]),
        row[12],
    )
