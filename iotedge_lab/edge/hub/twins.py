"""The twin of one module or leaf device as the edge keeps it: read, reported to and told of, online or not.

Stands for the twin manager of the open-source edgeHub ("Understand extended offline capabilities", learn.microsoft.com,
IoT Edge, offline-capabilities). Online a twin is read from the hub and reports go there at once; offline it is read
from the copy, and what is reported is kept and sent when the link returns. A client that was away, or whose edge was,
is told what it has missed of the desired properties.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.twin import Section, difference, patch_section, without_metadata
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub.copy import TwinCopy, merged
from iotedge_lab.errors import ArgumentInvalid, LabError, MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store import KeptTwins
    from iotedge_lab.edge.upstream import CloudLink

    _Result = TypeVar("_Result")

log = logging.getLogger(__name__)

Json = dict[str, Any]
PATIENCE: Final = 10.0
"""Seconds that a client waits for the hub before it is served from the copy; it has a time-out of its own."""
_VERSION: Final = "$version"


class TwinUnknown(UpstreamAway):
    """The twin was never read, and the hub cannot be asked now."""


class EdgeTwin:
    """One twin. Its requests are served one after another, in the order in which they came.

    `tell(patch, acknowledged)` delivers a desired patch (with `$version`) to the client, and says no where it does
    not listen; `acknowledged` is called when the client has it. `changed(body)` is told of each change for the twin
    change notifications. `link()` is the connection upstream, if there is one.
    """

    def __init__(
        self,
        kept: KeptTwins,
        name: tuple[str, str],
        clock: Clock,
        *,
        link: Callable[[], CloudLink | None],
        tell: Callable[[Json, Callable[[], None]], bool],
        changed: Callable[[Json], None],
    ) -> None:
        self._name = name
        self._clock = clock
        self._link = link
        self._tell = tell
        self._changed = changed
        self._turn = asyncio.Lock()
        self._copy = TwinCopy(kept, name)
        self._offered: Json | None = None  # what is on its way to the client, if it is not known to have it

    @property
    def is_known(self) -> bool:
        """Whether the desired properties were read at some time."""
        return self._copy.desired is not None

    @property
    def desired_now(self) -> Json | None:
        """The desired properties, with `$version`; None where they were never read."""
        return self._copy.desired

    @property
    def reported_now(self) -> Json:
        """What was reported, whether or not the hub has it."""
        return self._copy.reported

    @property
    def is_pending(self) -> bool:
        """Whether something was reported that the hub does not have yet."""
        return self._copy.is_pending

    def forget(self) -> None:
        """The identity was made anew, or is gone: the twin is another one. Raises `StoreUnavailable`."""
        self._copy.forget()
        self._offered = None

    # -- the client's side ---------------------------------------------------------------------------------

    async def get(self) -> Json:
        """What the client gets: desired and reported with their versions. Raises `TwinUnknown`."""
        async with self._turn:
            link = await self._reached()
            if link is not None:
                await self._quietly(self._sync(link))
            copy = self._copy
            if copy.desired is None:
                raise TwinUnknown(
                    "The twin was never read and the hub cannot be reached now; ask again when the edge is online."
                )
            self._offered = copy.desired
            self._has(copy.desired)
            return {"desired": copy.desired, "reported": {**copy.reported, _VERSION: copy.reported_version}}

    async def report(self, patch: Json) -> int:
        """Patch the reported properties; their version. Raises `StoreUnavailable`, and what the hub refuses by."""
        async with self._turn:
            copy, clean = self._copy, without_metadata(patch)
            link = await self._reached()
            if link is not None and copy.is_pending and not await self._quietly(self._sync(link)):
                link = None  # what was reported before goes first
            before = Section(copy.reported, {}, copy.reported_version)
            after = patch_section(before, clean, self._now(), versioned=False)
            version = after.version
            try:
                if link is None:
                    raise UpstreamAway("there is no connection to the hub.")
                version = await self._in_time(link.report(clean))
            except UpstreamAway as error:
                log.debug("a report of %s is kept: %s", self._name, error)
                await copy.keep_report(after.values, version, clean)
            else:
                copy.has_report(after.values, version)
            self._announce({"reported": {**clean, _VERSION: version}})
            return version

    async def listening(self) -> None:
        """The client has begun to listen to desired properties: it is told what it has missed."""
        async with self._turn:
            link = self._connected()
            if link is not None and self.is_known:
                await self._quietly(self._sync(link))
            self._offer()

    def gone(self) -> None:
        """The client's connection has ended, or is another one: what was on its way to it may not have come."""
        self._offered = None

    # -- the hub's side ------------------------------------------------------------------------------------

    async def connected(self) -> None:
        """The link has come (back): send what was kept, and tell the client what it has missed."""
        async with self._turn:
            link = self._connected()
            if link is not None:
                await self._quietly(self._sync(link))

    async def desired(self, patch: Json) -> None:
        """The hub tells of changed desired properties."""
        async with self._turn:
            version, known = patch.get(_VERSION), self._copy.desired
            if known is None or not isinstance(version, int) or version != known.get(_VERSION, 0) + 1:
                # It was read with the whole twin or told twice; or something was missed, and then the whole twin
                # is the truth. Where the hub cannot be asked that is done when the link is back.
                link = self._connected()
                if known is not None and version == known.get(_VERSION):
                    return
                if link is not None and await self._quietly(self._sync(link)) and self._has_nothing:
                    self._offer(patch)
                return
            change = without_metadata(patch)
            values = patch_section(Section(without_metadata(known), {}, 0), change, self._now()).values
            self._copy.take_desired({**values, _VERSION: version})
            self._offer({**change, _VERSION: version})
            self._announce({"desired": {**change, _VERSION: version}})

    async def _sync(self, link: CloudLink) -> None:
        """Take the hub's twin, give it what it does not have. Raises `UpstreamAway` and what the hub refuses by."""
        copy = self._copy
        found = await self._in_time(link.twin())
        reported = dict(found.get("reported") or {})
        version = int(reported.pop(_VERSION, 0))
        if copy.is_pending:
            patch = copy.pending_for(reported)
            if patch:
                try:
                    version = await self._in_time(link.report(patch))
                    reported = merged(reported, patch)
                except (ArgumentInvalid, MessageTooLarge) as error:
                    # It would be refused each time. The client was told that it is kept, so somebody is to know.
                    log.warning(
                        "what %s reported while offline is dropped: the hub refuses it (%s)",
                        "/".join(filter(None, self._name)),
                        error,
                    )
        known, desired = copy.desired, dict(found.get("desired") or {})
        copy.take(desired, reported, version)
        if known is not None and known != desired:
            change = difference(without_metadata(known), without_metadata(desired))
            self._announce({"desired": {**change, _VERSION: desired.get(_VERSION, 0)}})
        self._offer()

    def _offer(self, patch: Json | None = None) -> None:
        """Tell the client of what it does not have: by this patch where it has all before it, else by what differs."""
        desired = self._copy.desired
        has = self._offered if self._offered is not None else self._copy.told
        if desired is None or (has == desired and patch is None):
            return
        if has is None and patch is None:
            return  # it has never asked for its twin, and will: there is no difference to be told
        if patch is None or (has is not None and has.get(_VERSION) != patch.get(_VERSION, 0) - 1):
            change = difference(without_metadata(has or {}), without_metadata(desired))
            patch = {**change, _VERSION: desired.get(_VERSION, 0)}
        if self._tell(patch, lambda: self._has(desired)):
            self._offered = desired

    @property
    def _has_nothing(self) -> bool:
        """Whether the client has never got its twin, nor a patch of it."""
        return self._offered is None and self._copy.told is None

    def _has(self, desired: Json) -> None:
        if self._copy.told != desired:
            self._copy.told = desired
            self._copy.save()

    # -- the link ------------------------------------------------------------------------------------------

    def _connected(self) -> CloudLink | None:
        link = self._link()
        return link if link is not None and link.connected else None

    async def _reached(self) -> CloudLink | None:
        """The link, if it is connected; one that is just being made is waited for."""
        link = self._link()
        if link is not None and link.is_beginning:
            try:
                async with asyncio.timeout(PATIENCE):
                    await link.wait_begun()
            except (TimeoutError, UpstreamAway):
                pass
        return self._connected()

    async def _in_time(self, asked: Awaitable[_Result]) -> _Result:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asked
        except TimeoutError:
            raise UpstreamAway(f"the hub did not answer within {PATIENCE:g} s.") from None

    async def _quietly(self, work: Awaitable[None]) -> bool:
        """Whether it could be done; if not, it is done when the link is back, or something changes."""
        try:
            await work
        except LabError as error:
            level = logging.DEBUG if isinstance(error, UpstreamAway) else logging.WARNING
            log.log(level, "the twin of %s stays as it is: %s", "/".join(filter(None, self._name)), error)
            return False
        return True

    def _announce(self, properties: Json) -> None:
        self._changed({"properties": properties})

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat()
