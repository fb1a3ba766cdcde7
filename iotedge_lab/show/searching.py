"""A search for a model that can be watched: a widget, and the same picture of what it found.

    view = searching.start(data, budget=10)   # the search runs in a thread
    view                                      # the widget: how far it is, the best so far, a button that ends it
    found = view.result()                     # waits for its end
    searching.chart(found.trials)             # its plain-call twin; `automl.search` is the search without any of this

It prints nothing. Another search that begins ends the one before and keeps nothing of it. A notebook's stop button ends
the search while `result` waits, and the best so far is kept.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from iotedge_lab.errors import DataError, LabError
from iotedge_lab.show.chart import BLUE, GREEN, ORANGE, ROSE, Axis, Chart, Dots, Line
from iotedge_lab.show.chart import chart as draw
from iotedge_lab.show.pane import Image, PicturePane, Words
from iotedge_lab.train import automl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.show.chart import Mark, Shape
    from iotedge_lab.train.automl import Found, Trial
    from iotedge_lab.train.dataset import Dataset

EVERY: Final = 0.25  # s between two drawings, at least
_TEXT_MIME: Final = "text/plain"
_LOOKS: Final[dict[str, tuple[str, str, Shape]]] = {
    "lgbm": ("LightGBM", BLUE, "circle"),
    "extra_tree": ("extra trees", ORANGE, "square"),
    "xgboost": ("XGBoost", GREEN, "triangle"),
}


def chart(trials: Sequence[Trial]) -> Chart:
    """Each trial's error over the time at which it ended, and the lowest so far as a line.

    Errors of more than three times the lowest stand at the upper edge. Raises `DataError` if there are none.
    """
    if not trials:
        raise DataError("no trial has ended yet, so there is nothing to draw; wait for the first")
    best = min(trials, key=lambda trial: trial.loss)
    last = trials[-1]
    top = min(max(trial.loss for trial in trials), 3 * best.loss)
    steps: list[tuple[float, float]] = []
    for trial in trials:
        if steps:
            steps.append((trial.seconds, steps[-1][1]))
        steps.append((trial.seconds, trial.best))
    marks: list[Mark] = [Line(steps, ROSE, "best so far", dashed=True)]
    for name, (words, colour, shape) in _LOOKS.items():
        points = [(trial.seconds, trial.loss) for trial in trials if trial.estimator == name]
        marks.append(Dots(points, colour, words, shape))
    name = _LOOKS.get(best.estimator, (best.estimator,))[0]
    tried = _counted(len(trials))
    return draw(
        f"Dots: the error of {tried} over {last.seconds:.1f} seconds of search. The first is off by "
        f"{trials[0].loss:.1f} mph, the best, trial {best.number} by {name}, by {best.loss:.2f} mph (RMSE).",
        Axis("time since the search began (s)", 0.0, max(last.budget, last.seconds)),
        Axis("RMSE (mph)", 0.0, max(1.0, 1.05 * top)),
        marks,
        title=f"{tried}, best {best.loss:.2f} mph",
    )


def _counted(trials: int) -> str:
    return "1 trial" if trials == 1 else f"{trials} trials"


class SearchView:
    """A search in a thread of its own, and the widget that shows it."""

    _running: ClassVar[SearchView | None] = None

    def __init__(self, data: Dataset, budget: float, **settings: Any) -> None:
        """`settings`: those of `automl.search`."""
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        self._data = data
        self._budget = budget
        self._settings = settings
        self._cancel = threading.Event()
        self._found: Found | None = None
        self._error: BaseException | None = None
        self._trials: list[Trial] = []
        self._drawn = -EVERY
        self._bar = ipywidgets.FloatProgress(min=0.0, max=1.0, description="Search")
        self._bar.style.description_width = "initial"
        self._words = Words()
        self._words.say("Starting ...")
        self._pane = PicturePane("The first trial is on its way.")
        self._button = ipywidgets.Button(
            description="That is enough", tooltip="End the search and keep the best so far"
        )
        self._button.on_click(lambda _: self.cancel())
        line = ipywidgets.HBox([self._bar, self._button, self._words.widget])
        line.layout.flex_flow = "row wrap"
        line.layout.align_items = "center"
        self._box = ipywidgets.VBox([line, self._pane.widget])
        self._box.add_class("iotedge-search")
        self._thread = threading.Thread(target=self._run, name="search", daemon=True)

    def start(self) -> Self:
        """Search; a view that does so already is cancelled first."""
        before = SearchView._running
        if before is not None:
            before.cancel()
            before.wait()
        SearchView._running = self
        self._thread.start()
        return self

    @property
    def searching(self) -> bool:
        """Whether it searches."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End the search after the fold at hand; the best so far is kept. Again does nothing."""
        self._cancel.set()

    def wait(self) -> None:
        """Wait for its end, without a word on how it went."""
        self._thread.join()

    def result(self) -> Found:
        """Wait for the end of the search; what it found. Raises what the search raises.

        An interrupt, such as a notebook's stop button, ends the search as `cancel` does.
        """
        while self._thread.is_alive():
            try:
                self._thread.join()
            except KeyboardInterrupt:
                if self._cancel.is_set():  # the second one
                    raise
                self.cancel()
        if self._error is not None:
            raise self._error
        if self._found is None:
            raise DataError("the search ended without a model; start another")
        return self._found

    def chart(self) -> Chart:
        """The chart as it is now, as a picture that stays. Raises `DataError` before the first trial."""
        return chart(list(self._trials))

    # -- its thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._found = automl.search(
                self._data, self._budget, on_trial=self._tried, cancel=self._cancel, **self._settings
            )
        except BaseException as error:  # noqa: BLE001 - `result` raises it where somebody waits for it
            self._error = error
        self._end()

    def _tried(self, trial: Trial) -> None:
        self._trials.append(trial)
        now = time.monotonic()
        if now - self._drawn >= EVERY:
            self._draw()
            self._drawn = now

    def _draw(self) -> None:
        last = self._trials[-1]
        self._bar.value = last.share
        self._words.say(f"{_counted(last.number)}, best {last.best:.2f} mph")
        self._pane.draw(Image.of(self.chart()))

    def _end(self) -> None:
        with contextlib.suppress(DataError, IndexError):  # it ended before its first trial
            self._draw()
        self._bar.value = 1.0
        self._bar.bar_style = "success" if self._found is not None else "danger"
        self._button.disabled = True
        if self._found is not None:
            how = "Cancelled" if self._found.cancelled else "Done"
            self._words.say(f"{how}: {_counted(len(self._trials))}, best {self._found.loss:.2f} mph")
        else:
            what = str(self._error) if isinstance(self._error, LabError) else type(self._error).__name__
            self._pane.say("")
            self._words.say("", f"No model: {what}")

    # -- shown ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"SearchView({self._budget:g} s)"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; where there is none, its name, which is the same at each run."""
        found = self._box._repr_mimebundle_(**options)
        bundle = found[0] if isinstance(found, tuple) else found
        return {**(bundle or {}), _TEXT_MIME: repr(self)}


def start(data: Dataset, budget: float = 30.0, **settings: Any) -> SearchView:
    """Search from now on, and show it; see `SearchView`. `settings`: those of `automl.search`."""
    return SearchView(data, budget, **settings).start()
