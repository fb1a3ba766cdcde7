"""Textures out of chance: grain and clouds, from whole numbers, so that a seed always gives the same picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from iotedge_lab.camera.libraries import library

cv2 = library("cv2")


def source(seed: int, *stream: int) -> Generator:
    """A stream of chance of its own."""
    return Generator(PCG64(SeedSequence(seed, spawn_key=stream)))


def grain(chance: Generator, rows: int, columns: int, coarse: int) -> Any:
    """Values from -1 to 1 whose lumps are `coarse` pixels wide; it repeats without a seam."""
    high, wide = max(2, rows // coarse), max(2, columns // coarse)
    small = chance.integers(-127, 128, (high, wide), dtype=np.int16).astype(np.float32) / 127.0
    padded = np.pad(small, 2, mode="wrap")
    zoomed = cv2.resize(padded, (round((wide + 4) * columns / wide), round((high + 4) * rows / high)),
                        interpolation=cv2.INTER_CUBIC)  # fmt: skip
    top, left = round(2 * rows / high), round(2 * columns / wide)
    return zoomed[top : top + rows, left : left + columns]


def clouds(chance: Generator, rows: int, columns: int, coarsest: int) -> Any:
    """Grain of halving sizes, heaped up: about -1 to 1."""
    total = np.zeros((rows, columns), np.float32)
    size, weight = coarsest, 0.5
    while size >= 3:
        total += weight * grain(chance, rows, columns, size)
        size //= 2
        weight *= 0.55
    return total
