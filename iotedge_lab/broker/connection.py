"""One MQTT connection of a device or module, as hub and edge hub alike serve it.

Stands for "Communicate with an IoT hub using the MQTT protocol" (learn.microsoft.com, IoT,
iot-mqtt-connect-to-iot-hub): the identity in the client id and the user name, one connection an identity, the
keep-alive, subscriptions to what is the identity's own, and the documented breaches that close the connection (a
QoS 2 publish, a topic that is not the identity's own, a message over 256 KB). What a message or a request means
is the subclass's: see the methods under "what a subclass does".
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from iotedge_lab.errors import ProtocolViolation, ServiceError, StoreUnavailable
from iotedge_lab.serve.quick_ack import acknowledge_now
from iotedge_lab.wire.mqtt.encode import PINGRESP, encode, encode_puback
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
    from collections.abc import Callable, Iterable

    from iotedge_lab.broker.sessions import Session, Sessions
    from iotedge_lab.clock import Clock
    from iotedge_lab.serve.sniffing import ConnectionInfo

log = logging.getLogger(__name__)

MESSAGE_LIMIT: Final = 256 * 1024
LINGER: Final = 10.0  # s that a closed connection has to read the last words; then it is cut
REQUEST_PREFIX: Final = b"$iothub/"
_PACKET_LIMIT: Final = MESSAGE_LIMIT + 64 * 1024  # the topic, with its properties, comes on top
_TOPICS_KEPT: Final = 64  # and none that is long: many connections remember them
_TOPIC_KEPT_SIZE: Final = 512
_LONGEST_SILENCE: Final = 1767.0  # s; "IoT Hub limits the maximum server-side timeout to 29.45 minutes"
_CONNECT_SECONDS: Final = 10.0
SUBSCRIPTIONS: Final = 50
"""Topic filters that a session may have; the SDKs use five. All are written anew when one is added."""
_FILTER_LIMIT: Final = 1024
A_METHOD: Final = "$iothub/methods/POST/name/?$rid=1"
"""Stands for any method call: is the client subscribed to them?"""


class LiveConnection(Protocol):
    """A connection of any protocol, for the housekeeping once a second."""

    def tick(self, monotonic: float, now: float) -> None:
        """Close yourself if your time is up."""
        ...

    def drop(self, reason: str) -> None:
        """Close."""
        ...


@dataclass(slots=True)
class Counters:
    """What happened since the process started."""

    messages: int = 0
    refused: int = 0
    dropped: int = 0


class Broker(Protocol):
    """What a connection needs of the hub or edge hub that it belongs to."""

    clock: Clock
    sessions: Sessions
    connections: set[LiveConnection]

    @property
    def counters(self) -> Counters:
        """What happened so far; a connection counts into it."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who was let in. `expiry`: when the token ends (s since 1970), None for a certificate."""

    device: str
    module: str
    expiry: int | None


