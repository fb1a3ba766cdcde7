"""Time and ids, injected: nothing else in the library reads the clock or draws a random id.

A test gives a `FakeClock` and counts on from there; the lab itself uses `SystemClock`.
"""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """What a room needs to know of time and chance."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, as the wall clock has them; it may step backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never steps backwards. For waits and timeouts."""
        ...

    def new_id(self) -> str:
        """A fresh UUID as 36 characters."""
        ...

    def token(self, size: int) -> bytes:
        """`size` bytes that cannot be guessed (keys)."""
        ...


class SystemClock:
    """The machine's clock and its random source."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment, never backwards."""
        return time.monotonic()

    def new_id(self) -> str:
        """A random UUID (RFC 9562 version 4)."""
        return str(uuid.uuid4())

    def token(self, size: int) -> bytes:
        """`size` bytes from the operating system's random source."""
        return secrets.token_bytes(size)


class FakeClock:
    """A clock that stands still until told, with ids that count up: for tests and examples."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.time = start
        self._ticks = start
        self._ids = 0

    def now(self) -> float:
        """The time it was set to."""
        return self.time

    def monotonic(self) -> float:
        """Seconds advanced so far; setting `time` back does not change it."""
        return self._ticks

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self.time += seconds
        self._ticks += seconds

    def new_id(self) -> str:
        """00000000-0000-4000-8000-000000000001, ...2, and so on."""
        self._ids += 1
        return f"00000000-0000-4000-8000-{self._ids:012d}"

    def token(self, size: int) -> bytes:
        """Bytes that differ from call to call and repeat from run to run."""
        self._ids += 1
        return self._ids.to_bytes(size, "big")
