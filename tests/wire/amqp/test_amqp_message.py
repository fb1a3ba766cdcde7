"""Messages, batches and the fast encoder."""

import contextlib
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp.composite import encode_composite
from iotedge_lab.wire.amqp.message import (
    ABSENT,
    EventEncoder,
    Message,
    decode_batch,
    decode_message,
    encode_batch,
    encode_message,
)
from iotedge_lab.wire.amqp.performatives import Header, Properties
from iotedge_lab.wire.amqp.types import Int, Symbol, Timestamp, ULong

MESSAGES = {
    "empty": (Message(), b""),
    "data": (Message(data=(b"hi",)), b"\x00\x53\x75\xa0\x02hi"),
    "data, twice": (Message(data=(b"a", b"")), b"\x00\x53\x75\xa0\x01a\x00\x53\x75\xa0\x00"),
    "value": (Message(value="v"), b"\x00\x53\x77\xa1\x01v"),
    "value null": (Message(value=None), b"\x00\x53\x77\x40"),
    "sequence": (Message(sequence=([1], [])), b"\x00\x53\x76\xc0\x03\x01\x55\x01\x00\x53\x76\x45"),
    "all sections": (
        Message(
            header=Header(),
            delivery_annotations={Symbol("d"): 1},
            annotations={Symbol("m"): 2},
            properties=Properties("id"),
            application_properties={"a": "b"},
            data=(b"x",),
            footer={Symbol("f"): 3},
        ),
        b"\x00\x53\x70\xc0\x07\x05\x42\x50\x04\x40\x42\x43"
        b"\x00\x53\x71\xc1\x06\x02\xa3\x01d\x55\x01"
        b"\x00\x53\x72\xc1\x06\x02\xa3\x01m\x55\x02"
        b"\x00\x53\x73\xc0\x11\x0d\xa1\x02id" + b"\x40" * 12 + b"\x00\x53\x74\xc1\x07\x02\xa1\x01a\xa1\x01b"
        b"\x00\x53\x75\xa0\x01x\x00\x53\x78\xc1\x06\x02\xa3\x01f\x55\x03",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_writes_and_reads(case):
    """Each message is written section by section, and read back equal."""
    message, raw = MESSAGES[case]
    assert encode_message(message) == raw
    assert decode_message(raw) == message


def test_ids_keep_their_types():
    """A message id of any type comes back as that type, to be echoed as a correlation id."""
    for one in (uuid.UUID(int=5), "text", b"bytes", ULong(7)):
        back = decode_message(encode_message(Message(properties=Properties(message_id=one)))).properties
        assert (type(back.message_id), back.message_id) == (type(one), one)
    assert decode_message(b"\x00\x53\x73\xc0\x02\x01\x44").properties.message_id == ULong(0)


BROKEN = {
    "no section": b"\x40",
    "unknown section": b"\x00\x53\x79\x45",
    "unknown section by name": b"\x00\xa3\x01x\x45",
    "sections out of order": b"\x00\x53\x74\xc1\x01\x00\x00\x53\x72\xc1\x01\x00",
    "annotations twice": b"\x00\x53\x72\xc1\x01\x00\x00\x53\x72\xc1\x01\x00",
    "two kinds of body": b"\x00\x53\x75\xa0\x00\x00\x53\x77\x40",
    "two values": b"\x00\x53\x77\x40\x00\x53\x77\x40",
    "data is text": b"\x00\x53\x75\xa1\x00",
    "annotations are a list": b"\x00\x53\x72\x45",
    "properties are a map": b"\x00\x53\x73\xc1\x01\x00",
    "message id is a boolean": b"\x00\x53\x73\xc0\x02\x01\x41",
    "message id is a symbol": b"\x00\x53\x73\xc0\x04\x01\xa3\x01x",
    "cut short": b"\x00\x53\x75\xa0\x05abc",
    "cut in the descriptor": b"\x00",
}


@pytest.mark.parametrize("case", BROKEN)
def test_refuses_broken(case):
    """What is no message is a violation."""
    with pytest.raises(ProtocolViolation):
        decode_message(BROKEN[case])


def test_sections_by_symbol():
    """A section may be named by its symbol."""
    assert decode_message(b"\x00\xa3\x10amqp:data:binary\xa0\x01x").body == b"x"


def test_body():
    """`body` gives bytes for every body that has them, and says so where there are none."""
    assert Message(data=(b"a", b"b")).body == b"ab"
    assert Message(data=(b"a",)).body == b"a"
    assert Message().body == b""
    assert Message(value="é").body == b"\xc3\xa9"
    assert Message(value=b"x").body == b"x"
    for message in (Message(value=5), Message(sequence=([],))):
        with pytest.raises(UsageError):
            _ = message.body


def test_one_body_only():
    """Two kinds of body at once are the caller's mistake."""
    with pytest.raises(UsageError):
        encode_message(Message(data=(b"a",), value=1))
    assert repr(ABSENT) == "ABSENT"


def test_batch():
    """A batch carries whole messages in its data sections."""
    inner = [encode_message(Message(data=(b"1",))), encode_message(Message(value="2" * 300))]
    assert decode_batch(encode_batch(inner)) == tuple(inner)


@settings(max_examples=150, deadline=None)
@given(
    annotations=st.dictionaries(
        st.text("abc-", min_size=1, max_size=9),
        st.one_of(st.text(st.characters(codec="utf-8")), st.integers(0, 99)),
    ),
    sequence=st.integers(0, 2**63 - 1),
    offset=st.text("0123456789", max_size=20),
    enqueued=st.integers(-(2**63), 2**63 - 1),
    body=st.binary(max_size=400),
    application=st.none()
    | st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=80),
        st.text(st.characters(codec="utf-8"), max_size=80),
        max_size=8,
    ),
    properties=st.none() | st.builds(Properties, message_id=st.text(st.characters(codec="utf-8"))),
    ready=st.booleans(),
)
def test_event_encoder_agrees(
    *, annotations, sequence, offset, enqueued, body, application, properties, ready
):
    """The fast encoder writes what the plain one would, read back."""
    given_properties = encode_composite(properties) if ready and properties else properties
    raw = EventEncoder(annotations).encode(
        sequence, offset, enqueued, body, application_properties=application, properties=given_properties
    )
    assert decode_message(raw) == Message(
        annotations={
            **annotations,
            "x-opt-sequence-number": sequence,
            "x-opt-enqueued-time": Timestamp(enqueued),
            "x-opt-offset": offset,
        },
        properties=properties,
        application_properties=application or None,
        data=(body,),
    )


