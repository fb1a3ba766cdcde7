"""What a module writes to stdout and stderr, kept in files of bounded size.

One line of the file is `2026-11-20T10:30:00.123456Z stdout the text`: the time at which it was read, as a container
engine would note it, and which stream it was. A file that is full becomes `.1`, that one `.2`, and the last goes.

Writing never raises and never waits for a reader: a full disk costs log lines, not the module. A line beyond
`LONGEST` is kept in pieces, each a line of its own, as container engines do.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)

STREAMS: Final = ("stdout", "stderr")
LONGEST: Final = 16 * 1024  # bytes that are waited for until a line's end
_TIME: Final = len("2026-11-20T10:30:00.123456Z")
_KNOWN: Final = {b"stdout": "stdout", b"stderr": "stderr"}


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much of a module's output is kept: `files` files of about `max_bytes` bytes each."""

    max_bytes: int = 5_000_000
    files: int = 4


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line as it was written: `time` in ISO 8601 (UTC; such texts sort like the times), `stream`, `text`."""

    time: str
    stream: str
    text: str


class ModuleLog:
    """The log of one module. To be written and snapshot in one thread; snapshots may be read in any."""

    def __init__(self, file: Path, clock: Clock, limits: LogLimits | None = None) -> None:
        self.file = file
        self._clock = clock
        self._limits = limits or LogLimits()
        self._descriptor: int | None = None
        self._size = 0
        self._torn = False
        self._parts: dict[str, bytes] = {}
        self._last: dict[str, bytes] = {}
        self.lost = 0
        """Bytes of log that could not be written, a full disk being the usual reason."""

    def write(self, stream: str, data: bytes) -> None:
        """Keep what was read from a stream, in whole lines; the rest is kept until its line ends."""
        text = self._parts.pop(stream, b"") + data
        whole, newline, rest = text.rpartition(b"\n")
        if len(rest) > LONGEST:
            whole, newline, rest = text, b"\n", b""
        if rest:
            self._parts[stream] = rest
        if newline:
            self._keep(stream, whole)

    def end(self, stream: str) -> None:
        """A stream has ended: what it left without a line's end is a line too."""
        rest = self._parts.pop(stream, b"")
        if rest:
            self._keep(stream, rest)

    def last(self, stream: str) -> str:
        """The last line of a stream that is not blank; '' where there is none since the log was opened."""
        return self._last.get(stream, b"").decode(errors="replace").strip()

    def forget_last(self) -> None:
        """Let `last` begin anew: another process writes from now on."""
        self._last.clear()

    def close(self) -> None:
        """Close the file; writing opens it again."""
        for stream in STREAMS:
            self.end(stream)
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Close, and delete all files of this log."""
        self.close()
        for file in self._files():
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def snapshot(self) -> LogSnapshot:
        """What is there at this moment, to be read later or elsewhere."""
        opened: list[tuple[BinaryIO, int]] = []
        for file in reversed(self._files()):
            with suppress(OSError):
                stream = file.open("rb")
                opened.append((stream, os.fstat(stream.fileno()).st_size))
        return LogSnapshot(opened)

    # -- the files -------------------------------------------------------------------------------------

    def _files(self) -> list[Path]:
        """The files, the newest first."""
        older = [self.file.with_name(f"{self.file.name}.{n}") for n in range(1, self._limits.files)]
        return [self.file, *older]

    def _keep(self, stream: str, lines: bytes) -> None:
        shown = lines.rstrip()
        if shown:
            self._last[stream] = shown[shown.rfind(b"\n") + 1 :][-LONGEST:]
        time = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="microseconds")
        head = f"{time.removesuffix('+00:00')}Z {stream} ".encode()
        self._append(head + lines.replace(b"\n", b"\n" + head) + b"\n")

    def _append(self, data: bytes) -> None:
        left = memoryview(b"\n" + data if self._torn else data)
        try:
            descriptor = self._open()
            while left:
                count = os.write(descriptor, left)
                self._size += count
                self._torn = left[count - 1] != 0x0A
                left = left[count:]
        except OSError as error:
            if not self.lost:
                log.warning(
                    "%s cannot be written (%s); log lines are lost until it can", self.file, error.strerror
                )
            self.lost += len(left)
            return
        if self._size >= self._limits.max_bytes:
            self._rotate()

    def _open(self) -> int:
        if self._descriptor is None:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._descriptor = os.open(self.file, flags, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _rotate(self) -> None:
        files = self._files()
        try:
            for older, newer in zip(reversed(files), reversed(files[:-1]), strict=False):
                with suppress(FileNotFoundError):
                    newer.replace(older)
            if len(files) == 1:
                files[0].unlink(missing_ok=True)
        except OSError:
            # The bound goes before the lines: better none of them than a disk that fills.
            assert self._descriptor is not None
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class LogSnapshot:
    """A log as it was at one moment. Read it once with `lines`, which closes it."""

    def __init__(self, opened: list[tuple[BinaryIO, int]]) -> None:
        self._opened = opened

    def lines(self) -> Iterator[LogLine]:
        """The lines, the oldest first. Blocks for as long as the disk takes."""
        try:
            for stream, size in self._opened:
                left = size
                for raw in stream:
                    left -= len(raw)
                    if left < 0:
                        break  # written since
                    line = _parsed(raw)
                    if line is not None:
                        yield line
        finally:
            self.close()

    def close(self) -> None:
        """Close the files."""
        for stream, _ in self._opened:
            stream.close()


def _parsed(raw: bytes) -> LogLine | None:
    """A line of the file; None for the piece of one that a full disk has left."""
    stream, space, text = raw[_TIME + 1 :].partition(b" ")
    known = _KNOWN.get(stream)
    if known is None or not space or raw[_TIME - 1 : _TIME + 1] != b"Z ":
        return None
    return LogLine(
        raw[:_TIME].decode("ascii", "replace"), known, text.rstrip(b"\r\n").decode(errors="replace")
    )
