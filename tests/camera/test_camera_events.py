"""De-duplication: boxes of many frames become events with a first and a last time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.detector import Detection
from iotedge_lab.camera.events import MOTION, Events, like, merged
from iotedge_lab.errors import UsageError

FPS = 24.0


def car(left=100.0, top=100.0, width=60.0, height=40.0, *, score=0.8, label="Car"):
    return Detection(label, score, Box(left, top, left + width, top + height))


def run(events, frames):
    """Feed detections frame by frame (None: nothing moved); the events that ended, and those at the end."""
    ended = []
    for number, found in enumerate(frames):
        seconds = number / FPS
        news = events.hold(seconds) if found is None else events.update(seconds, found, f"frame {number}")
        ended += news.ended
    return ended, events.close().ended


def test_a_car_that_stays_is_one_event():
    """It has a first and a last time, the best score with that frame's box and picture, and how many frames."""
    frames = [[car(score=0.5 + 0.01 * (number % 24))] for number in range(48)]
    ended, (event,) = run(Events(), frames)
    assert ended == []
    assert (event.label, event.first, event.last, event.frames) == ("Car", 0.0, 47 / FPS, 48)
    assert event.score == pytest.approx(0.73)
    assert event.time == pytest.approx(23 / FPS)
    assert event.picture == "frame 23"
    assert event.seconds == pytest.approx(47 / FPS)


def test_a_car_that_drives_past_is_one_event():
    """It moves and grows faster than two frames' boxes overlap by much."""
    frames = [[car(50 + 14 * each, 150 - 2 * each, 30 + 3 * each, 20 + 2 * each)] for each in range(30)]
    _, ended = run(Events(), frames)
    assert [each.frames for each in ended] == [30]


def test_two_cars_that_meet_are_two_events():
    """Each goes on as it moved before."""
    frames = [[car(100 + 6 * each), car(400 - 6 * each, 125)] for each in range(48)]
    _, ended = run(Events(), frames)
    assert [each.frames for each in ended] == [48, 48]


def test_who_has_gone_and_comes_again_is_a_new_event():
    """A gap of a second ends it, at the time when it was seen last; a shorter one does not."""
    events = Events(gap=1.0)
    there, away = [[car()]] * 5, [[]]
    ended, last = run(events, there + away * 20 + there)
    assert (len(ended), len(last)) == (0, 1)
    assert last[0].frames == 10
    ended, last = run(events, there + away * 30 + there)
    assert [each.last for each in ended] == [4 / FPS]
    assert [each.first for each in last] == [35 / FPS]


def test_what_flickers_is_no_event():
    """Fewer frames than it takes: it never began, and is not told as ended."""
    events = Events(least_frames=3)
    assert run(events, [[car()], [car()], *[[]] * 40]) == ([], [])
    began = [len(events.update(each / FPS, [car()]).began) for each in range(4)]
    assert began == [0, 0, 1, 0]
    assert [each.number for each in events.open] == [1]


def test_nothing_moved_means_it_is_there_still():
    """Frames that nobody looked at count, and prolong what was in the last frame that somebody did look at."""
    _, (event,) = run(Events(), [[car()], *[None] * 100])
    assert (event.frames, event.last) == (101, 100 / FPS)
    ended, last = run(Events(), [[car()]] * 3 + [[]] + [None] * 100)
    assert ([each.last for each in ended], last) == ([2 / FPS], [])


def test_a_car_and_a_vehicle_in_one_place_are_one_thing():
    """In one frame the surer one stays; over frames the label is the one that was surer in all."""
    both = [car(score=0.6), car(102, label="Vehicle", score=0.7), car(300, label="Person", width=20)]
    assert [each.label for each in merged(both)] == ["Person", "Vehicle"]
    frames = [[car(score=0.6)]] * 3 + [[car(label="Vehicle", score=0.7)]] * 2
    _, (event,) = run(Events(), frames)
    assert event.label == "Car"
    assert event.score == pytest.approx(0.7)


def test_a_person_before_a_car_is_another_event():
    """Only a car and a vehicle may be one thing."""
    _, ended = run(Events(), [[car(), car(label="Person", score=0.5)]] * 5)
    assert sorted(each.label for each in ended) == ["Car", "Person"]


def test_motion_is_one_event_wherever_it_is():
    """Motion has no shape: as long as anything moves it is the same event."""
    frames = [[car((each * 97) % 500, label=MOTION, score=0.1)] for each in range(20)]
    _, (event,) = run(Events(), frames)
    assert event.frames == 20


def test_its_own_picture_where_it_was_largest():
    """Cut out of the frame in which the thing was largest."""
    events = Events(least_frames=1)
    for number, width in enumerate((40, 90, 60)):
        events.update(number / FPS, [car(width=width)], None, lambda box: box.width)
    assert [each.large for each in events.close().ended] == [90.0]


def test_numbers_begin_anew_with_each_video():
    """The first event of each video is 1."""
    events = Events()
    for _ in range(2):
        _, ended = run(events, [[car(), car(400)]] * 4)
        assert [each.number for each in ended] == [1, 2]


@pytest.mark.parametrize(("gap", "least"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_what_makes_no_sense(gap, least):
    """Is refused."""
    with pytest.raises(UsageError, match="gap above 0 s"):
        Events(gap, least)


boxes = st.builds(
    lambda left, top, wide, high: Box(left, top, left + wide, top + high),
    st.floats(0, 600), st.floats(0, 300), st.floats(0, 200), st.floats(0, 200),
)  # fmt: skip


@given(boxes, boxes)
def test_likeness_is_mutual_and_never_negative(one, other):
    """However odd the boxes are."""
    assert like(one, other) == pytest.approx(like(other, one))
    assert like(one, other) >= 0.0


@given(st.lists(st.lists(st.builds(Detection, st.sampled_from(["Car", "Vehicle", "Person"]), st.floats(0, 1), boxes),
                         max_size=4), max_size=40))  # fmt: skip
def test_no_sighting_counts_twice(frames):
    """Whatever is found: events lie within the video, and together have no more frames than there were boxes."""
    ended, last = run(Events(least_frames=1), frames)
    assert sum(each.frames for each in ended + last) <= sum(map(len, frames))
    for each in ended + last:
        assert 0.0 <= each.first <= each.time <= each.last <= len(frames) / FPS
