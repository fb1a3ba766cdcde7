"""The pumps of an edge hub: one for each lane that ever had a message, each with the outlet where it leads."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from iotedge_lab.edge.hub.timing import Timing
from iotedge_lab.edge.routes.places import UPSTREAM
from iotedge_lab.edge.store import Lane, Pump
from iotedge_lab.errors import Throttled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.hub.member import Member
    from iotedge_lab.edge.store import Outlet, Parcel, Queues


class InputOutlet:
    """An input of a module (`store.Outlet`)."""

    def __init__(self, member: Member, input_name: str) -> None:
        self._member = member
        self._topic = f"devices/{member.device}/modules/{member.module}/inputs/{quote(input_name, safe='')}/"

    def send(self, parcel: Parcel, done: Callable[[], None]) -> bool:
        """To the module, if it is connected and subscribed."""
        connection = self._member.connection
        if connection is None:
            return False
        try:
            return connection.deliver(self._topic + parcel.topic, parcel.body, done)
        except Throttled:
            return False


class _Timed:
    """An outlet, and how long its acknowledgements take."""

    def __init__(self, outlet: Outlet, timing: Timing, clock: Clock) -> None:
        self._outlet = outlet
        self._timing = timing
        self._clock = clock

    def send(self, parcel: Parcel, done: Callable[[], None]) -> bool:
        began = self._clock.monotonic()

        def finished() -> None:
            self._timing.add(self._clock.monotonic() - began)
            done()

        return self._outlet.send(parcel, finished)


class Pumps:
    """One pump a lane. `member_of(device, module)` gives the identity that a lane belongs to, or None.

    `timings` are filled, by endpoint.
    """

    def __init__(
        self,
        queues: Queues,
        device: str,
        member_of: Callable[[str, str], Member | None],
        timings: dict[str, Timing],
        clock: Clock,
    ) -> None:
        self._queues = queues
        self._device = device
        self._member_of = member_of
        self._timings = timings
        self._clock = clock
        self._pumps: dict[Lane, Pump] = {}
        self._inputs: dict[str, list[Pump]] = {}  # by module
        self.purged = Counter[str]()
        """what was dropped of queues that are no more, by reason: for counters that do not go back"""

    def wanted(self, lanes: Iterable[Lane]) -> None:
        """Have a pump for each of these lanes, running."""
        for lane in lanes:
            if lane not in self._pumps:
                self._begin(lane)

    def wake(self, lane: Lane) -> None:
        """Its outlet can take messages again."""
        pump = self._pumps.get(lane)
        if pump is not None:
            pump.wake()

    def lost(self, lane: Lane) -> None:
        """Its outlet has forgotten what was in flight."""
        pump = self._pumps.get(lane)
        if pump is not None:
            pump.lost()

    def waits(self, lane: Lane) -> bool:
        """Whether something waits in the lane."""
        pump = self._pumps.get(lane)
        return pump is not None and pump.length > 0

    def wake_inputs(self, module: str) -> None:
        """A module is there (again): what waits for its inputs goes out."""
        for pump in self._inputs.get(module, ()):
            pump.wake()

    def lost_inputs(self, module: str) -> None:
        """A module's connection has ended: what it had not acknowledged is delivered again."""
        for pump in self._inputs.get(module, ()):
            pump.lost()

    def forget_inputs(self, module: str) -> int:
        """A module is no longer deployed: drop what waits for its inputs; how many that were.

        Raises `StoreUnavailable`.
        """
        dropped = 0
        figures = self._queues.figures()
        for endpoint in {each.lane.endpoint for each in figures if _module_of(each.lane) == module}:
            pump = self._pumps.pop(Lane(endpoint), None)
            if pump is not None:
                pump.close()
            count = self._queues.purge(endpoint)
            gone = [each for each in figures if each.lane.endpoint == endpoint]
            self.purged["expired"] += sum(each.expired for each in gone)
            self.purged["refused"] += sum(each.refused for each in gone)
            self.purged["removed"] += count
            dropped += count
        self._inputs.pop(module, None)
        return dropped

    def tick(self) -> None:
        """Once a second: start lanes that have waited without a pump, go on where a fault has stopped one."""
        self.wanted(self._queues.lanes())
        for pump in self._pumps.values():
            if pump.length > pump.in_flight:
                pump.wake()

    def close(self) -> None:
        """Send nothing more."""
        for pump in self._pumps.values():
            pump.close()
        self._pumps.clear()
        self._inputs.clear()

    def _begin(self, lane: Lane) -> None:
        outlet = self._outlet(lane)
        if outlet is None:
            return  # its identity is not known (any more): the messages wait for it until their time is over
        timed = _Timed(outlet, self._timings.setdefault(lane.endpoint, Timing()), self._clock)
        pump = self._pumps[lane] = Pump(self._queues, lane, timed)
        if lane.endpoint != UPSTREAM:
            self._inputs.setdefault(_module_of(lane), []).append(pump)
        pump.wake()

    def _outlet(self, lane: Lane) -> Outlet | None:
        if lane.endpoint == UPSTREAM:
            device, _, module = lane.source.partition("/")
            return self._member_of(device, module)
        module, _, input_name = lane.endpoint.partition("/")
        member = self._member_of(self._device, module)
        return None if member is None else InputOutlet(member, input_name)


def _module_of(lane: Lane) -> str:
    """The module whose input a lane leads to; '' for the hub."""
    return "" if lane.endpoint == UPSTREAM else lane.endpoint.partition("/")[0]
