"""Small writes that share a group commit: each is told whether it is durable, or why it was refused.

A write that must come before its acknowledgement, and of which many may arrive in one turn of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.errors import ServiceError, StoreUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from iotedge_lab.broker.store import GroupStore


@dataclass(slots=True)
class _Write:
    work: Callable[[sqlite3.Connection], None]
    done: Callable[[ServiceError | None], None]
    refusal: ServiceError | None = None


class GroupCommit:
    """Writes of one part (`store.Participant`)."""

    def __init__(self, store: GroupStore) -> None:
        self._store = store
        self._waiting: list[_Write] = []
        self._writing: list[_Write] = []
        self._enlisted = False

    def do(
        self, work: Callable[[sqlite3.Connection], None], done: Callable[[ServiceError | None], None]
    ) -> None:
        """Have `work(db)` run in this turn's transaction, then `done(None)` when that is committed.

        `work` may refuse by a `ServiceError`, before it has written anything; `done` gets it then, or the
        `StoreUnavailable` with which the whole transaction failed.
        """
        self._waiting.append(_Write(work, done))
        if not self._enlisted:
            self._enlisted = True
            self._store.enlist(self)

    def write(self, db: sqlite3.Connection) -> None:
        """`store.Participant`."""
        self._enlisted = False
        self._writing, self._waiting = self._waiting, []
        for one in self._writing:
            try:
                one.work(db)
            except StoreUnavailable:
                raise
            except ServiceError as error:
                one.refusal = error

    def durable(self) -> None:
        """`store.Participant`."""
        written, self._writing = self._writing, []
        for one in written:
            one.done(one.refusal)

    def failed(self, error: StoreUnavailable) -> None:
        """`store.Participant`. The store may have failed before it came to this part."""
        self._enlisted = False
        lost, self._writing, self._waiting = [*self._writing, *self._waiting], [], []
        for one in lost:
            one.done(error)
