"""Predictions on their way to the edge hub: each is sent until it is acknowledged, one after another.

A thread of its own sends, so that the next rows are predicted while the edge hub answers. Some messages wait at most;
then whoever puts one in waits, too, and further rows stay what they are. `iotedge_lab.camera.module.outbox` is for
modules that send little.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from filter_car.telling import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iotedge_lab.camera.module.edge import EdgeHub

RETRY: Final = 1.0  # s between two attempts
AHEAD: Final = 256  # messages after which who puts one in waits
RESUME: Final = 32  # until only so many wait: to be woken for each one costs as much as the prediction

log = logging.getLogger("ModuleFilterCar")


class Outbox:
    """What waits for one output. `bytes_sent`: of bodies and properties that were acknowledged."""

    def __init__(self, hub: EdgeHub, output: str) -> None:
        self._hub, self._output = hub, output
        self._waiting: deque[Any] = deque()
        self._turn = threading.Condition()
        self._closing = False
        self._first: Callable[[], None] | None = None
        self._first_count = 0
        self.sent = self.retries = self.bytes_sent = 0

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

    @property
    def waiting(self) -> int:
        """How many are not acknowledged yet."""
        return len(self._waiting)

    def left(self) -> list[Any]:
        """The messages that are not acknowledged, in their order."""
        with self._turn:
            return list(self._waiting)

    def drained(self, seconds: float) -> bool:
        """Whether all are acknowledged, or become so within that time."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._waiting, seconds)

    def close(self) -> None:
        """Nobody waits for a place any more, and the thread ends."""
        with self._turn:
            self._closing = True
            self._turn.notify_all()

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

    def _send(self, message: Any) -> bool:
        """Send it until it is acknowledged; False when the module ends before that."""
        failed = False
        while not self._closing:
            try:
                self._hub.client.send_message_to_output(message, self._output)
            except Exception as error:  # noqa: BLE001 - whatever it is, the message is not lost for it
                if self._closing:
                    break
                if not failed:
                    log.warning("Not sent, trying until it is: %s", error)
                failed = True
                with self._turn:
                    self.retries += 1
                    self._turn.wait_for(lambda: self._closing, RETRY)
            else:
                return True
        return False
