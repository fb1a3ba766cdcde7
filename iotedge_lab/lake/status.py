"""What a capture says of itself: a file of JSON that a terminal, a widget or a test reads, twice a second anew."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CONNECTING: Final = "connecting"  # no partition has been opened yet
CAPTURING: Final = "capturing"
RETRYING: Final = "retrying"  # the endpoint does not answer, or refuses: `word` says why; it is tried again
STOPPED: Final = "stopped"
FAILED: Final = "failed"  # it has ended, and `word` says why

_WINDOW: Final = 60.0  # s that lag and rate look back
_BUCKET: Final = 0.01  # s


@dataclass(frozen=True, slots=True)
class Lag:
    """From a message's arrival at the hub until it could be read in its table, in s, over the last minute."""

    p50: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Place:
    """How far a partition is: the number of its last message in the tables, and of the last that the hub has."""

    log: str
    stored: int
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One capture at one moment. Times are in s since 1970."""

    state: str
    word: str
    pid: int
    started: float
    updated: float
    lake: str
    group: str
    log: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    """in each table, those of earlier captures included"""
    versions: Mapping[str, int] = field(default_factory=dict)
    messages: int = 0
    """written since this process started"""
    rate: float = 0.0
    """messages a second, over the last minute or since the start"""
    lag: Lag | None = None
    missed: int = 0
    """messages that were gone from the hub (by age, or a reset) before this process could read them"""
    partitions: Mapping[str, Place] = field(default_factory=dict)
    memory: float = 0.0
    """resident, MB"""

    @property
    def is_running(self) -> bool:
        """Whether it said of itself that it runs; it may have been killed since."""
        return self.state in (CONNECTING, CAPTURING, RETRYING)

    @property
    def behind(self) -> int | None:
        """How many messages of the hub were not in the tables when it looked last; None before it has."""
        ends = [place for place in self.partitions.values() if place.end is not None]
        return sum(max(0, (place.end or 0) - place.stored) for place in ends) if ends else None

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {**asdict(self), "behind": self.behind}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Status:
        """From `to_json`'s. Raises TypeError or KeyError for what is none."""
        lag = found.get("lag")
        partitions = {name: Place(**each) for name, each in found["partitions"].items()}
        known = {name: value for name, value in found.items() if name != "behind"}
        return cls(**{**known, "lag": Lag(**lag) if lag else None, "partitions": partitions})

    def write(self, file: Path) -> None:
        """Written beside and moved over, so that no reader sees half of it. Raises OSError."""
        beside = file.with_suffix(f".{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(self.to_json(), stream)
            beside.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    @classmethod
    def read(cls, file: Path) -> Status | None:
        """What a file holds, or None where there is none that can be read."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls.from_json(json.loads(file.read_text(encoding="utf-8")))
        return None


class Meter:
    """Lag and rate over the last minute."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._entries: deque[tuple[float, int, Counter[int]]] = deque()

    def add(self, now: float, late: Iterable[tuple[float, int]]) -> None:
        """A batch that was written: of each lag (s) how many messages had it."""
        counts: Counter[int] = Counter()
        for seconds, count in late:
            counts[max(0, int(seconds / _BUCKET))] += count
        self._entries.append((now, sum(counts.values()), counts))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0][0] < now - _WINDOW:
            self._entries.popleft()

    def lag(self, now: float) -> Lag | None:
        """None where nothing was written in the last minute."""
        self._forget(now)
        counts: Counter[int] = Counter()
        for _, _, each in self._entries:
            counts.update(each)
        if not counts:
            return None
        return Lag(_share(counts, 0.5), _share(counts, 0.99), _share(counts, 1.0))

    def rate(self, now: float) -> float:
        """Messages a second."""
        self._forget(now)
        seconds = max(1.0, min(_WINDOW, now - self._began))
        return sum(count for _, count, _ in self._entries) / seconds


def _share(counts: Counter[int], share: float) -> float:
    """The upper end of the bucket at which `share` of all have been counted."""
    wanted, seen = share * counts.total(), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return round((bucket + 1) * _BUCKET, 2)
    raise AssertionError("the shares of a count add up to all of it")
