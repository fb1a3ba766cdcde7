"""MQTT onto the hub: a connection is a device or module, its publishes are telemetry.

Stands for "Communicate with an IoT hub using the MQTT protocol" (learn.microsoft.com, IoT,
iot-mqtt-connect-to-iot-hub). What is the same at an edge hub is in `broker/connection`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from iotedge_lab.broker.connection import A_METHOD, Admitted, MqttConnection
from iotedge_lab.hub.events import MQTT_PUBLISHES
from iotedge_lab.hub.log import Source
from iotedge_lab.hub.mqtt_requests import handle as handle_request
from iotedge_lab.wire.mqtt.encode import encode_puback, encode_publish
from iotedge_lab.wire.mqtt.runs import iter_publishes

if TYPE_CHECKING:
    from iotedge_lab.broker.sessions import Session
    from iotedge_lab.errors import StoreUnavailable
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.identities import Presence
    from iotedge_lab.serve.sniffing import ConnectionInfo
    from iotedge_lab.wire.mqtt.packets import Connect, Publish, PublishRun
    from iotedge_lab.wire.topics import DeviceUsername


class MqttFront(MqttConnection):
    """One MQTT connection."""

    def __init__(self, hub: Hub, info: ConnectionInfo) -> None:
        super().__init__(hub, info)
        self.hub = hub
        self._presence: Presence | None = None
        self._partition = 0
        self._source = 0
        self._replays: dict[int, bytes] | None = None  # packet id to digest

    # -- coming and going ------------------------------------------------------------------------------

    def admit(self, name: DeviceUsername, packet: Connect) -> Admitted:
        """By the token or certificate of the identity, or by a policy's token."""
        password = packet.password.decode("utf-8", "replace") if packet.password else None
        admission = self.hub.devices.admit(
            name.host, name.device, name.module or "", password, self._info.client_chain
        )
        identity = admission.identity
        if name.model_id is not None:
            self.hub.twins.set_model(identity.device, identity.module, name.model_id)
        self._partition = self.hub.log.partition_of(identity.device)
        self._source = self.hub.log.source_id(
            Source(identity.device, identity.module, identity.generation_id, admission.auth_method)
        )
        return Admitted(identity.device, identity.module, admission.expiry)

    def opened(self, session: Session) -> None:
        """Deliver what waited for the device."""
        self._presence = self.hub.identities.connected(session.device, session.module)
        if not session.module:
            self.hub.commands.connected(session.device, self)
        self.write(session.outbox.resend())
        if not session.module:
            self.hub.commands.pump(session.device)
        if session.granted(A_METHOD) is not None:
            self.hub.methods.ready(session.device, session.module, self)

    def subscribed(self, session: Session) -> None:
        """What waits may go out now; and methods can be called, or no more."""
        if not session.module:
            self.hub.commands.pump(session.device)
        if session.granted(A_METHOD) is not None:
            self.hub.methods.ready(session.device, session.module, self)
        else:
            self.hub.methods.gone(session.device, session.module, self)

    def gone(self, session: Session) -> None:
        """Nobody waits for its answers any more."""
        self.hub.methods.gone(session.device, session.module, self)
        self.hub.commands.gone(session.device, self)

    def closed(self) -> None:
        """The identity is disconnected."""
        if self._admitted is not None and self._presence is not None:
            self.hub.identities.disconnected(self._admitted.device, self._admitted.module, self._presence)

    # -- messages --------------------------------------------------------------------------------------

    def request(self, topic: bytes, body: bytes, session: Session) -> None:
        """Twins and methods."""
        handle_request(self, session.device, session.module, topic, body)

    def take_run(self, run: PublishRun, session: Session) -> None:
        """Store as it came, to be read when somebody reads the log."""
        if self._replays:
            for _, _, packet_id in iter_publishes(run.raw):
                self._replays.pop(packet_id, None)  # its number is used anew: the old one was acknowledged
        self._store(run.raw, run.count, run.acks, session.epoch if session.persistent else 0)

    def take(self, topic: bytes, packet: Publish, session: Session) -> None:
        """Store one message; one that is marked DUP and was stored before is only acknowledged."""
        raw = encode_publish(topic, packet.payload, qos=packet.qos, packet_id=packet.packet_id)
        acks = encode_puback(packet.packet_id) if packet.qos else b""
        if packet.dup and session.persistent and self._stored_before(packet, topic, session):
            self.write(acks)
            return
        if self._replays and not packet.dup:
            self._replays.pop(packet.packet_id, None)  # its number is used anew: the old one was acknowledged
        self._store(raw, 1, acks, session.epoch if session.persistent else 0)

    def take_will(self, topic: bytes, body: bytes) -> None:
        """Store it as any message, unless it is of an identity that is gone."""
        if self._admitted is not None and self.hub.identities.find(
            self._admitted.device, self._admitted.module
        ):
            self._store(encode_publish(topic, body, qos=0), 1, b"", 0)

    def _store(self, raw: bytes, count: int, acks: bytes, epoch: int) -> None:
        if self._presence is not None:
            self._presence.activity = self.hub.clock.now()

        def done(error: StoreUnavailable | None) -> None:
            if error is None:
                self.hub.counters.messages += count
                if acks:
                    self.write(acks)
            else:
                self.drop(str(error))  # not acknowledged: the device keeps it and sends it again

        self.hub.log.append(self._partition, self._source, raw, count, done, epoch=epoch, form=MQTT_PUBLISHES)

    def _stored_before(self, packet: Publish, topic: bytes, session: Session) -> bool:
        """Whether a message marked DUP was stored, and its acknowledgement lost (a hub that was killed)."""
        if self._replays is None:
            self._replays = {}
            self.hub.store.flush()  # the connection before this one may have sent in the same turn
            for raw in self.hub.log.replays(self._partition, session.epoch):
                newest = {known_id: (known, body) for known, body, known_id in iter_publishes(raw)}
                for known_id, message in newest.items():
                    if known_id not in self._replays:
                        self._replays[known_id] = _digest(*message)
        return self._replays.pop(packet.packet_id, None) == _digest(topic, packet.payload)


def _digest(topic: bytes, body: bytes) -> bytes:
    """Stands for a message: thousands that may come again are remembered by it, whatever their size."""
    return blake2b(topic + b"\0" + body, digest_size=16).digest()
