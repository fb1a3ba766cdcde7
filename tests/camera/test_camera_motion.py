"""Motion first: what has changed since the last frame that somebody looked at, and where."""

import numpy as np
import pytest

from iotedge_lab.camera.motion import LEAST, Motion


def picture(*blocks, rows=360, columns=640):
    """A grey frame with white blocks (left, top, right, bottom)."""
    frame = np.full((rows, columns, 3), 90, np.uint8)
    for left, top, right, bottom in blocks:
        frame[top:bottom, left:right] = 250
    return frame


def test_the_first_frame_is_all_new():
    """There is nothing to compare it with: somebody has to look."""
    motion = Motion()
    change = motion.compare(picture())
    assert change.share == 1.0
    assert motion.moved(change)


def test_nothing_moves():
    """The same frame again, with a codec's noise on it, is no motion."""
    motion = Motion()
    motion.compare(picture())
    motion.keep()
    noise = np.random.default_rng(1).integers(-6, 7, (360, 640, 3))
    change = motion.compare(np.clip(picture() + noise, 0, 255).astype(np.uint8))
    assert change.share == 0.0
    assert not motion.moved(change)
    assert change.around() is None


def test_a_block_moves():
    """The box is around where it was and where it is, and the share says how much of the picture that is."""
    motion = Motion()
    motion.compare(picture((100, 100, 140, 160)))
    motion.keep()
    change = motion.compare(picture((120, 100, 160, 160)))
    assert motion.moved(change)
    box, share = change.around()
    assert box.left == pytest.approx(100, abs=4)
    assert box.right == pytest.approx(160, abs=4)
    assert box.top == pytest.approx(100, abs=4)
    assert box.bottom == pytest.approx(160, abs=4)
    assert share == pytest.approx(2 * 20 * 60 / (640 * 360), rel=0.1)
    assert share == pytest.approx(change.share)


def test_what_creeps_is_seen():
    """A pixel a frame is too little to see from one frame to the next, and adds up to the one that was looked at."""
    motion = Motion()
    motion.compare(picture((100, 100, 130, 160)))
    motion.keep()
    moved = [
        motion.moved(motion.compare(picture((100 + each, 100, 130 + each, 160)))) for each in range(1, 13)
    ]
    assert moved[0] is False
    assert moved[-1] is True
    assert moved == sorted(moved)


def test_a_region_and_its_outside():
    """Around asks about a region alone, and its share is of that region."""
    motion = Motion()
    motion.compare(picture())
    motion.keep()
    change = motion.compare(picture((0, 0, 80, 80)))
    assert change.around((0.5, 0.0, 1.0, 1.0)) is None
    _, share = change.around((0.0, 0.0, 0.125, 80 / 360))
    assert share == pytest.approx(1.0)


def test_zero_lets_every_frame_through_and_another_size_is_new():
    """`least` 0 switches the filter off; frames of another size cannot be compared; a new video begins anew."""
    motion = Motion(0.0)
    motion.compare(picture())
    motion.keep()
    assert motion.moved(motion.compare(picture()))
    motion.least = LEAST
    assert not motion.moved(motion.compare(picture()))
    assert motion.compare(picture(rows=395, columns=961)).share == 1.0
    assert not motion.moved(motion.compare(picture()))
    motion.forget()
    assert motion.moved(motion.compare(picture()))
