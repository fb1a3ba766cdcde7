"""The checks of notebook 06, the camera filter: other classes, a region of interest, a threshold from a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.detector import LABELS, ROAD_CLASSES, Detection
from iotedge_lab.show.curves import Point
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, ask_bool, ask_list, check, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

UNPROTECTED: Final = ("Person", "Bicycle")
"""Who has no sheet metal around them."""

MOST_FALSE: Final = 0.1
"""False boxes a frame that a threshold may let through."""


# -- other classes ------------------------------------------------------------------------------------------


class _Detector:
    """Tells what is in its picture, but of the classes that it is asked for only; as the real one does."""

    _seen = ("Car", "Person", "Bicycle", "Vehicle", "Dog")

    def __init__(self) -> None:
        self.looked = 0
        self._classes: tuple[str, ...] = ("Car",)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @classes.setter
    def classes(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise Wrong(f"the classes are several names, such as (..., ...); this is one text, {names!r}")
        chosen: tuple[Any, ...] = tuple(names)
        if ... in chosen:
            raise NotYet("replace the ... in it and run both cells again")
        unknown = [name for name in chosen if name not in LABELS[1:]]
        if unknown:
            raise Wrong(f"the detector knows no class {unknown[0]!r}; of the road it knows {ROAD_CLASSES}")
        self._classes = chosen

    def detect(self, frame: Any) -> list[Detection]:
        if getattr(frame, "ndim", 0) != 3:
            raise Wrong("detect wants the frame that is handed over")
        self.looked += 1
        return [Detection(name, 0.9, Box(0, 0, 9, 9)) for name in self._seen if name in self._classes]


@check
def check_unprotected(unprotected: Callable[[Any, NDArray[np.uint8]], Sequence[Detection]]) -> str:
    """(detector, frame) -> the people and bicycles in the frame, and nothing else."""
    detector = _Detector()
    given = ask_list(unprotected, "detections", detector, np.zeros((36, 64, 3), np.uint8))
    if not detector.looked:
        raise Wrong(
            "the detector that was handed over has not looked at the frame; detector.detect(frame) does"
        )
    strangers = [each for each in given if not isinstance(each, Detection)]
    if strangers:
        raise Wrong(f"detections are wanted as detect gave them, not {_shown(strangers[0])}")
    labels = [each.label for each in given]
    if "Car" in labels or "Vehicle" in labels or "Dog" in labels:
        raise Wrong(f"the answer has {', '.join(sorted(set(labels)))}; people and bicycles are wanted alone")
    missing = [name for name in UNPROTECTED if name not in labels]
    if missing and set(detector.classes) >= set(UNPROTECTED):
        raise Wrong(f"the detector tells {', '.join(missing)}, and your function lets it fall")
    if missing:
        raise Wrong(
            f"no {' and no '.join(missing)} in the answer, though there are some in the picture; the detector tells "
            f"only its classes, and these are {detector.classes}"
        )
    if len(labels) > len(UNPROTECTED):
        raise Wrong("each of them is in the answer more than once; let the detector look once")
    return "people and bicycles are told, and cars are not"


def _shown(stranger: object) -> str:
    return repr(stranger) if isinstance(stranger, str | int | float) else f"of type {type(stranger).__name__}"


# -- a region of interest --------------------------------------------------------------------------------------

_LANE: Final = Box(200, 150, 440, 360)


@check
def check_inside(inside: Callable[[Box, Box], bool]) -> str:
    """(box, region) -> whether the box's centre lies in the region."""
    for words, box, wanted, hint in (
        ("whose centre lies in the region", Box(300, 200, 360, 240), True, ""),
        (
            "far to the left of it",
            Box(0, 200, 60, 240),
            False,
            "; compare the centre with region.left and region.right",
        ),
        ("far to the right of it", Box(560, 200, 630, 240), False, "; region.right is a limit, too"),
        ("above it, in the sky", Box(300, 20, 360, 60), False, "; look at top and bottom as well"),
        ("below it", Box(300, 362, 360, 700), False, "; region.bottom is a limit, too"),
        (
            "that only sticks into it from the left",
            Box(40, 200, 230, 280),
            False,
            "; it is the centre that counts, not an edge",
        ),
        (
            "that sticks out of it, its centre within",
            Box(190, 200, 330, 280),
            True,
            "; it is the centre that counts, not the whole box",
        ),
        (
            "that hangs over its top, its centre within",
            Box(300, 120, 380, 220),
            True,
            "; it is the centre that counts, across with left and right, down with top and bottom",
        ),
    ):
        answer = ask_bool(inside, box, _LANE)
        if answer is not wanted:
            where = "inside" if answer else "outside"
            raise Wrong(f"a box {words} is {where} by your function{hint}")
    moved = Box(0, 0, 100, 100)
    for where, box, wanted in (
        ("in the middle of", Box(40, 40, 60, 60), True),
        ("far to the right of", Box(290, 40, 310, 60), False),
        ("far below", Box(40, 290, 60, 310), False),
    ):
        if ask_bool(inside, box, moved) is not wanted:
            raise Wrong(
                f"right for one region, but not for another: a box {where} {moved} is "
                f"{'outside' if wanted else 'inside'} by your function; take all four limits from region"
            )
    return "boxes count by their centre, at all four sides of the region"


