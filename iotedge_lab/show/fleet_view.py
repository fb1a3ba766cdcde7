"""The fleet, live: each device with its connection, how often it sends, and what it said last.

    view = fleet_view.watch(lab, arrived)   # arrived: a queue.Queue into which a consumer puts events
    view                                    # the widget
    view.now()                              # its plain-call twin

Which devices there are the hub says, by a query once in a while; the rest comes from the events. At most `MOST` devices
are listed, in the order that is chosen above them.
"""

from __future__ import annotations

import json
import queue
import re
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.event_text import ShownEvent, readable
from iotedge_lab.show.grid import GOOD, MIDDLE, Grid, Grids
from iotedge_lab.show.pane import TablePane
from iotedge_lab.show.polled import EVERY, PolledView, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iotedge_lab.lab import Lab
    from iotedge_lab.show.event_view import Events

MOST: Final = 20
WINDOW: Final = 5.0  # s over which a rate is taken
_ASKED: Final = 1000  # devices that are asked for
_ANEW: Final = 2.0  # s between two questions to the hub
_ANEW_AZURE: Final = 10.0  # which takes 20 queries a minute
_LAST: Final = 60  # characters of the last value
_CONNECTED: Final = "Connected"
_MARKS: Final = {_CONNECTED: GOOD, "Disconnected": MIDDLE}
_PLACE: Final = frozenset({"time", "seconds", "latitude", "longitude", "driveId"})
"""What a car's message has beside its values: it leads to nothing in a line that is cut."""
_FIRST: Final = frozenset({"speed", "predicted", "actual"})


@dataclass(slots=True)
class _Sender:
    connection: str = ""
    times: deque[float] = field(default_factory=deque)  # of the last WINDOW seconds
    heard: float = 0.0  # when the hub took the last, by its clock
    arrived: float = 0.0  # when that came here, by ours
    last: bytes = b""
    count: int = 0

    def take(self, heard: float, arrived: float) -> None:
        """Count a message; forget those of which no rate is taken any more."""
        self.heard, self.arrived = heard, arrived
        self.count += 1
        self.times.append(heard)
        while heard - self.times[0] > WINDOW:
            self.times.popleft()

    def rate(self, now: float) -> float:
        """Messages a second by the hub's clock, up to the last one: a consumer that lags changes nothing in it.

        It goes down to nothing while no more come.
        """
        first = self.heard - WINDOW + (now - self.arrived)
        return sum(when > first for when in tuple(self.times)) / WINDOW


def _by_name(device: str) -> tuple[str | int, ...]:
    """car-2 before car-10."""
    return tuple(int(each) if each.isdigit() else each for each in re.split(r"([0-9]+)", device))


_Item = tuple[str, _Sender]
ORDERS: Final[dict[str, Callable[[_Item, float], Any]]] = {
    "connected first": lambda item, _: (item[1].connection != _CONNECTED, _by_name(item[0])),
    "fastest first": lambda item, now: (-item[1].rate(now), _by_name(item[0])),
    "heard last first": lambda item, _: (-item[1].heard, _by_name(item[0])),
}
"""The orders that can be chosen; the first is the one at the start. It is steady: rows do not jump as messages come."""


class FleetView(PolledView[str]):
    """A view onto all devices of a hub; see `PolledView`. `heard` counts the events that it has seen."""

    css: ClassVar[str] = "iotedge-fleet"

    def __init__(
        self, lab: Lab, events: Events, *, name: str, every: float = EVERY, clock: Clock | None = None
    ) -> None:
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        clock = clock or SystemClock()
        super().__init__(TablePane("Looking at the devices ..."), name=name, every=every, clock=clock)
        self._lab = lab
        self._events = events
        self._senders: dict[str, _Sender] = {}
        self._anew = _ANEW if lab.is_local else _ANEW_AZURE
        self._asked = clock.monotonic() - self._anew
        self._order = next(iter(ORDERS))
        self._orderly = ipywidgets.Dropdown(options=list(ORDERS), value=self._order, description="Order")
        self._orderly.style.description_width = "initial"
        self._orderly.layout.width = "15em"
        self._orderly.observe(lambda change: self._orders.put(lambda: self._sort(change.new)), "value")
        self._buttons.children = (self._orderly, *self._buttons.children)
        self.heard = 0
        self.unread = 0

    def now(self) -> Grids:
        """The devices as they were last seen, as a table that stays."""
        return self._table(self._clock.monotonic())

    def _controls(self) -> Sequence[Any]:
        return (self._orderly, self._button)

    def _sort(self, order: str) -> None:
        self._order = order

    def _look(self) -> str:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            self._take(event)
        now = self._clock.monotonic()
        if now - self._asked >= self._anew:
            try:
                self._ask()
            except Exception:
                self._pane.draw(self.now()._repr_html_())  # what came by the events is shown all the same
                raise
            self._asked = now
        return self.now()._repr_html_()

    def _ask(self) -> None:
        found = self._connections("devices")
        # An edge device is there by its edge hub: the device itself does not connect, and stays Disconnected.
        for device, connection in self._connections("devices.modules WHERE moduleId = '$edgeHub'").items():
            if connection == _CONNECTED and device in found:
                found[device] = connection
        if len(found) < _ASKED:  # else there may be more than were asked for
            for gone in self._senders.keys() - found.keys():
                del self._senders[gone]
        for device, connection in found.items():
            self._senders.setdefault(device, _Sender()).connection = connection

    def _connections(self, of: str) -> dict[str, str]:
        rows = self._lab.rest().query(f"SELECT deviceId, connectionState FROM {of}", page=_ASKED)
        return {str(row["deviceId"]): str(row["connectionState"]) for row in islice(rows, _ASKED)}

    def _take(self, event: object) -> None:
        try:
            seen = ShownEvent.of("", event)
        except Exception:  # noqa: BLE001 - what is no event must not end the view
            self.unread += 1
            return
        sender = self._senders.setdefault(seen.device_id, _Sender())
        sender.take(seen.enqueued.timestamp(), self._clock.monotonic())
        sender.last = seen.body
        self.heard += 1

    def _table(self, now: float) -> Grids:
        order = ORDERS[self._order]
        senders = list(self._senders.items())
        shown = sorted(senders, key=lambda item: order(item, now))[:MOST]
        rows = [
            (device, each.connection, f"{each.rate(now):.1f}", f"{each.count:,}", said(each.last))
            for device, each in shown
        ]
        head = ("device", "connection", "messages/s", "messages", "last value")
        connected = sum(each.connection == _CONNECTED for _, each in senders)
        more = len(senders) - len(rows)
        note = f"{counted(len(senders), 'devices')}, {connected:,} connected"
        return Grids(
            f"{note}, {more:,} not shown" if more else note,
            (
                Grid(
                    head, rows, figures=frozenset(head[2:4]), marked="connection", marks=_MARKS, wide=head[4]
                ),
            ),
        )


def said(body: bytes) -> str:
    """What a message says, in a short line: the values of a JSON object by name, a text as it is."""
    kind, value = readable(body)
    if kind == "base64":
        return counted(len(body), "bytes")
    if isinstance(value, dict):
        names = [name for name in value if name not in _PLACE] or list(value)
        names.sort(key=lambda name: name not in _FIRST)
        value = ", ".join(f"{name} {_short(value[name])}" for name in names)
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _LAST else f"{text[: _LAST - 1].rstrip()}…"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def watch(lab: Lab, events: Events, *, name: str = "fleet", every: float = EVERY) -> FleetView:
    """A view that watches a hub's devices from now on; see `FleetView`."""
    return FleetView(lab, events, name=name, every=every).start()
