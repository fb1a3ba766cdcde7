"""One module or leaf device at the edge hub: its connection here, its link to the hub, and what passes between.

Stands for the device and cloud proxies of the open-source edgeHub. What a client subscribes to here is subscribed
to at the hub in its name, as long as it is connected; telemetry goes up over the same link, also after it has left.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.connection import A_METHOD
from iotedge_lab.broker.methods import RESPONSE_SECONDS, Call
from iotedge_lab.broker.strict_json import loads
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub.routing import name_of, upstream_lane
from iotedge_lab.edge.hub.twins import EdgeTwin
from iotedge_lab.edge.store import Unsendable
from iotedge_lab.errors import ArgumentInvalid, LabError, MessageTooLarge, ServiceError
from iotedge_lab.wire.topics import (
    MethodResponse,
    ReportedPatch,
    TwinGet,
    desired_patch_topic,
    parse_device_topic,
    twin_response_topic,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from iotedge_lab.broker.sessions import Session
    from iotedge_lab.edge.hub.front import EdgeFront
    from iotedge_lab.edge.hub.hub import EdgeHub
    from iotedge_lab.edge.store import Parcel
    from iotedge_lab.edge.upstream import CloudLink

log = logging.getLogger(__name__)

IDLE: Final = 2.0
"""Seconds that a link stays when its client has left and nothing waits for the hub."""
_A_PATCH: Final = desired_patch_topic(1)
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503


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
        self._closing: asyncio.Task[object] | None = None
        self._twin: EdgeTwin | None = None
        self._wants_desired = False

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
                tell=self._tell_desired,
                changed=self._twin_changed,
            )
        return self._twin

    # -- the client's side ---------------------------------------------------------------------------------

    def arrived(self, connection: EdgeFront) -> None:
        """A client of this identity has connected here."""
        self.connection = connection
        self.connected_at = self._hub.clock.now()
        self.open_link()

    def subscribed(self, session: Session) -> None:
        """Listen at the hub to what the client listens to here."""
        methods = session.granted(A_METHOD) is not None
        if methods and self.connection is not None:
            self._hub.methods.ready(self.device, self.module, self.connection)
        elif self.connection is not None:
            self._hub.methods.gone(self.device, self.module, self.connection)
        wanted = session.granted(_A_PATCH) is not None
        newly = wanted and not self._wants_desired
        self._wants_desired = wanted
        if self.link is not None:
            self.link.listen_methods(methods)
            self.link.listen_desired(wanted)
            if not self.module:
                command = f"devices/{self.device}/messages/devicebound/"
                self.link.listen_commands(session.granted(command) is not None)
        if newly and self.twin.is_known:
            self._hub.run(self.twin.connected())  # it may have missed changes while it was away

    def left(self, connection: EdgeFront) -> None:
        """The client's connection has ended."""
        if self.connection is not connection:
            return
        self._hub.methods.gone(self.device, self.module, connection)
        self.connection = None
        self._wants_desired = False
        self.disconnected_at = self._hub.clock.now()
        if self.link is not None:
            self.link.listen_methods(False)
            self.link.listen_desired(False)
            if not self.module:
                self.link.listen_commands(False)

    def request(self, topic: bytes, body: bytes) -> None:
        """Something that the client sent to `$iothub/...`; raises `ProtocolViolation` for a topic that is none."""
        match parse_device_topic(topic):
            case TwinGet() as get:
                self._hub.counters.twin_reads += 1
                self._hub.run(self._answer(get.request_id, self._get_twin()))
            case ReportedPatch() as patch:
                self._hub.counters.reports += 1
                self._hub.run(self._answer(patch.request_id, self._report(body)))
            case MethodResponse() as response:
                self._hub.methods.answered(
                    self.device, self.module, response.request_id, response.status, body
                )
            case _:  # telemetry does not come here
                pass

    async def _get_twin(self) -> tuple[int, bytes, int | None]:
        return 200, json.dumps(await self.twin.get()).encode(), None

    async def _report(self, body: bytes) -> tuple[int, bytes, int | None]:
        try:
            patch = loads(body)
        except (ValueError, RecursionError) as error:
            raise ArgumentInvalid(f"the patch is not JSON: {str(error)[:120]}.") from error
        if not isinstance(patch, dict):
            raise ArgumentInvalid("the patch is a JSON object.")
        return 204, b"", await self.twin.report(patch)

    async def _answer(
        self, request_id: str, work: Coroutine[Any, Any, tuple[int, bytes, int | None]]
    ) -> None:
        version = None
        try:
            status, body, version = await work
        except UpstreamAway as error:
            status, body = _UNAVAILABLE, _said(503003, str(error))
        except ServiceError as error:
            status, body = error.status, _said(error.code, error.message)
        if self.connection is not None:
            try:
                self.connection.deliver(twin_response_topic(status, request_id, version), body)
            except ServiceError as error:
                self.connection.drop(str(error))

    def _tell_desired(self, patch: dict[str, Any]) -> None:
        if self.connection is not None:
            try:
                self.connection.deliver(desired_patch_topic(patch["$version"]), json.dumps(patch).encode())
            except ServiceError as error:
                self.connection.drop(str(error))

    def _twin_changed(self, body: dict[str, Any]) -> None:
        self._hub.route(self._hub.router.twin_change(self.device, self.module, json.dumps(body).encode()))

    # -- upstream ------------------------------------------------------------------------------------------

    def open_link(self) -> None:
        """Have a link to the hub; one that is there stays."""
        self._idle_since = None
        if self.link is None and self._closing is None:
            try:
                self.link = self._hub.links.open(
                    self._hub.identities.cloud_identity(self.device, self.module), self
                )
            except LabError as error:
                log.warning("%s has no link to the hub: %s", self.name, error)
                return
            if self.connection is not None and self.connection.session is not None:
                self.subscribed(self.connection.session)

    async def close_link(self, *, at_once: bool = False) -> None:
        """End the link; what was not acknowledged is sent again over the next."""
        link, self.link = self.link, None
        if link is not None:
            await self._hub.links.close(self.device, self.module, at_once=at_once)
            self._hub.pumps.lost(upstream_lane(self.device, self.module))

    def tick(self, monotonic: float) -> None:
        """Once a second: a link that nobody needs is closed, one that is needed is there."""
        waits = self._hub.pumps.waits(upstream_lane(self.device, self.module))
        if self.connection is not None or waits:
            self._idle_since = None
            if self.link is None:
                self.open_link()
        elif self.link is not None:
            if self._idle_since is None:
                self._idle_since = monotonic
            elif monotonic - self._idle_since >= IDLE and self._closing is None:
                self._closing = self._hub.run(self._close_idle())

    async def _close_idle(self) -> None:
        try:
            await self.close_link()
        finally:
            self._closing = None
        if self.connection is not None:  # it came back meanwhile
            self.open_link()

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
            self._hub.run(self.twin.connected())
        self._hub.pumps.wake(upstream_lane(self.device, self.module))

    def disconnected(self, reason: str) -> None:
        """The link is cut; it comes back by itself."""
        log.debug("%s has lost the hub: %s", self.name, reason)

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
            status, answer = _NOT_FOUND, _said(error.code, error.message)
        if self.link is not None:
            self.link.answer_method(request_id, status, answer)

    def command(self, bag: str, body: bytes, receipt: int) -> None:
        """A cloud-to-device message: relayed, and settled at the hub when the device has it; never stored here."""

        def kept() -> None:
            if self.link is not None:
                self.link.command_done(receipt)

        if self.connection is not None:
            try:
                self.connection.deliver(f"devices/{self.device}/messages/devicebound/{bag}", body, kept)
            except ServiceError as error:
                self.connection.drop(str(error))


def _said(code: int, message: str) -> bytes:
    return json.dumps({"errorCode": code, "message": message}).encode()
