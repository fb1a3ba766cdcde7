"""One reading of the car, and how it becomes a message.

The body is the row as a line of CSV in the blog's order (`iotedge_lab.car.rows`), or as a JSON object by the
columns' names. Application properties, so that a route can filter without opening the body:

    driveId, lap, row, sequence    where the row belongs: drive, round of it, place in it; and how many were sent so far
    alert                          the gravest of the flags: is_defined(alert), alert = 'braking'
    braking, speeding              'true', where it is so
    stale                          'true' where a unit of the bus has fallen silent and the row holds its last value

The message id is the reading's own: a row that is sent twice, as QoS 1 allows, is recognised by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from azure.iot.device import Message

if TYPE_CHECKING:
    from iotedge_lab.car.rows import CarRow
    from simulator_car.settings import Settings

CONTENT_TYPES: Final = {"csv": "text/csv", "json": "application/json"}

_to_json = json.JSONEncoder(separators=(",", ":")).encode
_new_message: Any = Message

Extras = Mapping[str, float | None]
"""Further signals of the bus by name; None where a signal says that it is not available."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A row, and which of the drive it is: `lap` and `number` count from 1."""

    row: CarRow
    lap: int = 1
    number: int = 1
    extras: Extras = field(default_factory=dict)
    stale: bool = False


def alerts(row: CarRow, settings: Settings) -> list[str]:
    """The flags of a row, the gravest first."""
    found = []
    if row.acceleration_gs <= settings.braking_limit:
        found.append("braking")
    if row.speed > settings.speed_limit:
        found.append("speeding")
    return found


def body(reading: Reading, form: str) -> str:
    """The reading as text, in a format of the settings."""
    if form == "json":
        return (
            _to_json(reading.row.to_dict() | dict(reading.extras))
            if reading.extras
            else reading.row.to_json()
        )
    more = ("" if value is None else f"{value:.12g}" for value in reading.extras.values())
    return ",".join([reading.row.to_csv_line(), *more])


def to_message(reading: Reading, settings: Settings, sequence: int, message_id: str) -> Any:
    """The message of a reading; `sequence` is its number among all that this process has sent."""
    message = _new_message(
        body(reading, settings.format), message_id, "utf-8", CONTENT_TYPES[settings.format]
    )
    properties = message.custom_properties
    properties["driveId"] = settings.drive
    properties["lap"] = str(reading.lap)
    properties["row"] = str(reading.number)
    properties["sequence"] = str(sequence)
    found = alerts(reading.row, settings)
    if found:
        properties["alert"] = found[0]
    for flag in found:
        properties[flag] = "true"
    if reading.stale:
        properties["stale"] = "true"
    return message
