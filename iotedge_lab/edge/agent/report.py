"""The reported properties of `$edgeAgent`: what the portal and queries over a fleet read.

Stands for "EdgeAgent reported properties" (learn.microsoft.com, IoT Edge, module-edgeagent-edgehub) in the shape
that the real agent writes (AgentState and its modules, Azure/iotedge, edge-agent).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab import __version__
from iotedge_lab.edge.agent.state import ModuleState, copied
from iotedge_lab.edge.manifest.model import LAST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.edge.errors import InvalidManifest
    from iotedge_lab.edge.manifest.model import AgentConfig, ModuleSpec

SCHEMA_VERSION: Final = "1.1"
SUCCESS: Final = 200
UNKNOWN: Final = 406
FAILED: Final = 500
_MAX_DESCRIPTION: Final = 2048  # characters; a reported string may have 4 KB


@dataclass(frozen=True, slots=True)
class DesiredStatus:
    """`lastDesiredStatus`: 200 applied, 400 invalid, 412 wrong schema version, 417 empty, 500 failed, 406 none yet."""

    code: int = UNKNOWN
    description: str = ""

    @classmethod
    def of(cls, error: InvalidManifest) -> DesiredStatus:
        """The status for desired properties that were refused."""
        return cls(error.status, str(error))

    def reported(self) -> dict[str, Any]:
        """The JSON."""
        return {"code": self.code, "description": self.description[:_MAX_DESCRIPTION]}


def reported_properties(
    config: AgentConfig,
    states: Mapping[str, ModuleState],
    system: Mapping[str, ModuleState],
    version: int,
    status: DesiredStatus,
) -> dict[str, Any]:
    """All reported properties of `$edgeAgent`.

    `config` is what runs, `states` how its modules are, `system` how edgeAgent and edgeHub are, `version` the
    `$version` of the desired properties seen last (they may have been refused: `status`).
    """
    return {
        "schemaVersion": SCHEMA_VERSION,
        "version": {"version": __version__, "build": "", "commit": ""},
        "lastDesiredVersion": version,
        "lastDesiredStatus": status.reported(),
        "runtime": {
            "type": "docker",
            "platform": {
                "os": platform.system().lower(),
                "architecture": platform.machine(),
                "version": __version__,
            },
            "settings": {
                "minDockerVersion": config.min_docker_version,
                "loggingOptions": config.logging_options,
            },
        },
        "systemModules": {
            name: _system(name, config.system.get(name), system.get(name, ModuleState()))
            for name in ("edgeAgent", "edgeHub")
        },
        "modules": {
            name: _module(spec, states.get(name, ModuleState())) for name, spec in config.modules.items()
        },
    }


def _module(spec: ModuleSpec, state: ModuleState) -> dict[str, Any]:
    made = {
        **state.reported(),
        "version": spec.version,
        "status": spec.status.value,
        "restartPolicy": spec.restart_policy.value,
        **copied(spec),
    }
    if spec.startup_order != LAST:
        made["startupOrder"] = spec.startup_order
    return made


def _system(name: str, spec: ModuleSpec | None, state: ModuleState) -> dict[str, Any]:
    if spec is None:
        return {**state.reported(), "type": "unknown"}  # nothing was deployed yet
    made = {**state.reported(), **copied(spec)}
    if name == "edgeHub":
        made |= {"status": "running", "restartPolicy": "always"}
    return made
