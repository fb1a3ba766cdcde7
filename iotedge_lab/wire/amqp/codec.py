"""AMQP 1.0 values to bytes and back (OASIS AMQP 1.0 part 1, sections 1.2 and 1.6).

`encode_value` takes the most compact encoding of each type; `decode_value` reads every encoding. Bad input
raises ProtocolViolation and nothing else; a Python value that has no AMQP form raises UsageError. Nesting is
limited to MAX_DEPTH levels and every count is checked against the bytes that are there, so hostile input
costs memory in proportion to its own length only.
"""

from __future__ import annotations

import struct
import uuid
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp.types import (
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH: Final = 32
# Elements such as null take no bytes in an array, so the array's size says nothing about their number.
MAX_EMPTY_ELEMENTS: Final = 32

_SPEC = "AMQP 1.0 part 1, 1.6"
_H, _I, _Q = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")
_h, _i, _q = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")
_b, _f, _d = struct.Struct(">b"), struct.Struct(">f"), struct.Struct(">d")
_SMALL: Final = tuple(bytes((n,)) for n in range(256))


Encoder: TypeAlias = "Callable[[Any, int], bytes]"
Decoder: TypeAlias = "Callable[[bytes, int, int], tuple[Any, int]]"

# Encoding: an encoder takes the value and how deep it is nested.


def enc_uint(value: int, _depth: int = 0) -> bytes:
    """A uint with its constructor; struct.error where it does not fit."""
    if value == 0:
        return b"\x43"
    if 0 < value < 256:
        return b"\x52" + _SMALL[value]
    return b"\x70" + _I.pack(value)


def enc_ulong(value: int, _depth: int = 0) -> bytes:
    """A ulong with its constructor; struct.error where it does not fit."""
    if value == 0:
        return b"\x44"
    if 0 < value < 256:
        return b"\x53" + _SMALL[value]
    return b"\x80" + _Q.pack(value)


def _enc_int(value: int, _depth: int = 0) -> bytes:
    return b"\x54" + _b.pack(value) if -128 <= value < 128 else b"\x71" + _i.pack(value)


def _enc_long(value: int, _depth: int = 0) -> bytes:
    return b"\x55" + _b.pack(value) if -128 <= value < 128 else b"\x81" + _q.pack(value)


def enc_bytes(value: bytes, _depth: int = 0) -> bytes:
    """A binary with its constructor."""
    size = len(value)
    return b"\xa0" + _SMALL[size] + value if size < 256 else b"\xb0" + _I.pack(size) + value


def enc_str(value: str, _depth: int = 0) -> bytes:
    """A string with its constructor; UnicodeEncodeError where it holds lone surrogates."""
    raw = value.encode()
    size = len(raw)
    return b"\xa1" + _SMALL[size] + raw if size < 256 else b"\xb1" + _I.pack(size) + raw


def enc_symbol(value: str, _depth: int = 0) -> bytes:
    """A symbol with its constructor; UnicodeEncodeError where it is not ASCII."""
    raw = value.encode("ascii")
    size = len(raw)
    return b"\xa3" + _SMALL[size] + raw if size < 256 else b"\xb3" + _I.pack(size) + raw


def _enc_decimal(code: bytes, width: int) -> Callable[[bytes, int], bytes]:
    def encode(value: bytes, _depth: int = 0) -> bytes:
        if len(value) != width:
            raise UsageError(f"a decimal of {width * 8} bits has {width} bytes, not {len(value)}")
        return code + value

    return encode


def wrap_list(items: bytes, count: int) -> bytes:
    """The constructor, size and count of a list before its encoded `items` (1.6.22)."""
    if count == 0:
        return b"\x45"
    size = len(items)
    if size < 255 and count < 256:
        return b"\xc0" + _SMALL[size + 1] + _SMALL[count] + items
    return b"\xd0" + _I.pack(size + 4) + _I.pack(count) + items


def wrap_map(items: bytes, count: int) -> bytes:
    """The constructor, size and count of a map before its encoded `items`: keys and values, both counted."""
    size = len(items)
    if size < 255 and count < 256:
        return b"\xc1" + _SMALL[size + 1] + _SMALL[count] + items
    return b"\xd1" + _I.pack(size + 4) + _I.pack(count) + items


def _enc_list(value: list[Any] | tuple[Any, ...], depth: int) -> bytes:
    return wrap_list(b"".join([_encode(item, depth + 1) for item in value]), len(value))


def _enc_map(value: Mapping[Any, Any], depth: int) -> bytes:
    parts = [_encode(one, depth + 1) for pair in value.items() for one in pair]
    return wrap_map(b"".join(parts), len(parts))


def _enc_described(value: Described, depth: int) -> bytes:
    return b"\x00" + _encode(value.descriptor, depth + 1) + _encode(value.value, depth + 1)


def _enc_char(value: str, _depth: int = 0) -> bytes:
    if len(value) != 1:
        raise UsageError(f"a Char is one character, not {len(value)}")
    return b"\x73" + value.encode("utf-32-be")


# kind: constructor, and the element without it. Arrays take one width for all, so the widest.
_ARRAY_FIXED: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "null": (0x40, lambda _: b""),
    "boolean": (0x56, lambda v: b"\x01" if v else b"\x00"),
    "ubyte": (0x50, struct.Struct(">B").pack),
    "byte": (0x51, _b.pack),
    "ushort": (0x60, _H.pack),
    "short": (0x61, _h.pack),
    "uint": (0x70, _I.pack),
    "int": (0x71, _i.pack),
    "float": (0x72, _f.pack),
    "char": (0x73, lambda v: _enc_char(v)[1:]),
    "decimal32": (0x74, lambda v: _enc_decimal(b"", 4)(v, 0)),
    "ulong": (0x80, _Q.pack),
    "long": (0x81, _q.pack),
    "double": (0x82, _d.pack),
    "timestamp": (0x83, _q.pack),
    "decimal64": (0x84, lambda v: _enc_decimal(b"", 8)(v, 0)),
    "decimal128": (0x94, lambda v: _enc_decimal(b"", 16)(v, 0)),
    "uuid": (0x98, lambda v: v.bytes),
}
# kind: constructor with one byte of size, constructor with four, text codec
_ARRAY_VARIABLE: dict[str, tuple[int, int, str]] = {
    "binary": (0xA0, 0xB0, ""),
    "string": (0xA1, 0xB1, "utf-8"),
    "symbol": (0xA3, 0xB3, "ascii"),
}


