"""Motion first: whether a frame differs from the last one that somebody looked at, and where.

The cheapest filter there is: shrink, make grey, subtract, count (a third of a millisecond, where the detector takes
25). It is worth what the camera's own rest is worth. While the car stands nothing moves but what is of interest, and
frames without motion need no detector: what was found before is there still. While the car drives the whole picture
scrolls, each frame has motion, and this filter holds nothing back. The comparison is with the last frame that was
looked at, not with the one before, so that what creeps adds up until it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.libraries import library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]

cv2 = library("cv2")

WIDTH: Final = 160  # pixels to which a frame is shrunk: finer would see the codec's own noise
STEP: Final = 16  # levels of grey out of 256 by which a pixel has changed
LEAST: Final = 0.0005  # of the picture's pixels, to be motion: 7 of 160 x 90
_SPECK: Final = np.ones((2, 2), np.uint8)


@dataclass(frozen=True, slots=True)
class Change:
    """How a frame differs from the one that it was compared with."""

    share: float
    """of the picture's pixels, 0 to 1; 1 where there was nothing to compare with"""
    mask: NDArray[np.uint8]
    """1 where the shrunk picture has changed"""
    width: int
    height: int

    def around(self, region: Sequence[float] = (0.0, 0.0, 1.0, 1.0)) -> tuple[Box, float] | None:
        """The box around all that has changed within a region, and the share of the region that did; None: nothing.

        The region's left, top, right and bottom are shares of the frame; the box is in the frame's pixels.
        """
        rows, columns = self.mask.shape
        left, right = round(region[0] * columns), round(region[2] * columns)
        top, bottom = round(region[1] * rows), round(region[3] * rows)
        part = self.mask[top:bottom, left:right]
        if not part.any():
            return None
        wide, high = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
        across, down = self.width / columns, self.height / rows
        box = Box(
            (left + int(wide[0])) * across, (top + int(high[0])) * down,
            (left + int(wide[-1]) + 1) * across, (top + int(high[-1]) + 1) * down,
        )  # fmt: skip
        return box, float(part.mean())


class Motion:
    """Compares frames. `least`: the share of the picture that has to change; 0 lets every frame through."""

    def __init__(self, least: float = LEAST) -> None:
        self.least = least
        self._kept: NDArray[np.uint8] | None = None
        self._seen: NDArray[np.uint8] | None = None

    def compare(self, frame: Frame) -> Change:
        """The frame against the one that was kept; frames of another size differ everywhere."""
        rows, columns = frame.shape[:2]
        size = (WIDTH, max(1, round(rows * WIDTH / columns)))
        self._seen = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        if self._kept is None or self._kept.shape != self._seen.shape:
            return Change(1.0, np.ones(self._seen.shape, np.uint8), columns, rows)
        _, mask = cv2.threshold(cv2.absdiff(self._seen, self._kept), STEP, 1, cv2.THRESH_BINARY)
        # A single pixel is noise. The anchors of a 2 x 2 opening have to be opposite, or what stays is moved.
        mask = cv2.dilate(cv2.erode(mask, _SPECK, anchor=(0, 0)), _SPECK, anchor=(1, 1))
        return Change(float(cv2.countNonZero(mask)) / mask.size, mask, columns, rows)

    def moved(self, change: Change) -> bool:
        """Whether that is enough to look."""
        return change.share >= self.least

    def keep(self) -> None:
        """The frame that was compared last is looked at: the next ones are compared with it."""
        self._kept = self._seen

    def forget(self) -> None:
        """Another video begins."""
        self._kept = None
