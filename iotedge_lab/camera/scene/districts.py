"""What the road leads through: districts along the driven line, the crossings in them, and where nobody is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from iotedge_lab.car.chance import Chance

if TYPE_CHECKING:
    from iotedge_lab.camera.scene.path import Path

DistrictKind = Literal["city", "suburb", "country"]

STOP_AHEAD: Final = 2.6  # m from the camera to the stop line where the car is the first to wait
QUEUE: Final = 9.5  # m more for each car that waits in front
FAST: Final = 19.0  # m/s: above that there are no pavements


@dataclass(frozen=True, slots=True)
class District:
    """A stretch from `begin` to `end`, in metres along the path."""

    begin: float
    end: float
    kind: DistrictKind
    empty: bool
    """nobody parks, walks or drives here"""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A junction before which the car has halted; metres along the path, seconds from the drive's start."""

    line: float
    """where the stop line is"""
    begin: float
    end: float
    light: bool
    """a traffic light, else a stop sign"""
    queued: bool
    """a car waits before ours"""

    @property
    def walk(self) -> float:
        """The middle of the zebra crossing."""
        return self.line + 2.6

    @property
    def middle(self) -> float:
        """The middle of the junction."""
        return self.line + 11.0

    def covers(self, metre: float, before: float = 4.0, after: float = 6.0) -> bool:
        """Whether that place is in the junction or so near."""
        return self.line - before < metre < self.line + 20.5 + after


@dataclass(frozen=True, slots=True)
class Layout:
    """All districts, end to end, and all crossings, in order."""

    districts: tuple[District, ...]
    crossings: tuple[Crossing, ...]

    def at(self, metre: float) -> District:
        """The district there."""
        low, high = 0, len(self.districts) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.districts[middle].begin <= metre:
                low = middle
            else:
                high = middle - 1
        return self.districts[low]

    def junction(self, metre: float, before: float = 4.0, after: float = 6.0) -> bool:
        """Whether a crossing is there or so near."""
        return any(each.covers(metre, before, after) for each in self.crossings)


def make_layout(path: Path, seed: int, empty_share: float) -> Layout:
    """Districts by chance and by how fast the car went; every so many of them empty."""
    chance = Chance(seed, 60)
    districts: list[District] = []
    end = float(len(path.x))
    begin = -60.0
    before: DistrictKind = "suburb"
    debt = 0.5
    while begin < end:
        length = chance.uniform(160.0, 320.0)
        fast = max(path.speed_at(path.time_at(begin + share * length)) for share in (0.2, 0.5, 0.8))
        choices: list[tuple[DistrictKind, float]] = [("city", 1.0), ("suburb", 1.0), ("country", 0.7)]
        kind: DistrictKind = (
            "country" if fast > FAST else chance.pick([each for each in choices if each[0] != before])
        )
        # Emptiness comes evenly, not by luck: what is owed grows with each district.
        debt += empty_share
        empty = debt >= 1.0
        if empty:
            debt -= 1.0
        districts.append(District(begin, begin + length, kind, empty))
        begin += length
        before = kind
    return Layout(tuple(districts), _crossings(path, chance))


def _crossings(path: Path, chance: Chance) -> tuple[Crossing, ...]:
    found: list[Crossing] = []
    for halt in path.halts:
        queued = chance.chance(0.5)
        line = halt.metre + STOP_AHEAD + (QUEUE if queued else 0.0)
        light = halt.seconds > 7.0
        if not found or line > found[-1].line + 45.0:
            found.append(Crossing(line, halt.begin, halt.end, light, queued))
    return tuple(found)
