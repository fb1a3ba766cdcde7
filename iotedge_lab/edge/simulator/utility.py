"""The module `input` beside the module under test: takes what it sends, and is where messages to it come from.

Stands for the testing utility that `iotedgehubdev start -i` runs in a container of its own
(Azure/iot-edge-testing-utility): its output `input1` leads to the input `input1` of the module `target`, and all
outputs of `target` lead to its input `print`. Here it lives in the simulator's process, so it is a connection
without a socket. It is told which output a message came from, which the real one is not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.edge.hub.routing import Router, input_lane
from iotedge_lab.edge.simulator.routes import PRINT, UTILITY
from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.wire.topics import decode_properties, encode_properties, parse_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.simulator.outputs import Outputs
    from iotedge_lab.edge.store import Entry

_OUTPUT: Final = "iothub-outputname"
_HERE: Final = ("127.0.0.1", 0)


class PrintingRouter(Router):
    """A router that leaves the output's name on what goes to `print`; other inputs do not learn it."""

    def telemetry(self, topic: bytes, body: bytes) -> list[Entry]:
        """The entries for a message, as ever."""
        return [
            replace(entry, topic=_with_output(entry.topic, topic)) if entry.lane == _PRINTED else entry
            for entry in super().telemetry(topic, body)
        ]


_PRINTED: Final = input_lane(UTILITY, PRINT)


def _with_output(bag: str, topic: bytes) -> str:
    output = parse_telemetry(topic).system.get(_OUTPUT)
    if output is None:
        return bag
    system, properties = decode_properties(bag)
    return encode_properties({**system, _OUTPUT: output}, properties)


class Utility(EdgeFront):
    """The connection of `input`: what is delivered to it is printed, which acknowledges it."""

    def __init__(self, hub: EdgeHub, outputs: Outputs) -> None:
        super().__init__(hub, ConnectionInfo(_HERE, _HERE, tls=False))
        self._outputs = outputs

    def deliver(
        self,
        topic: str,
        payload: bytes,
        acknowledged: Callable[[], None] | None = None,
        **_: Any,
    ) -> bool:
        """Keep a message that came to `print`."""
        try:
            system, properties = decode_properties(topic.rpartition("/")[2])
        except ProtocolViolation:
            system, properties = {}, {}
        output = system.pop(_OUTPUT, "")
        self._outputs.add(output, self._hub.clock.now(), payload, properties, system)
        if acknowledged is not None:
            acknowledged()
        return True

    def drop(self, reason: str) -> None:
        """There is nothing to close."""
