"""From a message that a module has sent to what lies in the queues: routes asked, properties made ready.

Stands for the routing of the open-source edgeHub ("Declare routes", learn.microsoft.com, IoT Edge,
module-composition): what no route takes is dropped and acknowledged all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.manifest.model import DEFAULT_TIME_TO_LIVE, HubConfig
from iotedge_lab.edge.routes.message import RoutedMessage
from iotedge_lab.edge.routes.places import UPSTREAM, ModuleInput
from iotedge_lab.edge.routes.table import RouteTable
from iotedge_lab.edge.store import Entry, Lane
from iotedge_lab.wire.topics import encode_properties, parse_telemetry

if TYPE_CHECKING:
    from iotedge_lab.wire.topics import Properties

_TOPICS_KEPT: Final = 1024
_LONGEST_KEPT: Final = 512  # characters of a topic: longer ones are read anew each time
_OUTPUT: Final = "iothub-outputname"
_FROM_DEVICE: Final = "iothub-connection-device-id"
_FROM_MODULE: Final = "iothub-connection-module-id"


def name_of(device: str, module: str) -> str:
    """`device` or `device/module`."""
    return f"{device}/{module}" if module else device


def upstream_lane(device: str, module: str) -> Lane:
    """The lane to the hub of one sending identity."""
    return Lane(UPSTREAM, name_of(device, module))


def input_lane(module: str, input_name: str) -> Lane:
    """The lane to an input of a module."""
    return Lane(f"{module}/{input_name}")


@dataclass(frozen=True, slots=True)
class _Sender:
    """What a telemetry topic says: all of a message but its body."""

    device: str
    module: str
    output: str | None
    system: dict[str, str]
    properties: Properties
    bag: str
    """the properties as they go to the hub"""

    def input_bag(self) -> str:
        """The properties as they go to an input: with who sent it in place of the output."""
        system = {name: value for name, value in self.system.items() if name != _OUTPUT}
        system[_FROM_DEVICE] = self.device
        if self.module:
            system[_FROM_MODULE] = self.module
        return encode_properties(system, self.properties)


class Router:
    """The routes in force. `taken` counts messages by the route that took them, `dropped` those that none took."""

    def __init__(self) -> None:
        self._table = RouteTable()
        self._time_to_live = DEFAULT_TIME_TO_LIVE
        self._senders: dict[bytes, _Sender] = {}
        self.taken: Counter[str] = Counter()
        self.dropped = 0

    def apply(self, config: HubConfig) -> None:
        """Have these routes from now on; what lies in the queues stays where it is."""
        self._table = config.table()
        self._time_to_live = config.time_to_live

    @property
    def table(self) -> RouteTable:
        """The routes."""
        return self._table

    def telemetry(self, topic: bytes, body: bytes) -> list[Entry]:
        """The entries for a message that came at a telemetry topic; none where no route takes it."""
        sender = self._senders.get(topic)
        if sender is None:
            sender = self._read(topic)
        message = RoutedMessage(
            sender.module or None, sender.output, sender.system, sender.properties, body, device=sender.device
        )
        return self._entries(sender, message)

    def twin_change(self, device: str, module: str, body: bytes) -> list[Entry]:
        """The entries for a twin change notification of a module or leaf device."""
        system = {
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "iothub-message-schema": "twinChangeNotification",
        }
        properties: Properties = {"opType": "updateTwin"}
        sender = _Sender(device, module, None, system, properties, encode_properties(system, properties))
        message = RoutedMessage(
            module or None, None, system, properties, body, device=device, twin_change=True
        )
        return self._entries(sender, message, count=False)

    def _entries(self, sender: _Sender, message: RoutedMessage, *, count: bool = True) -> list[Entry]:
        deliveries = self._table.deliveries(message)
        if not deliveries:
            self.dropped += count
            return []
        made = []
        for each in deliveries:
            self.taken[each.name] += 1
            if isinstance(each.endpoint, ModuleInput):
                lane, bag = input_lane(each.endpoint.module, each.endpoint.input), sender.input_bag()
            else:
                lane, bag = upstream_lane(sender.device, sender.module), sender.bag
            ttl = self._time_to_live if each.time_to_live is None else each.time_to_live
            made.append(Entry(lane, each.priority, bag, message.body, float(ttl)))
        return made

    def _read(self, topic: bytes) -> _Sender:
        parsed = parse_telemetry(topic)
        # Who sent it is what the connection says, not what a message says of itself: EchoModule sends on the
        # properties of what it got.
        system = {
            name: value for name, value in parsed.system.items() if name not in (_FROM_DEVICE, _FROM_MODULE)
        }
        bag = encode_properties(system, parsed.properties)
        sender = _Sender(
            parsed.device, parsed.module or "", system.get(_OUTPUT), system, parsed.properties, bag
        )
        if len(topic) <= _LONGEST_KEPT:
            if len(self._senders) >= _TOPICS_KEPT:
                self._senders.clear()
            self._senders[topic] = sender
        return sender
