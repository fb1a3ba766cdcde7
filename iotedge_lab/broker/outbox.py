"""What a server has sent to a client and the client has not acknowledged (MQTT 3.1.1, 4.3.2 and 4.4).

Shared by the hub and the edge runtime. An outbox belongs to a session and outlives its connections: what is
to be `kept` is sent again, marked DUP and with its packet id, when the client returns; the rest (a method
call, a twin's change) means nothing to a later connection and is dropped with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.errors import Throttled
from iotedge_lab.wire.mqtt.encode import encode_publish
from iotedge_lab.wire.mqtt.packets import MAX_PACKET_ID

if TYPE_CHECKING:
    from collections.abc import Callable

IN_FLIGHT = 1000
"""Unacknowledged messages a client may have; a client that never acknowledges holds no more memory."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A QoS 1 message on its way. `acknowledged` is called once, when the client has it.

    `again` is asked before a message that is kept is sent again: False, and it is dropped.
    """

    topic: str
    payload: bytes
    acknowledged: Callable[[], None] | None
    kept: bool
    again: Callable[[], bool] | None


class Outbox:
    """Packet ids and unacknowledged messages of one session."""

    __slots__ = ("_in_flight", "_last_id")

    def __init__(self) -> None:
        self._in_flight: dict[int, Sent] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._in_flight)

    @property
    def room(self) -> int:
        """How many more messages may be on their way."""
        return max(0, IN_FLIGHT - len(self._in_flight))

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        acknowledged: Callable[[], None] | None = None,
        *,
        kept: bool = False,
        again: Callable[[], bool] | None = None,
    ) -> bytes:
        """The packet to write. At QoS 0 it counts as acknowledged at once. Raises `Throttled` without room."""
        if qos == 0:
            if acknowledged is not None:
                acknowledged()
            return encode_publish(topic, payload, 0)
        if not self.room:
            raise Throttled(f"the client has {IN_FLIGHT} messages that it has not acknowledged.")
        packet_id = self._next_id()
        self._in_flight[packet_id] = Sent(topic, payload, acknowledged, kept, again)
        return encode_publish(topic, payload, 1, packet_id)

    def acknowledge(self, packet_id: int) -> bool:
        """A PUBACK has come; False if nothing of that id is on its way (a second one, or a made-up one)."""
        sent = self._in_flight.pop(packet_id, None)
        if sent is None:
            return False
        if sent.acknowledged is not None:
            sent.acknowledged()
        return True

    def disconnected(self) -> None:
        """Drop what is not kept: its connection has ended."""
        self._in_flight = {number: sent for number, sent in self._in_flight.items() if sent.kept}

    def resend(self) -> bytes:
        """What is kept and still wanted, once more in its order, marked DUP (MQTT-3.3.1-1, MQTT-4.4.0-1)."""
        self._in_flight = {
            number: sent for number, sent in self._in_flight.items() if sent.again is None or sent.again()
        }
        return b"".join(
            encode_publish(sent.topic, sent.payload, 1, number, dup=True)
            for number, sent in self._in_flight.items()
        )

    def clear(self) -> None:
        """Forget everything: the session is gone."""
        self._in_flight.clear()

    def _next_id(self) -> int:
        number = self._last_id
        while True:
            number = number % MAX_PACKET_ID + 1
            if number not in self._in_flight:
                self._last_id = number
                return number
