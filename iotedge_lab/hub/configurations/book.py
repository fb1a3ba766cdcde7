"""All configurations of a hub: kept in its store, at most 100 of them.

An update says which version it means by `If-Match`. As on Azure its etag stands in quotes there (RFC 9110, 8.8.3): one
without them is not looked at, and as a request without If-Match makes a configuration, it meets the one that is there
already (409401). The vendor's `update_configuration(configuration, etag)` sends the etag as it is given, so it is
given as f'"{etag}"'. The content of a configuration cannot be changed (400403).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import (
    CannotModifyImmutableConfigurationContent,
    ConfigurationAlreadyExists,
    ConfigurationCountLimitExceeded,
    ConfigurationNotFound,
    PreconditionFailed,
)
from iotedge_lab.hub.configurations.configuration import MOST, Configuration
from iotedge_lab.hub.configurations.content import Content
from iotedge_lab.hub.configurations.target import Target
from iotedge_lab.hub.identities import etag_matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.configurations.configuration import Draft
    from iotedge_lab.hub.store import Store

_QUOTED: Final = re.compile(r'\s*(?:\*|(?:W/)?"[^"]*"(?:\s*,\s*(?:W/)?"[^"]*")*)\s*')


class Configurations:
    """Create, read, update, delete. `on_change` is told when there is another set of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept = {one.id: one for one in self._read()}
        self.on_change: list[Callable[[], None]] = []

    def all(self) -> list[Configuration]:
        """All of them, in the order of their ids."""
        return [self._kept[name] for name in sorted(self._kept)]

    def get(self, name: str) -> Configuration:
        """One of them; raises `ConfigurationNotFound`."""
        found = self._kept.get(name)
        if found is None:
            raise ConfigurationNotFound(f"there is no configuration {name[:140]!r}.")
        return found

    def put(self, draft: Draft, target: Target, if_match: str | None) -> tuple[Configuration, bool]:
        """Make one (no `if_match`) or update it; whether it is new. `target`: what `draft.check` gave.

        Raises `ConfigurationAlreadyExists`, `ConfigurationNotFound`, `PreconditionFailed`,
        `ConfigurationCountLimitExceeded`, `CannotModifyImmutableConfigurationContent`, `StoreUnavailable`.
        """
        current = self._kept.get(draft.id)
        if if_match is None or not _QUOTED.fullmatch(if_match):
            if current is not None:
                raise ConfigurationAlreadyExists(_exists(current, if_match))
            if len(self._kept) >= MOST:
                raise ConfigurationCountLimitExceeded(
                    f"the hub has {MOST} configurations and deployments, the most there may be; delete one first."
                )
        else:
            current = self.get(draft.id)
            _check_etag(current, if_match)
            if not draft.content.same(current.content):
                raise CannotModifyImmutableConfigurationContent(
                    f"the content of {draft.id!r} cannot be changed, and this is another one; make a new "
                    "configuration with it, and delete this one."
                )
        made = self._made(draft, target, current)
        self._write(made)
        self._kept[made.id] = made
        self._tell()
        return made, current is None

    def delete(self, name: str, if_match: str | None) -> None:
        """Delete one; raises `ConfigurationNotFound`, `PreconditionFailed`."""
        current = self.get(name)
        if if_match is not None:
            _check_etag(current, if_match)
        with self._store.transaction() as db:
            db.execute("DELETE FROM configuration WHERE id = ?", (name,))
        del self._kept[name]
        self._tell()

    def clear(self) -> None:
        """Forget all (their rows are gone)."""
        self._kept.clear()

    # -- inside ----------------------------------------------------------------------------------------

    def _tell(self) -> None:
        for tell in self.on_change:
            tell()

    def _made(self, draft: Draft, target: Target, current: Configuration | None) -> Configuration:
        now = self._clock.now()
        serial = 1 + max((one.serial for one in self._kept.values()), default=0)
        return Configuration(
            id=draft.id,
            serial=current.serial if current else serial,
            version=current.version + 1 if current else 1,
            created=current.created if current else now,
            updated=now,
            content=current.content if current else draft.content,
            target=target,
            priority=draft.priority,
            labels=draft.labels,
            metrics=draft.metrics,
            schema_version=draft.schema_version,
        )

    def _write(self, made: Configuration) -> None:
        row: tuple[Any, ...] = (
            made.id,
            made.serial,
            made.version,
            made.created,
            made.updated,
            json.dumps(made.content.given),
            made.target.text,
            made.priority,
            json.dumps(made.labels),
            json.dumps(made.metrics),
            made.schema_version,
        )
        with self._store.transaction() as db:
            db.execute("INSERT OR REPLACE INTO configuration VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _read(self) -> list[Configuration]:
        made = []
        for row in self._store.db.execute(
            "SELECT id, serial, version, created, updated, content, target, priority, labels, metrics, "
            "schema_version FROM configuration"
        ):
            content = Content.read(json.loads(row[5]))
            target = Target.read(row[6], content.kind)
            labels, metrics = json.loads(row[8]), json.loads(row[9])
            made.append(
                Configuration(
                    row[0], row[1], row[2], row[3], row[4], content, target, row[7], labels, metrics, row[10]
                )
            )
        return made


def _check_etag(current: Configuration, if_match: str) -> None:
    if not etag_matches(if_match.replace("W/", ""), current.etag):
        raise PreconditionFailed(
            f"the etag of {current.id!r} is {current.etag!r} now; read the configuration again and retry."
        )


def _exists(current: Configuration, if_match: str | None) -> str:
    if if_match is None:
        return (
            f"{current.id!r} exists already; to update it, send its etag in If-Match, in quotes: "
            f'"{current.etag}".'
        )
    return (
        f"{current.id!r} exists already, and If-Match is no etag in quotes, so that it is not looked at (Azure does "
        f'the same). Send "{current.etag}" with its quotes; in Python update_configuration(configuration, '
        "f'\"{etag}\"')."
    )
