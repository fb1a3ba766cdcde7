"""Answers to the exercises of notebooks 04 and 06, and what the checks say to each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iotedge_lab.show.exercises import camera_filter, camera_simulator
from iotedge_lab.show.exercises.verdict import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from iotedge_lab.camera.boxes import Box
    from iotedge_lab.camera.detector import Detection
    from iotedge_lab.show.curves import Point

METERED = camera_simulator.check_metered
SECOND = camera_simulator.check_one_a_second
MOUNT = camera_simulator.check_mount
UNPROTECTED = camera_filter.check_unprotected
INSIDE = camera_filter.check_inside
CHOOSE = camera_filter.check_choose


def _first_of_each(key: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    def one_a_second(frames: Sequence[Any]) -> list[Any]:
        kept: dict[Any, Any] = {}
        for frame in frames:
            kept.setdefault(key(frame), frame)
        return list(kept.values())

    return one_a_second


def _last_of_each(frames: Sequence[Any]) -> list[Any]:
    return list({int(frame.seconds): frame for frame in frames}.values())


def _a_second_apart(frames: Sequence[Any]) -> list[Any]:
    kept: list[Any] = []
    for frame in frames:
        if not kept or frame.seconds >= kept[-1].seconds + 1:
            kept.append(frame)
    return kept


def _as_they_come(frames: Iterable[Any]) -> Iterator[Any]:
    last = None
    for frame in frames:
        if int(frame.seconds) != last:
            yield frame
        last = int(frame.seconds)


def _stumbling(frames: Iterable[Any]) -> Iterator[Any]:
    yield from (frame for frame in frames if frame.second)


def _by_number(frames: Sequence[Any]) -> list[Any]:
    starts = [0, *range(1, len(frames))]
    return [frames[at] for at in starts if not at or int(frames[at].seconds) != int(frames[at - 1].seconds)]


def _mount(**changes: Any) -> dict[str, Any]:
    right = {"Type": "bind", "Source": "/srv/camera", "Target": "/app/stream"}
    return {name: value for name, value in (right | changes).items() if value is not None}


def _looking(*classes: Any, keep: Callable[[Detection], bool] = lambda _: True) -> Callable[[Any, Any], Any]:
    def unprotected(detector: Any, frame: Any) -> list[Detection]:
        if classes:
            detector.classes = classes
        return [each for each in detector.detect(frame) if keep(each)]

    return unprotected


def _as_one_text(detector: Any, frame: Any) -> Any:
    detector.classes = "Person"
    return detector.detect(frame)


def _without_looking(detector: Any, _frame: Any) -> list[Detection]:
    detector.classes = ("Person", "Bicycle")
    return []


def _filtered(name: str) -> Callable[[Any, Any], Any]:
    def unprotected(detector: Any, frame: Any) -> Any:
        detector.classes = ["Person", "Bicycle", "Car"]
        return filter(lambda one: getattr(one, name) != "Car", detector.detect(frame))

    return unprotected


def _each_twice(detector: Any, frame: Any) -> Any:
    detector.classes = ("Person", "Bicycle")
    return detector.detect(frame) + detector.detect(frame)


def _middle(box: Box) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def _inside(box: Box, region: Box) -> bool:
    across, down = _middle(box)
    return region.left <= across <= region.right and region.top <= down <= region.bottom


def _across_only(box: Box, region: Box) -> bool:
    return region.left <= _middle(box)[0] <= region.right


def _touching(box: Box, region: Box) -> bool:
    return box.common(region) > 0


def _wholly(box: Box, region: Box) -> bool:
    return box.within(region) == box


def _right_of(box: Box, region: Box) -> bool:
    return _middle(box)[0] >= region.left


def _fixed(box: Box, _region: Box) -> bool:
    across, down = _middle(box)
    return 200 <= across <= 440 and 150 <= down <= 360


def _fixed_right(box: Box, region: Box) -> bool:
    across, down = _middle(box)
    return region.left <= across <= 440 and region.top <= down <= region.bottom


def _fixed_bottom(box: Box, region: Box) -> bool:
    across, down = _middle(box)
    return region.left <= across <= region.right and region.top <= down <= 360


def _at_times(box: Box, region: Box) -> bool | None:
    if _inside(box, region):
        return True
    return None


def _most(points: Sequence[Point], *, limit: float = 0.1) -> float:
    return max(
        (each for each in points if each.false_per_frame <= limit), key=lambda one: one.recall
    ).threshold


CASES: list[tuple[Callable[..., Any], Any, Any, Word, str]] = [
    (METERED, (), lambda size, step: math.ceil(size / step), Word.OK, "count as 2 messages"),
    (METERED, (), lambda size, step: -(-size // step), Word.OK, "count as 2 messages"),
    (METERED, (), lambda size, step: np.int64(-(-size // step)), Word.OK, "count as 2 messages"),
    (METERED, (), lambda size, step: ... // step, Word.NOT_YET, "replace the ..."),
    (METERED, (), lambda size, step: round(size / step), Word.WRONG, "that is 1; a step that has begun"),
    (METERED, (), lambda size, step: [2], Word.WRONG, "a number was expected"),
    (METERED, (), lambda size, step: ..., Word.NOT_YET, "gives nothing back yet"),
    (METERED, (), lambda size, step: size // step, Word.WRONG, "so round up: math.ceil"),
    (METERED, (), lambda size, step: size / step, Word.WRONG, "that is a share"),
    (METERED, (), lambda size, step: step / size, Word.WRONG, "the wrong way round"),
    (METERED, (), lambda size, step: size // step + 1, Word.WRONG, "three whole steps"),
    (METERED, (), lambda size, step: math.ceil(size / 4096), Word.WRONG, "in steps of 512"),
    (METERED, (), lambda size, step: 7, Word.WRONG, "2 messages, not 7"),
    (METERED, (), lambda size, step: "two", Word.WRONG, "a number was expected"),
    (SECOND, (), _first_of_each(lambda frame: int(frame.seconds)), Word.OK, "72 frames became 3"),
    (SECOND, (), _as_they_come, Word.OK, "72 frames became 3"),
    (SECOND, (), _stumbling, Word.WRONG, "'Frame' object has no attribute 'second'"),
    (SECOND, (), _by_number, Word.WRONG, "right for a list, but a video that is being read"),
    (SECOND, (), lambda frames: [np.zeros((2, 2))], Word.WRONG, "not ndarray"),
    (SECOND, (), lambda frames: [], Word.NOT_YET, "no frame is kept yet"),
    (SECOND, (), lambda frames: [...], Word.NOT_YET, "replace the ..."),
    (SECOND, (), lambda frames: frames, Word.WRONG, "those are all 72"),
    (SECOND, (), lambda frames: frames[:1], Word.WRONG, "only the first frame"),
    (SECOND, (), lambda frames: frames[24::24], Word.WRONG, "very first frame is missing"),
    (SECOND, (), _last_of_each, Word.WRONG, "the last frames of each second"),
    (SECOND, (), lambda frames: frames[::36], Word.WRONG, "not 0, 1.5"),
    (SECOND, (), lambda frames: frames[::24], Word.WRONG, "do not count frames"),
    (SECOND, (), _a_second_apart, Word.WRONG, "not 0, 1.2, 4.7"),
    (SECOND, (), lambda frames: [each.seconds for each in frames], Word.WRONG, "the frames themselves"),
    (SECOND, (), lambda frames: 3, Word.WRONG, "a list of frames was expected"),
    (MOUNT, (), _mount(), Word.OK, "for others to read"),
    (MOUNT, (), _mount(Source="/srv/camera/", Target="/app/stream/"), Word.OK, "for others to read"),
    (MOUNT, (), ..., Word.NOT_YET, "write the mount"),
    (MOUNT, (), _mount(Source=...), Word.NOT_YET, "replace the ..."),
    (MOUNT, (), _mount(ReadOnly=False), Word.OK, "for others to read"),
    (MOUNT, (), _mount(Target="..."), Word.NOT_YET, "replace the ..."),
    (MOUNT, (), _mount(ReadOnly=True), Word.WRONG, "with ReadOnly the module cannot write"),
    (MOUNT, (), _mount(Source=Path("/srv/camera")), Word.WRONG, "Source is a text, in quotes"),
    (MOUNT, (), {"HostConfig": {"Mounts": [_mount()]}}, Word.WRONG, "the whole createOptions"),
    (MOUNT, (), _mount(Target="stream"), Word.WRONG, "would refuse it: The mount /srv/camera:stream"),
    (MOUNT, (), [_mount()], Word.WRONG, "without the list"),
    (MOUNT, (), "/srv/camera:/app/stream", Word.WRONG, "of type str"),
    (MOUNT, (), {"type": "bind", "source": "/srv/camera"}, Word.WRONG, "begin with a capital"),
    (MOUNT, (), _mount(Target=None), Word.WRONG, "lacks Target"),
    (MOUNT, (), _mount(Type="volume"), Word.WRONG, "with the type 'bind'"),
    (MOUNT, (), _mount(Source="/app/stream", Target="/srv/camera"), Word.WRONG, "the wrong way round"),
    (MOUNT, (), _mount(Target="/stream"), Word.WRONG, "would refuse it"),
    (MOUNT, (), _mount(Source="srv/camera"), Word.WRONG, "would refuse it"),
    (MOUNT, (), _mount(Target="/app/videos"), Word.WRONG, "its videos go to"),
    (MOUNT, (), _mount(Source="/srv"), Word.WRONG, "it is to be /srv/camera"),
    (UNPROTECTED, (), _looking("Person", "Bicycle"), Word.OK, "cars are not"),
    (
        UNPROTECTED,
        (),
        _looking("Person", "Bicycle", "Car", keep=lambda one: one.label != "Car"),
        Word.OK,
        "are told",
    ),
    (UNPROTECTED, (), _filtered("label"), Word.OK, "are told"),
    (UNPROTECTED, (), _filtered("name"), Word.WRONG, "'Detection' object has no attribute 'name'"),
    (UNPROTECTED, (), _each_twice, Word.WRONG, "more than once"),
    (UNPROTECTED, (), lambda detector, frame: frame, Word.WRONG, "has not looked at the frame"),
    (UNPROTECTED, (), lambda d, frame: [*d.detect(frame), frame], Word.WRONG, "not of type ndarray"),
    (UNPROTECTED, (), _looking(...), Word.NOT_YET, "replace the ..."),
    (UNPROTECTED, (), lambda detector, frame: ..., Word.NOT_YET, "gives nothing back yet"),
    (UNPROTECTED, (), lambda detector, frame: [...], Word.NOT_YET, "replace the ..."),
    (UNPROTECTED, (), _looking(), Word.WRONG, "the answer has Car"),
    (UNPROTECTED, (), _looking("Person"), Word.WRONG, "no Bicycle in the answer"),
    (
        UNPROTECTED,
        (),
        _looking(keep=lambda one: one.label == "Person"),
        Word.WRONG,
        "no Person and no Bicycle",
    ),
    (UNPROTECTED, (), _looking("Person", "Bicycle", keep=lambda one: False), Word.WRONG, "lets it fall"),
    (UNPROTECTED, (), _looking("Person", "Bike"), Word.WRONG, "knows no class 'Bike'"),
    (UNPROTECTED, (), _as_one_text, Word.WRONG, "this is one text"),
    (UNPROTECTED, (), _without_looking, Word.WRONG, "has not looked at the frame"),
    (UNPROTECTED, (), lambda detector, frame: detector.detect("x"), Word.WRONG, "wants the frame"),
    (UNPROTECTED, (), lambda d, frame: [each.label for each in d.detect(frame)], Word.WRONG, "not 'Car'"),
    (UNPROTECTED, (), lambda detector, frame: 2, Word.WRONG, "a list of detections"),
    (INSIDE, (), _inside, Word.OK, "at all four sides"),
    (INSIDE, (), lambda box, region: np.bool_(_inside(box, region)), Word.OK, "at all four sides"),
    (INSIDE, (), _at_times, Word.WRONG, "does each way through it end with return?"),
    (INSIDE, (), _fixed_right, Word.WRONG, "far to the right of"),
    (INSIDE, (), _fixed_bottom, Word.WRONG, "far below"),
    (INSIDE, (), lambda box, region: ..., Word.NOT_YET, "gives nothing back yet"),
    (INSIDE, (), lambda box, region: "yes", Word.WRONG, "True or False was expected"),
    (INSIDE, (), lambda box, region: False, Word.WRONG, "whose centre lies in the region is outside"),
    (INSIDE, (), lambda box, region: True, Word.WRONG, "region.left and region.right"),
    (INSIDE, (), _right_of, Word.WRONG, "region.right is a limit"),
    (INSIDE, (), _across_only, Word.WRONG, "top and bottom"),
    (INSIDE, (), _touching, Word.WRONG, "not an edge"),
    (INSIDE, (), _wholly, Word.WRONG, "not the whole box"),
    (INSIDE, (), _fixed, Word.WRONG, "not for another"),
    (CHOOSE, (), _most, Word.OK, "that finds most"),
    (CHOOSE, (), lambda points: np.float64(_most(points)), Word.OK, "that finds most"),
    (CHOOSE, (), lambda points: _most(points, limit=0.0999), Word.WRONG, "at most is <="),
    (CHOOSE, (), lambda points: 0.4, Word.WRONG, "there you take 0.4, with 0.12 false"),
    (CHOOSE, (), lambda points: 0.06, Word.WRONG, "that is a number of false boxes"),
    (CHOOSE, (), lambda points: ..., Word.NOT_YET, "gives nothing back yet"),
    (CHOOSE, (), lambda points: points[2], Word.WRONG, "that is the whole point"),
    (CHOOSE, (), lambda points: "low", Word.WRONG, "a threshold is a number"),
    (CHOOSE, (), lambda points: 0.93, Word.WRONG, "that is a recall"),
    (CHOOSE, (), lambda points: 0.45, Word.WRONG, "no point has the threshold 0.45"),
    (
        CHOOSE,
        (),
        lambda points: max(points, key=lambda one: one.recall).threshold,
        Word.WRONG,
        "lets 2.0 false",
    ),
    (
        CHOOSE,
        (),
        lambda points: max(points, key=lambda one: one.precision).threshold,
        Word.WRONG,
        "0.4 finds 93%",
    ),
    (CHOOSE, (), lambda points: points[2].threshold, Word.WRONG, "in another order"),
    (CHOOSE, (), lambda points: sorted(each.threshold for each in points)[2], Word.WRONG, "not for another"),
    (CHOOSE, (), lambda points: _most(points, limit=0.2), Word.WRONG, "not for another"),
]
