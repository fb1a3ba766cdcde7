"""One row of a car's recording: the eleven columns, their units, and how a row travels in a message.

The columns are those of the recording that the series replays, in its order and with its header, so that a
person's own `car.csv` fits. Imports nothing heavy: edge modules use it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import Any, Final

from iotedge_lab.errors import DataError


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `header` in the CSV, `name` as an attribute and JSON key, `decimals` as shipped drives have."""

    header: str
    name: str
    unit: str
    meaning: str
    decimals: int


COLUMNS: Final[tuple[Column, ...]] = (
    Column("Time", "time", "", "wall clock, YYYY-MM-DD hh:mm:ss.ffffff, no time zone", 6),
    Column("Seconds", "seconds", "s", "time since the logger started", 6),
    Column("Latitude / Y Position (Degrees)", "latitude", "degrees", "north is positive (WGS 84)", 6),
    Column("Longitude / X Position (Degrees)", "longitude", "degrees", "east is positive (WGS 84)", 6),
    Column("Distance (Miles)", "distance", "mi", "driven since the logger started", 2),
    Column("Speed (MPH)", "speed", "mph", "from the wheels", 3),
    Column("Steering Angle", "steering_angle", "degrees", "of the steering wheel, left is positive", 1),
    Column("Throttle Position", "throttle_position", "%", "0 closed, 100 wide open", 0),
    Column("Engine RPM", "engine_rpm", "1/min", "engine speed; about 665 at idle", 0),
    Column("Lateral Gs", "lateral_gs", "g", "sideways acceleration, to the right is positive", 2),
    Column("Acceleration Gs", "acceleration_gs", "g", "forward acceleration; braking is negative", 2),
)
"""The eleven columns in their order."""

HEADER: Final = ",".join(column.header for column in COLUMNS)
"""The first line of a car.csv."""


@dataclass(frozen=True, slots=True)
class CarRow:
    """What the car measured at one moment; units as in `COLUMNS`. `time` is kept as the file has it."""

    time: str
    seconds: float
    latitude: float
    longitude: float
    distance: float
    speed: float
    steering_angle: float
    throttle_position: float
    engine_rpm: float
    lateral_gs: float
    acceleration_gs: float

    def to_csv_line(self) -> str:
        """The row as one line in the order of `COLUMNS`, without a line end; reads back to an equal row."""
        time = self.time
        if any(mark in time for mark in ',"\r\n'):
            time = '"' + time.replace('"', '""') + '"'
        return ",".join([time, *(_number(getattr(self, name)) for name in NUMBERS)])

    def to_dict(self) -> dict[str, str | float]:
        """The row by `Column.name`, for a JSON message."""
        return {each.name: getattr(self, each.name) for each in COLUMNS}

    def to_json(self) -> str:
        """The row as one JSON object with the keys of `to_dict`."""
        return _to_json(self.to_dict())

    @classmethod
    def from_dict(cls, values: Any) -> CarRow:
        """The row in a dictionary by `Column.name`; other keys are ignored.

        Raises DataError that names the key which is missing or is no number.
        """
        if not isinstance(values, dict):
            raise DataError(
                f"A row is a JSON object with the keys {', '.join(ROW_NAMES)}, not {str(values)[:40]!r}."
            )
        missing = [name for name in ROW_NAMES if name not in values]
        if missing:
            raise DataError(f"The row lacks {', '.join(missing)}; send all of {', '.join(ROW_NAMES)}.")
        numbers = []
        for name in NUMBERS:
            value = values[name]
            try:
                number = math.nan if isinstance(value, bool | str) else float(value)
            except (TypeError, OverflowError):
                number = math.nan
            if not math.isfinite(number):
                raise DataError(f"The row's {name} is {str(value)[:40]!r}; send a finite number.")
            numbers.append(number)
        return cls(str(values["time"]), *numbers)

    @classmethod
    def from_json(cls, text: str | bytes) -> CarRow:
        """The row in a JSON message as `to_json` writes it. Raises DataError where it is none."""
        try:
            values = json.loads(text)
        except (ValueError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"The message is no JSON ({error}); send what CarRow.to_json() gives.") from error
        return cls.from_dict(values)


_to_json = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps would make one a row

ROW_NAMES: Final = tuple(each.name for each in fields(CarRow))
NUMBERS: Final = ROW_NAMES[1:]
"""The attributes of a CarRow that are numbers: all but `time`."""


def _number(value: float) -> str:
    """The shortest text that reads back to the same number; whole numbers without `.0`."""
    text = repr(float(value))
    return text.removesuffix(".0")
