"""From what a person has (a file, a table, rows, drives by name) to columns of clean numbers.

Mended with a note: missing cells, text among numbers, speeds that no car has, single leaps of the speed,
columns that never change. Refused: a column that is not there, one that is text or empty for the most part, a
speed that never changes, rows in no order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from iotedge_lab.car import drives as shelf
from iotedge_lab.car.features import TARGET, Recipe
from iotedge_lab.car.rows import COLUMNS, ROW_NAMES, CarRow
from iotedge_lab.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from iotedge_lab.train.notes import Notes

One: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | Iterable[CarRow]"
Source: TypeAlias = "One | Mapping[str, One]"

DRIVE: Final = "Drive"
FASTEST: Final = 200.0  # mph; no car of this kind goes faster
LEAP: Final = 20.0  # mph off the median of five rows: a sensor's slip, not a car's motion
_HEADERS: Final = {column.name: column.header for column in COLUMNS}


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Arrays of one length, in the order in which the rows were recorded; all numbers finite."""

    drives: NDArray[np.str_]
    seconds: NDArray[np.float64]
    inputs: NDArray[np.float64]
    """rows by `recipe.inputs`"""
    speed: NDArray[np.float64]
    rpm: NDArray[np.float64]


def columns(source: Source, recipe: Recipe, notes: Notes) -> Columns:
    """Read, and clean. Raises DataError for what cannot be mended."""
    names = tuple(dict.fromkeys(("seconds", *recipe.inputs, "engine_rpm", TARGET)))
    frame = _table(source, names)
    if frame.empty:
        raise DataError("There are no rows; give a recording with some.")
    numbers = {name: _numbers(frame[name], name, notes) for name in names}
    complete = np.logical_and.reduce([np.isfinite(values) for values in numbers.values()])
    _tell_missing(numbers, complete, notes)
    numbers = {name: values[complete] for name, values in numbers.items()}
    _tell_constant(numbers, recipe, notes)
    return Columns(
        drives=frame[DRIVE].to_numpy(dtype=np.str_)[complete],
        seconds=numbers["seconds"],
        inputs=np.column_stack([numbers[name] for name in recipe.inputs]),
        speed=numbers[TARGET],
        rpm=numbers["engine_rpm"],
    )


def _table(source: Source, names: tuple[str, ...]) -> pd.DataFrame:
    """All rows below each other: `Drive`, then the columns asked for, by `Column.name`."""
    import pandas as pd

    if isinstance(source, Mapping):
        if not source:
            raise DataError("There are no drives; give at least one.")
        parts = []
        for drive, one in source.items():
            part = _part(one, names, str(drive))
            part[DRIVE] = str(drive)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)
    return _part(source, names, Path(source).stem if isinstance(source, str | os.PathLike) else "recording")


def _part(source: One, names: tuple[str, ...], drive: str) -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, str | os.PathLike):
        table = shelf.load(source)
    elif isinstance(source, pd.DataFrame):
        table = source
    else:
        rows = list(source)
        if not all(isinstance(row, CarRow) for row in rows):
            raise UsageError("Give the path of a car.csv, a DataFrame, or rows (CarRow); or drives by name.")
        table = pd.DataFrame([row.to_dict() for row in rows], columns=list(ROW_NAMES))
    found = {name: _HEADERS[name] if _HEADERS[name] in table.columns else name for name in names}
    missing = [_HEADERS[name] for name, column in found.items() if column not in table.columns]
    if missing:
        raise DataError(
            f"The table has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(str, table.columns))}. Name them as a car.csv does."
        )
    part = table[list(found.values())].set_axis(list(names), axis="columns").reset_index(drop=True)
    part[DRIVE] = table[DRIVE].astype(str).to_numpy() if DRIVE in table.columns else drive
    return part


def _numbers(column: Any, name: str, notes: Notes) -> NDArray[np.float64]:
    """The column as numbers; text becomes a missing cell, and is told."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = pd.to_numeric(column.astype("object"), errors="coerce").to_numpy(dtype=np.float64, copy=True)
        text = np.isnan(values) & column.notna().to_numpy()
        if text.any():
            example = str(column[text].iloc[0])[:40]
            told = f"{int(text.sum())} of {len(values)} cells of {_HEADERS[name]!r} are text, such as {example!r}"
            if text.mean() > 0.5:
                raise DataError(f"{told}: convert the column to numbers with decimal points first.")
            notes.add(f"{told}: their rows are left out.")
            # Told already; the row goes for another reason than a missing cell.
            values[text] = np.inf
    return values


def _tell_missing(
    numbers: Mapping[str, NDArray[np.float64]], complete: NDArray[np.bool_], notes: Notes
) -> None:
    empty = {name: int(np.isnan(values).sum()) for name, values in numbers.items() if np.isnan(values).any()}
    told = ", ".join(f"{count} of {_HEADERS[name]!r}" for name, count in empty.items())
    if complete.mean() < 0.5:
        raise DataError(
            f"Only {int(complete.sum())} of {len(complete)} rows are whole (missing cells: {told or 'none'}); "
            "record again, or leave out the column that is empty."
        )
    if empty:
        notes.add(
            f"Missing cells: {told}. {len(complete) - int(complete.sum())} of {len(complete)} rows are left out; "
            "over short gaps lags and means draw a straight line."
        )


def _tell_constant(numbers: Mapping[str, NDArray[np.float64]], recipe: Recipe, notes: Notes) -> None:
    constant = [name for name, values in numbers.items() if values.min() == values.max()]
    if TARGET in constant:
        raise DataError(
            f"The speed is {numbers[TARGET][0]:g} mph in every row: nothing can be learned. Record a drive that moves."
        )
    told = [name for name in recipe.inputs if name in constant]
    if len(told) == len(recipe.inputs):
        raise DataError(
            f"Each of {', '.join(_HEADERS[name] for name in told)} has one value only: nothing can be learned from "
            "them. Is the sensor connected?"
        )
    for name in told:
        notes.add(
            f"{_HEADERS[name]!r} is {numbers[name][0]:g} in every row and teaches nothing. It stays, so that the model "
            "takes the rows that the edge has; what it does where that column changes is not known."
        )


def without_outliers(
    speed: NDArray[np.float64], segment: NDArray[np.int64], notes: Notes
) -> NDArray[np.bool_]:
    """Which speeds are a car's: from 0 to 200 mph, and no more than 20 mph off the median of five rows."""
    possible = (speed >= -1.0) & (speed <= FASTEST)
    calm = np.ones(len(speed), dtype=np.bool_)
    for begin, end in _runs(segment):
        part = speed[begin:end]
        if len(part) >= 5:
            padded = np.concatenate([[part[0]] * 2, part, [part[-1]] * 2])
            medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
            calm[begin:end] = np.abs(part - medians) <= LEAP
    good = possible & calm
    bad = int((~good).sum())
    if bad > 0.2 * len(speed):
        raise DataError(
            f"{bad} of {len(speed)} speeds are none of a car (below 0, above {FASTEST:g} mph, or a leap of more than "
            f"{LEAP:g} mph); check the column's unit and its sensor."
        )
    if bad:
        worst = speed[~good][np.argmax(np.abs(speed[~good]))]
        notes.add(
            f"{bad} of {len(speed)} speeds are none of a car, such as {worst:g} mph: those rows are neither learned "
            "from nor judged by."
        )
    return good


def _runs(segment: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Where each run of one number begins and ends."""
    edges = np.flatnonzero(np.diff(segment)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(segment)], strict=True))