# -- a threshold from a curve -------------------------------------------------------------------------------------

_CURVE: Final = (
    Point(0.2, 0.40, 0.99, 2.0),
    Point(0.3, 0.80, 0.97, 0.3),
    Point(0.4, 0.96, 0.93, 0.06),
    Point(0.5, 0.99, 0.80, 0.01),
    Point(0.6, 1.00, 0.55, 0.0),
)
_STRICT: Final = (
    Point(0.2, 0.60, 0.99, 0.90),
    Point(0.3, 0.90, 0.98, 0.25),
    Point(0.4, 0.95, 0.97, 0.12),
    Point(0.5, 0.98, 0.90, 0.08),
    Point(0.6, 0.97, 0.70, 0.09),
)
_AT_THE_LIMIT: Final = (
    Point(0.2, 0.60, 0.99, 0.90),
    Point(0.3, 0.94, 0.95, MOST_FALSE),
    Point(0.4, 0.97, 0.90, 0.05),
)


@check
def check_choose(choose: Callable[[Sequence[Point]], float]) -> str:
    """(points) -> the threshold with the most recall among those with at most 0.1 false boxes a frame."""
    answer = _threshold(choose, _CURVE)
    by_threshold = {point.threshold: point for point in _CURVE}
    found = by_threshold[answer]
    if found.false_per_frame > MOST_FALSE:
        raise Wrong(
            f"a threshold of {answer} lets {found.false_per_frame} false boxes through in each frame; "
            f"at most {MOST_FALSE} are wanted"
        )
    if answer != 0.4:
        best = by_threshold[0.4]
        raise Wrong(
            f"a threshold of {answer} finds {found.recall:.0%}; {best.threshold} finds {best.recall:.0%}, and its "
            f"{best.false_per_frame} false boxes a frame are few enough"
        )
    if _threshold(choose, (*_CURVE[2:], *_CURVE[:2])) != 0.4:
        raise Wrong("in another order of the points the answer is another; go by their values")
    answer = _threshold(choose, _STRICT)
    if answer != 0.5:
        found = next(point for point in _STRICT if point.threshold == answer)
        raise Wrong(
            f"right for one curve, but not for another: there you take {answer}, with {found.false_per_frame} false "
            f"boxes a frame and {found.recall:.0%} found; 0.5 has 0.08 and 90%. Compare each point's "
            "false_per_frame and recall"
        )
    if _threshold(choose, _AT_THE_LIMIT) != 0.3:
        raise Wrong(f"a point with exactly {MOST_FALSE} false boxes a frame is left out; at most is <=")
    return f"of what stays within {MOST_FALSE} false boxes a frame, the threshold that finds most"


def _threshold(choose: Callable[[Sequence[Point]], float], points: Sequence[Point]) -> float:
    answer = ask(choose, list(points))
    if isinstance(answer, Point):
        raise Wrong("that is the whole point; its threshold is wanted: .threshold")
    if not is_number(answer):
        raise Wrong(f"a threshold is a number, choose gave {answer!r}")
    if answer not in {point.threshold for point in points}:
        hint = "; that is a recall" if answer in {point.recall for point in points} else ""
        if answer in {point.false_per_frame for point in points}:
            hint = "; that is a number of false boxes"
        raise Wrong(f"no point has the threshold {answer:g}{hint}")
    return float(answer)
