"""The sending end of a link: credit, deliveries and their frames (part 2, 2.6.7, 2.6.12, 2.6.14)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.amqp.composite import encode_composite
from iotedge_lab.wire.amqp.conditions import NoCredit, NotAttached
from iotedge_lab.wire.amqp.events import CreditGranted
from iotedge_lab.wire.amqp.frames import FRAME_HEAD
from iotedge_lab.wire.amqp.link import SND_MIXED, SND_SETTLED, Link
from iotedge_lab.wire.amqp.performatives import DELIVERY_TAG_LIMIT, Flow, Transfer
from iotedge_lab.wire.amqp.serial import MASK, distance
from iotedge_lab.wire.amqp.states import LinkState
from iotedge_lab.wire.amqp.types import UInt

if TYPE_CHECKING:
    from iotedge_lab.wire.amqp.session import Session

_TAG = struct.Struct(">I")
# message-format 0; settled; more, rcv-settle-mode, state, resume, aborted, batchable
_TAIL_SETTLED = b"\x43\x41\x42\x40\x40\x42\x42\x42"
_TAIL_UNSETTLED = b"\x43\x42\x42\x40\x40\x42\x42\x42"


class SenderLink(Link):
    """Our end sends. `delivery_count` is 2.6.7's: deliveries sent or given up, as a serial number."""

    is_sender: ClassVar[bool] = True

    __slots__ = ("_credit", "_drained_later", "_mid", "_pack", "_prefix", "_room", "delivery_count", "drain")

    def __init__(self, session: Session, name: str, local_handle: int, is_local: bool) -> None:
        super().__init__(session, name, local_handle, is_local)
        self.delivery_count = 0
        self.drain = False  # the receiver wants its credit used or given back
        self._credit = 0
        self._drained_later = False
        # What a message in one frame has before its payload, but for size and delivery id (see `send`).
        handle = self._handle_bytes()
        fields = handle + b"\x70" + bytes(4) + b"\xa0\x04" + bytes(4) + _TAIL_SETTLED
        body = b"\x00\x53\x14\xc0" + bytes((len(fields) + 1, 11)) + handle + b"\x70"
        self._prefix = FRAME_HEAD.pack(0, 2, 0, session.channel)[4:] + body
        self._mid = b"\xa0\x04"
        head = struct.Struct(f">I{len(self._prefix)}sI2sI8s")
        self._pack = head.pack
        self._room = head.size

    def _handle_bytes(self) -> bytes:
        return b"\x70" + _TAG.pack(self.local_handle)

    @property
    def credit(self) -> int:
        """How many messages may be sent now. 0 too while too many of the session's are unsettled."""
        session = self.session
        return max(0, min(self._credit, session.limits.max_unsettled - len(session.unsettled_out)))

    def send(
        self,
        payload: bytes,
        *,
        settled: bool | None = None,
        delivery_tag: bytes | None = None,
        message_format: int = 0,
    ) -> int:
        """Send one encoded message, in as many frames as it needs; gives its delivery id.

        `settled` None follows the link's snd-settle-mode (mixed: unsettled). Frames that the session's window
        has no room for wait in the engine. Without a tag, the delivery id makes one.

        Raises NotAttached, NoCredit (see `credit`), and UsageError where `settled` contradicts the
        negotiated mode, the tag is longer than 32 bytes or the message larger than the peer takes.
        """
        session = self.session
        if self.state is not LinkState.ATTACHED:
            raise NotAttached(f"{self!r} cannot send; drop it when LinkDetached comes")
        if self._credit <= 0 or len(session.unsettled_out) >= session.limits.max_unsettled:
            raise NoCredit(f"{self!r} has no credit; look at `credit` first and wait for CreditGranted")
        if settled is None:
            settled = self.snd_settle_mode == SND_SETTLED
        elif self.snd_settle_mode != SND_MIXED and settled != (self.snd_settle_mode == SND_SETTLED):
            raise UsageError(f"snd-settle-mode {self.snd_settle_mode} was agreed; leave `settled` out")
        length = len(payload)
        if 0 < self.peer_max_message_size < length:
            raise UsageError(
                f"a message of {length} bytes; the receiver takes {self.peer_max_message_size}; send less"
            )
        if delivery_tag is not None and len(delivery_tag) > DELIVERY_TAG_LIMIT:
            raise UsageError(f"a delivery tag has at most {DELIVERY_TAG_LIMIT} bytes")
        delivery_id = session.next_delivery_id
        session.next_delivery_id = (delivery_id + 1) & MASK
        self.delivery_count = (self.delivery_count + 1) & MASK
        self._credit -= 1
        size = self._room + length
        if delivery_tag is None and not message_format and size <= session.max_frame:
            tail = _TAIL_SETTLED if settled else _TAIL_UNSETTLED
            head = self._pack(size, self._prefix, delivery_id, self._mid, delivery_id, tail)
            if session.remote_incoming_window > 0 and not session.queue:
                session.remote_incoming_window -= 1
                session.next_outgoing_id = (session.next_outgoing_id + 1) & MASK
                session.out.append(head)
                session.out.append(payload)
            else:
                session.queue.append((self, True, head + payload))
        else:
            if delivery_tag is None:
                delivery_tag = _TAG.pack(delivery_id)
            self._send_split(payload, settled, delivery_id, delivery_tag, message_format)
        if not settled:
            session.unsettled_out[delivery_id] = (self, delivery_tag)
        return delivery_id

    def _send_split(
        self, payload: bytes, settled: bool, delivery_id: int, tag: bytes, message_format: int
    ) -> None:
        session = self.session
        view = memoryview(payload)
        start, total, first = 0, len(payload), True
        while True:
            # The widest form of `more` is as wide as the other, so the body can be measured before.
            # Only the first frame carries the id: a receiver may take an id for a new delivery.
            transfer = (
                Transfer(self.local_handle, delivery_id, tag, UInt(message_format), settled, more=True)
                if first
                else Transfer(self.local_handle, settled=settled, more=True)
            )
            body = encode_composite(transfer)
            end = min(total, start + session.max_frame - 8 - len(body))
            if end == total:
                last = (
                    Transfer(self.local_handle, delivery_id, tag, message_format, settled)
                    if first
                    else Transfer(self.local_handle, settled=settled)
                )
                body = encode_composite(last)
            head = FRAME_HEAD.pack(8 + len(body) + end - start, 2, 0, session.channel)
            session.send_transfer(self, first, b"".join((head, body, view[start:end])))
            if end == total:
                return
            start, first = end, False

    def drained(self) -> None:
        """Nothing more to send after CreditGranted with `drain`: give the remaining credit back (2.6.7)."""
        if self.state is not LinkState.ATTACHED or not self.drain:
            return
        if self.session.queue:
            # The receiver may hear of the end of its credit only after what was sent on it.
            self._drained_later = True
            return
        self._drained_later = False
        self.delivery_count = (self.delivery_count + self._credit) & MASK
        self._credit = 0
        self.write_flow()

    # Engine

    def write_flow(self) -> None:
        """Engine: tell our state of the link; deliveries that still wait are not counted as sent."""
        waiting = self.session.queued_deliveries(self)
        self.session.write_flow(
            handle=self.local_handle,
            delivery_count=(self.delivery_count - waiting) & MASK,
            link_credit=self._credit + waiting,
            available=waiting,
            drain=self.drain,
        )

    def on_flow(self, flow: Flow) -> None:
        """Engine: the receiver's view of the link."""
        if self.state not in (LinkState.ATTACHED, LinkState.ATTACH_RCVD):
            return
        if flow.link_credit is not None:
            # 2.6.7; a receiver that has not seen our attach yet says nothing of the delivery-count.
            seen = 0 if flow.delivery_count is None else flow.delivery_count
            self._credit = max(0, distance(self.delivery_count, seen) + flow.link_credit)
            self.drain = flow.drain
            self.session.emit(CreditGranted(self, self.credit, flow.drain))
        if flow.echo and self.state is LinkState.ATTACHED:
            self.write_flow()

    def on_queue_empty(self) -> None:
        """Engine: all frames have been written."""
        if self._drained_later:
            self.drained()

    def on_gone(self) -> None:
        """Engine: no credit any more."""
        self._credit = 0
        self.drain = self._drained_later = False
