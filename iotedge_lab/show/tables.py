"""Small tables that read the same at each run: a drive's columns, a bus, first rows, events of the built-in endpoint.

Plain pandas, no Styler (its ids are random). What the service gives as bytes is spelled out as text.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from iotedge_lab.car.rows import COLUMNS
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from azure.eventhub import EventData
    from cantools.database import Database
    from pandas import DataFrame

_DEVICE = b"iothub-connection-device-id"


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a frame with a line below it that says how many there are.

    `words`: the cells hold words, and stand at the left.
    """

    shown: DataFrame
    note: str
    words: bool = False

    def __repr__(self) -> str:
        return f"{self.shown.to_string(index=False)}\n{self.note}"

    def _repr_html_(self) -> str:
        table = self.shown.to_html(index=False, border=0)
        if self.words:  # JupyterLab's own style puts each cell's text at the right
            table = re.sub(r"<(t[dh])>", r'<\1 style="text-align:left">', table)
        return f"{table}<p>{html.escape(self.note)}</p>"


def columns(drive: DataFrame | None = None) -> Table:
    """The eleven columns of a drive: header, unit, meaning, and the name that a message gives it.

    With a drive, in the file's columns, its first row stands behind the headers, and the note counts the rows: eleven
    columns side by side are wider than a page.
    """
    import pandas as pd

    shown = pd.DataFrame(
        [(each.header, each.unit or "-", each.meaning, each.name) for each in COLUMNS],
        columns=["column", "unit", "meaning", "in a message"],
    )
    counted = f"{len(shown)} columns"
    if drive is not None:
        if drive.empty:
            raise DataError("the drive has no rows, so there is no first one to show; was the file empty?")
        first = drive.iloc[0]
        shown.insert(1, "first row", [str(first[each.header]) for each in COLUMNS])
        counted += f", {len(drive):,} rows"
    return Table(shown, f"{counted}.", words=True)


def bus(database: Database) -> Table:
    """The messages of a DBC, as cantools reads it: identifier, how often, how long, and the signals in it."""
    import pandas as pd

    shown = pd.DataFrame(
        [
            (
                f"0x{message.frame_id:03x}",
                message.name,
                message.cycle_time or "-",
                message.length,
                ", ".join(f"{signal.name} ({signal.unit or '-'})" for signal in message.signals),
            )
            for message in database.messages
        ],
        columns=["identifier", "message", "every (ms)", "bytes", "signals (unit)"],
    )
    signals = sum(len(message.signals) for message in database.messages)
    return Table(shown, f"{len(shown)} messages, {signals} signals.", words=True)


def first_rows(frame: DataFrame, rows: int = 5, *, note: str = "") -> Table:
    """The first `rows` of a frame; the note below says "5 of 3,420 rows, 11 columns" and then yours."""
    shown = frame.head(rows)
    columns = f"{len(frame.columns)} column{'s' * (len(frame.columns) != 1)}"
    counted = f"{len(shown)} of {len(frame):,} rows, {columns}"
    return Table(shown, f"{counted}. {note}".strip() if note else counted)


def events(received: Iterable[EventData], *, properties: Sequence[str] = ()) -> DataFrame:
    """One row an event: sequence number, enqueued time (UTC), device, then a column for each property.

    Properties keep their names (`driveId`, `alert`, ...); an event without one has an empty text there. Those
    named in `properties` have a column in any case, in this order; further ones follow as they come.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for event in received:
        carried = {_text(name): _text(value) for name, value in (event.properties or {}).items()}
        rows.append(
            {
                "sequence number": event.sequence_number,
                "enqueued": event.enqueued_time,
                "device": _text(event.system_properties.get(_DEVICE, "")),
                **carried,
            }
        )
    columns = ["sequence number", "enqueued", "device", *properties]
    columns += [name for name in dict.fromkeys(chain.from_iterable(rows)) if name not in columns]
    return pd.DataFrame([dict.fromkeys(columns, "") | row for row in rows], columns=columns)


def bodies(received: Iterable[EventData]) -> DataFrame:
    """One row an event, one column a key of its JSON body. Raises `DataError` for another kind of body."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for event in received:
        try:
            body = json.loads(event.body_as_str())
        except ValueError as error:
            raise DataError(
                f"the body of event {event.sequence_number} is not JSON ({error}); "
                "was it sent with json.dumps, and by this notebook?"
            ) from error
        if not isinstance(body, dict):
            raise DataError(f"the body of event {event.sequence_number} is JSON but no object; send a dict")
        rows.append(body)
    return pd.DataFrame(rows)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
