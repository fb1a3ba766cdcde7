"""Two cars: the one of the recording, and another that a model of the first does not know.

The other one has six gears in place of eight, a shorter axle, and is loaded heavily: at the same speed its engine turns
otherwise, and at the same throttle it gains speed otherwise. So a model's error rises when a fleet changes cars, which
is what the loop has to notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.powertrain import EIGHT_SPEED, FOUR_SPEED, SIX_SPEED, Gearbox
from iotedge_lab.car.reading import format_row
from iotedge_lab.car.rows import HEADER
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    import os

    from iotedge_lab.car.route import Kind
    from iotedge_lab.car.rows import CarRow

_START: Final = datetime.fromisoformat("2026-04-06 08:00:00")  # no zone, as in the recording


@dataclass(frozen=True, slots=True)
class Car:
    """A car to make drives with."""

    name: str
    gearbox: Gearbox = EIGHT_SPEED
    load: float | None = None
    """kg beyond the driver; None draws one for each drive"""

    def drive(
        self, seed: int, kind: Kind = "city", seconds: float = 342.0, start: datetime = _START
    ) -> list[CarRow]:
        """A drive at 10 rows a second; the same arguments give the same rows.

        Raises `UsageError` as `vehicle.simulate` does.
        """
        from iotedge_lab.car.sensors import record
        from iotedge_lab.car.vehicle import simulate

        return record(simulate(seed, kind, seconds, load=self.load, gearbox=self.gearbox), start)


RECORDED: Final = Car("recorded")
"""The recording's car, as in the shipped drives."""
OTHER: Final = Car("other", SIX_SPEED, 500.0)
"""Six gears, a shorter axle, 500 kg on board."""
VAN: Final = Car("van", FOUR_SPEED, 500.0)
"""Four gears and a van's axle, 500 kg on board: a model of the recorded car errs about twice as much in it."""


def write(rows: list[CarRow], path: str | os.PathLike[str]) -> None:
    """Write rows as a car.csv, which ModuleSimulatorCar replays. Raises `UsageError` where it cannot be written."""
    from pathlib import Path

    try:
        Path(path).write_text("\n".join([HEADER, *map(format_row, rows), ""]), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(
            f"The drive cannot be written to {path}: {error.strerror}; choose another path."
        ) from error