def _compound_element(kind: str, value: Any, depth: int) -> bytes:
    """One list, map or array inside an array: four-byte size and count, no constructor."""
    if kind == "list":
        parts = [_encode(item, depth + 1) for item in value]
    elif kind == "map":
        parts = [_encode(one, depth + 1) for pair in value.items() for one in pair]
    else:
        constructor, elements = _array_parts(value, depth + 1)
        body = _I.pack(len(value.items)) + constructor + b"".join(elements)
        return _I.pack(len(body)) + body
    body = _I.pack(len(parts)) + b"".join(parts)
    return _I.pack(len(body)) + body


def _array_parts(value: Array, depth: int) -> tuple[bytes, list[bytes]]:
    if depth > MAX_DEPTH:
        raise UsageError(f"a value nests deeper than {MAX_DEPTH} levels")
    kind = value.kind
    if kind in _ARRAY_FIXED:
        code, pack = _ARRAY_FIXED[kind]
        elements = [pack(item) for item in value.items]
        if kind == "null" and len(elements) > MAX_EMPTY_ELEMENTS:
            raise UsageError(f"an array of nulls holds at most {MAX_EMPTY_ELEMENTS}; send a list instead")
    elif kind in _ARRAY_VARIABLE:
        small, large, text = _ARRAY_VARIABLE[kind]
        raws = [item.encode(text) if text else bytes(item) for item in value.items]
        fits = all(len(raw) < 256 for raw in raws)
        code = small if fits else large
        elements = [(_SMALL[len(raw)] if fits else _I.pack(len(raw))) + raw for raw in raws]
    elif kind in ("list", "map", "array"):
        code = {"list": 0xD0, "map": 0xD1, "array": 0xF0}[kind]
        elements = [_compound_element(kind, item, depth) for item in value.items]
    else:
        raise UsageError(f"Array.kind {kind!r} is no AMQP type; use one of {sorted(_KIND_OF.values())}")
    constructor = _SMALL[code]
    if value.descriptor is not None:
        constructor = b"\x00" + _encode(value.descriptor, depth + 1) + constructor
    return constructor, elements


