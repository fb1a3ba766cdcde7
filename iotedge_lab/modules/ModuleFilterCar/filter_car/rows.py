"""A message of the car becomes a row: the blog's line of CSV, or a JSON object by the columns' names.

A line has the eleven columns in their order; cells behind them (further signals of a bus) are passed over. What tells
a row's place among the others comes with it: the sender and the drive, its number among all that the sender has sent
(the property `sequence`), or else its own `Seconds`.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.rows import NUMBERS, CarRow
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH: Final = 1 + len(NUMBERS)
LONGEST_DRIVE: Final = 128
_SENDER: Final = "$.cmid"
"""The property in which an edge hub names the module that a message comes from."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row that has come. `at`: s of a monotonic clock; `size`: bytes of body and properties."""

    row: CarRow
    drive: str
    car: tuple[str, str]
    """the sender and the drive: rows of one car are served one after another"""
    number: int | None
    message_id: str
    size: int
    at: float


def arrival(message: Any, at: float) -> Arrival:
    """The row of an SDK message. Raises DataError."""
    data: bytes = message.data if isinstance(message.data, bytes) else str(message.data).encode()
    properties: Mapping[str, str | None] = message.custom_properties
    row = read(data)
    drive = (properties.get("driveId") or "")[:LONGEST_DRIVE]
    size = len(data) + sum(len(name) + len(value or "") for name, value in properties.items())
    number = properties.get("sequence")
    return Arrival(
        row,
        drive,
        (properties.get(_SENDER) or "", drive),
        int(number) if number is not None and number.isdecimal() and len(number) < 20 else None,
        message.message_id or "",
        size,
        at,
    )


def read(data: bytes) -> CarRow:
    """The row in a message's body. Raises DataError with what is wrong and what belongs there."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(
            f"The message is no UTF-8 text ({error.reason}); send a line of CSV or JSON."
        ) from error
    if text[:1] in ("{", "["):
        return CarRow.from_json(text)
    return _from_line(text)


def _from_line(line: str) -> CarRow:
    if "\n" in line or "\r" in line:
        raise DataError("The message has several lines; send one row in each message.")
    cells = next(csv.reader([line]), []) if '"' in line else line.split(",")
    if len(cells) < WIDTH:
        raise DataError(f"The line has {len(cells)} cells of {WIDTH}: {line[:60]!r}; send the whole row.")
    try:
        numbers = list(map(float, cells[1:WIDTH]))
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)) or "_" in line:
        _tell(cells)
    return CarRow(cells[0].strip(), *numbers)


def _tell(cells: list[str]) -> None:
    """Raise for the first cell that is no finite number."""
    for name, cell in zip(NUMBERS, cells[1:], strict=False):
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or "_" in cell:
            raise DataError(f"The row's {name} is {cell[:40]!r}; send a finite number.")
