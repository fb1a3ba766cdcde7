"""The hot path: many PUBLISHes, or PUBACKs, at once.

A hub that absorbs 100,000 messages a second has 10 microseconds for each, so a read is parsed in one loop
without an object a message. `scan_run` finds where the messages lie, checks them, and prepares their PUBACKs;
their bytes stay as they came, are stored so, and are read back with `iter_publishes`.

Three facts make the loop short. Consecutive messages of one device mostly share their topic, so comparing its
bytes with those before spares reading it again. Often they share their length too; then one comparison of the
whole header replaces parsing it. And topics that differ (a message id is in the topic) can be checked joined.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.mqtt.filters import topic_fault
from iotedge_lab.wire.mqtt.packets import PubAcks, PublishRun, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_BYTE = 0x32  # PUBLISH, QoS 1, DUP 0, RETAIN 0
PUBACK_BYTE = 0x40

_NO_ID = b"\0\0"
_TRUNCATED = Violation("a PUBLISH that ends in the middle of a field", "3.3")


class TooLong(ProtocolViolation):
    """A Remaining Length of more than four bytes, section 2.2.3."""

    def __init__(self) -> None:
        super().__init__("a Remaining Length of more than four bytes", "2.2.3")


def read_length(data: bytes, position: int) -> tuple[int, int]:
    """The Remaining Length that begins at `position`, and where the body begins.

    Raises IndexError when `data` ends before it does, `TooLong` when it has more than four bytes. A length
    in more bytes than it needs is read: 3.1.1 does not forbid it.
    """
    size = 0
    for shift in (0, 7, 14, 21):
        byte = data[position]
        position += 1
        size |= (byte & 127) << shift
        if byte < 128:
            return size, position
    raise TooLong


def oversized(size: int, limit: int) -> Violation:
    """The violation of a packet that is longer than the limit that this end has set."""
    return Violation(f"a packet of {size:,} bytes; the limit here is {limit:,}", "2.2.3")


def scan_run(data: bytes, start: int, limit: int) -> tuple[int, PublishRun | None, Violation | None]:
    """Read the run of PUBLISHes (first byte 0x32) that begins at `start`.

    Returns where the first packet begins that is not of the run (or is not complete), the run (None when
    there is no complete message), and the violation in the message after the run. `limit` is the greatest
    Remaining Length that is accepted.
    """
    end = len(data)
    position = start
    largest = 0
    before = -1  # the Remaining Length of the last message
    fault: Violation | None = None
    name = b"-"  # the topic with its two bytes of length, as the last message had it; this matches none
    name_size = 0
    topics: list[bytes] = []
    ids: list[bytes] = []
    add_id = ids.append
    try:
        while data[position] == RUN_BYTE:
            # The fixed header; lengths of one and two bytes without a call.
            size = data[position + 1]
            if size < 128:
                body = position + 2
            elif (byte := data[position + 2]) < 128:
                size += (byte << 7) - 128
                body = position + 3
            else:
                size, body = read_length(data, position + 1)
            if size > limit:
                fault = oversized(size, limit)
                break
            following = body + size
            if following > end:
                break
            # The topic: the same bytes as before, or other ones.
            id_at = body + name_size
            if data[body:id_at] != name or id_at + 2 > following:
                name_size = 2 + (data[body] << 8 | data[body + 1]) if size > 1 else 2
                id_at = body + name_size
                if id_at + 2 > following:
                    fault = _TRUNCATED
                    break
                name = data[body:id_at]
                topics.append(name[2:])
            if size > largest:  # noqa: PLR1730 - a call to max costs a tenth of this loop
                largest = size
            add_id(data[id_at : id_at + 2])
            if size != before:
                before = size
                position = following
                continue
            # Messages of the same length and topic: one comparison each.
            header_size = id_at - position
            header = data[position:id_at]
            stride = following - position
            position = following
            following += stride
            while following <= end and data[position : position + header_size] == header:
                add_id(data[position + header_size : position + header_size + 2])
                position = following
                following += stride
    except IndexError:
        pass  # the fixed header of the last message is not complete yet
    except TooLong as error:
        fault = Violation(error.reason, error.spec)
    if not ids:
        return position, None, fault
    # All topics are checked as one: none of the rules can be hidden by a line feed between two topics.
    if _NO_ID in ids or not all(topics) or topic_fault(b"\n".join(topics)):
        return _cut_at_fault(data, start, limit)
    acks = b"\x40\x02" + b"\x40\x02".join(ids)
    run = PublishRun(data[start:position], len(ids), acks, tuple(topics), largest)
    return position, run, fault


def _cut_at_fault(data: bytes, start: int, limit: int) -> tuple[int, PublishRun | None, Violation]:
    """The messages of a run up to the first with a wrong topic or packet id 0, of which there is one."""
    position = start
    while True:
        size, body = read_length(data, position + 1)
        id_at = body + 2 + int.from_bytes(data[body : body + 2], "big")
        wrong = topic_fault(data[body + 2 : id_at])
        if wrong:
            fault = Violation(f"{wrong[0]}, in a PUBLISH", wrong[1])
            break
        if data[id_at : id_at + 2] == _NO_ID:
            fault = Violation("packet id 0 in a PUBLISH", "2.3.1, MQTT-2.3.1-1")
            break
        position = body + size
    return position, scan_run(data[start:position], 0, limit)[1] if position > start else None, fault


def scan_acks(data: bytes, start: int) -> tuple[int, PubAcks | None, Violation | None]:
    """Read the run of PUBACKs (bytes 0x40 0x02 and a packet id) that begins at `start`.

    Returns as `scan_run` does. Nothing is looked at one by one: every fourth byte is taken at once.
    """
    region = data[start : len(data) - (len(data) - start) % 4]
    count = min(_leading(region[0::4], b"\x40"), _leading(region[1::4], b"\x02"))
    ids: tuple[int, ...] = struct.unpack(f">{2 * count}H", region[: 4 * count])[1::2]
    fault = None
    if 0 in ids:
        count = ids.index(0)
        ids = ids[:count]
        fault = Violation("packet id 0 in a PUBACK", "2.3.1, MQTT-2.3.1-1")
    return start + 4 * count, PubAcks(ids) if ids else None, fault


def _leading(data: bytes, byte: bytes) -> int:
    """How many times `data` has `byte` at its front."""
    return len(data) - len(data.lstrip(byte))


def iter_publishes(raw: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Read a stored run again: topic, payload and packet id of each message, in order.

    `raw` is any number of complete PUBLISHes of any QoS; packet id is 0 at QoS 0. Topics come as bytes, and
    as the same object for as long as they do not change. Raises ProtocolViolation where `raw` is not made
    of complete PUBLISHes; what came before has been handed out by then.
    """
    end = len(raw)
    position = 0
    before = -1  # the Remaining Length of the last message
    name = b"-"
    name_size = 0
    topic = b""
    try:
        while position < end:
            first = raw[position]
            size = raw[position + 1]
            if size < 128:
                body = position + 2
            elif (byte := raw[position + 2]) < 128:
                size += (byte << 7) - 128
                body = position + 3
            else:
                size, body = read_length(raw, position + 1)
            following = body + size
            name_end = body + name_size
            if raw[body:name_end] != name:
                name_size = 2 + (raw[body] << 8 | raw[body + 1])
                name_end = body + name_size
                name = raw[body:name_end]
                topic = name[2:]
            id_size = 2 if first & 6 else 0
            if first & 0xF0 != 0x30 or following > end or name_end + id_size > following:
                break
            if not id_size:
                yield topic, raw[name_end:following], 0
                position = following
                continue
            yield topic, raw[name_end + 2 : following], raw[name_end] << 8 | raw[name_end + 1]
            if size != before:
                before = size
                position = following
                continue
            # Messages of the same length and topic: one comparison each.
            header = raw[position:name_end]
            header_size = name_end - position
            stride = following - position
            position = following
            following += stride
            while following <= end and raw[name_end + stride - header_size : name_end + stride] == header:
                name_end += stride
                yield topic, raw[name_end + 2 : following], raw[name_end] << 8 | raw[name_end + 1]
                position = following
                following += stride
    except IndexError:
        pass  # it ends inside a fixed header
    if position < end:
        raise ProtocolViolation(f"byte {position:,} of {end:,} does not begin a complete PUBLISH", "3.3")
