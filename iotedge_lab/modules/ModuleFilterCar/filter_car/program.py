"""The process: see `iotedge_lab.car.device.program`, which the lab's modules share."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

from filter_car import settings
from filter_car.car import FilterCar
from iotedge_lab.car.device import program

FOLDER: Final = Path(__file__).resolve().parents[1]
"""The module's folder, `/app` in a container: what paths are relative to."""

log = logging.getLogger("ModuleFilterCar")


def main() -> int:
    """Run until SIGTERM; the exit code."""
    # They would write the address of a model into the log, and whoever has it may read the model.
    for name in ("azure.core", "azure.storage", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return program.run(
        log,
        settings.from_environment,
        lambda told, failed: FilterCar(told, FOLDER, failed=failed),
        sys.argv[1:],
    )
