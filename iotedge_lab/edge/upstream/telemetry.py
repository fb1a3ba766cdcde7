"""The messages of one link that are on their way to the hub: what each is called there, and how many there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import ArgumentInvalid, MessageTooLarge, ProtocolViolation, UsageError
from iotedge_lab.wire.mqtt.encode import checked_topic
from iotedge_lab.wire.topics import decode_properties, telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edge.upstream.cloud import CloudIdentity
    from iotedge_lab.wire.mqtt.client import MqttClient

MESSAGE_LIMIT: Final = 256 * 1024  # bytes of body and properties together, as edgeHub counts them
_TOPICS_KEPT: Final = 512


class Telemetry:
    """Packet ids and whom to tell of each; the packets themselves, to be sent again, are the client's."""

    def __init__(self, identity: CloudIdentity, window: int, window_bytes: int) -> None:
        self._base = telemetry_topic(identity.device, identity.module or None)
        self._window = window
        self._window_bytes = window_bytes
        self._topics: dict[str, bytes] = {}
        self._on_their_way: dict[int, tuple[Callable[[], None], int]] = {}
        self._bytes = 0
        self.sent = self.acknowledged = 0

    def __len__(self) -> int:
        return len(self._on_their_way)

    @property
    def room(self) -> bool:
        """Whether one more may be on its way."""
        return len(self._on_their_way) < self._window and self._bytes < self._window_bytes

    def publish(self, client: MqttClient, bag: str, body: bytes, done: Callable[[], None]) -> bytes:
        """The packet of a message. Raises MessageTooLarge or ArgumentInvalid for one that no hub takes.

        A hub answers such a message by closing the connection, and would do so each time that it is sent again.
        """
        size = len(body) + len(bag)
        if size > MESSAGE_LIMIT:
            raise MessageTooLarge(
                f"a message of {size:,} bytes, properties included; {MESSAGE_LIMIT:,} (256 KB) is the most."
            )
        topic = self._topics.get(bag) or self._topic(bag)
        packet_id, data = client.publish(topic, body)
        self._on_their_way[packet_id] = (done, len(data))
        self._bytes += len(data)
        self.sent += 1
        return data

    def _topic(self, bag: str) -> bytes:
        try:
            decode_properties(bag)
            made = checked_topic(self._base + bag)
        except (ProtocolViolation, UsageError) as error:
            raise ArgumentInvalid(f"the properties of a message cannot be sent: {error}") from error
        if len(self._topics) >= _TOPICS_KEPT:
            self._topics.clear()
        self._topics[bag] = made
        return made

    def arrived(self, packet_ids: tuple[int, ...]) -> list[Callable[[], None]]:
        """The hub has these: whom to tell."""
        told = []
        pop = self._on_their_way.pop
        for packet_id in packet_ids:
            found = pop(packet_id, None)
            if found is not None:
                told.append(found[0])
                self._bytes -= found[1]
        self.acknowledged += len(told)
        return told

    def forget(self) -> int:
        """Nobody is told of the rest; how many those are."""
        left = len(self._on_their_way)
        self._on_their_way.clear()
        self._bytes = 0
        return left
