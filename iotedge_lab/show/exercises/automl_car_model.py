"""The checks of notebook 05, AutoML on the car's data: a pipeline that leaks, a feature of one's own, a small model.

Leaks are found by what a pipeline does, not by how it is written: it runs again on rows in which one thing is another,
and whatever changes that must not is a leak.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.car.features import INPUTS, TARGET
from iotedge_lab.errors import LabError
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check
from iotedge_lab.train.evaluate import Score, compare, linear
from iotedge_lab.train.export import to_onnx
from iotedge_lab.train.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pandas import DataFrame

    from iotedge_lab.train.dataset import Dataset

GROUP: Final = "Group"
SECONDS: Final = "Seconds"
SMOOTH: Final = "rpm, smooth"
"""The column of the given pipeline that is to be mended, not dropped."""

LESS: Final = 0.04
"""By so much, as a share, a feature has to lower the error."""

FOLLOWS: Final = 0.3
"""The least correlation of `SMOOTH` with the engine speed."""

SMALL: Final = 20_000
"""Bytes that the small model may have as ONNX."""

HALF: Final = 0.5
"""The small model's error may be this share of the linear model's."""

_KEYS: Final = [GROUP, SECONDS]
_CLOSE: Final = 1e-9


class Leak(Enum):
    """What a pipeline can let through, and what is said of it."""

    LOT = "rows of one drive stand on both sides, and neighbours tell the same; hold out whole drives"
    TARGET = "a feature changes with the speed: the target, or its past, is among the features"
    FUTURE = "a feature changes with rows that come later, and on the road those are not there yet"
    BORDER = "the first rows of a drive look back into the drive above; work out each Group by itself"
    TEST = (
        "features change with rows of another drive: what is worked out over many rows, take from train alone"
    )


@check
def check_prepare(prepare: Callable[[DataFrame], Any], rows: DataFrame) -> str:
    """(rows of many drives, in order) -> (train, test), two frames without a leak.

    `rows` has Group, Seconds, the three inputs and the speed, as `Dataset.frame` gives them.
    """
    rows = _precise(rows)
    train, test = _halves(prepare, rows)
    features = _features(train, test, rows)
    found = _leaks(prepare, rows, features)
    if {Leak.LOT, Leak.TARGET, Leak.FUTURE} <= set(found):
        raise NotYet(
            "at least three steps leak, as they were given to you; mend one and run both cells again"
        )
    if found:
        more = f". ({len(found) - 1} more after this)" if len(found) > 1 else ""
        raise Wrong(f"{found[0].value}{more}")
    judged = test[GROUP].nunique()
    return (
        f"nothing leaks: {judged} whole drives are held out, no feature knows the speed or what comes later, "
        "and each drive stands by itself"
    )


def _halves(prepare: Callable[[DataFrame], Any], rows: DataFrame) -> tuple[DataFrame, DataFrame]:
    answer = ask(prepare, rows.copy())
    try:
        train, test = answer
        keys = [set(half.columns) for half in (train, test)]
    except (TypeError, ValueError, AttributeError):
        raise Wrong(
            f"two frames were expected, (train, test); prepare gave {type(answer).__name__}"
        ) from None
    missing = [name for name in (*_KEYS, TARGET) if not all(name in columns for columns in keys)]
    if missing:
        raise Wrong(f"both frames keep the columns {', '.join(missing)}; they name the rows, and the target")
    if train.empty or test.empty:
        raise Wrong(f"{len(train)} rows to learn from and {len(test)} to judge by; neither may be empty")
    return train, test


def _features(train: DataFrame, test: DataFrame, rows: DataFrame) -> list[str]:
    names = [name for name in train.columns if name not in (*_KEYS, TARGET)]
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if set(test.columns) - {*_KEYS, TARGET} != set(names):
        raise Wrong("train and test have different columns; a model needs the same in both")
    lost = [name for name in (*INPUTS, SMOOTH) if name not in names]
    if lost:
        raise Wrong(f"the feature {lost[0]!r} is gone; mend the step, do not drop it")
    twice = train.columns[train.columns.duplicated()]
    if len(twice):
        raise Wrong(f"the column {twice[0]!r} is there twice; each once is enough")
    odd = [name for name in names if not (is_bool_dtype(train[name]) or is_numeric_dtype(train[name]))]
    if odd:
        raise Wrong(f"the feature {odd[0]!r} is of type {train[odd[0]].dtype}; a feature is a number")
    known = rows.set_index(_KEYS).index
    if not all(half.set_index(_KEYS).index.isin(known).all() for half in (train, test)):
        raise Wrong(
            "Group or Seconds are others than they were; they name the rows, so leave them as they are"
        )
    if np.allclose(train[SMOOTH], train["engine_rpm"]):
        raise Wrong(f"{SMOOTH!r} is the engine speed itself; smooth it, over rows that are there already")
    if (
        not train[SMOOTH].corr(train["engine_rpm"]) > FOLLOWS
    ):  # a column of one number, or of none, has no correlation
        raise Wrong(f"{SMOOTH!r} does not follow the engine speed; it is its mean over a few rows up to now")
    if len(train) + len(test) < 0.8 * len(rows):
        raise Wrong(f"{len(train) + len(test):,} of {len(rows):,} rows are left; use all of them")
    if len(test) > 2 * len(train):
        raise Wrong(
            f"{len(train):,} rows to learn from, and {len(test):,} to judge by; return train first, then test"
        )
    return names


def _leaks(prepare: Callable[[DataFrame], Any], rows: DataFrame, features: list[str]) -> list[Leak]:
    """What leaks, the plainest first."""

    def run(given: DataFrame) -> tuple[DataFrame, DataFrame]:
        train, test = _halves(prepare, given)
        keyed = [half.set_index(_KEYS)[features] for half in (train, test)]
        return keyed[0], keyed[1]

    train, test = run(rows)
    groups = set(train.index.get_level_values(0)) & set(test.index.get_level_values(0))
    before = _whole(train, test)
    if _changed(before, _whole(*run(rows))).any():
        raise Wrong(
            "asked again, other numbers came; draw with a random_state, so that a run can be repeated"
        )
    leaks = [Leak.LOT] if groups else []
    faster = rows.copy()
    faster[TARGET] = faster[TARGET] * 1.7 + 3.0
    if _changed(before, _whole(*run(faster))).any():
        leaks.append(Leak.TARGET)
    # The second half of one drive is another: no row before it may notice, and none of another drive.
    order = list(dict.fromkeys(rows[GROUP]))
    held = [name for name in order[:-1] if name in set(test.index.get_level_values(0))]
    one = held[0] if held else order[0]
    number = rows.groupby(GROUP).cumcount()
    late = number >= rows.groupby(GROUP)[SECONDS].transform("size") // 2
    seen = _changed(before, _whole(*run(_stirred(rows, ((rows[GROUP] == one) & late).to_numpy()))))
    place = rows.set_index(_KEYS).index.get_indexer(before.index)
    here, behind = (rows[GROUP] == one).to_numpy()[place], late.to_numpy()[place]
    if seen[~here & behind].any():
        leaks.append(Leak.TEST)
    elif seen[here & ~behind].any():
        leaks.append(Leak.FUTURE)
    elif seen[~here].any():
        leaks.append(Leak.BORDER)
    return leaks


def _precise(rows: DataFrame) -> DataFrame:
    """The inputs in double precision, so that a mean over other rows is not another for its rounding alone."""
    return rows.astype(dict.fromkeys(INPUTS, np.float64))


def _whole(train: DataFrame, test: DataFrame) -> DataFrame:
    import pandas as pd

    both = pd.concat([train, test])
    return both[~both.index.duplicated()]


def _changed(before: DataFrame, after: DataFrame) -> NDArray[np.bool_]:
    """Which rows are others than they were; a row that is gone is one too."""
    other = after[~after.index.duplicated()].reindex(before.index)
    one, two = before.to_numpy(dtype=np.float64), other.to_numpy(dtype=np.float64)
    same = np.isclose(one, two, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
    return np.asarray(~same.all(axis=1), dtype=np.bool_)


def _stirred(rows: DataFrame, which: NDArray[np.bool_]) -> DataFrame:
    """The rows with other inputs in some of them."""
    other = rows.copy()
    for name in INPUTS:
        values = other[name].to_numpy(dtype=np.float64, copy=True)
        values[which] = values[which] * 1.3 + 1.0
        other[name] = values
    return other


# -- a feature ------------------------------------------------------------------------------------------------


@check
def check_my_feature(my_feature: Callable[[DataFrame], Any], data: Dataset) -> str:
    """(rows of many drives, in order, without the speed) -> one number a row, with which a model errs less."""
    rows = _precise(data.frame().drop(columns=TARGET))
    values = _column(my_feature, rows)
    _judge_feature(my_feature, rows, values)
    if any(np.allclose(values, data.features[:, place]) for place in range(len(data.names))):
        raise Wrong("that is a column which the model has already; make another of it")
    before = held_out(data)
    after = held_out(data.with_feature("my own", values))
    if after.rmse > before.rmse * (1.0 - LESS):
        how = "no less" if after.rmse > before.rmse * 0.995 else "hardly less"
        raise Wrong(
            f"with it the model is off by {after.rmse:.2f} mph, without by {before.rmse:.2f}: {how}, and {LESS:.0%} "
            "less is asked for. What did the engine do in the last 10 s? A row alone does not tell"
        )
    return (
        f"by whole drives held out the RMSE falls from {before.rmse:.1f} to {after.rmse:.1f} mph, "
        f"{1 - after.rmse / before.rmse:.0%} less"
    )


def _column(my_feature: Callable[[DataFrame], Any], rows: DataFrame) -> NDArray[np.float64]:
    answer = ask(my_feature, rows.copy())
    index: Any = getattr(answer, "index", None)  # a list has a method of this name
    if hasattr(index, "equals") and len(answer) == len(rows) and not index.equals(rows.index):
        if index.nlevels == 1 and index.is_unique and index.isin(rows.index).all():
            return _column(lambda _: answer.reindex(rows.index), rows)  # pandas puts each beside its row, too
        raise Wrong(
            "the numbers have another index than the rows, as groupby(...).rolling(...) gives "
            'them; groupby("Group")[...].transform(...) keeps it'
        )
    try:
        if any(isinstance(each, str) for each in np.asarray(answer, dtype=object).flat):
            raise TypeError  # "1.5" is no number yet
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"numbers were expected, my_feature gave {type(answer).__name__}") from None
    if values.shape != (len(rows),):
        raise Wrong(f"{len(rows):,} numbers were expected, one a row; my_feature gave shape {values.shape}")
    if not np.isfinite(values).all():
        raise Wrong(
            f"{int((~np.isfinite(values)).sum()):,} of the numbers are missing or infinite; the first rows of a drive "
            "have no past: min_periods=1, or fillna"
        )
    return values


def _judge_feature(
    my_feature: Callable[[DataFrame], Any], rows: DataFrame, values: NDArray[np.float64]
) -> None:
    """Raises `Wrong` for a look ahead, and for one over the border of a drive."""
    if values.min() == values.max():
        raise Wrong("that is the same number in each row, and teaches nothing")
    if not np.array_equal(_column(my_feature, rows), values):
        raise Wrong(
            "asked again for the same rows, other numbers came; a feature is made of the rows, not by chance"
        )
    number = rows.groupby(GROUP).cumcount().to_numpy()
    size = rows.groupby(GROUP)[SECONDS].transform("size").to_numpy()
    early = number < size // 2
    ahead = _column(my_feature, _stirred(rows, ~early))
    if not np.allclose(ahead[early], values[early], rtol=1e-6, atol=1e-6):
        # Where only the beginnings change, it is the end of the drive above.
        calm = early & (number > size // 4)
        leak = Leak.BORDER if np.allclose(ahead[calm], values[calm], rtol=1e-6, atol=1e-6) else Leak.FUTURE
        raise Wrong(leak.value)
    names = rows[GROUP].unique()
    part = rows[GROUP].isin(names[1::2]).to_numpy()
    alone = _column(my_feature, rows[part].reset_index(drop=True))
    if not np.allclose(alone, values[part], rtol=1e-6, atol=1e-6):
        raise Wrong(
            "for half of the drives alone it gives other numbers: a row's feature is made of its own drive, up to there"
        )


def held_out(data: Dataset) -> Score:
    """What a small LightGBM with fixed settings is worth by whole drives held out; the same at each run."""
    return compare(data, {"it": _judge}, ["drive"]).score("drive", "it")


def _judge(data: Dataset) -> Any:
    model = library("lightgbm").LGBMRegressor(
        n_estimators=60, num_leaves=15, learning_rate=0.15, n_jobs=1, verbose=-1, random_state=0,
        deterministic=True, force_row_wise=True,
    )  # fmt: skip
    return model.fit(data.features, data.target)


# -- a small model --------------------------------------------------------------------------------------------


@check
def check_small_model(small_model: Callable[[Dataset], Any], data: Dataset) -> str:
    """(data) -> a model trained on it: at most `SMALL` bytes as ONNX, at most half the linear model's error."""
    model = ask(small_model, data)
    if isinstance(model, type):
        raise Wrong(
            f"that is the class {model.__name__} itself; make one, and train it: {model.__name__}(...).fit(...)"
        )
    if not hasattr(model, "predict"):
        raise Wrong(f"a trained model was expected, small_model gave {type(model).__name__}")
    size = _size(model, len(data.names))
    if size > SMALL:
        raise Wrong(
            f"as ONNX it has {size:,} bytes, more than {SMALL:,}; fewer trees (n_estimators) or smaller ones "
            "(num_leaves): a leaf takes about 80 bytes"
        )
    given, everywhere = [model], _predicted(model, data)

    def maker(part: Dataset) -> Any:
        trained = ask(small_model, part)
        if any(trained is other for other in given):
            raise Wrong("the same model came twice; train a new one on the rows that are handed over")
        given.append(trained)
        if np.array_equal(_predicted(trained, data), everywhere):
            raise Wrong(
                "on fewer rows the same model came; train it on the data that are handed over, and no others"
            )
        return trained

    compared = compare(data, {"linear": linear, "it": maker}, ["drive"])
    line, found = compared.score("drive", "linear").rmse, compared.score("drive", "it").rmse
    if not found <= HALF * line:
        raise Wrong(
            f"it has {size:,} bytes and is off by {found:.2f} mph by whole drives; at most {HALF * line:.2f}, half of "
            "the linear model's, is asked for: let it learn faster (learning_rate), or use more of the bytes"
        )
    return f"{size:,} bytes, off by {found:.1f} mph (RMSE) by whole drives; the linear model by {line:.1f}"


def _predicted(model: Any, data: Dataset) -> NDArray[np.float64]:
    try:
        return np.asarray(model.predict(data.features), dtype=np.float64)
    except Exception as error:  # each library has errors of its own
        said = str(error).partition("\n")[0]
        raise Wrong(f"it cannot predict: {said}; train it with data.features as they are") from error


def _size(model: Any, features: int) -> int:
    try:
        return len(to_onnx(model, features).SerializeToString())
    except LabError as error:
        raise Wrong(f"it cannot be made ONNX: {error}") from error
    except Exception as error:  # the converters have errors of their own, of each library
        name, said = type(error).__name__, str(error).partition("\n")[0]
        hint = (
            "was it trained?"
            if name == "NotFittedError"
            else "LGBMRegressor(...).fit(...) gives one that can"
        )
        raise Wrong(f"it cannot be made ONNX: {name}: {said}; {hint}") from error
