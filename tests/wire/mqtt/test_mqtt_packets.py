"""Packets to bytes and back, whole and in pieces, right and wrong."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_cases import CASES, EXCHANGE, singles

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.decode import PacketReader
from iotedge_lab.wire.mqtt.encode import encode, encode_puback, encode_publish, remaining_length

all_cases = pytest.mark.parametrize(("packet", "data"), CASES.values(), ids=CASES.keys())


def test_the_table_has_each_packet():
    """Each of the fourteen packets stands in the table."""
    assert {type(packet) for packet, _ in CASES.values()} == set(p.Packet.__args__)
    assert len(p.Packet.__args__) == len(p.PacketType) == 14


@all_cases
def test_writes(packet, data):
    """A packet becomes the bytes that the spec lays out."""
    assert encode(packet) == data


@all_cases
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_reads_whole(packet, data, kind):
    """Bytes become the packet, whichever buffer they come in."""
    assert singles(PacketReader().feed(kind(data))) == [packet]


@all_cases
def test_reads_byte_by_byte(packet, data):
    """A packet comes out with its last byte and not before."""
    reader = PacketReader()
    for index in range(len(data) - 1):
        assert reader.feed(data[index : index + 1]) == []
    assert reader.buffered == len(data) - 1
    assert singles(reader.feed(data[-1:])) == [packet]
    assert reader.buffered == 0


@all_cases
def test_reads_with_trailing_data(packet, data):
    """What follows a packet is kept until it is complete."""
    reader = PacketReader()
    assert singles(reader.feed(data + b"\xd0")) == [packet]
    assert reader.feed(b"\x00" + data[:1]) == [p.PingResp()]
    assert singles(reader.feed(data[1:])) == [packet]


def test_a_buffer_may_be_used_again():
    """A reader keeps no view of the memory that it was given."""
    data = CASES["subscribe"][1]
    reader = PacketReader()
    buffer = bytearray(data[:5])
    reader.feed(memoryview(buffer))
    buffer[:] = b"\xff" * 5
    assert reader.feed(data[5:]) == [CASES["subscribe"][0]]


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_151, b"\xff\xff\x7f"),
        (2_097_152, b"\x80\x80\x80\x01"),
        (268_435_455, b"\xff\xff\xff\x7f"),
    ],
)
def test_remaining_length(size, data):
    """The lengths of table 2.4 take the bytes that it gives."""
    assert remaining_length(size) == data


@pytest.mark.parametrize("size", [1, 100, 120, 127, 128, 16_370, 16_384, 262_144, 2_097_152])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_payloads_of_all_length_classes(size, qos):
    """A message survives whatever number of length bytes it takes."""
    packet = p.Publish("t", bytes(size), qos, packet_id=7 if qos else 0)
    assert singles(PacketReader().feed(encode(packet) * 2)) == [packet, packet]


VIOLATIONS = {
    "type 0": (b"\x00\x00", "2.2.1"),
    "type 15": (b"\xf0\x00", "2.2.1"),
    "flags in CONNECT": (b"\x11\x00", "2.2.2"),
    "flags in PINGREQ": (b"\xc1\x00", "2.2.2"),
    "flags in PUBACK": (b"\x42\x02\x00\x01", "2.2.2"),
    "no flags in SUBSCRIBE": (b"\x80\x06\x00\x01\x00\x01a\x00", "2.2.2"),
    "no flags in UNSUBSCRIBE": (b"\xa0\x05\x00\x01\x00\x01a", "2.2.2"),
    "no flags in PUBREL": (b"\x60\x02\x00\x01", "2.2.2"),
    "a length of five bytes": (b"\xc0\x80\x80\x80\x80", "2.2.3"),
    "a length of five bytes in a run": (b"\x32\x80\x80\x80\x80", "2.2.3"),
    "a packet over the limit": (b"\x30\x80\x80\x7f", "2.2.3"),
    "a message of a run over the limit": (b"\x32\x80\x80\x7f", "2.2.3"),
    "wrong protocol name": (b"\x10\x0d\x00\x04MQTt\x04\x02\x00\x3c\x00\x01a", "MQTT-3.1.2-1"),
    "MQTT 3.1": (b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a", "MQTT-3.1.2-1"),
    "reserved CONNECT flag": (b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01a", "MQTT-3.1.2-3"),
    "will QoS without will": (b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x3c\x00\x01a", "MQTT-3.1.2-13"),
    "will RETAIN without will": (b"\x10\x0d\x00\x04MQTT\x04\x22\x00\x3c\x00\x01a", "MQTT-3.1.2-13"),
    "will QoS 3": (b"\x10\x12\x00\x04MQTT\x04\x1e\x00\x3c\x00\x01a\x00\x01t\x00\x00", "MQTT-3.1.2-14"),
    "will topic with a wildcard": (
        b"\x10\x12\x00\x04MQTT\x04\x06\x00\x3c\x00\x01a\x00\x01#\x00\x00",
        "MQTT-3.3.2-2",
    ),
    "password without user name": (
        b"\x10\x10\x00\x04MQTT\x04\x42\x00\x3c\x00\x01a\x00\x01p",
        "MQTT-3.1.2-22",
    ),
    "CONNECT cut in its client id": (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x02a", "3.1"),
    "CONNECT without its user name": (b"\x10\x0d\x00\x04MQTT\x04\x82\x00\x3c\x00\x01a", "3.1"),
    "CONNECT and more": (b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a!", "3.1"),
    "client id not UTF-8": (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\xff", "MQTT-1.5.3-1"),
    "client id with U+0000": (b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x00", "MQTT-1.5.3-2"),
    "CONNACK flags": (b"\x20\x02\x02\x00", "3.2.2.1"),
    "CONNACK code 6": (b"\x20\x02\x00\x06", "3.2.2.3"),
    "CONNACK refusing with a session": (b"\x20\x02\x01\x05", "MQTT-3.2.2-4"),
    "CONNACK and more": (b"\x20\x03\x00\x00\x00", "3.2"),
    "PUBLISH of QoS 3": (b"\x36\x06\x00\x01a\x00\x01x", "MQTT-3.3.1-4"),
    "DUP at QoS 0": (b"\x38\x03\x00\x01a", "MQTT-3.3.1-2"),
    "a topic with '+'": (b"\x30\x03\x00\x01+", "MQTT-3.3.2-2"),
    "a topic with '#'": (b"\x34\x06\x00\x01#\x00\x01x", "MQTT-3.3.2-2"),
    "an empty topic": (b"\x30\x02\x00\x00", "MQTT-4.7.3-1"),
    "a topic that is half a surrogate pair": (b"\x30\x05\x00\x03\xed\xa0\x80", "MQTT-1.5.3-1"),
    "a topic with U+0000": (b"\x30\x04\x00\x02a\x00", "MQTT-1.5.3-2"),
    "a topic that is cut": (b"\x30\x03\x00\x02a", "3.3"),
    "a PUBLISH without packet id": (b"\x34\x03\x00\x01a", "3.3"),
    "an empty PUBLISH": (b"\x30\x00", "3.3"),
    "packet id 0 in a PUBLISH": (b"\x34\x05\x00\x01a\x00\x00", "MQTT-2.3.1-1"),
    "in a run, a topic with '+'": (b"\x32\x06\x00\x01+\x00\x01x", "MQTT-3.3.2-2"),
    "in a run, an empty topic": (b"\x32\x05\x00\x00\x00\x01x", "MQTT-4.7.3-1"),
    "in a run, a topic that is not UTF-8": (b"\x32\x06\x00\x01\xff\x00\x01x", "MQTT-1.5.3-1"),
    "in a run, a topic with U+0000": (b"\x32\x06\x00\x01\x00\x00\x01x", "MQTT-1.5.3-2"),
    "in a run, a topic that is cut": (b"\x32\x03\x00\x02a", "3.3"),
    "in a run, no packet id": (b"\x32\x03\x00\x01a", "3.3"),
    "in a run, half a packet id": (b"\x32\x04\x00\x01a\x00", "3.3"),
    "in a run, nothing": (b"\x32\x00", "3.3"),
    "in a run, one byte": (b"\x32\x01\x00", "3.3"),
    "in a run, packet id 0": (b"\x32\x05\x00\x01a\x00\x00", "MQTT-2.3.1-1"),
    "PUBACK of packet id 0": (b"\x40\x02\x00\x00", "MQTT-2.3.1-1"),
    "PUBACK of one byte": (b"\x40\x01\x01", "3.4"),
    "PUBACK of three bytes": (b"\x40\x03\x00\x01\x00", "3.4"),
    "PUBREL of packet id 0": (b"\x62\x02\x00\x00", "MQTT-2.3.1-1"),
    "SUBSCRIBE without filters": (b"\x82\x02\x00\x01", "MQTT-3.8.3-3"),
    "SUBSCRIBE without QoS": (b"\x82\x05\x00\x01\x00\x01a", "3.8"),
    "SUBSCRIBE with QoS 3": (b"\x82\x06\x00\x01\x00\x01a\x03", "MQTT-3.8.3-4"),
    "SUBSCRIBE to nothing": (b"\x82\x05\x00\x01\x00\x00\x01", "MQTT-4.7.3-1"),
    "SUBSCRIBE to a#": (b"\x82\x07\x00\x01\x00\x02a#\x01", "MQTT-4.7.1-2"),
    "SUBSCRIBE to a+": (b"\x82\x07\x00\x01\x00\x02a+\x01", "MQTT-4.7.1-3"),
    "SUBSCRIBE with packet id 0": (b"\x82\x06\x00\x00\x00\x01a\x01", "MQTT-2.3.1-1"),
    "SUBACK without codes": (b"\x90\x02\x00\x01", "MQTT-3.8.4-5"),
    "SUBACK with code 3": (b"\x90\x03\x00\x01\x03", "MQTT-3.9.3-2"),
    "UNSUBSCRIBE without filters": (b"\xa2\x02\x00\x01", "MQTT-3.10.3-2"),
    "UNSUBSCRIBE that is cut": (b"\xa2\x04\x00\x01\x00\x01", "3.10"),
    "PINGREQ with a body": (b"\xc0\x01\x00", "3.12"),
    "DISCONNECT with a body": (b"\xe0\x01\x00", "3.14"),
}


@pytest.mark.parametrize(("data", "spec"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
@pytest.mark.parametrize("join_acks", [False, True])
def test_violations(data, spec, join_acks):
    """What the spec forbids ends the list with a violation that names the section; nothing follows it."""
    before = CASES["pingreq"][1] + encode_publish("t", b"kept", 1, 1) + encode_puback(5)
    kept = [p.PingReq(), p.Publish("t", b"kept", 1, packet_id=1), p.PubAck(5)]
    for pieces in ([before + data + b"\xc0\x00"], [before, *(data[i : i + 1] for i in range(len(data)))]):
        reader = PacketReader(500_000, join_acks=join_acks)
        events = singles([event for piece in pieces for event in reader.feed(piece)])
        assert events[:-1] == kept
        assert isinstance(events[-1], p.Violation)
        assert spec in events[-1].spec.replace(",", "").split()
        assert events[-1].reason
        assert reader.dead
        assert reader.feed(CASES["pingreq"][1]) == []


REFUSED = {
    "MQTT 5": (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00\x00\x00\x00", 1),
    "level 3": (b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x3c\x00\x01a", 1),
    "a bridge": (b"\x10\x0d\x00\x04MQTT\x84\x02\x00\x3c\x00\x01a", 1),
    "no id, and a session": (b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00", 2),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_connects(data, code):
    """A CONNECT that is to be answered with a code is no violation; nothing is read after it."""
    reader = PacketReader()
    (event,) = reader.feed(data + b"\xc0\x00")
    assert isinstance(event, p.ConnectRefused)
    assert event.code == code
    assert reader.feed(b"\xc0\x00") == []


def test_an_oversized_packet_is_refused_before_it_is_buffered():
    """The length alone is enough for the violation, and one byte less is read."""
    for qos, size in ((0, 1003), (1, 1005)):
        packet = encode_publish("t", b"x" * 1000, qos, qos)
        (event,) = PacketReader(size).feed(packet)
        assert not isinstance(event, p.Violation)
        for data in (packet, packet[:3]):
            reader = PacketReader(size - 1)
            (event,) = reader.feed(data)
            assert isinstance(event, p.Violation)
            assert reader.buffered == 0


def test_lengths_in_more_bytes_than_they_need_are_read():
    """3.1.1 does not ask for the shortest form of a length."""
    assert PacketReader().feed(b"\xc0\x80\x00") == [p.PingReq()]
    run = b"\x32\x86\x80\x80\x00\x00\x01a\x00\x01x"
    assert singles(PacketReader().feed(run * 2)) == [p.Publish("a", b"x", 1, packet_id=1)] * 2
    assert PacketReader(join_acks=True).feed(b"\x40\x82\x00\x00\x07") == [p.PubAcks((7,))]


def test_every_prefix_of_an_exchange():
    """Any beginning of an exchange gives the beginning of its events, and the rest the rest."""
    expected = singles(PacketReader().feed(EXCHANGE))
    assert len(expected) == 12
    for cut in range(len(EXCHANGE) + 1):
        reader = PacketReader()
        events = singles(reader.feed(EXCHANGE[:cut]))
        assert events == expected[: len(events)]
        assert events + singles(reader.feed(EXCHANGE[cut:])) == expected


def test_every_flipped_byte_of_an_exchange():
    """However a byte is broken, events or a violation come out, the same whole and in pieces."""
    violations = 0
    for index in range(len(EXCHANGE)):
        for mask in (0xFF, 0x01, 0x10, 0x80):
            data = bytearray(EXCHANGE)
            data[index] ^= mask
            whole = singles(PacketReader(1000).feed(data))
            reader = PacketReader(1000)
            pieces = [event for at in range(0, len(data), 7) for event in reader.feed(data[at : at + 7])]
            assert singles(pieces) == whole
            violations += any(isinstance(event, p.Violation) for event in whole)
    assert violations > 50


WRONG_TO_SEND = {
    "packet id 0": p.PubAck(0),
    "packet id 65536": p.Subscribe(65_536, (("a", 1),)),
    "packet id 0 at QoS 1": p.Publish("a", b"", 1),
    "a packet id at QoS 0": p.Publish("a", b"", 0, packet_id=1),
    "DUP at QoS 0": p.Publish("a", b"", 0, dup=True),
    "QoS 3": p.Publish("a", b"", 3, packet_id=1),
    "a wildcard": p.Publish("a/+", b""),
    "an empty topic": p.Publish("", b""),
    "a long topic": p.Publish("a" * 65_536, b""),
    "half a surrogate pair": p.Publish("\ud800", b""),
    "a long client id": p.Connect("a" * 65_536),
    "a client id with U+0000": p.Connect("a\0"),
    "a password alone": p.Connect("a", password=b"p"),
    "a keep-alive of 65536 s": p.Connect("a", keep_alive=65_536),
    "a will of QoS 3": p.Connect("a", will=p.Will("t", b"", 3)),
    "a refusal with a session": p.ConnAck(p.ConnackCode.NOT_AUTHORIZED, True),
    "no filters": p.Subscribe(1, ()),
    "QoS 3 subscribed": p.Subscribe(1, (("a", 3),)),
    "a bad filter": p.Unsubscribe(1, ("a#",)),
    "nothing to unsubscribe": p.Unsubscribe(1, ()),
    "a bad code": p.SubAck(1, (3,)),
    "no codes": p.SubAck(1, ()),
    "no packet": p.PubAcks((1,)),
}


@pytest.mark.parametrize("packet", WRONG_TO_SEND.values(), ids=WRONG_TO_SEND.keys())
def test_what_must_not_be_sent_is_refused(packet):
    """Our own mistakes raise UsageError and reach no wire."""
    with pytest.raises(UsageError):
        encode(packet)


def test_a_message_too_long_for_mqtt():
    """A length that four bytes cannot hold is refused by its number."""
    with pytest.raises(UsageError, match="268,435,455"):
        remaining_length(268_435_456)


def test_no_password_in_a_repr():
    """A CONNECT in a log shows no secret."""
    assert "geheim" not in repr(p.Connect("a", username="u", password=b"geheim"))


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topics = text.map(lambda s: s.replace("+", "p").replace("#", "h") or "t")
ids = st.integers(1, 65_535)
publishes = st.builds(
    lambda topic, payload, qos, retain, dup, packet_id: p.Publish(
        topic, payload, qos, retain, dup and qos > 0, packet_id if qos else 0
    ),
    topics,
    st.binary(max_size=300),
    st.sampled_from((0, 1, 1, 1, 2)),
    st.booleans(),
    st.booleans(),
    ids,
)
connects = st.builds(
    lambda client_id, clean, keep_alive, username, password, will: p.Connect(
        client_id or "c", clean, keep_alive, username, password if username is not None else None, will
    ),
    text,
    st.booleans(),
    st.integers(0, 65_535),
    st.none() | text,
    st.none() | st.binary(max_size=30),
    st.none() | st.builds(p.Will, topics, st.binary(max_size=30), st.integers(0, 2), st.booleans()),
)
filters = st.lists(st.sampled_from(("a", "+", "", "ü")), min_size=1, max_size=4).map(
    lambda levels: "/".join(levels) or "#"
)
packets = st.one_of(
    connects,
    publishes,
    publishes,
    st.builds(p.PubAck, ids),
    st.builds(p.PubRec, ids),
    st.builds(p.PubRel, ids),
    st.builds(p.PubComp, ids),
    st.builds(p.UnsubAck, ids),
    st.builds(
        p.Subscribe, ids, st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=4).map(tuple)
    ),
    st.builds(p.Unsubscribe, ids, st.lists(filters, min_size=1, max_size=4).map(tuple)),
    st.builds(p.SubAck, ids, st.lists(st.sampled_from((0, 1, 2, 128)), min_size=1, max_size=4).map(tuple)),
    st.just(p.PingReq()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(packets, max_size=12), st.data())
def test_whatever_is_written_is_read(sent, data):
    """Packets cut at any places come out as they went in, in their order."""
    wire = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    reader = PacketReader(join_acks=data.draw(st.booleans()))
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        events += reader.feed(wire[start:end])
    assert singles(events) == sent


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_noise_never_raises(noise, cuts):
    """Arbitrary bytes give events and at most one violation, at the end."""
    reader = PacketReader(1000)
    events = reader.feed(noise)
    assert not any(isinstance(event, p.Violation) for event in events[:-1])
    again = PacketReader(1000)
    pieces = []
    marks = sorted({0, len(noise), *(cut for cut in cuts if cut < len(noise))})
    for start, end in pairwise(marks):
        pieces += again.feed(noise[start:end])
    assert singles(pieces) == singles(events)