def test_event_encoder_types():
    """The annotations have the types that Event Hubs gives them; other application properties keep theirs."""
    raw = EventEncoder({"c": "d"}).encode(
        5, "50", 7, b"x" * 300, application_properties={"n": Int(1), "b": True}
    )
    message = decode_message(raw)
    assert [type(key) for key in message.annotations] == [Symbol] * 4
    assert type(message.annotations["x-opt-enqueued-time"]) is Timestamp
    assert type(message.annotations["x-opt-sequence-number"]) is int
    assert type(message.application_properties["n"]) is Int
    assert message.application_properties["b"] is True


def test_event_encoder_refuses():
    """What does not fit is the caller's mistake."""
    encoder = EventEncoder({})
    for sequence, offset, enqueued in ((2**63, "1", 1), (1, "\ud800", 1), (1, None, 1), (1, "1", "now")):
        with pytest.raises(UsageError):
            encoder.encode(sequence, offset, enqueued, b"")
    with pytest.raises(UsageError):
        encoder.encode(1, "1", 1, b"", application_properties={"a": "\ud800"})
    with pytest.raises(UsageError):
        encoder.encode(1, "1", 1, b"", application_properties={"a": {1}})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_noise(raw):
    """Whatever the bytes, it is a message or a violation."""
    with contextlib.suppress(ProtocolViolation):
        assert isinstance(decode_message(b"\x00\x53" + raw), Message)
