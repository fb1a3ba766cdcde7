"""What a notebook shows of a camera: frames with boxes, a video's player, a curve, where a frame's time goes."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.detector import Detection
from iotedge_lab.camera.scene import Truth
from iotedge_lab.camera.scoring import Tally
from iotedge_lab.camera.video import write_video
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show import budget, curves, frames, video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

GREY = np.full((120, 200, 3), 90, np.uint8)
CAR = Box(40, 40, 120, 90)


def _pixels(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


# -- frames --------------------------------------------------------------------------------------------------


def test_a_frame_is_a_jpeg_with_alt_text_of_its_own_size() -> None:
    """A small frame stays as it is, and the HTML is an image with the words and the bytes."""
    made = frames.frame(GREY, "A grey wall.", caption="grey & plain")
    shown = made._repr_html_()
    data = re.search(r'data:image/jpeg;base64,([^"]+)"', shown)
    assert data is not None
    assert base64.b64decode(data[1]) == made.jpeg
    assert _pixels(made.jpeg).shape == (120, 200, 3)
    assert 'alt="A grey wall."' in shown
    assert "<figcaption" in shown
    assert "grey &amp; plain" in shown
    assert repr(made) == "<Still: A grey wall.>"


def test_a_frame_is_shrunk_and_its_colours_are_those_of_opencv() -> None:
    """A wide frame becomes as wide as asked for, in proportion; blue in BGR is blue on the screen."""
    blue = np.zeros((360, 640, 3), np.uint8)
    blue[:, :, 0] = 255
    made = frames.frame(blue, "A blue wall.", width=320)
    seen = _pixels(made.jpeg)
    assert seen.shape == (180, 320, 3)
    assert seen[90, 160, 2] > 200
    assert seen[90, 160, 0] < 60


def test_boxes_are_drawn_and_counted_in_the_alt_text() -> None:
    """Detections and ground truth are drawn where they are, and the alt text says how many of each."""
    detection = Detection("Car", 0.871, CAR)
    plate = Truth("plate", Box(70, 70, 90, 80), 1.0, "ABC 123")
    made = frames.frame(GREY, "A wall.", boxes=[detection, detection, plate])
    assert made.alt == "A wall. Boxes: 2 Car, 1 plate."
    drawn = np.abs(_pixels(made.jpeg).astype(int) - 90).max(axis=2) > 60
    assert drawn[60, 38:43].any()  # the left edge
    assert drawn[38:43, 80].any()  # the top edge
    assert not drawn[100:, :].any()  # nothing below
    bare = frames.frame(GREY, "A wall.")
    assert not (np.abs(_pixels(bare.jpeg).astype(int) - 90).max(axis=2) > 60).any()


@pytest.mark.parametrize(
    "box", [Box(-50, -50, 20, 20), Box(190, 110, 400, 300), Box(0, 0, 200, 120), Box(5, 5, 5, 5)]
)
def test_a_box_that_leaves_the_frame_or_has_no_inside_is_drawn_as_far_as_it_goes(box: Box) -> None:
    """Boxes over the edge, as large as the frame, or empty, are no error; unknown classes have a colour too."""
    made = frames.frame(GREY, "A wall.", boxes=[Detection("Dog", 0.5, box)], region=box)
    assert made.alt.endswith("1 Dog.")
    assert _pixels(made.jpeg).shape == GREY.shape


def test_a_region_is_drawn() -> None:
    """The region's rectangle is yellow, and what is drawn is scaled with the frame."""
    made = frames.frame(
        np.repeat(np.repeat(GREY, 2, 0), 2, 1), "A wall.", region=Box(80, 80, 240, 180), width=200
    )
    red, green, blue = (int(each) for each in _pixels(made.jpeg)[60, 40])
    assert min(red, green) > 170
    assert blue < 150


@pytest.mark.parametrize("image", [GREY[:, :, 0], GREY[:0], "frame.png", None])
def test_what_is_no_frame_is_refused(image: object) -> None:
    """A grey picture, an empty one, a name: told what is wanted."""
    with pytest.raises(UsageError, match="rows x columns x 3"):
        frames.frame(image, "A wall.")  # type: ignore[arg-type]


def test_frames_beside_each_other() -> None:
    """Each keeps its own alt text; a strip makes it of its words and the caption; none at all is refused."""
    strip = frames.strip({"by day": GREY, "at dusk": GREY}, "The same wall")
    assert repr(strip) == "<Still: The same wall by day.>\n<Still: The same wall at dusk.>"
    assert strip._repr_html_().count("<img alt=") == 2
    assert "repeat(2," in strip._repr_html_()
    assert "repeat(1," in frames.side_by_side(*strip.stills, columns=1)._repr_html_()
    with pytest.raises(UsageError, match="no frame to show"):
        frames.side_by_side()
    with pytest.raises(UsageError, match="without alt text"):
        frames.frame(GREY, " ")


