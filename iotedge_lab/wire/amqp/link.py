"""Links: what both ends of one have in common (part 2, section 2.6). See sender.py and receiver.py.

A method marked "engine" is called by the session; applications call the others. What an application calls
on a link that has gone meanwhile does nothing, as it may still work on events that came before the detach;
only `send` raises then.

Left out: resuming links (the unsettled map), so `detach` with and without `closed` both forget the link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from iotedge_lab.wire.amqp.conditions import WrongState
from iotedge_lab.wire.amqp.events import LinkDetached
from iotedge_lab.wire.amqp.performatives import Attach, Detach, Error, Source, Target
from iotedge_lab.wire.amqp.states import LINK_TRANSITIONS, LinkSignal, LinkState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.wire.amqp.session import Session
    from iotedge_lab.wire.amqp.types import Described

# snd-settle-mode (2.8.2)
SND_UNSETTLED: Final = 0
SND_SETTLED: Final = 1
SND_MIXED: Final = 2
# rcv-settle-mode (2.8.3)
RCV_FIRST: Final = 0
RCV_SECOND: Final = 1


class Link:
    """One end of a link. `is_sender` says whether ours is the sending end.

    `source`, `target`, `properties` and `peer_max_message_size` are what the peer said when it attached;
    of a link of our own they are what we asked for until the peer has answered. `context` is the
    application's, for whatever it keeps beside a link.
    """

    is_sender: ClassVar[bool]

    __slots__ = (
        "context",
        "desired_capabilities",
        "is_local",
        "local_handle",
        "name",
        "peer_max_message_size",
        "properties",
        "rcv_settle_mode",
        "remote_handle",
        "reported",
        "session",
        "snd_settle_mode",
        "source",
        "state",
        "target",
    )

    def __init__(self, session: Session, name: str, local_handle: int, is_local: bool) -> None:
        self.session = session
        self.name = name
        self.local_handle = local_handle
        self.remote_handle: int | None = None
        self.is_local = is_local  # attached by us, not by the peer
        self.state = LinkState.DETACHED
        self.source: Source | Described | None = None
        self.target: Target | Described | None = None
        self.properties: Mapping[Any, Any] = {}
        self.snd_settle_mode = SND_MIXED
        self.rcv_settle_mode = RCV_FIRST
        self.peer_max_message_size = 0  # 0: no limit
        self.desired_capabilities: tuple[str, ...] = ()  # what the peer wishes of the link (2.7.3)
        self.reported = False
        self.context: Any = None

    def __repr__(self) -> str:
        kind = "sender" if self.is_sender else "receiver"
        return f"<{kind} link {self.name!r} handle={self.local_handle} {self.state.value}>"

    @property
    def filters(self) -> Mapping[Any, Any]:
        """The filter set of the source: name to (mostly described) value."""
        return (self.source.filter or {}) if isinstance(self.source, Source) else {}

    @property
    def attached(self) -> bool:
        """Whether both sides have attached and neither has detached."""
        return self.state is LinkState.ATTACHED

    def accept(
        self,
        *,
        source: Source | Described | None = None,
        target: Target | Described | None = None,
        properties: Mapping[Any, Any] | None = None,
        max_message_size: int | None = None,
        snd_settle_mode: int | None = None,
        rcv_settle_mode: int | None = None,
        offered_capabilities: tuple[str, ...] | None = None,
    ) -> None:
        """Answer the peer's attach (LinkAttached); what is None is answered as the peer asked.

        Only rcv-settle-mode is ours to choose where we receive, and then it is `first` unless given:
        azure-eventhub asks for `second` and yet waits for a settled disposition.

        Raises WrongState for a link that has been answered, or that we attached.
        """
        if not self._owes_answer("accept"):
            return
        if snd_settle_mode is not None:
            self.snd_settle_mode = snd_settle_mode
        if rcv_settle_mode is not None:
            self.rcv_settle_mode = rcv_settle_mode
        elif not self.is_sender:
            self.rcv_settle_mode = RCV_FIRST
        self.step(LinkSignal.SEND_ATTACH)
        self._write_attach(
            self.source if source is None else source,
            self.target if target is None else target,
            properties,
            max_message_size,
            offered_capabilities,
        )
        self.on_attached()

    def refuse(self, condition: str, description: str, info: Mapping[Any, Any] | None = None) -> None:
        """Refuse the peer's attach: an answer without our terminus, then a closing detach (2.6.3).

        Raises WrongState for a link that has been answered, or that we attached.
        """
        if not self._owes_answer("refuse"):
            return
        self.step(LinkSignal.SEND_ATTACH)
        self._write_attach(
            None if self.is_sender else self.source, self.target if self.is_sender else None, None, None, None
        )
        self.detach(error=Error(condition, description, info))

    def detach(self, *, closed: bool = True, error: Error | None = None) -> None:
        """Detach; LinkDetached comes when the peer has confirmed. Nothing happens where it has begun.

        Raises WrongState for a link that the peer attached and that was not answered.
        """
        if self.state is LinkState.ATTACH_RCVD:
            raise WrongState(f"{self!r} waits for an answer: refuse it instead")
        if self.state not in (LinkState.ATTACHED, LinkState.ATTACH_SENT):
            return
        self.session.forget_deliveries(self)
        self.step(LinkSignal.SEND_DETACH)
        self.on_gone()
        self.session.write(Detach(self.local_handle, closed, error))

    def _owes_answer(self, verb: str) -> bool:
        if self.state is LinkState.ATTACH_RCVD:
            return True
        if self.is_local or self.state is not LinkState.DETACHED:
            raise WrongState(f"cannot {verb} {self!r}: only a link that the peer attached, once")
        return False

    def _write_attach(
        self,
        source: Source | Described | None,
        target: Target | Described | None,
        properties: Mapping[Any, Any] | None,
        max_message_size: int | None,
        offered_capabilities: tuple[str, ...] | None,
    ) -> None:
        limit = self.session.limits.max_message_size if max_message_size is None else max_message_size
        self.on_max_message_size(limit)
        self.session.write(
            Attach(
                name=self.name,
                handle=self.local_handle,
                role=not self.is_sender,
                snd_settle_mode=self.snd_settle_mode,
                rcv_settle_mode=self.rcv_settle_mode,
                source=source,
                target=target,
                initial_delivery_count=0 if self.is_sender else None,
                max_message_size=limit,
                offered_capabilities=offered_capabilities,
                properties=properties,
            )
        )

    # Engine

    def step(self, signal: LinkSignal) -> None:
        """Engine: move along the table."""
        self.state = LINK_TRANSITIONS[(self.state, signal)]

    def on_max_message_size(self, limit: int) -> None:
        """Engine: the limit that our attach names."""

    def on_attached(self) -> None:
        """Engine: both sides are attached."""

    def on_gone(self) -> None:
        """Engine: nothing more will pass; drop what is held."""

    def attach_locally(
        self,
        source: Source | None,
        target: Target | None,
        properties: Mapping[Any, Any] | None,
        snd_settle_mode: int,
        rcv_settle_mode: int,
    ) -> None:
        """Engine: send our own attach."""
        self.source, self.target = source, target
        self.snd_settle_mode, self.rcv_settle_mode = snd_settle_mode, rcv_settle_mode
        self.step(LinkSignal.SEND_ATTACH)
        self._write_attach(source, target, properties, None, None)

    def on_attach(self, attach: Attach) -> None:
        """Engine: the peer's attach, its first or its answer to ours."""
        self.remote_handle = attach.handle
        self.source, self.target = attach.source, attach.target
        self.properties = attach.properties or {}
        self.desired_capabilities = tuple(attach.desired_capabilities or ())
        self.snd_settle_mode, self.rcv_settle_mode = attach.snd_settle_mode, attach.rcv_settle_mode
        self.peer_max_message_size = attach.max_message_size or 0
        self.step(LinkSignal.RECV_ATTACH)

    def on_detach(self, detach: Detach) -> None:
        """Engine: the peer's detach; answered here unless it answers ours."""
        if self.state is LinkState.ATTACH_RCVD:
            # The peer gave up before the application had answered: its attach is owed an answer all the same.
            self.step(LinkSignal.SEND_ATTACH)
            self._write_attach(
                None if self.is_sender else self.source,
                self.target if self.is_sender else None,
                None,
                None,
                None,
            )
        answers_ours = self.state is LinkState.DETACH_SENT
        self.session.forget_deliveries(self)
        self.step(LinkSignal.RECV_DETACH)
        self.on_gone()
        if not answers_ours:
            self.session.write(Detach(self.local_handle, detach.closed))
            self.step(LinkSignal.SEND_DETACH)
        self.report(detach.closed, detach.error)

    def halt(self) -> None:
        """Engine: the session ends, so nothing more may be written."""
        self.state = LinkState.DETACHED
        self.on_gone()

    def report(self, closed: bool, error: Error | None) -> None:
        """Engine: tell the application, once."""
        if not self.reported:
            self.reported = True
            self.session.emit(LinkDetached(self, closed, error))
