"""The process: see `iotedge_lab.car.device.program`, which it shares with the other camera module."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

from iotedge_lab.car.device import program
from simulator_camera.camera import SimulatorCamera
from simulator_camera.settings import TABLE

FOLDER: Final = Path(__file__).resolve().parents[1]
"""The module's folder, `/app` in a container: what paths are relative to."""

log = logging.getLogger("ModuleSimulatorCamera")


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return program.run(
        log,
        TABLE.from_environment,
        lambda settings, failed: SimulatorCamera(settings, FOLDER, failed=failed),
        sys.argv[1:],
    )
