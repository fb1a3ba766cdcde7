"""When the next row is due: an even beat that can be changed, paused, and held up. Sans-IO: the caller reads the clock.

Being late by a little (a busy machine) is caught up with, so that the beat is right on the average. After a longer
pause (an edge hub that was away) the beat goes on from there: the drive waited, and nothing comes in a burst.
"""

from __future__ import annotations

import math
from typing import Final

MOST_BEHIND: Final = 1.0
"""Seconds by which a beat may be late before it gives the time up."""


class Pace:
    """`per_second` beats. Times are seconds of one monotonic clock."""

    def __init__(self, per_second: float, now: float) -> None:
        self._period = 1.0 / per_second
        self._due = now
        self._begun = False
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether nothing is due until `resume`."""
        return self._paused

    def wait(self, now: float) -> float:
        """Seconds until the next beat: 0 where it is due, infinity while paused."""
        return math.inf if self._paused else max(0.0, self._due - now)

    def beat(self, now: float) -> None:
        """The beat that was due is taken. The first one begins the time, whenever it comes."""
        if not self._begun or now - self._due > MOST_BEHIND:
            self._due = now
        self._due += self._period
        self._begun = True

    def change(self, per_second: float, now: float) -> None:
        """Another rate, counted from the last beat on; what that makes overdue is due now."""
        period = 1.0 / per_second
        if self._begun:
            self._due = max(now, self._due - self._period + period)
        self._period = period

    def pause(self) -> None:
        """Have nothing due."""
        self._paused = True

    def resume(self, now: float) -> None:
        """Go on; the next beat is due no sooner than it was, and not before now."""
        if self._paused:
            self._paused = False
            self._due = max(self._due, now)
