"""Composite types to bytes and back: one table drives both directions (part 1, section 1.4).

The rows of the table read like the specification: field names in order, the type, `!` where a value is
mandatory. A field's default is the dataclass field's (performatives.py).

Every field is written, null where there is nothing to say: the specification lets trailing nulls be
dropped, but azure-eventhub reads its fields by index without looking at the length.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp.codec import (
    DECODE_FAULTS,
    Decoder,
    Encoder,
    as_violation,
    compound,
    decode_at,
    enc_bytes,
    enc_str,
    enc_symbol,
    enc_uint,
    enc_ulong,
    encode_value,
    wrap_list,
)
from iotedge_lab.wire.amqp.performatives import (
    ACCEPTED,
    RELEASED,
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Header,
    Modified,
    Open,
    Properties,
    Received,
    Rejected,
    Released,
    SaslChallengeFrame,
    SaslInitFrame,
    SaslMechanismsFrame,
    SaslOutcomeFrame,
    SaslResponseFrame,
    Source,
    Target,
    Transfer,
)
from iotedge_lab.wire.amqp.types import Array, Described, Symbol, Timestamp, UByte, ULong, UShort

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLE: Final = (
    (Open, 0x10, "amqp:open:list",
     ("container-id string!, hostname string, max-frame-size uint, channel-max ushort, idle-time-out uint,"
     "outgoing-locales symbols, incoming-locales symbols, offered-capabilities symbols,"
     "desired-capabilities symbols, properties fields")),
    (Begin, 0x11, "amqp:begin:list",
     ("remote-channel ushort, next-outgoing-id uint!, incoming-window uint!, outgoing-window uint!,"
     "handle-max uint, offered-capabilities symbols, desired-capabilities symbols, properties fields")),
    (Attach, 0x12, "amqp:attach:list",
     ("name string!, handle uint!, role boolean!, snd-settle-mode ubyte, rcv-settle-mode ubyte,"
     "source source, target target, unsettled map, incomplete-unsettled boolean,"
     "initial-delivery-count uint, max-message-size ulong, offered-capabilities symbols,"
     "desired-capabilities symbols, properties fields")),
    (Flow, 0x13, "amqp:flow:list",
     ("next-incoming-id uint, incoming-window uint!, next-outgoing-id uint!, outgoing-window uint!,"
     "handle uint, delivery-count uint, link-credit uint, available uint, drain boolean, echo boolean,"
     "properties fields")),
    (Transfer, 0x14, "amqp:transfer:list",
     ("handle uint!, delivery-id uint, delivery-tag binary, message-format uint, settled boolean,"
     "more boolean, rcv-settle-mode ubyte, state state, resume boolean, aborted boolean, batchable boolean")),
    (Disposition, 0x15, "amqp:disposition:list",
     "role boolean!, first uint!, last uint, settled boolean, state state, batchable boolean"),
    (Detach, 0x16, "amqp:detach:list", "handle uint!, closed boolean, error error"),
    (End, 0x17, "amqp:end:list", "error error"),
    (Close, 0x18, "amqp:close:list", "error error"),
    (Error, 0x1D, "amqp:error:list", "condition symbol!, description string, info fields"),
    (Received, 0x23, "amqp:received:list", "section-number uint!, section-offset ulong!"),
    (Accepted, 0x24, "amqp:accepted:list", ""),
    (Rejected, 0x25, "amqp:rejected:list", "error error"),
    (Released, 0x26, "amqp:released:list", ""),
    (Modified, 0x27, "amqp:modified:list",
     "delivery-failed boolean, undeliverable-here boolean, message-annotations fields"),
    (Source, 0x28, "amqp:source:list",
     ("address any, durable uint, expiry-policy symbol, timeout uint, dynamic boolean,"
     "dynamic-node-properties fields, distribution-mode symbol, filter fields, default-outcome state,"
     "outcomes symbols, capabilities symbols")),
    (Target, 0x29, "amqp:target:list",
     ("address any, durable uint, expiry-policy symbol, timeout uint, dynamic boolean,"
     "dynamic-node-properties fields, capabilities symbols")),
    (SaslMechanismsFrame, 0x40, "amqp:sasl-mechanisms:list", "sasl-server-mechanisms symbols!"),
    (SaslInitFrame, 0x41, "amqp:sasl-init:list",
     "mechanism symbol!, initial-response binary, hostname string"),
    (SaslChallengeFrame, 0x42, "amqp:sasl-challenge:list", "challenge binary!"),
    (SaslResponseFrame, 0x43, "amqp:sasl-response:list", "response binary!"),
    (SaslOutcomeFrame, 0x44, "amqp:sasl-outcome:list", "code ubyte!, additional-data binary"),
    (Header, 0x70, "amqp:header:list",
     "durable boolean, priority ubyte, ttl uint, first-acquirer boolean, delivery-count uint"),
    (Properties, 0x73, "amqp:properties:list",
     ("message-id id, user-id binary, to any, subject string, reply-to any, correlation-id id,"
     "content-type symbol, content-encoding symbol, absolute-expiry-time timestamp,"
     "creation-time timestamp, group-id string, group-sequence uint, reply-to-group-id string")),
)  # fmt: skip


# Types of fields: an encoder of the value with its constructor, and a decoder from the constructor on.
# Decoders give plain Python values and take no other type than the table says.

_I, _Q, _q = struct.Struct(">I"), struct.Struct(">Q"), struct.Struct(">q")
_H = struct.Struct(">H")
_SPEC = "AMQP 1.0 part 2, 2.7"


def _wrong(code: int, kind: str) -> ProtocolViolation:
    return ProtocolViolation(f"a field of type {kind} holds constructor 0x{code:02x}", _SPEC)


def _uint(buf: bytes, pos: int, _depth: int) -> tuple[int, int]:
    code = buf[pos]
    if code == 0x52:
        return buf[pos + 1], pos + 2
    if code == 0x43:
        return 0, pos + 1
    if code == 0x70:
        return _I.unpack_from(buf, pos + 1)[0], pos + 5
    raise _wrong(code, "uint")


def _ulong(buf: bytes, pos: int, _depth: int) -> tuple[int, int]:
    code = buf[pos]
    if code == 0x53:
        return buf[pos + 1], pos + 2
    if code == 0x44:
        return 0, pos + 1
    if code == 0x80:
        return _Q.unpack_from(buf, pos + 1)[0], pos + 9
    raise _wrong(code, "ulong")


def _boolean(buf: bytes, pos: int, _depth: int) -> tuple[bool, int]:
    code = buf[pos]
    if code == 0x42:
        return False, pos + 1
    if code == 0x41:
        return True, pos + 1
    if code == 0x56 and buf[pos + 1] < 2:
        return buf[pos + 1] == 1, pos + 2
    raise _wrong(code, "boolean")


def _only(kind: str, codes: tuple[int, ...]) -> Decoder:
    def decode(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
        if buf[pos] not in codes:
            raise _wrong(buf[pos], kind)
        return decode_at(buf, pos, depth)

    return decode


def _any(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return decode_at(buf, pos, depth)


def _symbols(buf: bytes, pos: int, depth: int) -> tuple[tuple[str, ...], int]:
    """A field with `multiple`: one value, or an array of them (1.4)."""
    value, pos = _only("symbol (multiple)", (0xA3, 0xB3, 0xE0, 0xF0))(buf, pos, depth)
    if isinstance(value, Symbol):
        return (value,), pos
    if value.kind != "symbol" or value.descriptor is not None:
        raise ProtocolViolation(f"an array of {value.kind} where symbols belong", _SPEC)
    return value.items, pos


def _among(kind: str, *classes: type) -> Decoder:
    """A composite of `classes`; where `Described` is among them, any described value."""
    allowed = frozenset(classes)

    def decode(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
        if buf[pos] != 0:
            raise _wrong(buf[pos], kind)
        layout, body = _layout_at(buf, pos, depth)
        if layout is not None and layout.cls in allowed:
            return _decode_fields(layout, buf, body, depth + 1)
        if Described in allowed:
            return decode_at(buf, pos, depth)
        raise ProtocolViolation(f"a field of type {kind} holds another described type", _SPEC)

    return decode


_COMMON_STATES: Final = {b"\x00\x53\x24\x45": ACCEPTED, b"\x00\x53\x26\x45": RELEASED}
_any_state = _among("delivery-state", Received, Accepted, Rejected, Released, Modified, Described)


def _state(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    """A delivery state; the two that come with nearly every disposition without a detour."""
    common = _COMMON_STATES.get(buf[pos : pos + 4])
    return (common, pos + 4) if common is not None else _any_state(buf, pos, depth)


_IDS = (ULong, uuid.UUID, bytes, str)


def _id(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    value, pos = decode_at(buf, pos, depth)
    if not isinstance(value, _IDS) or isinstance(value, Symbol):
        raise ProtocolViolation(
            f"a message id is ulong, uuid, binary or string, not {type(value).__name__}",
            "AMQP 1.0 part 3, 3.2.11",
        )
    return value, pos


def _as(wrap: type) -> Encoder:
    return lambda value, _depth: encode_value(wrap(value))


def _enc_any(value: Any, _depth: int = 0) -> bytes:
    return encode_value(value)


def _enc_composite(value: Any, _depth: int = 0) -> bytes:
    return encode_composite(value) if type(value) in LAYOUTS else encode_value(value)


def _enc_boolean(value: bool, _depth: int = 0) -> bytes:
    return b"\x41" if value else b"\x42"


def _enc_symbols(value: tuple[str, ...] | list[str] | str, _depth: int = 0) -> bytes:
    words = (value,) if isinstance(value, str) else tuple(value)
    return encode_value(Array("symbol", words))


def _enc_fields(value: Mapping[Any, Any], _depth: int = 0) -> bytes:
    """A map whose keys are symbols (2.8.10): plain str keys become such."""
    return encode_value({Symbol(key) if type(key) is str else key: one for key, one in value.items()})


def _enc_id(value: Any, _depth: int = 0) -> bytes:
    return encode_value(ULong(value) if type(value) is int else value)


_MAP = _only("map", (0xC1, 0xD1))
_KINDS: dict[str, tuple[Encoder, Decoder]] = {
    "boolean": (_enc_boolean, _boolean),
    "ubyte": (_as(UByte), _only("ubyte", (0x50,))),
    "ushort": (_as(UShort), _only("ushort", (0x60,))),
    "uint": (enc_uint, _uint),
    "ulong": (enc_ulong, _ulong),
    "timestamp": (_as(Timestamp), _only("timestamp", (0x83,))),
    "string": (enc_str, _only("string", (0xA1, 0xB1))),
    "symbol": (enc_symbol, _only("symbol", (0xA3, 0xB3))),
    "binary": (enc_bytes, _only("binary", (0xA0, 0xB0))),
    "map": (lambda value, _depth: encode_value(dict(value)), _MAP),
    "fields": (_enc_fields, _MAP),
    "symbols": (_enc_symbols, _symbols),
    "any": (_enc_any, _any),
    "id": (_enc_id, _id),
    "error": (_enc_composite, _among("error", Error)),
    "source": (_enc_composite, _among("source", Source, Described)),
    "target": (_enc_composite, _among("target", Target, Described)),
    "state": (_enc_composite, _state),
}


class Layout(NamedTuple):
    """One row of the table, made ready: how a class is written and read."""

    cls: type
    code: int
    symbol: Symbol
    prefix: bytes  # descriptor as it is written
    values: Any  # instance to tuple of field values
    encoders: tuple[Encoder, ...]
    decoders: tuple[Decoder, ...]
    names: tuple[str, ...]
    required: tuple[int, ...]  # indexes of the mandatory fields
    defaults: tuple[Any, ...]


def _values_getter(names: tuple[str, ...]) -> Any:
    if not names:
        return lambda _instance: ()
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda instance: (only(instance),)
    return attrgetter(*names)


def _layout(cls: type, code: int, symbol: str, row: str) -> Layout:
    specs = [word.strip().split(" ") for word in row.split(",")] if row else []
    names = tuple(name.replace("-", "_") for name, _ in specs)
    declared = fields(cls)
    if names != tuple(field.name for field in declared):
        raise TypeError(f"the table row of {cls.__name__} does not match its fields")  # pragma: no cover
    kinds = [_KINDS[kind.rstrip("!")] for _, kind in specs]
    return Layout(
        cls=cls,
        code=code,
        symbol=Symbol(symbol),
        prefix=b"\x00\x53" + bytes((code,)),
        values=_values_getter(names),
        encoders=tuple(kind[0] for kind in kinds),
        decoders=tuple(kind[1] for kind in kinds),
        names=names,
        required=tuple(index for index, (_, kind) in enumerate(specs) if kind.endswith("!")),
        defaults=tuple(None if field.default is MISSING else field.default for field in declared),
    )


LAYOUTS: Final[dict[type, Layout]] = {row[0]: _layout(*row) for row in _TABLE}
_BY_CODE: Final = {layout.code: layout for layout in LAYOUTS.values()}
_BY_SYMBOL: Final = {layout.symbol: layout for layout in LAYOUTS.values()}


def encode_composite(value: Any) -> bytes:
    """One composite, every field written. Raises UsageError where a field does not fit its type."""
    layout = LAYOUTS[type(value)]
    parts = []
    for index, item in enumerate(layout.values(value)):
        if item is not None:
            try:
                parts.append(layout.encoders[index](item, 0))
            except (struct.error, TypeError, ValueError, AttributeError, UsageError) as error:
                raise UsageError(
                    f"{type(value).__name__}.{layout.names[index]} cannot be {item!r}: {error}"
                ) from error
        elif index in layout.required:
            raise UsageError(f"{type(value).__name__}.{layout.names[index]} is mandatory; give a value")
        else:
            parts.append(b"\x40")
    return layout.prefix + wrap_list(b"".join(parts), len(parts))


def _layout_at(buf: bytes, pos: int, depth: int) -> tuple[Layout | None, int]:
    """The layout that the descriptor at `pos` (which holds 0x00) names, and the position behind it."""
    if buf[pos + 1] == 0x53:
        return _BY_CODE.get(buf[pos + 2]), pos + 3
    descriptor, pos = decode_at(buf, pos + 1, depth + 1)
    if type(descriptor) is ULong:
        return _BY_CODE.get(descriptor), pos
    if type(descriptor) is Symbol:
        return _BY_SYMBOL.get(descriptor), pos
    return None, pos


def _decode_fields(layout: Layout, buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    code = buf[pos]
    if code == 0xC0:
        # compound() inlined: this runs for each transfer, flow and disposition.
        end = pos + 2 + buf[pos + 1]
        count = buf[pos + 2]
        pos += 3
        if not pos <= end <= len(buf):
            raise ProtocolViolation(f"the fields of {layout.symbol} do not fit their place", _SPEC)
    elif code == 0x45:
        count, pos = 0, pos + 1
        end = pos
    elif code == 0xD0:
        count, pos, end = compound(buf, pos + 1, True)
    else:
        raise _wrong(code, layout.symbol)
    defaults = layout.defaults
    if count > len(defaults):
        raise ProtocolViolation(f"{layout.symbol} has {len(defaults)} fields, not {count}", _SPEC)
    values = []
    decoders = layout.decoders
    for index in range(count):
        if buf[pos] == 0x40:
            values.append(defaults[index])
            pos += 1
        else:
            value, pos = decoders[index](buf, pos, depth)
            values.append(value)
    if pos != end:
        raise ProtocolViolation(f"the fields of {layout.symbol} do not fill its size", _SPEC)
    values.extend(defaults[count:])
    for index in layout.required:
        if values[index] is None:
            raise ProtocolViolation(f"{layout.symbol} lacks {layout.names[index]}", _SPEC)
    return layout.cls(*values), pos


PERFORMATIVES: Final = frozenset((Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close))
SASL_FRAMES: Final = frozenset(
    (SaslMechanismsFrame, SaslInitFrame, SaslChallengeFrame, SaslResponseFrame, SaslOutcomeFrame)
)


def decode_composite(data: bytes, offset: int, allowed: frozenset[type]) -> tuple[Any, int]:
    """The composite at `offset`, which must be one of `allowed`, and the offset behind it.

    Raises ProtocolViolation for everything else.
    """
    try:
        if data[offset] != 0:
            raise _wrong(data[offset], "described")
        layout, pos = _layout_at(data, offset, 0)
        if layout is None or layout.cls not in allowed:
            raise ProtocolViolation("a described type that does not belong here", _SPEC)
        return _decode_fields(layout, data, pos, 0)
    except DECODE_FAULTS as error:
        raise as_violation(error) from error
