"""What an edge hub counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from iotedge_lab.broker.connection import Counters


@dataclass(slots=True)
class Timing:
    """How many there were, and how long they took together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class EdgeCounters(Counters):
    """What happened since the runtime started. `sent` is by where to, `stored` of what clients sent."""

    sent: dict[str, Timing] = field(default_factory=dict)
    stored: Timing = field(default_factory=Timing)
    twin_reads: int = 0
    reports: int = 0
    method_calls: int = 0
