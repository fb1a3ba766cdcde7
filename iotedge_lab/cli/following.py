"""What modules write, line by line as they write it: for `edge logs --follow` and what runs in the foreground.

The logs are files of the state folder (`edge.agent.logs`), which rotate: a file that was moved away is read to its
end before the new one is opened.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_STREAMS = (b"stdout", b"stderr")
_IDLE = 0.2  # s between two looks at files that have nothing new
_STATUS = 1.0  # s between two looks at how the modules are


class LogFollower:
    """One module's log from a place on; `lines` gives what has come since the last call."""

    def __init__(self, file: Path, start: int = 0) -> None:
        self._file = file
        self._start = start
        self._stream: BinaryIO | None = None
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """The texts of the lines that are complete."""
        while True:
            if self._stream is None and not self._open():
                return
            assert self._stream is not None
            yield from self._complete(self._stream.read())
            if not self._moved_on():
                return
            yield from self._complete(self._stream.read())  # what came between the look and the move
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._start = 0
        self._rest = b""

    def _open(self) -> bool:
        try:
            self._stream = self._file.open("rb")
        except OSError:
            return False
        self._stream.seek(self._start)
        return True

    def _complete(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [text for line in whole if (text := _text(line)) is not None]

    def _moved_on(self) -> bool:
        """Whether the log is another file now, or was cut."""
        assert self._stream is not None
        ours = os.fstat(self._stream.fileno())
        try:
            now = self._file.stat()
        except OSError:
            return False  # moved away, and the new one is not there yet
        if now.st_ino == ours.st_ino and now.st_size < self._stream.tell():
            return True
        return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)


def _text(line: bytes) -> str | None:
    """The text of `<time> <stream> <text>`; None for a piece that is no line."""
    parts = line.split(b" ", 2)
    if len(parts) < 3 or parts[1] not in _STREAMS:
        return None
    return parts[2].rstrip(b"\r").decode(errors="replace")


def log_sizes(folder: Path) -> dict[str, int]:
    """How far each module's log has come: where to begin so that an earlier run is not told again."""
    found = {}
    with contextlib.suppress(OSError):
        for file in folder.glob("*.log"):
            found[file.stem] = file.stat().st_size
    return found


def follow_device(
    status: Callable[[], dict[str, Any]], logs: Path, before: dict[str, int], show: Callable[[str], None]
) -> None:
    """Show what the modules of an edge device write and how they change, until it is gone (or Ctrl-C).

    `status()` is as `EdgeDevice.status` has it, and raises LabError once the device has ended.
    """
    followers: dict[str, LogFollower] = {}
    told: dict[str, str] = {}
    looked = 0.0
    try:
        while True:
            if time.monotonic() - looked >= _STATUS:
                looked = time.monotonic()
                try:
                    now = status()
                except LabError:
                    return
                for module in now["modules"]:
                    name = str(module["name"])
                    followers.setdefault(name, LogFollower(logs / f"{name}.log", before.get(name, 0)))
                _tell(_facts(now), told, show)
            width = max((len(name) for name in followers), default=0)
            quiet = True
            for name, follower in followers.items():
                for line in follower.lines():
                    quiet = False
                    show(f"{name.ljust(width)} | {line}")
            if quiet:
                time.sleep(_IDLE)
    finally:
        for follower in followers.values():
            follower.close()


def _facts(now: dict[str, Any]) -> dict[str, str]:
    """What is worth a line when it changes."""
    link = "connected to the hub" if now["connected"] else now["trouble"] or "not connected to the hub"
    facts = {"hub": link}
    code = now["desiredStatus"]["code"]
    if code not in (200, 406, None):  # 406: none has come yet
        facts["deployment"] = f"{code} {now['desiredStatus'].get('description') or ''}".strip()
    for module in now["modules"]:
        state = str(module["runtimeStatus"])
        if state not in ("running", "unknown"):
            state = (
                f"{state}, exit code {module['exitCode']}: {module.get('statusDescription') or ''}".rstrip(
                    ": "
                )
            )
        facts[str(module["name"])] = state
    return facts


def _tell(facts: dict[str, str], told: dict[str, str], show: Callable[[str], None]) -> None:
    for name, fact in facts.items():
        if told.get(name) != fact:
            told[name] = fact
            show(f"-- {name}: {fact}")
