"""The driver: how fast to go along the road, and how hard to push the pedals to get there.

The plan looks ahead: it is the fastest speed, metre by metre, from which every limit, bend and stop ahead can
still be met at the driver's own braking. The pedals follow it with the lag of a person. Leaves out: mistakes,
lane changes, overtaking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.route import STEP, Route
from iotedge_lab.car.units import G

if TYPE_CHECKING:
    from collections.abc import Sequence

LAG: Final = 0.55  # s, from wish to foot


@dataclass(frozen=True, slots=True)
class Driver:
    """A person's habits, from one number: `temper` 0 is calm, 1 is in a hurry.

    limit: share of the limit driven; brake, pull, lateral: accelerations accepted, m/s2.
    """

    temper: float = 0.5

    @property
    def limit(self) -> float:
        """The share of the speed limit that is driven."""
        return 0.95 + 0.13 * self.temper

    @property
    def brake(self) -> float:
        """Comfortable braking, m/s2."""
        return (0.15 + 0.08 * self.temper) * G

    @property
    def pull(self) -> float:
        """Comfortable acceleration from a standstill, m/s2."""
        return (0.17 + 0.115 * self.temper) * G

    @property
    def lateral(self) -> float:
        """Sideways acceleration accepted in bends, m/s2."""
        return (0.2 + 0.11 * self.temper) * G


@dataclass(frozen=True, slots=True)
class Plan:
    """Speeds in m/s and the planned braking in m/s2 (zero or negative), one entry a metre of the route."""

    speed: list[float]
    slope: list[float]


def make_plan(route: Route, driver: Driver) -> Plan:
    """The fastest speeds from which all that lies ahead can be met."""
    stops = {int(stop.at / STEP) for stop in route.stops}
    allowed = [_allowed(cap, bend, driver) for cap, bend in zip(route.cap, route.curvature, strict=True)]
    speed = list(allowed)
    slope = [0.0] * len(speed)
    following = speed[-1]
    for metre in range(len(speed) - 1, -1, -1):
        if metre in stops:
            following = 0.0
            speed[metre] = 0.0
            continue
        # A foot eases off towards the end of a stop.
        braking = driver.brake * (0.5 + 0.5 * min(1.0, following / 5.0))
        reach = math.sqrt(following * following + 2.0 * braking * STEP)
        if reach < allowed[metre]:
            speed[metre] = reach
            slope[metre] = -braking
        following = speed[metre]
    return Plan(speed, slope)


def _allowed(cap: float, bend: float, driver: Driver) -> float:
    """What limit and bend allow at one place, m/s."""
    fast = cap * driver.limit
    if bend == 0.0:
        return fast
    return min(fast, math.sqrt(driver.lateral / abs(bend)))


def wish(plan: Plan, driver: Driver, metre: int, speed: float, mood: Sequence[float]) -> float:
    """The acceleration in m/s2 that the driver wants at this metre of the route and this speed.

    `mood` is a pair: a share by which the speed wanted wanders, and a jitter of the foot in m/s2.
    """
    ahead = min(metre + int(speed * LAG / STEP), len(plan.speed) - 1)
    goal = plan.speed[ahead] * (1.0 + mood[0])
    slope = plan.slope[ahead]
    wanted = (goal - speed) / 1.6 + slope + mood[1]
    most = driver.pull * max(0.16, 1.0 - speed / 23.0)
    return max(-1.8 * driver.brake, min(most, wanted))
