"""What the edge knows of one twin, kept in its store: the hub's part, the client's, and what differs between them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.twin import difference
from iotedge_lab.edge.store import KeptTwin
from iotedge_lab.errors import StoreUnavailable

if TYPE_CHECKING:
    from iotedge_lab.edge.store import KeptTwins
    from iotedge_lab.errors import ServiceError

log = logging.getLogger(__name__)

Json = dict[str, Any]


class TwinCopy:
    """`desired` has its `$version` and is None where it was never read; `told` is the same as the client has it.

    While reports wait for the hub, `reported` is ahead of it. Where the hub's part was read once, what differs is
    found when the link is back; else the patches themselves are kept, merged into one, as the open-source edgeHub
    keeps them.
    """

    def __init__(self, kept: KeptTwins, name: tuple[str, str]) -> None:
        self._kept = kept
        self._name = name
        self.desired: Json | None = None
        self.told: Json | None = None
        self.reported: Json = {}
        self.reported_version = 0
        self._pending: Json | None = None  # the patches of reported properties that the hub does not have
        found = kept.load(*name)
        if found is not None:
            document = found.document
            self.desired = document.get("desired")
            self.told = document.get("told") or (self.desired if document.get("toldAll") else None)
            self.reported = document.get("reported") or {}
            self.reported_version = int(document.get("reportedVersion") or 0)
            self._pending = found.pending

    @property
    def is_pending(self) -> bool:
        """Whether the hub does not have all that was reported."""
        return self._pending is not None

    def pending_for(self, reported: Json) -> Json:
        """The patch that leads from what the hub has to what the client has reported."""
        if self.desired is None:
            return self._pending or {}
        return difference(reported, self.reported)

    def take(self, desired: Json, reported: Json, version: int) -> None:
        """The hub's whole twin, and nothing is pending any more."""
        fresh = (desired, reported, version, None)
        if fresh != (self.desired, self.reported, self.reported_version, self._pending):
            self.desired, self.reported, self.reported_version, self._pending = fresh
            self.save()

    def take_desired(self, desired: Json) -> None:
        """Desired properties have changed."""
        self.desired = desired
        self.save()

    def has_report(self, reported: Json, version: int) -> None:
        """The hub has taken a report."""
        self.reported, self.reported_version = reported, version
        self.save()

    async def keep_report(self, reported: Json, version: int, patch: Json) -> None:
        """What the hub does not have yet; durable when this returns. Raises `StoreUnavailable`, and nothing changed."""
        before = (self.reported, self.reported_version, self._pending)
        self.reported, self.reported_version = reported, version
        self._pending = combined(self._pending or {}, patch)
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: ServiceError | None) -> None:
            if not kept.done():
                if error is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(error)

        try:
            self._kept.save_soon(*self._name, self._made(), done)
            await kept
        except StoreUnavailable:
            self.reported, self.reported_version, self._pending = before
            raise

    def forget(self) -> None:
        """It is another twin from now on. Raises `StoreUnavailable`."""
        self._kept.delete(*self._name)
        self.desired = self.told = self._pending = None
        self.reported, self.reported_version = {}, 0

    def save(self) -> None:
        """Keep the copy; where that fails it is read anew some time, and nothing is lost."""
        try:
            self._kept.save(*self._name, self._made())
        except StoreUnavailable as error:
            log.warning("the copy of a twin (%s) could not be kept: %s", "/".join(self._name), error)

    def _made(self) -> KeptTwin:
        has_all = self.told == self.desired
        document = {
            "desired": self.desired,
            "told": None if has_all else self.told,
            "toldAll": has_all and self.told is not None,
            "reported": self.reported,
            "reportedVersion": self.reported_version,
        }
        return KeptTwin(document, self._pending)


def combined(first: Json, second: Json) -> Json:
    """Two patches as one: nulls stay, for they delete at the hub."""
    made = dict(first)
    for key, value in second.items():
        before = made.get(key)
        made[key] = combined(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return made


def merged(values: Json, patch: Json) -> Json:
    """Values after a patch: null deletes."""
    made = dict(values)
    for key, value in patch.items():
        before = made.get(key)
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            made[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            made[key] = value
    return made
