"""Performatives, termini, outcomes and sections to bytes and back."""

from dataclasses import fields

import pytest
from amqp_cases import BROKEN_COMPOSITES, COMPOSITE_ALTERNATIVES, COMPOSITES

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp import performatives as p
from iotedge_lab.wire.amqp.composite import (
    LAYOUTS,
    PERFORMATIVES,
    SASL_FRAMES,
    decode_composite,
    encode_composite,
)

EVERY = frozenset(LAYOUTS)


@pytest.mark.parametrize("case", COMPOSITES)
def test_writes_and_reads(case):
    """Each composite is written with all its fields, and read back equal."""
    value, raw = COMPOSITES[case]
    assert encode_composite(value) == raw
    assert decode_composite(raw + b"rest", 0, EVERY) == (value, len(raw))


@pytest.mark.parametrize("case", COMPOSITE_ALTERNATIVES)
def test_reads_other_encodings(case):
    """What other writers leave out or widen is read the same."""
    value, raw = COMPOSITE_ALTERNATIVES[case]
    assert decode_composite(raw, 0, EVERY) == (value, len(raw))


@pytest.mark.parametrize("case", BROKEN_COMPOSITES)
def test_refuses_broken(case):
    """Malformed composites are a violation."""
    with pytest.raises(ProtocolViolation):
        decode_composite(BROKEN_COMPOSITES[case], 0, PERFORMATIVES)


@pytest.mark.parametrize("case", COMPOSITES)
def test_refuses_prefixes(case):
    """No composite can be read from a part of its bytes."""
    raw = COMPOSITES[case][1]
    for end in range(len(raw)):
        with pytest.raises(ProtocolViolation):
            decode_composite(raw[:end], 0, EVERY)


def test_all_fields_are_always_written():
    """The count in the list is the number of fields: azure-eventhub does not look at the length."""
    seen = set()
    for value, raw in COMPOSITES.values():
        count = len(fields(value))
        assert raw[3:4] in (b"\xc0", b"\x45")
        assert (raw[5] if raw[3] == 0xC0 else 0) == count
        seen.add(type(value))
    assert seen >= PERFORMATIVES | SASL_FRAMES


def test_every_class_has_a_row():
    """The table knows every composite class of the module, under its own descriptor."""
    classes = {one for one in vars(p).values() if isinstance(one, type) and one.__module__ == p.__name__}
    assert classes == set(LAYOUTS)
    assert len({layout.code for layout in LAYOUTS.values()}) == len(LAYOUTS)


CALLERS_MISTAKES = {
    "mandatory field missing": p.Begin(None, None, 1, 1),
    "negative number": p.Detach(-1),
    "number too large": p.Detach(2**32),
    "text where a number belongs": p.Detach("one"),
    "symbol not ASCII": p.Error("é"),
    "number where text belongs": p.Open(5),
    "text where bytes belong": p.Transfer(0, 0, "tag"),
    "a list where a map belongs": p.Open("c", properties=[1]),
    "a set as an id": p.Properties(message_id={1}),
}


@pytest.mark.parametrize("case", CALLERS_MISTAKES)
def test_refuses_callers_mistakes(case):
    """A field that does not fit names itself in the error."""
    with pytest.raises(UsageError, match=type(CALLERS_MISTAKES[case]).__name__):
        encode_composite(CALLERS_MISTAKES[case])
