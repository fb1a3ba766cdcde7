"""The data set: rows of drives become features, target and groups, and whatever is wrong with them is said.

Groups are what may not lie on both sides of a split: whole drives where there are several, blocks of time
where there is one recording only. The features are those of `iotedge_lab.car.features`, the same that the
edge computes. Rows of the warm-up are left out, and by default all but two rows a second: neighbours at
10 Hz tell the same and cost five times as much.
"""

from __future__ import annotations

import hashlib
import html
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.car import drives as shelf
from iotedge_lab.car.features import RECIPE, TARGET, Batch, Recipe, batch
from iotedge_lab.car.powertrain import RPM_PER_MPH
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.train import cleaning
from iotedge_lab.train.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from iotedge_lab.train.cleaning import Source

__all__ = ["Dataset", "build", "gears", "shipped"]

BLOCKS: Final = 8  # of time, where there is one recording only
LEAST: Final = 30  # rows, below which nothing can be learned or judged
FEW: Final = 300  # rows, below which every figure wobbles
STANDING: Final = 1.0  # mph


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Features, target and groups of rows, in the order in which they were driven.

    Features are single precision, as an ONNX model gets them: what is trained is what will run.
    """

    features: NDArray[np.float32]
    target: NDArray[np.float64]
    """the speed in mph"""
    groups: NDArray[np.int64]
    """rows with one number stay together when data are split"""
    group_names: tuple[str, ...]
    drives: NDArray[np.int64]
    """the recording of each row, as a number"""
    seconds: NDArray[np.float64]
    gear: NDArray[np.int64]
    """1 to 8 by rpm and speed; 0 while standing. For reports: it is made of the target, so no feature"""
    recipe: Recipe
    names: tuple[str, ...]
    units: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """what was done to the rows"""

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        return f"Dataset({len(self)} rows, {len(self.names)} features, {len(self.group_names)} groups)"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p>{len(self):,} rows, {len(self.names)} features, {len(self.group_names)} groups</p><ul>{notes}</ul>"

    @property
    def drive_count(self) -> int:
        """How many recordings there are."""
        return len(np.unique(self.drives))

    @property
    def sha256(self) -> str:
        """A fingerprint of what is learned from: features, target, groups and their names."""
        digest = hashlib.sha256(json.dumps([self.names, self.units, TARGET]).encode())
        for each in (self.features, self.target, self.groups):
            digest.update(np.ascontiguousarray(each).tobytes())
        return digest.hexdigest()

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Dataset:
        """These rows alone; groups keep their numbers."""
        return replace(
            self, features=self.features[which], target=self.target[which], groups=self.groups[which],
            drives=self.drives[which], seconds=self.seconds[which], gear=self.gear[which],
        )  # fmt: skip

    def columns(self, names: Sequence[str]) -> Dataset:
        """The same rows with these features alone, in this order."""
        unknown = [name for name in names if name not in self.names]
        if unknown or not names:
            raise UsageError(
                f"There is no feature {', '.join(unknown)}; take some of: {'; '.join(self.names)}."
            )
        places = [self.names.index(name) for name in names]
        return replace(
            self,
            features=self.features[:, places],
            names=tuple(names),
            units=tuple(self.units[at] for at in places),
        )

    def with_feature(self, name: str, values: NDArray[Any], unit: str = "") -> Dataset:
        """The same rows with one more feature, one number a row.

        For trying things out. An edge module cannot compute it: what is to run there is a `Recipe`.
        """
        column = np.asarray(values, dtype=np.float32)
        if column.shape != (len(self),) or not np.isfinite(column).all():
            raise UsageError(f"A feature is {len(self)} finite numbers, one a row; {name!r} is not.")
        if name in self.names:
            raise UsageError(f"There is a feature {name!r} already; choose another name.")
        return replace(
            self,
            features=np.column_stack([self.features, column]),
            names=(*self.names, name),
            units=(*self.units, unit),
        )

    def ungrouped(self) -> Dataset:
        """The same rows, each a group of its own: what a search does that is not told the groups, to show it."""
        count = len(self)
        return replace(self, groups=np.arange(count), group_names=tuple(f"row {n + 1}" for n in range(count)))

    def frame(self) -> pd.DataFrame:
        """All of it as a table: group, seconds, the features by name, the target."""
        import pandas as pd

        table = pd.DataFrame(self.features, columns=list(self.names))
        table.insert(0, "Seconds", self.seconds)
        table.insert(0, "Group", [self.group_names[number] for number in self.groups])
        table[TARGET] = self.target
        return table


def shipped(recipe: Recipe = RECIPE, every: float | None = 0.5) -> Dataset:
    """The data set of the drives in `data/`, grouped by drive."""
    return build({each.id: each.path for each in shelf.catalogue()}, recipe, every=every)


def build(
    source: Source,
    recipe: Recipe = RECIPE,
    *,
    every: float | None = 0.5,
    blocks: int = BLOCKS,
) -> Dataset:
    """The data set of some rows.

    source: a car.csv, a DataFrame with its columns (`Drive` tells the drives apart), rows, or several drives
    by name, each any of these. every: seconds between the rows that are learned from; None takes all.
    blocks: of time, to group by where there is one recording only.

    Raises DataError for what cannot be learned from. What can be mended is mended, with a TrainWarning that
    says how; the same words stay in `notes`.
    """
    if every is not None and not 0.0 < every <= 60.0:
        raise UsageError(f"`every` lies above 0 and up to 60 s, or is None for all rows; it is {every}.")
    if not 2 <= blocks <= 100:
        raise UsageError(f"One recording is split into 2 to 100 blocks, not {blocks}.")
    notes = Notes()
    columns = cleaning.columns(source, recipe, notes)
    made = batch(columns.seconds, columns.inputs, recipe, columns.drives.tolist())
    if int(made.segment[-1]) + 1 > max(10, len(made.kept) // 5):
        raise DataError(
            f"In {len(made.kept)} rows the time steps back, or leaps more than {recipe.gap:g} s, {made.segment[-1]} "
            "times: features need rows in the order in which they were driven. Sort them by drive and Seconds."
        )
    twice = len(columns.seconds) - len(made.kept)
    if twice:
        notes.add(
            f"{twice} rows are of a moment that another row has, or were sent twice; they are left out."
        )
    speed = columns.speed[made.kept]
    good = cleaning.without_outliers(speed, made.segment, notes)
    seconds = columns.seconds[made.kept]
    chosen = _chosen(seconds, made, good, every, notes)
    present, drives = np.unique(columns.drives[made.kept][chosen], return_inverse=True)
    drives = drives.astype(np.int64)
    data = Dataset(
        features=made.features[chosen].astype(np.float32),
        target=speed[chosen],
        groups=drives,
        group_names=tuple(str(each) for each in present),
        drives=drives,
        seconds=seconds[chosen],
        gear=gears(columns.rpm[made.kept][chosen], speed[chosen]),
        recipe=recipe,
        names=recipe.names,
        units=recipe.units,
    )
    if data.target.min() == data.target.max():
        raise DataError(
            f"In the rows that are left the speed is always {data.target[0]:g} mph; record a drive that moves."
        )
    if len(present) == 1:
        data = _in_blocks(data, min(blocks, len(chosen) // 10), notes)
    return replace(data, notes=tuple(notes.entries))


def _chosen(
    seconds: NDArray[np.float64], made: Batch, good: NDArray[np.bool_], every: float | None, notes: Notes
) -> NDArray[np.int64]:
    """The rows to learn from: good, behind the warm-up, one each `every` seconds."""
    if int(good.sum()) < LEAST:
        raise DataError(
            f"{int(good.sum())} rows can be learned from, which is too few; record {LEAST} at least, better minutes."
        )
    ready = good & ~made.warmup
    count = int(ready.sum())
    if count < max(LEAST, min(FEW, int(good.sum()) // 2)):
        notes.add(
            f"The recording is hardly longer than the {made.window:g} s that the features look back, so the "
            "rows of the warm-up stay in; record longer drives."
        )
        ready, count = good, int(good.sum())
    chosen = np.flatnonzero(ready)
    if every is not None:
        beat = np.floor(seconds[chosen] / every + 1e-6)
        first = np.ones(len(chosen), dtype=np.bool_)
        first[1:] = (np.diff(beat) != 0) | (np.diff(made.segment[chosen]) != 0)
        thin = chosen[first]
        if len(thin) < FEW and len(thin) < len(chosen):
            notes.add(
                f"One row each {every:g} s would leave {len(thin)} rows; all {len(chosen)} are taken instead."
            )
        else:
            chosen = thin
    if len(chosen) < FEW:
        notes.add(f"{len(chosen)} rows are few: every figure made of them wobbles. Record longer drives.")
    return chosen


def _in_blocks(data: Dataset, count: int, notes: Notes) -> Dataset:
    """One recording, grouped by blocks of time of equally many rows."""
    groups = (np.arange(len(data)) * count // len(data)).astype(np.int64)
    notes.add(
        f"There is one drive only, so rows are grouped into {count} blocks of time. What a model is worth on another "
        "drive that cannot tell; record more drives."
    )
    return replace(data, groups=groups, group_names=tuple(f"block {number + 1}" for number in range(count)))


def gears(rpm: NDArray[np.float64], speed: NDArray[np.float64]) -> NDArray[np.int64]:
    """The gear whose line (rpm for one mph) lies nearest, 1 to 8; 0 while standing."""
    lines = np.log(np.array(RPM_PER_MPH))
    moving = speed >= STANDING
    ratio = np.log(np.maximum(rpm, 1.0) / np.maximum(speed, STANDING))
    nearest = np.abs(ratio[:, None] - lines).argmin(axis=1) + 1
    return np.where(moving, nearest, 0).astype(np.int64)
