"""The detector on rendered frames, the arithmetic of its boxes, and how it is scored."""

import numpy as np
import pytest

from iotedge_lab.camera.boxes import Box, anchors, decode, suppress
from iotedge_lab.camera.detector import LABELS, ROAD_CLASSES, Detection, Detector
from iotedge_lab.camera.scene import Scene, Truth
from iotedge_lab.camera.scoring import Tally
from iotedge_lab.errors import DataError, UsageError
from tests.camera.conftest import with_halt


def test_the_anchors_are_the_network_s():
    """1,917 anchors: three a cell in the lowest layer of 19 x 19, six in the others, in rows from the upper left."""
    found = anchors()
    assert found.shape == (1917, 4)
    assert found[0] == pytest.approx((0.5 / 19, 0.5 / 19, 0.1, 0.1))
    assert found[1] == pytest.approx((0.5 / 19, 0.5 / 19, 0.2 / 2**0.5, 0.2 * 2**0.5))
    assert found[3, 1] == pytest.approx(1.5 / 19)
    assert found[19 * 19 * 3] == pytest.approx((0.05, 0.05, 0.35, 0.35))
    assert found[-1] == pytest.approx((0.5, 0.5, (0.95 * 1.0) ** 0.5, (0.95 * 1.0) ** 0.5))


def test_encodings_move_and_stretch_their_anchor():
    """The coder's scales: ten for the centre, five for the logarithm of the size; noise does not overflow."""
    around = np.array([[0.5, 0.4, 0.2, 0.1]], np.float32)
    still = decode(np.zeros((1, 4), np.float32), around)[0]
    assert still == pytest.approx((0.35, 0.4, 0.45, 0.6))
    moved = decode(np.array([[5.0, 10.0, 5 * np.log(2), 0.0]], np.float32), around)[0]
    assert moved == pytest.approx((0.45, 0.4, 0.55, 0.8))
    assert np.isfinite(decode(np.full((1, 4), 1e4, np.float32), around)).all()


def test_doubles_are_left_out():
    """Of boxes that overlap much the best stays; those that overlap little all do."""
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [8, 0, 18, 10], [0, 0, 0, 0]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.4, 0.1], np.float32), 0.5) == [1, 2, 3]
    assert suppress(boxes[:0], np.zeros(0, np.float32), 0.5) == []


def test_boxes_overlap():
    """Intersection over union, in whole and in part, and never below nothing."""
    box = Box(0, 0, 10, 10)
    assert box.overlap(box) == 1.0
    assert box.overlap(Box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box.overlap(Box(20, 0, 30, 10)) == box.overlap(Box(5, 5, 5, 5)) == 0.0


@pytest.fixture(scope="module")
def waiting():
    """A frame in which a car waits close ahead, and its truth."""
    for seed in range(40):
        scene = Scene(with_halt(20.0), seed=seed, empty=0.0)
        if not scene.layout.crossings[0].queued:
            continue
        picture = scene.frame(scene.path.halts[0].begin + 6.0)
        near = [
            each
            for each in picture.truth
            if each.label == "car" and each.box.width > 90 and each.visible > 0.9
        ]
        if near:
            return picture, near[-1]
    raise AssertionError("no seed has a car that waits")


def test_a_car_is_found_where_it_is(detector, waiting):
    """The car ahead is found as a Car with a score above 0.45, in a box that overlaps its own by more than 0.7."""
    picture, car = waiting
    found = [each for each in detector.detect(picture.image) if each.label == "Car"]
    best = max(found, key=lambda each: each.box.overlap(car.box))
    assert best.box.overlap(car.box) > 0.7
    assert 0.45 < best.score < 1.0


def test_the_size_of_the_frame_does_not_matter(detector, waiting):
    """The same picture in other sizes has the same car in the same place, in its own pixels."""
    import cv2

    picture, car = waiting
    for size in ((640, 360), (1281, 719), (400, 301)):
        found = detector.detect(cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA))
        across, down = size[0] / 640, size[1] / 360
        wanted = Box(car.box.left * across, car.box.top * down, car.box.right * across, car.box.bottom * down)
        assert max(each.box.overlap(wanted) for each in found) > 0.6, size
        for each in found:
            assert 0 <= each.box.left < each.box.right <= size[0]
            assert 0 <= each.box.top < each.box.bottom <= size[1]


def test_colours_are_given_as_opencv_has_them(detector, waiting):
    """With red and blue exchanged the network is less sure: it gets them in the right order."""
    picture, car = waiting

    def score(image):
        return max(
            (each.score for each in detector.detect(image) if each.box.overlap(car.box) > 0.5), default=0.0
        )

    bright = picture.image.copy()
    assert score(bright) > 0.4
    assert score(np.ascontiguousarray(bright[..., ::-1])) < score(bright) + 0.1


