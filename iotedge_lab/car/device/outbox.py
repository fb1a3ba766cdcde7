"""Messages on their way to the edge hub: each is sent until it is acknowledged, whatever becomes of the connection.

A thread of its own sends them in their order, so that who puts one in does not wait for the network. The outbox is
bounded: who puts in more than it holds waits, or loses the oldest, as it chooses.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from iotedge_lab.car.device.edge import EdgeHub

MOST: Final = 1000  # messages that wait
RETRY: Final = 1.0  # s between two attempts

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Parcel:
    """`make` gives the vendor's message, on the sending thread; `sent` is called once it is acknowledged."""

    make: Callable[[], Any]
    sent: Callable[[Any], None] = lambda _: None


class Sending(Generic[Item]):
    """What waits for one output, and how it gets there. A kind says in `put` who waits, in `run` what comes next."""

    def __init__(self, hub: EdgeHub, output: str, log: logging.Logger) -> None:
        self._hub, self._output, self._log = hub, output, log
        self._waiting: deque[Item] = deque()
        self._turn = threading.Condition()
        self._closing = False
        self.sent = self.retries = 0

    @property
    def waiting(self) -> int:
        """How many are not acknowledged yet."""
        return len(self._waiting)

    def drained(self, seconds: float) -> bool:
        """Whether all are acknowledged, or become so within that time."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._waiting, seconds)

    def close(self) -> None:
        """Nobody waits for a place any more, and the thread ends."""
        with self._turn:
            self._closing = True
            self._turn.notify_all()

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
                    self._log.warning("Not sent, trying until it is: %s", error)
                failed = True
                with self._turn:
                    self.retries += 1
                    self._turn.wait_for(lambda: self._closing, RETRY)
            else:
                return True
        return False


class Outbox(Sending[Parcel]):
    """For modules that send little: whoever puts in more than it holds waits, or loses the oldest."""

    def __init__(self, hub: EdgeHub, output: str, log: logging.Logger, most: int = MOST) -> None:
        super().__init__(hub, output, log)
        self._most = most
        self.dropped = 0

    def put(self, parcel: Parcel, *, wait: bool) -> None:
        """Send it, after those that wait. Where it is full: `wait` for a place, or let the oldest one go."""
        with self._turn:
            while wait and len(self._waiting) >= self._most and not self._closing:
                self._turn.wait()
            if len(self._waiting) >= self._most:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(parcel)
            self._turn.notify_all()

    def run(self) -> None:
        """Send; until it is closed."""
        self._hub.connected.wait()
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                parcel = self._waiting[0]
            message = parcel.make()
            if not self._send(message):
                return
            with self._turn:
                # Let go meanwhile, as the oldest of too many: then it is not the first any more.
                if self._waiting and self._waiting[0] is parcel:
                    self._waiting.popleft()
                self.sent += 1
                self._turn.notify_all()
            parcel.sent(message)
