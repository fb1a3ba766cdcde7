"""How good a model is, asked honestly: simple models beside it, and four ways to split the rows.

The 1-nearest neighbour is the leak detector: it learns nothing and looks up the most similar row. Where it
does as well as a learner, the judged rows have twins among those that were learned from, and the figures say
nothing about a new drive. Leaves out: significance tests; whole drives are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from iotedge_lab.car.features import INPUTS
from iotedge_lab.errors import UsageError
from iotedge_lab.train.libraries import library
from iotedge_lab.train.splits import SPLITS, Split, folds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from iotedge_lab.train.automl import Model
    from iotedge_lab.train.dataset import Dataset

    Array = NDArray[np.float64]

__all__ = [
    "BASELINES",
    "Comparison",
    "Intervals",
    "Maker",
    "Score",
    "compare",
    "linear",
    "mean",
    "neighbour",
    "score",
]

Maker: TypeAlias = "Callable[[Dataset], Model]"
"""Trains on a data set and gives what predicts; `Found.refit` is one."""

LEAK: Final = 0.15  # R2 by which the leak detector falls from a random split to an honest one


@dataclass(frozen=True, slots=True)
class Score:
    """Errors in mph; R2 is 1 at best and 0 for what predicts the mean."""

    mae: float
    rmse: float
    r2: float
    rows: int

    def to_dict(self) -> dict[str, float | None]:
        """For a model's metadata; an R2 that is none is None there."""
        r2 = None if math.isnan(self.r2) else self.r2
        return {"mae": self.mae, "rmse": self.rmse, "r2": r2, "rows": self.rows}


def score(actual: Array, predicted: Array) -> Score:
    """The errors of predictions. R2 is nan where all actual values are one."""
    if len(actual) != len(predicted) or not len(actual):
        raise UsageError(
            f"Give as many predictions as rows, and at least one: {len(actual)} and {len(predicted)}."
        )
    error = predicted - actual
    spread = float(np.sum((actual - actual.mean()) ** 2))
    squares = float(np.sum(error * error))
    return Score(
        float(np.abs(error).mean()),
        float(np.sqrt(squares / len(actual))),
        1.0 - squares / spread if spread > 0.0 else float("nan"),
        len(actual),
    )


@dataclass(frozen=True, slots=True)
class _Mean:
    value: float

    def predict(self, features: NDArray[np.float32]) -> Array:
        return np.full(len(features), self.value)


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A scikit-learn model on some of the features."""

    places: list[int]
    pipeline: Any

    def predict(self, features: NDArray[np.float32]) -> Array:
        return np.asarray(self.pipeline.predict(_chosen(features, self.places)), dtype=np.float64)


def mean(data: Dataset) -> Model:
    """Predicts the mean speed of what it has seen, whatever the row."""
    return _Mean(float(data.target.mean()))


def linear(data: Dataset) -> Model:
    """The series' model: throttle, rpm and acceleration, normalised, and a straight line through them."""
    regression = library("sklearn.linear_model").LinearRegression()
    places = [data.names.index(name) for name in INPUTS if name in data.names]
    return _scaled(data, places or list(range(len(data.names))), regression)


def neighbour(data: Dataset) -> Model:
    """The speed of the most similar row that it has seen: the leak detector."""
    return _scaled(data, list(range(len(data.names))), library("sklearn.neighbors").KNeighborsRegressor(1))


def _scaled(data: Dataset, places: list[int], model: Any) -> Model:
    scaler = library("sklearn.preprocessing").StandardScaler()
    pipeline = library("sklearn.pipeline").make_pipeline(scaler, model)
    return _Scaled(places, pipeline.fit(_chosen(data.features, places), data.target))


def _chosen(features: NDArray[np.float32], places: list[int]) -> Array:
    """Some of the features, of one type and row by row whether to fit or to predict.

    Only then scikit-learn looks for neighbours chunk by chunk in the cache; else it holds distances by the gigabyte.
    """
    return np.ascontiguousarray(features[:, places], dtype=np.float64)


