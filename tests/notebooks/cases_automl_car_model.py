"""What the checks of notebook 05 say to each kind of answer; `test_exercises` runs these."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from lightgbm import LGBMRegressor
from sklearn.dummy import DummyRegressor
from sklearn.neighbors import KNeighborsRegressor

from iotedge_lab.car.features import PLAIN
from iotedge_lab.show.exercises import automl_car_model as exercise
from iotedge_lab.show.exercises.verdict import Word
from iotedge_lab.train import dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas import DataFrame, Series

    from iotedge_lab.train.dataset import Dataset


@cache
def _plain() -> Dataset:
    return dataset.shipped(PLAIN)


@cache
def _whole() -> Dataset:
    return dataset.shipped()


def _rows() -> tuple[DataFrame]:
    return (_plain().frame(),)


def _given(rows: DataFrame) -> Any:
    """As the notebook hands it out."""
    rows = rows.copy()
    rpm = rows["engine_rpm"]
    rows["rpm, smooth"] = rpm.rolling(5, center=True, min_periods=1).mean()
    rows["speed before"] = rows["speed"].shift(1, fill_value=0)
    return _by_lot(rows)


def _by_lot(rows: DataFrame) -> Any:
    rows = rows.sample(frac=1, random_state=0)
    cut = len(rows) * 3 // 4
    return rows[:cut], rows[cut:]


def _by_drive(rows: DataFrame) -> Any:
    held_out = rows["Group"].isin(rows["Group"].unique()[::4])
    return rows[~held_out], rows[held_out]


def _own(rows: DataFrame, **how: Any) -> Series:
    by_drive = rows.groupby("Group")["engine_rpm"]
    return by_drive.transform(lambda rpm: rpm.rolling(5, min_periods=1, **how).mean())


def _over_all(rows: DataFrame) -> Series:
    return rows["engine_rpm"].rolling(5, min_periods=1).mean()


def _mended(
    smooth: Callable[[DataFrame], Any] = _own,
    split: Callable[[DataFrame], Any] = _by_drive,
    *,
    before: str = "",
    scaled: str = "",
    change: Callable[[DataFrame], Any] = lambda half: half,
) -> Callable[[DataFrame], Any]:
    def prepare(rows: DataFrame) -> Any:
        if smooth is not None:
            rows["rpm, smooth"] = smooth(rows)
        if before:
            rows["before"] = rows.groupby("Group")[before].shift(1, fill_value=0)
        if scaled == "all":
            rows["engine_rpm"] /= rows["engine_rpm"].mean()
        train, test = split(rows)
        if scaled == "train":
            mean = train["engine_rpm"].mean()
            train, test = (half.assign(engine_rpm=half["engine_rpm"] / mean) for half in (train, test))
        return change(train), change(test)

    return prepare


def _gone(*names: str) -> Callable[[DataFrame], DataFrame]:
    return lambda half: half.drop(columns=list(names))


def _one_more(rows: DataFrame) -> Any:
    train, test = _by_drive(rows)
    return train.assign(more=1.0), test


def _rolling(column: str, **how: Any) -> Callable[[DataFrame], Any]:
    def my_feature(rows: DataFrame) -> Any:
        return rows.groupby("Group")[column].transform(
            lambda values: values.rolling(20, min_periods=1, **how).mean()
        )

    return my_feature


def _by_index(rows: DataFrame) -> Any:
    return rows.groupby("Group")["engine_rpm"].rolling(20, min_periods=1).mean()


def _by_chance(rows: DataFrame) -> Any:
    return np.random.default_rng().random(len(rows))


def _scaled_by_chance(rows: DataFrame) -> Any:
    names = np.random.default_rng().permutation(rows["Group"].unique())
    held_out = rows["Group"].isin(names[:4])
    mean = rows["engine_rpm"][~held_out].mean()
    rows = rows.assign(engine_rpm=rows["engine_rpm"] / mean)
    return rows[~held_out], rows[held_out]


def _from_elsewhere(_: Dataset) -> Any:
    return _lightgbm(30, 6)(_whole())


def _of_five(data: Dataset) -> Any:
    return LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(data.features[:, :5], data.target)


def _from_outside(rows: DataFrame) -> Any:
    return _plain().target[rows.index]


def _lightgbm(trees: int, leaves: int, rate: float = 0.3) -> Callable[[Dataset], Any]:
    def small_model(data: Dataset) -> Any:
        model = LGBMRegressor(n_estimators=trees, num_leaves=leaves, learning_rate=rate, n_jobs=1, verbose=-1)
        return model.fit(data.features, data.target)

    return small_model


@cache
def _made_before() -> Any:
    return _lightgbm(30, 6)(_whole())


PREPARE = exercise.check_prepare
FEATURE = exercise.check_my_feature
MODEL = exercise.check_small_model


def _data() -> tuple[Dataset]:
    return (_plain(),)


def _drives() -> tuple[Dataset]:
    return (_whole(),)


CASES: list[tuple[Any, Any, Any, Word, str]] = [
    (PREPARE, _rows, _mended(), Word.OK, "4 whole drives are held out"),
    (PREPARE, _rows, _mended(scaled="train"), Word.OK, "nothing leaks"),
    (PREPARE, _rows, _mended(before="engine_rpm"), Word.OK, "nothing leaks"),
    (PREPARE, _rows, lambda rows: ..., Word.NOT_YET, "gives nothing back yet"),
    (PREPARE, _rows, _given, Word.NOT_YET, "at least three steps leak"),
    (PREPARE, _rows, lambda rows: 5, Word.WRONG, "two frames were expected"),
    (PREPARE, _rows, lambda rows: rows["gear"], Word.WRONG, "raised KeyError"),
    (PREPARE, _rows, _mended(change=_gone("speed")), Word.WRONG, "keep the columns speed"),
    (PREPARE, _rows, _mended(change=_gone("Group")), Word.WRONG, "keep the columns Group"),
    (PREPARE, _rows, _mended(change=_gone("rpm, smooth")), Word.WRONG, "'rpm, smooth' is gone"),
    (PREPARE, _rows, _mended(change=_gone("acceleration_gs")), Word.WRONG, "'acceleration_gs' is gone"),
    (PREPARE, _rows, _mended(lambda rows: rows["engine_rpm"]), Word.WRONG, "is the engine speed itself"),
    (PREPARE, _rows, _mended(split=_one_more), Word.WRONG, "different columns"),
    (PREPARE, _rows, _mended(split=lambda rows: (rows, rows[:0])), Word.WRONG, "neither may be empty"),
    (PREPARE, _rows, _mended(change=lambda half: half[:100]), Word.WRONG, "use all of them"),
    (PREPARE, _rows, _mended(split=_by_lot), Word.WRONG, "hold out whole drives"),
    (PREPARE, _rows, _mended(before="speed"), Word.WRONG, "the target, or its past"),
    (PREPARE, _rows, _mended(lambda rows: _own(rows, center=True)), Word.WRONG, "rows that come later"),
    (PREPARE, _rows, _mended(_over_all), Word.WRONG, "into the drive above"),
    (PREPARE, _rows, _mended(scaled="all"), Word.WRONG, "take from train alone"),
    (PREPARE, _rows, _mended(_over_all, _by_lot), Word.WRONG, "(1 more after this)"),
    (PREPARE, _rows, lambda rows: list(_mended()(rows)), Word.OK, "nothing leaks"),
    (PREPARE, _rows, _mended(change=lambda half: half.assign(car="blue")), Word.WRONG, "'car' is of type"),
    (PREPARE, _rows, _mended(lambda rows: "fast"), Word.WRONG, "'rpm, smooth' is of type"),
    (PREPARE, _rows, _mended(lambda rows: 0.0), Word.WRONG, "does not follow the engine speed"),
    (PREPARE, _rows, _mended(split=lambda rows: _by_drive(rows)[::-1]), Word.WRONG, "train first, then test"),
    (PREPARE, _rows, _mended(change=lambda half: half.assign(Group="a")), Word.WRONG, "they name the rows"),
    (
        PREPARE,
        _rows,
        _mended(change=lambda half: half.iloc[:, [*range(half.shape[1]), 3]]),
        Word.WRONG,
        "is there twice",
    ),
    (PREPARE, _rows, _mended(split=_scaled_by_chance), Word.WRONG, "draw with a random_state"),
    (FEATURE, _data, _rolling("engine_rpm"), Word.OK, "the RMSE falls from 6.5 to 6.0 mph"),
    (FEATURE, _data, lambda rows: ..., Word.NOT_YET, "gives nothing back yet"),
    (FEATURE, _data, lambda rows: rows["speed"], Word.WRONG, "raised KeyError"),
    (FEATURE, _data, lambda rows: "fast", Word.WRONG, "numbers were expected"),
    (FEATURE, _data, lambda rows: 5.0, Word.WRONG, "one a row"),
    (FEATURE, _data, lambda rows: np.ones(len(rows)), Word.WRONG, "the same number in each row"),
    (FEATURE, _data, lambda rows: rows["engine_rpm"], Word.WRONG, "has already"),
    (FEATURE, _data, lambda rows: rows.groupby("Group")["engine_rpm"].shift(4), Word.WRONG, "are missing"),
    (FEATURE, _data, _rolling("engine_rpm", center=True), Word.WRONG, "rows that come later"),
    (FEATURE, _data, _over_all, Word.WRONG, "into the drive above"),
    (FEATURE, _data, _from_outside, Word.WRONG, "for half of the drives alone"),
    (FEATURE, _data, lambda rows: rows["engine_rpm"] * 2.0, Word.WRONG, "no less, and 4% less"),
    (FEATURE, _data, _rolling("acceleration_gs", closed="both"), Word.OK, "less"),
    (FEATURE, _data, lambda rows: list(_rolling("engine_rpm")(rows)), Word.OK, "the RMSE falls"),
    (FEATURE, _data, lambda rows: _by_index(rows).reset_index(level=0, drop=True), Word.OK, "the RMSE falls"),
    (FEATURE, _data, _by_index, Word.WRONG, "have another index than the rows"),
    (FEATURE, _data, _by_chance, Word.WRONG, "not by chance"),
    (FEATURE, _data, lambda rows: ["1.5"] * len(rows), Word.WRONG, "numbers were expected"),
    (MODEL, _drives, lambda data: LGBMRegressor, Word.WRONG, "the class LGBMRegressor itself"),
    (MODEL, _drives, _from_elsewhere, Word.WRONG, "on fewer rows the same model came"),
    (MODEL, _drives, _of_five, Word.WRONG, "it cannot predict: X has 24 features"),
    (MODEL, _drives, _lightgbm(30, 6), Word.OK, "by whole drives; the linear model by"),
    (MODEL, _drives, lambda data: ..., Word.NOT_YET, "gives nothing back yet"),
    (MODEL, _drives, lambda data: 5, Word.WRONG, "a trained model was expected"),
    (MODEL, _drives, lambda data: LGBMRegressor(), Word.WRONG, "was it trained?"),
    (MODEL, _drives, lambda data: SimpleNamespace(predict=len), Word.WRONG, "cannot be made ONNX"),
    (MODEL, _drives, lambda data: _made_before(), Word.WRONG, "the same model came twice"),
    (MODEL, _drives, _lightgbm(100, 31), Word.WRONG, "fewer trees"),
    (MODEL, _drives, _lightgbm(5, 4), Word.WRONG, "let it learn faster"),
    (
        MODEL,
        _drives,
        lambda data: DummyRegressor().fit(data.features, data.target),
        Word.WRONG,
        "cannot be made ONNX",
    ),
    (
        MODEL,
        _drives,
        lambda data: KNeighborsRegressor(1).fit(data.features, data.target),
        Word.WRONG,
        "more than 20,000",
    ),
]
