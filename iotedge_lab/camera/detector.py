"""The detector: what is in a frame, found by a pretrained network (`model` says which) in onnxruntime.

One session, one thread, one frame at a time: a device at the edge has other things to do. Of the 24 classes the
camera wants four; among them is no sign and no plate. A frame of any size is stretched to the network's
300 x 300, as MediaPipe's own graph does it, and boxes come back in the frame's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.boxes import Box, anchors, decode, suppress
from iotedge_lab.camera.conversion import BOXES, IMAGE, SCORES
from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.model import checked_model
from iotedge_lab.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]

LABELS: Final = (
    "???", "Bicycle", "Boot", "Laptop", "Person", "Chair", "Cattle", "Desk", "Cat", "Computer mouse",
    "Computer monitor", "Box", "Mug", "Coffee cup", "Stationary bicycle", "Table", "Bottle", "High heels",
    "Vehicle", "Footwear", "Dog", "Book", "Camera", "Car",
)  # fmt: skip
"""The network's classes in its order; the first is the background, and never reported."""

ROAD_CLASSES: Final = ("Car", "Vehicle", "Person", "Bicycle")
"""What matters on a road."""

SIZE: Final = 300
THRESHOLDS: Final[Mapping[str, float]] = {"Car": 0.385, "Vehicle": 0.33, "Person": 0.35, "Bicycle": 0.25}
"""The least score that is told, by class: chosen on rendered roads by recall and false boxes."""
OTHERS: Final = 0.5  # for the classes that are on no road
DOUBLE: Final = 0.4  # boxes of one class that overlap by more are one thing
SMALLEST: Final = 0.025  # of the frame's width: what is smaller is half a cell of the network's finest grid
OURSELVES: Final = 0.7  # of the frame: a larger box is the car that the camera is in


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing that was found; `score` is the network's, 0 to 1."""

    label: str
    score: float
    box: Box


class Detector:
    """The network, loaded. `Detector()` takes what `iotedge-lab models fetch` brought.

    classes: names out of `LABELS`; threshold: the least score that is told, one for all or by class (those left out
    keep theirs). Both may be changed at any time.
    Raises EnvironmentProblem where model or onnxruntime is missing, DataError for a file that is another.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        classes: Iterable[str] = ROAD_CLASSES,
        threshold: float | Mapping[str, float] = THRESHOLDS,
    ) -> None:
        runtime = library("onnxruntime")
        path = checked_model() if model is None else model
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one class an error, and none in common but this
            raise DataError(f"{path} cannot be loaded as an ONNX model: {error}") from error
        self._resize = library("cv2")
        self._anchors = anchors()
        self._thresholds = [THRESHOLDS.get(name, OTHERS) for name in LABELS]
        self.classes = classes
        self.set_threshold(threshold)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are told."""
        return tuple(LABELS[each] for each in self._wanted)

    @classes.setter
    def classes(self, names: Iterable[str]) -> None:
        chosen = list(dict.fromkeys(names))
        unknown = [name for name in chosen if name not in LABELS[1:]]
        if unknown or not chosen:
            raise UsageError(
                f"The detector does not know {', '.join(map(repr, unknown)) or 'no class at all'}; "
                f"name some of {', '.join(LABELS[1:])}."
            )
        self._wanted = [LABELS.index(name) for name in chosen]

    @property
    def thresholds(self) -> dict[str, float]:
        """The least score that is told, by class."""
        return {LABELS[each]: self._thresholds[each] for each in self._wanted}

    def set_threshold(self, threshold: float | Mapping[str, float]) -> None:
        """One for all classes, or some by their names. Raises UsageError for what is no score, or no class."""
        wanted = (
            dict.fromkeys(LABELS[1:], float(threshold))
            if isinstance(threshold, float | int)
            else dict(threshold)
        )
        for name, score in wanted.items():
            if name not in LABELS[1:]:
                raise UsageError(
                    f"The detector does not know {name!r}; name some of {', '.join(LABELS[1:])}."
                )
            if not 0.0 < score <= 1.0:
                raise UsageError(f"A threshold lies above 0 and up to 1, not at {score} ({name}).")
        for name, score in wanted.items():
            self._thresholds[LABELS.index(name)] = score

    def detect(self, frame: Frame) -> list[Detection]:
        """What is in the frame (rows x columns x 3, bytes, in OpenCV's order BGR), the surest first.

        Raises UsageError for another kind of array.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
            raise UsageError(
                f"A frame is an array of bytes, rows x columns x 3 (BGR), not {frame.dtype} {frame.shape}."
            )
        encodings, scores = self._infer(frame)
        found: list[Detection] = []
        height, width = frame.shape[:2]
        for number in self._wanted:
            sure = np.flatnonzero(scores[:, number] >= self._thresholds[number])
            if not len(sure):
                continue
            chosen = scores[sure, number]
            # Clipped first: two boxes that differ only beyond the frame's edge are one.
            edges = np.clip(decode(encodings[sure], self._anchors[sure]), 0.0, 1.0)
            for kept in suppress(edges, chosen, DOUBLE):
                left, top, right, bottom = (float(each) for each in edges[kept])
                box = Box(left * width, top * height, right * width, bottom * height)
                if box.area <= OURSELVES * width * height and max(box.width, box.height) >= SMALLEST * width:
                    found.append(Detection(LABELS[number], float(chosen[kept]), box))
        return sorted(found, key=lambda each: -each.score)

    def _infer(self, frame: Frame) -> tuple[Any, Any]:
        cv2 = self._resize
        shrunk = cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        picture = cv2.cvtColor(shrunk, cv2.COLOR_BGR2RGB)[np.newaxis]
        encodings, scores = self._session.run([BOXES, SCORES], {IMAGE: picture})
        return encodings[0], scores[0]

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {score:g}" for name, score in self.thresholds.items())
        return f"Detector({told})"
