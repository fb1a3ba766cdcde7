"""The process: see `iotedge_lab.car.device.program`, which the lab's modules share."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from iotedge_lab.car.device import program
from simulator_car import settings
from simulator_car.car import SimulatorCar

FOLDER: Final = Path(__file__).resolve().parents[1]
"""The module's folder, `/app` in a container: what paths are relative to."""

log = logging.getLogger("ModuleSimulatorCar")


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return program.run(
        log, settings.from_environment, lambda told, failed: SimulatorCar(told, FOLDER, failed=failed)
    )
