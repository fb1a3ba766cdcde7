"""The live views onto a rollout and onto a camera's pictures."""

from __future__ import annotations

import html
import io
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from iotedge_lab.camera.pictures import Pictures
from iotedge_lab.errors import DataError, HubNotRunning
from iotedge_lab.rollout.release import EdgeState
from iotedge_lab.show import camera_view, rollout_view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for view in list(camera_view.CameraView._watching.values()):
        view.stop()
    assert [each.name for each in threading.enumerate() if each.name.startswith("live view")] == []


def _edge(device: str, version: str | None) -> EdgeState:
    reported = (
        {} if version is None else {"model": {"version": version, "sha256": "a" * 64, "status": "serving"}}
    )
    return EdgeState.read(
        {
            "deviceId": device,
            "moduleId": "m",
            "connectionState": "Connected",
            "properties": {"reported": reported},
        }
    )


def test_a_rollout_is_followed() -> None:
    """The table changes as edges report another version; a hub that is away is said, and the table stays."""
    states: list[Any] = [_edge("car-1", None), _edge("<b>", "1")]
    service: Any = SimpleNamespace(edges=lambda: list(states))
    view = rollout_view.watch(service, every=0.01)
    view.wait_until(lambda: view.looks > 0)
    assert view.versions == {"": 1, "1": 1}
    page = view._pane.widget.value
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "Nothing has been rolled out yet. Rows are answered 1 by the bundled file, 1 by version 1." in page
    states[0] = _edge("car-1", "2")
    view.wait_until(
        lambda: view.versions == {"2": 1, "1": 1} and "the bundled file" not in view._pane.widget.value
    )

    def away() -> list[Any]:
        raise HubNotRunning("no hub answers")

    before, service.edges = view._pane.widget.value, away
    view.wait_until(lambda: "no hub answers" in view.trouble)
    assert view._pane.widget.value == before
    service.edges = lambda: list(states)
    assert "car-1" in repr(view.now())


def test_pictures_are_shown_as_they_come(tmp_path: Path) -> None:
    """Each once, with an alt text; before the first one a word."""
    with pytest.raises(DataError, match="no picture"):
        camera_view.picture(tmp_path)
    view = camera_view.watch(tmp_path, every=0.01)
    view.wait_until(lambda: view.looks > 0)
    assert "no picture" in view._pane._first.value
    pictures = Pictures(tmp_path, 4)
    for shade in (10, 200):
        image = np.full((36, 64, 3), shade, np.uint8)
        pictures.add("Car", image)
        pictures.show(image)
        view.wait_until(lambda count=1 if shade == 10 else 2: view.pictures >= count)
    view.wait_until(lambda: view._pane.shown is not None)
    shown = view._pane.shown
    assert shown is not None
    assert (shown.width, shown.height, shown.kind) == (64, 36, "jpeg")
    assert "an event of Car was told last" in shown.alt
    view.wait_until(lambda: view._words.text.startswith("2 pictures, the last of "))
    assert view.now().alt == shown.alt
    page = view.now()._repr_html_()
    assert f"alt='{html.escape(shown.alt)}' src='data:image/jpeg;base64," in page


def test_a_wide_picture_is_shrunk_and_one_that_is_none_is_said(tmp_path: Path) -> None:
    """A browser is not sent more pixels twice a second than it shows; the view goes on after a broken file."""
    pictures = Pictures(tmp_path, 0)
    pictures.show(np.full((1080, 1920, 3), 90, np.uint8))
    found = camera_view.picture(tmp_path)
    assert found.size == (640, 360)
    with Image.open(io.BytesIO(found.content)) as shrunk:
        assert shrunk.size == (960, 540)
    view = camera_view.watch(tmp_path, every=0.01)
    view.wait_until(lambda: view.pictures == 1)
    (tmp_path / "last.jpg").write_bytes(b"half a picture")
    view.wait_until(lambda: "last.jpg is no picture" in view.trouble)
    pictures.show(np.full((36, 64, 3), 90, np.uint8))
    view.wait_until(lambda: view.pictures == 2 and not view.trouble)
