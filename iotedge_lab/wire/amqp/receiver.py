"""The receiving end of a link: credit, putting deliveries together, settling (2.6.7, 2.6.12, 2.6.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.amqp.conditions import (
    INVALID_FIELD,
    MESSAGE_SIZE_EXCEEDED,
    RESOURCE_LIMIT_EXCEEDED,
    TRANSFER_LIMIT_EXCEEDED,
)
from iotedge_lab.wire.amqp.events import LinkDrained, MessageReceived
from iotedge_lab.wire.amqp.link import RCV_SECOND, Link
from iotedge_lab.wire.amqp.performatives import ACCEPTED, DELIVERY_TAG_LIMIT, Attach, Error, Flow, Transfer
from iotedge_lab.wire.amqp.serial import MASK
from iotedge_lab.wire.amqp.states import LinkState

if TYPE_CHECKING:
    from iotedge_lab.wire.amqp.session import Session


class _Partial:
    """A delivery that has begun and not ended."""

    __slots__ = ("buffer", "delivery_id", "message_format", "settled", "tag")

    def __init__(self, delivery_id: int, tag: bytes, message_format: int, settled: bool) -> None:
        self.delivery_id = delivery_id
        self.tag = tag
        self.message_format = message_format
        self.settled = settled
        self.buffer = bytearray()


class ReceiverLink(Link):
    """Our end receives. `credit` is how many messages the peer may still send."""

    is_sender: ClassVar[bool] = False

    __slots__ = ("_limit", "_partial", "_top_up_to", "credit", "delivery_count", "draining")

    def __init__(self, session: Session, name: str, local_handle: int, is_local: bool) -> None:
        super().__init__(session, name, local_handle, is_local)
        self.credit = 0
        self.delivery_count: int | None = None  # unknown until the sender has attached
        self.draining = False
        self._limit = 0
        self._top_up_to = 0
        self._partial: _Partial | None = None

    def grant(self, credit: int, *, top_up: bool = False) -> None:
        """Let the peer send `credit` messages from now on; with `top_up`, keep it about there for good.

        No more than the session may remember unsettled are granted at a time (Limits.max_unsettled).
        Raises UsageError for a negative credit. Does nothing unless the link is attached, or being so.
        """
        if credit < 0:
            raise UsageError(f"a credit of {credit}; give 0 or more")
        if self.state not in (LinkState.ATTACHED, LinkState.ATTACH_SENT):
            return
        self._top_up_to = credit if top_up else 0
        self.credit = max(0, min(credit, self._may_grant()))
        self.draining = False
        self.write_flow()

    def drain(self) -> None:
        """Ask the sender to use its credit now or give it back; LinkDrained comes when it has (2.6.7)."""
        if self.state is LinkState.ATTACHED:
            self._top_up_to = 0
            self.draining = True
            self.write_flow()

    def settle(self, delivery_id: int, state: Any = ACCEPTED, *, settled: bool | None = None) -> bool:
        """Tell the outcome of a delivery: Accepted, Rejected, Released or Modified.

        `settled` None follows rcv-settle-mode: second leaves the last word to the sender. Dispositions of
        consecutive deliveries with one outcome travel in one frame. Gives False where there is nothing to
        settle: it was settled before, or the link has gone.
        """
        session = self.session
        if session.unsettled_in.get(delivery_id) is not self:
            return False
        if settled is None:
            settled = self.rcv_settle_mode != RCV_SECOND
        if settled:
            del session.unsettled_in[delivery_id]
        session.write_disposition(delivery_id, state, settled)
        if self._top_up_to:
            self._top_up()
        return True

    def _may_grant(self) -> int:
        return self.session.limits.max_unsettled - len(self.session.unsettled_in)

    def _top_up(self) -> None:
        target = min(self._top_up_to, self.session.limits.max_unsettled)
        if self.credit > target // 2:
            return
        credit = min(target, self._may_grant())
        # Where unsettled deliveries hold the credit down, it grows in steps: not one flow for each settled.
        if credit - self.credit >= max(1, target // 4) or (not self.credit and credit > 0):
            self.credit = credit
            self.write_flow()

    # Engine

    def write_flow(self) -> None:
        """Engine: tell our state of the link."""
        self.session.write_flow(
            handle=self.local_handle,
            delivery_count=self.delivery_count,
            link_credit=self.credit,
            drain=self.draining,
        )

    def on_max_message_size(self, limit: int) -> None:
        """Engine: what we told the peer to keep to; 0 is no limit."""
        self._limit = limit

    def on_attach(self, attach: Attach) -> None:
        """Engine: the sender says where it counts from."""
        super().on_attach(attach)
        self.delivery_count = attach.initial_delivery_count

    def on_flow(self, flow: Flow) -> None:
        """Engine: the sender's view of the link."""
        if self.state is not LinkState.ATTACHED:
            return
        if flow.delivery_count is not None and self.draining and flow.drain:
            self.delivery_count = flow.delivery_count
            self.credit = 0
            self.draining = False
            self.session.emit(LinkDrained(self))
        if flow.echo:
            self.write_flow()

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Engine: one frame of a delivery."""
        if self.state is not LinkState.ATTACHED:
            if self.state is LinkState.ATTACH_RCVD:
                self.session.fail(TRANSFER_LIMIT_EXCEEDED, f"a transfer on {self.name!r} before any credit")
            return
        partial = self._partial
        if partial is None:
            partial = self._begin(transfer)
            if partial is None:
                return
            if not transfer.more and not transfer.aborted:
                if 0 < self._limit < len(payload):
                    self._too_large()
                else:
                    self._complete(partial, payload)
                return
            self._partial = partial
        elif transfer.delivery_id is not None and transfer.delivery_id != partial.delivery_id:
            self.session.fail(INVALID_FIELD, f"delivery {transfer.delivery_id} begins inside another")
            return
        if transfer.settled:
            partial.settled = True  # 2.7.5: settled once is settled
        if transfer.aborted:
            self.drop_partial()
            if self._top_up_to:
                self._top_up()
            return
        self._extend(partial, payload)
        if self._partial is partial and not transfer.more:
            payload = bytes(partial.buffer)
            self.drop_partial()
            self._complete(partial, payload)

    def _extend(self, partial: _Partial, payload: bytes) -> None:
        session = self.session
        if 0 < self._limit < len(partial.buffer) + len(payload):
            self._too_large()
        elif not session.connection.hold(len(payload)):
            session.fail(
                RESOURCE_LIMIT_EXCEEDED,
                f"over {session.limits.max_partial_bytes} bytes of unfinished messages on this connection",
            )
        else:
            partial.buffer += payload

    def _begin(self, transfer: Transfer) -> _Partial | None:
        """The delivery that this frame begins, or None where it may not."""
        session = self.session
        delivery_id, tag = transfer.delivery_id, transfer.delivery_tag
        if delivery_id is None or tag is None or len(tag) > DELIVERY_TAG_LIMIT:
            session.fail(
                INVALID_FIELD, f"a delivery begins with an id and a tag of at most {DELIVERY_TAG_LIMIT} bytes"
            )
            return None
        if self.credit <= 0:
            self.detach(error=Error(TRANSFER_LIMIT_EXCEEDED, "a transfer without credit"))
            return None
        if not session.takes_delivery_id(delivery_id):
            session.fail(INVALID_FIELD, f"delivery id {delivery_id} is out of sequence")
            return None
        self.credit -= 1
        if self.delivery_count is not None:
            self.delivery_count = (self.delivery_count + 1) & MASK
        return _Partial(delivery_id, tag, transfer.message_format or 0, bool(transfer.settled))

    def _complete(self, partial: _Partial, payload: bytes) -> None:
        session = self.session
        if not partial.settled:
            session.unsettled_in[partial.delivery_id] = self
        session.emit(
            MessageReceived(
                self, partial.delivery_id, partial.tag, payload, partial.message_format, partial.settled
            )
        )
        if self._top_up_to:
            self._top_up()

    def _too_large(self) -> None:
        self.detach(error=Error(MESSAGE_SIZE_EXCEEDED, f"a message of over {self._limit} bytes"))

    def drop_partial(self) -> None:
        """Engine: forget the delivery that has begun."""
        if self._partial is not None:
            self.session.connection.hold(-len(self._partial.buffer))
            self._partial = None

    def on_gone(self) -> None:
        """Engine: nothing is owed or held any more."""
        self.drop_partial()
        self.credit = self._top_up_to = 0
        self.draining = False
