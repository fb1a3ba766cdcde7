"""The composite types of AMQP 1.0: performatives, termini, outcomes, SASL frames, message sections.

One table, `LAYOUTS`, drives encoding and decoding (part 2, section 2.7; part 3, sections 3.2, 3.4 and 3.5;
part 5, section 5.3.3). Its rows read like the specification: field names in order, the type, `!` where a
value is mandatory. A field's default is the dataclass field's.

Every field is written, null where there is nothing to say: the specification lets trailing nulls be
dropped, but azure-eventhub reads its fields by index without looking at the length.

Left out: transactions (part 4); their states and targets come through as `Described`.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import MISSING, dataclass, fields
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
from iotedge_lab.wire.amqp.types import Array, Described, Symbol, Timestamp, UByte, ULong, UShort

if TYPE_CHECKING:
    from collections.abc import Mapping

UINT_MAX: Final = 0xFFFFFFFF
DELIVERY_TAG_LIMIT: Final = 32  # bytes of a delivery tag (2.8.7)


@dataclass(frozen=True, slots=True)
class Error:
    """Why something was closed or rejected (2.8.14)."""

    condition: str
    description: str | None = None
    info: Mapping[Any, Any] | None = None


# Delivery states and outcomes (3.4)


@dataclass(frozen=True, slots=True)
class Received:
    """How far a delivery has come; not terminal (3.4.1)."""

    section_number: int
    section_offset: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver has taken the message over (3.4.2)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The message is invalid and will not be taken (3.4.3)."""

    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The message was not processed and may be delivered again (3.4.4)."""


@dataclass(frozen=True, slots=True)
class Modified:
    """The message was not processed and may be delivered again, changed (3.4.5)."""

    delivery_failed: bool | None = None
    undeliverable_here: bool | None = None
    message_annotations: Mapping[Any, Any] | None = None


ACCEPTED: Final = Accepted()
RELEASED: Final = Released()


# Termini (3.5)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a link takes messages from (3.5.3). `filter` maps names to described values."""

    address: Any = None
    durable: int = 0
    expiry_policy: str = Symbol("session-end")
    timeout: int = 0
    dynamic: bool = False
    dynamic_node_properties: Mapping[Any, Any] | None = None
    distribution_mode: str | None = None
    filter: Mapping[Any, Any] | None = None
    default_outcome: Any = None
    outcomes: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link puts messages (3.5.4)."""

    address: Any = None
    durable: int = 0
    expiry_policy: str = Symbol("session-end")
    timeout: int = 0
    dynamic: bool = False
    dynamic_node_properties: Mapping[Any, Any] | None = None
    capabilities: tuple[str, ...] | None = None


# Performatives (2.7). Sizes are bytes, timeouts milliseconds, ids serial numbers of 32 bits.


@dataclass(frozen=True, slots=True)
class Open:
    """Negotiate the connection (2.7.1)."""

    container_id: str
    hostname: str | None = None
    max_frame_size: int = UINT_MAX
    channel_max: int = 65535
    idle_time_out: int | None = None
    outgoing_locales: tuple[str, ...] | None = None
    incoming_locales: tuple[str, ...] | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a session on a channel (2.7.2); `remote_channel` is set in the answer to a peer's Begin."""

    remote_channel: int | None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int = UINT_MAX
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """Attach a link to a session (2.7.3). `role` is that of who sends it: True is receiver."""

    name: str
    handle: int
    role: bool
    snd_settle_mode: int = 2
    rcv_settle_mode: int = 0
    source: Source | Described | None = None
    target: Target | Described | None = None
    unsettled: Mapping[Any, Any] | None = None
    incomplete_unsettled: bool = False
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Update the state of a session, and of a link where `handle` is set (2.7.4)."""

    next_incoming_id: int | None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool = False
    echo: bool = False
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A message or a part of one; the payload follows in the frame (2.7.5)."""

    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool = False
    rcv_settle_mode: int | None = None
    state: Any = None
    resume: bool = False
    aborted: bool = False
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class Disposition:
    """The state of deliveries `first` to `last` (2.7.6). `role` True: of those that its sender received."""

    role: bool
    first: int
    last: int | None = None
    settled: bool = False
    state: Any = None
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class Detach:
    """Detach a link, for good where `closed` (2.7.7)."""

    handle: int
    closed: bool = False
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class End:
    """End the session (2.7.8)."""

    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection (2.7.9)."""

    error: Error | None = None


# SASL (part 5, 5.3.3)


@dataclass(frozen=True, slots=True)
class SaslMechanismsFrame:
    """The mechanisms that the server offers (5.3.3.1)."""

    sasl_server_mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaslInitFrame:
    """The mechanism that the client chose (5.3.3.2)."""

    mechanism: str
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class SaslChallengeFrame:
    """A challenge of the server (5.3.3.3)."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class SaslResponseFrame:
    """The client's answer to a challenge (5.3.3.4)."""

    response: bytes


