"""What the runtime itself says of one edge device, as the logs of `edgeAgent` and `edgeHub`.

Stands for the logs of the two system modules, which GetModuleLogs and the portal's troubleshooting page show beside
those of the others (learn.microsoft.com, IoT Edge, how-to-retrieve-iot-edge-logs); lines begin as theirs do. The
process has one log for all its devices (`runtime.log`): whose a line is says the context in which it was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.agent import ModuleLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iotedge_lab.clock import Clock

_OURS: Final = "iotedge_lab"
_HUB: Final = tuple(
    f"{_OURS}.{room}" for room in ("broker", "edge.hub", "edge.store", "edge.upstream", "serve")
)
_THE_LOGS_OWN: Final = f"{_OURS}.edge.agent.logs"  # that one cannot be written is not written into it
_LEVELS: Final = ((logging.ERROR, "3", "ERR"), (logging.WARNING, "4", "WRN"), (logging.INFO, "6", "INF"))
_device: ContextVar[str] = ContextVar("edge_device", default="")


class Diary(logging.Handler):
    """The two logs of one device. Made on the loop; what other threads say is written there too."""

    def __init__(self, device: str, folder: Path, clock: Clock) -> None:
        super().__init__(logging.INFO)
        self._name = device
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.logs = {
            name: ModuleLog(folder / "logs" / f"{name}.log", clock) for name in ("edgeAgent", "edgeHub")
        }

    def open(self) -> None:
        """Write from now on."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        logging.getLogger(_OURS).addHandler(self)

    def close(self) -> None:
        """Write no more. Again does nothing."""
        logging.getLogger(_OURS).removeHandler(self)
        for log in self.logs.values():
            log.close()
        super().close()

    @contextlib.contextmanager
    def of_this_device(self) -> Iterator[None]:
        """Tasks, readers and connections that begin inside are this device's, and so is what they say."""
        token = _device.set(self._name)
        try:
            yield
        finally:
            _device.reset(token)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, if it is of this device, or of none."""
        if _device.get() not in ("", self._name) or record.name == _THE_LOGS_OWN:
            return
        log = self.logs["edgeHub" if record.name.startswith(_HUB) else "edgeAgent"]
        line = _line(record)
        if threading.get_ident() == self._thread:
            log.write("stdout", line)
        elif self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(log.write, "stdout", line)


def _line(record: logging.LogRecord) -> bytes:
    syslog, word = next((s, w) for level, s, w in (*_LEVELS, (0, "7", "DBG")) if record.levelno >= level)
    time = datetime.fromtimestamp(record.created, UTC).isoformat(" ", "milliseconds")
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text += f": {record.exc_info[1]!r}"
    return f"<{syslog}> {time.removesuffix('+00:00')} +00:00 [{word}] - {text}\n".encode(errors="replace")
