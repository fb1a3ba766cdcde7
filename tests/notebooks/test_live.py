"""The car's panel and the live view: equal rows make equal pictures, and no thread is left."""

from __future__ import annotations

import base64
import queue
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show import live
from iotedge_lab.show.pane import Image
from iotedge_lab.show.panel import HEIGHT, KEPT, WIDTH, Shown, gear, panel, read

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = CarRow("2026-01-01 08:00:12.000000", 12.0, 30.2, -97.7, 0.1, 24.0, 3.0, 11.0, 1290.0, 0.01, -0.25)


def test_the_panel_shows_the_last_row_in_numbers_and_the_speed_as_a_line() -> None:
    """Numbers carry units, the line ends at the last row's speed, and the picture is sound XML of its size."""
    shown = panel([replace(ROW, speed=mph) for mph in (0.0, 12.0, 24.0)])
    root = ET.fromstring(shown.svg)
    assert root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    text = " ".join("".join(each.itertext()) for each in root.iter() if each.tag.endswith("text"))
    for words in (
        "24mph",
        "1290 1/min, gear 5",
        "throttle 11 %, -0.25 g",
        "0.10 miles, 08:00:12",
        "speed (mph)",
    ):
        assert words in text
    line = next(each for each in root.iter() if each.tag.endswith("polyline"))
    points = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
    assert len(points) == 3
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)