def _enc_array(value: Array, depth: int) -> bytes:
    constructor, elements = _array_parts(value, depth)
    body = constructor + b"".join(elements)
    if len(body) < 255 and len(elements) < 256:
        return b"\xe0" + _SMALL[len(body) + 1] + _SMALL[len(elements)] + body
    return b"\xf0" + _I.pack(len(body) + 4) + _I.pack(len(elements)) + body


_ENCODERS: dict[type, Encoder] = {
    type(None): lambda _v, _d: b"\x40",
    bool: lambda v, _d: b"\x41" if v else b"\x42",
    UByte: lambda v, _d: b"\x50" + struct.pack(">B", v),
    UShort: lambda v, _d: b"\x60" + _H.pack(v),
    UInt: enc_uint,
    ULong: enc_ulong,
    Byte: lambda v, _d: b"\x51" + _b.pack(v),
    Short: lambda v, _d: b"\x61" + _h.pack(v),
    Int: _enc_int,
    int: _enc_long,
    Float32: lambda v, _d: b"\x72" + _f.pack(v),
    float: lambda v, _depth: b"\x82" + _d.pack(v),
    Decimal32: _enc_decimal(b"\x74", 4),
    Decimal64: _enc_decimal(b"\x84", 8),
    Decimal128: _enc_decimal(b"\x94", 16),
    Char: _enc_char,
    Timestamp: lambda v, _d: b"\x83" + _q.pack(v),
    uuid.UUID: lambda v, _d: b"\x98" + v.bytes,
    bytes: enc_bytes,
    bytearray: lambda v, d: enc_bytes(bytes(v), d),
    memoryview: lambda v, d: enc_bytes(bytes(v), d),
    str: enc_str,
    Symbol: enc_symbol,
    list: _enc_list,
    tuple: _enc_list,
    dict: _enc_map,
    Described: _enc_described,
    Array: _enc_array,
}


def _encode(value: Any, depth: int) -> bytes:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        # Subclasses (IntEnum, defaultdict, a str enum) go as the class that they extend.
        for base in type(value).__mro__[1:]:
            if (encoder := _ENCODERS.get(base)) is not None:
                break
        else:
            raise UsageError(f"{type(value).__name__} has no AMQP form; convert it to str, bytes, int, ...")
    if depth > MAX_DEPTH:
        raise UsageError(f"a value nests deeper than {MAX_DEPTH} levels")
    return encoder(value, depth)


def encode_value(value: Any) -> bytes:
    """The shortest encoding of `value`, constructor included (see iotedge_lab.wire.amqp.types).

    Raises UsageError for what has no AMQP form, is out of its type's range, or nests too deep.
    """
    try:
        return _encode(value, 0)
    except struct.error as error:
        raise UsageError(f"a number does not fit its AMQP type ({error}); use a wider one") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"text cannot be encoded: {error}") from error


# Decoding. A decoder takes the buffer, the position behind the constructor, and the depth; it gives the
# value and the position behind it. Reading past the buffer raises IndexError or struct.error, which the
# public functions turn into a violation; compounds check that their parts end where they said.


def _constant(value: Any) -> Decoder:
    def decode(_buf: bytes, pos: int, _depth: int) -> tuple[Any, int]:
        return value, pos

    return decode


def _fixed(layout: struct.Struct, wrap: type | None) -> Decoder:
    unpack, width = layout.unpack_from, layout.size

    if wrap is None:

        def plain(buf: bytes, pos: int, _depth: int) -> tuple[Any, int]:
            return unpack(buf, pos)[0], pos + width

        return plain

    def wrapped(buf: bytes, pos: int, _depth: int) -> tuple[Any, int]:
        return wrap(unpack(buf, pos)[0]), pos + width

    return wrapped


def _variable(wide: bool, convert: Callable[[bytes], Any]) -> Decoder:
    def decode(buf: bytes, pos: int, _depth: int) -> tuple[Any, int]:
        if wide:
            size = _I.unpack_from(buf, pos)[0]
            pos += 4
        else:
            size = buf[pos]
            pos += 1
        end = pos + size
        if end > len(buf):
            raise ProtocolViolation(f"a value of {size} bytes ends beyond the {len(buf) - pos} there", _SPEC)
        return convert(buf[pos:end]), end

    return decode


def _text(raw: bytes) -> str:
    return raw.decode()


def _symbol(raw: bytes) -> Symbol:
    return Symbol(raw.decode("ascii"))


