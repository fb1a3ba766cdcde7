"""Values, composites and their bytes, taken by hand from the specification: for writing and for reading."""

import uuid

from iotedge_lab.wire.amqp import performatives as p
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

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")

# What encode_value writes and decode_value reads (part 1, 1.6).
VALUES = {
    "null": (None, b"\x40"),
    "true": (True, b"\x41"),
    "false": (False, b"\x42"),
    "ubyte": (UByte(255), b"\x50\xff"),
    "ushort": (UShort(258), b"\x60\x01\x02"),
    "uint 0": (UInt(0), b"\x43"),
    "smalluint": (UInt(255), b"\x52\xff"),
    "uint": (UInt(256), b"\x70\x00\x00\x01\x00"),
    "uint, highest": (UInt(2**32 - 1), b"\x70\xff\xff\xff\xff"),
    "ulong 0": (ULong(0), b"\x44"),
    "smallulong": (ULong(1), b"\x53\x01"),
    "ulong": (ULong(2**64 - 1), b"\x80" + b"\xff" * 8),
    "byte": (Byte(-1), b"\x51\xff"),
    "short": (Short(-2), b"\x61\xff\xfe"),
    "smallint": (Int(-128), b"\x54\x80"),
    "int": (Int(128), b"\x71\x00\x00\x00\x80"),
    "smalllong": (127, b"\x55\x7f"),
    "long": (-129, b"\x81\xff\xff\xff\xff\xff\xff\xff\x7f"),
    "float": (Float32(1.5), b"\x72\x3f\xc0\x00\x00"),
    "double": (-2.0, b"\x82\xc0" + bytes(7)),
    "decimal32": (Decimal32(b"abcd"), b"\x74abcd"),
    "decimal64": (Decimal64(b"abcdefgh"), b"\x84abcdefgh"),
    "decimal128": (Decimal128(b"0123456789abcdef"), b"\x940123456789abcdef"),
    "char": (Char("\U0001f600"), b"\x73\x00\x01\xf6\x00"),
    "timestamp": (Timestamp(1), b"\x83\x00\x00\x00\x00\x00\x00\x00\x01"),
    "timestamp before 1970": (Timestamp(-1), b"\x83" + b"\xff" * 8),
    "uuid": (UUID, b"\x98" + UUID.bytes),
    "binary": (b"\x00\x01", b"\xa0\x02\x00\x01"),
    "binary, 255": (b"x" * 255, b"\xa0\xff" + b"x" * 255),
    "binary, 256": (b"x" * 256, b"\xb0\x00\x00\x01\x00" + b"x" * 256),
    "string": ("é", b"\xa1\x02\xc3\xa9"),
    "string, empty": ("", b"\xa1\x00"),
    "string, 256": ("y" * 256, b"\xb1\x00\x00\x01\x00" + b"y" * 256),
    "symbol": (Symbol("ab"), b"\xa3\x02ab"),
    "symbol, 256": (Symbol("z" * 256), b"\xb3\x00\x00\x01\x00" + b"z" * 256),
    "list, empty": ([], b"\x45"),
    "list": ([None, 1, "a"], b"\xc0\x07\x03\x40\x55\x01\xa1\x01a"),
    "list, long": (
        [b"x" * 252, None],
        b"\xd0\x00\x00\x01\x03\x00\x00\x00\x02\xa0\xfc" + b"x" * 252 + b"\x40",
    ),
    "list, many": ([None] * 256, b"\xd0\x00\x00\x01\x04\x00\x00\x01\x00" + b"\x40" * 256),
    "map, empty": ({}, b"\xc1\x01\x00"),
    "map": ({Symbol("k"): True}, b"\xc1\x05\x02\xa3\x01k\x41"),
    "map, long": ({"k": b"x" * 250}, b"\xd1\x00\x00\x01\x03\x00\x00\x00\x02\xa1\x01k\xa0\xfa" + b"x" * 250),
    "array of symbols": (Array("symbol", (Symbol("a"), Symbol("bc"))), b"\xe0\x07\x02\xa3\x01a\x02bc"),
    "array, empty": (Array("symbol"), b"\xe0\x02\x00\xa3"),
    "array of uints": (Array("uint", (UInt(1),)), b"\xe0\x06\x01\x70\x00\x00\x00\x01"),
    "array of booleans": (Array("boolean", (True, False)), b"\xe0\x04\x02\x56\x01\x00"),
    "array of lists": (
        Array("list", ([1], [])),
        b"\xe0\x14\x02\xd0\x00\x00\x00\x06\x00\x00\x00\x01\x55\x01" + b"\x00\x00\x00\x04" + bytes(4),
    ),
    "array of arrays": (
        Array("array", (Array("ubyte", (UByte(7),)),)),
        b"\xe0\x0c\x01\xf0\x00\x00\x00\x06\x00\x00\x00\x01\x50\x07",
    ),
    "array of described": (
        Array("string", ("a",), ULong(5)),
        b"\xe0\x07\x01\x00\x53\x05\xa1\x01a",
    ),
    "array of nulls": (Array("null", (None, None)), b"\xe0\x02\x02\x40"),
    "array, long": (
        Array("binary", (b"x" * 256,)),
        b"\xf0\x00\x00\x01\x09\x00\x00\x00\x01\xb0\x00\x00\x01\x00" + b"x" * 256,
    ),
    "described": (Described(Symbol("d"), "v"), b"\x00\xa3\x01d\xa1\x01v"),
}

