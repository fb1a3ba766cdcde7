"""Settings, the arithmetic of a paid hub's quota, open files, and which car drives what."""

import json
import resource
from itertools import islice
from pathlib import Path

import pytest

from iotedge_lab.car import drives
from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import ArgumentInvalid, EnvironmentProblem, UsageError
from iotedge_lab.fleet.plan import Demand, Login, Plan, check_open_files
from iotedge_lab.fleet.replay import Garage, endless, messages
from iotedge_lab.wire.topics import parse_telemetry


@pytest.mark.parametrize(
    "wrong",
    [
        {"cars": 0},
        {"cars": 20_001},
        {"rate": 0},
        {"rate": 101},
        {"rate": float("nan")},
        {"processes": 0},
        {"simulate": -1},
        {"drive_seconds": 0.5},
        {"token_seconds": 0},
        {"at_once": 501},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    """With a sentence that has the limits."""
    with pytest.raises(UsageError, match=r"\d"):
        Plan(**wrong)


def test_a_prefix_must_make_device_ids():
    """The rules of IoT Hub's ids."""
    with pytest.raises(ArgumentInvalid, match="'/'"):
        Plan(prefix="a/b")
    with pytest.raises(ArgumentInvalid, match="128"):
        Plan(prefix="x" * 126)


def test_ids_count_from_one_and_a_plan_travels():
    """`car-0001` whatever the number of cars, so that a greater fleet takes the same devices again."""
    plan = Plan(cars=3, rate=2.5, simulate=7)
    assert plan.devices == ["car-0001", "car-0002", "car-0003"]
    assert Plan(cars=12_000).devices[-1] == "car-12000"
    assert Plan(**json.loads(json.dumps(plan.to_json()))) == plan


def test_a_key_never_shows():
    """Not in a repr."""
    assert "secret" not in repr(Login(0, "car-0001", "secret"))


def test_demand_says_how_long_a_quota_lasts():
    """200 cars at 10 Hz use the free tier's day up in four seconds."""
    demand = Demand.of(Plan(cars=200, rate=10.0), seconds=60)
    assert demand.per_day == 172_800_000
    text = demand.text()
    for part in (
        "172,800,000 messages a day",
        "In 60 s it is 120,000",
        "8,000 a day",
        "after 4 s",
        "3 minutes",
    ):
        assert part in text


class Limits:
    """Stands for the kernel's limits on open files."""

    def __init__(self, monkeypatch, soft, hard):
        self.soft = soft
        monkeypatch.setattr(resource, "getrlimit", lambda _: (self.soft, hard))
        monkeypatch.setattr(resource, "setrlimit", self.set)

    def set(self, _, pair):
        self.soft = pair[0]


def test_a_low_soft_limit_is_raised(monkeypatch):
    """As far as needed, which a process may do by itself."""
    limits = Limits(monkeypatch, 256, 100_000)
    check_open_files(1000)
    assert 1064 < limits.soft < 2000


def test_a_low_hard_limit_is_told(monkeypatch):
    """With the command that mends it."""
    Limits(monkeypatch, 256, 512)
    with pytest.raises(EnvironmentProblem, match=r"512 are allowed.*ulimit -n 1\d\d\d"):
        check_open_files(1000)


def test_each_car_has_a_place_of_its_own(monkeypatch):
    """Two hundred cars: all fourteen drives, no two at one place, and no offset beyond its drive."""
    monkeypatch.setenv("IOTEDGE_LAB_DATA", str(Path(__file__).parents[2] / "data"))
    garage = Garage(Plan(cars=200))
    trips = [garage.trip(index) for index in range(200)]
    rows = {each.id: int(each.seconds * 10) + 1 for each in drives.catalogue()}
    assert {trip.drive for trip in trips} == set(rows)
    assert len({(trip.drive, trip.offset) for trip in trips}) == 200
    assert all(0 <= trip.offset < rows[trip.drive] for trip in trips)
    assert len(garage.rows(3)) == rows[trips[3].drive]
    assert garage.rows(3) is garage.rows(17)  # read once


def test_simulated_drives_differ_by_car_and_repeat_by_seed():
    """Each car's own road, the same again from the same seed."""
    plan = Plan(cars=3, simulate=40, drive_seconds=20.0)
    one, two = Garage(plan), Garage(plan)
    assert [one.trip(index).drive for index in range(3)] == [
        "city-seed-40",
        "suburban-seed-41",
        "highway-seed-42",
    ]
    assert one.rows(0) == two.rows(0)
    assert one.rows(0) != one.rows(1)
    assert len(one.rows(0)) == 201


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        (10.0, [0.2, 0.3, 0.0, 0.1]),
        (5.0, [0.2, 0.0, 0.2, 0.0]),
        (20.0, [0.2, 0.25, 0.3, 0.0]),
        (0.1, [0.2, 0.0, 0.0, 0.0]),
    ],
)
def test_a_drive_begins_again_at_its_end(rate, seconds):
    """From the offset to the end, then from the first row, at the fleet's rate."""
    rows = [CarRow("t", at / 10, *[0.0] * 9) for at in range(4)]
    found = [row.seconds for row in islice(endless(rows, 2, rate), 4)]
    assert found == pytest.approx(seconds)


def test_messages_carry_the_drive_and_hard_braking():
    """JSON of the row, content type set, `driveId` on each, `alert` at or below -0.2 g."""
    rows = [CarRow("t", 0.0, *[0.0] * 8, g) for g in (0.1, -0.19, -0.2, -0.5)]
    made = list(messages("car-0001", "city-01", iter(rows)))
    topics = [parse_telemetry(topic) for topic, _ in made]
    assert [topic.properties for topic in topics] == [
        {"driveId": "city-01"},
        {"driveId": "city-01"},
        {"driveId": "city-01", "alert": "braking"},
        {"driveId": "city-01", "alert": "braking"},
    ]
    assert topics[0].system == {"content-type": "application/json", "content-encoding": "utf-8"}
    assert [CarRow.from_json(body) for _, body in made] == rows
