"""Rows of a recording, replayed: a car.csv row by row, a car.csv by its own time, or a log of a CAN bus.

After the last row comes the first again, as the next lap. The file is read whole before the first row is sent, so a
bad one is refused at once and not in the middle of a drive.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car import drives
from iotedge_lab.errors import DataError, UsageError
from simulator_car.pace import Pace
from simulator_car.reading import Extras, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iotedge_lab.car.rows import CarRow
    from simulator_car.settings import Settings

SLOWEST: Final = 0.01
FASTEST: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of a recording, with the further signals of a log."""

    row: CarRow
    extras: Extras = field(default_factory=dict)


def load(settings: Settings, folder: Path) -> list[Recorded]:
    """The rows that these settings ask for; paths are relative to `folder`. Raises UsageError, DataError."""
    if settings.log is not None:
        return _of_log(settings, folder)
    rows = drives.rows(folder / settings.file)
    if settings.resample:
        rows = drives.resample(rows, settings.rate)
    return [Recorded(row) for row in rows]


def _of_log(settings: Settings, folder: Path) -> list[Recorded]:
    from iotedge_lab.car.can.log import read_log
    from simulator_car.signals import Signals

    assert settings.log is not None
    path = folder / settings.log
    signals = Signals(settings, folder)
    found = []
    for frame in read_log(path):
        sample = signals.reader.feed(frame)
        if sample is not None:
            found.append(Recorded(sample.row, signals.extras()))
    if not found:
        raise DataError(
            f"{path} holds no whole row of this DBC ({signals.reader.counts.frames} frames, "
            f"{', '.join(signals.reader.missing) or 'nothing'} missing); give the log of a car, and its DBC."
        )
    return found


class Replay:
    """A recording at an even beat: `rate` rows a second, times `speed`."""

    def __init__(self, recorded: Sequence[Recorded], rate: float, now: float) -> None:
        self._recorded = recorded
        self._rate = rate
        self._speed = 1.0
        self._pace = Pace(rate, now)
        self._next = 0
        self._lap = 1

    @property
    def speed(self) -> float:
        """How much faster than its rate the recording is replayed."""
        return self._speed

    @property
    def paused(self) -> bool:
        """Whether it waits for `resume`."""
        return self._pace.paused

    def take(self, now: float) -> Reading | float:
        """The reading that is due, or the seconds until one is."""
        wait = self._pace.wait(now)
        if wait > 0.0:
            return wait
        recorded = self._recorded[self._next]
        reading = Reading(recorded.row, self._lap, self._next + 1, recorded.extras)
        self._pace.beat(now)
        self._next += 1
        if self._next == len(self._recorded):
            self._next, self._lap = 0, self._lap + 1
        return reading

    def set_speed(self, speed: float, now: float) -> None:
        """Replay faster or slower from the last row on. Raises UsageError."""
        if not SLOWEST <= speed <= FASTEST:
            raise UsageError(f"speed is {speed:g}; a number from {SLOWEST:g} to {FASTEST:g} belongs there")
        self._speed = speed
        self._pace.change(self._rate * speed, now)

    def set_rate(self, rate: float, now: float, recorded: Sequence[Recorded] | None = None) -> None:
        """Another rate; `recorded`: the same drive at that rate, to go on with where this one is."""
        if recorded is not None:
            times = [each.row.seconds for each in recorded]
            if self._next and all(before <= after for before, after in pairwise(times)):
                self._next = bisect_right(times, self._recorded[self._next - 1].row.seconds) % len(times)
                self._lap += self._next == 0
            else:
                self._next = 0
            self._recorded = recorded
        self._rate = rate
        self._pace.change(rate * self._speed, now)

    def pause(self) -> None:
        """Hold the drive where it is."""
        self._pace.pause()

    def resume(self, now: float) -> None:
        """Go on from there."""
        self._pace.resume(now)

    def progress(self, now: float) -> dict[str, Any]:  # noqa: ARG002 - as every feed's
        """For the report: how long the recording is. Where the drive is, the sender knows."""
        return {"rows": len(self._recorded)}

    def close(self) -> None:
        """Nothing is open."""
