"""The process: its log, its signals and its exit code.

0: stopped by SIGTERM or SIGINT, as the edge agent does it; 1: an error of the module's own, its traceback in the log;
2: a setting, a file or the edge environment cannot be used, and the log says which.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import time
from pathlib import Path
from typing import Final

from iotedge_lab.errors import LabError
from simulator_car import settings
from simulator_car.car import SimulatorCar
from simulator_car.edge import UNUSABLE, check_environment

FOLDER: Final = Path(__file__).resolve().parents[1]
"""The module's folder, `/app` in a container: what paths are relative to."""

log = logging.getLogger("ModuleSimulatorCar")


def main() -> int:
    """Run until SIGTERM."""
    set_up_log()
    # A SimpleQueue, as it may be put into from a signal's handler.
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()
    try:
        told = settings.from_environment(os.environ)
        check_environment(os.environ)
        car = SimulatorCar(told, FOLDER, failed=ends.put)
    except (ValueError, LabError) as error:
        log.error("%s", error)  # noqa: TRY400 - the text says it all
        return UNUSABLE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.put(0))
    log.info("Settings: %s", told)
    car.start()
    code = ends.get()
    car.stop()
    return code


def set_up_log() -> None:
    """Log to standard output in the form in which the edge agent finds levels again.

    <6> 2026-11-20 10:30:00.123 +00:00 [INF] text
    """
    logging.Formatter.converter = time.gmtime
    form = "<%(syslog)d> %(asctime)s.%(msecs)03d +00:00 [%(levelname).3s] %(message)s"
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(form, "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(_add_syslog_level)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    # The SDK warns of each connection that is lost, with "Unable to handle"; the module says it in words of its own.
    logging.getLogger("azure.iot.device").setLevel(logging.ERROR)


def _add_syslog_level(record: logging.LogRecord) -> bool:
    """Give a record its level as syslog counts: 2 critical, 3 error, 4 warning, 6 informational, 7 debug."""
    record.syslog = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6}.get(record.levelname, 7)
    return True
