"""How one module is, and the JSON forms of that: reported properties, and the workload API's list of modules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.agent.restarts import RuntimeStatus
from iotedge_lab.edge.manifest.create_options import chunked

if TYPE_CHECKING:
    from iotedge_lab.edge.manifest.model import ModuleSpec

NEVER: Final = "0001-01-01T00:00:00Z"
"""The time of what has not happened yet (.NET's DateTime.MinValue)."""


@dataclass(frozen=True, slots=True)
class ModuleState:
    """How a module is. Times are seconds since 1970-01-01 UTC, or None where it has not happened.

    `exit_code` is a container's: 128 and the signal's number where a signal ended the process; 0 while none is
    known. `restarts` counts those of the restart policy.
    """

    status: RuntimeStatus = RuntimeStatus.UNKNOWN
    description: str = ""
    exit_code: int = 0
    started: float | None = None
    exited: float | None = None
    restarted: float | None = None
    restarts: int = 0
    pid: int | None = None

    def reported(self) -> dict[str, Any]:
        """The reported properties that tell of this state."""
        return {
            "runtimeStatus": self.status.value,
            "exitCode": self.exit_code,
            "statusDescription": self.description,
            "lastStartTimeUtc": utc(self.started),
            "lastExitTimeUtc": utc(self.exited),
            "restartCount": self.restarts,
            "lastRestartTimeUtc": utc(self.restarted),
        }


def utc(seconds: float | None) -> str:
    """A time as the agent reports it: `2026-11-20T10:30:00.123456Z`."""
    if seconds is None:
        return NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def copied(spec: ModuleSpec) -> dict[str, Any]:
    """The part of a module's reported properties that repeats what was desired."""
    made: dict[str, Any] = {
        "type": "docker",
        "settings": {"image": spec.image, **chunked(spec.create_options.raw)},
        "imagePullPolicy": spec.pull_policy.value,
        "env": {name: {"value": value} for name, value in spec.env.items()},
    }
    if spec.configuration is not None:
        made["configuration"] = {"id": spec.configuration}
    return made


def listed(name: str, spec: ModuleSpec, state: ModuleState) -> dict[str, Any]:
    """A module as `GET /modules` of the workload API shows it. As there, the environment is left out."""
    status: dict[str, Any] = {"runtimeStatus": {"status": state.status.value}}
    if state.description:
        status["runtimeStatus"]["description"] = state.description
    if state.started is not None:
        status["startTime"] = utc(state.started)
    if state.exited is not None:
        status["exitStatus"] = {"exitTime": utc(state.exited), "statusCode": str(state.exit_code)}
    options = json.loads(json.dumps(dict(spec.create_options.raw)))
    options.pop("Env", None)
    settings = {"image": spec.image, "createOptions": options}
    return {
        "id": name,
        "name": name,
        "type": "docker",
        "config": {"settings": settings, "env": []},
        "status": status,
    }