# Other encodings of the same values: read, never written.
ALTERNATIVES = {
    "boolean with a byte, true": (True, b"\x56\x01"),
    "boolean with a byte, false": (False, b"\x56\x00"),
    "uint 0 in four bytes": (UInt(0), b"\x70" + bytes(4)),
    "ulong 1 in eight bytes": (ULong(1), b"\x80" + bytes(7) + b"\x01"),
    "int in four bytes": (Int(1), b"\x71\x00\x00\x00\x01"),
    "long in eight bytes": (1, b"\x81" + bytes(7) + b"\x01"),
    "short string, wide": ("a", b"\xb1\x00\x00\x00\x01a"),
    "short binary, wide": (b"a", b"\xb0\x00\x00\x00\x01a"),
    "short symbol, wide": (Symbol("a"), b"\xb3\x00\x00\x00\x01a"),
    "empty list, list8": ([], b"\xc0\x01\x00"),
    "empty list, list32": ([], b"\xd0\x00\x00\x00\x04" + bytes(4)),
    "small map, wide": ({"k": None}, b"\xd1\x00\x00\x00\x08\x00\x00\x00\x02\xa1\x01k\x40"),
    "array of small uints": (Array("uint", (UInt(1), UInt(2))), b"\xe0\x04\x02\x52\x01\x02"),
    "small array, wide": (Array("ubyte", (UByte(7),)), b"\xf0\x00\x00\x00\x06\x00\x00\x00\x01\x50\x07"),
}

BROKEN = {
    "nothing": b"",
    "no constructor": b"\x3f",
    "uint cut short": b"\x70\x00\x00",
    "uuid cut short": b"\x98" + bytes(15),
    "string cut short": b"\xa1\x05abc",
    "string of 4 GB": b"\xb1\xff\xff\xff\xffabc",
    "string without a size": b"\xb1\x00",
    "string not UTF-8": b"\xa1\x01\xff",
    "symbol not ASCII": b"\xa3\x01\xe9",
    "char above Unicode": b"\x73\x00\x11\x00\x00",
    "char in the surrogates": b"\x73\x00\x00\xd8\x00",
    "boolean 2": b"\x56\x02",
    "list of size 0": b"\xc0\x00\x00",
    "list longer than there is": b"\xc0\x09\x01\x40",
    "list with more values than bytes": b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
    "list that does not fill its size": b"\xc0\x03\x01\x40\x40",
    "list whose item leaves it": b"\xc0\x03\x01\xa1\x05abcdef",
    "map with an odd count": b"\xc1\x02\x01\x40",
    "map with a key twice": b"\xc1\x07\x04\xa1\x01k\x40\xa1\x01k\x40",
    "map with a list as key": b"\xc1\x03\x02\x45\x40",
    "map with an array of lists as key": b"\xc1\x0c\x02\xe0\x08\x01\xc0\x05\x01\xa1\x02ab\x40\x40",
    "array of nothing known": b"\xe0\x02\x01\x3f",
    "array without a constructor": b"\xe0\x01\x00",
    "array of more than there is": b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x50",
    "array of a billion nulls": b"\xf0\x00\x00\x00\x05\x3b\x9a\xca\x00\x40",
    "array with a described descriptor and no type": b"\xe0\x04\x01\x00\x53\x05",
    "described, nothing after": b"\x00\x53\x24",
    "lists in lists, endless": b"\xc0\xff\x01" * 400,
    "described of described, endless": b"\x00" * 5000,
    "arrays in arrays, endless": b"\xf0\x00\x00\xff\xff\x00\x00\x00\x01" * 400,
}

