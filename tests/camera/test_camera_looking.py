"""The filter's chain: motion, detector, region, events; and how it keeps up with a video."""

from pathlib import Path

import numpy as np
import pytest

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.detector import Detection
from iotedge_lab.camera.looking import WIDEST, Fate, Looker
from iotedge_lab.camera.video import VideoFrame
from iotedge_lab.errors import UsageError

FPS = 24.0
CAR = Box(300.0, 200.0, 360.0, 240.0)


class Sees:
    """A detector that sees the same thing in every frame, and counts."""

    def __init__(self, box=CAR):
        self.looked = 0
        self.box = box

    def detect(self, frame):
        self.looked += 1
        return [Detection("Car", 0.9, self.box)]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def video(count, *, still=(), columns=640, rows=360):
    """Frames of a block that moves, except in those that are named."""
    place = 0
    for number in range(count):
        place += 0 if number in still else 8
        image = np.full((rows, columns, 3), 80, np.uint8)
        image[100:150, place % 500 : place % 500 + 50] = 240
        yield VideoFrame(Path("a.mp4"), number, number / FPS, image)


def test_the_detector_looks_where_something_moved():
    """In the first frame, and then only in those that differ; the others prolong what was found."""
    sees = Sees()
    looker = Looker(sees, keep_up=False)
    still = range(10, 40)
    fates = [looker.look(frame).fate for frame in video(48, still=still)]
    assert [number for number, fate in enumerate(fates) if fate is Fate.STILL] == list(still)
    assert sees.looked == 18
    assert (looker.counts.frames, looker.counts.looked, looker.counts.still) == (48, 18, 30)
    (event,) = looker.end().ended
    assert event.frames == 48
    assert event.last == pytest.approx(47 / FPS)


def test_news_come_when_they_are_sure():
    """An event begins when it is confirmed, and ends when it is not seen for the gap."""
    sees = Sees()
    looker = Looker(sees, keep_up=False, gap=0.2, least_frames=3)
    began, ended = [], []
    for frame in video(20):
        if frame.number == 10:
            sees.detect = lambda _: []
        look = looker.look(frame)
        began += [frame.number] * len(look.began)
        ended += [frame.number] * len(look.ended)
        assert set(look.spent) == {"motion", "detector", "events"}
    assert began == [2]
    assert ended == [14]


def test_a_region_of_interest():
    """Only what has its centre within it is found."""
    for region, count in (((0.4, 0.5, 0.6, 0.7), 1), ((0.0, 0.0, 0.5, 1.0), 0), ((0.0, 0.0, 1.0, 0.6), 0)):
        looker = Looker(Sees(), region=region, keep_up=False)
        assert [len(looker.look(frame).found) for frame in video(1)] == [count]


@pytest.mark.parametrize(
    "region", [(0, 0, 1), (0.5, 0, 0.5, 1), (0, 0, 1.1, 1), (-0.1, 0, 1, 1), (0, 0.9, 1, 0.1)]
)
def test_a_region_without_an_inside(region):
    """Is refused, with an example."""
    with pytest.raises(UsageError, match=r"such as 0, 0\.5, 1, 1"):
        Looker(None, region=region)


def test_it_keeps_up_with_the_video():
    """A detector that takes three frames' time: two of three are left out and counted, and none is looked at late."""
    clock, sees = Clock(), Sees()
    looker = Looker(sees, clock=clock, motion=0.0)
    behind = []
    for frame in video(240):
        begun = clock.now
        look = looker.look(frame)
        clock.now += 3.0 / FPS if look.fate is Fate.LOOKED else 0.001
        if look.fate is Fate.LOOKED:
            behind.append(begun - 100.0 - frame.seconds)
    assert looker.counts.frames == 240
    assert looker.counts.looked + looker.counts.skipped == 240
    assert 75 <= looker.counts.looked <= 85
    assert max(behind) <= 0.25
    assert clock.now - 100.0 <= 240 / FPS + 0.5
    (event,) = looker.end().ended
    assert event.frames == looker.counts.looked


def test_all_frames_however_long_it_takes():
    """keep_up=False looks at each one."""
    clock = Clock()
    looker = Looker(Sees(), clock=clock, motion=0.0, keep_up=False)
    for frame in video(48):
        looker.look(frame)
        clock.now += 1.0
    assert looker.counts.looked == 48


def test_each_video_has_its_own_time():
    """One that was slow does not make the next one late."""
    clock = Clock()
    looker = Looker(Sees(), clock=clock, motion=0.0)
    for _ in range(2):
        for frame in video(3):
            looker.look(frame)
            clock.now += 1.0
        looker.end()
    assert (looker.counts.looked, looker.counts.skipped) == (2, 4)


def test_without_a_detector_there_is_motion():
    """One event as long as anything moves, with a box around it; none while nothing does, nor of the first frame."""
    looker = Looker(None, keep_up=False, gap=0.3)
    ended = []
    for frame in video(60, still=range(20, 40)):
        ended += looker.look(frame).ended
    ended += looker.end().ended
    assert [each.label for each in ended] == ["Motion", "Motion"]
    assert [each.first for each in ended] == [1 / FPS, 40 / FPS]
    assert ended[0].last == pytest.approx(19 / FPS)
    assert 0.0 < ended[0].score < 0.2
    assert ended[0].box.top == pytest.approx(100, abs=4)
    assert ended[0].box.bottom == pytest.approx(150, abs=4)


def test_a_very_large_frame_is_kept_small():
    """The picture of an event is shrunk; its boxes stay those of the frame. Its cut-out is not shrunk."""
    box = Box(1500.0, 1000.0, 1800.0, 1200.0)
    looker = Looker(Sees(box), keep_up=False, least_frames=1)
    looker.cut_out = True
    for frame in video(2, columns=2560, rows=1441):
        looker.look(frame)
    (event,) = looker.end().ended
    assert event.picture.image.shape[1] == WIDEST
    assert event.picture.scale == pytest.approx(0.5)
    assert event.box == box
    assert event.large.shape == (200, 300, 3)
