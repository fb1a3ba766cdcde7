"""The car obeys physics, its drivetrain, its driver's plan, and its seed."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest

from iotedge_lab.car.chance import Chance
from iotedge_lab.car.driver import Driver, make_plan
from iotedge_lab.car.powertrain import GEARS, IDLE_RPM, RPM_PER_MPH, Powertrain, full_torque
from iotedge_lab.car.route import STREETS, make_route
from iotedge_lab.car.units import EARTH_RADIUS, MPS_PER_MPH, G
from iotedge_lab.car.vehicle import DT, Motion, simulate
from iotedge_lab.errors import UsageError

KINDS = ("city", "suburban", "highway")


def arrays(motion: Motion, *names: str):
    return [np.array(getattr(motion, name), dtype=float) for name in names]


@pytest.mark.parametrize("kind", KINDS)
def test_distance_is_the_integral_of_speed(motions, kind):
    """The metres driven are the integral of the speed, to a millimetre a minute."""
    metre, speed = arrays(motions[kind], "metre", "speed")
    integral = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * DT)])
    assert np.abs(integral - metre).max() < 0.001 * 10
    assert metre[-1] > 2000
    assert (np.diff(metre) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_acceleration_is_the_slope_of_speed(motions, kind):
    """The acceleration is the change of speed, step by step."""
    speed, acceleration = arrays(motions[kind], "speed", "acceleration")
    assert np.allclose(np.diff(speed) / DT, acceleration[:-1], atol=1e-9)
    assert np.abs(acceleration).max() < 0.5 * G


@pytest.mark.parametrize("kind", KINDS)
def test_sideways_acceleration_is_speed_squared_times_curvature(motions, kind):
    """The lateral acceleration follows from speed and bend, and stays what a passenger bears."""
    speed, curvature, lateral = arrays(motions[kind], "speed", "curvature", "lateral")
    assert np.allclose(lateral, speed**2 * curvature)
    assert 0.05 * G < np.abs(lateral).max() < 0.6 * G


@pytest.mark.parametrize("kind", KINDS)
def test_place_moves_by_the_distance_driven(motions, kind):
    """Latitude and longitude move along the road, metre by metre (a metre a metre, within 0.1 %)."""
    route = motions[kind].route
    north, east = np.radians(route.latitude), np.radians(route.longitude)
    steps = np.hypot(np.diff(north), np.diff(east) * np.cos(north[1:])) * EARTH_RADIUS
    assert np.allclose(steps, 1.0, rtol=1e-3)
    assert abs(steps.sum() - (len(steps))) < 1e-3 * len(steps)


@pytest.mark.parametrize("kind", KINDS)
def test_braking_closes_the_throttle(motions, kind):
    """Where the brakes slow a moving car, the throttle is shut."""
    speed, brake, throttle = arrays(motions[kind], "speed", "brake", "throttle")
    braking = (speed > 1.0) & (brake > 50.0)
    assert braking.sum() > 100
    assert throttle[braking].max() == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_rpm_lie_on_gear_lines_and_idle_at_a_standstill(motions, kind):
    """In gear, rpm = speed times the gear's ratio; a standing car idles at 665."""
    speed, rpm, gear = arrays(motions[kind], "speed", "rpm", "gear")
    calm = np.ones(len(gear), dtype=bool)
    shifts = np.flatnonzero(np.diff(gear))
    for shift in shifts:
        calm[shift : shift + int(1.2 / DT)] = False
    rolling = calm & (speed > 12 * MPS_PER_MPH)
    line = speed / MPS_PER_MPH * np.array(RPM_PER_MPH)[gear.astype(int) - 1]
    near = np.abs(rpm[rolling] / line[rolling] - 1) < 0.03
    assert rolling.sum() > 1000
    assert near.mean() > 0.9
    standing = (speed == 0.0) & (np.roll(speed, int(2 / DT)) == 0.0)
    assert standing[int(2 / DT) :].sum() > 50
    assert np.abs(np.median(rpm[standing]) - IDLE_RPM) < 1
    assert rpm.min() >= IDLE_RPM - 1e-9
    assert rpm.max() < 7000


@pytest.mark.parametrize("kind", KINDS)
def test_gears_change_one_by_one_and_not_in_haste(motions, kind):
    """No gear is skipped, none is held for less than a second, and the box does not hunt."""
    (gear,) = arrays(motions[kind], "gear")
    changes = np.diff(gear)
    at = np.flatnonzero(changes)
    assert set(np.abs(changes[at])) == {1.0}
    assert np.diff(at).min() * DT >= 1.0
    assert gear.min() >= 1
    assert gear.max() <= GEARS


def test_forces_balance():
    """Uphill needs more throttle than the level, at the same speed."""
    pedals = []
    for force in (300.0, 300.0 + 0.05 * 1570 * G):
        train = Powertrain()
        for _ in range(400):
            given = train.step(15.0, force, 3.0, DT)
        assert given == pytest.approx(force)
        pedals.append(train.throttle)
    assert pedals[1] > 2 * pedals[0] > 0


def test_an_engine_gives_no_more_than_its_full_torque():
    """What is asked beyond the torque curve does not arrive; below its drag the brakes take over."""
    train = Powertrain()
    for _ in range(400):
        most = train.step(30.0, 1e6, 3.0, DT)
    assert train.throttle == pytest.approx(100.0, abs=0.1)
    assert 2000 < most < 20_000
    least = train.step(30.0, -1e6, 3.0, DT)
    assert -3000 < least < 0
    assert train.throttle == 0.0
    assert full_torque(0.0) > 0
    assert full_torque(99_999.0) == full_torque(7000.0)