def test_nothing_is_found_where_nothing_is(detector):
    """A black frame, a white one and an empty road have no box."""
    empty = Scene(with_halt(5.0), seed=3, empty=1.0).frame(4.0).image
    for frame in (np.zeros((360, 640, 3), np.uint8), np.full((90, 120, 3), 255, np.uint8), empty):
        assert detector.detect(frame) == []


def test_classes_and_thresholds_can_be_changed(detector, waiting):
    """What is not asked for is not told; thresholds are one for all or by class."""
    picture, _ = waiting
    chosen = Detector()
    assert chosen.classes == ROAD_CLASSES
    before = chosen.detect(picture.image)
    assert all(each.score >= chosen.thresholds[each.label] for each in before)
    chosen.set_threshold(0.1)
    more = chosen.detect(picture.image)
    assert len(more) > len(before)
    assert [each.score for each in more] == sorted((each.score for each in more), reverse=True)
    chosen.classes = ["Person"]
    assert {each.label for each in chosen.detect(picture.image)} <= {"Person"}
    chosen.set_threshold({"Person": 1.0})
    assert chosen.detect(picture.image) == []
    assert repr(chosen) == "Detector(Person 1)"


def test_what_makes_no_sense_is_refused(detector):
    """Unknown classes, thresholds beyond a score, arrays that are no frames: UsageError."""
    chosen = Detector()
    for names in (["Tram"], [], [LABELS[0]]):
        with pytest.raises(UsageError, match="does not know"):
            chosen.classes = names
    for threshold in (0.0, 1.5, {"Car": -1.0}):
        with pytest.raises(UsageError, match="threshold"):
            chosen.set_threshold(threshold)
    with pytest.raises(UsageError, match="does not know 'Tram'"):
        chosen.set_threshold({"Tram": 0.5})
    for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UsageError, match="A frame is"):
            chosen.detect(frame)


def test_another_file_is_no_detector(tmp_path):
    """A file that onnxruntime cannot load is told as data of the user's."""
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be loaded"):
        Detector(tmp_path / "x.onnx")


def truth(label, box, visible=1.0):
    return Truth(label, Box(*box), visible)


def hit(label, box, score=0.8):
    return Detection(label, score, Box(*box))


CAR = (100, 100, 180, 160)


@pytest.mark.parametrize(
    ("found", "there", "right", "false", "recall"),
    [
        ([hit("Car", CAR)], [truth("car", CAR)], 1, 0, (1, 1)),
        ([hit("Vehicle", CAR)], [truth("car", CAR)], 1, 0, (1, 1)),
        ([hit("Car", CAR), hit("Vehicle", CAR)], [truth("car", CAR)], 2, 0, (1, 1)),
        ([hit("Car", CAR), hit("Car", CAR, 0.5)], [truth("car", CAR)], 1, 1, (1, 1)),
        ([hit("Person", CAR)], [truth("car", CAR)], 0, 1, (0, 1)),
        ([hit("Car", (150, 100, 230, 160))], [truth("car", CAR)], 0, 1, (0, 1)),
        ([], [truth("car", CAR)], 0, 0, (0, 1)),
        ([], [truth("car", CAR, 0.4)], 0, 0, (0, 0)),
        ([hit("Car", CAR)], [truth("car", CAR, 0.4)], 1, 0, (0, 0)),
        ([hit("Car", (105, 105, 140, 130))], [truth("car", CAR, 0.4)], 0, 0, (0, 0)),
        ([hit("Car", (300, 100, 330, 130))], [truth("stop sign", CAR)], 0, 1, (0, 0)),
        ([hit("Car", (100, 100, 125, 114))], [truth("car", (110, 100, 135, 114))], 1, 0, (1, 1)),
    ],
)  # fmt: skip
def test_boxes_are_judged(found, there, right, false, recall):
    """Right, false, excused: each case as scoring's text says it."""
    tally = Tally()
    tally.add(found, there)
    assert (tally.right, len(tally.false), tally.recall("car")) == (right, false, recall)
    assert tally.false_per_frame == false
    assert tally.precision == (right / (right + false) if right + false else 1.0)


def test_recall_goes_by_width_and_score():
    """Recall is asked for a range of widths and a score."""
    tally = Tally()
    tally.add([hit("Car", CAR, 0.6)], [truth("car", CAR), truth("car", (300, 100, 340, 130))])
    assert tally.recall("car", 60) == (1, 1)
    assert tally.recall("car", 30, 60) == (0, 1)
    assert tally.recall("car", threshold=0.7) == (0, 2)
