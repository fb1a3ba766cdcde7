"""Signals to bytes and back, precompiled: what cantools works out for each frame is here worked out once.

cantools stays the authority: the layouts come from its messages, the tests compare the two on random values, and
what a plain shift and scale cannot do (multiplexing, floats, mixed byte orders) is left to cantools itself.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from cantools.errors import Error

from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from cantools.database import Database
    from cantools.database.can import Message, Signal

EXTENDED: Final = 0x80000000
"""Set in a key for an identifier of 29 bits, as DBC files and SocketCAN do it."""

NOT_AVAILABLE: Final = "NotAvailable"
"""The label of a raw value which says that there is no value."""


class Layout(Protocol):
    """One message of the DBC: how its values, in the order of `names`, become `length` bytes and come back."""

    @property
    def message(self) -> Message:
        """What cantools knows of it."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Its signals."""
        ...

    @property
    def length(self) -> int:
        """Bytes of data."""
        ...

    def pack(self, values: Sequence[float], clipped: Counter[str]) -> bytes:
        """The frame's data. What lies beyond a signal's range goes to its end, as a sensor's does, and is counted.

        Raises DataError for a value that is no number.
        """
        ...

    def unpack(self, data: bytes | bytearray) -> list[float] | None:
        """The values in data of the right length; None where one lies outside its signal's range.

        NaN for what a multiplexed frame does not carry.
        """
        ...


class _Field(NamedTuple):
    name: str
    shift: int
    mask: int
    sign: int
    """the sign bit of a signed signal, else 0"""
    scale: float
    offset: float
    whole: bool
    """scale 1 and offset 0: values are raw, and integers of 64 bits must not pass through a float"""
    low: int
    high: int
    labelled: frozenset[int]
    """raw values that have a name and are allowed outside the range"""


def key(identifier: int, *, extended: bool) -> int:
    """What layouts are found by: the identifier, with `EXTENDED` set for one of 29 bits."""
    return identifier | EXTENDED if extended else identifier


def layouts(database: Database) -> dict[int, Layout]:
    """The layouts of all messages by `key`."""
    return {
        key(message.frame_id, extended=message.is_extended_frame): _layout(message)
        for message in database.messages
    }


def decimals(signal: Signal) -> int:
    """How many decimals the signal's steps have: 3 for 0.001, 2 for 0.25."""
    parts = (Decimal(str(part)).normalize().as_tuple().exponent for part in (signal.scale, signal.offset))
    return min(12, max(0, *(-part for part in parts if isinstance(part, int))))


def bounds(signal: Signal) -> tuple[int, int]:
    """The lowest and the highest raw value: what the bits can hold, within the signal's minimum and maximum."""
    bits = signal.length
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signal.is_signed else (0, (1 << bits) - 1)
    ends = [
        round((end - signal.offset) / signal.scale) if (signal.scale, signal.offset) != (1, 0) else round(end)
        for end in (signal.minimum, signal.maximum)
        if end is not None
    ]
    if len(ends) < 2 or signal.minimum == signal.maximum:  # [0|0] stands for "no range" in DBC files
        return low, high
    return max(low, min(ends)), min(high, max(ends))


def _layout(message: Message) -> Layout:
    orders = {signal.byte_order for signal in message.signals}
    plain = (
        len(orders) == 1
        and not message.is_multiplexed()
        and not message.is_container
        and not any(signal.is_float for signal in message.signals)
    )
    return _Plain(message) if plain else _Other(message)


class _Plain:
    """A message of integers in one byte order: its data are one integer, its signals lie in it."""

    __slots__ = ("_fields", "_little", "length", "message", "names")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.length = message.length
        self.names = tuple(signal.name for signal in message.signals)
        self._little = message.signals[0].byte_order == "little_endian"
        self._fields = tuple(self._field(signal) for signal in message.signals)

    def _field(self, signal: Signal) -> _Field:
        if self._little:
            shift = signal.start
        else:
            # DBC counts a Motorola signal from its most significant bit, bits from 7 to 0 within each byte.
            first = 8 * (signal.start // 8) + 7 - signal.start % 8
            shift = 8 * self.length - first - signal.length
        low, high = bounds(signal)
        return _Field(
            signal.name, shift, (1 << signal.length) - 1, 1 << (signal.length - 1) if signal.is_signed else 0,
            signal.scale, signal.offset, (signal.scale, signal.offset) == (1, 0), low, high,
            frozenset(signal.choices or ()),
        )  # fmt: skip

    def pack(self, values: Sequence[float], clipped: Counter[str]) -> bytes:
        word = 0
        try:
            for (name, shift, mask, _, scale, offset, whole, low, high, labelled), value in zip(
                self._fields, values, strict=True
            ):
                raw = round(value if whole else (value - offset) / scale)
                if not low <= raw <= high and raw not in labelled:
                    clipped[name] += 1
                    raw = low if raw < low else high
                word |= (raw & mask) << shift
        except (ValueError, OverflowError) as error:
            raise _no_number(self, values) from error
        return word.to_bytes(self.length, "little" if self._little else "big")

    def unpack(self, data: bytes | bytearray) -> list[float] | None:
        word = int.from_bytes(data, "little" if self._little else "big")
        values: list[float] = []
        for _, shift, mask, sign, scale, offset, whole, low, high, labelled in self._fields:
            raw = (((word >> shift) & mask) ^ sign) - sign
            if not low <= raw <= high and raw not in labelled:
                return None
            values.append(raw if whole else raw * scale + offset)
        return values


class _Other:
    """Any other message, through cantools."""

    __slots__ = ("length", "message", "names")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.length = message.length
        self.names = tuple(signal.name for signal in message.signals)

    def pack(self, values: Sequence[float], clipped: Counter[str]) -> bytes:
        named: dict[str, float] = {}
        for signal, value in zip(self.message.signals, values, strict=True):
            if not math.isfinite(value):
                raise _no_number(self, values)
            inside = value
            if not signal.is_float and not signal.choices:
                ends = sorted(raw * signal.scale + signal.offset for raw in bounds(signal))
                inside = min(max(value, ends[0]), ends[1])
            if inside != value:
                clipped[signal.name] += 1
            named[signal.name] = inside
        try:
            return bytes(self.message.encode(named, strict=False))
        except (Error, ValueError, OverflowError) as error:
            raise DataError(f"{self.message.name} cannot be encoded: {error}.") from error

    def unpack(self, data: bytes | bytearray) -> list[float] | None:
        try:
            found = self.message.decode(bytes(data), decode_choices=False)
        except (Error, ValueError):
            return None
        if not isinstance(found, dict):
            return None
        values = [found.get(name) for name in self.names]
        return [value if isinstance(value, int | float) else math.nan for value in values]


def _no_number(layout: Layout, values: Sequence[float]) -> DataError:
    for name, value in zip(layout.names, values, strict=False):
        if not (isinstance(value, int | float) and math.isfinite(value)):
            return DataError(f"{name} is {value}; a frame of {layout.message.name} needs a finite number.")
    return DataError(f"{layout.message.name} takes {len(layout.names)} values, not {len(values)}.")
