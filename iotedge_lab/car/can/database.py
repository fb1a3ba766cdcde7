"""The DBC: which signal lies where, read by cantools.

A DBC file describes a car's bus: messages with their identifiers and cycle times, and in each the signals, bit by
bit. `car.dbc` beside this file is the simulated car's. To add a signal, copy it, edit the copy and give its path to
the car (`encoder`, with a value for the signal) and to the reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from cantools.database import Database
from cantools.database import load_string as parse
from cantools.errors import Error

from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    import os

CAR_DBC: Final = Path(__file__).with_name("car.dbc")
"""The simulated car's DBC."""


def load(path: str | os.PathLike[str] | None = None) -> Database:
    """The database in this DBC file, the car's own by default. Raises DataError where there is none to read."""
    place = CAR_DBC if path is None else Path(path)
    try:
        # DBC files come from Windows tools: code page 1252 is what the field writes.
        text = place.read_bytes().decode("cp1252", errors="replace")
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}); give the path of a DBC file.") from error
    try:
        database = parse(text, database_format="dbc")
    except (Error, ValueError, KeyError) as error:
        raise DataError(
            f"{place} is no DBC that cantools can read: {error}. Mend the line that it names."
        ) from error
    if not isinstance(database, Database):
        raise DataError(f"{place} describes diagnostics, not messages; give a DBC file.")
    if not database.messages:
        raise DataError(f"{place} holds no message (BO_ lines); give the DBC file of a bus.")
    return database
