"""What a fleet says of itself: while it drives (`FleetStatus`), and at its end (`FleetSummary`)."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.fleet.latency import Latencies

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 3.0  # s over which a live rate and live latencies are taken


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """A fleet at one moment. Rate and latencies are those of the last three seconds.

    rate: acknowledged messages a second; p50_ms, p99_ms: from the first write of a message to its
    acknowledgement, reconnects in between included, None while there is none.
    """

    connected: int
    sent: int
    acknowledged: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    in_flight: int
    """sent and not yet acknowledged"""
    reconnects: int
    """connections made again after one was lost; those to renew a token do not count"""
    cars: int = 0
    refused: int = 0
    """cars that the hub does not let in; each tries again now and then"""
    held: int = 0
    """rows that were due and had to wait: no connection, or too much in flight. None is skipped"""
    seconds: float = 0.0
    """since the cars have set off, which they do together; 0 while they connect"""
    trouble: str = ""
    """why a car that has no connection has none, '' where all have"""


@dataclass(frozen=True, slots=True)
class CarSummary:
    """One car at the end: what it sent, of which drive from which row on, and why it was refused, if it was."""

    device: str
    drive: str
    offset: int
    """the index of the drive's row that it began with"""
    sent: int
    acknowledged: int
    refusal: str = ""
    trouble: str = ""
    """why it had no connection when the fleet ended, '' where it had one"""


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """A fleet's whole run. `rate`: acknowledged messages a second while it drove; latencies as in FleetStatus."""

    cars: tuple[CarSummary, ...] = field(repr=False)
    seconds: float
    sent: int
    acknowledged: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    longest_ms: float | None
    reconnects: int
    renewals: int
    """connections made again for a new token"""
    held: int

    @property
    def refused(self) -> tuple[CarSummary, ...]:
        """The cars that the hub did not let in at the end."""
        return tuple(car for car in self.cars if car.refusal)

    @property
    def cut_off(self) -> tuple[CarSummary, ...]:
        """The cars that had no connection at the end, and were not refused one."""
        return tuple(car for car in self.cars if car.trouble and not car.refusal)

    @property
    def unacknowledged(self) -> int:
        """Messages of which nobody knows whether the hub has them; sent, with no connection left to ask."""
        return self.sent - self.acknowledged


@dataclass(frozen=True, slots=True)
class Counts:
    """What one process's share of the fleet has counted so far. `at`: its own monotonic clock, seconds."""

    at: float = 0.0
    seconds: float = 0.0
    connected: int = 0
    refused: int = 0
    sent: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    reconnects: int = 0
    renewals: int = 0
    held: int = 0
    trouble: str = ""
    latencies: Latencies = field(default_factory=Latencies)

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return told | {"latencies": self.latencies.to_json()}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**(told | {"latencies": Latencies.from_json(told["latencies"])}))


def car_to_json(car: CarSummary) -> dict[str, Any]:
    """A car's summary for another process; `CarSummary(**...)` reads it."""
    return asdict(car)


class Meter:
    """The counts of one process over the last seconds. One thread adds, any may look."""

    def __init__(self) -> None:
        self._recent: deque[Counts] = deque()
        self.newest = Counts()

    def add(self, counts: Counts) -> None:
        """The newest counts."""
        recent = self._recent
        recent.append(counts)
        while len(recent) > 2 and recent[1].at <= counts.at - WINDOW:
            recent.popleft()
        self.newest = counts

    def window(self) -> tuple[Counts, Counts]:
        """The counts at the beginning of the window, and the newest."""
        while True:
            try:
                return self._recent[0], self._recent[-1]
            except IndexError:
                if not self._recent:
                    return self.newest, self.newest


def status_of(cars: int, meters: Iterable[Meter]) -> FleetStatus:
    """The whole fleet's status from its processes' meters."""
    windows = [meter.window() for meter in meters]
    now = [newest for _, newest in windows]
    recent = Latencies.merged(newest.latencies.since(oldest.latencies) for oldest, newest in windows)
    rate = sum(
        (newest.acknowledged - oldest.acknowledged) / (newest.seconds - oldest.seconds)
        for oldest, newest in windows
        if newest.seconds > oldest.seconds
    )
    return FleetStatus(
        connected=sum(each.connected for each in now),
        sent=sum(each.sent for each in now),
        acknowledged=sum(each.acknowledged for each in now),
        rate=rate,
        p50_ms=_ms(recent.percentile(0.50)),
        p99_ms=_ms(recent.percentile(0.99)),
        in_flight=sum(each.in_flight for each in now),
        reconnects=sum(each.reconnects for each in now),
        cars=cars,
        refused=sum(each.refused for each in now),
        held=sum(each.held for each in now),
        seconds=max((each.seconds for each in now), default=0.0),
        trouble=next((each.trouble for each in now if each.trouble), ""),
    )


def summary_of(cars: Iterable[CarSummary], ends: Iterable[Counts]) -> FleetSummary:
    """The whole fleet's summary from what its processes counted in all."""
    counts = list(ends)
    whole = Latencies.merged(each.latencies for each in counts)
    seconds = max((each.seconds for each in counts), default=0.0)
    return FleetSummary(
        cars=tuple(sorted(cars, key=lambda car: car.device)),
        seconds=seconds,
        sent=sum(each.sent for each in counts),
        acknowledged=sum(each.acknowledged for each in counts),
        rate=sum(each.acknowledged / each.seconds for each in counts if each.seconds),
        p50_ms=_ms(whole.percentile(0.50)),
        p99_ms=_ms(whole.percentile(0.99)),
        longest_ms=_ms(whole.longest if len(whole) else None),
        reconnects=sum(each.reconnects for each in counts),
        renewals=sum(each.renewals for each in counts),
        held=sum(each.held for each in counts),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
