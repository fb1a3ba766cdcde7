"""The process: see `iotedge_lab.car.device.program`, which it shares with the other camera module."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

import cv2

from filter_camera.camera import FilterCamera
from filter_camera.settings import TABLE
from iotedge_lab.car.device import program

FOLDER: Final = Path(__file__).resolve().parents[1]
"""The module's folder, `/app` in a container: what paths are relative to."""

log = logging.getLogger("ModuleFilterCamera")


def main() -> int:
    """Run until SIGTERM; the exit code."""
    cv2.setNumThreads(1)  # a device at the edge has other things to do
    return program.run(
        log,
        TABLE.from_environment,
        lambda settings, failed: FilterCamera(settings, FOLDER, failed=failed),
        sys.argv[1:],
    )
