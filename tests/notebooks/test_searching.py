"""A search that is watched: the widget follows it, ends it, and hands over what it found or raised."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from iotedge_lab.car.features import PLAIN
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show import searching
from iotedge_lab.show.pane import Image
from iotedge_lab.train import automl
from iotedge_lab.train.automl import Found, Trial
from iotedge_lab.train.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _data(groups: int = 4) -> Dataset:
    """Two hundred rows of a car that goes as its engine turns, in so many drives."""
    rng = np.random.default_rng(0)
    speed = rng.uniform(5, 60, 200)
    features = np.column_stack([rng.uniform(0, 40, 200), speed * 35, rng.normal(0, 0.1, 200)])
    number = np.arange(200) * groups // 200
    return Dataset(
        features.astype(np.float32), speed, number, tuple(map(str, range(groups))), number,
        np.arange(200.0), np.full(200, 7), PLAIN, PLAIN.names, PLAIN.units,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for each in set(threading.enumerate()) - before:
        each.join(60)
        assert not each.is_alive(), f"{each.name} goes on"


@pytest.mark.filterwarnings("ignore::iotedge_lab.train.notes.TrainWarning")
def test_a_search_is_followed_to_its_end(capfd: pytest.CaptureFixture[str]) -> None:
    """A real one of a second: the widget ends with its figures, the chart is that of its trials."""
    view = searching.start(_data(), 1.0, estimators=["lgbm"], seed=3)
    found = view.result()
    assert found.seed == 3
    assert found.trials
    assert view.chart() == searching.chart(found.trials)
    assert view._pane.shown == Image.of(view.chart())
    assert view._words.text.startswith("Done: ")
    assert view._words.text.endswith(f"best {found.loss:.2f} mph")
    assert (view._bar.value, view._button.disabled, view.searching) == (1.0, True, False)
    assert view.result() is found
    assert capfd.readouterr() == ("", "")


class _Slow:
    """Takes the place of the search: a trial at each `go`, until it is cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended: list[bool] = []

    def __call__(
        self, data: Dataset, budget: float, *, on_trial: Callable[[Trial], None], cancel: threading.Event
    ) -> Found:
        del data
        trial = Trial(1, 0.5, budget, "lgbm", 5.0, 5.0, {})
        on_trial(trial)
        self.begun.set()
        assert cancel.wait(60)
        self.ended.append(True)
        return Found(None, None, "lgbm", {}, 5.0, (trial,), 1.0, True, 0, ())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> _Slow:
    made = _Slow()
    monkeypatch.setattr(automl, "search", made)
    return made


def test_the_button_ends_the_search_and_the_best_is_kept(slow: _Slow) -> None:
    """A click cancels; the words say so."""
    view = searching.start(_data(), 30.0)
    assert slow.begun.wait(60)
    assert (view.searching, view._bar.value) == (True, pytest.approx(0.5 / 30))
    assert view._words.text == "1 trial, best 5.00 mph"
    view._button.click()
    assert view.result().cancelled
    assert view._words.text == "Cancelled: 1 trial, best 5.00 mph"


def test_another_search_ends_the_one_before(slow: _Slow) -> None:
    """Running the cell again does not wait for the first one's budget."""
    first = searching.start(_data(), 30.0)
    second = searching.start(_data(), 30.0)
    assert (first.searching, slow.ended) == (False, [True])
    second.cancel()
    assert second.result().cancelled


def test_an_interrupt_while_waiting_ends_the_search(slow: _Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's stop button, pressed once: the best so far comes back, no exception."""
    view = searching.start(_data(), 30.0)
    assert slow.begun.wait(60)
    join, presses = view._thread.join, [KeyboardInterrupt]

    def pressed(*args: Any) -> None:
        if presses:
            raise presses.pop()
        join(*args)

    monkeypatch.setattr(view._thread, "join", pressed)
    assert view.result().cancelled


def test_what_the_search_raises_is_raised_by_result() -> None:
    """One group cannot be split: the widget says it, and whoever waits gets the error."""
    view = searching.start(_data(1), 1.0)
    with pytest.raises(DataError, match="All rows are of one group"):
        view.result()
    assert view._words.text.startswith("No model: All rows are of one group")
    assert view._bar.bar_style == "danger"
    with pytest.raises(DataError, match="no trial has ended yet"):
        view.chart()
    with pytest.raises(UsageError, match="A search takes from"):
        searching.start(_data(), 0.01).result()


def test_the_views_text_is_the_same_at_each_run(slow: _Slow) -> None:
    """Its text form names the budget and no id, so that a stored notebook can be compared."""
    view = searching.start(_data(), 30.0)
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == repr(view) == "SearchView(30 s)"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    view.cancel()
    view.wait()
    assert slow.ended == [True]
