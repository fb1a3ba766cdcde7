"""A car with a real drivetrain, driven along a road: the truth that the sensors then measure.

Stands for the recording's car, a BMW M235i: 1,570 kg, eight gears. The driver wants an acceleration; the
equation of motion turns it into a force, the gearbox into torque, the engine into throttle and rpm; what the
engine cannot take away, the brakes do. Positions, speeds and accelerations follow from the forces that were
really there. Leaves out: tyre slip, wind, roll and pitch.

The loop uses only + - * / and square roots, which IEEE 754 rounds alike everywhere; so one seed gives one
drive on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from iotedge_lab.car.chance import Chance
from iotedge_lab.car.driver import LAG, Driver, Plan, make_plan, wish
from iotedge_lab.car.powertrain import EIGHT_SPEED, Gearbox, Powertrain
from iotedge_lab.car.route import STEP, Kind, Route, make_route
from iotedge_lab.car.units import G
from iotedge_lab.errors import UsageError

DT: Final = 0.05  # s, one step of the simulation
MASS: Final = 1570.0  # kg, with a driver
DRAG_AREA: Final = 0.70  # m2, drag coefficient times frontal area
AIR: Final = 1.2  # kg/m3
ROLLING: Final = 0.012
WHEELBASE: Final = 2.69  # m
STEERING_RATIO: Final = 15.0
UNDERSTEER: Final = 0.0016  # rad of road wheel for each m/s2 sideways

LONGEST: Final = 24 * 3600.0  # s


@dataclass(frozen=True, slots=True)
class Motion:
    """A drive as it truly was: lists of one length, one entry each `DT` seconds; SI units unless said.

    acceleration: along the road, m/s2; lateral: v^2 times curvature, m/s2, positive to the left;
    steering: degrees at the steering wheel, positive to the left; throttle: per cent; brake: N at the wheels;
    gear: from 1 on; metre: distance along the route, m.
    """

    seed: int
    route: Route
    driver: Driver
    load: float
    gearbox: Gearbox = EIGHT_SPEED
    time: list[float] = field(default_factory=list)
    metre: list[float] = field(default_factory=list)
    speed: list[float] = field(default_factory=list)
    acceleration: list[float] = field(default_factory=list)
    grade: list[float] = field(default_factory=list)
    curvature: list[float] = field(default_factory=list)
    lateral: list[float] = field(default_factory=list)
    steering: list[float] = field(default_factory=list)
    throttle: list[float] = field(default_factory=list)
    brake: list[float] = field(default_factory=list)
    rpm: list[float] = field(default_factory=list)
    gear: list[int] = field(default_factory=list)

    def __repr__(self) -> str:
        seconds = len(self.time) * DT
        return f"Motion({self.route.kind!r}, {seconds:.1f} s, {self.metre[-1]:.0f} m)"


def simulate(
    seed: int,
    kind: Kind = "city",
    seconds: float = 342.0,
    *,
    temper: float | None = None,
    load: float | None = None,
    gearbox: Gearbox = EIGHT_SPEED,
) -> Motion:
    """Drive for `seconds` on a road of that kind; the same arguments give the same digits.

    temper: 0 calm to 1 in a hurry; load: kg beyond the driver. Where not given, both come from the seed.
    gearbox: another car's, such as `powertrain.SIX_SPEED`; road, driver and chance stay those of the seed.
    Raises UsageError for an unknown kind, or for seconds, temper or load that make no sense.
    """
    if not 1.0 <= seconds <= LONGEST:
        raise UsageError(
            f"A drive lasts from 1 s to {LONGEST:.0f} s, not {seconds}; give `seconds` in that range."
        )
    if temper is not None and not 0.0 <= temper <= 1.0:
        raise UsageError(f"A driver's temper lies between 0 (calm) and 1 (in a hurry), not at {temper}.")
    if load is not None and not 0.0 <= load <= 600.0:
        raise UsageError(f"This car carries from 0 to 600 kg beyond its driver, not {load}.")
    habits = Chance(seed, 0)
    drawn_temper, drawn_load = habits.uniform(), round(habits.gamma(2, 70.0), 0)
    driver = Driver(drawn_temper if temper is None else temper)
    route = make_route(kind, seconds, Chance(seed, 1))
    motion = Motion(seed, route, driver, min(400.0, drawn_load) if load is None else load, gearbox)
    _drive(motion, make_plan(route, driver), round(seconds / DT) + 1, Chance(seed, 2))
    return motion


class _Stops:
    """Where to halt next, and how long the halt still lasts."""

    __slots__ = ("_left", "_next", "_stops", "released")

    def __init__(self, route: Route) -> None:
        self._stops = route.stops
        self._next = 0
        self._left = 0.0
        self.released = 0  # the metre of the route from which the plan counts again

    @property
    def line(self) -> float:
        """Metres from the route's start to the next stop line."""
        return self._stops[self._next].at if self._next < len(self._stops) else math.inf

    def standing(self, metre: float, speed: float) -> bool:
        """Whether the car halts here; the halt counts down by one step a call."""
        if self._left > 0.0:
            self._left -= DT
            if self._left <= 0.0:
                # Behind the line the plan is the one beyond the stop.
                self.released = int(self._stops[self._next].at / STEP) + 1
                self._next += 1
                return False
            return True
        if speed < 0.5 and self.line - metre < 2.5:
            self._left = self._stops[self._next].dwell
            return True
        return False


