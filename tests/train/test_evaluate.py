"""Honest evaluation: how rows are split, what is compared, and what the figures are."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from iotedge_lab.car import drives as shelf
from iotedge_lab.car.features import PLAIN
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.train import dataset
from iotedge_lab.train.evaluate import BASELINES, Intervals, compare, linear, score
from iotedge_lab.train.notes import TrainWarning
from iotedge_lab.train.splits import SPLITS, folds


@pytest.fixture(scope="module")
def one_drive():
    """The merged recording alone, as the series had it."""
    with pytest.warns(TrainWarning, match="one drive only"):
        return dataset.build(shelf.car_csv(), PLAIN, every=None)


@pytest.fixture(scope="module")
def comparison(drives):
    return compare(drives)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_judges_rows_that_were_not_learned_from(drives, split):
    """No row on both sides, no row judged twice; all rows are judged but by time."""
    rounds = folds(drives, split)
    judged = np.concatenate([each.test for each in rounds])
    assert len(np.unique(judged)) == len(judged)
    assert len(judged) == (pytest.approx(0.25 * len(drives), abs=6) if split == "time" else len(drives))
    for each in rounds:
        assert not np.intersect1d(each.train, each.test).size


@pytest.mark.parametrize("split", ["group", "drive"])
def test_whole_drives_are_held_out(drives, split):
    """By group or drive, no drive lies on both sides."""
    for each in folds(drives, split):
        assert not np.intersect1d(drives.drives[each.train], drives.drives[each.test]).size


def test_the_future_is_judged_by_time(drives):
    """By time, each drive's last quarter is judged, and what is learned from ends a window before it."""
    (each,) = folds(drives, "time")
    for drive in range(6):
        learned = drives.seconds[each.train[drives.drives[each.train] == drive]]
        judged = drives.seconds[each.test[drives.drives[each.test] == drive]]
        assert judged.min() - learned.max() > 10.0


def test_blocks_are_held_apart_by_the_window(one_drive, recordings):
    """Where one recording is split into blocks, rows whose features reach over the seam are not learned from."""
    with pytest.warns(TrainWarning):
        data = dataset.build(recordings["d0"])
    for each in folds(data, "group"):
        apart = np.abs(data.seconds[each.train][:, None] - data.seconds[each.test]).min()
        assert apart > 10.0
    # Without lags nothing reaches over.
    assert sum(len(each.train) for each in folds(one_drive, "group")) == 4 * len(one_drive)


def test_a_split_that_cannot_be_is_refused(drives, one_drive):
    """One drive cannot be held out, nor one group, nor by a split that is none."""
    with pytest.raises(DataError, match="one drive only"):
        folds(one_drive, "drive")
    with pytest.raises(DataError, match="one group"):
        folds(replace(drives, groups=np.zeros_like(drives.groups)), "group")
    with pytest.raises(UsageError, match="random, time, group, drive"):
        folds(drives, "luck")
    with pytest.raises(DataError, match="left to learn from"):
        folds(drives.take(np.arange(8)), "random")


def test_scores_are_the_usual_ones():
    """MAE, RMSE and R2 are those of scikit-learn; one value alone has no R2."""
    actual, predicted = np.array([1.0, 5.0, 9.0, 2.0]), np.array([2.0, 4.0, 9.5, 0.0])
    found = score(actual, predicted)
    assert found.mae == pytest.approx(mean_absolute_error(actual, predicted))
    assert found.rmse == pytest.approx(root_mean_squared_error(actual, predicted))
    assert found.r2 == pytest.approx(r2_score(actual, predicted))
    assert np.isnan(score(actual[:1], predicted[:1]).r2)
    with pytest.raises(UsageError, match="4 and 3"):
        score(actual, predicted[:3])


def test_one_drive_alone_flatters_and_the_leak_detector_tells(one_drive):
    """The trap: by a random split of one merged recording, looking up a neighbour beats the linear model by far."""
    found = compare(one_drive)
    assert found.splits == ("random", "time", "group")
    assert found.score("random", "1-nearest neighbour").r2 > 0.93
    assert found.score("random", "1-nearest neighbour").r2 > found.score("random", "linear").r2 + 0.1
    assert found.score("group", "1-nearest neighbour").r2 < 0.85
    assert found.leak().startswith("The random split leaks: ")


