"""Number plates: what text looks like one, and the reader where it is installed."""

from importlib.util import find_spec

import numpy as np
import pytest

from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.plates import PlateReader, plate_of
from iotedge_lab.camera.scene import Scene
from iotedge_lab.errors import EnvironmentProblem

READS = pytest.mark.skipif(find_spec("rapidocr") is None, reason="the extra `plates` is not installed here")


@pytest.mark.parametrize(
    ("text", "plate"),
    [
        ("TMW 635", "TMW635"), ("abc-123", "ABC123"), ("RJY·432", "RJY432"), ("1ABC 234", "1ABC234"),
        ("STOP", ""), ("635", ""), ("AB1", ""), ("ABCDE 12345", ""), ("ÄBC 123", ""), ("", ""), ("大", ""),
    ],
)  # fmt: skip
def test_what_looks_like_a_plate(text, plate):
    """Letters and digits, five to eight of both together, without spaces and dashes."""
    assert plate_of(text) == plate


def test_without_the_reader_a_word(monkeypatch):
    """The error names the package and the extra."""
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install rapidocr; the extra 'plates'"):
        library("rapidocr")


@READS
def test_a_plate_is_read(rows):
    """Of a car nearby at 1920 x 1080, without a network; of a small or an empty picture nothing."""
    reader = PlateReader()
    scene = Scene(rows, seed=7, width=1920, height=1080)
    picture = scene.frame(85.5)  # a car is near
    plate = max((one for one in picture.truth if one.label == "plate"), key=lambda one: one.box.width)
    (car,) = (one for one in picture.truth if one.thing == plate.thing and one.label in ("car", "vehicle"))
    left, top, right, bottom = car.box.rounded()
    vehicle = picture.image[top:bottom, left:right]
    assert reader.read(vehicle) == plate.text.replace(" ", "")
    assert reader.read(vehicle[:, :100]) == ""
    assert reader.read(vehicle[:0]) == ""
    assert reader.read(np.full((200, 300, 3), 90, np.uint8)) == ""
