"""Latencies, status and summary: the arithmetic."""

import json
import random

import pytest

from iotedge_lab.fleet.latency import Latencies
from iotedge_lab.fleet.status import CarSummary, Counts, Meter, status_of, summary_of


def filled(values):
    made = Latencies()
    for value in values:
        made.add(value)
    return made


def test_percentiles_are_right_to_two_per_cent_and_never_below():
    """Against sorting, over six orders of magnitude."""
    chance = random.Random(1)
    values = [10 ** chance.uniform(-4, 2) for _ in range(5000)]
    made = filled(values)
    ordered = sorted(values)
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = ordered[max(0, -(-int(share * 5000) // 1) - 1)]
        assert exact <= made.percentile(share) * (1 + 1e-9)
        assert made.percentile(share) <= exact * 1.0201
    assert made.percentile(1.0) == max(values) == made.longest


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-5, 0.001, 3600.0, 1e9])
def test_any_duration_has_its_class(value):
    """From nothing to years: one value's percentiles do not exceed it."""
    made = filled([value])
    assert len(made) == 1
    assert made.percentile(0.5) <= value
    assert made.longest == value


def test_none_has_no_percentile():
    """Nothing measured is None, not zero."""
    assert Latencies().percentile(0.99) is None


def test_latencies_add_up_and_take_apart():
    """A copy stands still, `since` is what came after it, `merged` is all, and JSON carries it."""
    made = filled([0.001, 0.002])
    before = made.copy()
    made.add(0.5)
    assert (len(before), len(made)) == (2, 3)
    assert made.since(before).percentile(0.5) == pytest.approx(0.5, rel=0.02)
    both = Latencies.merged([before, made.since(before)])
    assert both.counts == made.counts
    again = Latencies.from_json(json.loads(json.dumps(made.to_json())))
    assert (again.counts, again.longest) == (made.counts, made.longest)


def test_status_takes_the_last_seconds_of_each_process():
    """Totals are of now, rate and latencies of the window, and the processes add up."""
    meters = [Meter(), Meter()]
    assert status_of(2, meters).rate == 0.0
    for at in range(11):
        slow = filled([1.0] * min(at, 5) * 10 + [0.01] * max(0, at - 5) * 10)
        for meter in meters:
            meter.add(
                Counts(
                    at=100.0 + at, seconds=float(at), connected=1, sent=10 * at + 1, acknowledged=10 * at,
                    in_flight=1, latencies=slow,
                )
            )  # fmt: skip
    status = status_of(2, meters)
    assert (status.connected, status.cars, status.sent, status.in_flight) == (2, 2, 202, 2)
    assert status.rate == pytest.approx(20.0)
    assert status.p99_ms == pytest.approx(10.0, rel=0.02)
    assert status.seconds == 10.0


def test_a_summary_is_of_the_whole_run():
    """Processes that set off at different times are each rated by their own time."""
    ends = [
        Counts(seconds=10.0, sent=101, acknowledged=100, latencies=filled([0.002] * 100)),
        Counts(seconds=5.0, sent=50, acknowledged=50, latencies=filled([0.1] * 50)),
    ]
    cars = [CarSummary("b", "city-01", 3, 101, 100), CarSummary("a", "city-02", 0, 50, 50, "no")]
    summary = summary_of(cars, ends)
    assert summary.rate == pytest.approx(20.0)
    assert (summary.seconds, summary.unacknowledged) == (10.0, 1)
    assert [car.device for car in summary.cars] == ["a", "b"]
    assert [car.device for car in summary.refused] == ["a"]
    assert summary.longest_ms == pytest.approx(100.0)


def test_counts_pass_between_processes():
    """As JSON, latencies included."""
    counts = Counts(at=1.5, seconds=1.0, sent=3, trouble="none", latencies=filled([0.2]))
    again = Counts.from_json(json.loads(json.dumps(counts.to_json())))
    assert (again.at, again.sent, again.trouble) == (1.5, 3, "none")
    assert again.latencies.counts == counts.latencies.counts
