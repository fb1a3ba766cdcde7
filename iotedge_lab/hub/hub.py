"""The hub: its parts put together, with no protocol in it.

The fronts (`mqtt_front`, `amqp_front`, `http_front`) hold a reference to one `Hub` and turn packets into
calls on its parts.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.connection import Counters
from iotedge_lab.broker.methods import Methods
from iotedge_lab.broker.sessions import Sessions
from iotedge_lab.errors import ArgumentInvalid, StoreUnavailable
from iotedge_lab.hub.access import Access
from iotedge_lab.hub.certificates import Certificates
from iotedge_lab.hub.commands import Commands
from iotedge_lab.hub.configurations.book import Configurations
from iotedge_lab.hub.configurations.metrics import Metrics
from iotedge_lab.hub.configurations.rollout import Rollout
from iotedge_lab.hub.devices import DeviceAccess
from iotedge_lab.hub.files import Files
from iotedge_lab.hub.identities import Identities
from iotedge_lab.hub.jobs.book import Jobs
from iotedge_lab.hub.jobs.runner import Runner
from iotedge_lab.hub.log import DEFAULT_RETENTION_DAYS, Log
from iotedge_lab.hub.names import DEFAULT_GROUP, EVENTS_NAME, HUB_NAME
from iotedge_lab.hub.notices import Notices
from iotedge_lab.hub.query.queries import Queries
from iotedge_lab.hub.store import Store
from iotedge_lab.hub.twins import Twins
from iotedge_lab.wire.topics import desired_patch_topic

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.broker.connection import LiveConnection
    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.event_links import EventLink
    from iotedge_lab.hub.identities import Identity

log = logging.getLogger(__name__)

CallSoon = Callable[[Callable[[], None]], object]

_PRUNE_EVERY = 600.0
_KEEP_EVERY = 60.0  # s; lastActivityTime may lag behind by minutes on Azure too


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What a hub is started with. `hosts`: the names that tokens may be for."""

    folder: Path
    hosts: frozenset[str]
    partitions: int = 2
    retention_days: float = DEFAULT_RETENTION_DAYS
    fsync: bool = False


