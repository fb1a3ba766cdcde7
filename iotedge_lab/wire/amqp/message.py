"""Messages of AMQP 1.0 (part 3, section 3.2): sections to bytes and back.

`Message` holds every section; `encode_message` and `decode_message` convert it. `EventEncoder` writes the
messages of an event stream fast: the annotations that stay the same are encoded once.

An absent body is read, though the specification asks for one: clients do send bare properties.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp.codec import (
    DECODE_FAULTS,
    as_violation,
    decode_at,
    enc_bytes,
    enc_str,
    encode_value,
    wrap_map,
)
from iotedge_lab.wire.amqp.composite import decode_composite, encode_composite
from iotedge_lab.wire.amqp.performatives import Header, Properties
from iotedge_lab.wire.amqp.types import Symbol, ULong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The message-format of Event Hubs batches: each data section is a whole encoded message.
BATCH_MESSAGE_FORMAT: Final = 0x80013700

_SPEC = "AMQP 1.0 part 3, 3.2"


class Absent(Enum):
    """Stands for "no amqp-value section", as null is a value too."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Message:
    """One message. At most one of `data`, `sequence` and `value` is given (3.2.6 to 3.2.8).

    `data` holds the data sections, `sequence` the amqp-sequence sections, in their order. Annotations are
    keyed by symbols (plain str keys are written as such), application properties by strings.
    """

    header: Header | None = None
    delivery_annotations: Mapping[Any, Any] | None = None
    annotations: Mapping[Any, Any] | None = None
    properties: Properties | None = None
    application_properties: Mapping[str, Any] | None = None
    data: tuple[bytes, ...] = ()
    sequence: tuple[list[Any], ...] = ()
    value: Any = ABSENT
    footer: Mapping[Any, Any] | None = None

    @property
    def body(self) -> bytes:
        """The data sections joined; of an amqp-value, its bytes or its text in UTF-8.

        Raises UsageError for a body that is neither.
        """
        if self.value is ABSENT and not self.sequence:
            return self.data[0] if len(self.data) == 1 else b"".join(self.data)
        if isinstance(self.value, bytes):
            return self.value
        if isinstance(self.value, str):
            return self.value.encode()
        raise UsageError("this message's body is no bytes; read its `value` or `sequence`")


def _annotation_map(annotations: Mapping[Any, Any]) -> bytes:
    return encode_value({Symbol(key) if type(key) is str else key: one for key, one in annotations.items()})


def encode_message(message: Message) -> bytes:
    """The sections of `message` in the order of 3.2. Raises UsageError for what AMQP cannot hold."""
    bodies = bool(message.data) + bool(message.sequence) + (message.value is not ABSENT)
    if bodies > 1:
        raise UsageError("a message has one body: give data, sequence or value")
    parts = []
    if message.header is not None:
        parts.append(encode_composite(message.header))
    if message.delivery_annotations is not None:
        parts += (b"\x00\x53\x71", _annotation_map(message.delivery_annotations))
    if message.annotations is not None:
        parts += (b"\x00\x53\x72", _annotation_map(message.annotations))
    if message.properties is not None:
        parts.append(encode_composite(message.properties))
    if message.application_properties is not None:
        parts += (b"\x00\x53\x74", encode_value(dict(message.application_properties)))
    for data in message.data:
        parts += (b"\x00\x53\x75", enc_bytes(data))
    for items in message.sequence:
        parts += (b"\x00\x53\x76", encode_value(items))
    if message.value is not ABSENT:
        parts += (b"\x00\x53\x77", encode_value(message.value))
    if message.footer is not None:
        parts += (b"\x00\x53\x78", _annotation_map(message.footer))
    return b"".join(parts)


# descriptor: field of Message, section name, may repeat, Python type (3.2)
_SECTIONS: Final[dict[int, tuple[str, str, bool, type]]] = {
    0x70: ("header", "amqp:header:list", False, Header),
    0x71: ("delivery_annotations", "amqp:delivery-annotations:map", False, dict),
    0x72: ("annotations", "amqp:message-annotations:map", False, dict),
    0x73: ("properties", "amqp:properties:list", False, Properties),
    0x74: ("application_properties", "amqp:application-properties:map", False, dict),
    0x75: ("data", "amqp:data:binary", True, bytes),
    0x76: ("sequence", "amqp:amqp-sequence:list", True, list),
    0x77: ("value", "amqp:amqp-value:*", False, object),
    0x78: ("footer", "amqp:footer:map", False, dict),
}
_SECTION_BY_SYMBOL: Final = {row[1]: code for code, row in _SECTIONS.items()}
_BODIES: Final = frozenset((0x75, 0x76, 0x77))
_LISTS: Final = frozenset((Header, Properties))


def decode_message(payload: bytes) -> Message:
    """The message in `payload`, all of it. Raises ProtocolViolation for anything else than a message."""
    try:
        return _decode(payload)
    except DECODE_FAULTS as error:
        raise as_violation(error) from error


