"""What configurations do to the twins of a device: as it is kept in the store, and as it is wanted now."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iotedge_lab.hub.configuration_content import AGENT
from iotedge_lab.hub.configurations.composing import TARGETED, Composed, configure, deploy
from iotedge_lab.hub.configurations.content import Kind

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Container, Mapping

    from iotedge_lab.hub.configurations.configuration import Configuration
    from iotedge_lab.hub.identities import Identity
    from iotedge_lab.hub.twins import TwinChange


@dataclass(frozen=True, slots=True)
class Assignment:
    """What configurations do to a twin: their statuses, and what automatic ones and deployments have set."""

    statuses: Mapping[str, str] = field(default_factory=dict)
    configured: Composed | None = None
    deployed: Composed | None = None

    @property
    def nothing(self) -> bool:
        """Whether it need not be kept."""
        return not self.statuses and self.configured is None and self.deployed is None


def kept_of(db: sqlite3.Connection, device: str) -> dict[str, Assignment]:
    """What is kept of a device, by module."""
    rows = db.execute(
        "SELECT module, statuses, configured, deployed FROM assignment WHERE device = ?", (device,)
    )
    return {
        row[0]: Assignment(
            {name: one["status"] for name, one in json.loads(row[1]).items()},
            Composed.from_json(json.loads(row[2])),
            Composed.from_json(json.loads(row[3])),
        )
        for row in rows
    }


def write(db: sqlite3.Connection, device: str, module: str, one: Assignment) -> None:
    """Keep what is done to a twin."""
    if one.nothing:
        db.execute("DELETE FROM assignment WHERE device = ? AND module = ?", (device, module))
        return
    row = (
        device,
        module,
        json.dumps({name: {"status": status} for name, status in one.statuses.items()}),
        json.dumps(one.configured and one.configured.to_json()),
        json.dumps(one.deployed and one.deployed.to_json()),
    )
    db.execute("INSERT OR REPLACE INTO assignment VALUES (?, ?, ?, ?, ?)", row)


def wanted_of(
    identity: Identity,
    matched: list[Configuration],
    of_modules: Mapping[str, list[Configuration]],
    kept: Mapping[str, Assignment],
) -> dict[str, Assignment]:
    """What a device's twins are to be, by module."""
    statuses: dict[str, dict[str, str]] = {}
    configured: dict[str, Composed | None] = {}
    deployed: dict[str, Composed | None] = {}
    for module, several in {"": _of(matched, Kind.DEVICE), **of_modules}.items():
        if several:
            statuses[module], configured[module] = configure(several)
    deployments = _of(matched, Kind.EDGE) if identity.iot_edge else []
    deployment = deploy(deployments)
    if deployments:
        statuses[AGENT] = statuses.get(AGENT, {}) | dict(deployment.statuses)
    if deployment.modules is None:
        # Without a base nothing changes on the device; what was deployed is known until something takes its place.
        deployed.update({module: one.deployed for module, one in kept.items()})
    else:
        deployed.update(deployment.modules)
    modules = {**statuses, **configured, **deployed}
    made = {
        module: Assignment(statuses.get(module, {}), configured.get(module), deployed.get(module))
        for module in modules
    }
    return {module: one for module, one in made.items() if not one.nothing}


def _of(configurations: list[Configuration], kind: Kind) -> list[Configuration]:
    return [one for one in configurations if one.content.kind is kind]


def unless_replaced(before: Assignment, change: TwinChange | None) -> Assignment:
    """What automatic configurations have set is gone where a deployment has set the whole."""
    if change is None or change.operation != "replaceTwin":
        return before
    return Assignment(before.statuses, None, before.deployed)


def undeployed(
    before: Mapping[str, Assignment], after: Mapping[str, Assignment], deployments: Container[str]
) -> dict[str, Assignment]:
    """With the deployments as they were, and none of the new ones applied. `deployments`: the ids of those."""
    return {
        module: Assignment(
            {name: TARGETED if name in deployments else status for name, status in one.statuses.items()},
            one.configured,
            before[module].deployed,
        )
        for module, one in after.items()
    }


def unconfigured(before: Assignment, after: Assignment, deployments: Container[str]) -> Assignment:
    """With the automatic configurations as they were, and none of the new ones applied."""
    statuses = {name: status if name in deployments else TARGETED for name, status in after.statuses.items()}
    return Assignment(statuses, before.configured, after.deployed)
