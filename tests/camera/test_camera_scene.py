"""The rendered road: what makes a frame, that picture and CAN agree, and that the ground truth is true."""

import itertools
import re

import numpy as np
import pytest

from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.scene import WEATHERS, Scene
from iotedge_lab.camera.scene.path import make_path
from iotedge_lab.errors import DataError, EnvironmentProblem, UsageError
from tests.camera.conftest import SIZE, drive, with_halt


def yellow(image, low, high):
    """The mean column of the centre line's pixels in these rows."""
    blue, green, red = (image[low:high, :, each].astype(int) for each in range(3))
    columns = np.nonzero((red > 150) & (green > 110) & (blue < green - 50) & (blue < red - 70))[1]
    return columns.mean() if len(columns) else None


def test_a_seed_gives_the_same_pixels_again(rows):
    """Equal arguments give equal bytes, in whatever order the frames are drawn; another seed gives others."""
    first, second = (Scene(rows, seed=3, weather="rain", **SIZE) for _ in range(2))
    times = (30.0, 200.0, 31.0)
    forwards = {time: first.frame(time) for time in times}
    backwards = {time: second.frame(time) for time in reversed(times)}
    for time in times:
        assert np.array_equal(forwards[time].image, backwards[time].image), time
        assert forwards[time].truth == backwards[time].truth
    other = Scene(rows, seed=4, weather="rain", **SIZE).frame(30.0)
    assert not np.array_equal(other.image, forwards[30.0].image)


def test_the_speed_scrolls_the_road():
    """On an empty road nothing moves while the car stands, and the road moves while it goes."""
    scene = Scene(with_halt(10.0), seed=1, empty=1.0, overlay=False, **SIZE)
    halt = scene.path.halts[0]
    still = [scene.frame(halt.begin + each).image for each in (1.0, 5.0)]
    assert np.array_equal(*still)
    going = [scene.frame(each).image for each in (3.0, 3.1)]
    assert np.abs(going[0][90:].astype(int) - going[1][90:]).mean() > 1.0


def test_the_steering_bends_the_road():
    """With the wheel held to the left the centre line runs to the left far ahead, to the right with it to the right."""
    far = {}
    for angle in (-12.0, 0.0, 12.0):
        rows = drive([40.0] * 150, [angle] * 150)
        scene = Scene(rows, seed=2, empty=1.0, overlay=False)
        far[angle] = yellow(scene.frame(2.0).image, 182, 196)
    assert far[12.0] < far[0.0] - 8
    assert far[-12.0] > far[0.0] + 8


def test_the_path_is_the_one_that_was_driven():
    """A circle driven with a constant wheel closes: the path has turned by 360 degrees, to the left."""
    speed, radius = 10.0 / 0.44704, 30.0
    wheel = np.degrees(np.arctan((2.69 + 0.0016 * 100.0) / radius)) * 15.0
    seconds = 2 * np.pi * radius / 10.0
    path = make_path(drive([speed] * round(seconds * 10), [float(wheel)] * round(seconds * 10)))
    end = path.metre_at(path.seconds)
    assert path.pose(end)[2] == pytest.approx(2 * np.pi, abs=0.08)
    assert path.pose(end)[:2] == pytest.approx((0.0, 0.0), abs=2.0)


