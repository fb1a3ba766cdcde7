"""Values to bytes and back."""

import math
import uuid
from enum import IntEnum

import pytest
from amqp_cases import ALTERNATIVES, BROKEN, VALUES
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp.codec import MAX_DEPTH, MAX_EMPTY_ELEMENTS, decode_value, encode_value
from iotedge_lab.wire.amqp.types import (
    Array,
    Byte,
    Char,
    Decimal32,
    Described,
    Float32,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)


def shape(value):
    """The value with its types, as UInt(1) == 1 and True == 1."""
    if isinstance(value, (list, tuple)):
        return type(value), [shape(one) for one in value]
    if isinstance(value, dict):
        return dict, [(shape(key), shape(one)) for key, one in value.items()]
    if isinstance(value, Described):
        return Described, shape(value.descriptor), shape(value.value)
    if isinstance(value, Array):
        return Array, value.kind, shape(value.items), shape(value.descriptor)
    return type(value), value


@pytest.mark.parametrize("case", VALUES)
def test_writes_and_reads(case):
    """Each value is written as the specification's shortest bytes, and read back as the same type."""
    value, raw = VALUES[case]
    assert encode_value(value) == raw
    assert shape(decode_value(raw)) == shape((value, len(raw)))
    assert shape(decode_value(b"\xff" + raw + b"\xff", 1)) == shape((value, len(raw) + 1))


@pytest.mark.parametrize("case", ALTERNATIVES)
def test_reads_other_encodings(case):
    """Every permitted encoding is read, not only the one that is written."""
    value, raw = ALTERNATIVES[case]
    assert shape(decode_value(raw)) == shape((value, len(raw)))


@pytest.mark.parametrize("case", BROKEN)
def test_refuses_broken(case):
    """Malformed bytes are a violation, never another exception."""
    with pytest.raises(ProtocolViolation):
        decode_value(BROKEN[case])


@pytest.mark.parametrize("case", VALUES)
def test_refuses_prefixes(case):
    """No value can be read from a part of its bytes."""
    _, raw = VALUES[case]
    for end in range(len(raw)):
        with pytest.raises(ProtocolViolation):
            decode_value(raw[:end])


class Level(IntEnum):
    HIGH = 3


def nested(depth):
    value = None
    for _ in range(depth):
        value = [value]
    return value


CALLERS_MISTAKES = {
    "a set": {1},
    "an object": object(),
    "ubyte too large": UByte(256),
    "uint negative": UInt(-1),
    "uint too large": UInt(2**32),
    "ulong too large": ULong(2**64),
    "int too large": Int(2**31),
    "long too large": 2**63,
    "short too large": Short(2**15),
    "lone surrogate": "\ud800",
    "symbol not ASCII": Symbol("é"),
    "two chars": Char("ab"),
    "decimal of a wrong size": Decimal32(b"abc"),
    "array of an unknown kind": Array("number", (1,)),
    "array of many nulls": Array("null", (None,) * (MAX_EMPTY_ELEMENTS + 1)),
    "too deep": nested(MAX_DEPTH + 1),
}


@pytest.mark.parametrize("case", CALLERS_MISTAKES)
def test_refuses_callers_mistakes(case):
    """What has no AMQP form is the caller's mistake, and said so."""
    with pytest.raises(UsageError):
        encode_value(CALLERS_MISTAKES[case])


def test_subclasses_go_as_their_base():
    """Enums, buffers and tuples are written as what they extend."""
    assert encode_value(Level.HIGH) == encode_value(3)
    assert encode_value(bytearray(b"a")) == encode_value(memoryview(b"a")) == encode_value(b"a")
    assert encode_value((1, 2)) == encode_value([1, 2])


def test_depth_limit_is_the_same_both_ways():
    """What may just be written may just be read."""
    value = nested(MAX_DEPTH)
    assert decode_value(encode_value(value))[0] == value


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**8 - 1).map(UByte),
    st.integers(0, 2**16 - 1).map(UShort),
    st.integers(0, 2**32 - 1).map(UInt),
    st.integers(0, 2**64 - 1).map(ULong),
    st.integers(-(2**7), 2**7 - 1).map(Byte),
    st.integers(-(2**15), 2**15 - 1).map(Short),
    st.integers(-(2**31), 2**31 - 1).map(Int),
    st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False).map(Float32),
    st.characters(exclude_categories=("Cs",)).map(Char),
    st.uuids(),
    st.binary(max_size=300),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=300),
    st.text("abc:-", max_size=300).map(Symbol),
)
KEYS = st.one_of(st.text("abc", max_size=9).map(Symbol), st.uuids())
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(KEYS, inner, max_size=6),
        st.builds(Described, st.integers(0, 2**64 - 1).map(ULong), inner),
        st.lists(st.integers(0, 2**32 - 1).map(UInt), max_size=5).map(lambda one: Array("uint", tuple(one))),
        st.lists(st.lists(inner, max_size=3), max_size=3).map(lambda one: Array("list", tuple(one))),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_round_trip(value):
    """Any value comes back as it was, type by type."""
    raw = encode_value(value)
    assert shape(decode_value(raw)) == shape((value, len(raw)))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_noise(raw):
    """Whatever the bytes, it is a value or a violation."""
    try:
        _, end = decode_value(raw)
    except ProtocolViolation:
        return
    assert 0 < end <= len(raw)


def test_nan_and_uuid_survive():
    """The two values that compare oddly."""
    assert math.isnan(decode_value(encode_value(math.nan))[0])
    one = uuid.UUID(int=2**128 - 1)
    assert decode_value(encode_value(one))[0] == one
