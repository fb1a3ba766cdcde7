"""A drive as CAN frames: each message of the DBC at its own cycle time, in the order in which a bus carries them.

Stands for the control units of the car. Frames of one moment come by identifier, as arbitration lets the lowest
through first. Leaves out: jitter between the units' clocks, and the time that a frame takes on the wire (0.2 ms at
500 kbit/s).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.can.codec import EXTENDED, Layout, layouts
from iotedge_lab.car.can.database import load
from iotedge_lab.car.can.frame import Frame
from iotedge_lab.car.can.moments import CLOCKS, DAY, LINES, NO_DATE, STEPS, Moment, Trip, moments
from iotedge_lab.car.rows import CarRow
from iotedge_lab.car.vehicle import Motion
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from cantools.database import Database
    from cantools.database.can import Message, Signal

Source = Motion | Iterable[CarRow]
"""A drive: simulated, or rows of a recording."""

Extra = Mapping[str, Callable[[Mapping[str, float]], float]]
"""For signals beyond car.dbc: name to a function of all known values by signal, of that moment."""

COUNTER: Final = "Counter"
"""A signal whose name ends so counts its message's frames."""

KNOWN: Final = (*LINES, *STEPS, *CLOCKS)
"""The signals whose values a drive gives."""


class _Slot:
    """One message that is sent cyclically: where its values lie in the list of all, and how often it is due."""

    __slots__ = ("count", "counters", "cycle", "extended", "identifier", "layout", "places")

    def __init__(self, number: int, layout: Layout, places: list[int]) -> None:
        self.identifier = number & ~EXTENDED
        self.extended = bool(number & EXTENDED)
        self.layout = layout
        self.places = places
        self.cycle = _cycle(layout.message)
        self.count = 0
        self.counters = [
            (index, 1 << signal.length)
            for index, signal in enumerate(layout.message.signals)
            if signal.name.endswith(COUNTER)
        ]


class Encoder:
    """Turns drives into frames by one DBC; `clipped` counts, by signal, values that lay beyond its range."""

    def __init__(self, database: Database | None = None, extra: Extra | None = None) -> None:
        """`database`: car.dbc by default; `extra`: values for signals that no drive has.

        Raises UsageError for a message without a cycle time, for a signal without a value (neither a drive's, nor
        in `extra`, nor a GenSigStartValue in the DBC), and for an extra that the DBC lacks.
        """
        self.clipped: Counter[str] = Counter()
        self._extra = list((extra or {}).items())
        found = layouts(load() if database is None else database)
        names = {name for layout in found.values() for name in layout.names}
        unknown = sorted(set(extra or {}) - names)
        if unknown:
            raise UsageError(
                f"The DBC has no signal {', '.join(unknown)}; add it there (an SG_ line), or leave it out."
            )
        self._all = [*KNOWN, *(name for name, _ in self._extra if name not in KNOWN)]
        self._start: list[float] = []
        self._slots = sorted(
            (self._slot(number, layout) for number, layout in found.items()), key=lambda slot: slot.identifier
        )
        self._step = math.gcd(*(slot.cycle for slot in self._slots))
        self._period = math.lcm(*(slot.cycle for slot in self._slots)) // self._step

    def frames(self, source: Source, *, start: datetime | None = None) -> Iterator[Frame]:
        """The drive's frames, from its first moment to its last, in the order of time.

        `start`: wall clock at a simulated drive's first moment (rows bring their own). Raises DataError for rows
        that cannot be sent, when it comes to them. Message counters go on from the encoder's last drive.
        """
        due: dict[int, list[_Slot]] = {}
        first: int | None = None
        tick = 0
        before: Moment | None = None
        for after in moments(Trip(source, start) if isinstance(source, Motion) else source):
            if first is None:
                first = after.time
            while (now := first + tick * self._step) <= after.time:
                values = self._values(before or after, after, now)
                place = tick % self._period
                if place not in due:
                    due[place] = [slot for slot in self._slots if place * self._step % slot.cycle == 0]
                for slot in due[place]:
                    chosen = [values[index] for index in slot.places]
                    for index, size in slot.counters:
                        chosen[index] = slot.count % size
                    slot.count += 1
                    data = slot.layout.pack(chosen, self.clipped)
                    yield Frame(now / 1e6, slot.identifier, data, slot.extended)
                tick += 1
            before = after

    def _slot(self, number: int, layout: Layout) -> _Slot:
        return _Slot(number, layout, [self._place(signal) for signal in layout.message.signals])

    def _place(self, signal: Signal) -> int:
        """Where the signal's value stands: among the known ones, the extras, or the DBC's own start values."""
        if signal.name in self._all:
            return self._all.index(signal.name)
        start = signal.initial
        if signal.name.endswith(COUNTER):
            start = 0
        if not isinstance(start, int | float):
            raise UsageError(
                f"Nothing gives {signal.name} a value: pass extra={{{signal.name!r}: lambda values: ...}}, or give "
                "it a GenSigStartValue in the DBC."
            )
        self._start.append(float(start))
        return len(self._all) + len(self._start) - 1

    def _values(self, before: Moment, after: Moment, now: int) -> list[float]:
        """All values at `now`, in the order of `KNOWN`, extras, start values."""
        if now >= after.time:
            current = after
            values: list[float] = list(after.lines)
        else:
            current = before
            share = (now - before.time) / (after.time - before.time)
            values = [low + (high - low) * share for low, high in zip(before.lines, after.lines, strict=True)]
        values += current.steps
        if current.wall is None:
            values += (NO_DATE, 0, now)
        else:
            values += (*divmod(current.wall + now - current.time, DAY), now)
        if self._extra:
            named = dict(zip(KNOWN, values, strict=True))
            for name, value in self._extra:
                number = value(named)
                if name in KNOWN:
                    values[KNOWN.index(name)] = number
                else:
                    values.append(number)
        values += self._start
        return values


def frames(
    source: Source,
    database: Database | None = None,
    *,
    extra: Extra | None = None,
    start: datetime | None = None,
) -> Iterator[Frame]:
    """The frames of a drive; see `Encoder`."""
    return Encoder(database, extra).frames(source, start=start)


def _cycle(message: Message) -> int:
    """The message's cycle time in microseconds."""
    if not message.cycle_time:
        raise UsageError(
            f"{message.name} has no cycle time, so it would never be sent; add the line "
            f'BA_ "GenMsgCycleTime" BO_ {message.frame_id} 100; to the DBC (milliseconds).'
        )
    return message.cycle_time * 1000
