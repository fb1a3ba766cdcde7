"""MQTT onto the edge hub: a connection is a module or a leaf device, its publishes go into the queues.

Stands for the MQTT head of the open-source edgeHub. What is the same at the IoT Hub is in `broker/connection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.broker.connection import Admitted, MqttConnection
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.runs import iter_publishes

if TYPE_CHECKING:
    from iotedge_lab.broker.sessions import Session
    from iotedge_lab.edge.hub.hub import EdgeHub
    from iotedge_lab.edge.hub.member import Member
    from iotedge_lab.edge.store import Entry
    from iotedge_lab.errors import ServiceError
    from iotedge_lab.serve.sniffing import ConnectionInfo
    from iotedge_lab.wire.mqtt.packets import Connect, Publish, PublishRun
    from iotedge_lab.wire.topics import DeviceUsername


class EdgeFront(MqttConnection):
    """One MQTT connection."""

    def __init__(self, hub: EdgeHub, info: ConnectionInfo) -> None:
        super().__init__(hub, info)
        self._hub = hub
        self._member: Member | None = None

    @property
    def session(self) -> Session | None:
        """The session, once the client was let in."""
        return self._session

    # -- coming and going ------------------------------------------------------------------------------

    def admit(self, name: DeviceUsername, packet: Connect) -> Admitted:
        """By the identity's own token, whether or not the hub can be reached."""
        password = packet.password.decode("utf-8", "replace") if packet.password else None
        admitted = self._hub.identities.admit(name.host, name.device, name.module or "", password)
        self._member = self._hub.member(admitted.device, admitted.module)
        return admitted

    def _connect(self, packet: Connect) -> None:
        """Ask the hub first for an identity that is not known here: it may have been made a moment ago."""
        device, _, module = packet.client_id.partition("/")
        if self._hub.lookup is None or self._hub.identities.find(device, module) is not None:
            super()._connect(packet)
            return
        if self._transport is not None:
            self._transport.pause_reading()
        self._hub.run(self._look_up(packet, device, module))

    async def _look_up(self, packet: Connect, device: str, module: str) -> None:
        assert self._hub.lookup is not None
        await self._hub.lookup(device, module)
        if self._transport is not None:
            super()._connect(packet)
        if self._transport is not None:
            self._transport.resume_reading()

    def opened(self, session: Session) -> None:
        """Deliver what waited for the client."""
        assert self._member is not None
        if session.module:
            self._hub.pumps.lost_inputs(session.module)  # an older connection may have taken some with it
        self._member.arrived(self)
        self.write(session.outbox.resend())
        self._hub.pumps.wake_inputs(session.module)
        self._member.subscribed(session)
        self._hub.clients_changed()

    def subscribed(self, session: Session) -> None:
        """What waits may go out now, and the hub is listened to."""
        if self._member is not None:
            self._member.subscribed(session)
            self._hub.pumps.wake_inputs(session.module)

    def gone(self, session: Session) -> None:
        """The connection has ended."""
        if self._member is None or self._member.connection is not self:
            return
        self._member.left(self)
        if session.module:
            self._hub.pumps.lost_inputs(session.module)
        self._hub.clients_changed()

    # -- messages --------------------------------------------------------------------------------------

    def request(self, topic: bytes, body: bytes, session: Session) -> None:
        """Twins and methods."""
        del session
        if self._member is not None:
            self._member.request(topic, body)

    def take_run(self, run: PublishRun, session: Session) -> None:
        """Store what the routes take; acknowledge when it is durable."""
        del session
        router = self._hub.router
        entries: list[Entry] = []
        for topic, body, _ in iter_publishes(run.raw):
            entries += router.telemetry(topic, body)
        self._put(entries, run.acks, run.count)

    def take(self, topic: bytes, packet: Publish, session: Session) -> None:
        """One message."""
        del session
        entries = self._hub.router.telemetry(topic, packet.payload)
        self._put(entries, encode_puback(packet.packet_id) if packet.qos else b"", 1)

    def take_will(self, topic: bytes, body: bytes) -> None:
        """A will is a message like any."""
        self._put(self._hub.router.telemetry(topic, body), b"", 1)

    def _put(self, entries: list[Entry], acks: bytes, count: int) -> None:
        counters, clock = self._hub.counters, self._hub.clock
        counters.messages += count
        began = clock.monotonic()

        def done(error: ServiceError | None) -> None:
            if error is None:
                counters.stored.add(clock.monotonic() - began)
                if acks:
                    self.write(acks)
            else:
                self.drop(str(error))  # not acknowledged: the client keeps it and sends it again

        self._hub.route(entries, done)
