"""The fleet, live: each device with its connection, how often it sends, and what it said last.

    view = fleet_view.watch(lab, arrived)   # arrived: a queue.Queue into which a consumer puts events
    view                                    # the widget
    view.now()                              # its plain-call twin

Which devices there are the hub says, by a query once in a while; the rest comes from the events. At most `MOST` devices
are listed, those that sent last first.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final

from iotedge_lab.event_text import ShownEvent
from iotedge_lab.show.polled import EVERY, PolledView, Table

if TYPE_CHECKING:
    from iotedge_lab.lab import Lab
    from iotedge_lab.show.event_view import Events

MOST: Final = 20
WINDOW: Final = 5.0  # s over which a rate is taken
_ASKED: Final = 1000  # devices that are asked for
_ANEW: Final = 2.0  # s between two questions to the hub
_LAST: Final = 60  # characters of the last value


@dataclass(slots=True)
class _Sender:
    connection: str = ""
    times: deque[float] = field(default_factory=deque)
    last: str = ""
    count: int = 0


class FleetView(PolledView):
    """A view onto all devices of a hub; see `PolledView`. `heard` counts the events that it has seen."""

    css: ClassVar[str] = "iotedge-fleet"

    def __init__(self, lab: Lab, events: Events, *, name: str, every: float = EVERY) -> None:
        super().__init__(name=name, every=every)
        self._lab = lab
        self._events = events
        self._senders: dict[str, _Sender] = {}
        self._asked = -_ANEW
        self.heard = 0

    def now(self) -> Table:
        """The devices as they were last seen, as a table that stays."""
        return self._table(time.monotonic())

    def _look(self) -> str:
        now = time.monotonic()
        if now - self._asked >= _ANEW:
            self._ask()
            self._asked = now
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            self._take(event, now)
        return self._table(now)._repr_html_()

    def _ask(self) -> None:
        asked = "SELECT deviceId, connectionState FROM devices"
        for row in islice(self._lab.rest().query(asked, page=_ASKED), _ASKED):
            self._senders.setdefault(str(row["deviceId"]), _Sender()).connection = str(row["connectionState"])

    def _take(self, event: object, now: float) -> None:
        seen = ShownEvent.of("", event)
        sender = self._senders.setdefault(seen.device_id, _Sender())
        sender.times.append(now)
        sender.count += 1
        sender.last = seen.body[:_LAST].decode("utf-8", "replace")
        self.heard += 1

    def _table(self, now: float) -> Table:
        rows = []
        latest = sorted(
            self._senders.items(), key=lambda each: (-(each[1].times[-1] if each[1].times else 0.0), each[0])
        )
        for device, sender in latest[:MOST]:
            times = list(sender.times)
            recent = sum(now - when < WINDOW for when in times)
            while sender.times and now - sender.times[0] > WINDOW and len(sender.times) > 1:
                sender.times.popleft()
            rate = f"{recent / WINDOW:.1f}"
            rows.append((device, sender.connection, rate, str(sender.count), sender.last))
        more = len(self._senders) - len(rows)
        connected = sum(each.connection == "Connected" for each in self._senders.values())
        note = f"{len(self._senders)} devices, {connected} connected" + (
            f", {more} not shown" if more else ""
        )
        return Table(("device", "connection", "messages/s", "messages", "last"), rows, note)


def watch(lab: Lab, events: Events, *, name: str = "fleet", every: float = EVERY) -> FleetView:
    """A view that watches a hub's devices from now on; see `FleetView`."""
    return FleetView(lab, events, name=name, every=every).start()