BASELINES: Final[Mapping[str, Maker]] = {"mean": mean, "linear": linear, "1-nearest neighbour": neighbour}
"""What every model is to be compared with."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Each model by each split: `predicted[split, model]` for the rows in `rows[split]`, all rounds together."""

    data: Dataset
    splits: tuple[Split, ...]
    models: tuple[str, ...]
    rows: Mapping[Split, NDArray[np.int64]]
    predicted: Mapping[tuple[Split, str], Array]

    def __repr__(self) -> str:
        return f"Comparison of {', '.join(self.models)} by {', '.join(self.splits)}"

    def _repr_html_(self) -> str:
        html: str = self.frame().round(2).to_html(index=False)
        return html

    def score(self, split: Split, model: str) -> Score:
        """One model by one split."""
        return score(self.actual(split), self._found(split, model))

    def actual(self, split: Split) -> Array:
        """The speeds of the rows that the split judges, in the order of the predictions."""
        if split not in self.rows:
            raise UsageError(f"Nothing was split by {split!r}; there are {', '.join(self.splits)}.")
        return self.data.target[self.rows[split]]

    def _found(self, split: Split, model: str) -> Array:
        self.actual(split)
        if model not in self.models:
            raise UsageError(f"There is no model {model!r}; there are {', '.join(self.models)}.")
        return self.predicted[split, model]

    def frame(self) -> pd.DataFrame:
        """One line a split and model: MAE and RMSE in mph, R2, rows judged."""
        import pandas as pd

        lines = []
        for split in self.splits:
            for model in self.models:
                each = self.score(split, model)
                lines.append([split, model, each.mae, each.rmse, each.r2, each.rows])
        return pd.DataFrame(lines, columns=["split", "model", "MAE (mph)", "RMSE (mph)", "R2", "rows"])

    def table(self, value: str = "R2") -> pd.DataFrame:
        """One figure (a column of `frame`), models down, splits across."""
        wide: pd.DataFrame = self.frame().pivot_table(index="model", columns="split", values=value)
        return wide.loc[
            list(self.models), list(self.splits)
        ]  # fmt: skip

    def residuals(self, split: Split, model: str) -> pd.DataFrame:
        """One line a judged row: drive, seconds, gear, actual, predicted and their difference, for plots."""
        import pandas as pd

        which, predicted = self.rows[split], self._found(split, model)
        return pd.DataFrame(
            {
                "drive": self.data.drives[which],
                "group": [self.data.group_names[number] for number in self.data.groups[which]],
                "seconds": self.data.seconds[which],
                "gear": self.data.gear[which],
                "actual": self.actual(split),
                "predicted": predicted,
                "residual": predicted - self.actual(split),
            }
        )

    def by_gear(self, split: Split, model: str) -> pd.DataFrame:
        """Errors gear by gear; gear 0 is standing. A mean residual tells where the model errs to one side."""
        return per_gear(self.data.gear[self.rows[split]], self.actual(split), self._found(split, model))

    def leak(self) -> str:
        """What the leak detector tells, in a sentence; empty where it or one of the splits was left out."""
        name = "1-nearest neighbour"
        honest: Split | None = next((each for each in ("drive", "group") if each in self.splits), None)
        if name not in self.models or "random" not in self.splits or honest is None:
            return ""
        flattered, fair = self.score("random", name).r2, self.score(honest, name).r2
        if flattered - fair > LEAK:
            return (
                f"The random split leaks: by it, looking up the most similar row gives an R2 of {flattered:.2f}; by "
                f"{honest}, of {fair:.2f}. Believe the figures by {honest}."
            )
        return (
            f"The random split hardly leaks: looking up the most similar row gives an R2 of {flattered:.2f} by it and "
            f"{fair:.2f} by {honest}."
        )


