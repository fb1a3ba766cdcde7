"""Solid things as meshes: faces with a material, and the shapes that they are built from.

A thing stands at its own origin on the ground: x to its right, y up, z ahead, in metres. Faces have three or four
corners, counter-clockwise when seen from outside.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Point = tuple[float, float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface takes the light. colour: blue, green, red, 0 to 255."""

    colour: Colour
    gloss: float = 0.0
    """0 dull to 1 a mirror"""
    glow: float = 0.0
    """how much of its colour it gives by itself"""
    raised: float = 0.0
    """m by which it is drawn nearer than it is: for what lies flat on another face"""
    thin: bool = False
    """seen from both sides"""


RUBBER: Final = Material((30, 29, 28))
RIM: Final = Material((178, 174, 170), gloss=0.35)
HUB: Final = Material((70, 68, 66))
ARCH: Final = Material((16, 15, 15))
PLASTIC: Final = Material((38, 36, 35), gloss=0.08)
GLASS: Final = Material((22, 20, 18), gloss=0.35)
CHROME: Final = Material((190, 188, 186), gloss=0.6, raised=0.04)
PLATE: Final = Material((240, 240, 240), raised=0.12)


@dataclass(slots=True)
class Mesh:
    """Faces that are added one by one, and made into arrays once."""

    _corners: list[tuple[Point, Point, Point, Point]] = field(default_factory=list)
    _materials: list[Material] = field(default_factory=list)
    plates: list[tuple[Point, Point, Point, Point]] = field(default_factory=list)
    """licence plates: top left, top right, bottom right, bottom left as a reader sees them"""
    below: int = 0
    """how many of the first faces are the bicycle below a rider"""

    def face(self, material: Material, *corners: Point) -> None:
        """A face of three or four corners."""
        first, second, third = corners[:3]
        self._corners.append((first, second, third, corners[3] if len(corners) > 3 else third))
        self._materials.append(material)

    def box(self, material: Material, low: Point, high: Point) -> None:
        """A box between two corners, without its bottom."""
        (a, b, c), (x, y, z) = low, high
        self.face(material, (a, b, c), (a, y, c), (x, y, c), (x, b, c))
        self.face(material, (x, b, z), (x, y, z), (a, y, z), (a, b, z))
        self.face(material, (a, b, z), (a, y, z), (a, y, c), (a, b, c))
        self.face(material, (x, b, c), (x, y, c), (x, y, z), (x, b, z))
        self.face(material, (a, y, c), (a, y, z), (x, y, z), (x, y, c))

    def tube(
        self, material: Material, ends: tuple[Point, Point], radii: tuple[float, float], sides: int = 7
    ) -> None:
        """A limb, a pole: a cone between two points, closed at its far end."""
        begin, end = np.array(ends[0]), np.array(ends[1])
        axis = end - begin
        length = float(np.linalg.norm(axis)) or 1.0
        axis = axis / length
        helper = np.array((0.0, 0.0, 1.0)) if abs(axis[2]) < 0.9 else np.array((1.0, 0.0, 0.0))
        right = np.cross(axis, helper)
        right = right / np.linalg.norm(right)
        up = np.cross(axis, right)
        rings = []
        for centre, radius in ((begin, radii[0]), (end, radii[1])):
            turn = [2.0 * math.pi * each / sides for each in range(sides)]
            rings.append([_point(centre + radius * (math.cos(a) * right + math.sin(a) * up)) for a in turn])
        for each in range(sides):
            other = (each + 1) % sides
            self.face(material, rings[0][each], rings[1][each], rings[1][other], rings[0][other])
            self.face(material, rings[1][each], _point(end), rings[1][other])

    def ball(self, material: Material, centre: Point, radii: Point, rows: int = 6, sides: int = 9) -> None:
        """An ellipsoid."""
        rings: list[list[Point]] = []
        for row in range(rows + 1):
            tilt = math.pi * row / rows
            rings.append(
                [
                    (
                        centre[0] + radii[0] * math.sin(tilt) * math.cos(2.0 * math.pi * each / sides),
                        centre[1] + radii[1] * math.cos(tilt),
                        centre[2] + radii[2] * math.sin(tilt) * math.sin(2.0 * math.pi * each / sides),
                    )
                    for each in range(sides)
                ]
            )
        for upper, lower in itertools.pairwise(rings):
            for each in range(sides):
                other = (each + 1) % sides
                self.face(material, upper[each], upper[other], lower[other], lower[each])

    def disc(self, material: Material, centre: Point, radius: float, side: int, hole: float = 0.0) -> None:
        """A disc, or a ring, that faces left (side -1) or right (1)."""
        count = 16
        for each in range(count):
            first, second = (2.0 * math.pi * n / count for n in (each, each + 1))
            corners = [
                (centre[0], centre[1] + r * math.sin(a), centre[2] + r * math.cos(a))
                for r, a in ((hole, first), (radius, first), (radius, second), (hole, second))
            ]
            self.face(material, *(corners if side < 0 else corners[::-1]))

    def __len__(self) -> int:
        return len(self._materials)

    def arrays(self) -> tuple[NDArray[np.float32], list[Material]]:
        """Corners (faces x 4 x 3), and each face's material."""
        return np.array(self._corners, np.float32).reshape(-1, 4, 3), list(self._materials)


def _point(values: NDArray[np.float64]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])


def loft(
    mesh: Mesh, rings: Sequence[Sequence[Point]], material: Sequence[Sequence[Material]], close: bool
) -> None:
    """A skin over rings of points, from the rear to the front; `material[ring][strip]` is the one of each face.

    The rings run from the right side's lowest point over the top to its mirror image; `close` covers the ends.
    """
    for number, (rear, front) in enumerate(itertools.pairwise(rings)):
        for strip in range(len(rear) - 1):
            mesh.face(material[number][strip], rear[strip], rear[strip + 1], front[strip + 1], front[strip])
    if close:
        for ring, chosen, turned in ((rings[0], material[0], False), (rings[-1], material[-1], True)):
            half = len(ring) // 2
            for strip in range(half):
                right, left = (strip, strip + 1), (len(ring) - 2 - strip, len(ring) - 1 - strip)
                corners = [ring[right[0]], ring[left[1]], ring[left[0]], ring[right[1]]]
                mesh.face(chosen[strip], *(corners[::-1] if turned else corners))
