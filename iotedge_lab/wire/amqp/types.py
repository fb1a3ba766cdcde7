"""Python values for AMQP 1.0 types that Python has no type of its own for (part 1, section 1.6).

Plain values stand for the AMQP type in brackets: None (null), bool (boolean), int (long), float (double),
bytes (binary), str (string), uuid.UUID (uuid), list (list), dict (map). Everything else is one of the
classes below; each is a thin subclass, so `UInt(5) == 5` and `Symbol("a") == "a"` hold. The codec looks at
the class, so a value that was decoded is encoded as the very type it came as: what a request/response
pattern needs to echo a message-id.

Left out: arithmetic on decimals (their bits are kept) and map keys that differ only in their AMQP type
(`Symbol("a")` beside `"a"` counts as the same key twice, which a map forbids).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class UByte(int):
    """ubyte: 0 to 2**8 - 1."""

    __slots__ = ()


class UShort(int):
    """ushort: 0 to 2**16 - 1."""

    __slots__ = ()


class UInt(int):
    """uint: 0 to 2**32 - 1."""

    __slots__ = ()


class ULong(int):
    """ulong: 0 to 2**64 - 1."""

    __slots__ = ()


class Byte(int):
    """byte: -2**7 to 2**7 - 1."""

    __slots__ = ()


class Short(int):
    """short: -2**15 to 2**15 - 1."""

    __slots__ = ()


class Int(int):
    """int: -2**31 to 2**31 - 1. A plain Python int is a `long`, -2**63 to 2**63 - 1."""

    __slots__ = ()


class Timestamp(int):
    """timestamp: milliseconds since 1970-01-01T00:00Z, may be negative."""

    __slots__ = ()


class Float32(float):
    """float: IEEE 754 binary32. A plain Python float is a `double`."""

    __slots__ = ()


class Char(str):
    """char: one Unicode scalar value."""

    __slots__ = ()


class Symbol(str):
    """symbol: an ASCII word from a constrained domain (capabilities, annotation keys, conditions)."""

    __slots__ = ()


class Decimal32(bytes):
    """decimal32: its 4 bytes, kept as they came."""

    __slots__ = ()


class Decimal64(bytes):
    """decimal64: its 8 bytes, kept as they came."""

    __slots__ = ()


class Decimal128(bytes):
    """decimal128: its 16 bytes, kept as they came."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor (1.2.4): a ULong or Symbol that says how the value is to be read."""

    descriptor: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Array:
    """An array (1.6.24): values of one type.

    `kind` is the AMQP name of that type ("symbol", "uint", "list", ...), needed also where `items` is
    empty. `descriptor` is set where the elements are described values.
    """

    kind: str
    items: tuple[Any, ...] = ()
    descriptor: Any = None
