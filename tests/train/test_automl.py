"""The search: what it finds, what it reports, how it ends, and what it refuses."""

import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest

from iotedge_lab.errors import DataError, EnvironmentProblem, UsageError
from iotedge_lab.train import automl, dataset, libraries
from iotedge_lab.train.automl import ESTIMATORS, search
from iotedge_lab.train.evaluate import linear, mean, score
from iotedge_lab.train.notes import TrainWarning


def quick(data, budget=1.0, **options):
    """A search whose few trials are no surprise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainWarning)
        return search(data, budget, **options)


def test_a_search_finds_a_model(searched, learned, unseen):
    """A second and a half finds what predicts drives that it has not seen better than their mean."""
    found, _ = searched
    assert found.estimator in ESTIMATORS
    predicted = found.predict(unseen.features)
    assert predicted.shape == (len(unseen),)
    assert (
        score(unseen.target, predicted).rmse
        < score(unseen.target, mean(learned).predict(unseen.features)).rmse
    )
    assert json.loads(json.dumps(found.config)) == found.config
    assert not found.cancelled


def test_every_trial_is_reported(searched):
    """Trials are numbered in their order, with the lowest loss so far; the log is a table of them."""
    found, told = searched
    assert tuple(told) == found.trials
    assert [trial.number for trial in told] == list(range(1, len(told) + 1))
    assert [trial.best for trial in told] == np.minimum.accumulate([trial.loss for trial in told]).tolist()
    assert found.loss == told[-1].best
    assert all(0.0 < trial.share <= 1.0 for trial in told)
    assert len(found.log()) == len(told)
    assert repr(found).startswith(f"Found({found.estimator}, RMSE ")


def test_the_model_is_the_one_that_flaml_holds(found, unseen):
    """The estimator alone predicts what flaml.AutoML predicts."""
    np.testing.assert_array_equal(found.predict(unseen.features), found.automl.predict(unseen.features))


def test_the_best_is_trained_anew_on_other_rows(found, learned):
    """`refit` has the same settings and other rows; on the same rows it is the same model."""
    same = found.refit(learned).predict(learned.features)
    np.testing.assert_allclose(same, found.predict(learned.features))
    other = found.refit(learned.take(learned.drives < 2)).predict(learned.features)
    assert np.abs(other - same).max() > 0.1


def test_the_search_is_told_the_groups(learned, monkeypatch):
    """FLAML's own cross-validation splits by group: no drive lies on both sides of a fold."""
    # Standing rows of two drives are alike; with its number in it each row is told from all others.
    data = learned.with_feature("row", np.arange(len(learned)))
    seen = []
    original = automl._Search._metric

    def metric(self, held_out, *rest, **options):
        seen.append(set(data.groups[held_out[:, -1].astype(int)].tolist()))
        return original(self, held_out, *rest, **options)

    monkeypatch.setattr(automl._Search, "_metric", metric)
    quick(data, 0.5)
    assert len(seen) >= 4
    assert all(len(groups) == 1 for groups in seen)


def first_trial(data):
    """Only the first trial of a search: the same settings, whatever the data."""

    def stop(_trial):
        raise KeyboardInterrupt

    return quick(data, 60.0, on_trial=stop).trials[0]


def test_a_search_that_is_not_told_the_groups_flatters_itself(learned):
    """With each row a group of its own, the same candidate looks better than by whole drives."""
    data = learned.ungrouped()
    assert len(np.unique(data.groups)) == len(data) == len(data.group_names)
    blind, told = first_trial(data), first_trial(learned)
    assert blind.config == told.config
    assert blind.loss < told.loss


def test_a_search_ends_with_its_budget(learned, monkeypatch):
    """A trial that is not whole when the budget is spent does not count, and no further fold is trained."""
    late = [0.0]
    real = time.perf_counter
    monkeypatch.setattr(automl.time, "perf_counter", lambda: real() + late[0])

    def dawdle(trial):
        if trial.number == 2:
            late[0] = 1000.0

    found = quick(learned, 60.0, on_trial=dawdle)
    assert len(found.trials) == 2
    assert not found.cancelled


def test_cancelling_keeps_the_best_so_far(learned):
    """Once cancelled, a search of a minute ends after the fold at hand and keeps the best of its trials."""
    stop = threading.Event()
    with pytest.warns(TrainWarning, match="cancelled after 3 trials; the best so far is kept"):
        found = search(learned, 60.0, cancel=stop, on_trial=lambda trial: trial.number == 3 and stop.set())
    assert found.cancelled
    assert len(found.trials) == 3
    assert found.loss == min(trial.loss for trial in found.trials)
    assert found.predict(learned.features).std() > 0


