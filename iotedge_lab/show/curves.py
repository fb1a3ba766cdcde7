"""How a detector trades misses for false boxes: precision and recall by threshold, as points and as a curve.

    seen = [(detector.detect(picture.image), picture.truth) for picture in pictures]    # a low threshold
    points = curves.points(seen, label="car", least=30)
    curves.precision_recall(points, chosen=0.4)

The detector runs once, with a threshold so low that it tells nearly everything; each point then keeps what has its
score or more. That gives the same boxes as a run with that threshold would: a box is suppressed by a surer one only.
What is right and what is false is judged by `iotedge_lab.camera.scoring`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.camera.scoring import KINDS, Tally
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show.picture import Picture, figure, picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from iotedge_lab.camera.detector import Detection
    from iotedge_lab.camera.scene import Truth

    Seen = tuple[Sequence[Detection], Sequence[Truth]]

THRESHOLDS: Final = tuple(round(0.05 * step, 2) for step in range(3, 18))
"""0.15 to 0.85 in steps of 0.05."""

_MARKS: Final = 5  # thresholds that stand beside the curve


@dataclass(frozen=True, slots=True)
class Point:
    """What one threshold gives: shares from 0 to 1, and false boxes a frame."""

    threshold: float
    precision: float
    recall: float
    false_per_frame: float

    def __repr__(self) -> str:
        return (
            f"Point(threshold={self.threshold:.2f}, precision={self.precision:.3f}, recall={self.recall:.3f}, "
            f"false_per_frame={self.false_per_frame:.3f})"
        )


def points(
    seen: Iterable[Seen], *, label: str = "car", least: float = 0.0, thresholds: Sequence[float] = THRESHOLDS
) -> list[Point]:
    """A point for each threshold, over detections and truth of many frames.

    label: of the ground truth; the boxes of the classes that stand for it are looked at. least: things are asked for
    from that many pixels of width on; smaller ones may be found or not. Raises `UsageError` for an unknown label,
    `DataError` where not one thing of it is asked for.
    """
    if label not in KINDS:
        raise UsageError(f"there is no label {label!r} to judge; take one of {', '.join(KINDS)}")
    frames = [(list(detections), list(truth)) for detections, truth in seen]
    made = []
    for threshold in thresholds:
        tally = Tally()
        for detections, truth in frames:
            told = (each for each in detections if each.label in KINDS[label] and each.score >= threshold)
            tally.add(told, truth)
        found, asked = tally.recall(label, least)
        if not asked:
            raise DataError(
                f"the frames show no {label} of {least:g} pixels or more; take more frames, or a smaller size"
            )
        made.append(Point(threshold, tally.precision, found / asked, tally.false_per_frame))
    return made


def precision_recall(made: Sequence[Point], *, chosen: float | None = None) -> Picture:
    """Precision over recall, both in percent, some thresholds beside the curve, the chosen one ringed.

    Raises `DataError` for fewer than two points, `UsageError` for a chosen threshold that is none of theirs.
    """
    if len(made) < 2:
        raise DataError("a curve needs two points at least; hand over what curves.points(...) gave")
    ordered = sorted(made, key=lambda each: each.threshold)
    ringed = None
    if chosen is not None:
        ringed = min(ordered, key=lambda each: abs(each.threshold - chosen))
        if abs(ringed.threshold - chosen) > 1e-6:
            raise UsageError(f"no point has the threshold {chosen:g}; the nearest is {ringed.threshold:g}")
    lowest, highest = ordered[0], ordered[-1]
    found = (
        f"a threshold of {lowest.threshold:g} finds {lowest.recall:.0%} at a precision of {lowest.precision:.0%}, "
        f"one of {highest.threshold:g} finds {highest.recall:.0%} at {highest.precision:.0%}."
    )
    with figure(width=6.4, height=3.9) as drawn:
        axes = drawn.subplots()
        recall = [100 * each.recall for each in ordered]
        precision = [100 * each.precision for each in ordered]
        axes.plot(recall, precision, marker="o", markersize=4, linewidth=1.4)
        step = max(1, (len(ordered) - 1) // (_MARKS - 1))
        for each in ordered[::step]:
            axes.annotate(
                f"{each.threshold:g}", (100 * each.recall, 100 * each.precision), xytext=(5, 6),
                textcoords="offset points", fontsize=8, color="0.35",
            )  # fmt: skip
        if ringed is not None:
            axes.plot(
                100 * ringed.recall, 100 * ringed.precision, "o", markersize=13, fillstyle="none",
                color="black", label=f"chosen: {ringed.threshold:g}",
            )  # fmt: skip
            axes.legend(loc="lower left")
            found += f" Ringed: {ringed.threshold:g}, {ringed.recall:.0%} at {ringed.precision:.0%}."
        axes.set(xlabel="recall: share of the things that are found (%)",
                 ylabel="precision: share of the boxes that are right (%)",
                 xlim=(max(0.0, min(recall) - 8), 103), ylim=(max(0.0, min(precision) - 8), 108))  # fmt: skip
        axes.set_title("The number beside a dot is its threshold", fontsize=9.5, loc="left")
        return picture(drawn, f"Curve: precision over recall for {len(ordered)} thresholds; {found}")
