"""The live views onto a rollout and onto a camera's pictures."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

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
    view.wait_until(lambda: "&lt;b&gt;" in view._picture.value)
    assert view.versions == {"": 1, "1": 1}
    assert "<b>" not in view._picture.value.replace("<b>Do", "")
    states[0] = _edge("car-1", "2")
    view.wait_until(
        lambda: view.versions == {"2": 1, "1": 1} and "the bundled file" not in view._picture.value
    )

    def away() -> list[Any]:
        raise HubNotRunning("no hub answers")

    before, service.edges = view._picture.value, away
    view.wait_until(lambda: "no hub answers" in view.trouble)
    assert view._picture.value == before
    service.edges = lambda: list(states)
    assert "car-1" in repr(view.now())


def test_pictures_are_shown_as_they_come(tmp_path: Path) -> None:
    """Each once, with an alt text; before the first one a word."""
    with pytest.raises(DataError, match="no picture"):
        camera_view.picture(tmp_path)
    view = camera_view.watch(tmp_path, every=0.01)
    view.wait_until(lambda: "no picture" in view._picture.value)
    pictures = Pictures(tmp_path, 4)
    for shade in (10, 200):
        image = np.full((36, 64, 3), shade, np.uint8)
        pictures.add("Car", image)
        pictures.show(image)
        view.wait_until(lambda count=1 if shade == 10 else 2: view.pictures >= count)
    view.wait_until(lambda: "alt='The camera" in view._picture.value)
    assert "Car" in view.now().alt
    assert "jpeg;base64" in view.now()._repr_html_()
