"""What follows the fixed header of a packet, read field by field: sections 3.1 to 3.14 of MQTT 3.1.1.

A body that breaks the spec raises `ProtocolViolation`; the reader in `decode` turns that into a `Violation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.encode import SUBACK_CODES
from iotedge_lab.wire.mqtt.filters import filter_fault, text_fault, topic_fault

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOL_NAME = b"MQTT"
PROTOCOL_LEVEL = 4


class Body:
    """A packet's body and how far it has been read. Each method raises ProtocolViolation at its end."""

    __slots__ = ("data", "name", "position", "section")

    def __init__(self, data: bytes, name: str, section: str) -> None:
        self.data = data
        self.name = name
        self.section = section
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.position + size
        if end > len(self.data):
            raise ProtocolViolation(f"a {self.name} that ends in the middle of a field", self.section)
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes, the greater first (section 1.5.2)."""
        return int.from_bytes(self.take(2), "big")

    def binary(self) -> bytes:
        """Two bytes of length and as many bytes."""
        return self.take(self.u16())

    def text(self) -> str:
        """A UTF-8 string, section 1.5.3."""
        data = self.binary()
        fault = text_fault(data)
        if fault:
            raise ProtocolViolation(f"{fault[0]} in a {self.name}", fault[1])
        return data.decode()

    def topic(self) -> str:
        """A string that is a topic name, section 4.7."""
        data = self.binary()
        fault = topic_fault(data)
        if fault:
            raise ProtocolViolation(f"{fault[0]}, in a {self.name}", fault[1])
        return data.decode()

    def filter(self) -> str:
        """A string that is a topic filter, section 4.7."""
        text = self.text()
        fault = filter_fault(text)
        if fault:
            raise ProtocolViolation(f"{fault[0]}, in a {self.name}", fault[1])
        return text

    def packet_id(self) -> int:
        """A packet id, which is never 0."""
        packet_id = self.u16()
        if packet_id == 0:
            raise ProtocolViolation(f"packet id 0 in a {self.name}", "2.3.1, MQTT-2.3.1-1")
        return packet_id

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.position)

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self.position < len(self.data)

    def end(self) -> None:
        """Nothing may be left."""
        if self.more:
            raise ProtocolViolation(f"bytes after the last field of a {self.name}", self.section)


def _connect(flags: int, body: Body) -> p.Connect | p.ConnectRefused:
    name = body.binary()
    if name != PROTOCOL_NAME:
        raise ProtocolViolation("a CONNECT whose protocol name is not 'MQTT'", "3.1.2.1, MQTT-3.1.2-1")
    level = body.u8()
    if level != PROTOCOL_LEVEL:
        # What follows is laid out by another version's rules, so nothing more is read [MQTT-3.1.2-2].
        return p.ConnectRefused(
            p.ConnackCode.UNACCEPTABLE_PROTOCOL,
            f"protocol level {level}; this server speaks MQTT 3.1.1, which is level 4",
            "3.1.2.2, MQTT-3.1.2-2",
        )
    flags = body.u8()
    if flags & 1:
        raise ProtocolViolation("the reserved CONNECT flag is set", "3.1.2.3, MQTT-3.1.2-3")
    clean_session = bool(flags & 2)
    will_qos = flags >> 3 & 3
    if will_qos == 3:
        raise ProtocolViolation("a will of QoS 3", "3.1.2.6, MQTT-3.1.2-14")
    if not flags & 4 and flags & 0x38:
        raise ProtocolViolation("will QoS or will RETAIN without a will", "3.1.2.6, MQTT-3.1.2-13")
    if flags & 0x40 and not flags & 0x80:
        raise ProtocolViolation("a password without a user name", "3.1.2.9, MQTT-3.1.2-22")
    keep_alive = body.u16()
    client_id = body.text()
    will = None
    if flags & 4:
        will = p.Will(body.topic(), body.binary(), will_qos, bool(flags & 0x20))
    username = body.text() if flags & 0x80 else None
    password = body.binary() if flags & 0x40 else None
    body.end()
    if not client_id and not clean_session:
        return p.ConnectRefused(
            p.ConnackCode.IDENTIFIER_REJECTED,
            "an empty client id that asks for a stored session",
            "3.1.3.1, MQTT-3.1.3-8",
        )
    return p.Connect(client_id, clean_session, keep_alive, username, password, will)


def _connack(flags: int, body: Body) -> p.ConnAck:
    flags = body.u8()
    if flags & 0xFE:
        raise ProtocolViolation("a reserved CONNACK flag is set", "3.2.2.1")
    code = body.u8()
    body.end()
    if code > p.ConnackCode.NOT_AUTHORIZED:
        raise ProtocolViolation(f"CONNACK code {code}, which is reserved", "3.2.2.3")
    if code and flags:
        raise ProtocolViolation("a CONNACK that refuses has a session present", "3.2.2.2, MQTT-3.2.2-4")
    return p.ConnAck(p.ConnackCode(code), bool(flags))


def _publish(flags: int, body: Body) -> p.Publish:
    qos = flags >> 1 & 3
    if qos == 3:
        raise ProtocolViolation("a PUBLISH of QoS 3", "3.3.1.2, MQTT-3.3.1-4")
    if qos == 0 and flags & 8:
        raise ProtocolViolation("DUP in a PUBLISH of QoS 0", "3.3.1.1, MQTT-3.3.1-2")
    topic = body.topic()
    packet_id = body.packet_id() if qos else 0
    return p.Publish(topic, body.rest(), qos, bool(flags & 1), bool(flags & 8), packet_id)


def _subscribe(_: int, body: Body) -> p.Subscribe:
    packet_id = body.packet_id()
    filters = []
    while body.more:
        topic_filter = body.filter()
        qos = body.u8()
        if qos > 2:
            raise ProtocolViolation("a SUBSCRIBE whose QoS is not 0, 1 or 2", "3.8.3.1, MQTT-3.8.3-4")
        filters.append((topic_filter, qos))
    if not filters:
        raise ProtocolViolation("a SUBSCRIBE without a filter", "3.8.3, MQTT-3.8.3-3")
    return p.Subscribe(packet_id, tuple(filters))


def _suback(_: int, body: Body) -> p.SubAck:
    packet_id = body.packet_id()
    codes = tuple(body.rest())
    if not codes:
        raise ProtocolViolation("a SUBACK without a return code", "3.9.3, MQTT-3.8.4-5")
    if not SUBACK_CODES.issuperset(codes):
        raise ProtocolViolation("a reserved return code in a SUBACK", "3.9.3, MQTT-3.9.3-2")
    return p.SubAck(packet_id, codes)


def _unsubscribe(_: int, body: Body) -> p.Unsubscribe:
    packet_id = body.packet_id()
    filters = []
    while body.more:
        filters.append(body.filter())
    if not filters:
        raise ProtocolViolation("an UNSUBSCRIBE without a filter", "3.10.3, MQTT-3.10.3-2")
    return p.Unsubscribe(packet_id, tuple(filters))


def _only_id(packet: Callable[[int], p.Packet]) -> Callable[[int, Body], p.Packet]:
    def read(_: int, body: Body) -> p.Packet:
        packet_id = body.packet_id()
        body.end()
        return packet(packet_id)

    return read


def _empty(packet: Callable[[], p.Packet]) -> Callable[[int, Body], p.Packet]:
    def read(_: int, body: Body) -> p.Packet:
        body.end()
        return packet()

    return read


_READERS: dict[int, tuple[str, Callable[[int, Body], p.Packet | p.ConnectRefused]]] = {
    p.PacketType.CONNECT: ("3.1", _connect),
    p.PacketType.CONNACK: ("3.2", _connack),
    p.PacketType.PUBLISH: ("3.3", _publish),
    p.PacketType.PUBACK: ("3.4", _only_id(p.PubAck)),
    p.PacketType.PUBREC: ("3.5", _only_id(p.PubRec)),
    p.PacketType.PUBREL: ("3.6", _only_id(p.PubRel)),
    p.PacketType.PUBCOMP: ("3.7", _only_id(p.PubComp)),
    p.PacketType.SUBSCRIBE: ("3.8", _subscribe),
    p.PacketType.SUBACK: ("3.9", _suback),
    p.PacketType.UNSUBSCRIBE: ("3.10", _unsubscribe),
    p.PacketType.UNSUBACK: ("3.11", _only_id(p.UnsubAck)),
    p.PacketType.PINGREQ: ("3.12", _empty(p.PingReq)),
    p.PacketType.PINGRESP: ("3.13", _empty(p.PingResp)),
    p.PacketType.DISCONNECT: ("3.14", _empty(p.Disconnect)),
}

# The lower four bits that each type must have; the rest must have none of them (table 2.2).
_FLAGS = {p.PacketType.PUBREL: 2, p.PacketType.SUBSCRIBE: 2, p.PacketType.UNSUBSCRIBE: 2}


def first_byte_fault(first: int) -> tuple[str, str] | None:
    """What is wrong with a packet's first byte, as (reason, spec), or None when it is right."""
    packet_type = first >> 4
    if packet_type not in _READERS:
        return f"packet type {packet_type}, which is reserved", "2.2.1"
    flags = first & 15
    if packet_type == p.PacketType.PUBLISH:
        if flags & 6 == 6:
            return "a PUBLISH of QoS 3", "3.3.1.2, MQTT-3.3.1-4"
        return None
    if flags != _FLAGS.get(p.PacketType(packet_type), 0):
        return f"reserved flags set in a {p.PacketType(packet_type).name}", "2.2.2, MQTT-2.2.2-2"
    return None


def read_body(first: int, data: bytes) -> p.Packet | p.ConnectRefused:
    """The packet whose first byte is `first` (already checked) and whose body is `data`.

    Raises ProtocolViolation.
    """
    section, reader = _READERS[first >> 4]
    return reader(first & 15, Body(data, p.PacketType(first >> 4).name, section))
