"""Durable state: one SQLite file in WAL mode, written in groups. Shared by the hub and the edge runtime.

What arrives in one turn of the event loop is written in one transaction, and only when that is committed are
the senders told (`Participant`). A commit survives the death of the process (`kill -9`); with `fsync=True` it
survives a power cut too, at the price of a disk flush for each transaction.

Checkpoints (copying the WAL into the file, which flushes the disk) run on a thread of their own, so that no
message waits for them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = logging.getLogger(__name__)

_WAL_MOST = 8  # times the size at which a checkpoint is due
_PATIENCE_MS = 5000  # for a lock that another connection holds: sqlite3's own


@dataclass(frozen=True, slots=True)
class Layout:
    """What is in a file: its tables, their version, and how messages speak of it.

    `owner` is who keeps the file ("the hub"), `afresh` what a person does to begin with an empty one. The tables
    have `meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)`. `steps` leads from an earlier version to the one after
    it; a file of such a version is brought up to date when it is opened.
    """

    schema: str
    version: int
    owner: str
    afresh: str
    steps: Mapping[int, str] = field(default_factory=dict)


class Participant(Protocol):
    """A part of the owner that takes part in the group commit."""

    def write(self, db: sqlite3.Connection) -> None:
        """Write what is pending, inside the transaction that the store has opened."""
        ...

    def durable(self) -> None:
        """The transaction is committed: acknowledge."""
        ...

    def failed(self, error: StoreUnavailable) -> None:
        """The transaction was rolled back: nothing pending is stored, acknowledge nothing."""
        ...


class GroupStore:
    """The SQLite file and the group commit. A subclass says its `layout`."""

    layout: ClassVar[Layout]

    def __init__(self, path: Path, *, fsync: bool = False, checkpoint_pages: int = 4096) -> None:
        self.path = path
        self.fsync = fsync
        self._waiting: list[Participant] = []
        self._scheduled = False
        self._call_soon: Callable[[Callable[[], None]], object] | None = None
        self._checkpoint_bytes = checkpoint_pages * 4096
        self._wal = Path(f"{path}-wal")  # made once: it is looked at after each commit
        self._checkpointer: threading.Thread | None = None
        self._closed = False
        with _private_files():
            self.db = self._open()

    def _open(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = None
        try:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self.fsync else 'NORMAL'}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            # Cut the log's file when it begins anew: its size tells whether the next checkpoint is due.
            db.execute("PRAGMA journal_size_limit = 0")
            db.execute("PRAGMA cache_size = -16384")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(
                    f"BEGIN; {self.layout.schema} PRAGMA user_version = {self.layout.version}; COMMIT;"
                )
                version = self.layout.version
            while version in self.layout.steps:
                db.executescript(
                    f"BEGIN; {self.layout.steps[version]} PRAGMA user_version = {version + 1}; COMMIT;"
                )
                version += 1
            if version != self.layout.version:
                db.close()
                raise EnvironmentProblem(
                    f"{self.path} was written by another version of {self.layout.owner} (schema {version}, this "
                    f"one reads {self.layout.version}). Use that version, or start afresh: {self.layout.afresh}."
                )
        except sqlite3.DatabaseError as error:
            if db is not None:
                db.close()
            raise EnvironmentProblem(
                f"{self.path} cannot be read as the store of {self.layout.owner} ({error}). If it is damaged, move "
                "it away (its messages go with it) and start again; if the disk is full, free some space."
            ) from error
        return db

    def attach_loop(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Give the event loop's `call_soon`; until then each `enlist` is committed at once."""
        self._call_soon = call_soon

    def enlist(self, participant: Participant) -> None:
        """Have `participant` write in this turn's transaction. Once a turn is enough."""
        self._waiting.append(participant)
        if self._call_soon is None:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._call_soon(self.flush)

    def flush(self) -> None:
        """Commit what is enlisted, then let each participant acknowledge, in the order of enlisting."""
        self._scheduled = False
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            with self._one_transaction() as db:
                for participant in waiting:
                    participant.write(db)
        except Exception as error:
            # A fault of ours is told as well: a participant that hears nothing waits for ever, and its
            # devices for their acknowledgements.
            refusal = (
                error if isinstance(error, StoreUnavailable) else StoreUnavailable(f"a fault: {error!r}")
            )
            if refusal is not error:
                log.exception("a transaction failed")
            for participant in waiting:
                participant.failed(refusal)
            return
        for participant in waiting:
            participant.durable()
        self._checkpoint_if_due()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One immediate transaction; raises `StoreUnavailable` when SQLite refuses it (a full disk)."""
        with self._one_transaction() as db:
            yield db
        self._checkpoint_if_due()

    @contextmanager
    def _one_transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            if self.db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
            raise StoreUnavailable(
                f"{self.layout.owner} cannot write to {self.path}: {error}. Nothing of this was stored; "
                "free some space on that disk and send again."
            ) from error

    def get_meta(self, key: str) -> str | None:
        """The value kept under `key`, or None."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Keep `value` under `key`."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _checkpoint_if_due(self) -> None:
        if self._checkpointer is not None and self._checkpointer.is_alive():
            return
        try:
            size = self._wal.stat().st_size
        except OSError:
            return
        if size >= _WAL_MOST * self._checkpoint_bytes:
            # Under a load that never pauses the log never begins anew by itself, and would fill the disk. The
            # thread has just copied most of it, so the little that came since is copied here.
            # Who reads the file meanwhile (a query) is not waited for: it is done at a later commit then.
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("PRAGMA busy_timeout = 0")
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            with contextlib.suppress(sqlite3.Error):
                self.db.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
        elif size >= self._checkpoint_bytes:
            self._checkpointer = threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True)
            self._checkpointer.start()

    def _checkpoint(self) -> None:
        # A connection of its own: SQLite releases the interpreter's lock while it copies and flushes. What
        # fails here (a full disk) is tried again at the next commit; the WAL holds the data meanwhile.
        with contextlib.suppress(sqlite3.Error):
            db = sqlite3.connect(self.path, isolation_level=None)
            try:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                db.close()

    def close(self) -> None:
        """Commit what is pending and close the file. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.flush()
        if self._checkpointer is not None:
            self._checkpointer.join()
        self.db.close()


@contextmanager
def _private_files() -> Iterator[None]:
    """Files made inside are for their owner alone (keys lie in them)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
