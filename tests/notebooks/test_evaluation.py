"""Tables and pictures of a model's errors: what they say is in the data."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from iotedge_lab.car.features import PLAIN
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show import evaluation
from iotedge_lab.show.picture import Picture
from iotedge_lab.train import evaluate
from iotedge_lab.train.dataset import Dataset


def _data(drives: int) -> Dataset:
    """Four hundred rows that wander slowly, so that neighbours are alike: speeds, and inputs that hardly tell them."""
    rng = np.random.default_rng(5)
    speed = 30 + np.cumsum(rng.normal(0, 0.7, 400))
    features = np.column_stack([np.cumsum(rng.normal(0, 1, 400)) for _ in range(3)])
    drive = np.arange(400) * drives // 400
    blocks = np.arange(400) // 50 if drives == 1 else drive
    names = tuple(f"block {n}" for n in range(8)) if drives == 1 else tuple(map(str, range(drives)))
    return Dataset(
        features.astype(np.float32), speed, blocks, names, drive, np.arange(400) / 2.0,
        np.full(400, 5), PLAIN, PLAIN.names, PLAIN.units,
    )  # fmt: skip


@pytest.fixture(scope="module")
def one_drive() -> evaluate.Comparison:
    return evaluate.compare(_data(1))


def test_the_table_has_r2_and_error_of_each_model_by_each_split(one_drive: evaluate.Comparison) -> None:
    """As text in columns and as HTML, and the finding below."""
    shown = evaluation.table(one_drive)
    text, page = repr(shown), shown._repr_html_()
    first, *lines = text.splitlines()
    assert first.split("  ")[-1].strip() == "blocks of time held out"
    assert [line.partition("  ")[0] for line in lines[:-1]] == ["mean", "linear", "1-nearest neighbour"]
    assert len({len(line) for line in [first, *lines[:-1]]}) == 1
    found = one_drive.score("group", "linear")
    assert f"R2 {found.r2:.2f}, {found.rmse:.1f} mph" in text
    assert f"<b>R2 {found.r2:.2f}</b><br>{found.rmse:.1f} mph" in page
    assert one_drive.leak().startswith("The random split leaks")
    assert shown.note == lines[-1] == one_drive.leak()


def test_a_part_of_the_table(one_drive: evaluate.Comparison) -> None:
    """Named models and splits alone; without the leak detector there is no finding."""
    shown = evaluation.table(one_drive, models=["linear", "mean"], splits=["random"])
    assert (shown.models, shown.headers, shown.note) == (("linear", "mean"), ("rows by lot",), "")
    with pytest.raises(UsageError, match="no model 'AutoML'"):
        evaluation.table(one_drive, models=["AutoML"])
    with pytest.raises(UsageError, match="split by 'drive'"):
        evaluation.table(one_drive, splits=["drive"])


def test_of_several_drives_whole_ones_are_held_out() -> None:
    """The headers say what is held out; a zero has no sign."""
    shown = evaluation.table(evaluate.compare(_data(4), {"mean": evaluate.mean}))
    assert shown.headers == (
        "rows by lot",
        "the end of each drive",
        "groups held out",
        "whole drives held out",
    )
    assert "-0.00" not in repr(shown)


def test_the_bars_say_each_figure(one_drive: evaluate.Comparison) -> None:
    """Each R2 stands in the alt text; the mean, 0 by definition, is left out."""
    drawn = evaluation.by_split(one_drive)
    assert f"rows by lot: linear {one_drive.score('random', 'linear').r2:.2f}" in drawn.alt
    assert "mean" not in drawn.alt
    with pytest.raises(DataError, match="0 by definition"):
        evaluation.by_split(one_drive, models=["mean"])


ACTUAL = np.array([0.0] * 50 + [20.0] * 50 + [40.0] * 100)
PREDICTED = ACTUAL + np.array([0.0] * 50 + [3.0] * 50 + [-2.0] * 100)
GEAR = np.array([0] * 50 + [4] * 50 + [8] * 100)


def test_residuals_say_how_far_off() -> None:
    """R2 and the mean error; with intervals, the share that was wished for and the one that came out."""
    assert "200 rows; R2 0.98, off by 1.8 mph on average." in evaluation.residuals(ACTUAL, PREDICTED).alt
    intervals = evaluate.Intervals(0.9, (), (2.5,))
    drawn = evaluation.residuals(ACTUAL, PREDICTED, intervals)
    assert "was to hold 90% of the rows and holds 75% of these" in drawn.alt


def test_errors_gear_by_gear() -> None:
    """Standing is a gear of its own, and the worst one is named."""
    drawn = evaluation.gears(GEAR, ACTUAL, PREDICTED)
    assert "standing 0.0, 4 3.0, 8 2.0. It is largest in gear 4." in drawn.alt
    assert "largest while standing" in evaluation.gears(GEAR, ACTUAL, ACTUAL + (GEAR == 0)).alt


def test_predictions_over_time() -> None:
    """How long, how good, and how often within the interval."""
    seconds = np.arange(200) / 2.0
    drawn = evaluation.over_time(seconds, ACTUAL, PREDICTED, evaluate.Intervals(0.9, (), (2.5,)))
    assert "over 100 seconds of a drive, R2 0.98" in drawn.alt
    assert "within the interval in 75% of the rows" in drawn.alt
    assert "interval" not in evaluation.over_time(seconds, ACTUAL, PREDICTED).alt


def test_the_inputs_and_their_correlations() -> None:
    """Under the file's headers or the short names; a missing column is named."""
    frame = pd.DataFrame(
        {
            "Throttle Position": [0, 10, 20],
            "engine_rpm": [700, 1400, 2100],
            "acceleration_gs": [0.1, 0.2, 0.1],
        }
    ).assign(speed=[0, 20, 40])
    assert "throttle position 1.00, engine rpm 1.00, acceleration gs 0.00" in evaluation.inputs(frame).alt
    with pytest.raises(DataError, match="lacks engine_rpm"):
        evaluation.inputs(frame.drop(columns="engine_rpm"))
    with pytest.raises(DataError, match="lacks rows"):
        evaluation.inputs(frame[:0])


def test_the_same_data_make_the_same_picture() -> None:
    """Its bytes depend on the data alone, and a notebook with several of them stays small."""
    one, other = (evaluation.residuals(ACTUAL, PREDICTED) for _ in "ab")
    assert isinstance(one, Picture)
    assert one == other
    assert len(one.png) < 30_000
    with Image.open(io.BytesIO(one.png)) as image:
        assert image.width == 720
