"""The runtime's own modules towards the hub: `$edgeAgent` and `$edgeHub`, their twins and direct methods.

Each keeps the desired properties in force (also while offline: they are in the store) and has them applied when they
change; what it reports reaches the hub when that can be reached.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.twin import difference
from iotedge_lab.edge.hub.twins import EdgeTwin
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.upstream import CloudLink

log = logging.getLogger(__name__)

Json = dict[str, Any]
_AGAIN = 5.0  # seconds after which a report that the store or hub refused is tried again


class SystemModule:
    """`$edgeAgent` or `$edgeHub`, told by its link what comes from the hub (`upstream.LinkListener`).

    `apply(desired)` is awaited with the whole desired properties whenever their version is new; `report()` gives the
    whole reported properties, asked for after `changed`; `method(name, payload)` answers a direct method.
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
        self._applied: int | None = None
        self._news = asyncio.Event()
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.twin = EdgeTwin(
            hub.kept_twins,
            (hub.settings.device, module),
            hub.clock,
            link=lambda: self.link,
            tell=lambda _: self._news.set(),
            changed=lambda _: None,
        )

    async def start(self) -> None:
        """Apply what the store knows, and go on in the background."""
        if self.twin.is_known:
            await self._apply_now()
        self._tasks = [self._hub.run(self._follow()), self._hub.run(self._tell())]

    def open_link(self) -> None:
        """Have a link, once the identity's key is known; one that is there stays."""
        if self.link is None:
            device = self._hub.settings.device
            self.link = self._hub.links.open(self._hub.identities.cloud_identity(device, self.module), self)
            self.link.listen_desired(True)
            if self._method is not None:
                self.link.listen_methods(True)

    async def reopen_link(self) -> None:
        """The identity was made anew: connect with its key of now."""
        if self.link is not None:
            self.link = None
            await self._hub.links.close(self._hub.settings.device, self.module, at_once=True)
        self.open_link()

    def changed(self) -> None:
        """What is reported has changed."""
        self._dirty.set()

    # -- in the background ---------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._apply_now()

    async def _apply_now(self) -> None:
        desired = self.twin.desired_now
        if desired is None or desired.get("$version") == self._applied:
            return
        self._applied = desired.get("$version")
        try:
            await self._apply(desired)
        except LabError as error:
            log.warning("the desired properties of %s could not be applied: %s", self.module, error)
            self._applied = None  # the next change, or the next connection, tries again
        self.changed()

    async def _tell(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            patch = difference(self.twin.reported_now, self._report())
            if not patch:
                continue
            try:
                await self.twin.report(patch)
            except LabError as error:
                log.warning("%s could not report: %s", self.module, error)
                await asyncio.sleep(_AGAIN)
                self._dirty.set()

    # -- upstream.LinkListener -----------------------------------------------------------------------------

    def connected(self, session_present: bool) -> None:
        """Read the twin: it may have changed, or was never read."""
        del session_present
        self.refusal = ""
        self._hub.run(self._connected())

    async def _connected(self) -> None:
        await self.twin.connected()
        self._news.set()
        self._dirty.set()

    def disconnected(self, reason: str) -> None:
        """The link comes back by itself."""
        log.info("%s has lost the hub: %s", self.module, reason)

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
        """A direct method."""
        self._hub.run(self._call(name, request_id, body))

    async def _call(self, name: str, request_id: str, body: bytes) -> None:
        assert self._method is not None
        try:
            payload = json.loads(body) if body.strip() else None
        except ValueError:
            status, answer = 400, {"message": "The payload is not JSON."}
        else:
            status, answer = await self._method(name, payload)
        if self.link is not None:
            self.link.answer_method(
                request_id, status, b"null" if answer is None else json.dumps(answer).encode()
            )
