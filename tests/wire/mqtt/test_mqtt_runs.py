"""The hot path gives what reading one message at a time gives."""

import time
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_cases import TOPIC, singles

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.bodies import read_body
from iotedge_lab.wire.mqtt.decode import PacketReader
from iotedge_lab.wire.mqtt.encode import encode, encode_puback, encode_publish
from iotedge_lab.wire.mqtt.runs import iter_publishes, read_length


def one_by_one(data):
    """Decode field by field, without runs."""
    position = 0
    while position < len(data):
        size, body = read_length(data, position + 1)
        yield read_body(data[position], data[body : body + size])
        position = body + size


def test_a_run():
    """Messages that follow one another are one value with verbatim bytes and ready acknowledgements."""
    a, b = TOPIC.encode(), (TOPIC + "k=v").encode()
    messages = [(a, b"1", 1), (a, b"2", 2), (b, b"three", 3), (a, b"", 4), (a, b"x" * 200, 65_535)]
    raw = b"".join(encode_publish(topic, body, 1, i) for topic, body, i in messages)
    (run,) = PacketReader().feed(raw)
    assert isinstance(run, p.PublishRun)
    assert run.raw == raw
    assert run.count == 5
    assert run.acks == b"".join(encode_puback(i) for _, _, i in messages)
    assert run.topics == (a, b, a)
    assert run.largest == 2 + len(a) + 2 + 200
    assert list(iter_publishes(run.raw)) == messages


def test_a_run_of_one():
    """One QoS 1 message is a run too, so that there is one way to handle it."""
    (run,) = PacketReader().feed(encode_publish("t", b"x", 1, 9))
    assert (run.count, run.topics, run.acks, run.largest) == (1, (b"t",), b"\x40\x02\x00\x09", 6)


@pytest.mark.parametrize(
    "other",
    [
        encode(p.PingReq()),
        encode_publish("t", b"x", 0),
        encode_publish("t", b"x", 1, 5, dup=True),
        encode_publish("t", b"x", 1, 5, retain=True),
        encode_publish("t", b"x", 2, 5),
        encode_puback(3),
    ],
    ids=["PINGREQ", "QoS 0", "DUP", "RETAIN", "QoS 2", "PUBACK"],
)
def test_any_other_packet_ends_a_run(other):
    """Order is kept: a run ends where another packet stands."""
    first, second = encode_publish("t", b"a", 1, 1) * 2, encode_publish("t", b"a", 1, 1) * 3
    events = PacketReader().feed(first + other + second)
    assert [type(event) is p.PublishRun for event in events] == [True, False, True]
    assert (events[0].raw, events[2].raw) == (first, second)


def test_an_incomplete_message_waits():
    """A run ends with the last complete message; `largest` does not count the one that is not."""
    message = encode_publish("t", b"a", 1, 1)
    long = encode_publish("t", b"a" * 1000, 1, 2)
    reader = PacketReader()
    (run,) = reader.feed(message * 3 + long[:500])
    assert (run.count, run.raw, run.largest) == (3, message * 3, 6)
    (run,) = reader.feed(long[500:] + message)
    assert (run.count, run.raw, run.largest) == (2, long + message, 1005)


@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize(
    ("bad", "spec"),
    [
        (b"\x32\x06\x00\x01t\x00\x00x", "2.3.1"),
        (b"\x32\x06\x00\x01#\x00\x01x", "3.3.2.1"),
        (b"\x32\x06\x00\x01\xff\x00\x01x", "1.5.3"),
        (b"\x32\x06\x00\x00\x00\x01xx", "4.7.3"),
        (b"\x32\x04\x00\x01t\x00", "3.3"),
        (b"\x32\x7f", "2.2.3"),
    ],
)
def test_messages_before_a_violation_are_kept(bad, spec, same_size):
    """A wrong message ends the run before it, whatever is wrong later."""
    good = b"".join(encode_publish("t", b"a" if same_size else b"a" * (i % 3), 1, i) for i in range(1, 6))
    run, violation = PacketReader(100).feed(good + bad + good + b"\xf0\x00" + good)
    assert (run.raw, run.count, run.topics) == (good, 5, (b"t",))
    assert violation.spec.startswith(spec)


def test_the_earlier_of_two_faults_counts():
    """A topic fault before packet id 0 is the one that is told, and the other way round."""
    good = encode_publish("t", b"", 1, 1)
    no_id, wild = b"\x32\x05\x00\x01t\x00\x00", b"\x32\x05\x00\x01#\x00\x01"
    assert "packet id" in PacketReader().feed(good + no_id + wild)[-1].reason
    assert "wildcard" in PacketReader().feed(good + wild + no_id)[-1].reason


def test_topics_are_not_joined_to_a_right_one():
    """Two halves of a character at the end and the beginning of two topics are two faults, not a letter."""
    for topic in (b"a\xc3", b"\xa4a"):
        (event,) = PacketReader().feed(b"\x32\x06\x00\x02" + topic + b"\x00\x01")
        assert isinstance(event, p.Violation)
    events = PacketReader().feed(b"\x32\x06\x00\x02a\xc3\x00\x01\x32\x06\x00\x02\xa4a\x00\x01")
    assert len(events) == 1
    assert isinstance(events[0], p.Violation)