def _raw(width: int, wrap: Callable[[bytes], Any]) -> Decoder:
    def decode(buf: bytes, pos: int, _depth: int) -> tuple[Any, int]:
        raw = buf[pos : pos + width]
        if len(raw) != width:
            raise ProtocolViolation(f"a value of {width} bytes is cut short", _SPEC)
        return wrap(raw), pos + width

    return decode


def _uuid(raw: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=raw)


def _dec_boolean(buf: bytes, pos: int, _depth: int) -> tuple[bool, int]:
    if buf[pos] > 1:
        raise ProtocolViolation(f"a boolean byte is 0 or 1, not {buf[pos]}", "AMQP 1.0 part 1, 1.6.2")
    return buf[pos] == 1, pos + 1


def _dec_char(buf: bytes, pos: int, _depth: int) -> tuple[Char, int]:
    point = _I.unpack_from(buf, pos)[0]
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise ProtocolViolation(f"0x{point:x} is no Unicode scalar value", "AMQP 1.0 part 1, 1.6.16")
    return Char(chr(point)), pos + 4


def compound(buf: bytes, pos: int, wide: bool) -> tuple[int, int, int]:
    """Read size and count of a list, map or array: gives count, start of the items, end.

    `pos` is behind the constructor. Raises ProtocolViolation where it ends beyond the buffer.
    """
    if wide:
        size = _I.unpack_from(buf, pos)[0]
        count = _I.unpack_from(buf, pos + 4)[0]
        start, end = pos + 8, pos + 4 + size
    else:
        size = buf[pos]
        count = buf[pos + 1]
        start, end = pos + 2, pos + 1 + size
    if not start <= end <= len(buf):
        raise ProtocolViolation(
            f"a compound of {size} bytes does not fit its place", "AMQP 1.0 part 1, 1.2.3"
        )
    return count, start, end


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise ProtocolViolation(f"values nest deeper than {MAX_DEPTH} levels", _SPEC)
    return depth + 1


def _check_end(pos: int, end: int) -> None:
    if pos != end:
        raise ProtocolViolation("the parts of a compound do not fill its size", "AMQP 1.0 part 1, 1.2.3")


def _list(wide: bool) -> Decoder:
    def decode(buf: bytes, pos: int, depth: int) -> tuple[list[Any], int]:
        count, pos, end = compound(buf, pos, wide)
        if count > end - pos:
            raise ProtocolViolation(f"{count} values in {end - pos} bytes", "AMQP 1.0 part 1, 1.6.22")
        inner = _deeper(depth)
        items = []
        for _ in range(count):
            item, pos = decode_at(buf, pos, inner)
            items.append(item)
        _check_end(pos, end)
        return items, end

    return decode


