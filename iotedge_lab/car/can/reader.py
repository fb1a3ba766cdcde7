"""The reader, "CAN Bus Connect": hears the bus and makes rows of it, one a second or as many as asked for.

Keeps the latest value of each signal. Each time the car's own clock (TripTime, the last frame of a moment) reaches
the next row's time, the latest values become a `CarRow`: sample and hold, nothing is averaged. By the car's clock and
not by the wall's, so that a replay at ten times the speed gives the same rows, ten times as fast. A DBC without
TripTime is read by the frames' timestamps.

A bus carries what it carries: unknown identifiers, wrong lengths and values beyond a signal's range are counted and
left out. A signal is stale when its message has not come for three of its cycle times.

Leaves out: unit conversion (a DBC must have the units of `CarRow`), checksums, requests to the car.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.can.codec import EXTENDED, NOT_AVAILABLE, Layout, decimals, layouts
from iotedge_lab.car.can.database import load
from iotedge_lab.car.can.frame import Frame
from iotedge_lab.car.can.moments import COLUMN_SIGNALS, DAY, NO_DATE, text_of
from iotedge_lab.car.rows import NUMBERS, CarRow
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import can
    from cantools.database import Database
    from cantools.database.can import Signal

STALE_AFTER: Final = 3
"""Cycle times without a frame after which a signal is stale."""

LONGEST_STEP: Final = 5.0
"""Seconds that TripTime may leap; beyond it, or backwards, another trip has begun."""

_COUNTER: Final = "Counter"


@dataclass(frozen=True, slots=True)
class Sample:
    """One row, and which of the DBC's signals were stale (or had never come) when it was made."""

    row: CarRow
    stale: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reading:
    """A signal's latest value. `value` is None where it never came or says that it is not available."""

    value: float | None
    unit: str
    label: str | None
    """the value's name, where the DBC has one"""
    age: float | None
    """seconds of the car's time since its frame came; None where none came"""
    stale: bool


@dataclass(slots=True)
class Counts:
    """What came from the bus."""

    frames: int = 0
    """all of them"""
    unknown: int = 0
    """identifiers that the DBC lacks"""
    bad_length: int = 0
    """known ones with too few or too many bytes"""
    out_of_range: int = 0
    """with a value that the DBC rules out; the whole frame is left out"""
    other: int = 0
    """error frames, remote requests, CAN FD"""
    lost: int = 0
    """frames that message counters show to be missing (at least; a gap of 256 is not seen)"""
    trips: int = 0
    """how often a trip began: TripTime stepped back or leapt"""
    rows: int = 0


class _State:
    """The latest of one message."""

    __slots__ = ("counter", "length", "limit", "merges", "pending", "seen", "size", "unpack", "values")

    def __init__(self, layout: Layout) -> None:
        self.length = layout.length
        self.unpack = layout.unpack
        self.merges = layout.message.is_multiplexed()
        self.values: list[float] = []
        self.seen: int | None = None  # by the car's clock, us
        self.pending = False  # came after the clock's last tick; belongs to the next
        cycle = layout.message.cycle_time
        self.limit = STALE_AFTER * cycle * 1000 if cycle else None
        self.counter: int | None = None
        self.size = 0
        for index, signal in enumerate(layout.message.signals):
            if signal.name.endswith(_COUNTER):
                self.counter, self.size = index, 1 << signal.length