def test_a_topic_that_reaches_into_the_next_message():
    """Bytes of the next message never complete the topic of this one."""
    whole = encode_publish("topic", b"", 1, 1)
    cut = bytearray(whole)
    cut[1] -= 3  # the length says less than topic and packet id need
    events = PacketReader().feed(whole + bytes(cut))
    assert singles(events[:1]) == [p.Publish("topic", b"", 1, packet_id=1)]
    assert events[1].spec == "3.3"


short = st.sampled_from(("t", "t", "t", "uu", "ä/b"))
run_messages = st.lists(
    st.tuples(short, st.sampled_from((b"", b"x", b"x", b"yy", b"z" * 150)), st.integers(1, 65_535)),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(run_messages)
def test_runs_equal_single_decoding(messages):
    """A run has what the field-by-field decoder finds in the same bytes."""
    raw = b"".join(encode_publish(topic, body, 1, i) for topic, body, i in messages)
    expected = [p.Publish(topic, body, 1, packet_id=i) for topic, body, i in messages]
    assert list(one_by_one(raw)) == expected
    events = PacketReader().feed(raw)
    assert singles(events) == expected
    if messages:
        (run,) = events
        changes = [m[0] for n, m in enumerate(messages) if n == 0 or messages[n - 1][0] != m[0]]
        assert run.topics == tuple(topic.encode() for topic in changes)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(short, st.binary(max_size=200), st.integers(0, 2), st.integers(1, 65_535), st.booleans())
    )
)
def test_a_stored_log_is_read_back(messages):
    """`iter_publishes` reads any row of PUBLISHes, with packet id 0 at QoS 0."""
    raw = b"".join(
        encode_publish(topic, body, qos, i if qos else 0, dup=flag and qos > 0, retain=flag)
        for topic, body, qos, i, flag in messages
    )
    expected = [(topic.encode(), body, i if qos else 0) for topic, body, qos, i, _ in messages]
    assert list(iter_publishes(raw)) == expected


@pytest.mark.parametrize(
    "tail",
    [
        b"\x32",
        b"\x32\x80",
        b"\x32\x0a\x00\x01t",
        b"\x32\x0a\x00\x01t\x00\x01cut",
        b"\xc0\x00",
        b"\x32\x03\x00\x01t",
        b"\x30\x02\x00\x09",
        b"\x30\x00",
    ],
)
def test_a_damaged_log_is_told(tail):
    """What is not a complete PUBLISH raises, after what stands before it was handed out."""
    good = encode_publish("t", b"x", 1, 1)
    reading = iter_publishes(good + tail)
    assert next(reading) == (b"t", b"x", 1)
    with pytest.raises(ProtocolViolation, match="byte 8"):
        next(reading)


def test_acks_are_joined():
    """A read full of PUBACKs is one event; any other packet ends it."""
    data = b"".join(encode_puback(i) for i in (1, 2, 65_535)) + b"\xd0\x00" + encode_puback(4) + b"\x40"
    reader = PacketReader(join_acks=True)
    assert reader.feed(data) == [p.PubAcks((1, 2, 65_535)), p.PingResp(), p.PubAcks((4,))]
    assert reader.feed(b"\x02\x00\x05\x40\x02\x00") == [p.PubAcks((5,))]
    assert reader.feed(b"\x06" + encode_puback(7) + encode_puback(7)[:2] + b"\x00\x00") == [
        p.PubAcks((6, 7)),
        p.Violation("packet id 0 in a PUBACK", "2.3.1, MQTT-2.3.1-1"),
    ]


def cheapest(work, *, number, repeat):
    """The seconds of the processor that it took at best: what else the machine does counts for nothing."""
    return min(timeit.repeat(work, timer=time.process_time, number=number, repeat=repeat))


def test_a_large_packet_in_small_pieces_costs_its_size():
    """256 KB byte by byte is no more than 8 times dearer a byte than 32 KB: nothing is copied twice."""

    def spend(size):
        packet = encode_publish("t", bytes(size), 1, 1)
        pieces = [packet[i : i + 1] for i in range(len(packet))]

        def feed():
            reader = PacketReader()
            for piece in pieces:
                events = reader.feed(piece)
            assert events[0].count == 1

        return cheapest(feed, number=1, repeat=3) / size

    assert spend(262_144) < 8 * spend(32_768)


def test_the_hot_path_is_a_loop_and_not_a_call_a_message():
    """A run costs less than a fifth of decoding its messages one by one."""
    raw = b"".join(encode_publish(TOPIC, bytes(195 + i % 11), 1, i) for i in range(1, 500))
    run = cheapest(lambda: PacketReader().feed(raw), number=50, repeat=5)
    single = cheapest(lambda: list(one_by_one(raw)), number=50, repeat=5)
    assert run * 5 < single
