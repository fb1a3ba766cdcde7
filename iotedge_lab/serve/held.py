"""A folder that a background process holds while it lives: the lock, and who may look in.

The hub's state folder, the edge runtime's, the simulator's and the storage account's are of this kind. The kernel frees
the lock when the process has ended, however it ended, so a lock that is held means that somebody lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from iotedge_lab.errors import EnvironmentProblem, StateLocked

if TYPE_CHECKING:
    from pathlib import Path

_PROBED: Final = 1.0  # s: a reader's probe holds the lock for a moment


class HeldFolder:
    """A folder with a lock file. A kind of it says in `taken` what to do where another process has it."""

    def __init__(self, path: Path, lock_name: str) -> None:
        self.path = path
        self._lock_file = path / lock_name
        self._lock = FileLock(self._lock_file, timeout=0, mode=0o600)

    def taken(self) -> str:
        """What to tell somebody who wants it while another process has it."""
        return f"Another process runs on {self.path}. Stop it, or name another state folder."

    def prepare(self) -> None:
        """Make the folder, private to its owner; raises `EnvironmentProblem`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(
                f"The folder {self.path} cannot be made ({error.strerror}). Name another state folder with --state."
            ) from error

    def lock(self) -> None:
        """Take the lock for this process's life.

        Raises `StateLocked` if another process has it, `EnvironmentProblem` where the folder cannot be written.
        """
        try:
            self._lock.acquire(timeout=_PROBED)
        except Timeout as error:
            raise StateLocked(self.taken()) from error
        except OSError as error:
            raise EnvironmentProblem(
                f"{self._lock_file} cannot be written ({error.strerror}). Mend the folder's rights "
                "('iotedge-lab doctor' says how), or name another state folder."
            ) from error

    def unlock(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def locked(self) -> bool:
        """Whether a living process holds the lock."""
        if not self.path.is_dir():
            return False
        probe = FileLock(self._lock_file, timeout=0, mode=0o600)
        try:
            probe.acquire()
        except Timeout:
            return True
        except OSError:
            return False
        probe.release()
        return False
