"""Champion and challenger on the same live rows, and when to believe the difference.

Each row that an edge predicts with both gives a difference: how much less far off the challenger is. Rows lie a tenth
of a second apart and err alike, so a thousand of them are no thousand proofs. They are taken together by blocks of
driving time (20 s: means of neighbouring blocks then hardly go together, a correlation of 0.1), and blocks are what is
counted: the mean of their differences with a t interval.

Who looks at running figures again and again finds a difference some day where there is none. So it is looked at when
the blocks have grown by half, and the k-th look is allowed 1/(k (k + 1)) of the error, which adds up to all of it.

A row that comes twice counts once; so does one that a simulator plays again, which proves nothing new. Rows of the
warm-up do not count. What stays: all this holds for the drives that were seen, and for drives like them.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from iotedge_lab.rollout.messages import Prediction

Finding = Literal["better", "worse", "no difference", "too early"]

_KEPT: Final = 500_000  # rows whose keys are remembered; beyond that the comparison has long ended


@dataclass(frozen=True, slots=True)
class Rule:
    """When a challenger has won, lost, or had its chance."""

    error: float = 0.05
    """how often, at most, a challenger that is no better is found better, over all looks together"""
    block_seconds: float = 20.0
    least_blocks: int = 12
    most_blocks: int = 240
    """after these there is a decision: the champion stays unless the challenger was found better"""
    least_rows: int = 5
    """in a block, else it does not count"""
    gain: float = 0.0
    """mph by which the challenger must be better"""
    harm: float = 0.0
    """mph by which it must be worse to be given up before its time"""

    def __post_init__(self) -> None:
        if not 0.0 < self.error < 0.5:
            raise UsageError(f"`error` lies between 0 and 0.5 (0.05 is usual), not at {self.error}.")
        if self.block_seconds <= 0.0 or self.least_rows < 1:
            raise UsageError("A block has a length above 0 s, and at least one row.")
        if not 3 <= self.least_blocks <= self.most_blocks:
            raise UsageError(
                f"A comparison takes at least 3 blocks, and its most is no less than its least: not "
                f"{self.least_blocks} and {self.most_blocks}."
            )
        if self.gain < 0.0 or self.harm < 0.0:
            raise UsageError("`gain` and `harm` are mph, 0 or more.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rows so far say. Differences are challenger minus champion, in mph: below 0 the challenger is better."""

    finding: Finding
    difference: float
    low: float
    high: float
    champion_error: float
    """mean over the same blocks, mph"""
    challenger_error: float
    rows: int
    blocks: int
    reason: str

    def __str__(self) -> str:
        return f"{self.finding}: {self.reason}"


@dataclass(slots=True)
class _Block:
    rows: int = 0
    champion: float = 0.0
    challenger: float = 0.0


@dataclass(slots=True)
class _Sums:
    blocks: dict[tuple[str, str, int], _Block] = field(default_factory=dict)
    seen: set[tuple[str, str, str, float]] = field(default_factory=set)
    rows: int = 0
    broken: int = 0


class Comparison:
    """Takes predictions with a challenger beside, from any thread, and says what they prove.

    challenger: its version; champion: the version it is compared with, by default whichever serves. Either may be the
    one that serves: on a canary the roles are changed, and the comparison stays the same.
    """

    def __init__(self, challenger: str, champion: str | None = None, rule: Rule | None = None) -> None:
        self.rule = rule or Rule()
        self._challenger = challenger
        self._champion = champion
        self._sums = _Sums()
        self._lock = threading.Lock()
        self._looks = 0
        self._next_look = self.rule.least_blocks
        self._last: Verdict | None = None

    def add(self, prediction: Prediction) -> bool:
        """Take a row, if it is one of these two; whether it was."""
        beside = prediction.beside
        if beside is None or prediction.warmup:
            return False
        if beside.version == self._challenger and self._champion in (None, prediction.version):
            champion, challenger = prediction.error, beside.error
        elif prediction.version == self._challenger and self._champion in (None, beside.version):
            champion, challenger = beside.error, prediction.error
        else:
            return False
        key = (prediction.sender.device, prediction.drive, prediction.time, prediction.seconds)
        with self._lock:
            sums = self._sums
            if key in sums.seen or len(sums.seen) >= _KEPT:
                return False
            sums.seen.add(key)
            if not math.isfinite(challenger):
                sums.broken += 1
                return True
            if not math.isfinite(champion):
                return False
            place = (key[0], key[1], math.floor(prediction.seconds / self.rule.block_seconds))
            block = sums.blocks.setdefault(place, _Block())
            block.rows += 1
            block.champion += champion
            block.challenger += challenger
            sums.rows += 1
        return True

    @property
    def rows(self) -> int:
        """How many rows both models have predicted."""
        return self._sums.rows

    def verdict(self) -> Verdict:
        """What is known now. Cheap, and may be asked at any time: what counts as a look is decided here."""
        with self._lock:
            if self._last is not None and self._last.finding != "too early":
                return self._last
            self._last = self._judge()
            return self._last

    def _judge(self) -> Verdict:
        rule, sums = self.rule, self._sums
        whole = [each for each in sums.blocks.values() if each.rows >= rule.least_rows]
        count = len(whole)
        champion = math.fsum(each.champion / each.rows for each in whole) / count if count else math.nan
        challenger = math.fsum(each.challenger / each.rows for each in whole) / count if count else math.nan

        def told(finding: Finding, low: float, high: float, reason: str) -> Verdict:
            return Verdict(
                finding, challenger - champion, low, high, champion, challenger, sums.rows, count, reason
            )

        if sums.broken:
            return told("worse", math.nan, math.nan, f"the challenger gave no number in {sums.broken} rows")
        if count < self._next_look and count < rule.most_blocks:
            return told(
                "too early",
                math.nan,
                math.nan,
                f"{count} of {self._next_look} blocks of {rule.block_seconds:g} s",
            )
        self._looks += 1
        self._next_look = max(self._next_look + 1, math.ceil(count * 1.5))
        allowed = rule.error / (self._looks * (self._looks + 1))
        differences = [(each.challenger - each.champion) / each.rows for each in whole]
        middle, half = _interval(differences, allowed)
        low, high = middle - half, middle + half
        figures = (
            f"{challenger:.2f} mph against {champion:.2f}, a difference of {middle:+.2f} ({low:+.2f} to {high:+.2f}) "
            f"over {count} blocks of {rule.block_seconds:g} s"
        )
        if high < -rule.gain:
            return told("better", low, high, figures)
        if low > rule.harm:
            return told("worse", low, high, figures)
        if count >= rule.most_blocks:
            return told("no difference", low, high, figures)
        return told("too early", low, high, f"{figures}: not enough to tell")


def _interval(values: list[float], allowed: float) -> tuple[float, float]:
    """The mean and the half width of its t interval; each side errs in `allowed` of all cases at most."""
    t = import_module("scipy.stats").t
    count = len(values)
    middle = math.fsum(values) / count
    spread = math.sqrt(math.fsum((each - middle) ** 2 for each in values) / (count - 1))
    return middle, float(t.ppf(1.0 - allowed, count - 1)) * spread / math.sqrt(count)
