"""One module or leaf device at the edge hub: its connection here, its link to the hub, and what passes between.

Stands for the device and cloud proxies of the open-source edgeHub. What a client subscribes to here is subscribed
to at the hub in its name, as long as it is connected; telemetry goes up over the same link, also after it has left.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.connection import A_METHOD
from iotedge_lab.broker.methods import RESPONSE_SECONDS, Call
from iotedge_lab.edge.hub.relay import Relay
from iotedge_lab.edge.hub.requests import Requests
from iotedge_lab.edge.hub.routing import name_of, upstream_lane
from iotedge_lab.edge.hub.twins import EdgeTwin
from iotedge_lab.edge.store import Unsendable
from iotedge_lab.errors import ArgumentInvalid, LabError, MessageTooLarge, ServiceError, StoreUnavailable
from iotedge_lab.wire.topics import desired_patch_topic

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from iotedge_lab.broker.sessions import Session
    from iotedge_lab.edge.hub.front import EdgeFront
    from iotedge_lab.edge.hub.hub import EdgeHub
    from iotedge_lab.edge.store import Parcel
    from iotedge_lab.edge.upstream import CloudLink, Registered

log = logging.getLogger(__name__)

IDLE: Final = 2.0
"""Seconds that a link stays when its client has left and nothing waits for the hub."""
_REPORT_AGAIN: Final = 10.0
_A_PATCH: Final = desired_patch_topic(1)


class Member:
    """An identity of this edge, for as long as the edge hub knows of it. Told by its link what comes from the hub."""

    def __init__(self, hub: EdgeHub, device: str, module: str) -> None:
        self.device = device
        self.module = module
        self.connection: EdgeFront | None = None
        self.link: CloudLink | None = None
        self.refusal = ""
        self.connected_at = self.disconnected_at = 0.0
        self._hub = hub
        self._idle_since: float | None = None
        self._report_at = 0.0
        self._closing: asyncio.Task[None] | None = None
        self._twin: EdgeTwin | None = None
        self._wants_desired = False
        self._requests = Requests(hub, self)
        self._relay = Relay(self._send_command, self._settle)

    @property
    def name(self) -> str:
        """`device` or `device/module`."""
        return name_of(self.device, self.module)

    @property
    def twin(self) -> EdgeTwin:
        """Its twin; read from the store when it is first asked for."""
        if self._twin is None:
            self._twin = EdgeTwin(
                self._hub.kept_twins,
                (self.device, self.module),
                self._hub.clock,
                link=lambda: self.link,
                tell=self._requests.tell_desired,
                changed=self._twin_changed,
            )
        return self._twin

    # -- the client's side ---------------------------------------------------------------------------------

    def arrived(self, connection: EdgeFront) -> None:
        """A client of this identity has connected here."""
        self.connection = connection
        self.connected_at = self._hub.clock.now()
        self._forget_client()
        self.open_link()

    def subscribed(self, session: Session) -> None:
        """The client has come with these subscriptions, or changed them: listen at the hub to the same."""
        if self.connection is None:
            return
        if session.granted(A_METHOD) is not None:
            self._hub.methods.ready(self.device, self.module, self.connection)
        else:
            self._hub.methods.gone(self.device, self.module, self.connection)
        newly = not self._wants_desired
        self._wants_desired = session.granted(_A_PATCH) is not None
        self._listen()
        if newly and self._wants_desired:
            self._hub.run(self.twin.listening())
        if self._listens_to_commands():
            self._relay.listening()

    def left(self, connection: EdgeFront) -> None:
        """The client's connection has ended."""
        if self.connection is not connection:
            return
        self._hub.methods.gone(self.device, self.module, connection)
        self.connection = None
        self.disconnected_at = self._hub.clock.now()
        self._forget_client()
        self._listen()

    def _forget_client(self) -> None:
        """What was on its way to a client did not come, as far as is known."""
        self._wants_desired = False
        self._relay.left()
        if self._twin is not None:
            self._twin.gone()

    def request(self, topic: bytes, body: bytes) -> None:
        """Something that the client sent to `$iothub/...`; raises `ProtocolViolation` for a topic that is none."""
        self._requests.take(topic, body)

    def _listen(self) -> None:
        """Have the link listen to what the client listens to."""
        link = self.link
        if link is None:
            return
        session = self.connection.session if self.connection is not None else None
        link.listen_methods(session is not None and session.granted(A_METHOD) is not None)
        link.listen_desired(self._wants_desired)
        if not self.module:
            link.listen_commands(self._listens_to_commands())

    def _listens_to_commands(self) -> bool:
        session = self.connection.session if self.connection is not None else None
        return not self.module and session is not None and session.granted(self._commands) is not None

    @property
    def _commands(self) -> str:
        return f"devices/{self.device}/messages/devicebound/"

    def _twin_changed(self, body: dict[str, Any]) -> None:
        self._hub.route(self._hub.router.twin_change(self.device, self.module, json.dumps(body).encode()))

    # -- upstream ------------------------------------------------------------------------------------------

    def open_link(self) -> None:
        """Have a link to the hub; one that is there stays. None while the identity is not known, or disabled."""
        self._idle_since = None
        known = self._hub.identities.find(self.device, self.module)
        if self.link is not None or self._closing is not None or known is None or not known.has_key:
            return
        try:
            self.link = self._hub.links.open(
                self._hub.identities.cloud_identity(self.device, self.module), self
            )
        except LabError as error:
            log.warning("%s has no link to the hub: %s", self.name, error)
            return
        self._listen()

    def close_link(self, *, at_once: bool = False) -> None:
        """End the link; what was not acknowledged is sent again over the next. Again does nothing."""
        if self.link is not None and self._closing is None:
            self._closing = self._hub.run(self._close_link(at_once=at_once))

    async def _close_link(self, *, at_once: bool) -> None:
        # Until the old link is gone there is no other: two would throw each other out, and mix up the order.
        self.link = None
        self._relay.clear()
        try:
            await self._hub.links.close(self.device, self.module, at_once=at_once)
        finally:
            self._closing = None
            self._hub.pumps.lost(upstream_lane(self.device, self.module))
        if self.connection is not None:  # it came back meanwhile
            self.open_link()

    def changed(self, old: Registered, new: Registered | None) -> None:
        """The hub has told something new of the identity: it was rekeyed, disabled, made anew or deleted."""
        if new is None or new.generation_id != old.generation_id:
            try:
                self.twin.forget()
            except StoreUnavailable as error:
                log.warning("the copy of the twin of %s stays: %s", self.name, error)
            self.close_link(at_once=True)
        elif not new.enabled and old.enabled:
            self.close_link(at_once=True)
        elif self.link is not None and new.primary_key != old.primary_key:
            self.link.rekey(new.primary_key)

    def tick(self, monotonic: float) -> None:
        """Once a second: a link that nobody needs is closed, one that is needed is there."""
        twin, link = self._twin, self.link
        is_pending = twin is not None and twin.is_pending
        if (
            self.connection is not None
            or is_pending
            or self._hub.pumps.waits(upstream_lane(self.device, self.module))
        ):
            self._idle_since = None
            if link is None:
                self.open_link()
            elif (
                twin is not None
                and is_pending
                and link.connected
                and monotonic - self._report_at >= _REPORT_AGAIN
            ):
                self._report_at = monotonic
                self._hub.run(twin.connected())
        elif link is not None:
            if self._idle_since is None:
                self._idle_since = monotonic
            elif monotonic - self._idle_since >= IDLE:
                self.close_link()

    def send(self, parcel: Parcel, done: Callable[[], None]) -> bool:
        """`store.Outlet`: telemetry to the hub."""
        if self.link is None:
            self.open_link()
        if self.link is None:
            return False
        try:
            return self.link.send(parcel.topic, parcel.body, done)
        except (MessageTooLarge, ArgumentInvalid) as error:
            raise Unsendable(str(error)) from error

    # -- upstream.LinkListener -----------------------------------------------------------------------------

    def connected(self, session_present: bool) -> None:
        """The hub has let it in."""
        del session_present  # the link subscribes anew in any case
        self.refusal = ""
        if self._wants_desired or (self._twin is not None and self._twin.is_pending):
            self._report_at = self._hub.clock.monotonic()
            self._hub.run(self.twin.connected())
        self._hub.pumps.wake(upstream_lane(self.device, self.module))

    def disconnected(self, reason: str) -> None:
        """The link is cut; it comes back by itself."""
        log.debug("%s has lost the hub: %s", self.name, reason)
        self._relay.lost()

    def refused(self, reason: str) -> None:
        """The hub does not let it in."""
        self.refusal = reason
        log.warning("the hub refuses %s: %s", self.name, reason)
        self._hub.identity_refused(self)

    def writable(self) -> None:
        """The link takes messages again."""
        self._hub.pumps.wake(upstream_lane(self.device, self.module))

    def desired(self, patch: dict[str, Any]) -> None:
        """Desired properties have changed."""
        self._hub.run(self.twin.desired(patch))

    def method(self, name: str, request_id: str, body: bytes) -> None:
        """The cloud calls a direct method."""
        self._hub.run(self._call(name, request_id, body))

    async def _call(self, name: str, request_id: str, body: bytes) -> None:
        try:
            # The cloud has its own time-out, which is not told; after the longest there is nobody waits.
            call = Call(name, body or b"null", RESPONSE_SECONDS[1], 0)
            status, payload = await self._hub.methods.invoke(self.device, self.module, call)
            answer = json.dumps(payload).encode()
        except ServiceError as error:
            status, answer = error.status, _message(error.message)
        if self.link is not None:
            try:
                self.link.answer_method(request_id, status, answer)
            except ArgumentInvalid as error:  # its escapes have made it too long
                self.link.answer_method(request_id, error.status, _message(error.message))

    def command(self, bag: str, body: bytes, receipt: int) -> None:
        """A cloud-to-device message: relayed, and settled at the hub when the device has it; never stored here."""
        self._relay.came(bag, body, receipt)

    def _send_command(self, bag: str, body: bytes, acknowledged: Callable[[], None]) -> bool:
        connection = self.connection
        if connection is None:
            return False
        try:
            return connection.deliver(self._commands + bag, body, acknowledged)
        except ServiceError as error:
            connection.drop(str(error))
            return False

    def _settle(self, receipt: int) -> None:
        if self.link is not None:
            self.link.command_done(receipt)


def _message(text: str) -> bytes:
    return json.dumps({"message": text}).encode()
