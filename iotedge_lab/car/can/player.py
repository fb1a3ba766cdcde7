"""The car on the bus: a drive whose frames are sent at the moments at which they are due.

Sleeps between the frames and never spins, so that it costs little beside what a learner runs. What it missed by up
to a second (a busy machine) it sends at once; after a longer pause (a closed laptop) it goes on from where it is.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, Self

import can

from iotedge_lab.car.can.encoder import Encoder
from iotedge_lab.car.can.frame import Frame
from iotedge_lab.car.rows import CarRow
from iotedge_lab.car.vehicle import Motion
from iotedge_lab.clock import SystemClock
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from iotedge_lab.clock import Clock

SHORTEST_SLEEP: Final = 0.001
"""Seconds; what is due sooner is sent now."""

MOST_BEHIND: Final = 1.0
"""Seconds by which the car may be late before it gives the time up."""

LAP_GAP: Final = 0.01
"""Seconds of the trip between the end of a drive and its next beginning."""

PATIENCE: Final = 0.05
"""Seconds that a bus may take to accept a frame; then the frame is left out."""

SLOWEST: Final = 0.01
FASTEST: Final = 1000.0


class CarOnBus:
    """Sends a drive on a bus: `run()` in this thread, or `start()` and `stop()` (or a `with`) in one of its own.

    `sent`: frames so far; `unsent`: frames that the bus took not (a stalled or full one); `position`: seconds of
    the trip; `laps`: drives sent to their end; `slipped`: seconds given up after pauses.
    """

    def __init__(
        self,
        source: Motion | Iterable[CarRow] | Iterable[Frame],
        bus: can.BusABC,
        speedup: float = 1.0,
        *,
        loop: bool = False,
        encoder: Encoder | None = None,
        start: datetime | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """`source`: a simulated drive, rows, or frames of a log; `speedup`: seconds of the trip for each real one.

        loop: begin anew at the end (the source must be one that can be read again); encoder: with a DBC or extra
        signals of one's own; start: wall clock at the start of a simulated drive; clock and sleep: for tests.
        The bus is not closed. Raises UsageError for a speedup or a source that cannot be.
        """
        if loop and isinstance(source, Iterator):
            raise UsageError("A source that can be read once cannot be sent in a loop; give a list.")
        self._source = source
        self._bus = bus
        self._loop = loop
        self._encoder = encoder or Encoder()
        self._start_time = start
        self._clock = clock or SystemClock()
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._pace = threading.Lock()
        self._base = (0.0, 0.0)  # a moment of the trip, and of the clock
        self._speedup = 1.0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.sent = 0
        self.unsent = 0
        self.position = 0.0
        self.laps = 0
        self.slipped = 0.0
        self.speedup = speedup

    @property
    def speedup(self) -> float:
        """Seconds of the trip for each second of the clock; may be changed while it drives."""
        return self._speedup

    @speedup.setter
    def speedup(self, value: float) -> None:
        if not SLOWEST <= value <= FASTEST:
            raise UsageError(f"The replay's speed lies from {SLOWEST:g} to {FASTEST:g}, not at {value:g}.")
        with self._pace:
            trip, clock = self._base
            now = self._clock.monotonic()
            self._base = (trip + (now - clock) * self._speedup, now)
            self._speedup = value

    def run(self) -> int:
        """Drive to the end, or until `stop` (in a loop: only until then); the number of frames sent by this call.

        Raises DataError for rows that cannot be sent, and what the bus raises when it is closed.
        """
        before = self.sent
        while not self._stopping.is_set():
            first: float | None = None
            for frame in self._frames():
                if first is None or frame.time < self.position:
                    first = self.position = frame.time
                    with self._pace:
                        self._base = (first, self._clock.monotonic())
                elif frame.time != self.position:
                    self._wait(frame.time)
                    if self._stopping.is_set():
                        return self.sent - before
                    self.position = frame.time
                self._send(frame)
            if first is None:
                raise UsageError("The drive holds no rows; give one that does.")
            self.laps += 1
            if not self._loop:
                break
            # The next lap begins one cycle after this one's last frame; a drive of one row must not spin.
            self._sleep(max(SHORTEST_SLEEP, LAP_GAP / self._speedup))
        return self.sent - before

    def start(self) -> Self:
        """Drive in a thread. Raises UsageError if it does already."""
        if self._thread is not None:
            raise UsageError("This car is under way; make another CarOnBus for another drive.")
        self._thread = threading.Thread(target=self._guarded, name="car on bus", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Halt, and raise what went wrong in the thread if anything did. May be called twice."""
        self._stopping.set()
        self.join()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end of the drive; whether it has ended. Raises what went wrong in the thread."""
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return True

    @property
    def driving(self) -> bool:
        """Whether the thread is under way."""
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return (
            f"CarOnBus({self.position:.1f} s of the trip, {self.sent} frames sent, speedup {self.speedup:g})"
        )

    def _guarded(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001 - it is raised again by join or stop, in the caller's thread
            self._failure = error

    def _frames(self) -> Iterator[Frame]:
        if isinstance(self._source, Motion):
            return self._encoder.frames(self._source, start=self._start_time)
        things: Iterator[CarRow | Frame] = iter(self._source)
        first = next(things, None)
        if first is None:
            return iter(())
        rest = chain([first], things)
        if isinstance(first, Frame):
            return (each for each in rest if isinstance(each, Frame))
        return self._encoder.frames(each for each in rest if isinstance(each, CarRow))

    def _wait(self, moment: float) -> None:
        """Sleep until this moment of the trip is due."""
        with self._pace:
            trip, begin = self._base
            now = self._clock.monotonic()
            delay = begin + (moment - trip) / self._speedup - now
            if delay < -MOST_BEHIND:
                self.slipped -= delay
                self._base = (moment, now)
        if delay >= SHORTEST_SLEEP:
            self._sleep(delay)

    def _send(self, frame: Frame) -> None:
        try:
            self._bus.send(frame.message(self._clock.now()), PATIENCE)
        except can.CanOperationError as error:
            if error.error_code not in (errno.ENOBUFS, errno.EAGAIN):
                raise
            self.unsent += 1
        else:
            self.sent += 1