def _map(wide: bool) -> Decoder:
    def decode(buf: bytes, pos: int, depth: int) -> tuple[dict[Any, Any], int]:
        count, pos, end = compound(buf, pos, wide)
        if count > end - pos or count % 2:
            raise ProtocolViolation(
                f"a map of {count} keys and values in {end - pos} bytes", "AMQP 1.0 part 1, 1.6.23"
            )
        inner = _deeper(depth)
        result: dict[Any, Any] = {}
        for _ in range(count // 2):
            key, pos = decode_at(buf, pos, inner)
            value, pos = decode_at(buf, pos, inner)
            try:
                result[key] = value
            except TypeError:
                raise ProtocolViolation("a map key is itself a list or map: not supported", _SPEC) from None
        if len(result) != count // 2:
            raise ProtocolViolation("a map has the same key twice", "AMQP 1.0 part 1, 1.6.23")
        _check_end(pos, end)
        return result, end

    return decode


_ZERO_WIDTH = frozenset((0x40, 0x41, 0x42, 0x43, 0x44, 0x45))


def _array(wide: bool) -> Decoder:
    def decode(buf: bytes, pos: int, depth: int) -> tuple[Array, int]:
        count, pos, end = compound(buf, pos, wide)
        inner = _deeper(depth)
        descriptor = None
        code = buf[pos]
        if code == 0:
            descriptor, pos = decode_at(buf, pos + 1, inner)
            code = buf[pos]
        pos += 1
        decoder = _DECODERS[code] if code else None
        if decoder is None:
            raise ProtocolViolation(f"0x{code:02x} is no constructor of an array element", _SPEC)
        limit = MAX_EMPTY_ELEMENTS if code in _ZERO_WIDTH else end - pos
        if count > limit:
            raise ProtocolViolation(f"{count} elements where {limit} can be", "AMQP 1.0 part 1, 1.6.24")
        items = []
        for _ in range(count):
            item, pos = decoder(buf, pos, inner)
            items.append(item)
        _check_end(pos, end)
        return Array(_KIND_OF[code], tuple(items), descriptor), end

    return decode


def _dec_described(buf: bytes, pos: int, depth: int) -> tuple[Described, int]:
    inner = _deeper(depth)
    descriptor, pos = decode_at(buf, pos, inner)
    value, pos = decode_at(buf, pos, inner)
    return Described(descriptor, value), pos


def _empty_list(_buf: bytes, pos: int, _depth: int) -> tuple[list[Any], int]:
    return [], pos


# constructor: name of the type, decoder (1.6)
_BY_CODE: dict[int, tuple[str, Decoder]] = {
    0x00: ("described", _dec_described),
    0x40: ("null", _constant(None)),
    0x41: ("boolean", _constant(True)),
    0x42: ("boolean", _constant(False)),
    0x43: ("uint", _constant(UInt(0))),
    0x44: ("ulong", _constant(ULong(0))),
    0x45: ("list", _empty_list),
    0x50: ("ubyte", _fixed(struct.Struct(">B"), UByte)),
    0x51: ("byte", _fixed(_b, Byte)),
    0x52: ("uint", _fixed(struct.Struct(">B"), UInt)),
    0x53: ("ulong", _fixed(struct.Struct(">B"), ULong)),
    0x54: ("int", _fixed(_b, Int)),
    0x55: ("long", _fixed(_b, None)),
    0x56: ("boolean", _dec_boolean),
    0x60: ("ushort", _fixed(_H, UShort)),
    0x61: ("short", _fixed(_h, Short)),
    0x70: ("uint", _fixed(_I, UInt)),
    0x71: ("int", _fixed(_i, Int)),
    0x72: ("float", _fixed(_f, Float32)),
    0x73: ("char", _dec_char),
    0x74: ("decimal32", _raw(4, Decimal32)),
    0x80: ("ulong", _fixed(_Q, ULong)),
    0x81: ("long", _fixed(_q, None)),
    0x82: ("double", _fixed(_d, None)),
    0x83: ("timestamp", _fixed(_q, Timestamp)),
    0x84: ("decimal64", _raw(8, Decimal64)),
    0x94: ("decimal128", _raw(16, Decimal128)),
    0x98: ("uuid", _raw(16, _uuid)),
    0xA0: ("binary", _variable(False, bytes)),
    0xA1: ("string", _variable(False, _text)),
    0xA3: ("symbol", _variable(False, _symbol)),
    0xB0: ("binary", _variable(True, bytes)),
    0xB1: ("string", _variable(True, _text)),
    0xB3: ("symbol", _variable(True, _symbol)),
    0xC0: ("list", _list(False)),
    0xC1: ("map", _map(False)),
    0xD0: ("list", _list(True)),
    0xD1: ("map", _map(True)),
    0xE0: ("array", _array(False)),
    0xF0: ("array", _array(True)),
}
_DECODERS = [_BY_CODE[code][1] if code in _BY_CODE else None for code in range(256)]
_KIND_OF = {code: name for code, (name, _) in _BY_CODE.items() if code}


def decode_at(buf: bytes, pos: int, depth: int = 0) -> tuple[Any, int]:
    """Decode inside a decoder: like `decode_value`, but lets IndexError and struct.error pass."""
    decoder = _DECODERS[buf[pos]]
    if decoder is None:
        raise ProtocolViolation(f"0x{buf[pos]:02x} is no constructor", _SPEC)
    return decoder(buf, pos + 1, depth)


# What the decoders let pass when bytes are missing or text is not what it says.
DECODE_FAULTS = (IndexError, struct.error, UnicodeDecodeError)


def as_violation(error: Exception) -> ProtocolViolation:
    """One of DECODE_FAULTS, said as a violation."""
    if isinstance(error, UnicodeDecodeError):
        return ProtocolViolation(f"text is not {error.encoding}: {error.reason}", _SPEC)
    return ProtocolViolation("a value ends in the middle", _SPEC)


def decode_value(data: bytes, offset: int = 0) -> tuple[Any, int]:
    """The value at `offset` of `data` and the offset behind it.

    Raises ProtocolViolation for anything that is no complete, valid encoding.
    """
    try:
        return decode_at(data, offset)
    except DECODE_FAULTS as error:
        raise as_violation(error) from error
