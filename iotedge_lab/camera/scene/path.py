"""Where the car has been, from its own telemetry: the road that the camera sees bends as the wheel was turned.

Distance comes from the speed, curvature from the steering angle and the speed by the same bicycle model that
`car/vehicle.py` steers with. Behind the drive's last row, and before its first, the road goes straight on. Leaves
out: hills, and the satellite positions, which are too coarse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.car.units import MPS_PER_MPH
from iotedge_lab.car.vehicle import STEERING_RATIO, UNDERSTEER, WHEELBASE
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from iotedge_lab.car.rows import CarRow

    Array = NDArray[np.float64]

AHEAD: Final = 320.0  # m of road beyond the last row
SHARPEST: Final = 1.0 / 9.0  # 1/m
STILL: Final = 0.3  # m/s
LONGEST_GAP: Final = 5.0  # s


@dataclass(frozen=True, slots=True)
class Halt:
    """A time in which the car stood."""

    metre: float
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Path:
    """The driven line; times in seconds from the first row, metres along the line.

    Points lie a metre apart: x to the east of the start, y north of it, and the heading, counter-clockwise.
    """

    times: Array
    metres: Array
    speeds: Array
    """m/s, at each row"""
    x: Array
    y: Array
    heading: Array
    curvature: Array
    """1/m, positive to the left"""
    halts: tuple[Halt, ...]

    @property
    def seconds(self) -> float:
        """How long the drive takes."""
        return float(self.times[-1])

    def metre_at(self, time: float) -> float:
        """How far the car has come, without a jump at rows that lie apart."""
        return float(np.interp(time, self.times, self.metres))

    def speed_at(self, time: float) -> float:
        """m/s."""
        return float(np.interp(time, self.times, self.speeds))

    def time_at(self, metre: float) -> float:
        """When the car was there first."""
        return float(self.times[min(int(np.searchsorted(self.metres, metre)), len(self.times) - 1)])

    def pose(self, metre: float) -> tuple[float, float, float]:
        """x, y and heading there."""
        at = min(max(metre, 0.0), len(self.x) - 1.001)
        low = int(at)
        share = at - low
        return (
            float(self.x[low] + share * (self.x[low + 1] - self.x[low]))
            + (metre - at) * math.cos(self.heading[low]),
            float(self.y[low] + share * (self.y[low + 1] - self.y[low]))
            + (metre - at) * math.sin(self.heading[low]),
            float(self.heading[low] + share * (self.heading[low + 1] - self.heading[low])),
        )


def make_path(rows: Sequence[CarRow]) -> Path:
    """The path of a drive. Raises DataError for fewer than two rows, or for times that do not go on.

    A gap of more than five seconds between two rows is passed over as if no time had gone by.
    """
    if len(rows) < 2:
        raise DataError(
            f"A camera needs a drive of two rows at least, not {len(rows)}; choose another recording."
        )
    seconds = np.array([row.seconds for row in rows])
    steps = np.diff(seconds)
    if (steps < 0).any():
        at = int(np.argmax(steps < 0)) + 1
        raise DataError(
            f"Row {at + 1} of the drive lies before the one above it ({rows[at].seconds} s); sort it by time."
        )
    steps = np.where(steps > LONGEST_GAP, 0.0, steps)
    if not steps.any():
        raise DataError("All rows of the drive have the same time; choose another recording.")
    times = np.concatenate([[0.0], np.cumsum(steps)])
    speeds = np.maximum(0.0, np.array([row.speed for row in rows])) * MPS_PER_MPH
    metres = np.concatenate([[0.0], np.cumsum(0.5 * (speeds[1:] + speeds[:-1]) * steps)])
    wheel = np.tan(np.clip(np.radians([row.steering_angle for row in rows]) / STEERING_RATIO, -0.6, 0.6))
    bend = np.clip(wheel / (WHEELBASE + UNDERSTEER * speeds**2), -SHARPEST, SHARPEST)
    moving = speeds > STILL
    count = int(metres[-1] + AHEAD) + 2
    along = np.arange(count, dtype=np.float64)
    curvature = np.zeros(count)
    if moving.sum() > 1:
        # While the car stands, the wheel says nothing about the road.
        curvature = np.interp(along, metres[moving], bend[moving], right=0.0)
        curvature = np.convolve(curvature, np.full(3, 1.0 / 3.0), mode="same")
    heading = np.concatenate([[0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1]))])
    middle = 0.5 * (heading[1:] + heading[:-1])
    x = np.concatenate([[0.0], np.cumsum(np.cos(middle))])
    y = np.concatenate([[0.0], np.cumsum(np.sin(middle))])
    return Path(times, metres, speeds, x, y, heading, curvature, _halts(times, metres, speeds))


def _halts(times: Array, metres: Array, speeds: Array) -> tuple[Halt, ...]:
    """Each time in which the car stood for two seconds or more, but for the one that it began with."""
    still = np.concatenate([[False], speeds < STILL, [False]])
    edges = np.flatnonzero(still[1:] != still[:-1])
    found = []
    for begin, end in pairwise(edges):
        if still[begin + 1] and times[end - 1] - times[begin] >= 2.0 and metres[begin] > 5.0:
            found.append(Halt(float(metres[begin]), float(times[begin]), float(times[end - 1])))
    return tuple(found)
