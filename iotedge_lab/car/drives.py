"""The drives: the shipped set, and any car.csv of one's own, as rows or as a pandas DataFrame.

Stands for the data set of the series' fourth part. The shipped files lie in the repository's `data/` folder
(see its README.md) and are made by `python -m iotedge_lab.car.make_data`. `rows` and all that edge modules
use loads no pandas; `load`, `drive` and `load_all` import it when they are called.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.reading import read_table
from iotedge_lab.car.rows import COLUMNS, HEADER, NUMBERS, CarRow, Column
from iotedge_lab.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

__all__ = [
    "COLUMNS", "HEADER", "CarRow", "Column", "DriveInfo", "car_csv", "catalogue", "data_folder", "drive",
    "drive_path", "load", "load_all", "resample", "rows",
]  # fmt: skip

CATALOGUE: Final = "catalogue.csv"
FOLDER_VARIABLE: Final = "IOTEDGE_LAB_DATA"

# Between these two rows a value is drawn as a straight line; a throttle or a gear change is no worse for it.
_LONGEST_GAP: Final = 5.0  # s that `resample` bridges


@dataclass(frozen=True, slots=True)
class DriveInfo:
    """One shipped drive: where it is and how it was made."""

    id: str
    kind: str
    """city, suburban or highway"""
    seed: int
    temper: float
    """the driver's: 0 calm, 1 in a hurry"""
    load: float
    """kg beyond the driver"""
    seconds: float
    miles: float
    path: Path


def rows(path: str | os.PathLike[str]) -> Iterator[CarRow]:
    """The rows of a car.csv, one by one, timestamps and order as they are; without pandas.

    Reads what `iotedge_lab.car.reading` lists. Raises DataError: at once for a file that is no car.csv, and
    at the row in question for a cell that is no number.
    """
    return read_table(path).rows()


def load(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A car.csv as a DataFrame with the eleven columns of `COLUMNS` by their headers, in their order.

    `Time` holds timestamps, or the file's text where that is no date and time; all else is float64. Other
    columns are left out. Raises DataError as `rows` does.
    """
    import pandas as pd

    table = read_table(path)
    times, numbers = [], []
    for time, values in table.values():
        times.append(time)
        numbers.append(values)
    frame = pd.DataFrame(numbers, columns=[column.header for column in COLUMNS[1:]], dtype="float64")
    try:
        moments = pd.to_datetime(pd.Series(times), format="ISO8601")
    except ValueError:
        moments = pd.Series(times)
    frame.insert(0, COLUMNS[0].header, moments)
    return frame


def data_folder() -> Path:
    """The folder of the shipped drives.

    `IOTEDGE_LAB_DATA` if it is set; else the repository's `data/`, found from this package or, for an
    installed package, from the working folder upwards. Raises DataError where there is none.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        if (Path(chosen) / CATALOGUE).is_file():
            return Path(chosen)
        raise DataError(
            f"{FOLDER_VARIABLE} is {chosen}, but there is no {CATALOGUE} in it. Point it at the repository's data "
            f"folder, or make one: python -m iotedge_lab.car.make_data {chosen}"
        )
    here = Path.cwd()
    repository = Path(__file__).resolve().parents[2]
    for folder in (repository, here, *here.parents):
        if (folder / "data" / CATALOGUE).is_file():
            return folder / "data"
    raise DataError(
        "The drives are not here: no data folder beside the package or above the working folder. Start in a "
        f"clone of the repository, or make one and name it: python -m iotedge_lab.car.make_data FOLDER, then "
        f"set {FOLDER_VARIABLE}=FOLDER."
    )


def car_csv() -> Path:
    """The one drive with a logger's merged timestamps that the series replays: `data/car.csv`."""
    return data_folder() / "car.csv"


def catalogue() -> list[DriveInfo]:
    """The shipped drives, in the order of their ids. Raises DataError where they are absent or damaged."""
    path = data_folder() / CATALOGUE
    with path.open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    try:
        return [
            DriveInfo(
                each["Drive"], each["Kind"], int(each["Seed"]), float(each["Temper"]), float(each["Load (kg)"]),
                float(each["Seconds"]), float(each["Miles"]), path.parent / "drives" / f"{each['Drive']}.csv.gz",
            )
            for each in entries
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged ({error!r}); make it again: python -m iotedge_lab.car.make_data {path.parent}"
        ) from error


def drive_path(drive_id: str) -> Path:
    """Where the shipped drive with this id lies. Raises UsageError for an id that there is not."""
    known = {each.id: each.path for each in catalogue()}
    if drive_id not in known:
        raise UsageError(f"There is no drive {drive_id!r}; take one of {', '.join(known)}.")
    return known[drive_id]


def drive(drive_id: str) -> pd.DataFrame:
    """A shipped drive by its id, as `load` gives it. Raises UsageError for an id that there is not."""
    return load(drive_path(drive_id))


def load_all(ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Shipped drives below each other, all or those with these ids: `Drive`, `Kind`, then the eleven columns.

    `Drive` is what to group by when rows are split: no drive may lie on both sides.
    """
    import pandas as pd

    entries = catalogue()
    chosen = [each.id for each in entries] if ids is None else list(ids)
    kinds = {each.id: each.kind for each in entries}
    frames = []
    for drive_id in chosen:
        frame = drive(drive_id)
        frame.insert(0, "Kind", kinds[drive_id])
        frame.insert(0, "Drive", drive_id)
        frames.append(frame)
    if not frames:
        raise UsageError("No drive was asked for; give at least one id, or None for all.")
    return pd.concat(frames, ignore_index=True)


def resample(source: Iterable[CarRow], hz: float) -> Iterator[CarRow]:
    """The rows on an even grid of `hz` rows a second, from the first row's time on, by straight lines.

    `time` is that of the row before. For modules that need a steady beat from a recording that has none; rows
    of one moment count as one. Raises UsageError for an hz that is not positive, DataError where `seconds`
    steps back or leaps more than 5 s (then it is two drives: split it).
    """
    if not 0.0 < hz <= 1000.0:
        raise UsageError(f"Rows can be drawn from above 0 to 1000 times a second, not {hz} times.")
    return _resampled(source, hz)


def _resampled(source: Iterable[CarRow], hz: float) -> Iterator[CarRow]:
    before: CarRow | None = None
    start, count = 0.0, 0
    for row in source:
        if before is None:
            start, count = row.seconds, 1
            yield row
        else:
            gap = row.seconds - before.seconds
            if not 0.0 <= gap <= _LONGEST_GAP:
                raise DataError(
                    f"Seconds goes from {before.seconds} to {row.seconds}: the rows are out of order or hold "
                    "several drives. Sort them, or split them and resample each drive."
                )
            # A billionth: a grid moment that rounding puts just behind its row still belongs to it.
            while gap > 0.0 and start + count / hz <= row.seconds + 1e-9:
                moment = start + count / hz
                yield _between(before, row, moment, min(1.0, (moment - before.seconds) / gap))
                count += 1
        before = row


def _between(before: CarRow, after: CarRow, seconds: float, share: float) -> CarRow:
    numbers = [
        getattr(before, name) + (getattr(after, name) - getattr(before, name)) * share for name in NUMBERS[1:]
    ]
    return CarRow(after.time if share >= 1.0 else before.time, seconds, *numbers)
