"""The search for a model: FLAML tries estimators and settings until its time is up, and keeps the best.

Stands for the automated search of the series' fourth part. Three things make it honest and fit for an edge:
the search is told the groups (its own cross-validation else leaks as a random split does), it tries only
estimators that convert to ONNX, and no candidate may exceed a size. How far a search gets depends on how fast
the machine is, so its outcome is not repeatable to the digit; what is asserted of it are bounds.

`engine="spark"` runs the trials on a Spark cluster, or on Spark on this machine.
"""

from __future__ import annotations

import html
import logging
import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.train.interrupts import listening
from iotedge_lab.train.libraries import library
from iotedge_lab.train.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from iotedge_lab.train.dataset import Dataset

__all__ = ["ESTIMATORS", "Found", "Model", "Trial", "search"]

ESTIMATORS: Final = ("lgbm", "extra_tree", "xgboost")
"""What converts to ONNX. FLAML's histogram boosting does not, and its random forest comes to 20 MB."""
MAX_BYTES: Final = 1_000_000
SPLITS: Final = 5
LONGEST: Final = 3600.0  # s

Engine = Literal["local", "spark"]

_CLASSES: Final = {
    "LGBMEstimator": "lgbm",
    "ExtraTreesEstimator": "extra_tree",
    "XGBoostSklearnEstimator": "xgboost",
}
# FLAML judges a candidate's size before it trains it, at 56 bytes a leaf; in ONNX a leaf with its node takes more.
_FLAML_BYTES_PER_LEAF: Final = 56.0
_ONNX_BYTES_PER_LEAF: Final = 80.0
_FALLBACK: Final = {"n_estimators": 100, "num_leaves": 15, "learning_rate": 0.1, "min_child_samples": 20}
_one_search = threading.Lock()  # FLAML keeps a search's state in module globals


