"""Training as the loop does it: a short search on the new rows, judged on drives that were held out.

On a slow or busy machine five seconds are a dozen trials, and those begin with the smallest trees. So an ordinary
LightGBM, with settings that need no search, is judged by the same kind of folds, and taken where it is the better one.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.rollout.drift import BLOCK, Reference

if TYPE_CHECKING:
    import pandas as pd

    from iotedge_lab.train.automl import Found
    from iotedge_lab.train.dataset import Dataset
    from iotedge_lab.train.evaluate import Score

BUDGET: Final = 5.0
"""Seconds of search: that a longer one finds a little more was the lesson of the notebook before."""
REMNANT: Final = 3 * BLOCK
"""Seconds, below which a drive is a remnant: too short to be held out, as a reference takes three blocks."""
HELD: Final = "drives held out"
ORDINARY: Final[dict[str, Any]] = {
    "n_estimators": 200,
    "num_leaves": 31,
    "learning_rate": 0.08,
    "min_child_samples": 20,
}


@dataclass(frozen=True, slots=True)
class Learned:
    """A model that was trained, and what it is worth on drives that it has not seen."""

    content: bytes = field(repr=False)
    """the ONNX file"""
    score: Score
    reference: Reference
    rows: int
    estimator: str
    searched: bool
    """False where the ordinary settings did better than what the search had found"""
    notes: tuple[str, ...] = field(default=(), repr=False)
    """what was wrong with the rows and dealt with, and what there was no time for"""

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()


def learn(frame: pd.DataFrame, *, budget: float = BUDGET, seed: int = 0) -> Learned:
    """Search for `budget` seconds, and judge.

    frame: rows in the columns of a car.csv, with `Drive`, as `dataset.build` takes them. A fifth of the drives is held
    out (of the blocks of time, where there is one drive only), and stays so: what the model is worth is measured on
    drives that neither the search nor the training has seen. Raises `DataError` where the rows do not suffice,
    `ExportRefused` where the model does not become a file.
    """
    from iotedge_lab.train import automl, dataset, evaluate, export, splits
    from iotedge_lab.train.notes import TrainWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainWarning)  # they stay in `notes`; nobody watches a loop's stderr
        data = _without_remnants(dataset.build(frame))
        fold = splits.folds(data, "group", seed)[0]
        known, unseen = data.take(fold.train), data.take(fold.test)
        searched = automl.search(known, budget, seed=seed)
    found = _better(searched, known, seed)
    predicted = found.predict(unseen.features)
    score = evaluate.score(unseen.target, predicted)
    try:
        reference = Reference.measure(unseen.drives, unseen.seconds, predicted - unseen.target)
    except UsageError as error:
        raise DataError(str(error)) from error
    intervals = evaluate.Intervals.of(unseen.target, predicted)
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-") as folder:
        path = Path(folder) / "model.onnx"
        export.export(found, path, known, unseen, metrics={HELD: score}, intervals=intervals)
        content = path.read_bytes()
    notes = (*data.notes, *searched.notes)
    return Learned(content, score, reference, len(known), found.estimator, found is searched, notes)


def _without_remnants(data: Dataset) -> Dataset:
    """The drives that are long enough to be held out, where two are; what is left then are not rows to learn from.

    An alarm looks back to before it: the rows since then begin with the last seconds of the car that was replaced.
    """
    import numpy as np

    whole = [
        drive for drive in np.unique(data.drives) if np.ptp(data.seconds[data.drives == drive]) >= REMNANT
    ]
    return data.take(np.isin(data.drives, whole)) if len(whole) > 1 else data


def _better(searched: Found, data: Dataset, seed: int) -> Found:
    """What was found, or an ordinary LightGBM where that errs less over the groups held out."""
    from iotedge_lab.train import evaluate, splits

    ordinary = replace(searched, estimator="lgbm", config=dict(ORDINARY))
    losses = []
    for fold in splits.folds(data, "group", seed):
        model = ordinary.refit(data.take(fold.train))
        losses.append(evaluate.score(data.target[fold.test], model.predict(data.features[fold.test])).rmse)
    loss = math.fsum(losses) / len(losses)
    if loss >= searched.loss:  # False for nan: a search without a trial has found nothing
        return searched
    fitted: Any = ordinary.refit(data)
    return replace(ordinary, model=fitted.model, loss=loss)