ERROR = p.Error("amqp:not-found", "no")
ERROR_BYTES = b"\x00\x53\x1d\xc0\x16\x03\xa3\x0eamqp:not-found\xa1\x02no\x40"
SOURCE_BYTES = b"\x00\x53\x28\xc0\x1a\x0b\xa1\x01q\x43\xa3\x0bsession-end\x43\x42\x40\x40\x40\x40\x40\x40"
TARGET_BYTES = b"\x00\x53\x29\xc0\x14\x07\x40\x43\xa3\x0bsession-end\x43\x42\x40\x40"

# Every field is written, trailing nulls too.
COMPOSITES = {
    "open": (
        p.Open("c"),
        b"\x00\x53\x10\xc0\x13\x0a\xa1\x01c\x40\x70\xff\xff\xff\xff\x60\xff\xff" + b"\x40" * 6,
    ),
    "open, full": (
        p.Open("c", "h", 512, 7, 1000, ("en",), ("de", "en"), ("x",), ("y",), {"k": 1}),
        (
            b"\x00\x53\x10\xc0\x39\x0a\xa1\x01c\xa1\x01h\x70\x00\x00\x02\x00\x60\x00\x07\x70\x00\x00\x03\xe8"
            b"\xe0\x05\x01\xa3\x02en\xe0\x08\x02\xa3\x02de\x02en\xe0\x04\x01\xa3\x01x\xe0\x04\x01\xa3\x01y"
            b"\xc1\x06\x02\xa3\x01k\x55\x01"
        ),
    ),
    "begin": (
        p.Begin(None, 0, 5, 300),
        b"\x00\x53\x11\xc0\x12\x08\x40\x43\x52\x05\x70\x00\x00\x01\x2c\x70\xff\xff\xff\xff\x40\x40\x40",
    ),
    "begin, answer": (
        p.Begin(3, 1, 5, 6, 9),
        b"\x00\x53\x11\xc0\x0f\x08\x60\x00\x03\x52\x01\x52\x05\x52\x06\x52\x09\x40\x40\x40",
    ),
    "attach": (
        p.Attach("n", 0, True, source=p.Source("q"), target=p.Target()),
        b"\x00\x53\x12\xc0\x49\x0e\xa1\x01n\x43\x41\x50\x02\x50\x00"
        + SOURCE_BYTES
        + TARGET_BYTES
        + b"\x40\x42\x40\x40\x40\x40\x40",
    ),
    "attach, a coordinator": (
        p.Attach(
            "n", 1, False, target=Described(ULong(0x30), []), initial_delivery_count=0, max_message_size=256
        ),
        b"\x00\x53\x12\xc0\x1f\x0e\xa1\x01n\x52\x01\x42\x50\x02\x50\x00\x40\x00\x53\x30\x45"
        b"\x40\x42\x43\x80" + bytes(6) + b"\x01\x00\x40\x40\x40",
    ),
    "flow of a session": (
        p.Flow(None, 1, 0, 2),
        b"\x00\x53\x13\xc0\x0e\x0b\x40\x52\x01\x43\x52\x02\x40\x40\x40\x40\x42\x42\x40",
    ),
    "flow of a link": (
        p.Flow(0, 1, 0, 2, 0, 4, 100, 0, True, True),
        b"\x00\x53\x13\xc0\x10\x0b\x43\x52\x01\x43\x52\x02\x43\x52\x04\x52\x64\x43\x41\x41\x40",
    ),
    "transfer": (
        p.Transfer(0, 1, b"t", 0, True),
        b"\x00\x53\x14\xc0\x0f\x0b\x43\x52\x01\xa0\x01t\x43\x41\x42\x40\x40\x42\x42\x42",
    ),
    "transfer, continued": (
        p.Transfer(2, more=True),
        b"\x00\x53\x14\xc0\x0d\x0b\x52\x02\x40\x40\x40\x40\x41\x40\x40\x42\x42\x42",
    ),
    "disposition, accepted": (
        p.Disposition(True, 1, 2, True, p.Accepted()),
        b"\x00\x53\x15\xc0\x0c\x06\x41\x52\x01\x52\x02\x41\x00\x53\x24\x45\x42",
    ),
    "disposition, released": (
        p.Disposition(False, 0, None, False, p.Released()),
        b"\x00\x53\x15\xc0\x0a\x06\x42\x43\x40\x42\x00\x53\x26\x45\x42",
    ),
    "disposition, rejected": (
        p.Disposition(True, 1, 1, True, p.Rejected(ERROR)),
        b"\x00\x53\x15\xc0\x29\x06\x41\x52\x01\x52\x01\x41\x00\x53\x25\xc0\x1c\x01" + ERROR_BYTES + b"\x42",
    ),
    "disposition, modified": (
        p.Disposition(True, 1, 1, True, p.Modified(True, False, {Symbol("a"): "b"})),
        b"\x00\x53\x15\xc0\x19\x06\x41\x52\x01\x52\x01\x41\x00\x53\x27\xc0\x0c\x03\x41\x42\xc1\x07\x02\xa3\x01a\xa1\x01b\x42",
    ),
    "disposition, received": (
        p.Disposition(True, 1, 1, False, p.Received(1, 2)),
        b"\x00\x53\x15\xc0\x12\x06\x41\x52\x01\x52\x01\x42\x00\x53\x23\xc0\x05\x02\x52\x01\x53\x02\x42",
    ),
    "disposition, a transaction's": (
        p.Disposition(True, 1, 1, False, Described(ULong(0x34), [b"x"])),
        b"\x00\x53\x15\xc0\x11\x06\x41\x52\x01\x52\x01\x42\x00\x53\x34\xc0\x04\x01\xa0\x01x\x42",
    ),
    "detach": (p.Detach(1, True, ERROR), b"\x00\x53\x16\xc0\x1f\x03\x52\x01\x41" + ERROR_BYTES),
    "end": (p.End(), b"\x00\x53\x17\xc0\x02\x01\x40"),
    "end, error": (p.End(ERROR), b"\x00\x53\x17\xc0\x1c\x01" + ERROR_BYTES),
    "close": (p.Close(), b"\x00\x53\x18\xc0\x02\x01\x40"),
    "error, info": (
        p.Error("c", None, {"k": 1}),
        b"\x00\x53\x1d\xc0\x0d\x03\xa3\x01c\x40\xc1\x06\x02\xa3\x01k\x55\x01",
    ),
    "source with a filter": (
        p.Source("q", filter={Symbol("f"): Described(Symbol("f"), "x > 1")}, outcomes=("o",)),
        (
            b"\x00\x53\x28\xc0\x2f\x0b\xa1\x01q\x43\xa3\x0bsession-end\x43\x42\x40\x40"
            b"\xc1\x0f\x02\xa3\x01f\x00\xa3\x01f\xa1\x05x > 1\x40\xe0\x04\x01\xa3\x01o\x40"
        ),
    ),
    "sasl-mechanisms": (
        p.SaslMechanismsFrame(("A", "B")),
        b"\x00\x53\x40\xc0\x09\x01\xe0\x06\x02\xa3\x01A\x01B",
    ),
    "sasl-init": (
        p.SaslInitFrame("PLAIN", b"\x00u\x00p"),
        b"\x00\x53\x41\xc0\x0f\x03\xa3\x05PLAIN\xa0\x04\x00u\x00p\x40",
    ),
    "sasl-challenge": (p.SaslChallengeFrame(b"?"), b"\x00\x53\x42\xc0\x04\x01\xa0\x01?"),
    "sasl-response": (p.SaslResponseFrame(b"!"), b"\x00\x53\x43\xc0\x04\x01\xa0\x01!"),
    "sasl-outcome": (p.SaslOutcomeFrame(1), b"\x00\x53\x44\xc0\x04\x02\x50\x01\x40"),
    "header": (
        p.Header(True, 9, 1000, False, 1),
        b"\x00\x53\x70\xc0\x0c\x05\x41\x50\x09\x70\x00\x00\x03\xe8\x42\x52\x01",
    ),
    "properties, empty": (p.Properties(), b"\x00\x53\x73\xc0\x0e\x0d" + b"\x40" * 13),
    "properties, full": (
        p.Properties(ULong(1), b"u", "t", "s", "r", UUID, "ct", "ce", 1, 2, "g", 3, "h"),
        b"\x00\x53\x73\xc0\x42\x0d\x53\x01\xa0\x01u\xa1\x01t\xa1\x01s\xa1\x01r\x98"
        + UUID.bytes
        + b"\xa3\x02ct\xa3\x02ce\x83"
        + bytes(7)
        + b"\x01\x83"
        + bytes(7)
        + b"\x02\xa1\x01g\x52\x03\xa1\x01h",
    ),
}