class Model(Protocol):
    """Whatever predicts speeds from rows of features."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """One speed in mph a row."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate that was tried: what a progress bar shows."""

    number: int
    seconds: float
    """since the search began"""
    budget: float
    estimator: str
    loss: float
    """RMSE in mph over the groups held out"""
    best: float
    """the lowest loss up to here"""
    config: Mapping[str, Any] = field(repr=False)

    @property
    def share(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        return min(1.0, self.seconds / self.budget)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The best candidate, trained on all rows of the data set."""

    model: Any
    """the estimator itself: LGBMRegressor, ExtraTreesRegressor or XGBRegressor"""
    automl: Any
    """the flaml.AutoML that holds it"""
    estimator: str
    config: dict[str, Any]
    loss: float
    """its RMSE in mph over the groups held out during the search; nan if it was not judged"""
    trials: tuple[Trial, ...]
    seconds: float
    cancelled: bool
    seed: int
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Found({self.estimator}, RMSE {self.loss:.2f} mph in search, {len(self.trials)} trials)"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p>{html.escape(repr(self))}</p><ul>{notes}</ul>"

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """One speed in mph a row."""
        return _predict(self.model, features)

    def refit(self, data: Dataset) -> Model:
        """The same estimator with the same settings, trained on other rows: for the table of splits."""
        return _Fitted(_train(self.estimator, self.config, data, self.seed)[0])

    def log(self) -> pd.DataFrame:
        """The trials as a table: number, seconds, estimator, loss, best."""
        import pandas as pd

        names = ("number", "seconds", "estimator", "loss", "best")
        return pd.DataFrame(
            [[getattr(trial, name) for name in names] for trial in self.trials], columns=list(names)
        )


@dataclass(frozen=True, slots=True)
class _Fitted:
    model: Any

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return _predict(self.model, features)


def _predict(model: Any, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(model.predict(features), dtype=np.float64).reshape(-1)


def search(
    data: Dataset,
    budget: float = 30.0,
    *,
    estimators: Sequence[str] = ESTIMATORS,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
    on_trial: Callable[[Trial], None] | None = None,
    cancel: threading.Event | None = None,
    engine: Engine = "local",
    jobs: int = 1,
) -> Found:
    """Search for `budget` seconds, and a fold more at most, and train the best candidate on all rows.

    max_bytes: about the largest that its ONNX file may be. on_trial: called after each trial, in the thread of
    the search. cancel: once set, the search ends after the fold at hand and the best so far is kept; so it is
    when a notebook's stop button is pressed, or Ctrl-C. jobs: threads of each trial.

    On Spark the trials run on the executors: `on_trial` is then called for all of them at the end, and a
    search is not cancelled. Raises UsageError for arguments that make no sense, DataError for fewer than two
    groups, EnvironmentProblem where a library is missing.
    """
    _check(data, budget, estimators, max_bytes=max_bytes, jobs=jobs, engine=engine, cancel=cancel)
    if not _one_search.acquire(blocking=False):
        raise UsageError("A search runs in this process already; wait for its end, or cancel it.")
    try:
        library("flaml.automl")  # takes a second or two, which is not the search's
        run = _Search(data, float(budget), on_trial, cancel)
        settings = {
            "task": "regression",
            "estimator_list": list(estimators),
            "split_type": "group",
            "groups": data.groups,
            "eval_method": "cv",
            "n_splits": min(SPLITS, len(np.unique(data.groups))),
            "time_budget": float(budget),
            "mem_thres": max_bytes * _FLAML_BYTES_PER_LEAF / _ONNX_BYTES_PER_LEAF,
            "sample": False,  # the first rows alone would be the first drives
            "retrain_full": False,
            "seed": seed,
            "n_jobs": jobs,
        }
        if engine == "spark":
            from iotedge_lab.train import spark

            run.take(spark.run(data, settings))
        else:
            run.run(settings)
        return run.finish(seed, jobs)
    finally:
        _one_search.release()


def _check(
    data: Dataset,
    budget: float,
    estimators: Sequence[str],
    *,
    max_bytes: int,
    jobs: int,
    engine: str,
    cancel: threading.Event | None,
) -> None:
    if not 0.1 <= budget <= LONGEST:
        raise UsageError(
            f"A search takes from 0.1 to {LONGEST:g} s, not {budget}; 30 s find what is to be found."
        )
    unknown = [name for name in estimators if name not in ESTIMATORS]
    if unknown or not estimators:
        raise UsageError(
            f"The estimators that convert to ONNX are {', '.join(ESTIMATORS)}; {', '.join(unknown) or 'none'} is not "
            "among them."
        )
    if max_bytes < 5_000:
        raise UsageError(f"A model of {max_bytes} bytes holds no tree; allow at least 5,000.")
    if jobs < 1:
        raise UsageError(f"A trial takes at least one thread, not {jobs}.")
    if engine not in ("local", "spark"):
        raise UsageError(f"Trials run on engine 'local' or 'spark', not on {engine!r}.")
    if engine == "spark" and cancel is not None:
        raise UsageError(
            "A search on Spark ends with its budget and cannot be cancelled; leave out `cancel`."
        )
    if len(np.unique(data.groups)) < 2:
        raise DataError("All rows are of one group, so nothing can be held out; record another drive.")


class _Stop(Exception):
    """Ends FLAML's loop from within."""


class _Search:
    """One search: FLAML calls `_metric` after each fold and `_folded` after each trial."""

    def __init__(
        self,
        data: Dataset,
        budget: float,
        on_trial: Callable[[Trial], None] | None,
        cancel: threading.Event | None,
    ) -> None:
        self._data = data
        self._budget = budget
        self._on_trial = on_trial
        self._cancel = cancel
        self._begin = time.perf_counter()
        self._candidate: tuple[str, dict[str, Any]] = ("", {})
        self._trials: list[Trial] = []
        self._best: Trial | None = None
        self._cancelled = False
        self._interrupted = threading.Event()

    def run(self, settings: Mapping[str, Any]) -> None:
        """Let FLAML search in this process."""
        automl = library("flaml").AutoML()
        _quiet()
        try:
            with listening(self._interrupted):
                self._fit(automl, settings)
        except _Stop:
            pass
        except KeyboardInterrupt:
            self._interrupted.set()
        self._cancelled = self._cancelled or self._interrupted.is_set()

    def _fit(self, automl: Any, settings: Mapping[str, Any]) -> None:
        automl.fit(
            self._data.features,
            self._data.target,
            metric=self._metric,
            cv_score_agg_func=self._folded,
            verbose=0,
            log_file_name="",
            model_history=False,
            mlflow_logging=False,
            **settings,
        )

    def take(self, tried: Sequence[tuple[str, Mapping[str, Any], float, float]]) -> None:
        """Trials that ran elsewhere: estimator, config, loss and seconds of each."""
        for estimator, config, loss, seconds in tried:
            self._candidate = (estimator, dict(config))
            self._record(loss, seconds)

    def _metric(self, x_val: Any, y_val: Any, estimator: Any, *rest: Any, **options: Any) -> Any:
        """FLAML's `custom_metric`: RMSE of one fold. Its seventh argument after these is the config."""
        if self._interrupted.is_set() or (self._cancel is not None and self._cancel.is_set()):
            self._cancelled = True
            raise _Stop
        if self._best is not None and time.perf_counter() - self._begin > self._budget:
            raise _Stop  # FLAML looks at the clock between trials only, and a trial may be long
        config = options.get("config", rest[5] if len(rest) > 5 else {})
        self._candidate = (_CLASSES[type(estimator).__name__], _plain(config))
        error = np.asarray(estimator.predict(x_val), dtype=np.float64) - np.asarray(y_val, dtype=np.float64)
        return float(np.sqrt(np.mean(error * error))), {}

    def _folded(self, losses: Sequence[float], _logs: Any) -> tuple[float, dict[str, float]]:
        """FLAML's `cv_score_agg_func`: the loss of a trial from those of its folds."""
        loss = math.fsum(losses) / len(losses)
        self._record(loss, time.perf_counter() - self._begin)
        return loss, {}

    def _record(self, loss: float, seconds: float) -> None:
        estimator, config = self._candidate
        best = loss if self._best is None else min(loss, self._best.loss)
        trial = Trial(len(self._trials) + 1, seconds, self._budget, estimator, loss, best, config)
        self._trials.append(trial)
        if self._best is None or loss < self._best.loss:
            self._best = trial
        if self._on_trial is not None:
            self._on_trial(trial)

    def finish(self, seed: int, jobs: int) -> Found:
        """Train the best on all rows."""
        notes = Notes()
        if self._cancelled and self._best is None:
            raise UsageError(
                "The search was cancelled before its first trial had ended; there is no model to keep."
            )
        if self._cancelled:
            notes.add(
                f"The search was cancelled after {_trials(len(self._trials))}; the best so far is kept."
            )
        if self._best is None:
            estimator, config, loss = "lgbm", dict(_FALLBACK), math.nan
            notes.add(
                f"No trial ended within {self._budget:g} s, so a LightGBM with ordinary settings was trained, and not "
                "judged. Give the search more time."
            )
        else:
            estimator, config, loss = self._best.estimator, dict(self._best.config), self._best.loss
            if len(self._trials) < 10 and not self._cancelled:
                notes.add(
                    f"There was time for {_trials(len(self._trials))} only; a longer budget than {self._budget:g} s "
                    "will probably find a better model."
                )
        model, automl = _train(estimator, config, self._data, seed, jobs)
        return Found(
            model, automl, estimator, config, loss, tuple(self._trials), time.perf_counter() - self._begin,
            self._cancelled, seed, tuple(notes.entries),
        )  # fmt: skip


def _train(
    estimator: str, config: Mapping[str, Any], data: Dataset, seed: int, jobs: int = 1
) -> tuple[Any, Any]:
    """The estimator with these settings, trained on all rows; and the AutoML around it.

    With one iteration FLAML searches nothing: it trains the starting point.
    """
    automl = library("flaml").AutoML()
    _quiet()
    automl.fit(
        data.features, data.target, task="regression", estimator_list=[estimator],
        starting_points={estimator: dict(config)}, max_iter=1, time_budget=-1, verbose=0, log_file_name="",
        mlflow_logging=False, seed=seed, n_jobs=jobs, sample=False, model_history=False,
    )  # fmt: skip
    model = automl.model.estimator
    _check_trained(model, estimator)
    return model, automl


def _check_trained(model: Any, estimator: str) -> None:
    if model is None:
        raise DataError(f"FLAML could not train {estimator} on these rows; give it more of them.")


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as Python's own numbers, without what FLAML keeps for itself."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in config.items()
        if name not in ("learner", "FLAML_sample_size")
    }


def _quiet() -> None:
    """FLAML logs to stdout unless its logger has a handler; a notebook shows what we report, and no more."""
    logger = logging.getLogger("flaml.automl.logger")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
