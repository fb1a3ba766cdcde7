"""The client's end of MQTT 3.1.1: packet ids, what is in flight, and sending it again.

One `MqttClient` is one session, and lives through as many connections as it takes: `connect` begins each of
them, `resend` follows its CONNACK. It stands where a benchmark, an edge gateway's upstream link or a fleet of
simulated cars needs an MQTT client; a workbook uses the vendor's SDK.

Leaves out: receiving at QoS 2 beyond decoding it (an IoT Hub never sends so), and time: the owner of the
connection sends `ping` often enough.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.mqtt import encode as e
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.decode import PacketReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ClientState(Enum):
    """Where the present connection stands."""

    IDLE = "idle"
    """No connection, or one that has ended: `connect` begins the next."""
    CONNECTING = "connecting"
    """CONNECT was sent; the server owes a CONNACK."""
    OPEN = "open"
    """The server has accepted."""


_SERVER_PACKETS: Final = (
    p.PublishRun,
    p.Publish,
    p.PubAcks,
    p.PubRec,
    p.PubRel,
    p.PubComp,
    p.SubAck,
    p.UnsubAck,
    p.PingResp,
)

RECEIVED: Final[dict[ClientState, frozenset[type]]] = {
    ClientState.IDLE: frozenset(),
    ClientState.CONNECTING: frozenset((p.ConnAck,)),
    ClientState.OPEN: frozenset(_SERVER_PACKETS),
}
"""What a server may send in each state; all else is a violation."""


class MqttClient:
    """One session, seen from the client.

    The password never shows in a repr. With `clean_session` each `connect` forgets what was in flight
    [MQTT-3.1.2-6]; without, it stays and `resend` gives it again.
    """

    def __init__(
        self,
        client_id: str,
        username: str | None = None,
        password: bytes | str | None = None,
        *,
        clean_session: bool = False,
        keep_alive: int = 60,
        will: p.Will | None = None,
        max_packet_size: int = p.MAX_REMAINING_LENGTH,
    ) -> None:
        if isinstance(password, str):
            password = password.encode()
        self._connect = p.Connect(client_id, clean_session, keep_alive, username, password, will)
        self._max_packet_size = max_packet_size
        self._reader = PacketReader(max_packet_size, join_acks=True)
        self._in_flight: dict[int, bytes] = {}  # packet id to the bytes to send again, in sending order
        self._awaited: set[int] = set()  # packet ids of SUBSCRIBEs and UNSUBSCRIBEs
        self._last_id = 0
        self.state = ClientState.IDLE

    def __repr__(self) -> str:
        return (
            f"<MqttClient {self._connect.client_id!r} {self.state.value}, {len(self._in_flight)} in flight>"
        )

    @property
    def in_flight(self) -> Mapping[int, bytes]:
        """Packet id to packet of what was sent and not yet acknowledged, oldest first (read only)."""
        return MappingProxyType(self._in_flight)

    @property
    def free(self) -> int:
        """How many more packets may be in flight before packet ids run out."""
        return p.MAX_PACKET_ID - len(self._in_flight) - len(self._awaited)

    def connect(self, password: bytes | str | None = None) -> bytes:
        """Begin a connection, the first or a later one: its CONNECT.

        A `password` given here (a SAS token that was renewed) takes the place of the one before.
        """
        if password is not None:
            secret = password.encode() if isinstance(password, str) else password
            old = self._connect
            self._connect = p.Connect(
                old.client_id, old.clean_session, old.keep_alive, old.username, secret, old.will
            )
        data = e.encode(self._connect)
        self._reader = PacketReader(self._max_packet_size, join_acks=True)
        self._awaited.clear()  # a SUBSCRIBE does not outlive its connection; only PUBLISH and PUBREL do
        if self._connect.clean_session:
            self._in_flight.clear()
        self.state = ClientState.CONNECTING
        return data

    def receive(self, data: bytes | bytearray | memoryview) -> list[p.Event]:
        """What the server sent, in order; what it acknowledged is no longer in flight afterwards.

        `ConnAck`, `PublishRun`, `Publish`, `PubAcks`, `PubRec`, `PubRel`, `PubComp`, `SubAck`, `UnsubAck`,
        `PingResp`, or `Violation`, which is the last. Write `acks` of each `PublishRun` when it is safe; for
        each `PubRec` write `pubrel`. An acknowledgement of what is not in flight changes nothing: a server
        may repeat it.
        """
        events = self._reader.feed(data)
        for index, event in enumerate(events):
            if type(event) not in RECEIVED[self.state]:
                if not isinstance(event, p.Violation):
                    events[index:] = [_violation(self.state, event)]
                self._end()
                break
            if isinstance(event, p.PubAcks):
                forget = self._in_flight.pop
                for packet_id in event.packet_ids:
                    forget(packet_id, None)
            elif isinstance(event, p.ConnAck):
                if event.code is p.ConnackCode.ACCEPTED:
                    self.state = ClientState.OPEN
                else:
                    self._end()
            elif isinstance(event, p.PubRec):
                if event.packet_id in self._in_flight:
                    # From here on the message must not be sent again, only its release (section 4.3.3).
                    self._in_flight[event.packet_id] = e.encode(p.PubRel(event.packet_id))
            elif isinstance(event, p.PubComp):
                self._in_flight.pop(event.packet_id, None)
            elif isinstance(event, p.SubAck | p.UnsubAck):
                self._awaited.discard(event.packet_id)
        return events

    def publish(self, topic: str | bytes, payload: bytes, qos: int = 1) -> tuple[int, bytes]:
        """One message: its packet id (0 at QoS 0) and the bytes to write.

        Raises UsageError when 65,535 packets are in flight, or the topic cannot be published to.
        """
        if qos == 0:
            return 0, e.encode_publish(topic, payload, 0)
        packet_id = self._next_id()
        data = e.encode_publish(topic, payload, qos, packet_id)
        self._in_flight[packet_id] = data
        return packet_id, data

    def publish_many(self, topic: str | bytes, payloads: Sequence[bytes]) -> tuple[list[int], bytes]:
        """Many messages of QoS 1 on one topic: their packet ids and the bytes to write, in one piece.

        All or none: raises UsageError when there are more payloads than `free` packet ids.
        """
        if len(payloads) > self.free:
            raise UsageError(
                f"{len(payloads):,} messages need a packet id each and {self.free:,} are free; "
                "send fewer, or read acknowledgements first."
            )
        name = e.checked_topic(topic)
        in_flight = self._in_flight
        awaited = self._awaited
        heads: dict[int, bytes] = {}  # payload size to the packet up to its packet id
        ids: list[int] = []
        packets: list[bytes] = []
        packet_id = self._last_id
        for payload in payloads:
            packet_id = packet_id % p.MAX_PACKET_ID + 1
            while packet_id in in_flight or packet_id in awaited:
                packet_id = packet_id % p.MAX_PACKET_ID + 1
            size = len(payload)
            head = heads.get(size)
            if head is None:
                head = heads[size] = e.publish_head(name, 2 + size, 0x32)
            packet = head + packet_id.to_bytes(2, "big") + payload
            in_flight[packet_id] = packet
            ids.append(packet_id)
            packets.append(packet)
        self._last_id = packet_id
        return ids, b"".join(packets)

    def resend(self) -> bytes:
        """All that is in flight, in the order in which it was sent, with DUP set [MQTT-4.4.0-1].

        To be written once after each reconnect, when the CONNACK has come. Empty when nothing is.
        """
        return b"".join(
            bytes((packet[0] | 0x08,)) + packet[1:] if packet[0] & 0xF0 == 0x30 else packet
            for packet in self._in_flight.values()
        )

    def subscribe(self, filters: Iterable[str | tuple[str, int]]) -> tuple[int, bytes]:
        """Subscribe to filters, each at QoS 1 or at the QoS that comes with it."""
        pairs = tuple((item, 1) if isinstance(item, str) else item for item in filters)
        packet_id = self._next_id()
        data = e.encode(p.Subscribe(packet_id, pairs))
        self._awaited.add(packet_id)
        return packet_id, data

    def unsubscribe(self, filters: Iterable[str]) -> tuple[int, bytes]:
        """Take subscriptions back."""
        packet_id = self._next_id()
        data = e.encode(p.Unsubscribe(packet_id, tuple(filters)))
        self._awaited.add(packet_id)
        return packet_id, data

    def pubrel(self, packet_id: int) -> bytes:
        """The answer to a `PubRec`."""
        return e.encode(p.PubRel(packet_id))

    def ping(self) -> bytes:
        """A PINGREQ, to be sent when nothing else was within the keep-alive."""
        return e.PINGREQ

    def disconnect(self) -> bytes:
        """Leave on purpose: the server discards the will. What is in flight stays for the next connection."""
        self._end()
        return e.DISCONNECT

    def _next_id(self) -> int:
        if self.free <= 0:
            raise UsageError(
                "65,535 packets are in flight and MQTT has no packet id for another; "
                "read acknowledgements first."
            )
        packet_id = self._last_id % p.MAX_PACKET_ID + 1
        while packet_id in self._in_flight or packet_id in self._awaited:
            packet_id = packet_id % p.MAX_PACKET_ID + 1
        self._last_id = packet_id
        return packet_id

    def _end(self) -> None:
        self.state = ClientState.IDLE
        self._reader.dead = True


def _violation(state: ClientState, event: p.Event) -> p.Violation:
    name = type(event).__name__
    if state is ClientState.CONNECTING:
        return p.Violation(f"{name} before CONNACK", "3.2, MQTT-3.2.0-1")
    if state is ClientState.IDLE:
        return p.Violation(f"{name} without a connection", "3.2")
    if isinstance(event, p.ConnAck):
        return p.Violation("a second CONNACK", "3.2")
    return p.Violation(f"{name}, which only a client sends", "2.2.1")
