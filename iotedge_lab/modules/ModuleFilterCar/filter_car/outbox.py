"""Predictions on their way to the edge hub: each is sent until it is acknowledged, one after another.

A thread of its own sends, so that the next rows are predicted while the edge hub answers. Some messages wait at most;
then whoever puts one in waits, too, and further rows stay what they are. `iotedge_lab.car.device.outbox` is for
modules that send little.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from filter_car.telling import size
from iotedge_lab.car.device.outbox import Sending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iotedge_lab.car.device.edge import EdgeHub

AHEAD: Final = 256  # messages after which who puts one in waits
RESUME: Final = 32  # until only so many wait: to be woken for each one costs as much as the prediction

log = logging.getLogger("ModuleFilterCar")


class Outbox(Sending[Any]):
    """What waits for one output. `bytes_sent`: of bodies and properties that were acknowledged."""

    def __init__(self, hub: EdgeHub, output: str) -> None:
        super().__init__(hub, output, log)
        self._first: Callable[[], None] | None = None
        self._first_count = 0
        self.bytes_sent = 0

    def put_first(self, messages: Iterable[Any], done: Callable[[], None]) -> None:
        """Before it runs: what goes before all else; `done` is called when it is all acknowledged."""
        self._waiting.extend(messages)
        self._first, self._first_count = done, len(self._waiting)

    def put(self, message: Any) -> None:
        """Send it after those that wait. Waits itself while they are many; when it closes, it takes whatever comes."""
        with self._turn:
            if len(self._waiting) >= AHEAD:
                self._turn.wait_for(lambda: len(self._waiting) <= RESUME or self._closing)
            self._waiting.append(message)
            if len(self._waiting) == 1:
                self._turn.notify_all()

    def left(self) -> list[Any]:
        """The messages that are not acknowledged, in their order."""
        with self._turn:
            return list(self._waiting)

    def run(self) -> None:
        """Send; until it is closed."""
        self._hub.connected.wait()
        while True:
            with self._turn:
                while not self._waiting and not self._closing:
                    self._turn.wait()
                if self._closing:
                    return
                message = self._waiting[0]
            if not self._send(message):
                return
            with self._turn:
                self._waiting.popleft()
                self.sent += 1
                self.bytes_sent += size(message)
                if len(self._waiting) in (0, RESUME):
                    self._turn.notify_all()
            if self._first is not None and self.sent == self._first_count:
                self._first()
                self._first = None