def test_every_stop_line_that_was_passed_was_a_stop():
    """The car stands within 3 m of each stop line before it goes on."""
    lines = 0
    for seed in range(6):
        motion = simulate(seed, KINDS[seed % 3], 400.0)
        metre, speed = arrays(motion, "metre", "speed")
        standing = metre[speed == 0.0]
        for stop in motion.route.stops:
            if stop.at < metre[-1] - 10:
                lines += 1
                assert np.abs(standing - stop.at).min() < 3.0, (seed, stop)
    assert lines > 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_can_be_driven(kind):
    """Between two metres of the plan the car need never brake harder than its driver does."""
    driver = Driver(0.3)
    plan = make_plan(make_route(kind, 300.0, Chance(3)), driver)
    needed = [(v * v - w * w) / 2 for v, w in pairwise(plan.speed)]
    assert max(needed) <= driver.brake * 1.001
    assert min(plan.speed) == 0.0


def test_one_seed_is_one_drive():
    """Equal arguments give equal digits; another seed, kind, temper or load gives another drive."""
    first = simulate(5, "city", 60.0, temper=0.5, load=50.0)
    again = simulate(5, "city", 60.0, temper=0.5, load=50.0)
    assert first == again
    others = [
        simulate(6, "city", 60.0, temper=0.5, load=50.0),
        simulate(5, "highway", 60.0, temper=0.5, load=50.0),
        simulate(5, "city", 60.0, temper=0.9, load=50.0),
        simulate(5, "city", 60.0, temper=0.5, load=400.0),
    ]
    assert all(other.speed != first.speed or other.throttle != first.throttle for other in others)


def test_digits_that_every_machine_gives():
    """A few numbers of a drive to the last digit: a change of the physics or of the platform shows here."""
    motion = simulate(2026, "suburban", 90.0)
    assert len(motion.time) == 1801
    assert repr(motion.metre[-1]) == "899.7549785063519"
    assert sum(motion.gear) == 6965


def test_a_hasty_driver_is_faster():
    """On the same road a driver in a hurry gets farther."""
    calm = simulate(4, "suburban", 300.0, temper=0.0, load=0.0)
    hasty = simulate(4, "suburban", 300.0, temper=1.0, load=0.0)
    assert hasty.metre[-1] > 1.05 * calm.metre[-1]


def test_a_loaded_car_needs_more_throttle():
    """The same driver on the same road gets as far with 400 kg more, by a pedal that is farther down."""
    empty, full = (simulate(3, "suburban", 300.0, temper=0.5, load=load) for load in (0.0, 400.0))
    assert np.mean(full.throttle) > 1.1 * np.mean(empty.throttle)
    assert full.metre[-1] == pytest.approx(empty.metre[-1], rel=0.05)


def test_traffic_slows_a_part_of_the_blocks():
    """A slower car ahead holds the speed below the street's limit for a while, and not on every street."""
    limits = {round(limit * MPS_PER_MPH, 6) for limit, _ in STREETS["city"].limits}
    shares = []
    for seed in range(10):
        caps = make_route("city", 600.0, Chance(seed)).cap
        shares.append(np.mean([round(cap, 6) not in limits | {round(25 * MPS_PER_MPH, 6)} for cap in caps]))
    assert 0.05 < np.mean(shares) < 0.5
    assert len(set(shares)) == 10


def test_the_gears_are_the_recordings():
    """Engine rpm for a mile an hour, gear by gear, are those of the recording to its last digit."""
    recording = (197, 131, 88, 70, 54, 41.8, 35, 28)
    assert len(RPM_PER_MPH) == len(recording) == GEARS
    assert [
        round(ours, 1 if theirs == 41.8 else 0) for ours, theirs in zip(RPM_PER_MPH, recording, strict=True)
    ] == [*recording]


def test_kinds_differ():
    """A highway drive is faster than a suburban one, and that than a city one."""
    means = [np.mean([simulate(seed, kind, 500.0).metre[-1] for seed in (1, 2)]) for kind in KINDS]
    assert means[0] < means[1] < means[2]
    assert set(STREETS) == set(KINDS)


def test_an_hour_takes_at_most_five_seconds():
    """An hour of driving is simulated in at most 5 s of processor time."""
    begin = time.process_time()
    motion = simulate(1, "city", 3600.0)
    assert time.process_time() - begin < 5.0
    assert motion.time[-1] == 3600.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "offroad"}, "city, highway, suburban"),
        ({"seconds": 0.0}, "1 s"),
        ({"seconds": math.nan}, "1 s"),
        ({"seconds": 1e9}, "86400"),
        ({"temper": 1.5}, "temper"),
        ({"load": -1.0}, "600 kg"),
    ],
)
def test_nonsense_is_refused(arguments, words):
    """Arguments that make no drive are refused with what would."""
    with pytest.raises(UsageError, match=words):
        simulate(1, **arguments)


def test_chance_is_what_it_says():
    """Normal numbers have mean 0 and deviation 1, gamma ones their mean; a walk forgets itself."""
    chance = Chance(1)
    normals = np.array(chance.normals(20_000))
    assert abs(normals.mean()) < 0.03
    assert abs(normals.std() - 1) < 0.03
    assert abs(np.mean([chance.gamma(3, 30.0) for _ in range(5000)]) - 30.0) < 1.0
    walk = np.array(chance.wander(50_000, 20.0))
    assert abs(walk.std() - 1) < 0.1
    assert 0.2 < np.corrcoef(walk[:-20], walk[20:])[0, 1] < 0.5
    picks = [chance.pick((("a", 1.0), ("b", 3.0))) for _ in range(4000)]
    assert 0.7 < picks.count("b") / 4000 < 0.8
    assert Chance(1, 0).uniforms(3) != Chance(1, 1).uniforms(3)
