"""Two runtimes as one edge device: how the one that is thrown out again and again knows.

An IoT Hub has one connection an identity, and a new one ends the older without a word ("Communicate with an IoT hub
using the MQTT protocol"). Two runtimes of one device so take turns; the link's back-off keeps them slow, and here is
noticed what it looks like: connections that the hub lets in and ends soon after, one after another.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock

_ENDED_BY_HUB: Final = "the hub closed the connection"
_SHORT: Final = 60.0  # s that a connection lasts at most, to count
_WITHIN: Final = 300.0  # s
_TIMES: Final = 4

WORDS: Final = (
    "the hub lets this edge device in and ends its connection soon after, again and again. Either another edge "
    "runtime runs as the same device (another folder, or another machine): stop one of them. Or the hub is restarted "
    "all the time"
)


class Rivals:
    """The connections of one identity, as they came and went."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._ends: deque[float] = deque(maxlen=_TIMES)

    def connected(self) -> None:
        """A connection has begun."""
        self._since = self._clock.monotonic()

    def disconnected(self, reason: str) -> None:
        """It has ended."""
        now, since = self._clock.monotonic(), self._since
        self._since = None
        if reason == _ENDED_BY_HUB and since is not None and now - since <= _SHORT:
            self._ends.append(now)

    @property
    def words(self) -> str:
        """What to say of it; '' where there is no sign of another."""
        now = self._clock.monotonic()
        if len(self._ends) < _TIMES or now - self._ends[0] > _WITHIN:
            return ""
        return WORDS