def test_the_panel_says_in_its_alt_text_what_it_shows() -> None:
    """Speed, engine, gear, alerts and the range of the line; the HTML is an image with that alt text."""
    shown = panel([replace(ROW, speed=30.4), Shown(replace(ROW, speed=24.0), ("braking", "speeding"))])
    assert shown.alt == (
        "Panel: 24 mph, 1290 revolutions a minute, gear 5. Alert: braking, speeding. "
        "Line: over the last 2 rows the speed lay between 24 and 30 mph."
    )
    page = shown._repr_html_()
    assert f'alt="{shown.alt}"' in page
    data = re.search(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    assert data is not None
    assert base64.b64decode(data[1]).decode() == shown.svg
    assert "⚠ braking, speeding" in shown.svg
    assert repr(shown) == f"<Panel: {shown.alt}>"


def test_equal_rows_make_an_equal_panel_and_old_rows_fall_out() -> None:
    """The panel depends on the last sixty rows alone."""
    rows = [replace(ROW, speed=float(number % 40)) for number in range(KEPT + 30)]
    assert panel(rows) == panel(rows[-KEPT:])
    assert panel(rows) != panel(rows[:-1])


def test_a_panel_of_no_rows_is_refused() -> None:
    """Before the first message there is nothing to show, and the words say to wait."""
    with pytest.raises(DataError, match="wait for the first message"):
        panel([])


@pytest.mark.parametrize(
    ("mph", "rpm", "found"),
    [(24.0, 1290.0, 5), (10.0, 1970.0, 1), (60.0, 1674.0, 8), (24.0, 1480.0, None), (0.3, 700.0, None)],
)
def test_the_gear_is_the_line_on_which_the_row_lies(mph: float, rpm: float, found: int | None) -> None:
    """Between two lines, and at a standstill, no gear is held."""
    assert gear(replace(ROW, speed=mph, engine_rpm=rpm)) == found


@pytest.mark.parametrize("body", [ROW.to_json(), ROW.to_csv_line(), f"{ROW.to_csv_line()},21.5"])
def test_a_message_is_read_in_each_of_the_modules_formats(body: str) -> None:
    """JSON, the blog's line, and the line with further signals give the same row; flags become alerts."""
    assert read(body, {"braking": "true", "speeding": "false", "lap": "1"}) == Shown(ROW, ("braking",))


@pytest.mark.parametrize(
    "body", ["", "Sending event at noon", "[1]", '{"speed": 30}', ROW.to_csv_line().replace("24", "fast")]
)
def test_a_message_that_is_no_row_is_refused(body: str) -> None:
    """Other modules' messages are told from rows."""
    with pytest.raises(DataError):
        read(body)


# -- the live view ----------------------------------------------------------------------------------------


def _event(body: str, module: str = "ModuleSimulatorCar") -> Any:
    return SimpleNamespace(
        sequence_number=1,
        offset="1",
        enqueued_time=datetime(2026, 1, 1, tzinfo=UTC),
        system_properties={
            b"iothub-connection-device-id": b"car-edge",
            b"iothub-connection-module-id": module.encode(),
        },
        properties={b"speeding": b"true"},
        body=[body.encode()],
    )


CAR = "car-edge/ModuleSimulatorCar"


@pytest.fixture
def events() -> queue.Queue[Any]:
    return queue.Queue()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for each in set(threading.enumerate()) - before:
        each.join(30)
        assert not each.is_alive(), f"{each.name} goes on"


def test_the_view_shows_what_arrives_and_says_nothing(
    events: queue.Queue[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows of the sender are shown; others' and what cannot be read are not, and nothing is printed."""
    view = live.watch(events, sender=CAR, every=0.01)
    events.put(_event("Sending event at noon", "EchoModule"))
    events.put(_event("no row"))
    for mph in (10.0, 20.0):
        events.put(_event(replace(ROW, speed=mph).to_json()))
    assert view.wait_for(2) == 2
    assert view.panel() == panel([Shown(replace(ROW, speed=mph), ("speeding",)) for mph in (10.0, 20.0)])
    view.stop()
    assert (view.shown, view.unread, view.watching) == (2, 1, False)
    assert view._pane.shown == Image.of(view.panel())
    assert view._words.text == f"2 rows from {CAR}. Stopped."
    assert capfd.readouterr() == ("", "")


def test_running_the_cell_again_stops_the_view_before(events: queue.Queue[Any]) -> None:
    """Of one name only one view watches; one of another name goes on."""
    first, other = live.watch(events), live.watch(queue.Queue(), name="other")
    second = live.watch(events)
    assert (first.watching, second.watching, other.watching) == (False, True, True)
    assert first._words.text == "Stopped: another view of this name watches now, as when a cell is run again."
    second.stop()
    other.stop()
    second.stop()


def test_nothing_that_comes_by_the_queue_or_goes_wrong_ends_the_view(
    events: queue.Queue[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is no event is counted; what fails in the thread is said in the view, and the next event is shown."""

    def broken(_: Any) -> Any:
        raise ZeroDivisionError("by nought")

    with monkeypatch.context() as patched:
        patched.setattr(live, "panel", broken)
        view = live.watch(events, every=0.01)
        events.put("no event")
        events.put(_event(ROW.to_json()))
        assert view.wait_for(1) == 1
        while not view.trouble:
            with view._news:
                view._news.wait(0.05)
    assert "ZeroDivisionError: by nought" in view._words.text
    assert "role='alert'" in view._words.widget.value
    events.put(_event(ROW.to_json()))
    assert view.wait_for(2) == 2
    view.stop()
    assert view._words.text == "2 rows from everybody. Stopped."
    assert view.unread == 1
    assert capfd.readouterr() == ("", "")


def test_a_kernel_that_ends_while_views_watch_says_nothing() -> None:
    """Their threads are ended first: none draws in what is being taken down, and none holds the process."""
    program = """
import pathlib, queue
from iotedge_lab.show import camera_view, live
live.watch(queue.Queue(), every=0.01)
view = camera_view.watch(pathlib.Path("."), every=0.001)
view.wait_until(lambda: view.looks > 3)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=90, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_button_stops_the_view(events: queue.Queue[Any]) -> None:
    """A click ends the thread, and waiting for more rows says so instead of waiting."""
    view = live.watch(events)
    view._button.click()
    view._thread.join(30)
    assert not view.watching
    assert view._button.disabled
    with pytest.raises(UsageError, match="A view that was stopped shows nothing more"):
        view.wait_for(1)


def test_a_view_before_the_first_row(events: queue.Queue[Any]) -> None:
    """Without a row the panel is refused, and waiting has an end."""
    view = live.watch(events)
    with pytest.raises(DataError, match="no rows yet"):
        view.panel()
    with pytest.raises(UsageError, match="0 of 1 rows"):
        view.wait_for(1, timeout=0.01)
    view.stop()


def test_the_views_text_is_the_same_at_each_run(events: queue.Queue[Any]) -> None:
    """Its text form names the sender and no id, so that a stored notebook can be compared."""
    view = live.watch(events, sender=CAR)
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == repr(view) == f"LiveView({CAR})"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    view.stop()