class Hub:
    """One IoT Hub: identities, sessions, the log, who may do what."""

    def __init__(self, settings: HubSettings, clock: Clock, call_soon: CallSoon) -> None:
        self.call_soon = call_soon
        self.settings = settings
        self.clock = clock
        self.store = Store(settings.folder / "hub.db", fsync=settings.fsync)
        self.store.attach_loop(call_soon)
        self.id = self._id()
        self.access = Access(self.store, clock, settings.hosts)
        self.identities = Identities(self.store, clock)
        self.certificates = Certificates(self.store, clock)
        self.devices = DeviceAccess(self.identities, self.access, clock, self.certificates)
        self.twins = Twins(self.store, self.identities, clock)
        self.methods = Methods(self.identities.get)
        self.commands = Commands(self.store, self.identities, clock)
        self.identities.pending = self.commands.count
        self.files = Files(self.store, self.identities, clock)
        self.queries = Queries(self.store, self.identities, self.twins, clock)
        self.log = Log(self.store, clock, partitions=settings.partitions)
        self._epoch = self._boot() << 32
        self.sessions = Sessions(_KeptSessions(self.store), self._next_epoch)
        self.twins.on_desired.append(self._tell_desired)
        self.identities.on_deleting.append(self._forget_session)
        self.notices = Notices(
            self.store,
            clock,
            self.log,
            self.identities,
            self.twins,
            hub_name=HUB_NAME,
            next_number=self._next_epoch,
        )
        self.configurations = Configurations(self.store, clock)
        self.metrics = Metrics(self.queries, clock)
        self.rollout = Rollout(
            self.store, self.identities, self.twins, self.configurations, clock=clock, call_soon=call_soon
        )
        self.jobs = Jobs(self.store, clock)
        self.job_runner = Runner(
            self.store,
            self.jobs,
            queries=self.queries,
            twins=self.twins,
            methods=self.methods,
            clock=clock,
        )
        self.counters = Counters()
        self.connections: set[LiveConnection] = set()
        self.started = clock.now()
        self.created = float(self.store.get_meta("created") or self.started)
        self.events_name = EVENTS_NAME
        self.readers: dict[tuple[str, int], set[EventLink]] = {}  # by consumer group and partition
        self._prune_at = clock.monotonic()
        self._keep_at = self._prune_at + _KEEP_EVERY

    def _id(self) -> str:
        known = self.store.get_meta("hub_id")
        if known is None:
            known = self.clock.new_id()
            self.store.set_meta("hub_id", known)
            self.store.set_meta("created", str(self.clock.now()))
        return known

    def _boot(self) -> int:
        boots = int(self.store.get_meta("boots") or 0) + 1
        self.store.set_meta("boots", str(boots))
        return boots

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def _tell_desired(self, device: str, module: str, patch: dict[str, Any], version: int) -> None:
        connection = self.sessions.connection_of(device, module)
        if connection is not None:
            told = json.dumps({**patch, "$version": version}).encode()
            connection.deliver(desired_patch_topic(version), told)

    def _forget_session(self, identity: Identity) -> Callable[[], None]:
        return lambda: self.sessions.forget(identity.device, identity.module)

    # -- consumer groups -------------------------------------------------------------------------------

    def consumer_groups(self) -> list[str]:
        """The names of the consumer groups, `$Default` first."""
        rows = self.store.db.execute("SELECT name FROM consumer_group ORDER BY name").fetchall()
        return [DEFAULT_GROUP, *(row[0] for row in rows)]

    def consumer_group(self, name: str) -> str | None:
        """The group's own spelling of `name` (case does not matter), or None."""
        return next((group for group in self.consumer_groups() if group.lower() == name.lower()), None)

    def create_consumer_group(self, name: str) -> None:
        """Make a consumer group; making it again changes nothing. Raises `ArgumentInvalid`."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}", name) and name != DEFAULT_GROUP:
            raise ArgumentInvalid(
                f"{name!r} is no name for a consumer group: 1 to 50 letters, digits, '.', '-', '_', "
                "and a letter or digit first."
            )
        if self.consumer_group(name) is None:
            with self.store.transaction() as db:
                db.execute("INSERT INTO consumer_group VALUES (?)", (name,))

    def delete_consumer_group(self, name: str) -> bool:
        """Delete a consumer group; False if there was none. `$Default` stays."""
        if name.lower() == DEFAULT_GROUP.lower():
            raise ArgumentInvalid("the consumer group $Default cannot be deleted.")
        with self.store.transaction() as db:
            return db.execute("DELETE FROM consumer_group WHERE name = ?", (name,)).rowcount > 0

    # -- housekeeping ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: time-outs, expired tokens; now and then the log's old age."""
        monotonic, now = self.clock.monotonic(), self.clock.now()
        for connection in tuple(self.connections):
            try:
                connection.tick(monotonic, now)
            except Exception:  # a fault with one connection is not the others'
                log.exception("housekeeping of a connection failed")
        if monotonic >= self._prune_at:
            self._prune_at = monotonic + _PRUNE_EVERY
            gone = self.log.prune(self.settings.retention_days)
            if gone:
                log.info("%d messages older than %g days were dropped", gone, self.settings.retention_days)
        self.commands.tick()
        self.files.tick()
        self.rollout.tick()
        self.job_runner.tick()
        if monotonic >= self._keep_at:
            self._keep_at = monotonic + _KEEP_EVERY
            self.identities.keep_activity()

    def reset(self) -> None:
        """Delete identities, sessions, messages, configurations, jobs, consumer groups; policies and their keys stay.

        Sequence numbers go on from where they were, so that a consumer with a kept position misses nothing
        that comes after.
        """
        self.store.flush()
        self.sessions.clear("the hub was reset")
        self.close_connections("the hub was reset")
        self.log.clear()
        with self.store.transaction() as db:
            for table in (
                "identity",
                "session",
                "twin",
                "consumer_group",
                "command",
                "feedback_record",
                "feedback_message",
                "configuration",
                "assignment",
                "file_upload",
                "file_notice",
                "job",
                "job_device",
            ):
                db.execute(f"DELETE FROM {table}")
        self.identities.clear_presence()
        self.jobs.clear()
        self.job_runner.clear()
        self.configurations.clear()
        self.rollout.clear()

    def close_connections(self, reason: str = "the hub is shutting down") -> None:
        """Commit what has arrived, acknowledge it, and close every connection."""
        self.store.flush()
        for connection in tuple(self.connections):
            connection.drop(reason)

    def close(self) -> None:
        """Close the store. Again does nothing."""
        try:
            self.identities.keep_activity()
        except StoreUnavailable as error:
            log.warning("who was heard of last could not be kept: %s", error)
        self.rollout.close()
        self.job_runner.close()
        self.queries.close()
        self.store.close()


class _KeptSessions:
    """Sessions in the hub's store (`broker.sessions.SessionStore`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self, device: str, module: str) -> tuple[int, str] | None:
        row = self._store.db.execute(
            "SELECT epoch, subscriptions FROM session WHERE device = ? AND module = ?", (device, module)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def save(self, device: str, module: str, epoch: int, subscriptions: str) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?)", (device, module, epoch, subscriptions)
            )

    def forget(self, device: str, module: str) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM session WHERE device = ? AND module = ?", (device, module))
