"""The process of a module: its log, its signals and its exit code.

0: stopped by SIGTERM or SIGINT, as the edge agent does it; 1: an error of the module's own, its traceback in the log;
2: a setting, a file or the edge environment cannot be used, and the log says which.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from iotedge_lab.car.device.edge import UNUSABLE, check_environment
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BROKEN: Final = 1  # the exit code after an error of the module's own
_LOOK_SECONDS: Final = 0.25  # how long a signal waits at most


class Module(Protocol):
    """What runs."""

    def start(self) -> None:
        """In the background."""
        ...

    def stop(self) -> None:
        """Within seconds, whatever the edge hub does."""
        ...


def run(
    log: logging.Logger,
    read: Callable[[Any], Any],
    make: Callable[[Any, Callable[[int], None]], Module],
    arguments: Sequence[str] = (),
) -> int:
    """Run until SIGTERM; the exit code.

    `read` gives the settings of an environment, `make` the module of settings and of what to call with an exit code.
    """
    set_up_log(log)
    # A SimpleQueue, as it may be put into from a signal's handler.
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()
    try:
        settings = read(os.environ)
        check_environment(os.environ)
        module = make(settings, ends.put)
    except (ValueError, LabError) as error:
        log.error("%s", error)  # noqa: TRY400 - the text says it all
        return UNUSABLE
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.put(0))
    if arguments:  # a manifest's Cmd: settings come by variables and by the twin
        log.warning("Words on the command line are not used here: %s", " ".join(arguments)[:200])
    log.info("Settings: %s", settings)
    module.start()
    code = _first(ends)
    module.stop()
    return code


def _first(ends: queue.SimpleQueue[int]) -> int:
    """The first exit code.

    The system may hand a signal to any thread, and Python runs its handler on the main thread once that runs Python
    again: so the main thread must not wait for good.
    """
    while True:
        with contextlib.suppress(queue.Empty):
            return ends.get(timeout=_LOOK_SECONDS)


def guarded(
    work: Callable[[], None], failed: Callable[[int], None], log: logging.Logger
) -> Callable[[], None]:
    """A thread's work; what it does not expect ends the module, so that the edge agent starts it again."""

    def run_guarded() -> None:
        try:
            work()
        except Exception:
            log.exception("The module cannot go on")
            failed(BROKEN)

    return run_guarded


def set_up_log(log: logging.Logger) -> None:
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
