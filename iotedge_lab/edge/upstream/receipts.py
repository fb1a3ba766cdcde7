"""Cloud-to-device messages that the hub has sent and that are not acknowledged yet.

The hub forgets a message when its PUBACK comes, so that goes up only when whom it is for has kept it. PUBACKs must
go up in the order in which the messages came [MQTT-4.6.0-2], and the gateway behind Azure's hubs drops a client
that has it otherwise (azure-iot-protocol-gateway, `InvalidPubAckOrder`): one that is not done holds back those after.

What was not acknowledged when the connection ended comes again, with DUP and its packet id, where the hub still has
the session; then it keeps its receipt, and one that was done meanwhile is acknowledged without another word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from iotedge_lab.wire.mqtt.encode import encode_puback

_KEPT: Final = 1000  # of earlier connections; a hub has 50 messages waiting for a device


@dataclass(slots=True)
class _Message:
    packet_id: int
    topic: bytes
    body: bytes
    done: bool = False


class Receipts:
    """The messages of one link, over all its connections. A receipt is never given to a second message."""

    def __init__(self) -> None:
        self._present: dict[int, _Message] = {}  # of this connection, in the order in which they came
        self._earlier: dict[int, _Message] = {}  # of those before, which may come again
        self._last = 0

    def __len__(self) -> int:
        return len(self._present)

    def came(self, packet_id: int, topic: bytes, body: bytes, *, dup: bool) -> tuple[int, bool]:
        """A message has come: its receipt, and whether it was done before (then `acks` has its PUBACK).

        Packet id 0 is one of QoS 0, which wants no PUBACK.
        """
        receipt = self._known(packet_id, topic, body) if dup else None
        if receipt is None:
            self._last = receipt = self._last + 1
            self._present[receipt] = _Message(packet_id, topic, body)
            return receipt, False
        self._present[receipt] = self._earlier.pop(receipt)
        return receipt, self._present[receipt].done

    def _known(self, packet_id: int, topic: bytes, body: bytes) -> int | None:
        for receipt, message in self._earlier.items():
            if (message.packet_id, message.topic, message.body) == (packet_id, topic, body):
                return receipt
        return None

    def done(self, receipt: int) -> bool:
        """Whom it is for has kept it. False if the receipt is not known, or no more."""
        message = self._present.get(receipt) or self._earlier.get(receipt)
        if message is None:
            return False
        message.done = True
        return True

    def acks(self) -> bytes:
        """The PUBACKs that may be written now."""
        written = []
        for receipt, message in tuple(self._present.items()):
            if not message.done:
                break
            if message.packet_id:
                written.append(encode_puback(message.packet_id))
            del self._present[receipt]
        return b"".join(written)

    def lost(self) -> None:
        """The connection has ended."""
        self._earlier |= self._present
        self._present = {}
        for receipt in tuple(self._earlier)[:-_KEPT]:
            del self._earlier[receipt]
