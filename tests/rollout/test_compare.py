"""Champion against challenger: what rows prove, and what they do not."""

import math
import random

import pytest
from predictions import prediction

from iotedge_lab.errors import UsageError
from iotedge_lab.rollout.compare import Comparison, Rule
from iotedge_lab.rollout.messages import Beside


def run(comparison, pairs, *, each_second=2, **options):
    """Feed pairs of errors, some a second, and look at each row; the first verdict that is one, else the last."""
    verdict = comparison.verdict()
    for number, (champion, challenger) in enumerate(pairs):
        comparison.add(prediction(number / each_second, champion, beside=challenger, **options))
        verdict = comparison.verdict()
        if verdict.finding != "too early":
            break
    return verdict


def noisy(seed, count, gain, scatter=1.4, calm=40):
    """Errors as live rows have them: neighbours alike for `calm` rows; the challenger `gain` mph less far off.

    Without a gain the two could be exchanged: neither is better.
    """
    rnd = random.Random(seed)
    for number in range(count):
        if number % calm == 0:
            level = rnd.gammavariate(2.0, 1.5)
            ours, theirs = (level + rnd.gauss(0.0, scatter) for _ in range(2))
        yield abs(ours + rnd.gauss(0.0, 0.2)), max(0.0, abs(theirs + rnd.gauss(0.0, 0.2)) - gain)


def test_better_and_worse():
    """A clear difference is found as soon as there are blocks enough, with its size and sign."""
    verdict = run(Comparison("2", "1"), [(3.0 + 0.1 * (n % 7), 2.0) for n in range(2000)])
    assert (verdict.finding, verdict.blocks) == ("better", 12)
    assert verdict.difference == pytest.approx(-1.3, abs=0.02)
    assert verdict.low < verdict.difference < verdict.high < 0.0
    assert (verdict.champion_error, verdict.challenger_error) == pytest.approx((3.3, 2.0), abs=0.02)
    verdict = run(Comparison("2", "1"), [(2.0, 3.0 + 0.1 * (n % 7)) for n in range(2000)])
    assert (verdict.finding, verdict.blocks) == ("worse", 12)


def test_rows_that_err_alike_are_no_proofs():
    """A thousand rows of two blocks prove nothing, however clear they look."""
    comparison = Comparison("2", "1")
    for number in range(1000):
        comparison.add(prediction(number * 0.039, 3.0, beside=1.0))
    verdict = comparison.verdict()
    assert (verdict.finding, verdict.rows, verdict.blocks) == ("too early", 1000, 2)
    assert "2 of 12 blocks" in verdict.reason


def test_no_better_is_seldom_found_better():
    """Of 80 challengers that are just as good, hardly one in twenty wins, though they are looked at all the time.

    Were it one in twenty, more than 8 of 80 would come once in fifty times; the seeds are fixed.
    """
    rule = Rule(most_blocks=60)
    found = [run(Comparison("2", "1", rule), noisy(seed, 2400, 0.0)).finding for seed in range(80)]
    assert found.count("better") <= 8
    assert found.count("worse") <= 8
    assert found.count("no difference") >= 64


def test_truly_better_is_nearly_always_found():
    """A gain of 1 mph in that noise is found within the blocks that there may be."""
    found = [run(Comparison("2", "1"), noisy(seed, 9600, 1.0)).finding for seed in range(40)]
    assert found.count("better") >= 38


def test_a_gain_that_is_asked_for():
    """Half a mph better is not enough where one is asked for; then the chance ends with the blocks."""
    rule = Rule(gain=1.0, most_blocks=24)
    verdict = run(Comparison("2", "1", rule), [(3.0 + 0.1 * (n % 5), 2.5) for n in range(2000)])
    assert (verdict.finding, verdict.blocks) == ("no difference", 24)


def test_roles_may_change():
    """On a canary the challenger answers and the champion runs beside it: the difference keeps its sign."""
    comparison = Comparison("2", "1")
    for number in range(480):
        comparison.add(prediction(number / 2, 1.0, beside=3.0, version="2", other="1"))
    verdict = comparison.verdict()
    assert (verdict.finding, verdict.difference) == ("better", pytest.approx(-2.0))


def test_what_does_not_count():
    """Other versions, rows without a challenger, the warm-up, and what comes a second time."""
    comparison = Comparison("2", "1")
    assert not comparison.add(prediction(1.0, 1.0))
    assert not comparison.add(prediction(1.0, 1.0, beside=1.0, warmup=True))
    assert not comparison.add(prediction(1.0, 1.0, beside=1.0, other="3"))
    assert not comparison.add(prediction(1.0, 1.0, beside=1.0, version="0"))
    assert comparison.add(prediction(1.0, 1.0, beside=1.0))
    assert not comparison.add(prediction(1.0, 1.0, beside=1.0))
    assert comparison.add(prediction(1.0, 1.0, beside=1.0, device="other"))
    assert comparison.rows == 2


def test_a_challenger_without_numbers():
    """One row for which it has none is enough to give it up."""
    comparison = Comparison("2", "1")
    row = prediction(1.0, 1.0, beside=1.0)
    broken = type(row)(*[getattr(row, name) for name in row.__slots__][:-1], Beside("2", math.nan, math.inf))
    comparison.add(broken)
    assert comparison.verdict().finding == "worse"
    assert "gave no number in 1 rows" in comparison.verdict().reason


def test_a_verdict_stays():
    """What was decided is not decided otherwise by later rows."""
    comparison = Comparison("2", "1")
    assert run(comparison, [(3.0, 1.0 + 0.01 * (n % 3)) for n in range(600)]).finding == "better"
    for number in range(5000):
        comparison.add(prediction(1e4 + number / 2, 1.0, beside=9.0))
    assert comparison.verdict().finding == "better"


@pytest.mark.parametrize(
    "wrong",
    [{"error": 0.0}, {"error": 0.6}, {"block_seconds": 0.0}, {"least_rows": 0}, {"least_blocks": 2},
     {"least_blocks": 20, "most_blocks": 10}, {"gain": -1.0}],
)  # fmt: skip
def test_rules_that_are_none(wrong):
    """Refused with what would be right."""
    with pytest.raises(UsageError):
        Rule(**wrong)
