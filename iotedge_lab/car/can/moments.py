"""A drive as moments between which frames are sent: from the physics (`Motion`) or from rows of any car.csv.

The frames of a bus come faster than either (a row each 0.1 s, a step of the physics each 0.05 s), so between two
moments a value is what lies on the straight line; a gear and a pedal stay as they are. Times are whole microseconds,
so that nothing drifts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from iotedge_lab.car.rows import NUMBERS, CarRow
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iotedge_lab.car.vehicle import Motion

LINES: Final = (
    "Latitude", "Longitude", "TripDistance", "VehicleSpeed", "SteeringAngle", "ThrottlePosition", "EngineSpeed",
    "LateralAcceleration", "LongitudinalAcceleration", "BrakeForce",
)  # fmt: skip
"""Signals that run in straight lines between two moments: the numbers of a CarRow after `seconds`, then the brakes."""

STEPS: Final = ("BrakePedal", "Gear")
"""Signals that stay until the next moment."""

CLOCKS: Final = ("Date", "TimeOfDay", "TripTime")
"""Signals that tell the time."""

COLUMN_SIGNALS: Final = dict(zip(NUMBERS[1:], LINES[:-1], strict=True))
"""The signal of each column of a CarRow."""

NO_BRAKE: Final = 65535
NO_PEDAL: Final = 3
NO_GEAR: Final = 15
NO_DATE: Final = 65535
# The raw values that car.dbc calls NotAvailable.

DAY: Final = 86_400_000_000  # us
LAST_DAY: Final = 65534  # of the 16 bits of Date
LONGEST_GAP: Final = 5_000_000  # us between two rows; beyond it they are two drives
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the recording's clock has no zone
_MICROSECOND: Final = timedelta(microseconds=1)


class Moment(NamedTuple):
    """`time` in microseconds since the trip began; `wall` since 1970, or None; values by `LINES` and `STEPS`."""

    time: int
    wall: int | None
    lines: tuple[float, ...]
    steps: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Trip:
    """A simulated drive with the wall clock at its first moment."""

    motion: Motion
    start: datetime | None = None


def moments(source: Trip | Iterable[CarRow]) -> Iterator[Moment]:
    """The drive moment by moment, as the source gives it (rows are taken as they come).

    Raises DataError where the rows step back in time, leap more than 5 s, or have times that cannot be sent.
    """
    return _of_motion(source) if isinstance(source, Trip) else _of_rows(source)


def wall_of(text: str) -> int | None:
    """Microseconds since 1970 of a row's `time`; None where it is no date and time, or none from 1970 to 2149."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    wall = (moment.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    return wall if 0 <= wall < (LAST_DAY + 1) * DAY else None


def text_of(wall: int) -> str:
    """The text of a row's `time`: YYYY-MM-DD hh:mm:ss.ffffff; what lies before 1970 or after 2149 is held there."""
    return (_EPOCH + timedelta(microseconds=min(max(wall, 0), (LAST_DAY + 1) * DAY))).isoformat(
        " ", "microseconds"
    )


def _of_motion(trip: Trip) -> Iterator[Moment]:
    from iotedge_lab.car.sensors import measure

    motion = trip.motion
    signals = measure(motion)
    wall = None if trip.start is None else wall_of(trip.start.isoformat())
    columns = [signals.values[name].tolist() for name in NUMBERS[1:]]
    table = zip(motion.time, motion.gear, motion.brake, *columns, strict=True)
    for seconds, gear, brake, *values in table:
        time = round(seconds * 1e6)
        pedal = 1 if brake > 0.0 else 0
        yield Moment(time, None if wall is None else wall + time, (*values, brake), (pedal, gear))


def _of_rows(rows: Iterable[CarRow]) -> Iterator[Moment]:
    before: int | None = None
    for row in rows:
        try:
            time = round(row.seconds * 1e6)
        except (ValueError, OverflowError) as error:
            raise DataError(f"Seconds is {row.seconds} in a row; it needs a finite number.") from error
        if before is None:
            if time < 0:
                raise DataError(
                    f"Seconds begins at {row.seconds}, before the trip; subtract that from every row."
                )
        elif not 0 <= time - before <= LONGEST_GAP:
            raise DataError(
                f"Seconds goes from {before / 1e6} to {row.seconds}: the rows are out of order or hold several "
                "drives. Sort them, or split them and send each drive."
            )
        elif time == before:
            continue
        before = time
        values = (
            row.latitude, row.longitude, row.distance, row.speed, row.steering_angle, row.throttle_position,
            row.engine_rpm, row.lateral_gs, row.acceleration_gs, NO_BRAKE,
        )  # fmt: skip
        yield Moment(time, wall_of(row.time), values, (NO_PEDAL, NO_GEAR))
