"""Sets twins as the configurations that target them want it, whenever one or the other changes.

On Azure a configuration is looked at soon after it was made and every five minutes; here at once. A device whose tags
or reported properties have changed is looked at by itself; when there is another set of configurations, all are. This
is done in slices between which messages have their turn. What a person changes in desired properties that a
configuration has set stays until that which it wants of the twin changes.

What a twin cannot take (a section over 32 KB, more than 50 modules) is left undone and logged; the configurations of
that twin are then Targeted.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    ModuleNotFound,
    QuotaExceeded,
    ServiceError,
    StoreUnavailable,
)
from iotedge_lab.hub.configuration_content import MANAGED_BY
from iotedge_lab.hub.configurations.assignment import (
    Assignment,
    kept_of,
    unconfigured,
    undeployed,
    unless_replaced,
    wanted_of,
    write,
)
from iotedge_lab.hub.configurations.composing import patch_to
from iotedge_lab.hub.configurations.content import Kind
from iotedge_lab.hub.configurations.matcher import Matcher
from iotedge_lab.hub.identities import EDGE_MODULES
from iotedge_lab.hub.query.functions import register

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.configurations.book import Configurations
    from iotedge_lab.hub.configurations.composing import Composed
    from iotedge_lab.hub.identities import Identities, Identity
    from iotedge_lab.hub.store import Store
    from iotedge_lab.hub.twins import Twin, TwinChange, Twins

log = logging.getLogger(__name__)

_AT_ONCE: Final = 25  # devices of one slice, at most
_SLICE: Final = 0.001  # s, about which a slice may take
_PAUSE: Final = 4  # turns of the loop between two slices: a request needs a few
Json = dict[str, Any]


@dataclass(slots=True)
class _Plan:
    """What is to be done to one device."""

    made: list[Identity] = field(default_factory=list)
    changes: list[TwinChange] = field(default_factory=list)
    assignments: dict[str, Assignment] = field(default_factory=dict)  # by module


class Rollout:
    """Watches twins, identities and configurations. `call_soon`: the loop's."""

    def __init__(
        self,
        store: Store,
        identities: Identities,
        twins: Twins,
        book: Configurations,
        *,
        clock: Clock,
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._store = store
        self._identities = identities
        self._twins = twins
        self._book = book
        self._clock = clock
        self._call_soon = call_soon
        register(store.db)
        self._matcher: Matcher | None = None
        self._dirty: dict[str, None] = {}
        self._cursor: str | None = None  # the device behind which a round over all goes on
        self._scheduled = False
        self._pause = 0
        self._closed = False
        self._active = bool(book.all()) or self._any_assignment()
        twins.on_change.append(self._twin_changed)
        twins.statuses = self.statuses
        identities.on_created.append(lambda identity: self._mark(identity.device))
        identities.on_changed.append(lambda identity: self._mark(identity.device))
        identities.on_deleting.append(self._deleting)
        book.on_change.append(self.all_anew)
        if self._active:
            self.all_anew()

    @property
    def busy(self) -> bool:
        """Whether there is something left to do."""
        return bool(self._dirty) or self._cursor is not None

    def statuses(self, device: str, module: str) -> Json:
        """The `configurations` of a twin as it is shown."""
        if not self._active:
            return {}
        row = self._store.db.execute(
            "SELECT statuses FROM assignment WHERE device = ? AND module = ?", (device, module)
        ).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def all_anew(self) -> None:
        """Look at all devices, as the configurations are now."""
        self._active = True
        self._matcher = None
        self._cursor = ""
        self._schedule()

    def tick(self) -> None:
        """Once a second: go on with what could not be stored."""
        if self.busy:
            self._schedule()

    def clear(self) -> None:
        """Forget all (the rows are gone)."""
        self._dirty.clear()
        self._cursor, self._matcher, self._active = None, None, False

    def close(self) -> None:
        """Do nothing any more."""
        self._closed = True

    # -- what happens ----------------------------------------------------------------------------------

    def _twin_changed(self, identity: Identity, body: Json, operation: str) -> None:
        if not self._active:
            return
        whole = operation == "replaceTwin"
        reported = "reported" in body.get("properties", {}) and (
            self._matcher is None or self._matcher.reported
        )
        if whole or "tags" in body or reported:
            self._mark(identity.device)

    def _deleting(self, identity: Identity) -> Callable[[], None]:
        """A module that a deployment wants is made again."""
        return lambda: self._mark(identity.device)

    def _mark(self, device: str) -> None:
        if self._active:
            self._dirty[device] = None
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._call_soon(self._slice)

    # -- slices ----------------------------------------------------------------------------------------

    def _slice(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        if self._pause:
            self._pause -= 1
            self._schedule()
            return
        self._pause = _PAUSE
        began = self._clock.monotonic()
        for _ in range(_AT_ONCE):
            device = self._next()
            if device is None:
                return
            try:
                self._look_at(device)
            except StoreUnavailable as error:
                log.warning("configurations of %s wait: %s", device, error)
                self._dirty[device] = None
                return  # until the next tick
            except Exception:  # a fault with one device is not the others'
                log.exception("configurations of %s", device)
            if self._clock.monotonic() - began > _SLICE:
                break
        if self.busy:
            self._schedule()

    def _next(self) -> str | None:
        """The next device to look at."""
        if self._dirty:
            device = next(iter(self._dirty))
            del self._dirty[device]
            return device
        if self._cursor is None:
            return None
        row = self._store.db.execute(
            "SELECT device FROM identity WHERE module = '' AND device > ? ORDER BY device LIMIT 1",
            (self._cursor,),
        ).fetchone()
        if row is None:
            self._cursor = None
            self._active = bool(self._book.all()) or self._any_assignment()
            return None
        self._cursor = str(row[0])
        return self._cursor

    def _any_assignment(self) -> bool:
        return self._store.db.execute("SELECT 1 FROM assignment LIMIT 1").fetchone() is not None

    # -- one device ------------------------------------------------------------------------------------

    def _look_at(self, device: str) -> None:
        """Set a device's twins as it is wanted now. Raises `StoreUnavailable`; then nothing has changed."""
        identity = self._identities.find(device)
        if identity is None:
            return
        if self._matcher is None:
            self._matcher = Matcher(self._book.all())
        kept = kept_of(self._store.db, device)
        matched = self._matcher.device(self._store.db, device)
        modules = self._matcher.of_modules(self._store.db, device)
        if not (kept or matched or modules):
            return
        wanted = wanted_of(identity, matched, modules, kept)
        if wanted == kept:
            return
        plan = self._plan(device, wanted, kept)
        if plan.assignments:
            self._carry_out(device, plan)

    def _plan(self, device: str, wanted: dict[str, Assignment], kept: dict[str, Assignment]) -> _Plan:
        """Work out what to do. A part that cannot be done stays as it is, its configurations Targeted."""
        plan = _Plan()
        nothing = Assignment()
        before = {module: kept.get(module, nothing) for module in {**kept, **wanted}}
        after = {module: wanted.get(module, nothing) for module in before}
        try:
            made = self._missing(device, [name for name in after if name and after[name].deployed])
            deployed = self._deploy(device, before, after, made)
        except (ArgumentInvalid, QuotaExceeded) as error:
            after = undeployed(before, after, self._deployments())
            self._told_why(device, error, before, after)
        else:
            plan.made += made.values()
            plan.changes += deployed.values()
            before = {module: unless_replaced(one, deployed.get(module)) for module, one in before.items()}
        latest = {change.twin.module: (change.identity, change.twin) for change in plan.changes}
        for module, one in after.items():
            try:
                plan.changes += self._configure(device, module, before[module], one, latest.get(module))
            except (ModuleNotFound, DeviceNotFound):
                continue
            except ArgumentInvalid as error:
                after[module] = unconfigured(before[module], one, self._deployments())
                self._told_why(device, error, before, after)
        plan.assignments = {module: one for module, one in after.items() if one != kept.get(module, nothing)}
        return plan

    def _deployments(self) -> set[str]:
        """The ids of the configurations that are for edge devices."""
        return {one.id for one in self._book.all() if one.content.kind is Kind.EDGE}

    def _told_why(
        self,
        device: str,
        error: ServiceError,
        before: dict[str, Assignment],
        after: dict[str, Assignment],
    ) -> None:
        if before != after:  # once, not each time that the device is looked at
            log.warning("configurations of %s cannot be applied: %s", device, error.message)

    def _missing(self, device: str, modules: list[str]) -> dict[str, Identity]:
        """The identities that a deployment needs and the device has not, worked out."""
        bodies = {
            module: {"managedBy": None if module in EDGE_MODULES else MANAGED_BY}
            for module in modules
            if self._identities.find(device, module) is None
        }
        return {one.module: one for one in self._identities.plan_modules(device, bodies)}

    def _deploy(
        self,
        device: str,
        before: Mapping[str, Assignment],
        after: Mapping[str, Assignment],
        made: Mapping[str, Identity],
    ) -> dict[str, TwinChange]:
        """The changes of twins by deployments, by module."""
        changes = {}
        for module, one in after.items():
            old, new = before[module].deployed, one.deployed
            if old == new or (new is None and (old is None or old.whole)):
                continue
            try:
                identity, twin = self._twin(device, module, made)
            except ModuleNotFound:
                continue
            change = self._change(identity, twin, old, new)
            if change is not None:
                changes[module] = change
        return changes

    def _twin(self, device: str, module: str, made: Mapping[str, Identity]) -> tuple[Identity, Twin]:
        if module in made:
            return made[module], self._twins.fresh(made[module])
        return self._twins.get(device, module)

    def _configure(
        self,
        device: str,
        module: str,
        before: Assignment,
        after: Assignment,
        latest: tuple[Identity, Twin] | None,
    ) -> list[TwinChange]:
        """The change of a twin by automatic configurations."""
        if before.configured == after.configured:
            return []
        identity, twin = latest or self._twins.get(device, module)
        change = self._change(identity, twin, before.configured, after.configured)
        return [] if change is None else [change]

    def _change(
        self, identity: Identity, twin: Twin, before: Composed | None, after: Composed | None
    ) -> TwinChange | None:
        """The change that leads there, None if the twin is so already. Raises `ArgumentInvalid`."""
        body: Json
        if after is not None and after.whole:
            body = {"tags": twin.tags, "properties": {"desired": after.desired}}
        else:
            body = {"properties": {"desired": patch_to(twin.desired.values, before, after)}}
        try:
            change = self._twins.plan(identity, twin, body, whole="tags" in body)
        except ArgumentInvalid as error:
            raise ArgumentInvalid(
                f"the twin of {identity.module or 'the device'}: {error.message}"
            ) from error
        return None if change.twin.desired.values == twin.desired.values else change

    def _carry_out(self, device: str, plan: _Plan) -> None:
        with self._store.transaction() as db:
            for identity in plan.made:
                self._identities.add(db, identity)
            for change in plan.changes:
                self._twins.write(db, change)
            for module, one in plan.assignments.items():
                write(db, device, module, one)
        for identity in plan.made:
            self._identities.tell_created(identity)
        for change in plan.changes:
            self._twins.tell(change)
