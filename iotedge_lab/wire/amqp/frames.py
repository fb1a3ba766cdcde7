"""AMQP 1.0 framing: protocol headers and frames (part 2, sections 2.2 and 2.3).

`FrameReader` cuts the stream; `encode_frame` writes one frame. What is in a frame is not looked at here.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from iotedge_lab.wire.amqp.composite import encode_composite
from iotedge_lab.wire.amqp.conditions import FRAMING_ERROR, AmqpViolation

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
TLS_HEADER: Final = b"AMQP\x02\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"

TYPE_AMQP: Final = 0
TYPE_SASL: Final = 1
# 2.3.1: size 4, data offset in words of 4 bytes, type, channel
_HEADER_AS_SIZE: Final = int.from_bytes(b"AMQP")
FRAME_HEAD: Final = struct.Struct(">IBBH")
MIN_MAX_FRAME_SIZE: Final = 512  # 2.7.1: no peer may ask for less


class ProtocolHeader(NamedTuple):
    """The 8 bytes with which a protocol layer begins (2.2)."""

    raw: bytes


class Frame(NamedTuple):
    """A frame without its head and extended header; an empty `body` is a heartbeat."""

    kind: int  # TYPE_AMQP or TYPE_SASL
    channel: int
    body: bytes


class FrameReader:
    """Cuts a byte stream into protocol headers and frames, however it arrives.

    A header cannot be mistaken for a frame: its first four bytes would be a size of 1.1 GB.
    """

    __slots__ = ("_buffer", "_pos", "max_frame_size")

    def __init__(self, max_frame_size: int) -> None:
        self.max_frame_size = min(max_frame_size, _HEADER_AS_SIZE - 1)
        self._buffer: bytes | bytearray = b""
        self._pos = 0

    def feed(self, data: bytes) -> None:
        """Add bytes of the stream; `next` gives what they complete."""
        buffer = self._buffer
        if self._pos == len(buffer):
            self._buffer = bytes(data)
        elif isinstance(buffer, bytearray):
            del buffer[: self._pos]
            buffer += data
        else:
            # A bytearray grows in place: a frame that comes in many pieces costs no copy for each.
            self._buffer = bytearray(buffer[self._pos :]) + data
        self._pos = 0

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not given back yet."""
        return len(self._buffer) - self._pos

    def next(self) -> Frame | ProtocolHeader | None:
        """The next complete item, or None. Raises ProtocolViolation for a malformed head."""
        buffer, pos = self._buffer, self._pos
        if len(buffer) - pos < 8:
            return None
        size, offset, kind, channel = FRAME_HEAD.unpack_from(buffer, pos)
        if size > self.max_frame_size:
            if size == _HEADER_AS_SIZE:
                self._pos = pos + 8
                return ProtocolHeader(bytes(buffer[pos : pos + 8]))
            raise AmqpViolation(
                f"a frame of {size} bytes; {self.max_frame_size} are allowed", "2.3.1", FRAMING_ERROR
            )
        if size < 8 or not 2 <= offset <= size // 4:
            raise AmqpViolation(f"frame size {size} with data offset {offset}", "2.3.1", FRAMING_ERROR)
        if kind > TYPE_SASL:
            raise AmqpViolation(f"frame type {kind}", "2.3.1", FRAMING_ERROR)
        end = pos + size
        if end > len(buffer):
            return None
        self._pos = end
        return Frame(kind, channel, bytes(buffer[pos + offset * 4 : end]))


def encode_frame(channel: int, performative: Any, payload: bytes = b"", kind: int = TYPE_AMQP) -> bytes:
    """One frame with `performative` and, for a transfer, its payload."""
    body = encode_composite(performative)
    return FRAME_HEAD.pack(8 + len(body) + len(payload), 2, kind, channel) + body + payload


def empty_frame() -> bytes:
    """A frame without body: keeps an idle connection alive (2.4.5)."""
    return b"\x00\x00\x00\x08\x02\x00\x00\x00"