def _decode(payload: bytes) -> Message:
    found: dict[str, Any] = {}
    pos, last, end = 0, 0, len(payload)
    while pos < end:
        if payload[pos] != 0:
            raise ProtocolViolation(f"0x{payload[pos]:02x} where a section begins", _SPEC)
        if payload[pos + 1] == 0x53:
            code, start = payload[pos + 2], pos + 3
        else:
            descriptor, start = decode_at(payload, pos + 1)
            code = descriptor if type(descriptor) is ULong else _section_of(descriptor)
        row = _SECTIONS.get(code)
        if row is None:
            raise ProtocolViolation(f"descriptor {code:#x} names no section", _SPEC)
        name, symbol, repeats, kind = row
        if code < last or (code == last and not repeats) or (code in _BODIES and last in _BODIES - {code}):
            raise ProtocolViolation(f"section {symbol} is out of order", _SPEC)
        last = code
        if kind in _LISTS:
            value, pos = decode_composite(payload, pos, _LISTS)
        else:
            value, pos = decode_at(payload, start)
            if not isinstance(value, kind):
                raise ProtocolViolation(f"section {symbol} holds {type(value).__name__}", _SPEC)
        if repeats:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    for name in ("data", "sequence"):
        if name in found:
            found[name] = tuple(found[name])
    return Message(**found)


def _section_of(descriptor: Any) -> int:
    return _SECTION_BY_SYMBOL.get(descriptor, 0) if type(descriptor) is Symbol else 0


def encode_batch(messages: Iterable[bytes]) -> bytes:
    """Encoded messages as the data sections of one; to be sent with BATCH_MESSAGE_FORMAT."""
    return b"".join([part for one in messages for part in (b"\x00\x53\x75", enc_bytes(one))])


def decode_batch(payload: bytes) -> tuple[bytes, ...]:
    """The encoded messages that an Event Hubs batch carries; each can be given to `decode_message`."""
    return decode_message(payload).data


# The three annotations that differ from event to event, in the widest encodings: their place is then fixed.
_SEQUENCE_KEY = encode_value(Symbol("x-opt-sequence-number")) + b"\x81"
_ENQUEUED_KEY = encode_value(Symbol("x-opt-enqueued-time")) + b"\x83"
_OFFSET_KEY = encode_value(Symbol("x-opt-offset"))
_MAP_SECTION, _PROPERTIES_SECTION, _DATA_SECTION = b"\x00\x53\x72", b"\x00\x53\x74", b"\x00\x53\x75"
_MAP32 = struct.Struct(">II")
_SMALL_STR = [b"\xa1" + bytes((n,)) for n in range(256)]
_SMALL_DATA = [_DATA_SECTION + b"\xa0" + bytes((n,)) for n in range(256)]
_LARGE_DATA = struct.Struct(">4sI")
_I = struct.Struct(">I")

# Names of application properties, and their values, come again and again.
_cached_str = lru_cache(maxsize=4096)(enc_str)


class EventEncoder:
    """Encodes events whose annotations are alike but for sequence number, offset and time.

    `annotations` are those that stay: encoded once, here. One encoder serves one device in a partition, say;
    making one costs about as much as encoding a message.
    """

    __slots__ = ("_fixed", "_head", "_pack")

    def __init__(self, annotations: Mapping[str, Any]) -> None:
        parts = [encode_value(one) for key, value in annotations.items() for one in (Symbol(key), value)]
        constant = b"".join(parts)
        self._head = _MAP_SECTION + b"\xd1"
        tail = constant + _SEQUENCE_KEY
        # section, size, count, constant pairs with the key of the sequence number, the number, the key of the
        # time, the time, the key of the offset
        self._pack = struct.Struct(f">4sII{len(tail)}sq{len(_ENQUEUED_KEY)}sq{len(_OFFSET_KEY)}s").pack
        self._fixed = (
            len(parts) + 6,
            tail,
            4 + len(tail) + 8 + len(_ENQUEUED_KEY) + 8 + len(_OFFSET_KEY),
        )

    def encode(
        self,
        sequence_number: int,
        offset: str,
        enqueued_ms: int,
        body: bytes,
        *,
        application_properties: Mapping[str, str] | None = None,
        properties: Properties | bytes | None = None,
    ) -> bytes:
        """The payload of one event: annotations, properties, application properties, one data section.

        `enqueued_ms` is milliseconds since 1970; `properties` may be given encoded (`encode_composite`),
        which saves time where many events share them. Values of `application_properties` that are no str
        are encoded by their type. Raises UsageError for what has no AMQP form.
        """
        count, tail, fixed = self._fixed
        try:
            where = enc_str(offset)
            head = self._pack(
                self._head,
                fixed + len(where),
                count,
                tail,
                sequence_number,
                _ENQUEUED_KEY,
                enqueued_ms,
                _OFFSET_KEY,
            )
        except (struct.error, ValueError, AttributeError) as error:
            raise UsageError(f"sequence number, offset or time of an event does not fit: {error}") from error
        size = len(body)
        data = _SMALL_DATA[size] if size < 256 else _LARGE_DATA.pack(b"\x00\x53\x75\xb0", size)
        if not application_properties:
            if properties is None:
                return b"".join((head, where, data, body))
            middle = properties if type(properties) is bytes else encode_composite(properties)
            return b"".join((head, where, middle, data, body))
        try:
            pairs = [
                _cached_str(one) if type(one) is str and len(one) < 64 else encode_value(one)
                for pair in application_properties.items()
                for one in pair
            ]
        except UnicodeEncodeError as error:
            raise UsageError(f"an application property cannot be encoded: {error}") from error
        section = wrap_map(b"".join(pairs), len(pairs))
        if properties is None:
            return b"".join((head, where, _PROPERTIES_SECTION, section, data, body))
        middle = properties if type(properties) is bytes else encode_composite(properties)
        return b"".join((head, where, middle, _PROPERTIES_SECTION, section, data, body))
