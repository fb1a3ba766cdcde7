"""The videos that are being told: which one is read, and which ones are done with.

A video is done when it was read to its end and each message about it is acknowledged; only then is it entered in the
ledger. Used by the thread that reads and by the one that sends.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from iotedge_lab.camera.video import State


@dataclass(slots=True)
class Video:
    """One that is read, or was, and waits for its messages to be acknowledged."""

    name: str
    state: State
    width: int
    height: int
    round: int
    """how often it was looked through before"""
    began: float = field(default_factory=time.perf_counter)
    frames: int = 0
    looked: int = 0
    skipped: int = 0
    events: int = 0
    detector: float = 0.0
    """s that the detector took"""
    took: list[float] = field(default_factory=list)
    """s that each frame took that was looked at, from the file to its messages in the outbox"""
    waiting: int = 0
    read: bool = False


class Videos:
    """Who is done with."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._done: dict[str, State] = {}
        self._rounds: dict[str, int] = {}
        self._news = False

    def rounds(self, name: str) -> int:
        """How often that one was asked for again."""
        return self._rounds.get(name, 0)

    def again(self, name: str) -> None:
        """It is looked through once more."""
        with self._guard:
            self._rounds[name] = self._rounds.get(name, 0) + 1
            self._done.pop(name, None)

    def put(self, video: Video) -> None:
        """A message about it is on its way."""
        with self._guard:
            video.waiting += 1

    def acknowledged(self, video: Video) -> None:
        """A message about it has arrived."""
        with self._guard:
            video.waiting -= 1
            self._enter(video)

    def read(self, video: Video) -> None:
        """It was read to its end, or as far as it can be."""
        with self._guard:
            video.read = True
            self._enter(video)

    def known(self, name: str, state: State) -> None:
        """There is nothing to tell of it: a file that cannot be read, or one of the ledger's."""
        with self._guard:
            self._done[name] = state
            self._news = True

    def _enter(self, video: Video) -> None:
        if video.read and video.waiting == 0:
            self._done[video.name] = video.state
            self._news = True

    def fresh(self, there: dict[str, State]) -> dict[str, State] | None:
        """Those done with that are still there, if anything of it is new since the last call; else None."""
        with self._guard:
            if not self._news:
                return None
            self._news = False
            self._done = {name: state for name, state in self._done.items() if name in there}
            return dict(self._done)


def percentiles(seconds: Collection[float]) -> dict[str, float]:
    """Milliseconds: the middle one, the one that one in a hundred exceeds, the longest; empty for none."""
    if not seconds:
        return {}
    middle, last, longest = (float(each) * 1000.0 for each in np.percentile(list(seconds), (50, 99, 100)))
    return {"p50": round(middle, 1), "p99": round(last, 1), "max": round(longest, 1)}
