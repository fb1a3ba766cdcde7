"""People on foot and on bicycles as meshes: limbs, clothes, and the phases of a step or of a turn of the pedals."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Final

from iotedge_lab.camera.scene.mesh import Colour, Material, Mesh, Point

PHASES: Final = 8
STRIDE: Final = 1.45  # m that a walker covers in all phases
TURN: Final = 4.6  # m that a cyclist rolls in one turn of the pedals

SKINS: Final[tuple[Colour, ...]] = ((150, 178, 226), (96, 134, 186), (60, 86, 130), (170, 196, 238))
HAIRS: Final[tuple[Colour, ...]] = ((24, 28, 36), (40, 62, 92), (70, 110, 150), (120, 124, 128))
TOPS: Final[tuple[Colour, ...]] = (
    (52, 44, 190), (170, 92, 40), (226, 228, 230), (60, 60, 64), (70, 150, 210), (96, 128, 64), (150, 70, 130),
)  # fmt: skip
LEGS: Final[tuple[Colour, ...]] = ((96, 62, 40), (48, 46, 46), (110, 130, 148), (60, 54, 50))


@lru_cache(maxsize=512)
def walker(skin: int, hair: int, top: int, legs: int, phase: int) -> Mesh:
    """A person of 1.75 m; phase 0 to 7 of a stride, -1 stands. Walks ahead (z)."""
    mesh = Mesh()
    swing = 0.0 if phase < 0 else math.sin(2.0 * math.pi * phase / PHASES)
    lift = 0.0 if phase < 0 else math.cos(2.0 * math.pi * phase / PHASES)
    flesh, cloth, jeans = Material(SKINS[skin]), Material(TOPS[top]), Material(LEGS[legs])
    shoe, curls = Material((36, 36, 40)), Material(HAIRS[hair])
    bob = 0.015 * abs(lift)
    for side, way in ((-1, 1.0), (1, -1.0)):
        hip = (side * 0.095, 0.90 + bob, 0.0)
        forward = way * swing
        bend = max(0.0, -way * lift) * 0.22 if phase >= 0 else 0.0
        knee = (side * 0.10, 0.49 + bob + bend * 0.1, forward * 0.21 + bend * 0.35)
        foot = (side * 0.105, 0.08 + bend * 0.35, forward * 0.36 - bend * 0.45)
        mesh.tube(jeans, (hip, knee), (0.088, 0.066))
        mesh.tube(jeans, (knee, foot), (0.066, 0.048))
        mesh.ball(jeans, knee, (0.066, 0.066, 0.066), 4, 7)
        mesh.ball(shoe, (foot[0], foot[1] - 0.03, foot[2] + 0.06), (0.048, 0.05, 0.13), 4, 7)
        shoulder = (side * 0.195, 1.40 + bob, 0.0)
        elbow = (side * 0.235, 1.13 + bob, -forward * 0.12 - 0.02)
        hand = (side * 0.225, 0.90 + bob, -forward * 0.25 + 0.06)
        mesh.tube(cloth, (shoulder, elbow), (0.056, 0.046))
        mesh.tube(cloth, (elbow, hand), (0.046, 0.036))
        mesh.ball(cloth, shoulder, (0.066, 0.066, 0.066), 4, 7)
        mesh.ball(flesh, hand, (0.042, 0.06, 0.045), 4, 6)
    _torso(mesh, cloth, jeans, (0.0, bob, 0.0), 0.0)
    _head(mesh, flesh, curls, (0.0, 1.62 + bob, 0.015))
    return mesh


def _torso(mesh: Mesh, cloth: Material, jeans: Material, at: Point, lean: float) -> None:
    """Hips to shoulders, leaning forward by so many metres at the top."""
    rows = ((0.84, 0.150, 0.105), (0.98, 0.155, 0.110), (1.12, 0.160, 0.115), (1.28, 0.190, 0.125),
            (1.40, 0.195, 0.115), (1.47, 0.110, 0.085), (1.53, 0.060, 0.060))  # fmt: skip
    sides = 10
    rings = []
    for height, wide, deep in rows:
        shift = lean * max(0.0, height - 0.9) / 0.6
        rings.append(
            [
                (
                    at[0] + wide * math.cos(2 * math.pi * each / sides),
                    at[1] + height,
                    at[2] + shift + deep * math.sin(2 * math.pi * each / sides),
                )
                for each in range(sides)
            ]
        )
    for number, (lower, upper) in enumerate(itertools.pairwise(rings)):
        for each in range(sides):
            other = (each + 1) % sides
            mesh.face(jeans if number == 0 else cloth, upper[each], upper[other], lower[other], lower[each])


def _head(mesh: Mesh, flesh: Material, hair: Material, at: Point) -> None:
    x, y, z = at
    mesh.ball(flesh, (x, y, z), (0.078, 0.115, 0.098), 6, 9)
    mesh.ball(Material(hair.colour, raised=0.02), (x, y + 0.045, z - 0.02), (0.085, 0.085, 0.098), 5, 9)
    mesh.tube(flesh, ((x, y - 0.2, z - 0.01), (x, y - 0.06, z - 0.01)), (0.055, 0.05), 6)


@lru_cache(maxsize=256)
def cyclist(skin: int, top: int, legs: int, frame: int, phase: int) -> Mesh:
    """A person on a bicycle, in phase 0 to 7 of a turn of the pedals. Rides ahead (z)."""
    mesh = bicycle(frame)
    mesh.below = len(mesh)
    flesh, cloth, jeans = Material(SKINS[skin]), Material(TOPS[top]), Material(LEGS[legs])
    turn = 2.0 * math.pi * phase / PHASES
    hip_height, hip_z = 1.0, -0.22
    for side, angle in ((-1, turn), (1, turn + math.pi)):
        pedal = (side * 0.12, 0.30 - 0.17 * math.cos(angle), 0.0 + 0.17 * math.sin(angle))
        hip = (side * 0.10, hip_height, hip_z)
        reach = math.hypot(pedal[1] + 0.06 - hip[1], pedal[2] - hip[2])
        out = math.sqrt(max(0.01, 0.45**2 - (reach / 2) ** 2))
        middle_y, middle_z = (hip[1] + pedal[1] + 0.06) / 2, (hip[2] + pedal[2]) / 2
        along_y, along_z = (pedal[1] + 0.06 - hip[1]) / reach, (pedal[2] - hip[2]) / reach
        knee = (side * 0.13, middle_y + along_z * out, middle_z - along_y * out)
        ankle = (pedal[0], pedal[1] + 0.08, pedal[2] - 0.03)
        mesh.tube(jeans, (hip, knee), (0.085, 0.062))
        mesh.tube(jeans, (knee, ankle), (0.062, 0.045))
        mesh.ball(jeans, knee, (0.062, 0.062, 0.062), 4, 7)
        mesh.ball(
            Material((36, 36, 40)), (pedal[0], pedal[1] + 0.04, pedal[2] + 0.04), (0.045, 0.045, 0.12), 4, 6
        )
        shoulder, elbow, hand = (
            (side * 0.19, 1.46, 0.12),
            (side * 0.25, 1.22, 0.26),
            (side * 0.26, 1.06, 0.46),
        )
        mesh.tube(cloth, (shoulder, elbow), (0.055, 0.045))
        mesh.tube(flesh, (elbow, hand), (0.042, 0.034))
        mesh.ball(cloth, shoulder, (0.065, 0.065, 0.065), 4, 7)
    _torso(mesh, cloth, jeans, (0.0, 0.08, hip_z), 0.36)
    helmet = Material((60, 60, 220) if top % 2 else (230, 230, 230), gloss=0.2)
    _head(mesh, flesh, helmet, (0.0, 1.70, 0.20))
    return mesh


FRAMES: Final[tuple[Colour, ...]] = ((40, 40, 200), (190, 110, 30), (40, 40, 40), (60, 170, 230))


def bicycle(frame: int) -> Mesh:
    """A bicycle without a rider."""
    mesh = Mesh()
    paint, dark = Material(FRAMES[frame], gloss=0.3), Material((28, 28, 28))
    radius = 0.345
    for z in (-0.52, 0.52):
        count = 18
        points: list[Point] = [
            (
                0.0,
                radius + radius * math.sin(2 * math.pi * n / count),
                z + radius * math.cos(2 * math.pi * n / count),
            )
            for n in range(count)
        ]
        for each in range(count):
            mesh.tube(dark, (points[each], points[(each + 1) % count]), (0.026, 0.026), 4)
        for each in range(0, count, 3):
            mesh.tube(Material((150, 150, 150)), ((0.0, radius, z), points[each]), (0.005, 0.005), 3)
    crank, seat, head = (0.0, 0.30, 0.0), (0.0, 0.86, -0.20), (0.0, 0.86, 0.36)
    for ends in ((crank, seat), (crank, head), (seat, head), (crank, (0.0, radius, -0.52)),
                 (seat, (0.0, radius, -0.52)), (head, (0.0, radius, 0.52))):  # fmt: skip
        mesh.tube(paint, ends, (0.024, 0.024), 5)
    mesh.tube(dark, (seat, (0.0, 0.97, -0.24)), (0.016, 0.016), 4)
    mesh.box(dark, (-0.07, 0.96, -0.36), (0.07, 1.02, -0.12))
    mesh.tube(dark, (head, (0.0, 1.04, 0.40)), (0.018, 0.018), 4)
    mesh.tube(dark, ((-0.28, 1.05, 0.42), (0.28, 1.05, 0.42)), (0.016, 0.016), 4)
    return mesh
