"""Reads the store on threads of its own: SQLite lets the interpreter go while it searches, so no message waits.

Each thread has a connection that cannot write. What takes too long is interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from iotedge_lab.errors import ArgumentInvalid, RequestTimedOut, StoreUnavailable
from iotedge_lab.hub.query.functions import register

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

SECONDS: Final = 20.0
_THREADS: Final = 2
_STEPS: Final = 100_000  # of SQLite's machine, some ms: how often a search looks whether it was given up
_TOO_MUCH: Final = ("stack overflow", "too large", "too big", "too many", "too long", "maximum depth")
_Answer = TypeVar("_Answer")


class Reader:
    """Runs jobs that read. `seconds`: how long one may take, its time in the queue included."""

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._executor = ThreadPoolExecutor(_THREADS, "query")
        self._idle: list[sqlite3.Connection] = []
        self._running: set[_Job[Any]] = set()
        self._closed = False

    async def run(self, job: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """What `job` answers, given a connection. Raises `RequestTimedOut`, `StoreUnavailable`, and what it raises."""
        task = _Job(self, job)
        future = asyncio.get_running_loop().run_in_executor(self._executor, task.run)
        future.add_done_callback(_heard)
        self._running.add(task)
        try:
            async with asyncio.timeout(self._seconds) as limit:
                return await asyncio.shield(future)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RequestTimedOut(
                f"the query took longer than {self._seconds:g} s and was ended; ask for less, or in a simpler way."
            ) from None
        finally:
            self._running.discard(task)
            task.interrupt()

    def borrow(self) -> sqlite3.Connection:
        """A connection for one job; `give_back` it."""
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._path)

    def give_back(self, db: sqlite3.Connection) -> None:
        """Keep a connection for the next job."""
        if db.in_transaction:
            db.execute("ROLLBACK")
        if self._closed:
            db.close()
        else:
            self._idle.append(db)

    def close(self) -> None:
        """End what runs and close the connections. Again does nothing."""
        self._closed = True
        for task in tuple(self._running):
            task.interrupt()
        self._executor.shutdown(cancel_futures=True)
        while self._idle:
            self._idle.pop().close()


class _Job(Generic[_Answer]):
    """One job: it can be interrupted from another thread, before it runs, while, and after."""

    def __init__(self, reader: Reader, job: Callable[[sqlite3.Connection], _Answer]) -> None:
        self._reader = reader
        self._job = job
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._over = False

    def run(self) -> _Answer:
        reader = self._reader
        try:
            db = reader.borrow()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the hub's store cannot be read: {error}.") from error
        with self._lock:
            self._db = None if self._over else db
        try:
            if self._db is None:
                raise RequestTimedOut("the query was given up before it began.")
            # An interrupt between two statements is lost on the next; this one is not.
            db.set_progress_handler(lambda: self._over, _STEPS)
            return self._job(db)
        except sqlite3.Error as error:
            raise _explained(error) from error
        finally:
            with self._lock:
                self._db = None
            db.set_progress_handler(None, 0)
            reader.give_back(db)

    def interrupt(self) -> None:
        with self._lock:
            self._over = True
            if self._db is not None:
                self._db.interrupt()


def _explained(error: sqlite3.Error) -> Exception:
    """What SQLite could not do: the query's fault, the time's, or the disk's."""
    told = str(error)
    if any(word in told for word in _TOO_MUCH):
        return ArgumentInvalid(f"the query is too complex ({told}); nest less, or ask in several queries.")
    if "interrupted" in told:
        return RequestTimedOut("the query was ended before it had an answer.")
    return StoreUnavailable(f"the hub's store cannot be searched: {error}.")


def _heard(future: asyncio.Future[Any]) -> None:
    """Nobody waits any more for the error of a job that was given up."""
    if not future.cancelled():
        future.exception()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that reads, with the functions that queries call and a table of who is connected."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        # What a search has to sort lies in memory as long as it fits into the cache, then in a file.
        db.execute("PRAGMA temp_store = FILE")
        db.execute("PRAGMA cache_size = -8192")
        db.execute(
            "CREATE TEMP TABLE presence (device TEXT NOT NULL, module TEXT NOT NULL, connected INTEGER NOT NULL, "
            "activity REAL, PRIMARY KEY (device, module)) WITHOUT ROWID"
        )
    except sqlite3.Error:
        db.close()
        raise
    register(db)
    return db


def note_presence(db: sqlite3.Connection, presence: Sequence[tuple[str, str, bool, float]]) -> None:
    """Tell a connection who is connected: device, module, whether it is, and when it was last heard of."""
    db.execute("BEGIN")
    db.execute("DELETE FROM temp.presence")
    db.executemany("INSERT INTO temp.presence VALUES (?, ?, ?, ?)", presence)
    db.execute("COMMIT")
