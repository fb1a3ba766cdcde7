"""The road: metre by metre its limit, bends, grade and place, and the stops along it.

A route is a chain of blocks. A block has a limit, a gentle bend, perhaps a slower car ahead for a while; it
ends in a red light, a stop sign, a turn, or nothing. Stands for the streets under the recording's GPS track.
Leaves out: lanes, other cars as bodies, a map of any real place (the start is near Austin, the streets are
drawn by chance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from iotedge_lab.car.units import EARTH_RADIUS, MPS_PER_MPH
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.car.chance import Chance

Kind = Literal["city", "suburban", "highway"]

START: Final = (30.27, -97.74)  # degrees, latitude and longitude
STEP: Final = 1.0  # m between two points of a route
CAMBER: Final = 0.052  # deviation of the road's sideways slope, m/m
TURN_EASE: Final = 9  # m over which a turn's curvature rises, and falls again


@dataclass(frozen=True, slots=True)
class Stop:
    """A place to come to a halt."""

    at: float
    """metres from the start"""
    dwell: float
    """seconds to stand"""


@dataclass(frozen=True, slots=True)
class Streets:
    """What one kind of route is made of; lengths in metres, limits in mph, times in seconds."""

    limits: tuple[tuple[float, float], ...]
    """(limit, weight)"""
    block: float
    block_least: float
    red_light: float
    """probability that a block ends so; the same for the next two"""
    stop_sign: float
    turn: float
    dwell: float
    """mean time at a red light"""
    bend: float
    """deviation of a block's curvature at 10 m/s, 1/m; it falls with the limit's square"""
    grade: float
    """deviation of the slope, m/m"""
    traffic: float
    """probability that a slower car leads for a part of the block"""


STREETS: Final[Mapping[Kind, Streets]] = {
    "city": Streets(
        limits=((25, 0.08), (30, 0.14), (35, 0.18), (45, 0.6)),
        block=380, block_least=120, red_light=0.4, stop_sign=0.04, turn=0.28,
        dwell=31, bend=0.005, grade=0.03, traffic=0.45,
    ),
    "suburban": Streets(
        limits=((30, 0.25), (35, 0.3), (40, 0.2), (45, 0.25)),
        block=450, block_least=150, red_light=0.22, stop_sign=0.14, turn=0.3,
        dwell=24, bend=0.005, grade=0.018, traffic=0.35,
    ),
    "highway": Streets(
        limits=((55, 0.4), (60, 0.3), (65, 0.3)),
        block=2200, block_least=900, red_light=0.12, stop_sign=0.0, turn=0.08,
        dwell=35, bend=0.004, grade=0.014, traffic=0.5,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """A road as lists with one entry a metre (`STEP`), all of one length.

    cap: m/s, what limit and traffic allow; curvature: 1/m, positive to the left; grade: rise over run;
    camber: what the road's sideways slope adds to the lateral sensor, g; latitude and longitude: degrees;
    heading: radians from the east, counter-clockwise.
    """

    kind: Kind
    cap: list[float]
    curvature: list[float]
    grade: list[float]
    camber: list[float]
    heading: list[float]
    latitude: list[float]
    longitude: list[float]
    stops: list[Stop]

    def __repr__(self) -> str:
        return f"Route({self.kind!r}, {len(self.cap) * STEP / 1000:.1f} km, {len(self.stops)} stops)"


@dataclass(slots=True)
class _Road:
    """A route while it is being built."""

    cap: list[float] = field(default_factory=list)
    curvature: list[float] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, cap: float, curvature: float) -> None:
        self.cap.append(cap)
        self.curvature.append(curvature)
        self.seconds += STEP / cap

    def stop(self, dwell: float) -> None:
        self.stops.append(Stop(at=(len(self.cap) - 1) * STEP, dwell=dwell))
        self.seconds += dwell


def make_route(kind: Kind, seconds: float, chance: Chance) -> Route:
    """A route of that kind, long enough that no driver reaches its end within `seconds`.

    Raises UsageError for a kind that there is not.
    """
    if kind not in STREETS:
        raise UsageError(f"There is no route of kind {kind!r}; take one of {', '.join(sorted(STREETS))}.")
    streets = STREETS[kind]
    road = _Road()
    road.add(streets.limits[0][0] * MPS_PER_MPH, 0.0)
    road.stop(chance.uniform(2.0, 6.0))  # a drive begins with a car that stands
    # A driver may exceed the limit by a tenth and end a route with a long stop ahead: hence the margin.
    while road.seconds < 1.25 * seconds + 60:
        _block(road, streets, chance)
        _node(road, streets, chance)
    grade = _slope(len(road.cap), 150.0, streets.grade, chance)
    camber = _slope(len(road.cap), 60.0, CAMBER, chance)
    heading, latitude, longitude = _place(road.curvature, chance.uniform(0.0, 4.0))
    return Route(kind, road.cap, road.curvature, grade, camber, heading, latitude, longitude, road.stops)


def _block(road: _Road, streets: Streets, chance: Chance) -> None:
    """One stretch between two nodes: limit, a bend there and back, a slower car for a part of it."""
    length = int(max(streets.block_least, chance.gamma(3, streets.block)))
    limit = chance.pick(streets.limits) * MPS_PER_MPH
    bend = streets.bend * (10.0 / limit) ** 2 * chance.normals(1)[0]
    slow, slow_from, slow_to = 1.0, 0, 0
    if chance.chance(streets.traffic):
        slow = chance.uniform(0.4, 0.9)
        slow_from = int(chance.uniform(0.1, 0.7) * length)
        slow_to = slow_from + int(chance.uniform(60.0, 60.0 + 0.5 * length))
    for metre in range(length):
        share = metre / length
        wave = 16.0 * share * (1.0 - share) * (0.5 - share)  # zero at both ends and in the middle
        cap = limit * slow if slow_from <= metre < slow_to else limit
        road.add(cap, bend * wave)


def _node(road: _Road, streets: Streets, chance: Chance) -> None:
    """What a block ends in."""
    red = chance.chance(streets.red_light)
    if red:
        road.stop(max(2.0, chance.gamma(3, streets.dwell)))
    elif chance.chance(streets.stop_sign):
        road.stop(max(1.0, chance.gamma(4, 3.0)))
    if chance.chance(streets.turn):
        _turn(road, chance)


def _turn(road: _Road, chance: Chance) -> None:
    """A right angle: curvature rises and falls along smooth ramps, so that the wheel need not jump."""
    left = chance.chance(0.5)
    radius = chance.uniform(14.0, 22.0) if left else chance.uniform(10.0, 16.0)
    peak = (1.0 if left else -1.0) / radius
    angle = 1.5708 * chance.uniform(0.85, 1.1)
    hold = max(1, int(angle * radius / STEP) - TURN_EASE)
    ramp = [(3.0 - 2.0 * x) * x * x for x in (n / TURN_EASE for n in range(1, TURN_EASE))]
    for share in [*ramp, *[1.0] * hold, *reversed(ramp)]:
        road.add(25.0 * MPS_PER_MPH, peak * share)


def _slope(count: int, metres: float, deviation: float, chance: Chance) -> list[float]:
    """Slopes that change over so many metres; a second smoothing takes the small steps out."""
    slope = []
    smooth = 0.0
    for each in chance.wander(count, metres / STEP):
        smooth += (each - smooth) * STEP / (0.2 * metres)
        slope.append(deviation * smooth)
    return slope


def _place(curvature: list[float], heading: float) -> tuple[list[float], list[float], list[float]]:
    """Headings, latitudes and longitudes along the road, on a sphere, metre by metre."""
    latitude, longitude = START
    headings, latitudes, longitudes = [heading], [latitude], [longitude]
    degrees = math.degrees(STEP / EARTH_RADIUS)
    for bend in curvature[:-1]:
        middle = heading + 0.5 * STEP * bend
        heading += STEP * bend
        latitude += degrees * math.sin(middle)
        longitude += degrees * math.cos(middle) / math.cos(math.radians(latitude))
        headings.append(heading)
        latitudes.append(latitude)
        longitudes.append(longitude)
    return headings, latitudes, longitudes
