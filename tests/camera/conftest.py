"""What the camera's tests share: drives made of a few numbers, a small scene, the detector where it was fetched."""

import math

import pytest

from iotedge_lab.camera.detector import Detector
from iotedge_lab.camera.scene import Scene
from iotedge_lab.car import drives
from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import EnvironmentProblem

SIZE = {"width": 320, "height": 180}


def drive(speeds, steering=None, step=0.1):
    """Rows of a drive with these speeds (mph) and steering angles, `step` seconds apart."""
    angles = steering or [0.0] * len(speeds)
    return [
        CarRow(
            f"2026-03-02 08:00:{number * step:09.6f}",
            number * step,
            30.0,
            -97.0,
            0.0,
            speed,
            angle,
            10,
            1500,
            0,
            0,
        )
        for number, (speed, angle) in enumerate(zip(speeds, angles, strict=True))
    ]


def with_halt(seconds):
    """A drive that goes, stands for so long, and goes on."""
    slowing = [30.0 * math.cos(math.pi / 2 * each / 60) for each in range(60)]
    return drive([30.0] * 150 + slowing + [0.0] * round(seconds * 10) + slowing[::-1] + [30.0] * 50)


@pytest.fixture(scope="session")
def rows():
    """A shipped drive through a city."""
    return list(drives.rows(drives.drive_path("city-03")))


@pytest.fixture(scope="session")
def scene(rows):
    """That drive at 640 x 360, in daylight."""
    return Scene(rows, seed=7)


@pytest.fixture(scope="session")
def detector():
    """The detector; a test that asks for it is skipped where nobody has fetched it."""
    try:
        return Detector()
    except EnvironmentProblem as error:
        pytest.skip(str(error))
