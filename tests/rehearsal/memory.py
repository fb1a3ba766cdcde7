"""What all processes of one user hold, second by second, and which of them: as a small machine would have to.

Proportional set sizes: what processes share is divided between them, so that the sum is what they hold together.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROC: Final = Path("/proc")
_PSS: Final = re.compile(rb"^Pss: +(\d+) kB", re.MULTILINE)
_KERNEL: Final = re.compile(r"kernel-([0-9a-f-]+)\.json")
_PART: Final = re.compile(r"-m (?:iotedge_lab\.)?(\S+)")


def processes(uid: int, proc: Path = _PROC) -> dict[int, tuple[str, str, int]]:
    """Of each process of the user's: its command line, its folder, and the bytes of its proportional set size."""
    found = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if folder.stat().st_uid != uid:
                continue
            size = _PSS.search((folder / "smaps_rollup").read_bytes())
            where = (folder / "cwd").readlink().name
            words = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
        except OSError:  # it has ended meanwhile
            continue
        if size is not None:
            found[int(folder.name)] = words, where, int(size[1]) * 1024
    return found


def part(words: str, where: str, kernels: Mapping[str, str]) -> str:
    """What a process is in the lab, by its command line and folder; `kernels`: a kernel's id to its notebook."""
    if (kernel := _KERNEL.search(words)) is not None:
        return f"kernel {kernels.get(kernel[1], 'ended')}"
    if "jupyter-lab" in words or "-m jupyterlab" in words:
        return "Jupyter server"
    if words.endswith(" main.py"):  # an edge module runs from its own folder
        return where
    if (module := _PART.search(words)) is not None:
        return module[1]
    return words[:60]


@dataclass(frozen=True, slots=True)
class Sample:
    """All processes at one moment: bytes by part, and how many processes each part has."""

    at: float
    doing: str
    sizes: Mapping[str, int]
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes of all of them together."""
        return sum(self.sizes.values())

    def __str__(self) -> str:
        largest = sorted(self.sizes.items(), key=lambda each: -each[1])
        parts = ", ".join(
            f"{name}{f' x{self.counts[name]}' if self.counts[name] > 1 else ''} {size / 1e6:.0f}"
            for name, size in largest
        )
        return f"{self.total / 1e6:.0f} MB during {self.doing}: {parts}"


def sample(uid: int, doing: str, kernels: Mapping[str, str], at: float) -> Sample:
    """What holds what now."""
    sizes: dict[str, int] = {}
    counts: dict[str, int] = {}
    for words, where, size in processes(uid).values():
        name = part(words, where, kernels)
        sizes[name] = sizes.get(name, 0) + size
        counts[name] = counts.get(name, 0) + 1
    return Sample(at, doing, sizes, counts)


@dataclass(slots=True)
class Watch:
    """Takes a sample each second in a thread of its own until left; `doing` and `kernels` may be set meanwhile."""

    uid: int
    doing: str = "start"
    kernels: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    _left: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        begun = time.monotonic()
        while not self._left.wait(1.0):
            self.samples.append(sample(self.uid, self.doing, self.kernels, time.monotonic() - begun))

    def table(self) -> str:
        """All samples as lines of comma-separated values: when, during what, what, how many, bytes."""
        lines = [
            f"{each.at:.1f},{each.doing},{name},{each.counts[name]},{size}"
            for each in self.samples
            for name, size in sorted(each.sizes.items())
        ]
        return "\n".join(["seconds,during,part,processes,bytes", *lines, ""])

    def highest(self, doing: str | None = None) -> Sample:
        """The sample with the largest sum, of all or of those of one step. Raises ValueError if there is none."""
        return max(
            (each for each in self.samples if doing in (None, each.doing)), key=lambda each: each.total
        )
