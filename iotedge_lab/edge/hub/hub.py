"""The edge hub, its parts put together: who is connected, the routes, the queues, and the links to the hub.

Stands for `edgeHub` ("Understand the Azure IoT Edge runtime and its architecture", learn.microsoft.com, IoT Edge,
iot-edge-runtime). What a client sends is acknowledged when it lies in the store; from there it goes to the inputs of
modules and, over each sender's own connection, to the hub, whenever that can be reached.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.methods import Methods
from iotedge_lab.broker.sessions import Sessions
from iotedge_lab.edge.hub.asking import Asking
from iotedge_lab.edge.hub.identities import SYSTEM_MODULES, Identities
from iotedge_lab.edge.hub.member import Member
from iotedge_lab.edge.hub.pumps import Pumps
from iotedge_lab.edge.hub.routing import Router, name_of
from iotedge_lab.edge.hub.timing import EdgeCounters
from iotedge_lab.edge.store import EdgeStore, KeptIdentities, KeptSessions, KeptTwins, Queues
from iotedge_lab.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from iotedge_lab.broker.connection import LiveConnection
    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.manifest.model import HubConfig
    from iotedge_lab.edge.store import Entry, QueueFigures
    from iotedge_lab.edge.upstream import Links, Registered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeHubSettings:
    """What an edge hub is started with. `hosts`: the names that tokens may be for (the IoT Hub's)."""

    folder: Path
    device: str
    hosts: frozenset[str]
    fsync: bool = False


@dataclass(slots=True)
class _Numbers:
    """New numbers for the epochs of sessions."""

    last: int
    made: int = field(default=0)

    def __call__(self) -> int:
        self.made += 1
        return self.last + self.made


class EdgeHub:
    """One edge device's broker. All methods belong to one loop."""

    def __init__(self, settings: EdgeHubSettings, links: Links, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.links = links
        self.store = EdgeStore(settings.folder / "edge.db", fsync=settings.fsync)
        try:
            self.store.attach_loop(asyncio.get_running_loop().call_soon)
            self.identities = Identities(KeptIdentities(self.store), settings.device, settings.hosts, clock)
            self.kept_twins = KeptTwins(self.store)
            self.queues = Queues(self.store, clock)
            boots = int(self.store.get_meta("boots") or 0) + 1
            self.store.set_meta("boots", str(boots))
            self._kept_sessions = KeptSessions(self.store)
            self.sessions = Sessions(self._kept_sessions, _Numbers(boots << 32))
        except BaseException:
            self.store.close()
            raise
        self.methods = Methods(self.identities.get)
        self.asking = Asking(clock)
        self.router = Router()
        self.counters = EdgeCounters()
        self.pumps = Pumps(self.queues, settings.device, self.member, self.counters.sent, clock)
        self.connections: set[LiveConnection] = set()
        self.on_clients: list[Callable[[], None]] = []
        self.on_refused: list[Callable[[Member], None]] = []
        self.on_system_refused: list[Callable[[], None]] = []
        self._members: dict[tuple[str, str], Member] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.identities.on_change.append(self._identity_changed)

    # -- identities --------------------------------------------------------------------------------------

    def member(self, device: str, module: str) -> Member | None:
        """The member of a known identity, or None. `$edgeAgent` and `$edgeHub` are the runtime's own."""
        found = self._members.get((device, module))
        if (
            found is None
            and module not in SYSTEM_MODULES
            and self.identities.find(device, module) is not None
        ):
            found = self._members[device, module] = Member(self, device, module)
        return found

    def members(self) -> Iterator[Member]:
        """Those that were here since the start."""
        return iter(tuple(self._members.values()))

    def identity_refused(self, member: Member) -> None:
        """The hub does not let an identity in: it may have been deleted, or has another key now."""
        for tell in self.on_refused:
            tell(member)

    def _identity_changed(self, old: Registered, new: Registered | None) -> None:
        device, module = old.device, old.module
        is_other = new is None or new.generation_id != old.generation_id
        if is_other or (old.enabled and new is not None and not new.enabled):
            why = "is gone" if new is None else "was made anew" if is_other else "is disabled"
            self.sessions.drop(device, module or None, f"its identity {why} at the hub")
        member = self._members.get((device, module))
        if member is not None:
            member.changed(old, new)
        if is_other and module not in SYSTEM_MODULES:
            try:
                self._kept_sessions.forget(device, module)
                if member is None:
                    self.kept_twins.delete(device, module)
            except StoreUnavailable as error:
                log.warning("what was kept of %s stays for now: %s", name_of(device, module), error)

    def settle_twins(self) -> None:
        """Have the links of those who reported something that the hub does not have, though they are away now."""
        for device, module in self.kept_twins.pending():
            member = self.member(device, module)
            if member is not None and member.twin.is_pending:
                member.open_link()

    def clients_changed(self) -> None:
        """A client has come or gone."""
        for tell in self.on_clients:
            tell()

    # -- messages ----------------------------------------------------------------------------------------

    def apply(self, config: HubConfig) -> None:
        """Have the routes of a deployment."""
        self.router.apply(config)

    def route(
        self, entries: list[Entry], done: Callable[[StoreUnavailable | None], None] | None = None
    ) -> None:
        """Put entries into their queues; `done(None)` when they are durable, and at once where there is none."""
        done = done or _log_failure
        if not entries:
            done(None)
            return
        if self._closed:
            done(StoreUnavailable("the edge hub is shutting down."))
            return
        self.pumps.wanted({entry.lane for entry in entries})
        self.queues.put(entries, done)

    def figures(self) -> list[QueueFigures]:
        """How each queue does."""
        return self.queues.figures()

    # -- life --------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have a coroutine run beside; a fault in it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ran)
        return task

    def _ran(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fault in the edge hub", exc_info=error)

    def tick(self) -> None:
        """Once a second: time-outs, expired tokens and messages, links that come and go."""
        monotonic, now = self.clock.monotonic(), self.clock.now()
        for connection in tuple(self.connections):
            try:
                connection.tick(monotonic, now)
            except Exception:  # a fault with one connection is not the others'
                log.exception("housekeeping of a connection failed")
        for member in self.members():
            member.tick(monotonic)
        self.pumps.tick()
        self.queues.tick()

    def client_states(self) -> dict[str, dict[str, Any]]:
        """Each client by name: `connected`, `upstream` (its link to the hub is there), when it last came and went.

        Times are in seconds since 1970, 0 for never.
        """
        return {
            name_of(member.device, member.module): {
                "connected": member.connection is not None,
                "upstream": member.link is not None and member.link.connected,
                "lastConnected": member.connected_at,
                "lastDisconnected": member.disconnected_at,
            }
            for member in self.members()
            if member.connected_at
        }

    async def close(self, reason: str = "the edge hub is shutting down") -> None:
        """Store and acknowledge what has come, close every connection and link. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self.store.flush()
        for connection in tuple(self.connections):
            connection.drop(reason)
        self.pumps.close()
        await self.asking.close()
        await self.links.close_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()


def _log_failure(error: StoreUnavailable | None) -> None:
    if error is not None:
        log.warning("a message of the edge hub's own was lost: %s", error)
