"""Boxes: what one is, how two overlap, and how the detector's raw numbers become some.

The anchors, the box coding and the suppression of doubles are those of the TensorFlow Object Detection API's SSD
(ssd_anchor_generator: 6 layers, scales 0.2 to 0.95, ratios 1, 2, 1/2, 3, 1/3, fewer in the lowest layer; coder
scales 10, 10, 5, 5), with the values in MediaPipe's graph for this model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYERS: Final = (19, 10, 5, 3, 2, 1)  # cells a side
LEAST_SCALE, MOST_SCALE = 0.2, 0.95
RATIOS: Final = (1.0, 2.0, 0.5, 3.0, 1.0 / 3.0)
CENTRE_SCALE, SIZE_SCALE = 10.0, 5.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: left and top are within it, right and bottom just outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """In square pixels; never below 0."""
        return max(0.0, self.width) * max(0.0, self.height)

    def common(self, other: Box) -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        common = self.common(other)
        union = self.area + other.area - common
        return common / union if union > 0.0 else 0.0

    def within(self, other: Box) -> Box:
        """The part of this box that lies in the other one; empty where they do not meet."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, max(left, right), max(top, bottom))

    def rounded(self) -> tuple[int, int, int, int]:
        """Whole pixels, for JSON and for drawing."""
        return round(self.left), round(self.top), round(self.right), round(self.bottom)


def scaled(box: Box, scale: float) -> Box:
    """The box in a picture that is so many times as large."""
    return Box(box.left * scale, box.top * scale, box.right * scale, box.bottom * scale)


def anchors() -> NDArray[np.float32]:
    """The 1,917 anchors, rows of centre y, centre x, height, width, as shares of the picture."""
    steps = len(LAYERS)
    scales = [LEAST_SCALE + (MOST_SCALE - LEAST_SCALE) * each / (steps - 1) for each in range(steps)] + [1.0]
    rows = []
    for layer, cells in enumerate(LAYERS):
        if layer == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[layer], ratio) for ratio in RATIOS]
            shapes.append((math.sqrt(scales[layer] * scales[layer + 1]), 1.0))
        for row in range(cells):
            for column in range(cells):
                for scale, ratio in shapes:
                    root = math.sqrt(ratio)
                    rows.append(((row + 0.5) / cells, (column + 0.5) / cells, scale / root, scale * root))
    return np.array(rows, np.float32)


def decode(encodings: NDArray[np.float32], around: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of left, top, right, bottom, as shares of the picture, from encodings relative to anchors."""
    centre_y = encodings[:, 0] / CENTRE_SCALE * around[:, 2] + around[:, 0]
    centre_x = encodings[:, 1] / CENTRE_SCALE * around[:, 3] + around[:, 1]
    # No anchor grows by more than e^4: an exponent beyond it is noise, and would overflow.
    half_height = 0.5 * np.exp(np.minimum(encodings[:, 2] / SIZE_SCALE, 4.0)) * around[:, 2]
    half_width = 0.5 * np.exp(np.minimum(encodings[:, 3] / SIZE_SCALE, 4.0)) * around[:, 3]
    edges = (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
    return np.stack(edges, axis=1).astype(np.float32, copy=False)


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], most_overlap: float) -> list[int]:
    """The indices that stay, best first, when what overlaps a better one by more than that is left out."""
    order = np.argsort(-scores, kind="stable")
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0.0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0.0)
    kept: list[int] = []
    while len(order):
        best, others = int(order[0]), order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[others, :2])
        opposite = np.minimum(boxes[best, 2:], boxes[others, 2:])
        common = np.prod(np.maximum(opposite - corner, 0.0), axis=1)
        union = areas[best] + areas[others] - common
        order = others[common <= most_overlap * union]
    return kept
