"""What lies in the queues: a message on its way to one endpoint, and where in which queue.

There is a queue for each lane and priority, as the open-source edgeHub has one for each endpoint and priority.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

SEQUENCE_BITS: Final = 42
"""A parcel's id is its queue's number, and in these lower bits its place there: one key, no index beside it.

Room for two million queues, and for fourteen years of 10,000 messages a second in one.
"""

QUEUES_MOST: Final = 1 << (63 - SEQUENCE_BITS)


class Lane(NamedTuple):
    """Where to, and whose order is kept.

    Upstream there is a lane for each identity that sends, `("$upstream", "device")` or
    `("$upstream", "device/module")`, because each has a connection of its own. A module's input is one lane,
    `("module/input", "")`.
    """

    endpoint: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.source} -> {self.endpoint}" if self.source else self.endpoint


@dataclass(frozen=True, slots=True)
class Entry:
    """A message to be put into a queue. `topic` is its property bag; what that means is the caller's matter.

    `priority` 0 goes first. `time_to_live` is in seconds from when it is stored; `math.inf` for no end.
    """

    lane: Lane
    priority: int
    topic: str
    body: bytes
    time_to_live: float = math.inf


@dataclass(frozen=True, slots=True)
class Parcel:
    """A stored message. `id` grows within a lane and priority; it is one parcel's own while the runtime lives.

    `enqueued` and `expires` are in seconds since 1970 by the clock as it goes now: where it was set anew, they
    were moved with it (see `ageing`). `expires` is `math.inf` for a message without end.
    """

    id: int
    lane: Lane
    priority: int
    topic: str
    body: bytes
    enqueued: float
    expires: float


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How one queue does. `length` counts what is in flight too; `oldest` is an age in seconds, 0 if it is empty.

    `expired` were dropped because their time was over, `refused` because their outlet will never take them; both
    since the file was made.
    """

    lane: Lane
    priority: int
    length: int
    oldest: float
    expired: int
    refused: int
