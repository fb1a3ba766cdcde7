"""The generated drives look like the recording: one test a row of its table, with the tolerance beside it."""

import re

import numpy as np
import pytest

from iotedge_lab.car import drives
from iotedge_lab.car.make_data import DRIVES, statistics
from iotedge_lab.car.statistics import HZ, RECORDING, STOPPED, describe
from iotedge_lab.errors import UsageError

# How far the six city drives (48 min) may lie from the recording, and how far car.csv (6 min) may: one drive
# of a few stops scatters more.
TOLERANCES = {
    "speed mean (mph)": (2, 2),
    "speed deviation (mph)": (1.5, 1.5),
    "speed 5 % quantile (mph)": (0.2, 0.2),
    "speed median (mph)": (2, 3),
    "speed 95 % quantile (mph)": (3, 3),
    "speed autocorrelation, 1 s": (0.01, 0.01),
    "speed autocorrelation, 5 s": (0.04, 0.04),
    "speed autocorrelation, 20 s": (0.2, 0.2),
    "throttle mean (%)": (1, 1.5),
    "throttle deviation (%)": (1, 1.5),
    "throttle 95 % quantile (%)": (3, 5),
    "rpm mean": (60, 60),
    "rpm deviation": (30, 60),
    "rpm median": (60, 80),
    "rpm 95 % quantile": (80, 80),
    "rpm median when standing": (10, 10),
    "acceleration deviation (g)": (0.008, 0.012),
    "acceleration 5 % quantile (g)": (0.02, 0.03),
    "acceleration 95 % quantile (g)": (0.02, 0.02),
    "acceleration autocorrelation, 1 s": (0.05, 0.05),
    "acceleration autocorrelation, 5 s": (0.1, 0.1),
    "lateral deviation (g)": (0.008, 0.008),
    "steering deviation (degrees)": (4, 4),
    "share of time standing": (0.04, 0.06),
    "share of time with throttle up to 1 %": (0.04, 0.04),
    "steady rows within 3 % of a gear line": (0.03, 0.12),
    "correlation speed, throttle": (0.27, 0.3),
    "correlation speed, rpm": (0.12, 0.14),
    "correlation throttle, rpm": (0.16, 0.2),
    "correlation throttle, acceleration": (0.06, 0.06),
    "correlation steering, lateral": (0.15, 0.18),
    "correlation speed's slope, acceleration": (0.08, 0.08),
}


@pytest.fixture(scope="module")
def described():
    city = [list(drives.rows(each.path)) for each in drives.catalogue() if each.kind == "city"]
    car = list(drives.resample(drives.rows(drives.car_csv()), HZ))
    assert len(city) == 6
    assert len(car) > 3400
    return describe(city), describe([car])


def test_each_row_of_the_table_has_a_tolerance():
    """No statistic of the recording goes unchecked."""
    assert list(TOLERANCES) == list(RECORDING)


@pytest.mark.parametrize("name", RECORDING)
def test_generated_drives_match_the_recording(described, name):
    """The statistic lies within its tolerance, for the city drives together and for car.csv."""
    for values, tolerance in zip(described, TOLERANCES[name], strict=True):
        assert values[name] == pytest.approx(RECORDING[name], abs=tolerance)


def test_the_readme_shows_the_table_that_the_command_writes(shipped):
    """The statistics in data/README.md are those of `make_data --statistics`, line by line."""
    readme = (shipped / "README.md").read_text(encoding="utf-8")
    lines = statistics(shipped).splitlines()
    assert len(lines) == len(RECORDING) + 2
    assert "\n".join(lines) in readme


def test_the_readme_names_every_column_and_drive(shipped):
    """data/README.md tells each column with its unit, and how many drives there are."""
    readme = (shipped / "README.md").read_text(encoding="utf-8")
    for column in drives.COLUMNS:
        assert re.search(rf"\| `{re.escape(column.header)}` \| {re.escape(column.unit)}", readme), (
            column.header
        )
    assert f"{len(DRIVES)} drives" in readme


def halts(rows):
    """How long the car stands, each time that it does so for 5 s at least."""
    found, begin, last = [], None, 0.0
    for row in rows:
        if row.speed < STOPPED:
            begin = row.seconds if begin is None else begin
            last = row.seconds
        elif begin is not None:
            found.append(last - begin)
            begin = None
    return [each for each in found if each >= 5.0]


def test_halts_are_as_long_as_the_recordings():
    """It stands for 18, 47 and 24 s: the mean of 30 s is met to 10 s, and three halts of four last 10 to 60 s."""
    city = [halts(drives.rows(each.path)) for each in drives.catalogue() if each.kind == "city"]
    car = halts(drives.resample(drives.rows(drives.car_csv()), HZ))
    together = [seconds for found in city for seconds in found]
    assert len(together) > 18
    for found in (together, car):
        assert np.mean(found) == pytest.approx(30.0, abs=10.0)
        assert np.mean([10.0 <= seconds <= 60.0 for seconds in found]) >= 0.75
    assert 2 <= len(car) <= 5


def test_quantisation(described):
    """Throttle and rpm are whole; g in 0.01, steering in 0.1, distance in 0.01."""
    steps = {
        "throttle_position": 1, "engine_rpm": 1, "lateral_gs": 0.01, "acceleration_gs": 0.01,
        "steering_angle": 0.1, "distance": 0.01,
    }  # fmt: skip
    rows = list(drives.rows(drives.car_csv()))
    for name, step in steps.items():
        values = np.array([getattr(row, name) for row in rows]) / step
        assert np.abs(values - np.round(values)).max() < 1e-6, name
        assert len(np.unique(values)) > 5, name


def test_steering_to_the_left_accelerates_to_the_left(described):
    """Positive steering goes with negative lateral g: left is positive in one, right in the other."""
    assert all(values["correlation steering, lateral"] < -0.3 for values in described)


def test_statistics_of_too_little_are_refused():
    """Less than half a minute has no such statistics."""
    row = next(drives.rows(drives.car_csv()))
    with pytest.raises(UsageError, match="30 s"):
        describe([[row] * 20])
    with pytest.raises(UsageError, match="30 s"):
        describe([])
