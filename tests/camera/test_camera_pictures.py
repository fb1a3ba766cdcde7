"""Pictures for a person to see, bounded on disk."""

import os

import numpy as np
import pytest

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.frames import read_picture
from iotedge_lab.camera.pictures import LAST, Pictures, annotated
from iotedge_lab.errors import EnvironmentProblem

GREY = np.full((90, 160, 3), 100, np.uint8)


def test_boxes_are_drawn_on_a_copy():
    """In their place, at the picture's scale, with their words inside the picture; the frame itself stays."""
    drawn = annotated(
        GREY, [("Car 0.91", Box(100, 60, 200, 140)), ("?", Box(0, 0, 9, 9))], 0.5, note="ABC123"
    )
    assert GREY.min() == GREY.max() == 100
    assert drawn.shape == GREY.shape
    assert tuple(drawn[70, 60]) != (100, 100, 100)
    assert tuple(drawn[50, 75]) == (100, 100, 100)
    assert (drawn[:12, :60] != 100).any()


def test_the_newest_are_kept(tmp_path):
    """As many as were asked for, and the last one by a name of its own; numbers go on after a restart."""
    for _ in range(2):
        pictures = Pictures(tmp_path / "seen", 3)
        for label in ("Car", "Person", "Stop sign!"):
            path = pictures.add(label, GREY)
            pictures.show(GREY)
    names = sorted(each.name for each in (tmp_path / "seen").iterdir())
    assert names == [
        "event-000004-Car.jpg",
        "event-000005-Person.jpg",
        "event-000006-Stop_sign_.jpg",
        LAST,
    ]
    assert path.name == names[2]
    assert read_picture(tmp_path / "seen" / LAST).shape == GREY.shape


def test_none_are_kept(tmp_path):
    """0: the last one alone, and those of before go."""
    Pictures(tmp_path, 5).add("Car", GREY)
    pictures = Pictures(tmp_path, 0)
    assert pictures.add("Car", GREY) is None
    pictures.show(GREY)
    assert [each.name for each in tmp_path.iterdir()] == [LAST]


def test_what_is_not_ours_stays(tmp_path):
    """Files of other names are not counted and not removed."""
    (tmp_path / "event-me.jpg").write_bytes(b"mine")
    Pictures(tmp_path, 0).add("Car", GREY)
    assert (tmp_path / "event-me.jpg").read_bytes() == b"mine"


def test_where_it_cannot_be_written(tmp_path):
    """That is said, with what to do, and nothing half written stays."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match="Make room, or name another folder"):
        Pictures(tmp_path / "file", 3).show(GREY)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk(tmp_path):
    """The part that could not be written is removed, and the picture of before stays."""
    pictures = Pictures(tmp_path, 3)
    pictures.show(GREY)
    before = (tmp_path / LAST).read_bytes()
    (tmp_path / f".{LAST}.part").symlink_to("/dev/full")
    with pytest.raises(EnvironmentProblem, match="No space left"):
        pictures.show(GREY)
    assert (tmp_path / LAST).read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [LAST]