@dataclass(frozen=True, slots=True)
class SaslOutcomeFrame:
    """How it went (5.3.3.5); the codes are those of 5.3.3.6, 0 is success."""

    code: int
    additional_data: bytes | None = None


# Message sections that are lists (3.2.1, 3.2.4)


@dataclass(frozen=True, slots=True)
class Header:
    """Transport details of a message (3.2.1); `ttl` in milliseconds."""

    durable: bool = False
    priority: int = 4
    ttl: int | None = None
    first_acquirer: bool = False
    delivery_count: int = 0


@dataclass(frozen=True, slots=True)
class Properties:
    """The standard properties of a message (3.2.4). Times are milliseconds since 1970.

    Ids are str, bytes, uuid.UUID or ULong (a plain int is written as ulong).
    """

    message_id: Any = None
    user_id: bytes | None = None
    to: Any = None
    subject: str | None = None
    reply_to: Any = None
    correlation_id: Any = None
    content_type: str | None = None
    content_encoding: str | None = None
    absolute_expiry_time: int | None = None
    creation_time: int | None = None
    group_id: str | None = None
    group_sequence: int | None = None
    reply_to_group_id: str | None = None


_TABLE: Final = (
    (Open, 0x10, "amqp:open:list",
     "container-id string!, hostname string, max-frame-size uint, channel-max ushort, idle-time-out uint,"
     "outgoing-locales symbols, incoming-locales symbols, offered-capabilities symbols,"
     "desired-capabilities symbols, properties fields"),
    (Begin, 0x11, "amqp:begin:list",
     "remote-channel ushort, next-outgoing-id uint!, incoming-window uint!, outgoing-window uint!,"
     "handle-max uint, offered-capabilities symbols, desired-capabilities symbols, properties fields"),
    (Attach, 0x12, "amqp:attach:list",
     "name string!, handle uint!, role boolean!, snd-settle-mode ubyte, rcv-settle-mode ubyte,"
     "source source, target target, unsettled map, incomplete-unsettled boolean,"
     "initial-delivery-count uint, max-message-size ulong, offered-capabilities symbols,"
     "desired-capabilities symbols, properties fields"),
    (Flow, 0x13, "amqp:flow:list",
     "next-incoming-id uint, incoming-window uint!, next-outgoing-id uint!, outgoing-window uint!,"
     "handle uint, delivery-count uint, link-credit uint, available uint, drain boolean, echo boolean,"
     "properties fields"),
    (Transfer, 0x14, "amqp:transfer:list",
     "handle uint!, delivery-id uint, delivery-tag binary, message-format uint, settled boolean,"
     "more boolean, rcv-settle-mode ubyte, state state, resume boolean, aborted boolean, batchable boolean"),
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
     "address any, durable uint, expiry-policy symbol, timeout uint, dynamic boolean,"
     "dynamic-node-properties fields, distribution-mode symbol, filter fields, default-outcome state,"
     "outcomes symbols, capabilities symbols"),
    (Target, 0x29, "amqp:target:list",
     "address any, durable uint, expiry-policy symbol, timeout uint, dynamic boolean,"
     "dynamic-node-properties fields, capabilities symbols"),
    (SaslMechanismsFrame, 0x40, "amqp:sasl-mechanisms:list", "sasl-server-mechanisms symbols!"),
    (SaslInitFrame, 0x41, "amqp:sasl-init:list",
     "mechanism symbol!, initial-response binary, hostname string"),
    (SaslChallengeFrame, 0x42, "amqp:sasl-challenge:list", "challenge binary!"),
    (SaslResponseFrame, 0x43, "amqp:sasl-response:list", "response binary!"),
    (SaslOutcomeFrame, 0x44, "amqp:sasl-outcome:list", "code ubyte!, additional-data binary"),
    (Header, 0x70, "amqp:header:list",
     "durable boolean, priority ubyte, ttl uint, first-acquirer boolean, delivery-count uint"),
    (Properties, 0x73, "amqp:properties:list",
     "message-id id, user-id binary, to any, subject string, reply-to any, correlation-id id,"
     "content-type symbol, content-encoding symbol, absolute-expiry-time timestamp,"
     "creation-time timestamp, group-id string, group-sequence uint, reply-to-group-id string"),
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
