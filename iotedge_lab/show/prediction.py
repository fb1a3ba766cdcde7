"""Predictions that arrive: a chart of predicted over actual speed, and a widget that keeps it up to date.

    view = prediction.watch(arrived)   # a queue.Queue into which a consumer puts events
    view                               # the widget
    view.chart()                       # its plain-call twin: the chart as it is now
    view.stop()

Reads the messages of ModuleFilterCar (property `messageType=prediction`); other messages it leaves alone, so that a
queue may hold those of several modules. How it watches: `iotedge_lab.show.event_view`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Final

from iotedge_lab.errors import DataError
from iotedge_lab.show.chart import BLUE, GREEN, ORANGE, Axis, Band, Chart, Dots, Line, chart
from iotedge_lab.show.event_view import EVERY, EventView

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from azure.eventhub import EventData

    from iotedge_lab.event_text import ShownEvent
    from iotedge_lab.show.chart import Mark
    from iotedge_lab.show.event_view import Events

KEPT: Final = 120
"""Predictions that the chart shows."""

MESSAGE_TYPE: Final = "prediction"
_NUMBERS: Final = ("seconds", "predicted", "actual")


@dataclass(frozen=True, slots=True)
class Predicted:
    """One message of ModuleFilterCar; speeds in mph. What a model does not tell is None."""

    seconds: float
    predicted: float
    actual: float
    drive: str = ""
    version: str = ""
    low: float | None = None
    high: float | None = None
    warmup: bool = False
    challenger: float | None = None

    @property
    def error(self) -> float:
        """Predicted less actual, mph."""
        return self.predicted - self.actual


def read(body: str | bytes) -> Predicted:
    """A message's body. Raises `DataError` where it is no prediction."""
    try:
        values = json.loads(body)
    except ValueError as error:
        raise DataError(f"{str(body)[:60]!r} is no prediction: it is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise DataError(f"{str(body)[:60]!r} is no prediction: ModuleFilterCar sends a JSON object")
    wanted = [_number(values, name) for name in _NUMBERS]
    missing = [name for name, value in zip(_NUMBERS, wanted, strict=True) if value is None]
    if missing:
        raise DataError(
            f"a prediction without {', '.join(missing)}: {str(body)[:60]!r}; take the messages of ModuleFilterCar alone"
        )
    seconds, predicted, actual = (value for value in wanted if value is not None)
    challenger = values.get("challenger")
    return Predicted(
        seconds,
        predicted,
        actual,
        drive=str(values.get("driveId") or ""),
        version=str(values.get("modelVersion") or ""),
        low=_number(values, "low"),
        high=_number(values, "high"),
        warmup=values.get("warmup") is True,
        challenger=_number(challenger, "predicted") if isinstance(challenger, dict) else None,
    )


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def predictions(received: Iterable[EventData]) -> list[Predicted]:
    """The predictions among events of the built-in endpoint, in their order. Raises `DataError` as `read` does."""
    return [read(event.body_as_str()) for event in received if _is_prediction(event)]


def _is_prediction(event: EventData) -> bool:
    for name, value in (event.properties or {}).items():
        if (name.decode() if isinstance(name, bytes) else str(name)) == "messageType":
            return (value.decode() if isinstance(value, bytes) else str(value)) == MESSAGE_TYPE
    return False


def over_time(rows: Sequence[Predicted]) -> Chart:
    """Predicted and actual speed of the last `KEPT` predictions over the seconds of the drive.

    Where the drive begins again, the chart begins again too. Raises `DataError` if there are none.
    """
    if not rows:
        raise DataError("there is no prediction yet, so there is nothing to draw; wait for the first message")
    shown = _last_run(rows[-KEPT:])
    last = shown[-1]
    mean = math.fsum(abs(each.error) for each in shown) / len(shown)
    tops = [max(each.actual, each.predicted, each.high or 0.0) for each in shown]
    first = shown[0].seconds
    found = f"off by {mean:.1f} mph on average"
    lines = f"Lines: actual and predicted speed over {len(shown)} row{'s' * (len(shown) > 1)}"
    words = [
        f"{lines}, {first:.0f} to {last.seconds:.0f} seconds into the drive; {found}.",
        f"The last row: predicted {_speed(last.predicted)}, actual {_speed(last.actual)} mph.",
    ]
    marks: list[Mark] = []
    band = [
        (each.seconds, each.low, each.high)
        for each in shown
        if each.low is not None and each.high is not None
    ]
    if len(band) == len(shown):
        inside = sum(low <= each.actual <= high for each, (_, low, high) in zip(shown, band, strict=True))
        words.append(f"The actual speed lies within the interval in {inside / len(shown):.0%} of the rows.")
        marks.append(Band(band, BLUE, "interval"))
    challenger = [(each.seconds, each.challenger) for each in shown if each.challenger is not None]
    marks += [
        Line([(each.seconds, each.actual) for each in shown], ORANGE, "actual", dashed=True),
        Line([(each.seconds, each.predicted) for each in shown], BLUE, "predicted"),
        Line(challenger, GREEN, "challenger"),
        Dots([(last.seconds, last.predicted)], BLUE),
    ]
    return chart(
        " ".join(words),
        Axis("time in the drive (s)", first, max(first + 10.0, last.seconds)),
        Axis("speed (mph)", 0.0, max(20.0, -(-max(tops) // 10) * 10)),
        marks,
        title=f"predicted {_speed(last.predicted)}, actual {_speed(last.actual)} mph",
    )


def _speed(value: float) -> str:
    """With one decimal; never -0.0."""
    return f"{round(value, 1) + 0.0:.1f}"


def _last_run(rows: Sequence[Predicted]) -> Sequence[Predicted]:
    """The rows since the drive last began; a row that came twice stays out."""
    begin = 0
    for place, (one, other) in enumerate(pairwise(rows), start=1):
        if other.drive != one.drive or other.seconds < one.seconds:
            begin = place
    run = list(rows[begin:])
    return [each for place, each in enumerate(run) if not place or each.seconds > run[place - 1].seconds]


class PredictionView(EventView[Predicted]):
    """A view onto a queue of events. `shown` counts predictions, `unread` those that cannot be read."""

    noun: ClassVar[str] = "predictions"
    kept: ClassVar[int] = KEPT
    css: ClassVar[str] = "iotedge-prediction"

    def chart(self) -> Chart:
        """The chart as it is now, as a picture that stays. Raises `DataError` before the first prediction."""
        return over_time(self._now())

    def _read(self, event: ShownEvent) -> Predicted | None:
        if event.properties.get("messageType") != MESSAGE_TYPE:
            return None
        return read(event.body)

    def _draw_items(self, items: Sequence[Predicted]) -> Chart:
        return over_time(items)


def watch(
    events: Events, *, sender: str = "", name: str = "prediction", every: float = EVERY
) -> PredictionView:
    """A view that watches a queue of events from now on; see `PredictionView`."""
    return PredictionView(events, sender=sender, name=name, every=every).start()
