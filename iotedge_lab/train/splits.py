"""Four ways to split rows into what is learned from and what is judged by, from the most flattering on.

    random   rows drawn by lot: neighbours of every judged row are learned from
    time     of each drive the last quarter is judged: the future of drives that are known
    group    groups held out in turn: drives, or blocks of time where there is one recording only
    drive    whole drives held out in turn, by thirds of them: what a car on a new drive will meet

Where rows of one drive lie on both sides and the split is not `random`, the learner does not get the rows
whose lags and means reach over the seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from iotedge_lab.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from iotedge_lab.train.dataset import Dataset

    Index = NDArray[np.int64]

Split = Literal["random", "time", "group", "drive"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)

FOLDS: Final = 5
TIME_SHARE: Final = 0.75  # of each drive is learned from


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One round: rows to learn from, rows to judge by."""

    train: Index
    test: Index


def folds(data: Dataset, split: Split, seed: int = 0) -> list[Fold]:
    """The rounds of a split. Raises UsageError for an unknown one, DataError where the data cannot be so split."""
    maker = _MAKERS.get(split)
    if maker is None:
        raise UsageError(f"There is no split {split!r}; take one of {', '.join(SPLITS)}.")
    return maker(data, seed)


def _random(data: Dataset, seed: int) -> list[Fold]:
    part = np.random.default_rng(seed).permutation(len(data)) % FOLDS
    return [_fold(part != number, part == number) for number in range(FOLDS)]


def _time(data: Dataset, _seed: int) -> list[Fold]:
    test = np.zeros(len(data), dtype=np.bool_)
    for drive in np.unique(data.drives):
        rows = np.flatnonzero(data.drives == drive)
        test[rows[int(len(rows) * TIME_SHARE) :]] = True
    return [_apart(data, test)]


def _group(data: Dataset, seed: int) -> list[Fold]:
    return _held_out(data, data.groups, FOLDS, seed)


def _drive(data: Dataset, seed: int) -> list[Fold]:
    if data.drive_count < 2:
        raise DataError(
            "There is one drive only, so none can be held out; record another, or split by 'group'."
        )
    return _held_out(data, data.drives, 3, seed)


def _held_out(data: Dataset, labels: Index, count: int, seed: int) -> list[Fold]:
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError("All rows are of one group, so none can be held out; record another drive.")
    order = np.random.default_rng(seed).permutation(present)
    rounds = [order[number :: min(count, len(order))] for number in range(min(count, len(order)))]
    return [_apart(data, np.isin(labels, held)) for held in rounds]


def _apart(data: Dataset, test: NDArray[np.bool_]) -> Fold:
    """Learn from all other rows but those within the features' window of a judged one of the same drive."""
    train = ~test
    window = data.recipe.window
    for drive in np.unique(data.drives):
        rows = np.flatnonzero(data.drives == drive)
        judged = np.sort(data.seconds[rows[test[rows]]])
        if window == 0.0 or not len(judged) or len(judged) == len(rows):
            continue
        seconds = data.seconds[rows]
        at = np.searchsorted(judged, seconds)
        after = np.abs(judged[np.minimum(at, len(judged) - 1)] - seconds)
        before = np.abs(judged[np.maximum(at - 1, 0)] - seconds)
        train[rows[np.minimum(before, after) <= window]] = False
    return _fold(train, test)


def _fold(train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Fold:
    fold = Fold(np.flatnonzero(train), np.flatnonzero(test))
    if len(fold.train) < 10 or not len(fold.test):
        raise DataError(
            f"{len(fold.train)} rows would be left to learn from and {len(fold.test)} to judge by; record more, or "
            "split into fewer groups."
        )
    return fold


_MAKERS: Final[Mapping[str, Callable[[Dataset, int], list[Fold]]]] = {
    "random": _random,
    "time": _time,
    "group": _group,
    "drive": _drive,
}