class MqttConnection(asyncio.Protocol):
    """One connection, from the listener's hand-over to its end."""

    def __init__(self, broker: Broker, info: ConnectionInfo) -> None:
        self._broker = broker
        self._info = info
        self._wire = MqttServer(_PACKET_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._admitted: Admitted | None = None
        self._known_topics: set[bytes] = set()
        self._said_goodbye = False
        self._hung_up: tuple[asyncio.Transport, float] | None = None
        self._keep_alive = 0.0
        self._heard = self._opened = 0.0

    # -- what a subclass does --------------------------------------------------------------------------

    def admit(self, name: DeviceUsername, packet: Connect) -> Admitted:
        """Check who connects; raise `ServiceError` or `ProtocolViolation` to refuse (CONNACK 5)."""
        raise NotImplementedError

    def opened(self, session: Session) -> None:
        """Accepted: the CONNACK and what was unacknowledged have been written."""

    def subscribed(self, session: Session) -> None:
        """Subscriptions have changed."""

    def gone(self, session: Session) -> None:
        """The connection has ended; its session is still open."""

    def closed(self) -> None:
        """The session is closed. May raise `StoreUnavailable`."""

    def take_run(self, run: PublishRun, session: Session) -> None:
        """Telemetry, many messages at once: store, then acknowledge with `run.acks`."""
        raise NotImplementedError

    def take(self, topic: bytes, packet: Publish, session: Session) -> None:
        """Telemetry, one message: store, then acknowledge it at QoS 1."""
        raise NotImplementedError

    def take_will(self, topic: bytes, body: bytes) -> None:
        """The client ended without a DISCONNECT and has left these words (MQTT 3.1.1, 3.1.2.5)."""
        raise NotImplementedError

    def request(self, topic: bytes, body: bytes, session: Session) -> None:
        """A twin request, a reported patch, the answer to a method: what goes to `$iothub/...`."""
        raise NotImplementedError

    # -- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over from the listener."""
        self._transport = transport  # type: ignore[assignment] # the listener gives a full transport
        self._heard = self._opened = self._broker.clock.monotonic()
        self._broker.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._heard = self._broker.clock.monotonic()
        self.handle(self._wire.receive(data))

    def handle(self, events: Iterable[object]) -> None:
        """Do what the client has sent, until the connection ends."""
        for event in events:
            if self._transport is None:
                return
            try:
                self._handle(event)
            except (ProtocolViolation, ServiceError) as error:
                self.drop(str(error))

    def connection_lost(self, _: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self._broker.connections.discard(self)
        session = self._session
        if session is None:
            return
        self._leave_will(session)
        self.gone(session)
        try:
            self._broker.sessions.close(session, self, clean=self._said_goodbye)
            self.closed()
        except StoreUnavailable as error:
            log.warning("the end of %s could not be kept: %s", self.name, error)
        finally:
            self._session = None

    def pause_writing(self) -> None:
        """The client does not read its acknowledgements: read no more from it until it does."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._transport is not None:
            self._transport.resume_reading()

    # -- towards the client ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Who it is, for a log."""
        if self._admitted is None:
            return "an MQTT client"
        device, module = self._admitted.device, self._admitted.module
        return f"{device}/{module}" if module else device

    def deliver(
        self,
        topic: str,
        payload: bytes,
        acknowledged: Callable[[], None] | None = None,
        *,
        kept: bool = False,
        again: Callable[[], bool] | None = None,
    ) -> bool:
        """Send to the client, if it is subscribed; `acknowledged` is called when it has the message.

        `kept`: sent again when it returns, unless `again()` then says no. Raises `Throttled` when it
        acknowledges nothing any more.
        """
        if self._session is None or self._transport is None:
            return False
        qos = self._session.granted(topic)
        if qos is None:
            return False
        self.write(self._session.outbox.publish(topic, payload, qos, acknowledged, kept=kept, again=again))
        return True

    def write(self, data: bytes) -> None:
        """To the client, unless it has gone."""
        if self._transport is not None:
            self._transport.write(data)

    def drop(self, reason: str) -> None:
        """Close this connection (`broker.sessions.Connection`)."""
        if self._transport is not None:
            log.info("%s: connection closed: %s", self.name, reason)
            self._broker.counters.dropped += 1
            self._hang_up()

    def _hang_up(self) -> None:
        """Close once the peer has read what is written; `tick` cuts one that reads nothing any more."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._hung_up = (transport, self._broker.clock.monotonic())
            transport.close()

    def tick(self, monotonic: float, now: float) -> None:
        """Once a second: the keep-alive, and the token's end."""
        if self._hung_up is not None:
            transport, since = self._hung_up
            if monotonic - since > LINGER:
                transport.abort()
        elif self._keep_alive and monotonic - self._heard > self._keep_alive:
            self.drop(
                f"nothing was heard for {self._keep_alive:g} s: 1.5 times the keep-alive (MQTT 3.1.1, 3.1.2.10), or "
                "the most that IoT Hub allows"
            )
        elif self._admitted is not None and self._admitted.expiry is not None and now > self._admitted.expiry:
            self.drop("its SAS token has expired (401003 IotHubUnauthorized)")
        elif self._admitted is None and monotonic - self._opened > _CONNECT_SECONDS:
            self.drop("no CONNECT came within 10 s")

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
                self.write(PINGRESP)
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
            admitted = self.admit(name, packet)
            self._session, present = self._broker.sessions.open(
                admitted.device, admitted.module, self, clean=packet.clean_session
            )
        except StoreUnavailable as error:  # not its credentials' fault: an SDK tries this one again
            self._refuse(ConnackCode.SERVER_UNAVAILABLE, str(error))
            return
        except (ServiceError, ProtocolViolation) as error:
            self._refuse(ConnackCode.NOT_AUTHORIZED, str(error))
            return
        self._admitted = admitted
        self._keep_alive = min(packet.keep_alive * 1.5 or _LONGEST_SILENCE, _LONGEST_SILENCE)
        self._connack(ConnackCode.ACCEPTED, present=present)
        self.opened(self._session)

    def _refuse(self, code: ConnackCode, reason: str) -> None:
        log.info("a connection was refused (CONNACK %d): %s", code, reason)
        self._broker.counters.refused += 1
        self._connack(code)
        self._hang_up()

    def _connack(self, code: ConnackCode, *, present: bool = False) -> None:
        """Answer the CONNECT, also where the DISCONNECT came in the same read and the engine is closed."""
        if self._wire.state is ServerState.CLOSED:
            self.write(encode(ConnAck(code, present)))
        else:
            self.write(self._wire.connack(code, session_present=present))

    def _subscribe(self, packet: Subscribe) -> None:
        session = self._in_session()
        granted = []
        for topic_filter, qos in packet.filters:
            if allowed_filter(topic_filter, session.device, session.module or None) and _room(
                session, topic_filter
            ):
                granted.append(min(qos, 1))  # a QoS 2 subscription is granted 1, as documented
                self._broker.sessions.subscribe(session, topic_filter, granted[-1])
            else:
                granted.append(SUBSCRIBE_FAILED)
                log.info("%s may not subscribe to %r", self.name, topic_filter)
        self.write(encode(SubAck(packet.packet_id, tuple(granted))))
        self.subscribed(session)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        session = self._in_session()
        for topic_filter in packet.filters:
            self._broker.sessions.unsubscribe(session, topic_filter)
        self.subscribed(session)
        self.write(encode(UnsubAck(packet.packet_id)))

    # -- messages --------------------------------------------------------------------------------------

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
                _check_size(body)
        self.take_run(run, session)

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
            self.request(topic, packet.payload, session)
            if packet.qos:  # after the work: what is acknowledged is kept
                self.write(encode_puback(packet.packet_id))
            return
        if topic not in self._known_topics:
            self._check_topic(topic)
        _check_size(packet.payload)
        if packet.retain:
            topic = _marked(topic, b"mqtt-retain=true")
        self.take(topic, packet, session)

    def _leave_will(self, session: Session) -> None:
        """A connection that ended without DISCONNECT: its will becomes telemetry (MQTT 3.1.1, 3.1.2.5)."""
        connect = self._wire.connect
        if connect is None or connect.will is None or self._said_goodbye:
            return
        topic = connect.will.topic.encode()
        try:
            self._check_topic(topic)
            _check_size(connect.will.payload)
        except (ProtocolViolation, ServiceError) as error:
            log.info("the will of %s/%s is dropped: %s", session.device, session.module, error)
            return
        self.take_will(_marked(topic, b"iothub-MessageType=Will"), connect.will.payload)

    def _check_topic(self, topic: bytes) -> None:
        session = self._in_session()
        parsed = parse_telemetry(topic)
        if (parsed.device, parsed.module or "") != (session.device, session.module):
            raise ProtocolViolation(f"{self.name} published as {parsed.device}/{parsed.module or ''}")
        if len(topic) > _TOPIC_KEPT_SIZE:
            return
        if len(self._known_topics) >= _TOPICS_KEPT:
            self._known_topics.clear()
        self._known_topics.add(topic)

    def _in_session(self) -> Session:
        if self._session is None:
            raise ProtocolViolation("a packet came before CONNECT was accepted", "MQTT 3.1.1, 3.1")
        return self._session


def _room(session: Session, topic_filter: str) -> bool:
    """Whether the session may have this filter too."""
    known = topic_filter in session.subscriptions
    return known or (len(session.subscriptions) < SUBSCRIPTIONS and len(topic_filter) <= _FILTER_LIMIT)


def _check_size(body: bytes) -> None:
    if len(body) > MESSAGE_LIMIT:
        raise ProtocolViolation(f"a message of {len(body)} bytes; the most is {MESSAGE_LIMIT} (256 KB)")


def _marked(topic: bytes, mark: bytes) -> bytes:
    """The topic with one more application property."""
    bare = topic.rstrip(b"/")  # other SDKs end a property bag with a slash
    return bare + (b"/" if bare.endswith(b"/messages/events") else b"&") + mark