COMPOSITE_ALTERNATIVES = {
    "trailing nulls dropped": (p.Flow(None, 1, 0, 2), b"\x00\x53\x13\xc0\x07\x04\x40\x52\x01\x43\x52\x02"),
    "no fields at all": (p.End(), b"\x00\x53\x17\x45"),
    "list32": (p.Close(), b"\x00\x53\x18\xd0\x00\x00\x00\x05\x00\x00\x00\x01\x40"),
    "descriptor as ulong": (p.Close(), b"\x00\x80" + bytes(7) + b"\x18\x45"),
    "descriptor as symbol": (p.Close(), b"\x00\xa3\x0famqp:close:list\x45"),
    "one symbol for many": (p.SaslMechanismsFrame(("A",)), b"\x00\x53\x40\xc0\x04\x01\xa3\x01A"),
    "accepted with a list": (
        p.Disposition(True, 1, None, True, p.Accepted()),
        b"\x00\x53\x15\xc0\x0c\x05\x41\x52\x01\x40\x41\x00\x53\x24\xc0\x01\x00",
    ),
}

BROKEN_COMPOSITES = {
    "not described": b"\x45",
    "unknown descriptor": b"\x00\x53\x99\x45",
    "descriptor of another kind": b"\x00\xa1\x01x\x45",
    "a message section": b"\x00\x53\x70\x45",
    "a map instead of a list": b"\x00\x53\x18\xc1\x01\x00",
    "mandatory field missing": b"\x00\x53\x16\x45",
    "mandatory field null": b"\x00\x53\x16\xc0\x02\x01\x40",
    "too many fields": b"\x00\x53\x18\xc0\x03\x02\x40\x40",
    "wrong type of field": b"\x00\x53\x16\xc0\x04\x01\xa1\x01a",
    "error is no error": b"\x00\x53\x18\xc0\x05\x01\x00\x53\x24\x45",
    "state is a number": b"\x00\x53\x15\xc0\x09\x05\x41\x52\x01\x40\x41\x52\x01",
    "array of strings for symbols": b"\x00\x53\x10\xc0\x0e\x06\xa1\x01c\x40\x40\x40\x40\xe0\x04\x01\xa1\x01x",
    "size too small": b"\x00\x53\x18\xc0\x00\x00",
    "size beyond the end": b"\x00\x53\x18\xc0\x20\x01\x40",
    "cut in the descriptor": b"\x00\x53",
}
