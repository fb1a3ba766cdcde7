"""A pump carries one lane to its outlet: in order, with a window of what is sent and not acknowledged.

Stands for the endpoint executors of the open-source edgeHub. No socket and no task: it runs when it is called, by
`wake`, by a put to its lane, or by an acknowledgement.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from iotedge_lab.errors import LabError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edge.store.parcels import Lane, Parcel
    from iotedge_lab.edge.store.queues import Queues

log = logging.getLogger(__name__)

WINDOW_BYTES: Final = 4 * 2**20
READ_AHEAD: Final = 64
READ_AHEAD_BYTES: Final = 2**20


class Unsendable(LabError):
    """An outlet will never take this parcel (too large, say); the message is the reason, for the log."""


class Outlet(Protocol):
    """Where a lane leads: a connection of the link, an input of a module."""

    def send(self, parcel: Parcel, done: Callable[[], None]) -> bool:
        """Send; call `done` once the receiver has acknowledged, before this returns or later.

        False: it cannot take it now (away, full); the pump stops until `wake`, or the next `done`. Raises
        `Unsendable` for one that it will never take: it is dropped and counted.
        """
        ...


class Pump:
    """One lane, one outlet, and no other pump on that lane.

    `window` parcels, and bodies of `window_bytes` together, are in flight at most (one parcel always may be).
    Beyond these a parcel of a higher priority goes next.
    """

    def __init__(
        self,
        queues: Queues,
        lane: Lane,
        outlet: Outlet,
        window: int = 256,
        *,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.lane = lane
        self._queues = queues
        self._outlet = outlet
        self._window = window
        self._window_bytes = window_bytes
        self._in_flight: dict[int, int] = {}  # id to size
        self._bytes = 0
        self._after: dict[int, int] = {}  # by priority: the last id that was sent
        self._ready: deque[Parcel] = deque()  # read, and not sent yet
        self._foremost = 0  # the first to go of what was put since the last send
        self._steps = 0  # of the clock, when they were read
        self._away = True  # until the first `wake`
        self._running = False
        self._later = False
        self._unread = ""  # why the last read failed
        self._closed = False
        self._stop_listening = queues.listen(lane, self._waiting)

    @property
    def length(self) -> int:
        """How many wait in the lane, in flight or not."""
        return self._queues.length(self.lane)

    @property
    def in_flight(self) -> int:
        """How many are sent and not acknowledged."""
        return len(self._in_flight)

    def wake(self) -> None:
        """The outlet can take again. Cheap: call it once a second too, for what a fault may have stopped."""
        self._away = False
        self._run()

    def lost(self) -> None:
        """The outlet's connection ended for good: after the next `wake`, all that is unacknowledged is sent again."""
        self._away = True
        self._queues.release(self._in_flight)
        self._in_flight.clear()
        self._bytes = 0
        self._after.clear()
        self._ready.clear()

    def refuse(self, parcel: Parcel, reason: str) -> None:
        """The receiver has said that it will never take a parcel in flight: drop it and count it."""
        self._queues.refuse(parcel, reason)
        self._landed(parcel.id)

    def close(self) -> None:
        """Send nothing more; what is unacknowledged waits for the next pump on the lane. Again does nothing."""
        if not self._closed:
            self._closed = True
            self.lost()
            self._stop_listening()

    def _waiting(self, priority: int) -> None:
        # What was read ahead of its turn is read again after the newcomer.
        self._foremost = min(priority, self._foremost)
        while self._ready and self._ready[-1].priority > priority:
            self._ready.pop()
        self._run()

    def _run(self) -> None:
        if self._running:  # called from within `send`: the loop below goes on by itself
            return
        self._running = True
        try:
            more = True
            while more and not self._later:
                for _ in range(self._window):
                    more = self._send_next()
                    if not more:
                        break
                else:
                    # An outlet that acknowledges at once must not hold the loop until a long queue is empty.
                    self._later = self._queues.later(self._go_on)
        finally:
            self._running = False

    def _go_on(self) -> None:
        self._later = False
        self._run()

    def _send_next(self) -> bool:
        """Send one; whether there may be another to send now."""
        if self._away or self._closed or len(self._in_flight) >= self._window:
            return False
        if self._in_flight and self._bytes >= self._window_bytes:
            return False
        parcel = self._next()
        if parcel is None:
            return False
        self._in_flight[parcel.id] = len(parcel.body)
        self._bytes += len(parcel.body)
        self._queues.hold(parcel.id)
        before = self._after.get(parcel.priority, 0)
        self._after[parcel.priority] = parcel.id
        self._foremost = parcel.priority
        try:
            taken = self._outlet.send(parcel, partial(self._done, parcel.id))
        except Unsendable as error:
            self.refuse(parcel, str(error))
            return True
        except Exception:  # a fault of one outlet is not the others'
            log.exception("the outlet for %s failed", self.lane)
            taken = False
        if taken:
            return True
        if self._in_flight.pop(parcel.id, None) is not None:
            self._bytes -= len(parcel.body)
            self._queues.release((parcel.id,))
            self._after[parcel.priority] = before
            if self._in_flight and self._foremost >= parcel.priority:
                self._ready.appendleft(parcel)
            else:  # nobody may call for long: keep nothing in memory
                self._ready.clear()
        self._away = True
        return False

    def _next(self) -> Parcel | None:
        try:
            while True:
                if not self._ready or self._steps != self._queues.clock_steps:
                    self._ready.clear()
                    self._steps = self._queues.clock_steps
                    self._ready.extend(
                        self._queues.read(self.lane, self._after, READ_AHEAD, READ_AHEAD_BYTES)
                    )
                    self._unread = ""
                    if not self._ready:
                        return None
                parcel = self._ready.popleft()
                if self._queues.still_waits(parcel):
                    return parcel
        except StoreUnavailable as error:
            if self._unread != error.message:
                self._unread = error.message
                log.warning("messages for %s wait: %s", self.lane, error)
            self._away = True
            return None

    def _done(self, number: int) -> None:
        self._queues.remove((number,))
        self._landed(number)

    def _landed(self, number: int) -> None:
        size = self._in_flight.pop(number, None)
        if size is not None:
            self._bytes -= size
            self._away = False
            self._run()
