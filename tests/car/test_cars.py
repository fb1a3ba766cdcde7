"""The other car: another gearbox and a load, on the same roads, and a drive that a car.csv carries."""

import math

import numpy as np
import pytest

from iotedge_lab.car import drives
from iotedge_lab.car.cars import OTHER, RECORDED, Car, write
from iotedge_lab.car.powertrain import EIGHT_SPEED, RPM_PER_MPH, SIX_SPEED, Gearbox
from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.errors import UsageError


def test_the_recorded_car_is_the_shipped_one():
    """A drive of it is what the shipped drives are made by, digit for digit."""
    rows = RECORDED.drive(1300, "city", 60.0)
    assert rows == record(simulate(1300, "city", 60.0), rows_start(rows))
    assert EIGHT_SPEED.rpm_per_mph == RPM_PER_MPH


def rows_start(rows):
    from datetime import datetime

    return datetime.fromisoformat(rows[0].time)


def test_the_other_car_turns_otherwise():
    """Its rows lie on the lines of six gears, and not on those of the recorded car's eight."""
    motion = simulate(7001, "suburban", 240.0, gearbox=SIX_SPEED, load=500.0)
    speed, rpm, gear = (np.array(each) for each in (motion.speed, motion.rpm, motion.gear))
    assert set(gear.tolist()) == {1, 2, 3, 4, 5, 6}
    mph = speed / 0.44704
    held = (mph > 25.0) & (np.abs(np.diff(rpm, prepend=rpm[0])) < 3.0)
    assert held.sum() > 200
    ratio = rpm[held] / mph[held]
    off = [
        np.abs(np.log(ratio[:, None] / np.array(each.rpm_per_mph))).min(axis=1)
        for each in (SIX_SPEED, EIGHT_SPEED)
    ]
    assert np.median(off[0]) < 0.01
    assert np.median(off[0]) < np.median(off[1]) / 3.0


def test_the_same_road_is_driven():
    """Seed, road and driver stay; what differs is the car."""
    ours, other = (simulate(7002, "city", 120.0, gearbox=box) for box in (EIGHT_SPEED, SIX_SPEED))
    assert ours.route == other.route
    assert (ours.driver, ours.load) == (other.driver, other.load)
    assert ours.rpm != other.rpm
    assert all(map(math.isfinite, other.rpm))


def test_a_drive_in_a_file(tmp_path):
    """What is written is read again as the same rows; the same arguments give the same file."""
    rows = OTHER.drive(7003, "city", 30.0)
    write(rows, tmp_path / "car.csv")
    assert list(drives.rows(tmp_path / "car.csv")) == rows
    assert rows == Car("again", SIX_SPEED, 500.0).drive(7003, "city", 30.0)
    with pytest.raises(UsageError, match="cannot be written"):
        write(rows, tmp_path / "none" / "car.csv")


@pytest.mark.parametrize("ratios", [(), (50.0, 50.0), (30.0, 60.0), (600.0, 100.0), (50.0, 1.0), (math.nan,)])
def test_gearboxes_that_are_none(ratios):
    """Ratios fall from gear to gear, within what engines turn."""
    with pytest.raises(UsageError, match="A gearbox has"):
        Gearbox("none", ratios)