def compare(
    data: Dataset,
    models: Mapping[str, Maker] | None = None,
    splits: Sequence[Split] | None = None,
    seed: int = 0,
) -> Comparison:
    """Train and judge each model by each split: BASELINES unless others are named, every split that the data allow.

    A model that was chosen with a search over the same rows (`Found.refit`) has had its settings from all of
    them: the rows that settle the matter are those of drives that no search has seen (`score`).
    """
    chosen = dict(BASELINES if models is None else models)
    possible: tuple[Split, ...] = SPLITS if data.drive_count > 1 else ("random", "time", "group")
    named = tuple(possible if splits is None else splits)
    if not chosen or not named:
        raise UsageError("Name at least one model and one split.")
    rows: dict[Split, NDArray[np.int64]] = {}
    predicted: dict[tuple[Split, str], Array] = {}
    for split in named:
        rounds = folds(data, split, seed)
        rows[split] = np.concatenate([each.test for each in rounds])
        for name, maker in chosen.items():
            predicted[split, name] = np.concatenate(
                [maker(data.take(each.train)).predict(data.features[each.test]) for each in rounds]
            )
    return Comparison(data, named, tuple(chosen), rows, predicted)


def per_gear(gear: NDArray[np.int64], actual: Array, predicted: Array) -> pd.DataFrame:
    """Errors gear by gear: rows, MAE and RMSE in mph, and the mean residual."""
    import pandas as pd

    lines = []
    for number in np.unique(gear):
        here = gear == number
        each = score(actual[here], predicted[here])
        lines.append([int(number), each.rows, each.mae, each.rmse, float((predicted - actual)[here].mean())])
    return pd.DataFrame(lines, columns=["gear", "rows", "MAE (mph)", "RMSE (mph)", "mean residual (mph)"])


@dataclass(frozen=True, slots=True)
class Intervals:
    """How far a prediction may be off: in each band of predicted speed, a half width that covers `level` of rows.

    Split conformal: the half width is a quantile of the absolute residuals of rows that were held out. It
    holds for drives like those; `coverage` tells on others whether it does.
    """

    level: float
    edges: tuple[float, ...]
    """mph between the bands"""
    widths: tuple[float, ...]
    """mph to either side, one more than edges"""

    @classmethod
    def of(cls, actual: Array, predicted: Array, level: float = 0.9, bands: int = 5) -> Intervals:
        """From predictions of rows that were not learned from, such as those of `Comparison` by drive."""
        if not 0.5 <= level < 1.0:
            raise UsageError(
                f"An interval covers from half to nearly all of the rows, not {level:g}; 0.9 is usual."
            )
        score(actual, predicted)
        bands = max(1, min(bands, len(actual) // 50))
        edges = np.unique(np.quantile(predicted, np.linspace(0.0, 1.0, bands + 1)[1:-1]))
        band = np.searchsorted(edges, predicted, side="right")
        residual = np.abs(predicted - actual)
        widths = []
        for number in range(len(edges) + 1):
            here = residual[band == number]
            here = here if len(here) else residual
            # The conformal rank: one more than the share, as the row to come is one of them too.
            rank = min(len(here), int(np.ceil((len(here) + 1) * level)))
            widths.append(float(np.partition(here, rank - 1)[rank - 1]))
        return cls(level, tuple(edges.tolist()), tuple(widths))

    def around(self, predicted: Array) -> tuple[Array, Array]:
        """The lower and the upper end for each prediction; no speed is below 0."""
        width = np.array(self.widths)[np.searchsorted(self.edges, predicted, side="right")]
        return np.maximum(0.0, predicted - width), np.maximum(0.0, predicted) + width

    def coverage(self, actual: Array, predicted: Array) -> float:
        """The share of rows that lie within."""
        low, high = self.around(predicted)
        return float(np.mean((actual >= low) & (actual <= high)))

    def to_dict(self) -> dict[str, Any]:
        """For a model's metadata."""
        return {"level": self.level, "edges": list(self.edges), "widths": list(self.widths)}
