"""The edge runtime's durable state: what lies in `<state>/edges/<device>/edge.db`.

Stands for the RocksDB folder of the open-source edgeHub. How it is written is in `broker/store`.

The file's size: what a drained backlog leaves is used again, so the file is never larger than the largest backlog
was. Where much is free and little is left, `trim` shortens it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.store import GroupStore, Layout
from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

TRIM_FREE: Final = 4096  # pages of 4 KB that are free
TRIM_LIVE: Final = 1024  # pages that are in use; they are written anew, in one piece, on the loop
CHECK_MOST: Final = 256 * 2**20  # bytes of a file that is read through at the start: half a second's work

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- one for each lane and priority; a parcel whose queue is not here was purged
CREATE TABLE queue (
    number INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, source TEXT NOT NULL, priority INTEGER NOT NULL,
    expired INTEGER NOT NULL DEFAULT 0, refused INTEGER NOT NULL DEFAULT 0,
    UNIQUE (endpoint, source, priority)
);
-- id = queue * 2^42 + place in the queue; times in seconds, without the steps of the clock (ageing.py)
CREATE TABLE parcel (
    id INTEGER PRIMARY KEY, enqueued REAL NOT NULL, expires REAL NOT NULL, topic TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX parcel_expires ON parcel (expires);
CREATE TABLE session (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',   -- module '' is the device itself
    epoch INTEGER NOT NULL, subscriptions TEXT NOT NULL,
    PRIMARY KEY (device, module)
) WITHOUT ROWID;
-- as the device scope gave it, keys and all
CREATE TABLE identity (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '', document TEXT NOT NULL,
    PRIMARY KEY (device, module)
);
-- pending: reported properties that the hub does not have yet, or null
CREATE TABLE twin (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '', document TEXT NOT NULL, pending TEXT,
    PRIMARY KEY (device, module)
);
"""


class EdgeStore(GroupStore):
    """The file of one edge device."""

    layout = Layout(
        _SCHEMA,
        1,
        "the edge runtime",
        "stop the runtime and delete the file (messages that wait in it go with it)",
    )

    def __init__(self, path: Path, *, fsync: bool = False, checkpoint_pages: int = 4096) -> None:
        super().__init__(path, fsync=fsync, checkpoint_pages=checkpoint_pages)
        try:
            self._check()
        except EnvironmentProblem:
            self.db.close()
            raise

    def _check(self) -> None:
        # SQLite looks at a page when it needs it: a fault in the middle would show itself days later.
        try:
            if self._pages("page_count") * 4096 > CHECK_MOST:
                return
            found = str(self.rows("PRAGMA quick_check(1)")[0][0])
        except StoreUnavailable as error:
            raise EnvironmentProblem(error.message) from error
        if found != "ok":
            raise EnvironmentProblem(self._damaged(found))

    def _damaged(self, fault: object) -> str:
        return (
            f"{self.path} is damaged ({fault}). Stop the runtime, move the file and its -wal away (the messages "
            "that wait in it go with it) and start again."
        )

    @contextmanager
    def reading(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Iterator[tuple[Any, ...]]]:
        """The rows that a SELECT finds, one by one; raises `StoreUnavailable` where the file cannot be read."""
        cursor = self.db.cursor()
        try:
            yield cursor.execute(statement, values)
        except sqlite3.OperationalError as error:  # the disk fails, or another process holds the file
            raise StoreUnavailable(
                f"{self.layout.owner} cannot read {self.path}: {error}. It tries again by itself."
            ) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(self._damaged(error)) from error
        finally:
            cursor.close()  # else what was not fetched keeps the log from beginning anew

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows that a SELECT finds; raises `StoreUnavailable` where the file cannot be read."""
        with self.reading(statement, values) as found:
            return list(found)

    def later(self, callback: Callable[[], None]) -> bool:
        """Have the loop call `callback` in its next turn; False if there is no loop."""
        if self._call_soon is None:
            return False
        self._call_soon(callback)
        return True

    @property
    def has_loop(self) -> bool:
        """Whether a loop drives the store; without one each change is committed at once."""
        return self._call_soon is not None

    def make_room(self) -> None:
        """After a refused write: copy the log into the file, so that the log begins anew and needs no more room.

        On a full disk this may be what lets the removal of delivered messages through.
        """
        if self._checkpointer is not None:
            # SQLite before 3.51.3 can lose a commit that meets a checkpoint right after another one
            # (sqlite.org/wal.html, "The WAL-reset bug"): one at a time.
            self._checkpointer.join()
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def trim(self) -> bool:
        """Shorten the file if most of it is free, and little has to be moved for that; whether it was done.

        Takes some 20 ms at most. For once in a while, between two turns.
        """
        if self._checkpointer is not None and self._checkpointer.is_alive():
            return False  # one at a time
        try:
            free = self._pages("freelist_count")
            if free < TRIM_FREE or self._pages("page_count") - free > TRIM_LIVE:
                return False
            self.db.execute("PRAGMA temp_store = MEMORY")  # what is copied has keys in it
            self.db.execute("VACUUM")
        except (sqlite3.Error, StoreUnavailable) as error:
            log.info("%s was not shortened: %s", self.path, error)
            return False
        # The file is cut when a checkpoint comes to it.
        self._checkpointer = threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True)
        self._checkpointer.start()
        return True

    def _pages(self, what: str) -> int:
        return int(self.rows(f"PRAGMA {what}")[0][0])
