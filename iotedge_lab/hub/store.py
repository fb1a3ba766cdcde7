"""The hub's durable state: one SQLite file in WAL mode, written in groups.

Stands for the storage behind an IoT Hub. What arrives in one turn of the event loop is written in one
transaction, and only when that is committed are the senders told (`Participant`). A commit survives the
death of the process (`kill -9`); with `fsync=True` it survives a power cut too, at the price of a disk flush
for each transaction.

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
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_WAL_MOST = 8  # times the size at which a checkpoint is due

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE policy (
    name TEXT PRIMARY KEY, rights TEXT NOT NULL, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE identity (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',   -- module '' is the device itself
    generation_id TEXT NOT NULL, etag TEXT NOT NULL,
    auth_type TEXT NOT NULL, primary_key TEXT, secondary_key TEXT,
    primary_thumbprint TEXT, secondary_thumbprint TEXT,
    status TEXT NOT NULL, status_reason TEXT, status_updated REAL,
    state_updated REAL, last_activity REAL,
    iot_edge INTEGER NOT NULL DEFAULT 0, device_scope TEXT, parent_scopes TEXT NOT NULL DEFAULT '[]',
    managed_by TEXT,
    PRIMARY KEY (device, module)
) WITHOUT ROWID;
CREATE TABLE session (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL, subscriptions TEXT NOT NULL,
    PRIMARY KEY (device, module)
) WITHOUT ROWID;
CREATE TABLE twin (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL,
    desired TEXT NOT NULL, desired_meta TEXT NOT NULL, desired_version INTEGER NOT NULL,
    reported TEXT NOT NULL, reported_meta TEXT NOT NULL, reported_version INTEGER NOT NULL,
    version INTEGER NOT NULL, etag_version INTEGER NOT NULL, model_id TEXT NOT NULL,
    PRIMARY KEY (device, module)
);
-- a cloud-to-device message that waits; times in ms since 1970; `lock` while a device has it over HTTPS
CREATE TABLE command (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL,
    enqueued INTEGER NOT NULL, expires INTEGER NOT NULL, deliveries INTEGER NOT NULL,
    body BLOB NOT NULL, system TEXT NOT NULL, properties TEXT NOT NULL, ack TEXT, asked_expiry INTEGER,
    lock TEXT, locked_until INTEGER
);
CREATE INDEX command_device ON command (device, seq);
CREATE INDEX command_expires ON command (expires);
CREATE INDEX command_locked ON command (locked_until) WHERE locked_until IS NOT NULL;
CREATE TABLE feedback_record (id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE feedback_message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL,
    enqueued INTEGER NOT NULL, expires INTEGER NOT NULL, deliveries INTEGER NOT NULL, body TEXT NOT NULL,
    lock TEXT, locked_until INTEGER
);
CREATE TABLE consumer_group (name TEXT PRIMARY KEY COLLATE NOCASE) WITHOUT ROWID;
CREATE TABLE partition (id INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL, last_enqueued INTEGER NOT NULL);
CREATE TABLE source (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, module TEXT NOT NULL,
    generation_id TEXT NOT NULL, auth_method TEXT NOT NULL,
    UNIQUE (device, module, generation_id, auth_method)
);
-- position = partition * 2^48 + sequence number of the chunk's first message
CREATE TABLE chunk (
    position INTEGER PRIMARY KEY, count INTEGER NOT NULL, enqueued INTEGER NOT NULL,
    source INTEGER NOT NULL, epoch INTEGER NOT NULL, format INTEGER NOT NULL, raw BLOB NOT NULL
);
"""


class Participant(Protocol):
    """A part of the hub that takes part in the group commit."""

    def write(self, db: sqlite3.Connection) -> None:
        """Write what is pending, inside the transaction that the store has opened."""
        ...

    def durable(self) -> None:
        """The transaction is committed: acknowledge."""
        ...

    def failed(self, error: StoreUnavailable) -> None:
        """The transaction was rolled back: nothing pending is stored, acknowledge nothing."""
        ...


class Store:
    """The SQLite file, its schema, and the group commit."""

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
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            elif version != SCHEMA_VERSION:
                db.close()
                raise EnvironmentProblem(
                    f"{self.path} was written by another version of the hub (schema {version}, this one "
                    f"reads {SCHEMA_VERSION}). Use that version, or start afresh with 'iotedge-lab reset'."
                )
        except sqlite3.DatabaseError as error:
            raise EnvironmentProblem(
                f"{self.path} cannot be read as the hub's store ({error}). If it is damaged, move it away "
                "(its messages go with it) and start the hub again; if the disk is full, free some space."
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
            with self.transaction() as db:
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
                f"the hub cannot write to {self.path}: {error}. Nothing of this was stored; free some space "
                "on that disk and send again."
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
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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
