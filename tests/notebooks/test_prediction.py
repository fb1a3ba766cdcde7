"""Predictions as they arrive: what is read, what is drawn, and what a queue of several modules' events shows."""

from __future__ import annotations

import json
import queue
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from iotedge_lab.errors import DataError
from iotedge_lab.show import live, prediction
from iotedge_lab.show.pane import Image
from iotedge_lab.show.prediction import KEPT, Predicted, over_time, predictions, read

BODY = {
    "driveId": "drive-1",
    "time": "2026-01-01 08:00:12",
    "seconds": 12.0,
    "predicted": 33.5,
    "actual": 29.5,
    "error": 4.0,
    "low": 25.0,
    "high": 42.0,
    "warmup": False,
    "modelVersion": "3",
}


def _event(body: Any, kind: str = "prediction", module: str = "ModuleFilterCar") -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return SimpleNamespace(
        sequence_number=1,
        offset="1",
        enqueued_time=datetime(2026, 1, 1, tzinfo=UTC),
        system_properties={
            b"iothub-connection-device-id": b"car-edge",
            b"iothub-connection-module-id": module.encode(),
        },
        properties={b"messageType": kind.encode()},
        body=[text.encode()],
        body_as_str=lambda: text,
    )


def test_a_message_is_read_with_all_that_it_tells() -> None:
    """Speeds, interval, version and the challenger's speed, which runs beside."""
    found = read(json.dumps(BODY | {"warmup": True, "challenger": {"modelVersion": "4", "predicted": 30.0}}))
    assert found == Predicted(12.0, 33.5, 29.5, "drive-1", "3", 25.0, 42.0, warmup=True, challenger=30.0)
    assert found.error == 4.0


def test_what_a_model_does_not_tell_is_none() -> None:
    """A model without intervals is drawn without them."""
    found = read(json.dumps({"seconds": 1, "predicted": 2, "actual": 3, "low": None, "challenger": None}))
    assert found == Predicted(1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("Sending event at noon", "not JSON"),
        ("[1]", "a JSON object"),
        (json.dumps({"speed": 3}), "without seconds, predicted, actual"),
        (json.dumps(BODY | {"actual": "fast"}), "without actual"),
        (json.dumps(BODY | {"predicted": True}), "without predicted"),
        (json.dumps(BODY | {"predicted": float("nan")}), "without predicted"),
    ],
)
def test_what_is_no_prediction_is_refused_by_name(body: str, words: str) -> None:
    """Another module's message, and a number that is none."""
    with pytest.raises(DataError, match=words):
        read(body)


def test_the_predictions_among_events_are_found_by_their_property() -> None:
    """Rows of the simulator stand between them and are left alone."""
    events = [_event(BODY), _event("no row", "row"), _event(BODY | {"seconds": 13.0})]
    assert [each.seconds for each in predictions(events)] == [12.0, 13.0]


def _rows(count: int, begin: float = 0.0, **more: Any) -> list[Predicted]:
    return [Predicted(begin + n, 30.0 + n % 2, 30.0, low=28.0, high=32.0, **more) for n in range(count)]


def test_the_chart_says_how_far_off_the_predictions_are() -> None:
    """Mean error, the last row, and the share within the interval, in the alt text."""
    assert over_time(_rows(10)).alt == (
        "Lines: actual and predicted speed over 10 rows, 0 to 9 seconds into the drive; off by 0.5 mph on average. "
        "The last row: predicted 31.0, actual 30.0 mph. The actual speed lies within the interval in 100% of the rows."
    )


def test_the_chart_shows_the_last_rows_since_the_drive_began() -> None:
    """A wrap and a new drive start it anew, a row that came twice is drawn once, and old rows leave it."""
    assert "over 3 rows, 0 to 2" in over_time(_rows(10) + _rows(3)).alt
    assert "over 4 rows, 10 to 13" in over_time(_rows(10, drive="a") + _rows(4, 10.0, drive="b")).alt
    assert "over 5 rows" in over_time([*_rows(5), _rows(5)[-1]]).alt
    assert f"over {KEPT} rows, 80 to 199" in over_time(_rows(200)).alt
    assert "over 1 row, 0 to 0" in over_time(_rows(1)).alt
    with pytest.raises(DataError, match="no prediction yet"):
        over_time([])


def test_a_standing_car_has_no_sign() -> None:
    """A model may say a little less than nothing."""
    assert "predicted 0.0, actual 0.0 mph" in over_time([Predicted(1.0, -0.02, 0.0)]).alt


def test_interval_and_challenger_are_drawn_where_they_are() -> None:
    """Both stand in the legend, or not at all."""
    plain = over_time([Predicted(float(n), 1.0, 2.0) for n in range(3)]).svg
    assert "interval" not in plain
    assert "challenger" not in plain
    assert ">interval<" in over_time(_rows(3)).svg
    assert ">challenger<" in over_time(_rows(3, challenger=29.0)).svg


def test_the_view_shows_predictions_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """Other messages pass by, one that cannot be read is counted, and nothing is printed."""
    events: queue.Queue[Any] = queue.Queue()
    view = prediction.watch(events, every=0.01)
    for event in (_event("a row", "row"), _event("broken"), _event(BODY), _event(BODY | {"seconds": 13.0})):
        events.put(event)
    assert view.wait_for(2) == 2
    assert view.chart() == over_time([read(json.dumps(BODY)), read(json.dumps(BODY | {"seconds": 13.0}))])
    view.stop()
    assert (view.shown, view.unread, view.watching) == (2, 1, False)
    assert view._pane.shown == Image.of(view.chart())
    assert view._words.text == "2 predictions from everybody. Stopped."
    assert view._repr_mimebundle_()["text/plain"] == "PredictionView(everybody)"
    assert capfd.readouterr() == ("", "")


def test_panel_and_predictions_may_be_watched_side_by_side() -> None:
    """Of another name, hence one does not stop the other."""
    one, other = live.watch(queue.Queue()), prediction.watch(queue.Queue())
    assert (one.watching, other.watching) == (True, True)
    one.stop()
    other.stop()
