"""Training from the lake: the telemetry of some drives, as it was at one version of the table, becomes a data set.

    rows = from_lake.rows(lake)                     # the newest version, held so that it can be read again
    data = rows.dataset()                           # as `dataset.build` makes it
    rows.table, rows.table_version                  # the lineage of what is trained on it

The same version gives the same rows in the same order, whatever has been captured or compacted since.

A drive that a simulator replays again sends the same rows again, and a message may be sent twice: rows of one device
that are equal in drive and all eleven columns count once. What then still goes back in time within a drive is another
run of it (a live bus, another car behind the same name) and becomes a drive of its own: `city-1`, `city-1 (2)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.car.features import RECIPE
from iotedge_lab.car.rows import COLUMNS, ROW_NAMES
from iotedge_lab.errors import DataError
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.schema import MAIN
from iotedge_lab.train import dataset
from iotedge_lab.train.cleaning import DRIVE

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from iotedge_lab.car.features import Recipe
    from iotedge_lab.train.dataset import Dataset

__all__ = ["LakeRows", "rows"]

_APART: Final = 5.0  # s that Seconds falls back where a drive begins anew; less is messages out of order


@dataclass(frozen=True, slots=True)
class LakeRows:
    """Rows of cars, and where they lie."""

    frame: pd.DataFrame = field(repr=False)
    """`Drive`, then the eleven columns by their headers; drive after drive, each in the order of Seconds"""
    table: str
    """folder or URL of the Delta table"""
    table_version: int

    @property
    def drives(self) -> list[str]:
        """The drives' names, as in `frame`."""
        return list(dict.fromkeys(self.frame[DRIVE]))

    def dataset(self, recipe: Recipe = RECIPE, *, every: float | None = 0.5) -> Dataset:
        """The data set of these rows, grouped by drive; raises and warns as `train.dataset.build`."""
        return dataset.build(self.frame, recipe, every=every)


def rows(
    lake: Lake | str | os.PathLike[str],
    version: int | None = None,
    *,
    drives: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    hold: str = "",
) -> LakeRows:
    """The telemetry of a lake at a version, by default the newest; narrowed as `Lake.frame` does.

    hold: why the version must stay readable (the model's name); then it is kept beyond the others. Raises `DataError`
    where no row is left, `UsageError` for a version that is not there (any more).
    """
    source = lake if isinstance(lake, Lake) else Lake(lake)
    at = source.version(MAIN) if version is None else version
    found = source.frame(
        MAIN,
        version=at,
        columns=["drive_id", "device", *ROW_NAMES],
        drives=drives,
        devices=devices,
        since=since,
        until=until,
    )
    if found.empty:
        raise DataError(
            f"Version {at} of the telemetry in {source.place.uri} has no such rows. Let cars drive, wait for the "
            "capture, or ask for other drives, devices or times."
        )
    if hold:
        source.hold(at, hold)
    return LakeRows(_by_drive(found), source.place.table(MAIN), at)


def _by_drive(found: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    drive = found["drive_id"].fillna(found["device"])
    # Two devices on one drive are two recordings; the name alone is enough where there is one.
    several = found["device"].groupby(drive).transform("nunique") > 1
    found = found.assign(drive_id=drive.where(~several, found["device"] + "/" + drive))
    found = found.drop_duplicates(["drive_id", *ROW_NAMES])
    parts = []
    for name, part in found.groupby("drive_id", sort=True):
        for number, (_, run) in enumerate(part.groupby(_runs(part["seconds"].to_numpy())), 1):
            ordered = run.sort_values("seconds", kind="stable")
            parts.append(ordered.assign(drive_id=name if number == 1 else f"{name} ({number})"))
    whole = pd.concat(parts, ignore_index=True)
    headers = {each.name: each.header for each in COLUMNS}
    return whole[["drive_id", *ROW_NAMES]].rename(columns={"drive_id": DRIVE, **headers})


def _runs(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """The number of the run that each row belongs to: another one begins where the time falls back and stays there."""
    begins = np.zeros(len(seconds), dtype=np.int64)
    before = seconds[:-2]
    begins[1:-1] = (seconds[1:-1] < before - _APART) & (seconds[2:] < before - _APART)
    return np.cumsum(begins)
