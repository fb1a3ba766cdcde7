"""Bytes to MQTT 3.1.1 packets, in whatever pieces they arrive.

`PacketReader` keeps what is not complete and hands out what is. Consecutive QoS 1 PUBLISHes come out as one
`PublishRun` a read; where a read ends between two of them, so does the run. All else comes out one by one,
in the order in which it came.
"""

from __future__ import annotations

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.mqtt.bodies import first_byte_fault, read_body
from iotedge_lab.wire.mqtt.packets import (
    MAX_REMAINING_LENGTH,
    ConnectRefused,
    Event,
    PubAck,
    PubAcks,
    Violation,
)
from iotedge_lab.wire.mqtt.runs import PUBACK_BYTE, RUN_BYTE, oversized, read_length, scan_acks, scan_run


class PacketReader:
    """A stream of bytes to packets.

    `max_packet_size` is the greatest Remaining Length accepted, in bytes: a longer packet is a violation as
    soon as its length is known, so that no more than this is ever buffered. With `join_acks` PUBACKs come
    out as `PubAcks`, many at once, rather than one by one as `PubAck`.

    A `Violation` or a `ConnectRefused` is the last that a reader hands out: from then on it is dead, and
    `feed` returns an empty list.
    """

    __slots__ = ("_limit", "_needed", "_pending", "dead", "join_acks")

    def __init__(self, max_packet_size: int = MAX_REMAINING_LENGTH, *, join_acks: bool = False) -> None:
        self._limit = min(max_packet_size, MAX_REMAINING_LENGTH)
        self._pending = bytearray()  # the beginning of one packet
        self._needed = 0  # as many bytes are needed before another look at `_pending` is worth it
        self.join_acks = join_acks
        self.dead = False

    @property
    def buffered(self) -> int:
        """Bytes that are kept because their packet is not complete."""
        return len(self._pending)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """The packets that are complete with `data`; a `Violation`, if any, is the last.

        `data` is not kept: its memory may be used again afterwards.
        """
        if self.dead:
            return []
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._needed:
                return []
            whole = bytes(pending)
        else:
            whole = data if type(data) is bytes else bytes(data)
        events: list[Event] = []
        position = 0
        try:
            position = self._read(whole, events)
        except ProtocolViolation as error:
            events.append(Violation(error.reason, error.spec))
        if events and isinstance(events[-1], Violation | ConnectRefused):
            self.dead = True
            self._pending = bytearray()
        elif position < len(whole):
            self._pending = bytearray(memoryview(whole)[position:])
        elif pending:
            self._pending = bytearray()
        return events

    def _read(self, data: bytes, events: list[Event]) -> int:
        """Append what is complete to `events`; return where the first packet begins that is not."""
        position = 0
        end = len(data)
        limit = self._limit
        fault: Violation | None
        while position < end:
            first = data[position]
            if first == RUN_BYTE:
                position, run, fault = scan_run(data, position, limit)
                if run is not None:
                    events.append(run)
                if fault is not None:
                    events.append(fault)
                    return position
                if position == end:
                    return position
                if data[position] != RUN_BYTE:
                    continue
            elif first == PUBACK_BYTE and self.join_acks:
                position, acks, fault = scan_acks(data, position)
                if acks is not None:
                    events.append(acks)
                if fault is not None:
                    events.append(fault)
                    return position
                if acks is not None:
                    continue
            else:
                wrong = first_byte_fault(first)
                if wrong:
                    raise ProtocolViolation(*wrong)
            try:
                size, body = read_length(data, position + 1)
            except IndexError:
                self._needed = end - position + 1
                return position
            if size > limit:
                events.append(oversized(size, limit))
                return position
            following = body + size
            if following > end:
                self._needed = following - position
                return position
            packet = read_body(first, data[body:following])
            if self.join_acks and isinstance(packet, PubAck):
                events.append(PubAcks((packet.packet_id,)))
            else:
                events.append(packet)
            if isinstance(packet, ConnectRefused):
                return following
            position = following
        return position
