"""The twin of one module or leaf device as the edge keeps it: read, reported to and told of, online or not.

Stands for the twin manager of the open-source edgeHub ("Understand extended offline capabilities", learn.microsoft.com,
IoT Edge, offline-capabilities). Online a twin is read from the hub and reports go there at once; offline it is read
from the copy, and what is reported is kept and sent when the link returns. A client that was away, or whose edge was,
is told what it has missed of the desired properties, by their version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.twin import Section, difference, patch_section
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.store import KeptTwin
from iotedge_lab.errors import ServiceError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store import KeptTwins
    from iotedge_lab.edge.upstream import CloudLink

log = logging.getLogger(__name__)

Json = dict[str, Any]
_VERSION: Final = "$version"

FIRST_READ: Final = 5.0
"""Seconds that the first reading of a twin waits for the link, which comes a moment after the client."""


class TwinUnknown(UpstreamAway):
    """The twin was never read, and the hub cannot be asked now."""


class EdgeTwin:
    """One twin. Its requests are served one after another, in the order in which they came.

    `tell(patch)` delivers a desired patch (with `$version`) to the client, `changed(body)` is told of each change
    for the twin change notifications. `link()` is the connection upstream, if there is one.
    """

    def __init__(
        self,
        kept: KeptTwins,
        name: tuple[str, str],
        clock: Clock,
        *,
        link: Callable[[], CloudLink | None],
        tell: Callable[[Json], None],
        changed: Callable[[Json], None],
    ) -> None:
        self._kept = kept
        self._name = name
        self._clock = clock
        self._link = link
        self._tell = tell
        self._changed = changed
        self._turn = asyncio.Lock()
        self._desired: Json | None = None  # with $version; None: never read
        self._reported: Json = {}
        self._reported_version = 0
        self._base: Json | None = None  # what the hub has of the reported ones, while ours is ahead of it
        self._base_known = False
        self._load()

    @property
    def is_known(self) -> bool:
        """Whether there is a copy."""
        return self._desired is not None

    @property
    def desired_now(self) -> Json | None:
        """The desired properties, with `$version`; None where they were never read."""
        return self._desired

    @property
    def reported_now(self) -> Json:
        """What was reported, whether or not the hub has it."""
        return self._reported

    @property
    def is_pending(self) -> bool:
        """Whether something was reported that the hub does not have yet."""
        return self._base is not None

    async def get(self) -> Json:
        """What the client gets: desired and reported with their versions. Raises `TwinUnknown`."""
        await self._first_link()
        async with self._turn:
            link = self._connected()
            if link is not None:
                try:
                    await self._sync(link)
                except UpstreamAway as error:
                    log.debug("the twin of %s is read from the copy: %s", self._name, error)
            if self._desired is None:
                raise TwinUnknown(
                    "The twin was never read and the hub cannot be reached now; ask again when the edge is online."
                )
            return {
                "desired": self._desired,
                "reported": {**self._reported, _VERSION: self._reported_version},
            }

    async def report(self, patch: Json) -> int:
        """Patch the reported properties; their version. Raises `ArgumentInvalid`, `StoreUnavailable`."""
        async with self._turn:
            before = Section(self._reported, {}, self._reported_version)
            after = patch_section(before, patch, self._now(), versioned=False)
            link = self._connected()
            if link is not None and self._base is None:
                try:
                    version = await link.report(patch)
                except UpstreamAway as error:
                    log.debug("a report of %s is kept: %s", self._name, error)
                else:
                    self._reported, self._reported_version = after.values, version
                    self._save()
                    self._announce({"reported": {**patch, _VERSION: version}})
                    return version
            if self._base is None:
                self._base, self._base_known = self._reported, self.is_known
            self._reported, self._reported_version = after.values, after.version
            await self._save_soon()
            self._announce({"reported": {**patch, _VERSION: after.version}})
            return after.version

    async def connected(self) -> None:
        """The link has come (back): send what was kept, and tell the client what it has missed."""
        async with self._turn:
            link = self._connected()
            if link is not None:
                try:
                    await self._sync(link)
                except UpstreamAway as error:
                    log.debug("the twin of %s stays as it is: %s", self._name, error)

    async def desired(self, patch: Json) -> None:
        """The hub tells of changed desired properties."""
        async with self._turn:
            version = patch.get(_VERSION)
            known = self._desired
            if known is None or not isinstance(version, int) or version > known.get(_VERSION, 0) + 1:
                link = self._connected()  # something was missed: the whole twin is the truth
                if link is not None:
                    try:
                        await self._sync(link)
                    except UpstreamAway:
                        return  # it is read again when the link is back
                    if known is None:
                        self._tell(patch)
                return
            if version <= known.get(_VERSION, 0):
                return  # it was read with the whole twin, or told twice
            values = {key: value for key, value in known.items() if key != _VERSION}
            change = {key: value for key, value in patch.items() if key != _VERSION}
            merged = patch_section(Section(values, {}, 0), change, self._now())
            self._take_desired({**merged.values, _VERSION: version}, change)
            self._save()

    # -- with the hub --------------------------------------------------------------------------------------

    async def _sync(self, link: CloudLink) -> None:
        found = await link.twin()
        reported = dict(found.get("reported") or {})
        version = reported.pop(_VERSION, 0)
        if self._base is not None:
            patch = difference(reported, self._reported) if self._base_known else self._reported
            if patch:
                try:
                    version = await link.report(patch)
                    reported = self._reported
                except ServiceError as error:
                    if isinstance(error, UpstreamAway):
                        raise
                    log.warning("the hub refuses what %s reported while offline: %s", self._name, error)
            self._base = None
        self._reported, self._reported_version = reported, version
        desired = dict(found.get("desired") or {})
        known = self._desired
        if known is not None and known.get(_VERSION) != desired.get(_VERSION):
            change = difference(
                {key: value for key, value in known.items() if key != _VERSION},
                {key: value for key, value in desired.items() if key != _VERSION},
            )
            self._take_desired(desired, change)
        self._desired = desired
        self._save()

    def _take_desired(self, desired: Json, change: Json) -> None:
        self._desired = desired
        told = {**change, _VERSION: desired.get(_VERSION, 0)}
        self._tell(told)
        self._announce({"desired": told})

    async def _first_link(self) -> None:
        """A client asks as soon as it is connected here; where there is no copy yet, its link is waited for."""
        link = self._link()
        if self._desired is None and link is not None:
            with contextlib.suppress(TimeoutError, UpstreamAway):
                async with asyncio.timeout(FIRST_READ):
                    await link.wait_connected()

    def _connected(self) -> CloudLink | None:
        link = self._link()
        return link if link is not None and link.connected else None

    # -- kept ----------------------------------------------------------------------------------------------

    def _load(self) -> None:
        kept = self._kept.load(*self._name)
        if kept is not None:
            self._desired = kept.document.get("desired")
            self._reported = kept.document.get("reported") or {}
            self._reported_version = int(kept.document.get("reportedVersion") or 0)
            self._base = kept.pending
            self._base_known = bool(kept.document.get("baseKnown"))

    def _made(self) -> KeptTwin:
        document = {
            "desired": self._desired,
            "reported": self._reported,
            "reportedVersion": self._reported_version,
            "baseKnown": self._base_known,
        }
        return KeptTwin(document, self._base)

    def _save(self) -> None:
        """Keep the copy; where that fails it is read anew some time, and nothing is lost."""
        try:
            self._kept.save(*self._name, self._made())
        except StoreUnavailable as error:
            log.warning("the copy of a twin (%s) could not be kept: %s", self._name, error)

    async def _save_soon(self) -> None:
        """Keep what the hub does not have yet; raises `StoreUnavailable`, and the client reports again."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: ServiceError | None) -> None:
            if not kept.done():
                if error is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(error)

        self._kept.save_soon(*self._name, self._made(), done)
        await kept

    def _announce(self, properties: Json) -> None:
        self._changed({"properties": properties})

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat()
