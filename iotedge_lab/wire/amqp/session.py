"""Sessions: windows, handles, transfers and dispositions (part 2, sections 2.5, 2.6.12 and 2.7.2 to 2.7.8).

A breach that concerns one session ends that session with the condition which the specification names; the
connection and its other sessions go on.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from iotedge_lab.wire.amqp.conditions import (
    FRAMING_ERROR,
    HANDLE_IN_USE,
    INVALID_FIELD,
    LINK_STOLEN,
    NOT_ALLOWED,
    UNATTACHED_HANDLE,
    WINDOW_VIOLATION,
    AmqpViolation,
    WrongState,
)
from iotedge_lab.wire.amqp.events import (
    DeliverySettled,
    Event,
    LinkAttached,
    LinkConfirmed,
    SessionBegun,
    SessionEnded,
)
from iotedge_lab.wire.amqp.frames import encode_frame
from iotedge_lab.wire.amqp.link import RCV_FIRST, SND_MIXED, Link
from iotedge_lab.wire.amqp.performatives import (
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Received,
    Source,
    Target,
    Transfer,
)
from iotedge_lab.wire.amqp.receiver import ReceiverLink
from iotedge_lab.wire.amqp.sender import SenderLink
from iotedge_lab.wire.amqp.serial import MASK, distance
from iotedge_lab.wire.amqp.states import SESSION_TRANSITIONS, LinkState, SessionSignal, SessionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iotedge_lab.wire.amqp.connection import AmqpConnection

# We never make a peer wait for our own sending: the window that we announce just has to be large.
_OUTGOING_WINDOW = 0x7FFFFFFF


class Session:
    """One session of a connection; `channel` is ours, `remote_channel` the peer's.

    Applications call `attach_sender`, `attach_receiver` and `end`, and read `links`; the rest is the
    engine's. `context` is the application's.
    """

    __slots__ = (
        "_by_name",
        "_by_remote_handle",
        "_first_outgoing_id",
        "_free_handles",
        "_handles_used",
        "_last_delivery_id",
        "_remote_handle_max",
        "_reported",
        "_settling",
        "channel",
        "connection",
        "context",
        "incoming_window",
        "limits",
        "max_frame",
        "next_delivery_id",
        "next_incoming_id",
        "next_outgoing_id",
        "out",
        "queue",
        "remote_channel",
        "remote_incoming_window",
        "state",
        "unsettled_in",
        "unsettled_out",
    )

    def __init__(self, connection: AmqpConnection, channel: int) -> None:
        self.connection = connection
        self.channel = channel
        self.limits = connection.limits
        self.out = connection.out
        self.max_frame = connection.remote_max_frame_size
        self.remote_channel: int | None = None
        self.state = SessionState.UNMAPPED
        self.context: Any = None
        # 2.5.6
        self.next_outgoing_id = self._first_outgoing_id = self.limits.first_id
        self.next_delivery_id = self.limits.first_id
        self.incoming_window = self.limits.incoming_window
        self.next_incoming_id: int | None = None
        self.remote_incoming_window = 0
        # Transfers that wait for the window: the link, whether a delivery begins with it, the frame.
        self.queue: deque[tuple[SenderLink, bool, bytes]] = deque()
        # By delivery id. The tag is None where it is the id itself.
        self.unsettled_out: dict[int, tuple[SenderLink, bytes | None]] = {}
        self.unsettled_in: dict[int, ReceiverLink] = {}
        self._last_delivery_id: int | None = None
        self._settling: tuple[int, int, Any, bool] | None = None
        self._by_remote_handle: dict[int, Link] = {}
        self._by_name: dict[tuple[str, bool], Link] = {}
        self._free_handles: list[int] = []
        self._handles_used = 0
        self._remote_handle_max = MASK
        self._reported = False

    def __repr__(self) -> str:
        return f"<session channel={self.channel} {self.state.value}>"

    @property
    def links(self) -> tuple[Link, ...]:
        """The links that are attached or about to be."""
        return tuple(self._by_name.values())

    @property
    def queued_frames(self) -> int:
        """Transfer frames that wait for the peer's incoming window."""
        return len(self.queue)

    def attach_sender(
        self,
        name: str,
        *,
        target: Target,
        source: Source | None = None,
        properties: Mapping[Any, Any] | None = None,
        snd_settle_mode: int = SND_MIXED,
        rcv_settle_mode: int = RCV_FIRST,
    ) -> SenderLink:
        """Attach a link on which we send; LinkConfirmed or LinkDetached tells how the peer takes it.

        Raises WrongState where the session has ended or has a sender of that name.
        """
        link = SenderLink(self, name, self._new_handle(name, True), is_local=True)
        self._attach(
            link,
            source or Source(),
            target,
            properties=properties,
            snd_settle_mode=snd_settle_mode,
            rcv_settle_mode=rcv_settle_mode,
        )
        return link

    def attach_receiver(
        self,
        name: str,
        *,
        source: Source,
        target: Target | None = None,
        properties: Mapping[Any, Any] | None = None,
        snd_settle_mode: int = SND_MIXED,
        rcv_settle_mode: int = RCV_FIRST,
    ) -> ReceiverLink:
        """Attach a link on which we receive; then `grant` credit. See `attach_sender`."""
        link = ReceiverLink(self, name, self._new_handle(name, False), is_local=True)
        self._attach(
            link,
            source,
            target or Target(),
            properties=properties,
            snd_settle_mode=snd_settle_mode,
            rcv_settle_mode=rcv_settle_mode,
        )
        return link

    def end(self, error: Error | None = None) -> None:
        """End the session; SessionEnded comes when the peer has. Nothing happens where it has ended.

        Raises WrongState while the peer has not answered our begin.
        """
        if self.state is SessionState.BEGIN_SENT:
            raise WrongState("the peer has not answered this session's begin; wait for SessionBegun")
        if self.state is SessionState.MAPPED:
            self.flush_settling()
            self._step(SessionSignal.SEND_END)
            self._halt()
            self.write(End(error))

    def _attach(
        self,
        link: Link,
        source: Source,
        target: Target,
        *,
        properties: Mapping[Any, Any] | None,
        snd_settle_mode: int,
        rcv_settle_mode: int,
    ) -> None:
        self._by_name[link.name, link.is_sender] = link
        link.attach_locally(source, target, properties, snd_settle_mode, rcv_settle_mode)

    def _new_handle(self, name: str, is_sender: bool) -> int:
        if self.state not in (SessionState.MAPPED, SessionState.BEGIN_SENT):
            raise WrongState(f"{self!r} carries no links; begin another")
        if (name, is_sender) in self._by_name:
            raise WrongState(f"{self!r} has a link {name!r} in that direction; use another name")
        handle = self._take_handle()
        if handle is None:
            raise WrongState(f"the peer allows {self._remote_handle_max + 1} links a session; begin another")
        return handle

    def _take_handle(self) -> int | None:
        if self._free_handles:
            return self._free_handles.pop()
        if self._handles_used > self._remote_handle_max:
            return None
        self._handles_used += 1
        return self._handles_used - 1

    # Engine: writing

    def emit(self, event: Event) -> None:
        """Engine: an event of this session or its links."""
        self.connection.emit(event)

    def write(self, performative: Any) -> None:
        """Engine: one frame on our channel."""
        self.out.append(encode_frame(self.channel, performative))

    def begin(self) -> None:
        """Engine: send our begin, or answer the peer's."""
        self._step(SessionSignal.SEND_BEGIN)
        self.write(
            Begin(
                remote_channel=self.remote_channel,
                next_outgoing_id=self.next_outgoing_id,
                incoming_window=self.incoming_window,
                outgoing_window=_OUTGOING_WINDOW,
                handle_max=self.limits.handle_max,
            )
        )

    def write_flow(
        self,
        *,
        handle: int | None = None,
        delivery_count: int | None = None,
        link_credit: int | None = None,
        available: int | None = None,
        drain: bool = False,
    ) -> None:
        """Engine: a flow frame. Transfers are consumed as they come, so each one opens the window anew."""
        self.incoming_window = self.limits.incoming_window
        self.write(
            Flow(
                next_incoming_id=self.next_incoming_id,
                incoming_window=self.incoming_window,
                next_outgoing_id=self.next_outgoing_id,
                outgoing_window=_OUTGOING_WINDOW,
                handle=handle,
                delivery_count=delivery_count,
                link_credit=link_credit,
                available=available,
                drain=drain,
            )
        )

    def send_transfer(self, link: SenderLink, begins: bool, frame: bytes) -> None:
        """Engine: write a transfer frame now, or when the window opens."""
        self.queue.append((link, begins, frame))
        self._flush_queue()

    def queued_deliveries(self, link: SenderLink) -> int:
        """Engine: deliveries of `link` of which no frame has been written."""
        return sum(1 for one, begins, _ in self.queue if begins and one is link)

    def write_disposition(self, delivery_id: int, state: Any, settled: bool) -> None:
        """Engine: the outcome of a delivery that we received; consecutive ones are gathered until written."""
        run = self._settling
        if run is not None:
            first, last, run_state, run_settled = run
            if (
                delivery_id == (last + 1) & MASK
                and settled is run_settled
                and (state is run_state or state == run_state)
            ):
                self._settling = (first, delivery_id, state, settled)
                return
            self.flush_settling()
        else:
            self.connection.gathering.append(self)
        self._settling = (delivery_id, delivery_id, state, settled)

    def flush_settling(self) -> None:
        """Engine: write the dispositions that were gathered."""
        if self._settling is not None:
            first, last, state, settled = self._settling
            self._settling = None
            self.write(Disposition(role=True, first=first, last=last, settled=settled, state=state))

    def forget_deliveries(self, link: Link) -> None:
        """Engine: `link` detaches, so what waits on it is void; what was settled is still told."""
        self.flush_settling()
        if isinstance(link, SenderLink):
            if self.queue:
                kept = [entry for entry in self.queue if entry[0] is not link]
                self.queue.clear()
                self.queue.extend(kept)
            for delivery_id in [key for key, entry in self.unsettled_out.items() if entry[0] is link]:
                del self.unsettled_out[delivery_id]
        else:
            for delivery_id in [key for key, one in self.unsettled_in.items() if one is link]:
                del self.unsettled_in[delivery_id]

    def takes_delivery_id(self, delivery_id: int) -> bool:
        """Engine: whether the id may follow the last one; then it is the last one.

        2.6.12 counts deliveries; uamqp counts frames, so that its ids skip. What matters is that they rise.
        """
        last = self._last_delivery_id
        if last is not None and distance(last, delivery_id) <= 0:
            return False
        self._last_delivery_id = delivery_id
        return True

    def _flush_queue(self) -> None:
        queue = self.queue
        if not queue:
            return
        while queue and self.remote_incoming_window > 0:
            frame = queue.popleft()[2]
            self.remote_incoming_window -= 1
            self.next_outgoing_id = (self.next_outgoing_id + 1) & MASK
            self.out.append(frame)
        if not queue:
            for link in self._by_name.values():
                if isinstance(link, SenderLink):
                    link.on_queue_empty()

    # Engine: reading

    def _step(self, signal: SessionSignal) -> None:
        self.state = SESSION_TRANSITIONS[(self.state, signal)]

    def on_begin(self, begin: Begin, remote_channel: int) -> None:
        """Engine: the peer's begin, its first or its answer to ours."""
        self.remote_channel = remote_channel
        self.next_incoming_id = begin.next_outgoing_id
        self.remote_incoming_window = begin.incoming_window
        self._remote_handle_max = begin.handle_max
        self._step(SessionSignal.RECV_BEGIN)
        if self.state is SessionState.BEGIN_RCVD:
            self.begin()
        self.emit(SessionBegun(self))

    def fail(self, condition: str, description: str) -> None:
        """Engine: the peer broke a rule of the session; end it, and discard what comes before its end."""
        if self.state is SessionState.MAPPED:
            error = Error(condition, description)
            self.end(error)
            self._report(error)

    def on_end(self, end: End) -> None:
        """Engine: the peer's end; answered here unless it answers ours."""
        if self.state is SessionState.MAPPED:
            self.flush_settling()
            self._step(SessionSignal.RECV_END)
            self._step(SessionSignal.SEND_END)
            self._halt()
            self.write(End())
        else:
            self._step(SessionSignal.RECV_END)
        self._report(end.error)

    def on_connection_closing(self) -> None:
        """Engine: the connection closes; nothing more may be written."""
        self.state = SessionState.UNMAPPED
        self._halt()

    def on_connection_end(self) -> None:
        """Engine: the connection has gone, and the session with it."""
        self.on_connection_closing()
        self._report(None)

    def _all_links(self) -> list[Link]:
        links = set(self._by_name.values()) | set(self._by_remote_handle.values())
        return sorted(links, key=lambda one: one.local_handle)

    def _halt(self) -> None:
        for link in self._all_links():
            link.halt()
        self._settling = None
        self.queue.clear()
        self.unsettled_in.clear()
        self.unsettled_out.clear()

    def _report(self, error: Error | None) -> None:
        if self._reported:
            return
        self._reported = True
        for link in self._all_links():
            link.report(False, None)
        self._by_name.clear()
        self._by_remote_handle.clear()
        self.emit(SessionEnded(self, error))

    def on_attach(self, attach: Attach) -> None:
        """Engine: the peer attaches a link, or answers our attach."""
        if attach.handle > self.limits.handle_max:
            raise AmqpViolation(
                f"handle {attach.handle}; {self.limits.handle_max} is the highest", "2.7.2", FRAMING_ERROR
            )
        if attach.handle in self._by_remote_handle:
            self.fail(HANDLE_IN_USE, f"handle {attach.handle} is attached")
            return
        if not attach.role and attach.initial_delivery_count is None:
            self.fail(INVALID_FIELD, "a sender's attach lacks initial-delivery-count")
            return
        key = (attach.name, attach.role)  # their receiver is our sender
        known = self._by_name.get(key)
        if known is not None and known.is_local and known.remote_handle is None:
            known.on_attach(attach)
            self._by_remote_handle[attach.handle] = known
            if known.state is LinkState.ATTACHED:
                self.emit(LinkConfirmed(known))
            return
        if known is not None and known.state is LinkState.ATTACH_RCVD:
            self.fail(NOT_ALLOWED, f"link {attach.name!r} is attached twice")
            return
        if known is not None:
            # 2.6.1: a link is its name and direction, so attaching it again takes it from the older handle.
            known.detach(error=Error(LINK_STOLEN, "the link was attached again"))
        handle = self._take_handle()
        if handle is None:
            self.fail(NOT_ALLOWED, f"more links than handle-max {self._remote_handle_max} of their own side")
            return
        link: Link = (SenderLink if attach.role else ReceiverLink)(self, attach.name, handle, is_local=False)
        link.on_attach(attach)
        self._by_remote_handle[attach.handle] = link
        self._by_name[key] = link
        self.emit(LinkAttached(link))

    def on_detach(self, detach: Detach) -> None:
        """Engine: the peer's detach. One for a handle that is not attached is let pass: detaches cross."""
        link = self._by_remote_handle.pop(detach.handle, None)
        if link is None:
            return
        link.on_detach(detach)
        self._free_handles.append(link.local_handle)
        key = (link.name, link.is_sender)
        if self._by_name.get(key) is link:
            del self._by_name[key]

    def on_flow(self, flow: Flow) -> None:
        """Engine: the peer's windows, and the state of a link where it names one."""
        # 2.5.6; a peer that has not seen our begin says nothing of what it got.
        seen = self._first_outgoing_id if flow.next_incoming_id is None else flow.next_incoming_id
        self.remote_incoming_window = max(0, distance(self.next_outgoing_id, seen) + flow.incoming_window)
        self.next_incoming_id = flow.next_outgoing_id
        if flow.handle is None:
            self._flush_queue()
            if flow.echo:
                self.write_flow()
            return
        link = self._by_remote_handle.get(flow.handle)
        if link is None:
            self.fail(UNATTACHED_HANDLE, f"flow on handle {flow.handle}")
            return
        self._flush_queue()
        if isinstance(link, (SenderLink, ReceiverLink)):
            link.on_flow(flow)

    def on_transfer(self, transfer: Transfer, payload: bytes) -> None:
        """Engine: a message or a part of one."""
        if self.incoming_window <= 0:
            self.fail(WINDOW_VIOLATION, "a transfer beyond the incoming window")
            return
        self.incoming_window -= 1
        self.next_incoming_id = ((self.next_incoming_id or 0) + 1) & MASK
        link = self._by_remote_handle.get(transfer.handle)
        if link is None:
            self.fail(UNATTACHED_HANDLE, f"transfer on handle {transfer.handle}")
            return
        if not isinstance(link, ReceiverLink):
            self.fail(NOT_ALLOWED, f"transfer on handle {transfer.handle}, where the peer receives")
            return
        link.on_transfer(transfer, payload)
        if self.incoming_window <= self.limits.incoming_window // 2 and self.state is SessionState.MAPPED:
            self.write_flow()

    def on_disposition(self, disposition: Disposition) -> None:
        """Engine: what the peer says of deliveries. Those that nobody remembers are passed over (2.7.6)."""
        first = disposition.first
        last = first if disposition.last is None else disposition.last
        count = distance(first, last) + 1
        if count <= 0:
            self.fail(INVALID_FIELD, f"a disposition of deliveries {first} to {last}")
            return
        if disposition.role:
            self._on_outcome(disposition, first, last, count)
        elif disposition.settled:
            for delivery_id in _within(self.unsettled_in, first, count):
                del self.unsettled_in[delivery_id]

    def _on_outcome(self, disposition: Disposition, first: int, last: int, count: int) -> None:
        state, settled = disposition.state, disposition.settled
        # A receiver that tells the outcome and does not settle leaves that to the sender (2.6.12).
        ours_to_settle = not settled and state is not None and not isinstance(state, Received)
        unsettled, done = self.unsettled_out, settled or ours_to_settle
        found = False
        for delivery_id in _within(unsettled, first, count):
            link, tag = unsettled.pop(delivery_id) if done else unsettled[delivery_id]
            found = True
            if tag is None:
                tag = delivery_id.to_bytes(4)
            self.emit(DeliverySettled(link, delivery_id, tag, state, done))
        if found and ours_to_settle:
            self.write(Disposition(role=False, first=first, last=last, settled=True, state=state))


def _within(known: dict[int, Any], first: int, count: int) -> Iterable[int]:
    """The ids among `known` from `first` on, `count` of them at most: never longer than `known`."""
    if count == 1:
        return (first,) if first in known else ()
    if count <= len(known):
        return [one for one in (((first + step) & MASK) for step in range(count)) if one in known]
    return sorted(
        (one for one in known if 0 <= distance(first, one) < count), key=lambda one: distance(first, one)
    )
