"""The detector: quiet on drives like those held out, awake when the error rises."""

import math
import random
from datetime import timedelta

import numpy as np
import pytest
from predictions import BEGIN, prediction

from iotedge_lab.errors import UsageError
from iotedge_lab.rollout.drift import LEAST_SCATTER, Detector, Reference, Watch

OWN = Reference(mean=2.5, block_sd=1.7, drive_sd=0.6, blocks=70, drives=3)


def blocks(seed, level, count, *, drives=1, scatter=1.7, road=0.5):
    """Errors of so many blocks of each of some drives, at 1 row a second: blocks scatter, and so do drives."""
    rnd = random.Random(seed)
    for drive in range(drives):
        shift = rnd.gauss(0.0, road)
        for block in range(count):
            mean = max(0.1, level + shift + rnd.gauss(0.0, scatter))
            for second in range(20):
                yield prediction(block * 20.0 + second, mean + rnd.gauss(0.0, 0.2), drive=f"drive-{drive}")


def feed(detector, rows):
    for row in rows:
        detector.add(row)
        found = detector.check()
        if found is not None:
            return found
    return None


def test_quiet_while_nothing_changes():
    """In 50 runs of six drives like those of the reference there is at most one alarm."""
    alarms = [feed(Detector("1", OWN), blocks(seed, 2.5, 20, drives=6)) for seed in range(50)]
    assert sum(each is not None for each in alarms) <= 1


def test_awake_when_the_error_doubles():
    """Each time, within a few windows of a fleet of four; the alarm says since when."""
    for seed in range(20):
        four = sorted(blocks(seed, 5.4, 12, drives=4), key=lambda row: row.seconds)
        drift = feed(Detector("1", OWN), four)
        assert drift is not None
        assert drift.error > drift.limit > drift.reference == 2.5
        assert BEGIN <= drift.since < drift.noticed
        assert drift.blocks == 15
    assert "mph off over 15 blocks" in str(drift)


def test_since_is_the_window():
    """What is trained on begins with the window: rows of the quiet time before are not among them."""
    detector = Detector("1", OWN)
    assert feed(detector, blocks(1, 2.5, 15, scatter=0.1)) is None
    drift = feed(detector, [prediction(300.0 + number, 9.0) for number in range(1200)])
    assert drift is not None
    assert drift.since > BEGIN
    assert drift.noticed - drift.since <= timedelta(seconds=16 * 20)


def test_one_hard_drive_is_no_drift():
    """The limit for many blocks of one drive lies above that for as many of several."""
    detector = Detector("1", OWN)
    assert detector.limit(15, 1) > detector.limit(15, 4) > OWN.mean * 1.15
    tight = Detector("1", Reference(2.5, 0.01, 0.001, 70, 3))
    assert tight.limit(1000, 100) == pytest.approx(2.5 * 1.15)


def test_what_does_not_count():
    """Other versions, the warm-up, blocks with hardly a row, a late row of the block before."""
    detector = Detector("1", OWN, Watch(window=3, least_rows=2))
    for row in (prediction(0.0, 9.0, version="2"), prediction(1.0, 9.0, warmup=True)):
        detector.add(row)
    assert (detector.blocks, math.isnan(detector.error)) == (0, True)
    for seconds in (19.5, 20.0, 21.0, 19.0, 40.0):  # the first has one row only; 19.0 comes late
        detector.add(prediction(seconds, 4.0))
    assert (detector.blocks, detector.error) == (1, 4.0)


def test_a_drive_that_is_played_again():
    """Where the seconds begin anew, so does the block: what is live counts, though it was seen before."""
    detector = Detector("1", OWN, Watch(window=3, least_rows=2))
    for _ in range(4):
        for second in range(30):
            detector.add(prediction(float(second), 2.0))
    assert detector.blocks == 3


def test_forgetting():
    """After an alarm that was dealt with the window fills anew."""
    detector = Detector("1", OWN)
    assert feed(detector, blocks(3, 6.0, 40)) is not None
    detector.forget()
    assert (detector.check(), detector.blocks) == (None, 0)


def test_a_reference_is_measured():
    """From the rows of drives held out: mean and scatter of blocks, and of drives; and through the registry."""
    seconds = np.tile(np.arange(0.0, 200.0, 0.5), 3)
    drives = np.repeat(["a", "b", "c"], 400)
    error = np.repeat([1.0, -2.0, 3.0], 400)
    found = Reference.measure(drives, seconds, error)
    assert (found.mean, found.drive_sd, found.blocks, found.drives) == pytest.approx((2.0, 1.0, 30, 3))
    assert Reference.from_metrics(found.to_metrics()) == found
    assert Reference.from_metrics({"mae": 1.0}) is None
    alone = Reference.measure(drives[:400], seconds[:400], error[:400])
    assert alone.drive_sd == LEAST_SCATTER * 1.0
    with pytest.raises(UsageError, match="2 blocks of 20 s"):
        Reference.measure(drives[:80], seconds[:80], error[:80])


@pytest.mark.parametrize("wrong", [{"window": 2}, {"sigmas": 0.0}, {"rise": -0.1}, {"block_seconds": 0.0}])
def test_watches_that_are_none(wrong):
    """Refused."""
    with pytest.raises(UsageError):
        Watch(**wrong)
