"""MQTT onto the edge hub: a connection is a module or a leaf device, its publishes go into the queues.

Stands for the MQTT head of the open-source edgeHub. What is the same at the IoT Hub is in `broker/connection`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.broker.connection import Admitted, MqttConnection
from iotedge_lab.edge.hub.identities import OutOfDate
from iotedge_lab.errors import ProtocolViolation, ServiceError
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import parse_username

if TYPE_CHECKING:
    from iotedge_lab.broker.sessions import Session
    from iotedge_lab.edge.hub.hub import EdgeHub
    from iotedge_lab.edge.hub.member import Member
    from iotedge_lab.edge.store import Entry
    from iotedge_lab.serve.sniffing import ConnectionInfo
    from iotedge_lab.wire.mqtt.packets import Connect, Publish, PublishRun
    from iotedge_lab.wire.topics import DeviceUsername


@dataclass(frozen=True, slots=True)
class _Again:
    """A CONNECT about which the hub was asked: it is answered now, by what is known by now."""

    packet: Connect


class EdgeFront(MqttConnection):
    """One MQTT connection."""

    def __init__(self, hub: EdgeHub, info: ConnectionInfo) -> None:
        super().__init__(hub, info)
        self._hub = hub
        self._member: Member | None = None
        self._held: list[object] | None = None  # while the hub is asked who this is

    @property
    def session(self) -> Session | None:
        """The session, once the client was let in."""
        return self._session

    # -- coming and going ------------------------------------------------------------------------------

    def admit(self, name: DeviceUsername, packet: Connect) -> Admitted:
        """By the identity's own token, whether or not the hub can be reached."""
        password = packet.password.decode("utf-8", "replace") if packet.password else None
        return self._hub.identities.admit(name.host, name.device, name.module or "", password)

    def _connect(self, packet: Connect) -> None:
        """Ask the hub first about an identity that is not let in by what is known here."""
        who = self._worth_asking(packet)
        if who is None:
            super()._connect(packet)
            return
        self._held = []
        if self._transport is not None:
            self._transport.pause_reading()
        self._hub.run(self._ask(packet, *who))

    def _worth_asking(self, packet: Connect) -> tuple[str, str] | None:
        """Whom to ask the hub about: somebody who shows a token of that identity."""
        try:
            name = parse_username(packet.username or "")
            self.admit(name, packet)
        except OutOfDate:
            who = (name.device, name.module or "")
            return who if self._hub.asking.worth(*who) else None
        except (ServiceError, ProtocolViolation):
            pass  # it is refused, with the reason, in a moment
        return None

    async def _ask(self, packet: Connect, device: str, module: str) -> None:
        await self._hub.asking.about(device, module)
        held, self._held = self._held or [], None
        if self._transport is not None and not self._transport.is_closing():
            self.handle([_Again(packet), *held])
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _handle(self, event: object) -> None:
        """What came together with a CONNECT that is being looked into waits for that (MQTT 3.1.1, 3.1.4)."""
        if self._held is not None:
            self._held.append(event)
        elif isinstance(event, _Again):
            super()._connect(event.packet)
        else:
            super()._handle(event)

    def opened(self, session: Session) -> None:
        """Deliver what waited for the client."""
        self._member = self._hub.member(session.device, session.module)
        assert self._member is not None
        if session.module:
            self._hub.pumps.lost_inputs(session.module)  # an older connection may have taken some with it
        self._member.arrived(self)
        self.write(session.outbox.resend())
        self._member.subscribed(session)
        if session.module:
            self._hub.pumps.wake_inputs(session.module)
        self._hub.clients_changed()

    def subscribed(self, session: Session) -> None:
        """What waits may go out now, and the hub is listened to."""
        if self._member is not None and self._member.connection is self:
            self._member.subscribed(session)
            if session.module:
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