# -- video ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a notebook's, with a video that browsers play and one that they do not."""
    here = tmp_path_factory.mktemp("notebooks")
    made = video.folder(beside=here)
    write_video([GREY] * 3, made / "a film.webm", rate=24, fps=24, codec_name="vp8")
    write_video([GREY] * 3, made / "old.mp4", rate=24, fps=24)
    return here


def test_a_player_is_linked_and_has_a_still(films: Path) -> None:
    """The source is relative to the notebook, spelled as a link is, and the video's bytes are not in it."""
    made = video.player(films / "videos" / "a film.webm", 'A "grey" film.', beside=films)
    shown = made._repr_html_()
    assert 'src="videos/a%20film.webm"' in shown
    assert "A &quot;grey&quot; film." in shown
    assert "<video controls" in shown
    assert len(shown) < 10_000
    assert repr(made) == '<Player: A "grey" film. (videos/a film.webm)>'
    assert (made.width, made.height) == (200, 120)
    poster = re.search(r'poster="data:image/jpeg;base64,([^"]+)"', shown)
    assert poster is not None
    assert _pixels(base64.b64decode(poster[1])).shape == (120, 200, 3)


def test_git_passes_over_a_notebooks_videos(films: Path) -> None:
    """The folder says so itself, and may be asked for again."""
    assert (video.folder(beside=films) / ".gitignore").read_text() == "*\n"


def test_what_cannot_be_played_says_what_to_do(films: Path, tmp_path: Path) -> None:
    """Another folder, a codec of no browser, a missing file and a video without words are refused."""
    film = films / "videos" / "a film.webm"
    with pytest.raises(UsageError, match=r"outside the notebook's folder"):
        video.player(film, "A film.", beside=tmp_path)
    with pytest.raises(UsageError, match=r'which no browser plays; write it with codec_name="vp8"'):
        video.player(films / "videos" / "old.mp4", "A film.", beside=films)
    with pytest.raises(DataError, match="does not exist"):
        video.player(films / "videos" / "none.webm", "A film.", beside=films)
    with pytest.raises(UsageError, match="without words"):
        video.player(film, "", beside=films)


# -- the curve -------------------------------------------------------------------------------------------------


def _seen() -> list[curves.Seen]:
    """Four frames with a car each: found surely, found weakly, missed; and two false boxes, one of them sure."""
    away = Box(140, 10, 190, 40)
    truth = [Truth("car", CAR, 1.0)]
    return [
        ([Detection("Car", 0.8, CAR)], truth),
        ([Detection("Car", 0.4, CAR), Detection("Car", 0.2, away)], truth),
        ([Detection("Car", 0.6, away)], truth),
        ([Detection("Vehicle", 0.5, CAR), Detection("Person", 0.9, away)], truth),
    ]


def test_points_count_right_and_false_boxes_at_each_threshold() -> None:
    """A higher threshold finds less and errs less; boxes of another kind do not count for cars."""
    low, middle, high = curves.points(_seen(), thresholds=(0.1, 0.5, 0.7))
    assert (low.recall, low.precision, low.false_per_frame) == (0.75, 0.6, 0.5)
    assert (middle.recall, middle.precision, middle.false_per_frame) == (0.5, pytest.approx(2 / 3), 0.25)
    assert (high.recall, high.precision, high.false_per_frame) == (0.25, 1.0, 0.0)
    assert repr(high) == "Point(threshold=0.70, precision=1.000, recall=0.250, false_per_frame=0.000)"


def test_points_agree_with_the_judge() -> None:
    """What the curve says at a threshold is what the tally says of the boxes above it."""
    (point,) = curves.points(_seen(), thresholds=(0.45,))
    tally = Tally()
    for detections, truth in _seen():
        tally.add([each for each in detections if each.score >= 0.45 and each.label != "Person"], truth)
    found, asked = tally.recall("car")
    assert (point.recall, point.precision) == (found / asked, tally.precision)


def test_points_of_nothing_are_refused() -> None:
    """An unknown label, and a label or a size that no frame has."""
    with pytest.raises(UsageError, match="no label 'plate' to judge; take one of car"):
        curves.points(_seen(), label="plate")
    with pytest.raises(DataError, match="no bicycle of 0 pixels"):
        curves.points(_seen(), label="bicycle")
    with pytest.raises(DataError, match="no car of 500 pixels"):
        curves.points(_seen(), least=500)


