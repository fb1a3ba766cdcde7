"""What becomes of a job on each device: its rows in the store.

A row is `pending` until the job comes to it. A direct method's is `running` from before the call is sent until its
answer is stored, so that a hub that was killed knows which calls it may not send again.

What a job that has ended has not come to is not written: the row stays `pending`, and is shown as `canceled` if the
job was cancelled and as `failed` if its time was up. `STATUS`, `ENDED` and `ERROR` say so in SQL, of a row `d` and its
job `b`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from iotedge_lab.errors import ServiceError
    from iotedge_lab.hub.jobs.job import Job

Key = tuple[str, str]  # device and module
Json = dict[str, Any]
START: Final[Key] = ("", "")

STATUS: Final = (
    "CASE WHEN d.status != 'pending' OR b.ended IS NULL THEN d.status "
    "WHEN b.status = 'cancelled' THEN 'canceled' ELSE 'failed' END"
)
_OUT_OF_TIME: Final = json.dumps(
    {
        "code": "RequestTimedOut",
        "description": "the job's maxExecutionTimeInSeconds had passed before it came to this.",
    }
)
ERROR: Final = (
    "CASE WHEN d.status != 'pending' OR b.ended IS NULL OR b.status = 'cancelled' THEN d.error "
    f"ELSE '{_OUT_OF_TIME.replace(chr(39), chr(39) * 2)}' END"
)
ENDED: Final = "CASE WHEN d.status = 'running' THEN NULL ELSE COALESCE(d.ended, b.ended) END"
_LOST: Final = {
    "code": "GatewayTimeout",
    "description": "the hub was stopped before the answer had come; whether the method ran is not known.",
}


def add(db: sqlite3.Connection, job: Job, keys: Iterable[Key]) -> None:
    """Note whom a job is for; those that are noted already stay as they are."""
    db.executemany(
        "INSERT OR IGNORE INTO job_device (job, device, module, status) VALUES (?, ?, ?, 'pending')",
        [(job.serial, *key) for key in keys],
    )


def last(db: sqlite3.Connection, job: Job) -> Key:
    """The last one that is noted."""
    row = db.execute(
        "SELECT device, module FROM job_device WHERE job = ? ORDER BY device DESC, module DESC LIMIT 1",
        (job.serial,),
    ).fetchone()
    return START if row is None else (row[0], row[1])


def pending(db: sqlite3.Connection, job: Job, after: Key, limit: int) -> list[Key]:
    """The next ones that the job has not come to."""
    rows = db.execute(
        "SELECT device, module FROM job_device WHERE job = ? AND (device, module) > (?, ?) "
        "AND status = 'pending' ORDER BY device, module LIMIT ?",
        (job.serial, *after, limit),
    )
    return [(row[0], row[1]) for row in rows]


def begin(db: sqlite3.Connection, job: Job, keys: Iterable[Key], now: float) -> None:
    """The job has come to these."""
    db.executemany(
        "UPDATE job_device SET status = 'running', begun = ? WHERE job = ? AND device = ? AND module = ?",
        [(now, job.serial, *key) for key in keys],
    )


def settle(
    db: sqlite3.Connection, job: Job, outcomes: Iterable[tuple[Key, Json | ServiceError]], now: float
) -> None:
    """How it went: an outcome, or the error. The first that is stored counts."""
    rows: list[tuple[str | float | None, ...]] = []
    for key, outcome in outcomes:
        if isinstance(outcome, dict):
            rows.append(("completed", now, now, json.dumps(outcome), None, job.serial, *key))
        else:
            error = {"code": outcome.name, "description": outcome.message}
            rows.append(("failed", now, now, None, json.dumps(error), job.serial, *key))
    db.executemany(
        "UPDATE job_device SET status = ?, begun = COALESCE(begun, ?), ended = ?, outcome = ?, error = ? "
        "WHERE job = ? AND device = ? AND module = ? AND ended IS NULL",
        rows,
    )


def lose(db: sqlite3.Connection, now: float) -> None:
    """What was under way when the hub was stopped is over, and how it went is not known."""
    db.execute(
        "UPDATE job_device SET status = 'failed', ended = ?, error = ? WHERE status = 'running'",
        (now, json.dumps(_LOST)),
    )


def sweep(db: sqlite3.Connection, serial: int, limit: int) -> bool:
    """Delete some rows of a job that is gone; whether there may be more."""
    deleted = db.execute(
        "DELETE FROM job_device WHERE job = ?1 AND (device, module) IN "
        "(SELECT device, module FROM job_device WHERE job = ?1 LIMIT ?2)",
        (serial, limit),
    )
    return deleted.rowcount == limit


def statistics(db: sqlite3.Connection, jobs: Sequence[Job]) -> dict[int, Json]:
    """`deviceJobStatistics` of those whose devices are known, by serial.

    What was cancelled is in deviceCount alone: the service's model has no place for it.
    """
    made = {job.serial: _counts({}) for job in jobs if job.counted}
    rows = db.execute(
        f"SELECT d.job, {STATUS}, COUNT(*) FROM job_device d JOIN job b ON b.serial = d.job "
        f"WHERE d.job IN ({', '.join('?' * len(made))}) GROUP BY 1, 2",
        list(made),
    )
    found: dict[int, dict[str, int]] = {}
    for serial, status, count in rows:
        found.setdefault(serial, {})[status] = count
    return made | {serial: _counts(counts) for serial, counts in found.items()}


def _counts(by_status: dict[str, int]) -> Json:
    return {
        "deviceCount": sum(by_status.values()),
        "failedCount": by_status.get("failed", 0),
        "succeededCount": by_status.get("completed", 0),
        "runningCount": by_status.get("running", 0),
        "pendingCount": by_status.get("pending", 0),
    }