def test_independent_drives_are_the_cure(comparison):
    """Over several drives the splits agree on the linear model: none flatters it."""
    values = [comparison.score(split, "linear").r2 for split in SPLITS]
    assert max(values) - min(values) < 0.15


def test_the_table_has_every_model_by_every_split(comparison):
    """`frame` has a line each, `table` one figure across; the residuals add up to the scores."""
    frame = comparison.frame()
    assert len(frame) == len(BASELINES) * 4
    assert list(comparison.table().index) == list(BASELINES)
    assert list(comparison.table("RMSE (mph)").columns) == list(SPLITS)
    rest = comparison.residuals("time", "linear")
    assert np.sqrt((rest["residual"] ** 2).mean()) == pytest.approx(comparison.score("time", "linear").rmse)
    assert set(rest["group"]) == {f"d{n}" for n in range(6)}
    gears = comparison.by_gear("drive", "linear")
    assert gears["rows"].sum() == comparison.score("drive", "linear").rows
    assert gears["gear"].is_monotonic_increasing
    assert "<table" in comparison._repr_html_()
    for wrong in (("luck", "linear"), ("time", "oracle")):
        with pytest.raises(UsageError):
            comparison.score(*wrong)


def test_lags_and_means_lower_the_honest_error(found, learned, unseen):
    """On whole drives that it has not seen, each estimator with lags and means is far better than the linear model."""
    line = score(unseen.target, linear(learned).predict(unseen.features))
    assert score(unseen.target, found.predict(unseen.features)).rmse < 0.75 * line.rmse


def test_the_linear_model_is_the_series(drives):
    """Linear means throttle, rpm and acceleration alone, whatever features there are."""
    plain = drives.columns(drives.names[:3])
    np.testing.assert_allclose(linear(drives).predict(drives.features), linear(plain).predict(plain.features))


def test_what_to_compare_may_be_chosen(drives):
    """Other models and fewer splits; nothing at all is refused. Without a detector no leak is told."""
    found = compare(drives, {"mine": linear}, ["drive"])
    assert (found.models, found.splits, found.leak()) == (("mine",), ("drive",), "")
    with pytest.raises(UsageError, match="at least one"):
        compare(drives, {}, ["drive"])


def test_constant_features_do_not_break_a_model(drives):
    """A feature that never changes is scaled by nothing and does no harm."""
    features = drives.features.copy()
    features[:, 0] = 3.0
    found = compare(replace(drives, features=features), splits=["drive"])
    assert np.isfinite(found.frame()["R2"]).all()


def test_intervals_cover_what_they_promise(learned, unseen):
    """Intervals made of held-out rows cover about as many rows of other drives as they say."""
    held = compare(learned, {"linear": linear}, ["drive"])
    made = Intervals.of(held.actual("drive"), held.predicted["drive", "linear"], level=0.9)
    assert made.coverage(held.actual("drive"), held.predicted["drive", "linear"]) >= 0.9
    predicted = linear(learned).predict(unseen.features)
    assert made.coverage(unseen.target, predicted) == pytest.approx(0.9, abs=0.08)
    low, high = made.around(predicted)
    assert (low >= 0.0).all()
    assert (low <= high).all()
    assert len(made.widths) == len(made.edges) + 1 == 5


def test_intervals_by_hand():
    """With one band the half width is the conformal quantile: the 10th of 10 at 0.9."""
    actual = np.arange(10.0)
    made = Intervals.of(actual, actual + np.arange(10) / 10, level=0.9)
    assert (made.edges, made.widths) == ((), (pytest.approx(0.9),))
    assert made.to_dict() == {"level": 0.9, "edges": [], "widths": list(made.widths)}
    with pytest.raises(UsageError, match="half to nearly all"):
        Intervals.of(actual, actual, level=1.0)
