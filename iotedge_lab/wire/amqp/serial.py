"""Serial number arithmetic over 32 bits (RFC 1982), by which AMQP counts deliveries and transfers."""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


def add(serial: int, count: int) -> int:
    """`serial` moved on by `count`, which may be negative."""
    return (serial + count) & MASK


def distance(start: int, end: int) -> int:
    """How far `end` lies after `start`: negative where it lies before, -2**31 to 2**31 - 1."""
    gap = (end - start) & MASK
    return gap if gap < _HALF else gap - MASK - 1
