"""What the module is told: each setting by a desired property of its twin, or by an environment variable.

    source         CAR_SOURCE          csv, the default: rows of a recording; can: a CAN bus, or a log of one
    file           CAR_FILE            the recording, data/car.csv by default; relative to the module's folder
    resample       CAR_RESAMPLE        false, the default: each row of the recording as it is, at an even beat, as in
                                       the blog; true: `rate` rows for each second of the recording's own time
    bus            CAR_BUS             unix:PATH, socketcan:INTERFACE, or log:PATH (a .blf, .asc or .log)
    dbc            CAR_DBC             a DBC file of one's own; the simulated car's by default
    signals        CAR_SIGNALS         further signals of the DBC for each message: a list (in the variable: commas)
    rate           CAR_RATE            rows a second, 1 by default, 0.001 to 100; of a bus, and of a recording that
                                       is resampled: for each second of the car's own time
    format         CAR_FORMAT          csv, the default: the row as a line; json: an object, so that routes see $body
    driveId        CAR_DRIVE_ID        the property of that name; by default the name of the file or the bus
    speedLimit     CAR_SPEED_LIMIT     mph, 45 by default; a faster row carries `alert` and `speeding`
    brakingLimit   CAR_BRAKING_LIMIT   g, -0.2 by default; a row at or below it carries `alert` and `braking`
    reportSeconds  CAR_REPORT_SECONDS  how often progress is reported, 30 by default

A desired property goes before the variable; null takes it back. What cannot be used is refused: the old value stays,
and the reported property `errors` says why. A recording reaches the hub at `rate` times the speed of the replay, which
the method setSpeed sets (`methods`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.device.settings import Setting, flag, number, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCES: Final = ("csv", "can")
FORMATS: Final = ("csv", "json")
LOG: Final = "log:"
LONGEST_TEXT: Final = 1024
LONGEST_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; see the table above."""

    source: str = "csv"
    file: str = "data/car.csv"
    resample: bool = False
    bus: str = ""
    dbc: str = ""
    signals: tuple[str, ...] = ()
    rate: float = 1.0
    format: str = "csv"
    drive_id: str = ""
    speed_limit: float = 45.0
    braking_limit: float = -0.2
    report_seconds: float = 30.0

    @property
    def log(self) -> str | None:
        """The path of the log to replay, None where the source is none."""
        if self.source == "can" and self.bus.startswith(LOG):
            return self.bus.removeprefix(LOG)
        return None

    @property
    def live(self) -> bool:
        """Whether a car that drives by itself is listened to."""
        return self.source == "can" and self.log is None

    @property
    def feed(self) -> tuple[object, ...]:
        """What decides where rows come from: where it is equal, the feed goes on (at another rate, perhaps)."""
        if self.source == "can":
            return self.bus, self.dbc, self.signals
        return self.file, self.resample

    @property
    def drive(self) -> str:
        """The drive's id: the one that was set, else the name of the file or the bus."""
        if self.drive_id:
            return self.drive_id
        place = self.bus.partition(":")[2] if self.source == "can" else self.file
        name = PurePath(place).name
        return (name if self.live else name.partition(".")[0]) or self.source

    def told(self) -> dict[str, Any]:
        """The settings by the names of their properties, for the report; those that are not set are None."""
        values = {each.name: getattr(self, each.field) for each in SETTINGS}
        values |= {"driveId": self.drive, "signals": list(self.signals)}
        return {name: None if value in ("", []) else value for name, value in values.items()}


def _text(longest: int) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise ValueError(f"a text of at most {longest} characters")
        return value.strip()

    return read


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts) or len(parts) > 50:
        raise ValueError("a list of up to 50 names of signals")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


SETTINGS: Final = (
    Setting("source", "source", "CAR_SOURCE", one_of(SOURCES)),
    Setting("file", "file", "CAR_FILE", _text(LONGEST_TEXT)),
    Setting("resample", "resample", "CAR_RESAMPLE", flag),
    Setting("bus", "bus", "CAR_BUS", _text(LONGEST_TEXT)),
    Setting("dbc", "dbc", "CAR_DBC", _text(LONGEST_TEXT)),
    Setting("signals", "signals", "CAR_SIGNALS", _names),
    Setting("rate", "rate", "CAR_RATE", number(0.001, 100.0)),
    Setting("format", "format", "CAR_FORMAT", one_of(FORMATS)),
    Setting("driveId", "drive_id", "CAR_DRIVE_ID", _text(LONGEST_ID)),
    Setting("speedLimit", "speed_limit", "CAR_SPEED_LIMIT", number(0.0, 1000.0, " of miles an hour")),
    Setting("brakingLimit", "braking_limit", "CAR_BRAKING_LIMIT", number(-10.0, 0.0, " of g")),
    Setting("reportSeconds", "report_seconds", "CAR_REPORT_SECONDS", number(0.1, 86_400.0)),
)
PLACE: Final = ("source", "file", "resample", "bus", "dbc", "signals")
RATE: Final = "rate"
FEED: Final = (*PLACE, RATE)
"""The properties that say where rows come from, and how many."""

_BY_NAME: Final = {each.name: each for each in SETTINGS}


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings by their variables. Raises ValueError that names the variable."""
    found = {}
    for each in SETTINGS:
        value = environment.get(each.variable)
        if value is None:
            continue
        try:
            found[each.field] = each.read(value)
        except ValueError as error:
            raise ValueError(f"{each.variable} is {value[:100]!r}; {error} belongs there.") from error
    return replace(Settings(), **found)


def desired_settings(base: Settings, desired: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by property name that the twin asks for, over `base`; and what is wrong, by name.

    A name that is wrong has no value: what is in force stays.
    """
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name in desired:
        if name not in _BY_NAME and not name.startswith("$"):
            errors[name] = f"is no setting of this module, which has {', '.join(_BY_NAME)}"
    for each in SETTINGS:
        value = desired.get(each.name)
        if value is None:
            values[each.name] = getattr(base, each.field)
            continue
        try:
            values[each.name] = each.read(value)
        except ValueError as error:
            errors[each.name] = f"is {str(value)[:100]!r}; {error} belongs there"
    return values, errors


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with these values by property name."""
    return replace(settings, **{_BY_NAME[name].field: value for name, value in values.items()})


def differing(one: Settings, other: Settings) -> list[str]:
    """The names of the properties in which two settings differ."""
    return [each.name for each in SETTINGS if getattr(one, each.field) != getattr(other, each.field)]


def merged(desired: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The desired properties after a patch: null takes a property back (its values are plain, so no deeper)."""
    both = {**desired, **patch}
    return {name: value for name, value in both.items() if value is not None}
