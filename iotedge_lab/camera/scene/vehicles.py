"""Cars, vans, buses and trucks as meshes.

A body is a skin over cross-sections: half width, belt line and roof along its length. Windows are where the roof
stands above the belt. No model is any maker's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.camera.scene.mesh import (
    ARCH,
    CHROME,
    GLASS,
    HUB,
    PLASTIC,
    PLATE,
    RIM,
    RUBBER,
    Colour,
    Material,
    Mesh,
    Point,
    loft,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_TREAD: Final = Material(
    RUBBER.colour, raised=-4.0, thin=True
)  # painted first: the body hides its upper part
_DECAL: Final = 0.7  # m: what lies on the ends of a car, whose middle is nearer than their sides
_FLAT: Final = 2.5  # m: what lies on the large sides of a bus, whose middle is far from their ends

PLATE_SIZE: Final = (0.42, 0.17)  # m: between an American and a European one, so that it can be read


@dataclass(frozen=True, slots=True)
class Body:
    """The outline of a vehicle; stations from the rear to the front: z, half width, belt, roof, roof half width.

    rear_lights: lowest and highest; plate: the rear plate's middle height; rear_glass_from, windscreen_from: the
    stations' z between which the top is glass are found by themselves.
    """

    label: str
    stations: tuple[tuple[float, float, float, float, float], ...]
    sill: float
    wheel: float
    """radius"""
    axles: tuple[float, ...]
    rear_lights: tuple[float, float]
    front_lights: tuple[float, float]
    plate: float
    pillars: tuple[float, ...]
    windows_from: float = -9.0
    """z behind which the sides have none"""


_SEDAN: Final = (
    (-2.32, 0.78, 0.93, 0.93, 0.72), (-2.26, 0.84, 1.03, 1.03, 0.76), (-1.80, 0.89, 1.06, 1.06, 0.80),
    (-1.62, 0.90, 1.05, 1.08, 0.80), (-0.92, 0.91, 1.01, 1.40, 0.60), (-0.35, 0.91, 0.98, 1.46, 0.61),
    (0.30, 0.91, 0.96, 1.44, 0.60), (0.55, 0.91, 0.955, 1.38, 0.62), (1.22, 0.90, 0.95, 0.97, 0.80),
    (1.75, 0.88, 0.88, 0.88, 0.78), (2.15, 0.84, 0.78, 0.78, 0.72), (2.32, 0.74, 0.66, 0.66, 0.62),
)  # fmt: skip
_HATCH: Final = (
    (-2.00, 0.78, 1.00, 1.02, 0.70), (-1.95, 0.84, 1.03, 1.06, 0.72), (-1.72, 0.87, 1.03, 1.42, 0.60),
    (-1.50, 0.88, 1.02, 1.49, 0.60), (-0.40, 0.89, 0.99, 1.54, 0.62), (0.25, 0.89, 0.97, 1.52, 0.61),
    (0.45, 0.89, 0.96, 1.46, 0.63), (1.15, 0.88, 0.96, 0.99, 0.78), (1.55, 0.86, 0.90, 0.90, 0.76),
    (1.88, 0.82, 0.80, 0.80, 0.70), (2.02, 0.72, 0.68, 0.68, 0.60),
)  # fmt: skip
_SUV: Final = (
    (-2.30, 0.84, 1.10, 1.13, 0.74), (-2.25, 0.90, 1.14, 1.18, 0.76), (-2.06, 0.93, 1.15, 1.58, 0.66),
    (-1.85, 0.94, 1.15, 1.68, 0.67), (-0.50, 0.95, 1.12, 1.73, 0.69), (0.30, 0.95, 1.10, 1.71, 0.68),
    (0.50, 0.95, 1.09, 1.64, 0.70), (1.12, 0.94, 1.09, 1.12, 0.82), (1.60, 0.92, 1.04, 1.04, 0.82),
    (2.10, 0.90, 0.96, 0.96, 0.78), (2.30, 0.82, 0.82, 0.82, 0.70),
)  # fmt: skip
_PICKUP: Final = (
    (-2.75, 0.92, 1.12, 1.12, 0.84), (-2.70, 0.96, 1.15, 1.15, 0.86), (-0.95, 0.97, 1.16, 1.16, 0.86),
    (-0.90, 0.97, 1.16, 1.20, 0.84), (-0.70, 0.97, 1.16, 1.74, 0.68), (-0.40, 0.97, 1.16, 1.80, 0.69),
    (0.50, 0.97, 1.13, 1.78, 0.68), (0.75, 0.97, 1.12, 1.70, 0.70), (1.35, 0.96, 1.12, 1.15, 0.84),
    (2.10, 0.95, 1.08, 1.08, 0.84), (2.65, 0.92, 0.98, 0.98, 0.80), (2.80, 0.86, 0.80, 0.80, 0.74),
)  # fmt: skip
_VAN: Final = (
    (-2.60, 0.92, 1.15, 2.20, 0.84), (-2.55, 0.97, 1.15, 2.32, 0.86), (-1.50, 0.98, 1.15, 2.36, 0.88),
    (0.60, 0.98, 1.14, 2.36, 0.88), (1.10, 0.98, 1.12, 2.26, 0.84), (1.85, 0.97, 1.12, 1.22, 0.84),
    (2.40, 0.94, 1.00, 1.00, 0.82), (2.62, 0.86, 0.78, 0.78, 0.74),
)  # fmt: skip

BODIES: Final[Mapping[str, Body]] = {
    "sedan": Body("car", _SEDAN, 0.24, 0.33, (-1.38, 1.42), (0.70, 0.92), (0.55, 0.72), 0.60, (-0.30,)),
    "hatchback": Body(
        "car", _HATCH, 0.25, 0.32, (-1.25, 1.28), (0.76, 1.00), (0.58, 0.74), 0.66, (-0.25, -1.1)
    ),
    "suv": Body("car", _SUV, 0.32, 0.38, (-1.40, 1.42), (0.86, 1.10), (0.72, 0.90), 0.78, (-0.25, -1.3)),
    "pickup": Body("car", _PICKUP, 0.38, 0.41, (-1.75, 1.80), (0.78, 1.10), (0.76, 0.94), 0.62, (-0.05,)),
    "van": Body("vehicle", _VAN, 0.30, 0.36, (-1.65, 1.75), (0.85, 1.30), (0.70, 0.92), 0.62, (0.35,), 0.35),
}
CAR_BODIES: Final = ("sedan", "hatchback", "suv", "pickup")
VEHICLE_BODIES: Final = ("van", "bus", "truck")

PAINTS: Final[Mapping[str, Colour]] = {
    "white": (232, 234, 236), "silver": (186, 184, 180), "grey": (132, 130, 126), "black": (34, 32, 32),
    "red": (44, 36, 176), "blue": (150, 84, 36), "navy": (112, 64, 34), "green": (74, 110, 52),
    "beige": (150, 178, 196), "orange": (40, 108, 216),
}  # fmt: skip


@lru_cache(maxsize=256)
def vehicle(body: str, paint: str, lights: bool, braking: bool) -> Mesh:
    """The mesh of a vehicle. lights: head and tail lamps burn; braking: the brake lamps do."""
    colour = Material(PAINTS[paint], gloss=0.42)
    tail = Material((24, 20, 205) if braking or lights else (26, 22, 160), raised=_DECAL,
                    glow=1.25 if braking else 0.95 if lights else 0.6, gloss=0.1)  # fmt: skip
    head = Material(
        (250, 252, 255) if lights else (214, 218, 220), raised=_DECAL, glow=1.0 if lights else 0.2, gloss=0.5
    )
    if body == "bus":
        return _bus(colour, tail, head)
    if body == "truck":
        return _truck(colour, tail, head)
    return _car(BODIES[body], colour, tail, head)


def _car(body: Body, paint: Material, tail: Material, head: Material) -> Mesh:
    mesh = Mesh()
    z, half, belt, roof, top = (np.array(each) for each in zip(*body.stations, strict=True))
    fine = np.unique(np.concatenate([z, np.linspace(z[0], z[-1], 22)]))
    values = [np.interp(fine, z, each) for each in (half, belt, roof, top)]
    rings, materials = [], []
    stations = list(zip(fine.tolist(), *(each.tolist() for each in values), strict=True))
    for at, wide, line, high, narrow in stations:
        rings.append(_ring(at, wide, line, high, narrow, sill=body.sill))
    for (at, _, line, high, _), (_, _, next_line, next_high, _) in itertools.pairwise(stations):
        cabin = high - line > 0.12 or next_high - next_line > 0.12
        sloping = abs(next_high - high) > 0.025 and cabin
        slope = sloping and at > body.windows_from - 3.0 and max(high, next_high) - min(line, next_line) > 0.1
        materials.append(_strips(paint, cabin and at >= body.windows_from, slope))
    loft(mesh, rings, materials, close=True)
    rear, front = body.stations[0], body.stations[-1]
    _lamps(mesh, body, tail, head)
    _plate(mesh, body.plate, rear[0] - 0.03, -1)
    _plate(mesh, 0.46, front[0] + 0.03, 1)
    _bumpers(mesh, body)
    if rear[3] - rear[2] > 0.5:  # the rear of a van is upright and has its windows in it
        for side in (-1, 1):
            inner, outer = side * 0.06, side * (rear[4] - 0.08)
            _upright(mesh, GLASS, (inner, outer), (rear[2] + 0.16, rear[3] - 0.22), rear[0] - 0.015, _DECAL)
    for at in body.pillars:
        _pillar(mesh, body, at)
    for axle in body.axles:
        wide = float(np.interp(axle, z, half))
        for side in (-1, 1):
            _wheel(mesh, side, wide, axle, body.wheel)
    _mirrors(mesh, body, paint)
    return mesh


def _ring(z: float, half: float, belt: float, roof: float, top: float, *, sill: float) -> list[Point]:
    """A cross-section, from the right side's lowest point over the roof to the left side's."""
    middle = 0.5 * (sill + belt)
    right = [
        (half * 0.90, sill), (half * 0.985, sill + 0.3 * (belt - sill)), (half, middle),
        (half * 0.985, belt - 0.05), (half * 0.95, belt),
    ]  # fmt: skip
    glass = max(0.0, roof - belt)
    upper = [(half * 0.95 + (top - half * 0.95) * share, belt + (glass - 0.04) * share if glass > 0.06 else belt)
             for share in (0.5, 0.92)]  # fmt: skip
    crown = [(top * 0.88, roof), (top * 0.5, roof + 0.02), (0.0, roof + 0.03)]
    points = [*right, *upper, *crown]
    return [(x, y, z) for x, y in points] + [(-x, y, z) for x, y in reversed(points[:-1])]


def _strips(paint: Material, cabin: bool, sloping: bool) -> list[Material]:
    """Materials of one slice, from sill to roof and down again."""
    side = GLASS if cabin else paint
    over = GLASS if sloping else paint
    half = [PLASTIC, paint, paint, paint, side, side, paint, over, over]
    return half + half[::-1]


def _upright(  # noqa: PLR0917 - called with what stands in one line
    mesh: Mesh,
    material: Material,
    xs: tuple[float, float],
    ys: tuple[float, float],
    z: float,
    raised: float = 0.0,
) -> None:
    """A rectangle that looks to the rear where z is below 0, else to the front."""
    chosen = Material(material.colour, material.gloss, material.glow, max(material.raised, raised))
    (a, b), (c, d) = sorted(xs), ys
    corners = [(a, c, z), (a, d, z), (b, d, z), (b, c, z)]
    mesh.face(chosen, *(corners if z < 0 else corners[::-1]))


def _lamps(mesh: Mesh, body: Body, tail: Material, head: Material) -> None:
    rear, front = body.stations[0], body.stations[-1]
    for side in (-1, 1):
        _upright(mesh, tail, (side * rear[1] * 0.62, side * rear[1] * 1.0), body.rear_lights, rear[0] - 0.02)
        low, high = body.rear_lights
        x, back = side * body.stations[1][1] * 1.005, body.stations[1][0]
        corners = [
            (x, low, back + 0.16),
            (x, high, back + 0.1),
            (x, high, back - 0.04),
            (x, low, back - 0.04),
        ]
        mesh.face(tail, *(corners if side < 0 else corners[::-1]))
        _upright(
            mesh, head, (side * front[1] * 0.60, side * front[1] * 1.02), body.front_lights, front[0] + 0.02
        )
        x, ahead = side * body.stations[-2][1] * 1.005, body.stations[-2][0]
        low, high = body.front_lights
        corners = [
            (x, low, ahead + 0.1),
            (x, high, ahead + 0.04),
            (x, high, ahead - 0.12),
            (x, low, ahead - 0.05),
        ]
        mesh.face(head, *(corners if side < 0 else corners[::-1]))
    low, high = body.front_lights
    wide = front[1] * 0.55
    _upright(mesh, ARCH, (-wide, wide), (low - 0.03, high - 0.03), front[0] + 0.02, _DECAL)
    _upright(mesh, CHROME, (-wide, wide), (high - 0.03, high), front[0] + 0.02, _DECAL + 0.02)


def _bumpers(mesh: Mesh, body: Body) -> None:
    rear, front = body.stations[0], body.stations[-1]
    _upright(
        mesh,
        PLASTIC,
        (-rear[1] * 0.96, rear[1] * 0.96),
        (body.sill, body.sill + 0.16),
        rear[0] - 0.02,
        _DECAL - 0.02,
    )
    _upright(
        mesh,
        PLASTIC,
        (-front[1] * 0.9, front[1] * 0.9),
        (body.sill, body.sill + 0.13),
        front[0] + 0.02,
        _DECAL - 0.02,
    )


def _plate(mesh: Mesh, height: float, z: float, facing: int) -> None:
    wide, high = PLATE_SIZE[0] / 2, PLATE_SIZE[1] / 2
    _upright(mesh, PLATE, (-wide, wide), (height - high, height + high), z, _DECAL + 0.05)
    left = -wide if facing < 0 else wide
    mesh.plates.append(
        (
            (left, height + high, z),
            (-left, height + high, z),
            (-left, height - high, z),
            (left, height - high, z),
        )
    )


def _pillar(mesh: Mesh, body: Body, at: float) -> None:
    """A dark post between two side windows."""
    z, half, belt, roof, top = (np.array(each) for each in zip(*body.stations, strict=True))
    wide, low, high, narrow = (float(np.interp(at, z, each)) for each in (half, belt, roof, top))
    post = Material((20, 20, 20), raised=0.08)
    for side in (-1, 1):
        x, inner = side * wide * 0.955, side * (wide * 0.95 + (narrow - wide * 0.95) * 0.92 + 0.01)
        corners = [(x, low, at + 0.035), (inner, high - 0.04, at + 0.035),
                   (inner, high - 0.04, at - 0.035), (x, low, at - 0.035)]  # fmt: skip
        mesh.face(post, *(corners if side < 0 else corners[::-1]))
        line = Material((26, 26, 26), raised=0.05)
        x = side * wide * 1.003
        for edge in (each for each in (at, at - 1.0) if each > z[0] + 0.7):
            corners = [
                (x, 0.4, edge + 0.008),
                (x, low, edge + 0.008),
                (x, low, edge - 0.008),
                (x, 0.4, edge - 0.008),
            ]
            mesh.face(line, *(corners if side < 0 else corners[::-1]))


def _mirrors(mesh: Mesh, body: Body, paint: Material) -> None:
    z, half, belt = (np.array(each) for each in list(zip(*body.stations, strict=True))[:3])
    windscreen = max(each[0] for each in body.stations if each[3] - each[2] > 0.12) - 0.1
    wide, line = float(np.interp(windscreen, z, half)), float(np.interp(windscreen, z, belt))
    for side in (-1, 1):
        a, b = sorted((side * wide * 0.95, side * (wide + 0.2)))
        mesh.box(paint, (a, line + 0.02, windscreen - 0.06), (b, line + 0.18, windscreen + 0.08))


def _wheel(mesh: Mesh, side: int, half: float, z: float, radius: float, *, lift: float = 0.3) -> None:
    """A wheel in its arch; `lift`: by how much its outside is drawn nearer than it is."""
    width = 0.24
    outside = side * (half + 0.012)

    def lifted(material: Material, more: float) -> Material:
        return Material(material.colour, material.gloss, raised=lift + more)

    mesh.disc(lifted(ARCH, 0.0), (side * (half + 0.004), radius + 0.03, z), radius * 1.16, side)
    mesh.disc(lifted(RUBBER, 0.05), (outside, radius, z), radius, side)
    mesh.disc(lifted(RIM, 0.1), (outside + side * 0.005, radius, z), radius * 0.66, side)
    for turn in range(5):
        angle = 2 * np.pi * turn / 5 + 0.3
        centre = (
            outside + side * 0.01,
            radius + radius * 0.40 * np.sin(angle),
            z + radius * 0.40 * np.cos(angle),
        )
        mesh.disc(lifted(HUB, 0.15), centre, radius * 0.13, side)
    tread = 10
    for each in range(tread):
        first, second = (2 * np.pi * n / tread for n in (each, each + 1))
        inner = side * (half - width)
        points = [
            (x, radius + radius * np.sin(a), z + radius * np.cos(a))
            for x, a in ((outside, first), (inner, first), (inner, second), (outside, second))
        ]
        mesh.face(_TREAD, *points)


def _bus(paint: Material, tail: Material, head: Material) -> Mesh:
    mesh = Mesh()
    wide, high, rear, front = 1.25, 3.05, -5.6, 5.6
    mesh.box(paint, (-wide, 0.38, rear), (wide, high, front))
    _upright(mesh, GLASS, (-1.05, 1.05), (1.75, 2.55), rear - 0.02, _FLAT)
    _upright(mesh, GLASS, (-1.15, 1.15), (1.15, 2.60), front + 0.02, _FLAT)
    sign = Material((40, 160, 250), glow=0.9, raised=_FLAT)
    _upright(mesh, sign, (-0.75, 0.75), (2.68, 2.92), front + 0.03)
    _upright(mesh, sign, (-0.4, 0.4), (2.68, 2.88), rear - 0.03)
    for each in range(8):
        low, top = rear + 0.35 + each * 1.36, rear + 1.55 + each * 1.36
        for side in (-1, 1):
            x = side * (wide + 0.01)
            corners = [(x, 1.35, top), (x, 2.55, top), (x, 2.55, low), (x, 1.35, low)]
            mesh.face(
                Material(GLASS.colour, GLASS.gloss, raised=_FLAT), *(corners if side < 0 else corners[::-1])
            )
    for side in (-1, 1):
        _upright(mesh, tail, (side * 0.95, side * 1.22), (0.75, 1.30), rear - 0.02, _FLAT)
        _upright(mesh, head, (side * 0.80, side * 1.20), (0.62, 0.88), front + 0.02, _FLAT)
        for axle in (-3.2, 3.4):
            _wheel(mesh, side, wide, axle, 0.48, lift=_FLAT)
    _upright(mesh, Material(PLASTIC.colour, raised=_FLAT), (-1.24, 1.24), (0.38, 0.60), rear - 0.02)
    _plate(mesh, 0.80, rear - 0.05, -1)
    return mesh


def _truck(paint: Material, tail: Material, head: Material) -> Mesh:
    mesh = Mesh()
    cargo = Material((214, 216, 216), gloss=0.08)
    mesh.box(cargo, (-1.22, 0.95, -4.2), (1.22, 3.35, 2.0))
    mesh.box(PLASTIC, (-1.1, 0.45, -4.1), (1.1, 0.95, 2.0))
    mesh.box(paint, (-1.12, 0.45, 2.15), (1.12, 2.55, 4.1))
    _upright(mesh, GLASS, (-1.0, 1.0), (1.55, 2.40), 4.12, _FLAT)
    _upright(mesh, ARCH, (-0.7, 0.7), (0.75, 1.35), 4.12, _FLAT)
    seam = Material((120, 120, 122), raised=_FLAT)
    _upright(mesh, seam, (-0.02, 0.02), (1.0, 3.3), -4.22)
    for edge in (-1.2, 1.12):
        _upright(mesh, seam, (edge, edge + 0.08), (0.98, 3.34), -4.22)
    stripe = Material((60, 60, 190), raised=_FLAT)
    for side in (-1, 1):
        x = side * 1.23
        corners = [(x, 1.9, 1.6), (x, 2.4, 1.6), (x, 2.4, -3.8), (x, 1.9, -3.8)]
        mesh.face(stripe, *(corners if side < 0 else corners[::-1]))
        glass = Material(GLASS.colour, GLASS.gloss, raised=_FLAT)
        x = side * 1.13
        corners = [(x, 1.55, 3.8), (x, 2.35, 3.6), (x, 2.35, 2.6), (x, 1.55, 2.6)]
        mesh.face(glass, *(corners if side < 0 else corners[::-1]))
        _upright(mesh, tail, (side * 0.80, side * 1.10), (0.62, 0.84), -4.14, _FLAT)
        _upright(mesh, head, (side * 0.75, side * 1.08), (0.70, 0.95), 4.13, _FLAT)
        for axle in (-2.7, 3.1):
            _wheel(mesh, side, 1.12, axle, 0.46, lift=_FLAT)
    _plate(mesh, 0.70, -4.25, -1)
    return mesh