def _drive(motion: Motion, plan: Plan, count: int, chance: Chance) -> None:
    """Fill the lists of `motion` with `count` steps."""
    route, driver = motion.route, motion.driver
    powertrain = Powertrain(driver.temper, motion.gearbox)
    stops = _Stops(route)
    tempo = chance.wander(count, 7.0 / DT)
    foot = chance.wander(count, 1.5 / DT)
    compressor = chance.wander(count, 25.0 / DT)
    haste = chance.wander(count, 30.0 / DT)
    hands = chance.wander(count, 1.2 / DT)
    mass = MASS + motion.load
    inertia = mass * 1.04  # wheels and shafts turn with it
    metre = speed = push = steering = 0.0
    for step in range(count):
        here = min(int(metre / STEP), len(route.cap) - 1)
        standing = stops.standing(metre, speed)
        grade, curvature = route.grade[here], route.curvature[here]
        resistance = 0.5 * AIR * DRAG_AREA * speed * speed + mass * G * (ROLLING + grade)
        if standing:
            wanted = -1.0
        else:
            mood = (0.06 * tempo[step], 0.10 * foot[step])
            wanted = wish(plan, driver, max(here, stops.released), speed, mood)
            left = stops.line - metre
            if left < 25.0 and wanted < 0.0 and left < speed * speed / driver.brake:
                # The last metres are braked for the line itself.
                wanted = -speed * speed / (2.0 * max(left, 0.3)) if left > 0.0 else -2.0
        push += (wanted - push) * DT / (LAG + DT) if not standing else (wanted - push) * 0.2
        force = inertia * push + resistance
        if standing:
            force = min(force, 0.0)
        powertrain.eagerness = min(1.0, max(0.0, 0.2 + 0.6 * driver.temper + 0.35 * haste[step]))
        given = powertrain.step(speed, force, 3.4 if compressor[step] > -0.6 else 0.8, DT)
        brake = max(0.0, given - force)
        acceleration = (given - brake - resistance) / inertia
        if standing and speed <= 0.0:
            acceleration = 0.0  # the brakes hold the car, on whatever slope
        elif speed + acceleration * DT < 0.0:
            acceleration = -speed / DT
        lateral = speed * speed * curvature
        wheel = WHEELBASE * curvature + UNDERSTEER * lateral
        # tan and its inverse hardly differ at these angles (15 degrees at most): 2 terms of the series.
        goal = 57.29578 * STEERING_RATIO * (wheel - wheel * wheel * wheel / 3.0)
        goal += 0.9 * hands[step] if speed > 1.0 else 0.0
        steering += (goal - steering) * DT / (0.15 + DT)

        motion.time.append(round(step * DT, 3))
        motion.metre.append(metre)
        motion.speed.append(speed)
        motion.acceleration.append(acceleration)
        motion.grade.append(grade)
        motion.curvature.append(curvature)
        motion.lateral.append(lateral)
        motion.steering.append(steering)
        motion.throttle.append(powertrain.throttle)
        motion.brake.append(brake)
        motion.rpm.append(powertrain.rpm)
        motion.gear.append(powertrain.gear)

        metre += speed * DT + 0.5 * acceleration * DT * DT
        speed = max(0.0, speed + acceleration * DT)