class Reader:
    """Frames in, rows out; `counts` says what came. Not for several threads at once."""

    def __init__(
        self,
        database: Database | None = None,
        *,
        hz: float = 1.0,
        columns: Mapping[str, str] = COLUMN_SIGNALS,
    ) -> None:
        """`hz`: rows a second; `columns`: the signal for each number of a CarRow but `seconds`.

        Raises UsageError for signals that the DBC lacks, and for an hz that is not positive or faster than
        TripTime comes.
        """
        database = load() if database is None else database
        found = layouts(database)
        self.counts = Counts()
        self._states = {number: _State(layout) for number, layout in found.items()}
        self._signals: dict[str, tuple[_State, int, Signal]] = {
            signal.name: (self._states[number], index, signal)
            for number, layout in found.items()
            for index, signal in enumerate(layout.message.signals)
        }
        wanted = [columns.get(name, "") for name in NUMBERS[1:]]
        lacking = [
            f"{signal or 'a signal'} for {name}"
            for name, signal in zip(NUMBERS[1:], wanted, strict=True)
            if signal not in self._signals
        ]
        if lacking:
            raise UsageError(
                f"The DBC lacks {', '.join(lacking)}; add it there, or name another signal in `columns`."
            )
        self._columns = [(*self._signals[name][:2], decimals(self._signals[name][2])) for name in wanted]
        self._trip = self._signals.get("TripTime")
        self._clock_state = self._trip[0] if self._trip else None
        self._pending: list[_State] = []
        self._now: int | None = None  # us, the car's clock
        self._origin: float | None = None  # timestamp of the first frame, where the frames are the clock
        self._anchor: int | None = None  # us, the first row's time
        self._made = 0  # grid steps since the anchor
        self._stamp = 0.0
        self._dated: tuple[int, int] | None = None  # wall clock and car's clock of the last DateTime
        self._hz = 1.0
        self.hz = hz

    @property
    def hz(self) -> float:
        """Rows a second of the car's time; may be changed while reading."""
        return self._hz

    @hz.setter
    def hz(self, value: float) -> None:
        most = 1000.0
        if self._clock_state is not None and self._clock_state.limit:
            most = STALE_AFTER * 1e6 / self._clock_state.limit
        if not 0.0 < value <= most:
            raise UsageError(f"This bus gives from above 0 to {most:g} rows a second, not {value:g}.")
        if self._anchor is not None:
            # The new rate counts from the last row.
            self._anchor += round(self._made * 1e6 / self._hz)
            self._made = 0
        self._hz = value

    @property
    def missing(self) -> list[str]:
        """Signals that a row needs and that have not come yet in this trip."""
        wanted = {(id(state), index) for state, index, _ in self._columns}
        return [
            name
            for name, (state, index, _) in self._signals.items()
            if (id(state), index) in wanted and not _known(state, index)
        ]

    @property
    def last_frame(self) -> float | None:
        """The timestamp of the last frame of any kind, None before the first: how long the bus has been silent."""
        return self._stamp if self.counts.frames else None

    def feed(self, message: can.Message | Frame) -> Sample | None:
        """Take one frame; the row that it completes, if it completes one."""
        if isinstance(message, Frame):
            time, identifier, data, extended = message
            return self.feed_data(identifier | EXTENDED if extended else identifier, data, time)
        if message.is_error_frame or message.is_remote_frame or message.is_fd:
            self.counts.frames += 1
            self.counts.other += 1
            self._stamp = message.timestamp
            return None
        number = message.arbitration_id
        if message.is_extended_id:
            number |= EXTENDED
        return self.feed_data(number, message.data, message.timestamp)

    def feed_data(self, number: int, data: bytes | bytearray, timestamp: float) -> Sample | None:
        """As `feed`: identifier (with `codec.EXTENDED` for one of 29 bits), data, seconds since 1970."""
        counts = self.counts
        counts.frames += 1
        self._stamp = timestamp
        sample = self._by_frames(timestamp) if self._trip is None else None
        state = self._states.get(number)
        if state is None:
            counts.unknown += 1
            return sample
        if len(data) != state.length:
            counts.bad_length += 1
            return sample
        values = state.unpack(data)
        if values is None:
            counts.out_of_range += 1
            return sample
        if state.merges:
            values = _merged(state.values, values)
        if state.counter is not None and state.values:
            gap = int(values[state.counter] - state.values[state.counter]) % state.size
            counts.lost += max(0, gap - 1)
        state.values = values
        if not state.pending:
            state.pending = True
            self._pending.append(state)
        if state is self._clock_state and self._trip is not None:
            return self._tick(int(values[self._trip[1]]))
        return sample

    def samples(
        self, bus: can.BusABC, *, stop: Callable[[], bool] = lambda: False, patience: float = 0.2
    ) -> Iterator[Sample]:
        """Rows from a bus as they come, until `stop()`, which is asked each `patience` seconds or sooner.

        A silent bus gives no rows; see `last_frame`. Raises what the bus raises.
        """
        while not stop():
            message = bus.recv(patience)
            if message is not None and (sample := self.feed(message)) is not None:
                yield sample

    def rows(self, frames: Iterable[Frame]) -> Iterator[CarRow]:
        """The rows of frames that are at hand (a log)."""
        for frame in frames:
            sample = self.feed(frame)
            if sample is not None:
                yield sample.row

    def readings(self) -> dict[str, Reading]:
        """The latest value of every signal of the DBC, by name."""
        return {
            name: self._reading(state, index, signal)
            for name, (state, index, signal) in self._signals.items()
        }

    def _reading(self, state: _State, index: int, signal: Signal) -> Reading:
        unit = signal.unit or ""
        if not _known(state, index):
            return Reading(None, unit, None, None, stale=True)
        value = state.values[index]
        label = None
        if signal.choices:
            named = signal.conversion.raw_to_scaled(signal.conversion.numeric_scaled_to_raw(value))
            label = None if isinstance(named, int | float) else str(named)
        seen = self._now if state.pending or state.seen is None else state.seen
        age = 0.0 if self._now is None or seen is None else (self._now - seen) / 1e6
        number = None if label == NOT_AVAILABLE else _rounded(value, decimals(signal))
        return Reading(number, unit, label, age, self._is_stale(state))

    def _is_stale(self, state: _State) -> bool:
        if not state.values:
            return True
        if state.pending or state.limit is None or state.seen is None or self._now is None:
            return False
        return self._now - state.seen > state.limit

    def _by_frames(self, timestamp: float) -> Sample | None:
        """A tick before a frame of a later moment, where the frames are the clock."""
        if self._origin is None:
            self._origin = timestamp
        now = round((timestamp - self._origin) * 1e6)
        if self._now is not None and now == self._now:
            return None
        return self._tick(now)

    def _tick(self, now: int) -> Sample | None:
        """The car's clock is at `now` (us): what came since the last tick belongs to it; make the row if one is due."""
        before = self._now
        if before is None or now < before or now - before > LONGEST_STEP * 1e6:
            self.counts.trips += 1
            self._anchor = None
            self._dated = None
            for state in self._states.values():
                if not state.pending:
                    # Another trip: what the last one left behind says nothing of this one.
                    state.values = []
                    state.seen = None
        self._now = now
        for state in self._pending:
            state.seen = now
            state.pending = False
        dated = self._date(now)
        self._pending.clear()
        if self._anchor is None:
            if not all(_known(state, index) for state, index, _ in self._columns):
                return None
            self._anchor, self._made = now, 0
        elif (now - self._anchor) * self._hz < (self._made + 1) * 1e6 - 0.5:
            return None
        else:
            self._made = max(self._made + 1, int(((now - self._anchor) * self._hz + 0.5) / 1e6))
        self.counts.rows += 1
        numbers = [_rounded(state.values[index], places) for state, index, places in self._columns]
        wall = round(self._stamp * 1e6) if dated is None else dated
        row = CarRow(text_of(wall), now / 1e6, *numbers)
        stale = frozenset(name for name, (state, _, _) in self._signals.items() if self._is_stale(state))
        return Sample(row, stale)

    def _date(self, now: int) -> int | None:
        """The car's wall clock at `now` (us since 1970), None where it tells none."""
        if "Date" in self._signals and "TimeOfDay" in self._signals:
            state, index, _ = self._signals["Date"]
            other, place, _ = self._signals["TimeOfDay"]
            if state.seen == now and state.values and other.values:
                day = int(state.values[index])
                self._dated = None if day == NO_DATE else (day * DAY + int(other.values[place]), now)
        return None if self._dated is None else self._dated[0] + now - self._dated[1]


def _known(state: _State, index: int) -> bool:
    return bool(state.values) and not math.isnan(state.values[index])


def _merged(before: list[float], after: list[float]) -> list[float]:
    """What a multiplexed frame does not carry stays as it was."""
    if not before:
        return after
    return [old if math.isnan(new) else new for old, new in zip(before, after, strict=True)]


def _rounded(value: float, places: int) -> float:
    """A decoded value without what binary fractions add: 30647 steps of 0.001 are 30.647. Never -0.0."""
    return round(float(value), places) + 0.0
