"""Rows in the order of their drive, though the SDK's threads bring them in any. Sans-IO: the caller reads the clock.

The SDK calls its handlers on four threads, so of two messages that come close together the later one may be here
first. A row whose number follows the one before it is due at once, and so is number 1, with which a sender starts
anew. After a gap (a route may let only some rows through) a row waits for those that may still come. Where senders
give no numbers, each row waits a moment, and rows go by their `Seconds`; those that step back come after those that do
not, as a recording that starts again. Nothing is held for good, and nothing is left out.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from filter_car.rows import Arrival

HOLD: Final = 0.25  # s that a row waits for those with lower numbers
SETTLE: Final = 0.05  # s that a row without a number waits for earlier ones
CARS: Final = 64  # of which the place is remembered


class _Lane:
    """The rows of one car that wait, by rank; `last` is the rank of the one that went."""

    __slots__ = ("last", "numbered", "waiting")

    def __init__(self) -> None:
        self.last = -math.inf
        self.numbered = True
        self.waiting: list[tuple[float, float, Arrival]] = []

    def put(self, arrival: Arrival) -> None:
        numbered = arrival.number is not None
        if numbered != self.numbered:  # the sender has changed its ways: ranks of before say nothing now
            self.numbered, self.last = numbered, -math.inf
        rank = arrival.row.seconds if arrival.number is None else float(arrival.number)
        insort(self.waiting, (rank, arrival.at, arrival), key=lambda each: each[:2])

    def next(self) -> int:
        """Which one is next: the first beyond the last that went, or else the very first."""
        at = bisect_right(self.waiting, self.last, key=lambda each: each[0])
        return at if at < len(self.waiting) else 0

    def due(self, now: float) -> float:
        """Seconds until the next one is due; 0 or less: now."""
        rank, at, arrival = self.waiting[self.next()]
        if arrival.number is None:
            return at + SETTLE - now
        if rank == self.last + 1.0 or rank == 1.0:
            return 0.0
        return min(each[1] for each in self.waiting) + HOLD - now

    def take(self) -> Arrival:
        rank, _, arrival = self.waiting.pop(self.next())
        self.last = rank
        return arrival


class Order:
    """What has come and is not served yet, of all cars."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[tuple[str, str], _Lane] = OrderedDict()
        self._busy: dict[tuple[str, str], _Lane] = {}

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self._busy.values())

    def put(self, arrival: Arrival) -> bool:
        """A row has come. True: it is its turn, as the one before it has gone; it is not kept here, and goes now."""
        lane = self._lanes.get(arrival.car)
        if lane is not None and arrival.number == lane.last + 1.0 and lane.numbered and not lane.waiting:
            lane.last += 1.0
            return True
        if lane is None:
            lane = self._lanes[arrival.car] = _Lane()
            if len(self._lanes) > CARS:
                idle = next(
                    (car for car in self._lanes if car not in self._busy and car != arrival.car), None
                )
                if idle is not None:
                    del self._lanes[idle]
        else:
            self._lanes.move_to_end(arrival.car)
        self._busy[arrival.car] = lane
        lane.put(arrival)
        return False

    def take(self, now: float) -> Arrival | float:
        """The row that is due, or the seconds until one may be; infinity where none waits."""
        soonest = math.inf
        for car, lane in self._busy.items():
            wait = lane.due(now)
            if wait <= 0.0:
                return self._from(car, lane)
            soonest = min(soonest, wait)
        return soonest

    def flush(self) -> list[Arrival]:
        """All that waits, each car's in its order: the module stops."""
        found = []
        for car, lane in list(self._busy.items()):
            while lane.waiting:
                found.append(self._from(car, lane))
        return found

    def _from(self, car: tuple[str, str], lane: _Lane) -> Arrival:
        arrival = lane.take()
        if not lane.waiting:
            del self._busy[car]
        return arrival
