"""Which drive each car replays, from where, and its rows as messages.

A car takes one of the shipped drives and an offset into it, both from its number, so that no two of a few
hundred cars are at the same place; or a drive that was simulated for it alone. At the end of a drive it
begins again at the drive's first row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from iotedge_lab.car import drives
from iotedge_lab.wire.topics import telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iotedge_lab.car.route import Kind
    from iotedge_lab.car.rows import CarRow
    from iotedge_lab.fleet.plan import Plan

BRAKING: Final = -0.2  # g; at or below it a row carries the property alert
ALERT: Final = "braking"
SYSTEM: Final = {"content-type": "application/json", "content-encoding": "utf-8"}

# Multiples of the golden section spread evenly over a drive, however many cars there are.
_GOLDEN: Final = 0.618033988749895
_SOURCE_HZ: Final = 10.0  # rows a second of a drive, shipped or simulated
_KINDS: Final[tuple[Kind, ...]] = ("city", "suburban", "highway")
_START: Final = datetime.fromisoformat("2026-03-02 07:30:00")  # as the shipped drives: no zone


@dataclass(frozen=True, slots=True)
class Trip:
    """One car's drive, and the index of the row that it begins with."""

    drive: str
    offset: int


class Garage:
    """The drives that a fleet's cars need; a shipped one is read once, and shared."""

    def __init__(self, plan: Plan) -> None:
        """Raises DataError where the shipped drives are wanted and absent."""
        self._plan = plan
        self._shipped = [] if plan.simulate is not None else drives.catalogue()
        self._read: dict[str, list[CarRow]] = {}

    def trip(self, index: int) -> Trip:
        """The trip of the car with this number, from 0."""
        if self._plan.simulate is not None:
            return Trip(f"{_KINDS[index % len(_KINDS)]}-seed-{self._plan.simulate + index}", 0)
        info = self._shipped[index % len(self._shipped)]
        rows = int(info.seconds * _SOURCE_HZ) + 1
        return Trip(info.id, int((index + 1) * _GOLDEN % 1.0 * rows))

    def rows(self, index: int) -> Sequence[CarRow]:
        """All rows of that car's drive, ten a second."""
        drive = self.trip(index).drive
        if self._plan.simulate is not None:
            from iotedge_lab.car.sensors import record
            from iotedge_lab.car.vehicle import simulate

            kind = _KINDS[index % len(_KINDS)]
            return record(simulate(self._plan.simulate + index, kind, self._plan.drive_seconds), _START)
        if drive not in self._read:
            self._read[drive] = list(drives.rows(drives.drive_path(drive)))
        return self._read[drive]


def endless(rows: Sequence[CarRow], offset: int, rate: float) -> Iterator[CarRow]:
    """The rows, ten a second, from `offset` on, as `rate` a second, and from the first again after the last.

    Where the rate divides ten, they are rows as they were recorded; else they are drawn between those.
    """
    step = round(_SOURCE_HZ / rate)
    as_recorded = step >= 1 and abs(step * rate - _SOURCE_HZ) < 1e-9
    begin = offset
    while True:
        if as_recorded:
            yield from islice(rows, begin, None, step)
        else:
            yield from drives.resample(islice(rows, begin, None), rate)
        begin = 0


def messages(device: str, drive: str, rows: Iterator[CarRow]) -> Iterator[tuple[bytes, bytes]]:
    """Topic and body for each row: JSON, the property `driveId`, and `alert` where the car brakes hard."""
    plain = telemetry_topic(device, None, SYSTEM, {"driveId": drive}).encode()
    braking = telemetry_topic(device, None, SYSTEM, {"driveId": drive, "alert": ALERT}).encode()
    for row in rows:
        yield braking if row.acceleration_gs <= BRAKING else plain, row.to_json().encode()