def test_the_stop_button_cancels(learned):
    """An interrupt ends the search after the fold at hand, and whoever listened before listens again."""

    def stop(trial):
        if trial.number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.warns(TrainWarning, match="cancelled after 2 trials"):
            found = search(learned, 60.0, on_trial=stop, estimators=["xgboost"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (found.cancelled, len(found.trials)) == (True, 2)


def test_a_second_interrupt_is_raised_at_once(learned):
    """Who presses twice does not wait for the fold; the best so far is kept all the same."""

    def stop(_trial):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("an interrupt was to come")

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.warns(TrainWarning, match="cancelled after 1 trial;"):
            assert search(learned, 60.0, on_trial=stop).cancelled
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_and_another_listener_are_left_alone(learned):
    """A search in a thread of its own, as a widget runs it, touches no signal; nor where someone else listens."""
    found = []
    thread = threading.Thread(target=lambda: found.append(quick(learned, 0.5)))
    thread.start()
    thread.join(60)
    assert found[0].trials

    def mine(*_):
        pass

    before = signal.signal(signal.SIGINT, mine)
    try:
        quick(learned, 0.5, on_trial=lambda _trial: found.append(signal.getsignal(signal.SIGINT)))
        assert found[1] is signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_cancelled_before_anything_was_found(learned):
    """Without a single trial there is nothing to keep, and that is said; the next search works."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(UsageError, match="before its first trial"):
        search(learned, 60.0, cancel=stop)
    assert quick(learned, 0.5).trials


def test_a_failing_callback_is_not_swallowed(learned):
    """What a progress bar raises reaches its author, and the next search works."""

    def bad(_trial):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(learned, 60.0, on_trial=bad)
    assert quick(learned, 0.5).trials


def test_one_search_at_a_time(learned):
    """A second search in the same process is refused while one runs."""
    told = []

    def again(trial):
        if trial.number == 1:
            with pytest.raises(UsageError, match="runs in this process already") as refused:
                search(learned, 1.0)
            told.append(refused)
            raise KeyboardInterrupt

    with pytest.warns(TrainWarning):
        search(learned, 60.0, on_trial=again)
    assert told


def test_a_budget_too_short_for_anything(learned, monkeypatch):
    """Where no trial ends in time, an ordinary model is trained, and the warning says that it was not judged."""
    monkeypatch.setattr(automl._Search, "run", lambda self, settings: None)
    with pytest.warns(TrainWarning, match=r"No trial ended within 1 s, so a LightGBM"):
        found = search(learned, 1.0)
    assert np.isnan(found.loss)
    assert found.predict(learned.features).std() > 0


def test_a_size_cap_is_kept(learned):
    """No candidate is larger than asked for, whatever else is found."""
    found = quick(learned, 1.5, max_bytes=8_000)
    for trial in found.trials:
        leaves = trial.config.get("num_leaves") or trial.config.get("max_leaves")
        assert trial.config["n_estimators"] * leaves * automl._ONNX_BYTES_PER_LEAF < 9_000


def test_nothing_is_printed(learned, capfd):
    """The library reports by its callback; neither FLAML nor LightGBM writes to the terminal."""
    logging.getLogger("flaml.automl.logger").handlers.clear()
    quick(learned, 0.5)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": 0.0}, "takes from 0.1"),
        ({"budget": float("nan")}, "takes from 0.1"),
        ({"budget": 1e6}, "3600 s"),
        ({"estimators": ["histgb"]}, "lgbm, extra_tree, xgboost; histgb is not"),
        ({"estimators": []}, "none is not"),
        ({"max_bytes": 10}, "holds no tree"),
        ({"jobs": 0}, "at least one thread"),
        ({"engine": "ray"}, "'local' or 'spark'"),
        ({"engine": "spark", "cancel": threading.Event()}, "cannot be cancelled"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(learned, wrong, message):
    """Each refusal says what would do."""
    with pytest.raises(UsageError, match=message):
        search(learned, **wrong)


def test_one_group_alone_cannot_be_searched_over(learned):
    """Nothing can be held out of one group."""
    with pytest.raises(DataError, match="one group"):
        search(replace(learned, groups=np.zeros_like(learned.groups)))


def test_a_hundred_rows_of_one_drive(recordings):
    """The smallest of data sets: a model, and the warnings of what it is worth."""
    with pytest.warns(TrainWarning) as told:
        data = dataset.build(recordings["d1"][600:700])
    assert data.notes == tuple(str(each.message) for each in told)
    found = quick(data, 1.0)
    assert np.isfinite(found.predict(data.features)).all()
    assert np.isfinite(linear(data).predict(data.features)).all()


def test_a_missing_library_is_told(monkeypatch):
    """Without a library, the error names its package and the extra."""
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'xgboost-cpu<3'; the extra 'train'"):
        libraries.library("xgboost")
