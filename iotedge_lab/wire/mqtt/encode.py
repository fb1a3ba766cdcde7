"""MQTT 3.1.1 packets to bytes.

`encode` writes any packet; `encode_publish` is the short way for the packet of which there are many. What the
caller gives wrongly (a string of 70,000 bytes, packet id 0) raises `UsageError`: it never reaches the wire.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.filters import MAX_STRING, filter_fault, text_fault, topic_fault

if TYPE_CHECKING:
    from collections.abc import Callable

_U16 = struct.Struct(">H")
_FOUR = struct.Struct(">BBH")  # the packets that are a packet id and nothing else

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
DISCONNECT = b"\xe0\x00"
PUBACK_HEAD = b"\x40\x02"


def remaining_length(size: int) -> bytes:
    """The one to four bytes that tell how long the rest of a packet is, section 2.2.3.

    Raises UsageError above 268,435,455.
    """
    if size < 128:
        return bytes((size,))
    if size > p.MAX_REMAINING_LENGTH:
        raise UsageError(
            f"An MQTT packet holds {p.MAX_REMAINING_LENGTH:,} bytes at most, not {size:,}; "
            "send less in one message."
        )
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out)


def publish_head(topic: bytes, size: int, first: int) -> bytes:
    """A PUBLISH up to and including its topic.

    `size` is what follows the topic, packet id included, and `first` the first byte with its flags. The
    topic is taken as valid.
    """
    return b"%c%b%b%b" % (
        first,
        remaining_length(2 + len(topic) + size),
        _U16.pack(len(topic)),
        topic,
    )


def encode_publish(
    topic: str | bytes,
    payload: bytes,
    qos: int = 1,
    packet_id: int = 0,
    *,
    dup: bool = False,
    retain: bool = False,
) -> bytes:
    """A PUBLISH, section 3.3.

    `packet_id` is 1-65535 at QoS 1 and 2 and 0 at QoS 0. Raises UsageError for a topic or packet id that
    may not be sent.
    """
    name = checked_topic(topic)
    first = 0x30 | dup << 3 | qos << 1 | retain
    if qos == 0:
        if packet_id or dup:
            raise UsageError("A PUBLISH of QoS 0 has neither a packet id nor DUP; leave both out.")
        return publish_head(name, len(payload), first) + payload
    if qos not in (1, 2):
        raise UsageError(f"QoS is 0, 1 or 2, not {qos}.")
    return publish_head(name, 2 + len(payload), first) + _packet_id(packet_id) + payload


def checked_topic(topic: str | bytes) -> bytes:
    """The bytes of a topic name; UsageError when it is empty, too long, or holds a wildcard."""
    name = _utf8(topic, "topic") if isinstance(topic, str) else topic
    fault = topic_fault(name)
    if fault:
        raise UsageError(f"This topic cannot be published to: {fault[0]} [{p.SPEC}, {fault[1]}].")
    _check_length(name, "topic")
    return name


def encode_puback(packet_id: int) -> bytes:
    """A PUBACK, section 3.4."""
    return PUBACK_HEAD + _packet_id(packet_id)


def encode(packet: p.Packet) -> bytes:
    """Any packet as its bytes. Raises UsageError for values that MQTT cannot carry."""
    writer = _WRITERS.get(type(packet))
    if writer is None:
        raise UsageError(f"{type(packet).__name__} is not an MQTT packet that can be sent.")
    return writer(packet)


def _packet_id(packet_id: int) -> bytes:
    if not 0 < packet_id <= p.MAX_PACKET_ID:
        raise UsageError(f"A packet id is 1 to 65535, not {packet_id} [{p.SPEC}, 2.3.1].")
    return _U16.pack(packet_id)


def _check_length(data: bytes, what: str) -> None:
    if len(data) > MAX_STRING:
        raise UsageError(f"The {what} has {len(data):,} bytes; MQTT carries 65,535 at most.")


def _binary(data: bytes, what: str) -> bytes:
    _check_length(data, what)
    return _U16.pack(len(data)) + data


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {what} holds half a surrogate pair; it cannot be UTF-8.") from None


def _text(text: str, what: str) -> bytes:
    data = _utf8(text, what)
    fault = text_fault(data)
    if fault:
        raise UsageError(f"The {what} cannot be sent: {fault[0]} [{p.SPEC}, {fault[1]}].")
    return _binary(data, what)


def _filter(topic_filter: str) -> bytes:
    fault = filter_fault(topic_filter)
    if fault:
        raise UsageError(f"This filter cannot be sent: {fault[0]} [{p.SPEC}, {fault[1]}].")
    return _text(topic_filter, "topic filter")


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + remaining_length(len(body)) + body


def _connect(packet: p.Connect) -> bytes:
    if packet.password is not None and packet.username is None:
        raise UsageError("A password without a user name cannot be sent [MQTT-3.1.2-22].")
    if not 0 <= packet.keep_alive <= 65_535:
        raise UsageError(f"Keep-alive is 0 to 65535 seconds, not {packet.keep_alive}.")
    flags = packet.clean_session << 1
    payload = [_text(packet.client_id, "client id")]
    will = packet.will
    if will is not None:
        if will.qos not in (0, 1, 2):
            raise UsageError(f"QoS is 0, 1 or 2, not {will.qos}.")
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += [_binary(checked_topic(will.topic), "will topic"), _binary(will.payload, "will")]
    if packet.username is not None:
        flags |= 0x80
        payload.append(_text(packet.username, "user name"))
    if packet.password is not None:
        flags |= 0x40
        payload.append(_binary(packet.password, "password"))
    head = b"\x00\x04MQTT\x04" + struct.pack(">BH", flags, packet.keep_alive)
    return _packet(0x10, head + b"".join(payload))


def _connack(packet: p.ConnAck) -> bytes:
    if packet.session_present and packet.code is not p.ConnackCode.ACCEPTED:
        raise UsageError("A CONNACK that refuses has no session present [MQTT-3.2.2-4].")
    return bytes((0x20, 2, packet.session_present, packet.code))


def _publish(packet: p.Publish) -> bytes:
    return encode_publish(
        packet.topic, packet.payload, packet.qos, packet.packet_id, dup=packet.dup, retain=packet.retain
    )


def _only_id(first: int) -> Callable[[p.Packet], bytes]:
    def write(packet: p.Packet) -> bytes:
        carried = cast("p.PubAck", packet).packet_id  # all packets of this form have one
        _packet_id(carried)
        return _FOUR.pack(first, 2, carried)

    return write


def _subscribe(packet: p.Subscribe) -> bytes:
    if not packet.filters:
        raise UsageError("A SUBSCRIBE carries at least one filter [MQTT-3.8.3-3].")
    body = [_packet_id(packet.packet_id)]
    for topic_filter, qos in packet.filters:
        if qos not in (0, 1, 2):
            raise UsageError(f"QoS is 0, 1 or 2, not {qos}.")
        body += [_filter(topic_filter), bytes((qos,))]
    return _packet(0x82, b"".join(body))


def _suback(packet: p.SubAck) -> bytes:
    if not packet.codes or any(code not in SUBACK_CODES for code in packet.codes):
        raise UsageError("A SUBACK carries a code for each filter: 0, 1, 2 or 128 [MQTT-3.9.3-2].")
    return _packet(0x90, _packet_id(packet.packet_id) + bytes(packet.codes))


def _unsubscribe(packet: p.Unsubscribe) -> bytes:
    if not packet.filters:
        raise UsageError("An UNSUBSCRIBE carries at least one filter [MQTT-3.10.3-2].")
    return _packet(0xA2, _packet_id(packet.packet_id) + b"".join(map(_filter, packet.filters)))


SUBACK_CODES = frozenset((0, 1, 2, p.SUBSCRIBE_FAILED))

_WRITERS: dict[type, Callable[..., bytes]] = {
    p.Connect: _connect,
    p.ConnAck: _connack,
    p.Publish: _publish,
    p.PubAck: _only_id(0x40),
    p.PubRec: _only_id(0x50),
    p.PubRel: _only_id(0x62),
    p.PubComp: _only_id(0x70),
    p.Subscribe: _subscribe,
    p.SubAck: _suback,
    p.Unsubscribe: _unsubscribe,
    p.UnsubAck: _only_id(0xB0),
    p.PingReq: lambda _: PINGREQ,
    p.PingResp: lambda _: PINGRESP,
    p.Disconnect: lambda _: DISCONNECT,
}
