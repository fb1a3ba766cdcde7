"""The runtime's own modules towards the hub: `$edgeAgent` and `$edgeHub`, their twins and direct methods.

Each keeps the desired properties in force (also while offline: they are in the store) and has them applied when they
change; what it reports reaches the hub when that can be reached.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.twin import difference
from iotedge_lab.edge.hub.twins import EdgeTwin
from iotedge_lab.edge.runtime.rivals import Rivals
from iotedge_lab.errors import ArgumentInvalid, LabError, StoreUnavailable
from iotedge_lab.wire.topics import MethodCall, parse_hub_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.upstream import CloudLink, Registered

log = logging.getLogger(__name__)

Json = dict[str, Any]
_AGAIN: Final = 5.0  # seconds after which what could not be reported, or applied, is tried again


class SystemModule:
    """`$edgeAgent` or `$edgeHub`, told by its link what comes from the hub (`upstream.LinkListener`).

    `apply(desired)` is awaited with the whole desired properties whenever they are others; `report()` gives the
    whole reported properties, asked for after `changed`; `method(name, payload)` answers a direct method, whether
    the cloud calls it or a module of this device.
    """

    def __init__(
        self,
        hub: EdgeHub,
        module: str,
        *,
        apply: Callable[[Json], Awaitable[object]],
        report: Callable[[], Json],
        method: Callable[[str, Any], Awaitable[tuple[int, Any]]] | None = None,
    ) -> None:
        self._hub = hub
        self.module = module
        self._apply = apply
        self._report = report
        self._method = method
        self.link: CloudLink | None = None
        self.refusal = ""
        self.rivals = Rivals(hub.clock)
        self._applied: Json | None = None
        self._refused: Json | None = None  # a report that the hub does not take
        self._news = asyncio.Event()
        self._dirty = asyncio.Event()
        self.twin = EdgeTwin(
            hub.kept_twins,
            (hub.settings.device, module),
            hub.clock,
            link=lambda: self.link,
            tell=self._told,
            changed=lambda _: None,
        )

    def start(self) -> None:
        """Apply what the store knows, and go on in the background."""
        self._news.set()
        if self._method is not None:
            self._hub.methods.ready(self._hub.settings.device, self.module, self)
        self._hub.run(self._follow())
        self._hub.run(self._report_on())

    def open_link(self) -> None:
        """Have a link, once the identity's key is known; one that is there stays."""
        known = self._hub.identities.find(self._hub.settings.device, self.module)
        if self.link is None and known is not None and known.has_key:
            identity = self._hub.identities.cloud_identity(known.device, known.module)
            self.link = self._hub.links.open(identity, self)
            self.link.listen_desired(True)
            if self._method is not None:
                self.link.listen_methods(True)

    async def identity_changed(self, old: Registered, new: Registered | None) -> None:
        """The hub has another key for it, or another identity of its name. Its deployment stays until another comes."""
        if new is not None and new.generation_id == old.generation_id:
            if self.link is not None and new.primary_key != old.primary_key:
                self.link.rekey(new.primary_key)
            return
        try:
            self.twin.forget()
        except StoreUnavailable as error:
            log.warning("the copy of the twin of %s stays: %s", self.module, error)
        self._refused = None
        if self.link is not None:
            self.link = None
            await self._hub.links.close(old.device, old.module, at_once=True)
        self.open_link()
        self.changed()

    def changed(self) -> None:
        """What is reported has changed."""
        self._dirty.set()

    # -- in the background ---------------------------------------------------------------------------------

    def _told(self, patch: Json, acknowledged: Callable[[], None]) -> bool:
        del patch  # the twin has it
        acknowledged()
        self._news.set()
        return True

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.apply_now()

    async def apply_now(self) -> None:
        """Apply the desired properties that are known, unless they are in force; never raises."""
        desired = self.twin.desired_now
        if desired is None or desired == self._applied:
            return
        try:
            await self._apply(desired)
        except Exception as error:  # whatever it is, the next deployment has to find somebody
            unexpected = None if isinstance(error, LabError) else error
            log.warning(
                "the desired properties of %s could not be applied: %s",
                self.module,
                error,
                exc_info=unexpected,
            )
            self._applied = None
            asyncio.get_running_loop().call_later(_AGAIN, self._news.set)
        else:
            self._applied = desired
        self.changed()

    async def _report_on(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._report_now()
            except ArgumentInvalid as error:
                log.warning("the hub does not take what %s reports: %s", self.module, error)
            except Exception as error:
                unexpected = None if isinstance(error, LabError) else error
                log.warning("%s could not report: %s", self.module, error, exc_info=unexpected)
                await asyncio.sleep(_AGAIN)
                self._dirty.set()

    async def _report_now(self) -> None:
        wanted = self._report()
        patch = difference(self.twin.reported_now, wanted)
        if patch and wanted != self._refused:
            try:
                await self.twin.report(patch)
            except ArgumentInvalid:
                self._refused = wanted  # the same once more would be refused as well
                raise
            self._refused = None
        elif self.twin.is_pending:
            await self.twin.connected()
        if self.twin.is_pending and self.link is not None and self.link.connected:
            asyncio.get_running_loop().call_later(_AGAIN, self._dirty.set)  # the hub was silent, say

    # -- upstream.LinkListener -----------------------------------------------------------------------------

    def connected(self, session_present: bool) -> None:
        """Read the twin: it may have changed, or was never read."""
        del session_present
        self.refusal = ""
        self.rivals.connected()
        self._hub.run(self._connected())

    async def _connected(self) -> None:
        await self.twin.connected()
        self._news.set()
        self._dirty.set()

    def disconnected(self, reason: str) -> None:
        """The link comes back by itself."""
        log.debug("%s has lost the hub: %s", self.module, reason)
        self.rivals.disconnected(reason)

    def refused(self, reason: str) -> None:
        """The hub does not let it in."""
        self.refusal = reason
        log.warning("the hub refuses %s: %s", self.module, reason)
        for tell in self._hub.on_system_refused:
            tell()

    def writable(self) -> None:
        """It sends no telemetry."""

    def desired(self, patch: Json) -> None:
        """Desired properties have changed."""
        self._hub.run(self.twin.desired(patch))

    def command(self, bag: str, body: bytes, receipt: int) -> None:
        """Modules get no cloud-to-device messages."""

    def method(self, name: str, request_id: str, body: bytes) -> None:
        """The cloud calls a direct method."""

        async def call() -> None:
            status, answer = await self._answer(name, body)
            if self.link is not None:
                try:
                    self.link.answer_method(request_id, status, answer)
                except ArgumentInvalid as error:
                    self.link.answer_method(request_id, error.status, _message(error.message))

        self._hub.run(call())

    # -- broker.methods.Callee -----------------------------------------------------------------------------

    def deliver(self, topic: str, payload: bytes) -> bool:
        """A module of this device calls a direct method."""
        asked = parse_hub_topic(topic)
        assert isinstance(asked, MethodCall)
        name, request_id = asked.name, asked.request_id

        async def call() -> None:
            status, answer = await self._answer(name, payload)
            self._hub.methods.answered(self._hub.settings.device, self.module, request_id, status, answer)

        self._hub.run(call())
        return True

    async def _answer(self, name: str, body: bytes) -> tuple[int, bytes]:
        assert self._method is not None
        try:
            payload = json.loads(body) if body.strip() else None
        except (ValueError, RecursionError):
            return 400, _message("The payload is not JSON.")
        try:
            status, answer = await self._method(name, payload)
        except Exception:  # who calls waits for an answer
            log.exception("the direct method %r of %s", name, self.module)
            return 500, _message("A fault of the edge runtime; its log says more.")
        return status, b"null" if answer is None else json.dumps(answer).encode()


def _message(text: str) -> bytes:
    return json.dumps({"message": text}).encode()
