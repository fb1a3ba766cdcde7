"""Who else is on the road, and when: parked and driving cars, vans, buses, trucks, people, cyclists.

Each is a function of time, so that any frame can be drawn by itself. Nobody drives into anybody where the picture
shows it; it is a stage, not a traffic simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.camera.scene.people import HAIRS, LEGS, PHASES, SKINS, STRIDE, TOPS, TURN
from iotedge_lab.camera.scene.vehicles import CAR_BODIES, PAINTS
from iotedge_lab.car.chance import Chance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iotedge_lab.camera.scene.districts import Crossing, District, Layout
    from iotedge_lab.camera.scene.path import Path

ONCOMING_SPEED: Final = 11.5  # m/s; all the same, so that nobody catches up
LANE: Final = 3.6  # m
WALK: Final = 1.35  # m/s


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody looks. kind: vehicle, walker or cyclist; the numbers choose clothes."""

    kind: str
    body: str = ""
    paint: str = ""
    plate: str = ""
    clothes: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Stance:
    """Where somebody is at a moment: metres along and to the left, heading against the road, phase of the step."""

    metre: float
    left: float
    turn: float = 0.0
    phase: int = -1
    braking: bool = False
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who moves evenly between two times (or stands, with no speed)."""

    look: Look
    begin: float
    end: float
    metre: float
    left: float
    ahead: float = 0.0
    """m/s along the road"""
    aside: float = 0.0
    """m/s to the left"""
    reach: float = 150.0
    """m within which it is seen"""

    def at(self, time: float) -> Stance | None:
        """Where it is; None before it comes and after it has gone."""
        if not self.begin <= time <= self.end:
            return None
        gone = time - self.begin
        metre, left = self.metre + self.ahead * gone, self.left + self.aside * gone
        if self.ahead == 0.0 and self.aside == 0.0:
            return Stance(metre, left, math.pi if left > LANE / 2 else 0.0, parked=True)
        turn = math.atan2(self.aside, self.ahead)
        length = {"walker": STRIDE, "cyclist": TURN}.get(self.look.kind)
        way = gone * math.hypot(self.ahead, self.aside)
        phase = -1 if length is None else int(way / length * PHASES) % PHASES
        return Stance(metre, left, turn, phase)


@dataclass(frozen=True, slots=True)
class Leader:
    """A vehicle ahead in the car's own lane, whose distance follows the car's speed."""

    look: Look
    times: NDArray[np.float64]
    metres: NDArray[np.float64]
    reach: float = 150.0

    @property
    def begin(self) -> float:
        """When it comes into sight."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """When it is out of sight."""
        return float(self.times[-1])

    def at(self, time: float) -> Stance | None:
        """Where it is; it brakes where it becomes slower, or stands."""
        if not self.begin <= time <= self.end:
            return None
        here, before, earlier = (
            float(np.interp(time - each, self.times, self.metres)) for each in (0.0, 0.4, 0.8)
        )
        speed, past = here - before, before - earlier
        return Stance(here, 0.0, braking=speed < past - 0.05 or speed < 0.1)


def make_traffic(path: Path, layout: Layout, seed: int) -> list[Actor | Leader]:
    """Everybody on this drive."""
    actors: list[Actor | Leader] = []
    for number, district in enumerate(layout.districts):
        if not district.empty:
            chance = Chance(seed, 3000 + number)
            _parked(actors, path, layout, district, chance)
            _walkers(actors, path, layout, district, chance)
            _riders(actors, path, layout, district, chance)
    quiet = _quiet(path, layout)
    _oncoming(actors, path, layout, quiet, Chance(seed, 61))
    _leaders(actors, path, layout, quiet, Chance(seed, 62))
    for number, crossing in enumerate(layout.crossings):
        if not layout.at(crossing.line).empty:
            _at_crossing(actors, crossing, Chance(seed, 5000 + number))
    return actors


def _plate(chance: Chance) -> str:
    letters = "ABCDEFGHJKLMNPRSTVWXYZ"
    text = "".join(letters[int(chance.uniform(0, len(letters)))] for _ in range(3))
    return f"{text} {int(chance.uniform(100, 1000))}"


def _car(chance: Chance, vans: float = 0.07, large: float = 0.0) -> Look:
    choices = [(each, weight) for each, weight in zip(CAR_BODIES, (3.0, 2.4, 2.6, 1.2), strict=True)]
    body = chance.pick(choices)
    roll = chance.uniform()
    if roll < large:
        body = chance.pick([("bus", 1.0), ("truck", 1.2)])
    elif roll < large + vans:
        body = "van"
    paints = [
        (each, weight) for each, weight in zip(PAINTS, (4, 3, 3, 2.5, 2, 2, 1.2, 0.8, 0.8, 0.6), strict=True)
    ]
    return Look("vehicle", body, chance.pick(paints), _plate(chance))


def _person(chance: Chance, kind: str = "walker") -> Look:
    sizes = (len(SKINS), len(HAIRS), len(TOPS), len(LEGS))
    first, second, third, fourth = (int(chance.uniform(0, each)) for each in sizes)
    return Look(kind, clothes=(first, second, third, fourth))


def _parked(
    actors: list[Actor | Leader], path: Path, layout: Layout, district: District, chance: Chance
) -> None:
    share = {"city": 0.42, "suburb": 0.16, "country": 0.0}[district.kind]
    for left in (-3.1, 6.75):
        metre = district.begin + 8.0
        while metre < district.end - 40.0:
            here = chance.chance(share)
            look = _car(chance)
            bends = path.curvature[max(0, int(metre) - 4) : max(1, int(metre) + 5)]
            free = not layout.junction(metre, 9.0, 5.0) and (
                not len(bends) or np.abs(bends).max() < 1.0 / 60.0
            )
            if here and free:
                actors.append(Actor(look, -1.0, math.inf, metre, left + chance.uniform(-0.12, 0.12)))
            metre += chance.uniform(7.2, 10.4)


def _walkers(
    actors: list[Actor | Leader], path: Path, layout: Layout, district: District, chance: Chance
) -> None:
    share = {"city": 0.55, "suburb": 0.22, "country": 0.0}[district.kind]
    metre = district.begin + 10.0
    while metre < district.end - 20.0:
        here, way, right = chance.chance(share), chance.pick([(1.0, 1), (-1.0, 1)]), chance.chance(0.55)
        look, left = _person(chance), chance.uniform(-0.5, 0.5)
        speed = way * WALK * chance.uniform(0.85, 1.15)
        passed = path.time_at(metre)
        begin, end = passed - 16.0, passed + 2.0
        start = metre - speed * 16.0
        if here and not layout.junction(metre, 16.0, 12.0):
            actors.append(Actor(look, begin, end, start, (-5.6 if right else 9.1) + left, speed, reach=80.0))
        metre += chance.uniform(12.0, 30.0)


def _riders(
    actors: list[Actor | Leader], path: Path, layout: Layout, district: District, chance: Chance
) -> None:
    """Cyclists whom the car overtakes or meets, where no cars are parked."""
    if district.kind == "city":
        return
    metre = district.begin + chance.uniform(30.0, 90.0)
    while metre < district.end - 20.0:
        passed = path.time_at(metre)
        meets = chance.chance(0.5)
        speed = chance.uniform(4.2, 5.6) * (-1.0 if meets else 1.0)
        look = _person(chance, "cyclist")
        left = 4.9 if meets else -2.15
        swift = path.speed_at(passed) > 7.0
        if swift and not layout.junction(metre, 40.0, 20.0) and (district.kind == "country" or meets):
            actors.append(
                Actor(look, passed - 9.0, passed + 1.0, metre - speed * 9.0, left, speed, reach=90.0)
            )
        metre += chance.uniform(60.0, 160.0)


def _quiet(path: Path, layout: Layout) -> list[tuple[float, float]]:
    """The times in which the car goes through an empty district."""
    return [
        (path.time_at(each.begin - 40.0), path.time_at(each.end - 60.0))
        for each in layout.districts
        if each.empty
    ]


def _free(quiet: list[tuple[float, float]], begin: float, end: float) -> bool:
    return all(end < low or begin > high for low, high in quiet)


def _oncoming(
    actors: list[Actor | Leader], path: Path, layout: Layout, quiet: list[tuple[float, float]], chance: Chance
) -> None:
    time = chance.uniform(1.0, 4.0)
    while time < path.seconds + 10.0:
        metre = path.metre_at(time)
        country = layout.at(metre).kind == "country"
        look = _car(chance, 0.07, 0.10)
        begin, end = time - 11.0, time + 1.5
        if _free(quiet, begin + 3.0, end):
            start = metre + ONCOMING_SPEED * (time - begin)
            actors.append(Actor(look, begin, end, start, LANE, -ONCOMING_SPEED))
        time += 2.6 + chance.gamma(1, 6.0 if country else 3.2)


def _leaders(
    actors: list[Actor | Leader], path: Path, layout: Layout, quiet: list[tuple[float, float]], chance: Chance
) -> None:
    """Cars ahead: at each crossing where one waits before ours, and now and then between."""
    spans = [(each.begin - 14.0, each.end + 9.0) for each in layout.crossings if each.queued]
    time = chance.uniform(4.0, 12.0)
    while time < path.seconds:
        spans.append((time, time + chance.uniform(14.0, 32.0)))
        time += chance.uniform(28.0, 60.0)
    alone = [(each.begin - 6.0, each.end + 3.0) for each in layout.crossings if not each.queued]
    taken: list[tuple[float, float]] = []
    for begin, end in spans:
        low, high = max(begin, 0.0), min(end, path.seconds)
        if (
            high - low < 8.0
            or not _free(quiet, low, high)
            or not _free([*taken, *alone], low - 1.0, high + 1.0)
        ):
            continue
        taken.append((low, high))
        actors.append(_leader(path, low, high, _car(chance, 0.10, 0.08), chance))


def _leader(path: Path, begin: float, end: float, look: Look, chance: Chance) -> Leader:
    times = np.arange(begin, end + 0.1, 0.1)
    speeds = np.interp(times, path.times, path.speeds)
    near = 7.2 + 1.0 * speeds + chance.uniform(0.0, 2.5)
    near += 2.4 if look.body in ("bus", "truck") else 0.0
    near += 3.4 if look.body in ("bus", "truck") else 0.0
    coming = np.maximum(0.0, 1.0 - (times - begin) / 9.0)
    going = np.maximum(0.0, 1.0 - (end - times) / 6.0)
    gap = near + 85.0 * coming**2 + 95.0 * going**2
    metres = np.maximum.accumulate(np.interp(times, path.times, path.metres) + gap)
    return Leader(look, times, metres)


def _at_crossing(actors: list[Actor | Leader], crossing: Crossing, chance: Chance) -> None:
    """People and cyclists cross before us, and cars from the side, while we wait at a light."""
    stay = crossing.end - crossing.begin
    if stay > 6.0:
        time = crossing.begin - 2.0
        while time < crossing.end - 12.0:
            right = chance.chance(0.5)
            rider = chance.chance(0.3)
            speed = (3.4 if rider else WALK) * chance.uniform(0.9, 1.1)
            start, way = (-6.5, 1.0) if right else (10.5, -1.0)
            metre = crossing.walk + chance.uniform(-0.9, 0.9)
            look = _person(chance, "cyclist" if rider else "walker")
            actors.append(Actor(look, time, time + 17.0 / speed, metre, start, 0.0, way * speed, reach=80.0))
            time += chance.uniform(1.4, 5.0)
    if crossing.light:
        for lane, way in ((-1.8, 1.0), (1.8, -1.0)):
            time = crossing.begin + chance.uniform(0.0, 2.5)
            while time < crossing.end - 5.0:
                speed = 9.0
                look = _car(chance, 0.08, 0.08)
                metre = crossing.middle + lane
                actors.append(Actor(look, time, time + 100.0 / speed, metre, -50.0 * way, 0.0, way * speed))
                time += 2.2 + chance.gamma(1, 2.6)
