"""The bytes of blocks: each in a file of its own, written once, never changed, deleted when no blob has it.

A file is complete and on the disk before its name is told; what nobody names is left over from a crash, and `sweep`
removes it. Files are written and read on threads, in pieces, so that a large block is never in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.blobs.errors import BlobError, disk_trouble

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from iotedge_lab.clock import Clock

PIECE: Final = 1024 * 1024  # is written, and read, at a time
_THREADS: Final = 4
_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows


@dataclass(frozen=True, slots=True)
class Stored:
    """A file on the disk. `md5` is of all of it."""

    file: str
    size: int
    md5: bytes


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a file."""

    file: str
    offset: int
    size: int


class Contents:
    """The folder of files."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="contents")
        self._pinned: Counter[str] = Counter()  # being read
        self._unwanted: set[str] = set()  # to be deleted when it has been read
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- writing ---------------------------------------------------------------------------------------

    async def receive(self, pieces: AsyncIterator[bytes], limit: int) -> Stored:
        """Write what comes to a new file, and flush it to the disk.

        Raises `BlobError`: 413 RequestBodyTooLarge over `limit` bytes, 503 ServerBusy on a full disk. Whatever ends it
        (the client leaves), no file stays.
        """
        file = self._clock.new_id()
        run = asyncio.get_running_loop().run_in_executor
        writer = _Writer(self.path(file))
        kept = False
        try:
            await run(self._threads, writer.open)
            waiting: list[bytes] = []
            size = pending = 0
            async for piece in pieces:
                size += len(piece)
                if size > limit:
                    raise BlobError(
                        413,
                        "RequestBodyTooLarge",
                        f"The request body is too large and exceeds the maximum permissible limit ({limit} bytes).",
                        {"MaxLimit": str(limit)},
                    )
                waiting.append(piece)
                pending += len(piece)
                if pending >= PIECE:
                    await run(self._threads, writer.write, waiting)
                    waiting, pending = [], 0
            await run(self._threads, writer.finish, waiting)
            kept = True
            return Stored(file, size, writer.md5.digest())
        except OSError as error:
            raise disk_trouble(error) from error
        finally:
            if not kept:
                # Not awaited: the client may have gone, and then nobody waits here.
                self._threads.submit(writer.discard)

    # -- reading ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def pinned(self, stretches: Iterable[Stretch]) -> Iterator[None]:
        """Inside the block these files stay, whoever deletes the blob meanwhile."""
        files = {each.file for each in stretches}
        self._pinned.update(files)
        try:
            yield
        finally:
            self._pinned.subtract(files)
            self._pinned += Counter()  # without those at 0
            free = [file for file in files & self._unwanted if file not in self._pinned]
            self._unwanted.difference_update(free)
            self._delete(free)

    async def read(self, stretches: Iterable[Stretch]) -> AsyncGenerator[bytes]:
        """The bytes of these parts, one after another, at most `PIECE` at a time."""
        run = asyncio.get_running_loop().run_in_executor
        for stretch in stretches:
            at, left = stretch.offset, stretch.size
            descriptor = os.open(self.path(stretch.file), os.O_RDONLY | _BINARY)
            try:
                while left:
                    piece = await run(self._threads, _read_at, descriptor, min(PIECE, left), at)
                    if not piece:
                        raise OSError(f"{self.path(stretch.file)} is shorter than it was written")
                    yield piece
                    at += len(piece)
                    left -= len(piece)
            finally:
                os.close(descriptor)

    # -- deleting --------------------------------------------------------------------------------------

    def delete(self, files: Iterable[str]) -> None:
        """These are wanted no more; one that is being read goes afterwards."""
        now = []
        for file in files:
            if file in self._pinned:
                self._unwanted.add(file)
            else:
                now.append(file)
        self._delete(now)

    def sweep(self, wanted: Iterable[str]) -> int:
        """Delete what is not `wanted`, left over from a crash; how many files. For start-up: it blocks."""
        known = set(wanted)
        gone = 0
        for path in self.folder.glob("*/*"):
            if path.name not in known:
                with contextlib.suppress(OSError):
                    path.unlink()
                    gone += 1
        return gone

    def _delete(self, files: Iterable[str]) -> None:
        paths = [self.path(file) for file in files]
        if paths:
            self._threads.submit(_unlink, paths)

    def path(self, file: str) -> Path:
        """Where a file lies: 256 folders, so that none is large."""
        return self.folder / file[-2:] / file

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown()


class _Writer:
    """One file while it is written. Its calls come one after another, on threads; `discard` may overtake one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._ended = False
        self._lock = (
            threading.Lock()
        )  # a descriptor that is closed under a write would be another file's soon
        self.md5 = hashlib.md5(usedforsecurity=False)

    def open(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)

    def write(self, pieces: list[bytes]) -> None:
        with self._lock:
            if not self._ended:
                self._write(pieces)

    def finish(self, pieces: list[bytes]) -> None:
        with self._lock:
            if self._ended:
                return
            self._write(pieces)
            os.fsync(self._descriptor)
            self._close()
            if os.name == "posix":  # so that the name, too, outlives a power cut
                folder = os.open(self._path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)

    def discard(self) -> None:
        with self._lock:
            self._ended = True
            self._close()
            _unlink([self._path])

    def _write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.md5.update(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows; each reader has a descriptor of its own
    return os.read(descriptor, size)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # what cannot be deleted now is swept at the next start
            path.unlink()