def test_boxes_lie_where_the_picture_changes():
    """A clearly visible thing's box is where the frame differs from the one without traffic, and nothing else does."""
    scene = Scene(with_halt(20.0), seed=1, empty=0.0, overlay=False)
    halt = scene.path.halts[0]
    traffic = list(scene._traffic)
    seen = 0
    for time in (4.0, 10.0, *(halt.begin + each for each in (2.0, 6.0, 10.0, 14.0)), halt.end + 8.0):
        picture = scene.frame(time)
        scene._traffic.clear()
        bare = scene.frame(time)
        scene._traffic.extend(traffic)
        changed = np.abs(picture.image.astype(int) - bare.image).max(axis=2) > 12
        around = np.zeros_like(changed)
        for each in picture.truth:
            left, top, right, bottom = each.box.rounded()
            high = max(6, bottom - top)
            around[max(0, top - 6) : bottom + high // 2, max(0, left - high) : right + high] = True
            if each.label != "stop sign" and each.visible > 0.9 and each.box.width > 30:
                seen += 1
                assert changed[top:bottom, left:right].mean() > 0.3, (time, each)
        assert changed[~around].mean() < 0.005, time
    assert seen >= 5


def test_truth_is_within_the_frame_and_says_what_is_hidden(scene):
    """Boxes lie in the frame, shares between 0 and 1; some things are hidden in part, and cyclists have two boxes."""
    labels, shares = set(), []
    for picture in scene.frames(0.5, 20.0, 100.0):
        for each in picture.truth:
            box = each.box
            assert 0 <= box.left < box.right <= 640, each
            assert 0 <= box.top < box.bottom <= 360, each
            assert 0.0 < each.visible <= 1.0
            labels.add(each.label)
            shares.append(each.visible)
            if each.label == "plate":
                assert re.fullmatch(r"[A-Z]{3} \d{3}", each.text)
    assert {"car", "person", "plate"} <= labels
    assert min(shares) < 0.5
    assert max(shares) > 0.95


def test_empty_stretches_are_empty(rows, scene):
    """With empty=1 there is nobody on the whole drive; by default some frames are empty and others are not."""
    empty = Scene(rows, seed=7, empty=1.0, **SIZE)
    labels = {each.label for picture in empty.frames(0.05) for each in picture.truth}
    assert labels <= {"stop sign"}
    counts = [
        sum(each.label != "stop sign" for each in scene.frame(time).truth) for time in range(5, 300, 15)
    ]
    assert counts.count(0) >= 1
    assert sum(each > 0 for each in counts) >= 6


def test_a_short_halt_has_a_stop_sign_and_a_long_one_a_light():
    """Before a halt of four seconds stands a stop sign that can be read; before one of 20 there is a traffic light."""
    found = {}
    for seconds in (4.0, 20.0):
        scene = Scene(with_halt(seconds), seed=1, empty=1.0)
        begin = scene.path.halts[0].begin
        signs = [each for time in (begin - 3, begin - 1.5) for each in scene.frame(time).truth]
        found[seconds] = [each for each in signs if each.label == "stop sign"]
        assert [each.light for each in scene.layout.crossings] == [seconds > 7]
    assert found[4.0]
    assert all(each.text == "STOP" and 0.8 < each.box.width / each.box.height < 1.25 for each in found[4.0])
    assert not found[20.0]


@pytest.mark.parametrize("weather", WEATHERS)
def test_each_weather_looks_different(rows, weather):
    """Each weather gives a picture of many colours; the day is the brightest."""
    image = Scene(rows, seed=5, weather=weather, **SIZE).frame(100.0).image
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 1000
    day = Scene(rows, seed=5, **SIZE).frame(100.0).image
    assert image.mean() <= day.mean()


@pytest.mark.parametrize(("width", "height"), [(321, 181), (960, 395), (150, 200), (64, 64)])
def test_any_size_is_drawn(rows, width, height):
    """Odd sizes, wide ones and upright ones have frames of just that size."""
    scene = Scene(rows, seed=5, weather="rain", width=width, height=height)
    for time in (45.0, 220.0):
        assert scene.frame(time).image.shape == (height, width, 3)


def test_frames_come_at_their_times(rows):
    """So many frames a second from the asked begin on, and none after the drive's end."""
    scene = Scene(rows, seed=5, width=64, height=64)
    times = [each.seconds for each in scene.frames(2.0, 10.0, 3.0)]
    assert times == [10.0, 10.5, 11.0, 11.5, 12.0, 12.5]
    last = list(scene.frames(1.0, scene.seconds - 1.5))
    assert [each.seconds for each in last] == pytest.approx([scene.seconds - 1.5, scene.seconds - 0.5])
    assert "rain" not in repr(scene)
    assert "64x64" in repr(scene)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"weather": "snow"}, "daylight, dusk, rain"),
        ({"width": 16}, "64 to 4096"),
        ({"height": 9999}, "64 to 4096"),
        ({"empty": 1.5}, "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(rows, options, word):
    """An unknown weather, a size or a share that cannot be: UsageError with what there is."""
    with pytest.raises(UsageError, match=word):
        Scene(rows, **options)


def test_a_time_beyond_the_drive_is_refused(rows):
    """There is no frame before the drive or after it, and no video of no frames a second."""
    scene = Scene(rows[:50], seed=1, width=64, height=64)
    with pytest.raises(UsageError, match=r"0 to 4\.9 s"):
        scene.frame(1e6)
    with pytest.raises(UsageError, match="frames a second"):
        next(scene.frames(0.0))


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (drive([10.0]), "two rows"),
        ([*drive([10.0] * 3), *drive([10.0])], "sort it by time"),
        (drive([10.0] * 3, step=0.0), "same time"),
    ],
)
def test_a_drive_that_cannot_be_followed_is_refused(rows, word):
    """One row, rows out of order, rows of one moment: DataError that says so."""
    with pytest.raises(DataError, match=word):
        Scene(rows)


def test_odd_drives_are_drawn():
    """A car that stands all the time, gaps in the recording, a wheel turned as far as it goes: frames all the same."""
    standing = drive([0.0] * 40, [400.0] * 40)
    gap = drive([50.0] * 20) + [
        row.__class__(**(row.to_dict() | {"seconds": row.seconds + 900.0})) for row in drive([50.0] * 20)
    ]
    turning = drive([12.0] * 200, [540.0] * 200)
    for rows in (standing, gap, turning):
        scene = Scene(rows, seed=3, **SIZE)
        for each in itertools.islice(scene.frames(1.0), 4):
            assert each.image.std() > 10


def test_a_missing_library_is_named():
    """What cannot be imported is told with the package that brings it."""
    with pytest.raises(EnvironmentProblem, match="pip install no_such_module_here"):
        library("no_such_module_here")
