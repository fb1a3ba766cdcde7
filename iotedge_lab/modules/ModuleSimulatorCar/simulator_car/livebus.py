"""Rows of a car that drives by itself: a thread hears its CAN bus ("CAN Bus Connect") and keeps what it makes of it.

The car does not wait for the edge hub, so rows wait here, up to `MOST_WAITING`; beyond it the oldest is dropped and
counted. A bus that breaks is opened again. The pace is the car's: there is no speed of replay to set.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.can.buses import open_bus
from iotedge_lab.errors import LabError, UsageError
from simulator_car.reading import Reading
from simulator_car.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from iotedge_lab.car.can.reader import Sample
    from simulator_car.settings import Settings

MOST_WAITING: Final = 20_000
"""Rows: more than five hours at one a second."""

PATIENCE: Final = 0.2  # s between two looks at whether to go on
SILENCE: Final = 10.0  # s without a frame that are worth a word
REOPEN: Final = 5.0  # s between two attempts to open a bus that broke

log = logging.getLogger("ModuleSimulatorCar")


class LiveBus:
    """A bus and what was heard on it. Raises UsageError, DataError, EnvironmentProblem where it cannot be opened."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        wake: Callable[[], None],
        *,
        most: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` is called, on this feed's thread, when there is a row to take."""
        if not settings.bus:
            raise UsageError(
                "source is can, but bus names none: write unix:PATH, socketcan:INTERFACE or log:PATH."
            )
        kind, _, place = settings.bus.partition(":")
        self._address = f"unix:{folder / place}" if kind == "unix" and place else settings.bus
        self._signals = Signals(settings, folder)
        self._bus = open_bus(self._address)
        self._wake = wake
        self._clock = clock
        self._rate = settings.rate
        self._lock = threading.Lock()
        self._waiting: deque[Reading] = deque(maxlen=most)
        self._trips = 0
        self._number = 0
        self._heard = clock()
        self._told_silent = False
        self._dropped = self._skipped = 0
        self._trouble: str | None = None
        self._paused = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="CAN bus", daemon=True)
        self._thread.start()

    speed = 1.0
    """The car's own."""

    @property
    def paused(self) -> bool:
        """Whether rows are left out until `resume`."""
        return self._paused

    def take(self, now: float) -> Reading | float:  # noqa: ARG002 - as every feed's
        """The oldest row that waits; infinity where none does."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else math.inf

    def set_speed(self, speed: float, now: float) -> None:  # noqa: ARG002 - as every feed's
        """Raises UsageError: the car on the bus has its own."""
        raise UsageError(
            "the car on the bus drives at its own speed; only a recording can be replayed at another"
        )

    def set_rate(self, rate: float) -> None:
        """Another rate; the thread takes it up before the next frame."""
        self._rate = rate

    def pause(self) -> None:
        """Leave out the rows that come from now on; the car does not stop for it."""
        self._paused = True

    def resume(self, now: float) -> None:  # noqa: ARG002 - as every feed's
        """Take rows again."""
        self._paused = False

    def progress(self, now: float) -> dict[str, Any]:
        """For the report: what came over the bus, and what became of it."""
        counts = self._signals.reader.counts
        return {
            "waiting": len(self._waiting),
            "dropped": self._dropped,
            "skipped": self._skipped,
            "frames": counts.frames,
            "unknownFrames": counts.unknown,
            "badFrames": counts.bad_length + counts.out_of_range,
            "lostFrames": counts.lost,
            "silentSeconds": round(now - self._heard) if now - self._heard > SILENCE else 0,
            "trouble": self._trouble,
        }

    def close(self) -> None:
        """Leave the bus; rows that wait are given up."""
        self._closing.set()
        self._thread.join()
        self._bus.shutdown()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                self._hear()
            except Exception as error:  # noqa: BLE001 - each of python-can's interfaces raises errors of its own
                self._trouble = str(error) or type(error).__name__
                log.warning("The bus %s broke, opening it again: %s", self._address, self._trouble)
                self._reopen()

    def _hear(self) -> None:
        reader = self._signals.reader
        while not self._closing.is_set():
            if reader.hz != self._rate:
                reader.hz = self._rate
            message = self._bus.recv(PATIENCE)
            if message is None:
                self._watch_silence()
                continue
            self._heard = self._clock()
            self._told_silent = False
            sample = reader.feed(message)
            if sample is not None:
                self._keep(sample)

    def _keep(self, sample: Sample) -> None:
        trips = self._signals.reader.counts.trips
        if trips != self._trips:
            self._trips, self._number = trips, 0
        self._number += 1
        if self._paused:
            self._skipped += 1
            return
        stale = self._signals.stale(sample.stale)
        reading = Reading(sample.row, trips, self._number, self._signals.extras(), stale)
        with self._lock:
            if len(self._waiting) == self._waiting.maxlen:
                if not self._dropped:
                    log.warning(
                        "%d rows wait for the edge hub; the oldest are dropped now", len(self._waiting)
                    )
                self._dropped += 1
            self._waiting.append(reading)
        self._wake()

    def _watch_silence(self) -> None:
        silent = self._clock() - self._heard
        if silent > SILENCE and not self._told_silent:
            self._told_silent = True
            log.warning("Nothing has come over %s for %.0f s; is a car on this bus?", self._address, silent)

    def _reopen(self) -> None:
        self._bus.shutdown()
        while not self._closing.wait(REOPEN):
            try:
                self._bus = open_bus(self._address)
            except LabError as error:
                self._trouble = str(error)
            else:
                self._trouble = None
                log.info("The bus %s is open again", self._address)
                return
