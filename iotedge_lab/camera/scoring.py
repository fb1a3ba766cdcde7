"""How good a detector is: its boxes against the ground truth of rendered frames.

A box is right where it overlaps a thing of its kind by at least 0.4 (intersection over union), or by 0.2 where the
thing is less than 30 pixels wide, which is one cell of the network's finest grid; each thing is found once. A car is
found as a Car or as a Vehicle, and a van, bus or truck too: the one class contains the other. Asked for is what is
seen clearly: three fifths of it or more. What is hidden more, or smaller than 16 pixels, may be found or not: neither
counts. Every other box is false, a second one of the same class on the same thing too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iotedge_lab.camera.detector import Detection
    from iotedge_lab.camera.scene.truth import Truth

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "car": ("Car", "Vehicle"),
    "vehicle": ("Vehicle", "Car"),
    "person": ("Person",),
    "bicycle": ("Bicycle",),
}
"""Which classes are right for which label of the ground truth."""

RIGHT: Final = 0.4
RIGHT_SMALL: Final = 0.2
SMALL: Final = 30.0
CLEAR: Final = 0.6
LEAST_SIZE: Final = 16.0
WITHIN: Final = 0.5  # of a box that lies in a thing which is not asked for


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was asked for: how wide it is, and how sure the detector was of it; 0 where it missed it."""

    label: str
    width: float
    score: float


@dataclass(slots=True)
class Tally:
    """The count over many frames."""

    frames: int = 0
    things: list[Found] = field(default_factory=list)
    right: int = 0
    """boxes that are right, of what was asked for or not"""
    false: list[Detection] = field(default_factory=list)

    def add(self, detections: Iterable[Detection], truth: Iterable[Truth]) -> None:
        """One frame."""
        known = [each for each in truth if each.label in KINDS]
        best: dict[int, Detection] = {}
        told: dict[int, set[str]] = {}
        self.frames += 1
        for detection in sorted(detections, key=lambda each: -each.score):
            hits = [
                (overlap, number)
                for number, each in enumerate(known)
                if detection.label in KINDS[each.label] and detection.label not in told.get(number, ())
                if (overlap := detection.box.overlap(each.box))
                >= (RIGHT_SMALL if each.box.width < SMALL else RIGHT)
            ]
            if hits:
                _, number = max(hits)
                best.setdefault(number, detection)
                told.setdefault(number, set()).add(detection.label)
                self.right += 1
            elif not any(self._excused(detection, each) for each in known):
                self.false.append(detection)
        for number, each in enumerate(known):
            if _asked(each):
                found = best.get(number)
                self.things.append(Found(each.label, each.box.width, found.score if found else 0.0))

    @staticmethod
    def _excused(detection: Detection, truth: Truth) -> bool:
        """Whether the box lies on a thing that is not asked for."""
        if _asked(truth) or detection.label not in KINDS[truth.label]:
            return False
        return detection.box.common(truth.box) >= WITHIN * detection.box.area

    def recall(
        self, label: str, least: float = 0.0, most: float = float("inf"), threshold: float = 0.0
    ) -> tuple[int, int]:
        """How many things of that label and width were found with that score or more, and how many there are."""
        asked = [each for each in self.things if each.label == label and least <= each.width < most]
        return sum(each.score > 0.0 and each.score >= threshold for each in asked), len(asked)

    @property
    def precision(self) -> float:
        """The share of boxes that are right; 1 without a box."""
        boxes = self.right + len(self.false)
        return self.right / boxes if boxes else 1.0

    @property
    def false_per_frame(self) -> float:
        """How many false boxes a frame has on average."""
        return len(self.false) / self.frames if self.frames else 0.0


def _asked(truth: Truth) -> bool:
    return truth.visible >= CLEAR and max(truth.box.width, truth.box.height) >= LEAST_SIZE
