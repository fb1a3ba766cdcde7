"""Cutting the stream into headers and frames."""

import pytest

from iotedge_lab.wire.amqp.conditions import FRAMING_ERROR, AmqpViolation
from iotedge_lab.wire.amqp.frames import (
    AMQP_HEADER,
    SASL_HEADER,
    TYPE_AMQP,
    TYPE_SASL,
    Frame,
    FrameReader,
    ProtocolHeader,
    empty_frame,
    encode_frame,
)
from iotedge_lab.wire.amqp.performatives import Close, SaslOutcomeFrame, Transfer

CLOSE = b"\x00\x53\x18\xc0\x02\x01\x40"
TRANSFER = b"\x00\x53\x14\xc0\x0c\x0b\x43\x40\x40\x40\x40\x42\x40\x40\x42\x42\x42"
ITEMS = [
    (ProtocolHeader(SASL_HEADER), b"AMQP\x03\x01\x00\x00"),
    (
        Frame(TYPE_SASL, 0, b"\x00\x53\x44\xc0\x04\x02\x50\x00\x40"),
        encode_frame(0, SaslOutcomeFrame(0), kind=TYPE_SASL),
    ),
    (ProtocolHeader(AMQP_HEADER), b"AMQP\x00\x01\x00\x00"),
    (Frame(TYPE_AMQP, 0, b""), b"\x00\x00\x00\x08\x02\x00\x00\x00"),
    (Frame(TYPE_AMQP, 258, CLOSE), b"\x00\x00\x00\x0f\x02\x00\x01\x02" + CLOSE),
    (Frame(TYPE_AMQP, 0, TRANSFER + b"hi"), b"\x00\x00\x00\x1b\x02\x00\x00\x00" + TRANSFER + b"hi"),
    (Frame(TYPE_AMQP, 1, CLOSE), b"\x00\x00\x00\x13\x03\x00\x00\x01ext." + CLOSE),
]
STREAM = b"".join(raw for _, raw in ITEMS)


def drain(reader):
    found = []
    while (item := reader.next()) is not None:
        found.append(item)
    return found


@pytest.mark.parametrize("step", [len(STREAM), 1, 2, 3, 7, 8, 9, 20])
def test_any_cut(step):
    """However the stream is cut, the same headers and frames come out."""
    reader = FrameReader(512)
    found = []
    for start in range(0, len(STREAM), step):
        reader.feed(STREAM[start : start + step])
        found += drain(reader)
    assert found == [item for item, _ in ITEMS]
    assert reader.buffered == 0


def test_trailing_data_waits():
    """What follows a complete frame stays until it is complete itself."""
    reader = FrameReader(512)
    reader.feed(STREAM + STREAM[:5])
    assert drain(reader) == [item for item, _ in ITEMS]
    assert reader.buffered == 5
    reader.feed(STREAM[5:8])
    assert drain(reader) == [ITEMS[0][0]]


def test_writes():
    """Frames are written with the shortest head."""
    assert encode_frame(258, Close()) == ITEMS[4][1]
    assert encode_frame(0, Transfer(0), b"hi") == ITEMS[5][1]
    assert empty_frame() == ITEMS[3][1]


BROKEN = {
    "size 0": b"\x00\x00\x00\x00\x02\x00\x00\x00",
    "size 7": b"\x00\x00\x00\x07\x02\x00\x00\x00",
    "too large": b"\x00\x00\x02\x01\x02\x00\x00\x00",
    "data offset 1": b"\x00\x00\x00\x08\x01\x00\x00\x00",
    "data offset beyond the frame": b"\x00\x00\x00\x08\x03\x00\x00\x00",
    "type 2": b"\x00\x00\x00\x08\x02\x02\x00\x00",
    "HTTP": b"GET / HTTP/1.1\r\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_refuses_broken(case):
    """A malformed head is a framing error, seen as soon as the head is there."""
    reader = FrameReader(512)
    reader.feed(empty_frame() + BROKEN[case])
    assert reader.next() == Frame(TYPE_AMQP, 0, b"")
    with pytest.raises(AmqpViolation) as caught:
        reader.next()
    assert caught.value.condition == FRAMING_ERROR


def test_huge_limit_still_knows_headers():
    """Even where any size is allowed, a protocol header is no frame."""
    reader = FrameReader(2**32 - 1)
    reader.feed(AMQP_HEADER)
    assert reader.next() == ProtocolHeader(AMQP_HEADER)