def test_a_curve_says_its_ends_and_what_was_chosen() -> None:
    """The alt text has the lowest and the highest threshold, in whatever order the points come."""
    made = curves.points(_seen(), thresholds=(0.1, 0.5, 0.7))
    shown = curves.precision_recall(made, chosen=0.5)
    assert "for 3 thresholds; a threshold of 0.1 finds 75% at a precision of 60%" in shown.alt
    assert "one of 0.7 finds 25% at 100%." in shown.alt
    assert shown.alt.endswith("Ringed: 0.5, 50% at 67%.")
    assert curves.precision_recall(made[::-1], chosen=0.5) == shown
    assert len(shown.png) < 60_000


def test_a_curve_needs_two_points_and_a_threshold_of_theirs() -> None:
    """One point is no curve, and what is ringed must be there."""
    made = curves.points(_seen(), thresholds=(0.1, 0.5))
    with pytest.raises(DataError, match="two points"):
        curves.precision_recall(made[:1])
    with pytest.raises(UsageError, match=r"no point has the threshold 0\.45; the nearest is 0\.5"):
        curves.precision_recall(made, chosen=0.45)


# -- the budget ------------------------------------------------------------------------------------------------


def _clock(*ticks: float) -> budget.Stopwatch:
    coming: Iterator[float] = iter(ticks)
    return budget.Stopwatch(lambda: next(coming))


def test_a_stopwatch_adds_up_by_step_and_frame() -> None:
    """The same step twice in a frame adds up, and another's time can be added."""
    watch = _clock(0.0, 0.010, 1.0, 1.005)
    with watch("look"):
        pass
    with watch("look"):
        pass
    watch.add("send", 2.0)
    watch.add_seconds({"send": 0.001, "draw": 0.004})
    watch.next_frame()
    assert watch.frames == 1
    assert watch.typical() == {"look": pytest.approx(15.0), "send": 3.0, "draw": 4.0}


def test_a_stopwatch_tells_the_middle_and_the_slow_frame() -> None:
    """Of 200 frames of 1 to 200 ms, the middle one and the one that 99 of 100 do not exceed."""
    watch = budget.Stopwatch()
    for taken in (*range(200, 100, -1), *range(1, 101)):
        watch.add("look", float(taken))
        watch.next_frame()
    assert watch.typical() == {"look": 101.0}
    assert watch.slow() == {"look": 199.0}


def test_a_stopwatch_times_what_comes_and_not_the_end() -> None:
    """Each item's coming is a step of its frame; that no more comes belongs to none."""
    watch = _clock(0.0, 0.002, 1.0, 1.004, 2.0, 2.009)
    got = []
    for item in watch.each("read", "ab"):
        got.append(item)
        watch.next_frame()
    assert got == ["a", "b"]
    assert watch.frames == 2
    assert watch.slow() == {"read": pytest.approx(4.0)}
    assert watch._open == {}


def test_a_step_that_fails_is_timed_too() -> None:
    """The exception goes on, and its time counts."""
    watch = _clock(0.0, 0.003)
    with pytest.raises(ValueError, match="broken"), watch("look"):
        raise ValueError("broken")
    watch.next_frame()
    assert watch.typical() == {"look": pytest.approx(3.0)}


def test_times_that_cannot_be_are_refused() -> None:
    """No frame yet, a time below 0, no step, a rate of nothing."""
    with pytest.raises(DataError, match="no frame has been timed"):
        budget.Stopwatch().typical()
    with pytest.raises(UsageError, match="cannot have taken -1 ms"):
        budget.Stopwatch().add("look", -1.0)
    with pytest.raises(DataError, match="no step to draw"):
        budget.bars({"a frame": {}})
    with pytest.raises(UsageError, match="less than 0 ms"):
        budget.bars({"a frame": {"look": -1.0}})
    with pytest.raises(UsageError, match="not 0"):
        budget.bars({"a frame": {"look": 1.0}}, fps=0)


def test_bars_say_who_keeps_within_the_limit() -> None:
    """The alt text names each row's whole time, its longest step, and which side of the limit it is on."""
    shown = budget.bars({"edge": {"read": 1.0, "look": 11.0}, "cloud": {"uplink": 90.0, "way": 50.0}})
    assert "edge takes 12.0 ms, most of it for look, within the limit" in shown.alt
    assert "cloud takes 140.0 ms, most of it for uplink, beyond the limit of 41.7 ms." in shown.alt
    assert len(shown.png) < 60_000
    assert "of 33.3 ms" in budget.bars({"edge": {"look": 30.0}}, fps=30).alt
