"""MQTT onto the hub: a connection is a device or module, its publishes are telemetry.

Stands for "Communicate with an IoT hub using the MQTT protocol" (learn.microsoft.com, IoT,
iot-mqtt-connect-to-iot-hub). The documented breaches (a QoS 2 publish, a topic that is not the identity's
own, a message over 256 KB) close the connection, as the service does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from iotedge_lab.errors import ProtocolViolation, ServiceError, StoreUnavailable
from iotedge_lab.hub.events import MQTT_PUBLISHES
from iotedge_lab.hub.hub import LINGER
from iotedge_lab.hub.log import Source
from iotedge_lab.hub.mqtt_requests import PREFIX as REQUEST_PREFIX
from iotedge_lab.hub.mqtt_requests import handle as handle_request
from iotedge_lab.serve.quick_ack import acknowledge_now
from iotedge_lab.wire.mqtt.encode import PINGRESP, encode, encode_puback, encode_publish
from iotedge_lab.wire.mqtt.packets import (
    SUBSCRIBE_FAILED,
    ConnAck,
    ConnackCode,
    Connect,
    ConnectRefused,
    Disconnect,
    PingReq,
    PubAck,
    Publish,
    PublishRun,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Violation,
)
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.mqtt.server import MqttServer, ServerState
from iotedge_lab.wire.topics import (
    DeviceUsername,
    allowed_filter,
    parse_client_id,
    parse_telemetry,
    parse_username,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.broker.sessions import Session
    from iotedge_lab.hub.devices import Admission
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.identities import Presence
    from iotedge_lab.serve.sniffing import ConnectionInfo

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 256 * 1024
_PACKET_LIMIT = MESSAGE_LIMIT + 64 * 1024  # the topic, with its properties, comes on top
_TOPICS_KEPT = 512
_A_METHOD = "$iothub/methods/POST/name/?$rid=1"  # stands for any: is the device subscribed to methods?


class MqttFront(asyncio.Protocol):
    """One MQTT connection."""

    def __init__(self, hub: Hub, info: ConnectionInfo) -> None:
        self.hub = hub
        self._info = info
        self._wire = MqttServer(_PACKET_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._admission: Admission | None = None
        self._presence: Presence | None = None
        self._partition = 0
        self._source = 0
        self._known_topics: set[bytes] = set()
        self._replays: dict[int, tuple[bytes, bytes]] | None = None
        self._said_goodbye = False
        self._hung_up: tuple[asyncio.Transport, float] | None = None
        self._keep_alive = 0.0
        self._heard = self._opened = 0.0

    # -- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over from the listener."""
        self._transport = transport  # type: ignore[assignment] # the listener gives a full transport
        self._heard = self._opened = self.hub.clock.monotonic()
        self.hub.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the device."""
        self._heard = self.hub.clock.monotonic()
        for event in self._wire.receive(data):
            if self._transport is None:
                return
            try:
                self._handle(event)
            except (ProtocolViolation, ServiceError) as error:
                self.drop(str(error))

    def connection_lost(self, _: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self.hub.connections.discard(self)
        session = self._session
        if session is None or self._admission is None or self._presence is None:
            return
        identity = self._admission.identity
        self._will(session)
        self.hub.methods.gone(identity.device, identity.module, self)
        self.hub.commands.gone(identity.device, self)
        try:
            self.hub.sessions.close(session, self, clean=self._said_goodbye)
            self.hub.identities.disconnected(identity.device, identity.module, self._presence)
        except StoreUnavailable as error:
            log.warning("the end of %s/%s could not be kept: %s", identity.device, identity.module, error)
        finally:
            self._session = None

    def pause_writing(self) -> None:
        """The device does not read its acknowledgements: read no more from it until it does."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._transport is not None:
            self._transport.resume_reading()

    def deliver(
        self,
        topic: str,
        payload: bytes,
        acknowledged: Callable[[], None] | None = None,
        *,
        kept: bool = False,
        again: Callable[[], bool] | None = None,
    ) -> bool:
        """Send to the device, if it is subscribed; `acknowledged` is called when it has the message.

        `kept`: sent again when it returns, unless `again()` then says no. Raises `Throttled` when it
        acknowledges nothing any more.
        """
        if self._session is None or self._transport is None:
            return False
        qos = self._session.granted(topic)
        if qos is None:
            return False
        self._write(self._session.outbox.publish(topic, payload, qos, acknowledged, kept=kept, again=again))
        return True

    def drop(self, reason: str) -> None:
        """Close this connection (`broker.sessions.Connection`)."""
        if self._transport is not None:
            log.info("%s: connection closed: %s", self._name(), reason)
            self.hub.counters.dropped += 1
            self._hang_up()

    def _hang_up(self) -> None:
        """Close once the peer has read what is written; `tick` cuts one that reads nothing any more."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._hung_up = (transport, self.hub.clock.monotonic())
            transport.close()

    def tick(self, monotonic: float, now: float) -> None:
        """Once a second: the keep-alive, and the token's end."""
        if self._hung_up is not None:
            transport, since = self._hung_up
            if monotonic - since > LINGER:
                transport.abort()
        elif self._keep_alive and monotonic - self._heard > self._keep_alive:
            self.drop("nothing was heard for 1.5 times the keep-alive (MQTT 3.1.1, 3.1.2.10)")
        elif (
            self._admission is not None
            and self._admission.expiry is not None
            and now > self._admission.expiry
        ):
            self.drop("its SAS token has expired")
        elif self._admission is None and monotonic - self._opened > 10:
            self.drop("no CONNECT came within 10 s")

    def _name(self) -> str:
        if self._admission is None:
            return "an MQTT client"
        identity = self._admission.identity
        return f"{identity.device}/{identity.module}" if identity.module else identity.device

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # -- packets ---------------------------------------------------------------------------------------

    def _handle(self, event: object) -> None:
        match event:
            case PublishRun():
                self._run(event)
            case Publish():
                self._publish(event)
            case Connect():
                self._connect(event)
            case Subscribe():
                self._subscribe(event)
            case Unsubscribe():
                self._unsubscribe(event)
            case PingReq():
                self._write(PINGRESP)
            case Disconnect():
                self._said_goodbye = True
                self.drop("DISCONNECT")
            case ConnectRefused():
                self._refuse(event.code, event.reason)
            case Violation():
                self.drop(f"{event.reason} [{event.spec}]")
            case PubAck():
                self._in_session().outbox.acknowledge(event.packet_id)
                if self._transport is not None:  # the answer to a method may wait behind it
                    acknowledge_now(self._transport)
            case _:  # PUBREC, PUBREL, PUBCOMP: QoS 2 is not spoken here, and nothing of it is under way
                pass

    def _connect(self, packet: Connect) -> None:
        try:
            device, module = parse_client_id(packet.client_id)
            name = parse_username(packet.username or "")
            if (name.device, name.module or "") != (device, module or ""):
                self._refuse(ConnackCode.IDENTIFIER_REJECTED, "client id and user name differ")
                return
            admission = self._admit(name, packet)
        except (ServiceError, ProtocolViolation) as error:
            self._refuse(ConnackCode.NOT_AUTHORIZED, str(error))
            return
        identity = admission.identity
        if name.model_id is not None:
            self.hub.twins.set_model(identity.device, identity.module, name.model_id)
        self._session, present = self.hub.sessions.open(
            identity.device, identity.module, self, clean=packet.clean_session
        )
        self._admission = admission
        self._presence = self.hub.identities.connected(identity.device, identity.module)
        self._partition = self.hub.log.partition_of(identity.device)
        self._source = self.hub.log.source_id(
            Source(identity.device, identity.module, identity.generation_id, admission.auth_method)
        )
        self._keep_alive = packet.keep_alive * 1.5
        self._connack(ConnackCode.ACCEPTED, present=present)
        if not identity.module:
            self.hub.commands.connected(identity.device, self)
        self._write(self._session.outbox.resend())
        if not identity.module:
            self.hub.commands.pump(identity.device)
        if self._session.granted(_A_METHOD) is not None:
            self.hub.methods.ready(identity.device, identity.module, self)

    def _admit(self, name: DeviceUsername, packet: Connect) -> Admission:
        password = packet.password.decode("utf-8", "replace") if packet.password else None
        return self.hub.devices.admit(
            name.host, name.device, name.module or "", password, self._info.client_chain
        )

    def _refuse(self, code: ConnackCode, reason: str) -> None:
        log.info("a connection was refused (CONNACK %d): %s", code, reason)
        self.hub.counters.refused += 1
        self._connack(code)
        self._hang_up()

    def _connack(self, code: ConnackCode, *, present: bool = False) -> None:
        """Answer the CONNECT, also where the DISCONNECT came in the same read and the engine is closed."""
        if self._wire.state is ServerState.CLOSED:
            self._write(encode(ConnAck(code, present)))
        else:
            self._write(self._wire.connack(code, session_present=present))

    def _subscribe(self, packet: Subscribe) -> None:
        session = self._in_session()
        granted = []
        for topic_filter, qos in packet.filters:
            if allowed_filter(topic_filter, session.device, session.module or None):
                granted.append(min(qos, 1))  # a QoS 2 subscription is granted 1, as documented
                self.hub.sessions.subscribe(session, topic_filter, granted[-1])
            else:
                granted.append(SUBSCRIBE_FAILED)
                log.info("%s may not subscribe to %r", self._name(), topic_filter)
        self._write(encode(SubAck(packet.packet_id, tuple(granted))))
        if not session.module:
            self.hub.commands.pump(session.device)
        if session.granted(_A_METHOD) is not None:
            self.hub.methods.ready(session.device, session.module, self)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        session = self._in_session()
        for topic_filter in packet.filters:
            self.hub.sessions.unsubscribe(session, topic_filter)
        if session.granted(_A_METHOD) is None:
            self.hub.methods.gone(session.device, session.module, self)
        self._write(encode(UnsubAck(packet.packet_id)))

    # -- telemetry -------------------------------------------------------------------------------------

    def _run(self, run: PublishRun) -> None:
        session = self._in_session()
        for topic in run.topics:
            if topic not in self._known_topics:
                if topic.startswith(REQUEST_PREFIX):
                    self._one_by_one(run)
                    return
                self._check_topic(topic)
        if run.largest > MESSAGE_LIMIT:
            for _, body, _ in iter_publishes(run.raw):
                self._check_size(body)
        if self._replays:
            for _, _, packet_id in iter_publishes(run.raw):
                self._replays.pop(packet_id, None)  # its number is used anew: the old one was acknowledged
        self._store(run.raw, run.count, run.acks, session.epoch if session.persistent else 0)

    def _one_by_one(self, run: PublishRun) -> None:
        """A run with requests in it: each message by itself, in order."""
        for topic, body, packet_id in iter_publishes(run.raw):
            self._publish(Publish(topic.decode(), body, 1, packet_id=packet_id))

    def _publish(self, packet: Publish) -> None:
        session = self._in_session()
        if packet.qos == 2:
            raise ProtocolViolation(
                "QoS 2 is not supported by IoT Hub; publish with QoS 1", "MQTT 3.1.1, 4.3.3"
            )
        topic = packet.topic.encode()
        if topic.startswith(REQUEST_PREFIX):
            handle_request(self, session.device, session.module, topic, packet.payload)
            if packet.qos:  # after the work: what is acknowledged is kept
                self._write(encode_puback(packet.packet_id))
            return
        if topic not in self._known_topics:
            self._check_topic(topic)
        self._check_size(packet.payload)
        if packet.retain:
            topic = self._marked(topic, b"mqtt-retain=true")
        raw = encode_publish(topic, packet.payload, qos=packet.qos, packet_id=packet.packet_id)
        acks = encode_puback(packet.packet_id) if packet.qos else b""
        if packet.dup and session.persistent and self._stored_before(packet.packet_id, topic, packet.payload):
            self._write(acks)
            return
        if self._replays and not packet.dup:
            self._replays.pop(packet.packet_id, None)  # its number is used anew: the old one was acknowledged
        self._store(raw, 1, acks, session.epoch if session.persistent else 0)

    def _store(self, raw: bytes, count: int, acks: bytes, epoch: int) -> None:
        if self._presence is not None:
            self._presence.activity = self.hub.clock.now()

        def done(error: StoreUnavailable | None) -> None:
            if error is None:
                self.hub.counters.messages += count
                if acks:
                    self._write(acks)
            else:
                self.drop(str(error))  # not acknowledged: the device keeps it and sends it again

        self.hub.log.append(self._partition, self._source, raw, count, done, epoch=epoch, form=MQTT_PUBLISHES)

    def _will(self, session: Session) -> None:
        """A connection that ended without DISCONNECT: its will becomes telemetry (MQTT 3.1.1, 3.1.2.5)."""
        connect = self._wire.connect
        if connect is None or connect.will is None or self._said_goodbye:
            return
        topic = connect.will.topic.encode()
        try:
            self._check_topic(topic)
            self._check_size(connect.will.payload)
        except (ProtocolViolation, ServiceError) as error:
            log.info("the will of %s/%s is dropped: %s", session.device, session.module, error)
            return
        raw = encode_publish(self._marked(topic, b"iothub-MessageType=Will"), connect.will.payload, qos=0)
        self._store(raw, 1, b"", 0)

    def _check_topic(self, topic: bytes) -> None:
        session = self._in_session()
        parsed = parse_telemetry(topic)
        if (parsed.device, parsed.module or "") != (session.device, session.module):
            raise ProtocolViolation(f"{self._name()} published as {parsed.device}/{parsed.module or ''}")
        if len(self._known_topics) >= _TOPICS_KEPT:
            self._known_topics.clear()
        self._known_topics.add(topic)

    @staticmethod
    def _check_size(body: bytes) -> None:
        if len(body) > MESSAGE_LIMIT:
            raise ProtocolViolation(f"a message of {len(body)} bytes; the most is {MESSAGE_LIMIT} (256 KB)")

    @staticmethod
    def _marked(topic: bytes, mark: bytes) -> bytes:
        """The topic with one more application property."""
        bare = topic.rstrip(b"/")  # other SDKs end a property bag with a slash
        return bare + (b"/" if bare.endswith(b"/messages/events") else b"&") + mark

    def _stored_before(self, packet_id: int, topic: bytes, payload: bytes) -> bool:
        """Whether a message marked DUP was stored, and its acknowledgement lost (a hub that was killed)."""
        session = self._in_session()
        if self._replays is None:
            self._replays = {}
            self.hub.store.flush()  # the connection before this one may have sent in the same turn
            for raw in self.hub.log.replays(self._partition, session.epoch):
                newest: dict[int, tuple[bytes, bytes]] = {}
                for known_topic, body, known_id in iter_publishes(raw):
                    newest[known_id] = (known_topic, body)
                for known_id, message in newest.items():
                    self._replays.setdefault(known_id, message)
        return self._replays.pop(packet_id, None) == (topic, payload)

    def _in_session(self) -> Session:
        if self._session is None:
            raise ProtocolViolation("a packet came before CONNECT was accepted", "MQTT 3.1.1, 3.1")
        return self._session
