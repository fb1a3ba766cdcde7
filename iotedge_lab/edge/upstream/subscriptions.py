"""What a link is subscribed to at the hub, and what it should be.

The hub keeps the subscriptions of a session, also those that another process of this identity has left behind; so
each connection says all that it wants, and takes back what it does not.

Cloud-to-device messages come at QoS 1: they must not be lost. A method call, an answer or a change of the twin
means nothing to a later connection, and comes at QoS 0, as the SDK for C asks for them: then no PUBACK of theirs
has to wait for one of a message (`receipts`).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.errors import UpstreamRefused
from iotedge_lab.wire.mqtt.packets import SUBSCRIBE_FAILED

if TYPE_CHECKING:
    from collections.abc import Collection

    from iotedge_lab.edge.upstream.cloud import CloudIdentity
    from iotedge_lab.wire.mqtt.client import MqttClient


class Topic(Enum):
    """What there is to listen to."""

    COMMANDS = "cloud-to-device messages"
    METHODS = "direct methods"
    DESIRED = "changes of the desired properties"
    ANSWERS = "answers to twin requests"


_FIXED: Final = {
    Topic.METHODS: "$iothub/methods/POST/#",
    Topic.DESIRED: "$iothub/twin/PATCH/properties/desired/#",
    Topic.ANSWERS: "$iothub/twin/res/#",
}


class Subscriptions:
    """Of one identity, over all its connections."""

    def __init__(self, identity: CloudIdentity) -> None:
        self._filters = dict(_FIXED)
        if not identity.module:  # modules get no cloud-to-device messages
            self._filters[Topic.COMMANDS] = f"devices/{identity.device}/messages/devicebound/#"
        self.wanted: set[Topic] = set()
        self._granted: set[Topic] = set()  # confirmed on this connection
        self._asked: dict[int, list[Topic | None]] = {}  # SUBSCRIBEs on this connection without SUBACK
        self._left_behind = set(self._filters)  # what the hub may have in the session
        self.denied: set[Topic] = set()
        """what the hub has not granted on this connection"""

    def knows(self, topic: Topic) -> bool:
        """Whether this identity can be subscribed to it at all."""
        return topic in self._filters

    @property
    def settled(self) -> bool:
        """Whether the hub has answered for all that is wanted."""
        return self.wanted <= self._granted | self.denied

    def has(self, topic: Topic) -> bool:
        """Whether the hub has confirmed it on this connection."""
        return topic in self._granted

    def connected(self, client: MqttClient, *, present: bool) -> bytes:
        """What to write on a new connection; `present`: the hub has a session of before."""
        self._granted.clear()
        self._asked.clear()
        self.denied.clear()
        unwanted = self._left_behind - self.wanted if present else set()
        self._left_behind = set()
        return self._unsubscribe(client, unwanted) + self._subscribe(client, self.wanted)

    def lost(self) -> None:
        """The connection has ended: nothing is confirmed, and the hub may have any of it."""
        self._left_behind = set(self._filters)
        self._granted.clear()
        self._asked.clear()

    def want(self, client: MqttClient, topic: Topic, on: bool) -> bytes:
        """Have it, or no more, on a connection that is open: what to write."""
        if on == (topic in self.wanted):
            return b""
        if on:
            self.wanted.add(topic)
            return self._subscribe(client, {topic})
        self.wanted.discard(topic)
        self._granted.discard(topic)
        self.denied.discard(topic)
        for asked in self._asked.values():  # that SUBACK will be out of date when it comes
            asked[:] = [None if each is topic else each for each in asked]
        return self._unsubscribe(client, {topic})

    def want_later(self, topic: Topic, on: bool) -> None:
        """Have it, or no more, from the next connection on."""
        (self.wanted.add if on else self.wanted.discard)(topic)

    def check(self, topics: Collection[Topic]) -> None:
        """Raise UpstreamRefused if the hub has not granted one of them."""
        for topic in topics:
            if topic in self.denied:
                raise UpstreamRefused(403, "", f"the hub does not let this identity listen to {topic.value}.")

    def confirmed(self, packet_id: int, codes: tuple[int, ...]) -> list[Topic]:
        """A SUBACK has come: what the hub did not grant."""
        asked = self._asked.pop(packet_id, [])
        # A hub that answers for fewer than were asked for has not granted the rest.
        answered = {topic for topic, code in zip(asked, codes, strict=False) if code != SUBSCRIBE_FAILED}
        refused = [topic for topic in asked if topic is not None and topic not in answered]
        self._granted.update(topic for topic in answered if topic is not None)
        self.denied.update(refused)
        return refused

    def _subscribe(self, client: MqttClient, topics: set[Topic]) -> bytes:
        if not topics:
            return b""
        asked = sorted(topics, key=lambda topic: topic.name)
        packet_id, data = client.subscribe(
            (self._filters[topic], int(topic is Topic.COMMANDS)) for topic in asked
        )
        self._asked[packet_id] = list(asked)
        return data

    def _unsubscribe(self, client: MqttClient, topics: set[Topic]) -> bytes:
        if not topics:
            return b""
        _, data = client.unsubscribe(sorted(self._filters[topic] for topic in topics))
        return data
