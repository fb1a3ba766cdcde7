"""What a deployment manifest says, as values: modules, routes, twins.

Stands for the desired properties of `$edgeAgent` and `$edgeHub` (learn.microsoft.com, IoT Edge,
module-edgeagent-edgehub), schema versions 1.0 and 1.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.manifest.create_options import CreateOptions
from iotedge_lab.edge.routes.table import RouteEntry, RouteTable

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST: Final = 2**32 - 1
"""The startup order of a module that names none: after all that do (0 first)."""

DEFAULT_TIME_TO_LIVE: Final = 7200  # seconds
MAX_NUMBER: Final = 2**32 - 1
MAX_MODULES: Final = 50  # in one deployment (IoT Hub limits)


class Status(StrEnum):
    """What a module is to be."""

    RUNNING = "running"
    STOPPED = "stopped"


class RestartPolicy(StrEnum):
    """When a module that is not running is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"  # it ended with an exit code other than 0
    ON_UNHEALTHY = "on-unhealthy"  # that, or its health check fails
    ALWAYS = "always"


class PullPolicy(StrEnum):
    """When an image is fetched. Kept, and without effect here."""

    ON_CREATE = "on-create"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One module as it is deployed.

    `env` is the manifest's alone; `environment` has that of the create options too. `configuration` is the id of
    the deployment that brought the module, which IoT Hub sets.
    """

    name: str
    image: str
    version: str = ""
    status: Status = Status.RUNNING
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    startup_order: int = LAST
    pull_policy: PullPolicy = PullPolicy.ON_CREATE
    env: Mapping[str, str] = field(default_factory=dict)
    create_options: CreateOptions = field(default_factory=CreateOptions)
    configuration: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the module gets; the manifest's go before those of the create options."""
        return {**self.create_options.env, **self.env}


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The desired properties of `$edgeAgent`. `system` are edgeAgent and edgeHub, as far as they are there."""

    schema_version: str = "1.0"
    modules: Mapping[str, ModuleSpec] = field(default_factory=dict)
    system: Mapping[str, ModuleSpec] = field(default_factory=dict)
    min_docker_version: str = ""
    logging_options: str = ""
    notes: tuple[str, ...] = ()

    def in_startup_order(self) -> list[ModuleSpec]:
        """The modules in the order in which they are started."""
        return sorted(self.modules.values(), key=lambda module: module.startup_order)


@dataclass(frozen=True, slots=True)
class HubConfig:
    """The desired properties of `$edgeHub`. `time_to_live` is in seconds, for routes that have none."""

    schema_version: str = "1.0"
    routes: Mapping[str, RouteEntry] = field(default_factory=dict)
    time_to_live: int = DEFAULT_TIME_TO_LIVE
    notes: tuple[str, ...] = ()

    def table(self) -> RouteTable:
        """The routes, ready to run."""
        return RouteTable(self.routes)


@dataclass(frozen=True, slots=True)
class DeploymentManifest:
    """A whole manifest.

    `twins` are the desired properties of the modules by name. `content` is what IoT Hub is given
    (`{"modulesContent": ...}`): placeholders replaced, create options as text in pieces, credentials left out.
    `layered` tells that it adds to another deployment (keys such as `properties.desired.modules.X`) and need not be
    complete. `notes` are for the log: what has no effect here, and what looks like a slip.
    """

    agent: AgentConfig
    hub: HubConfig
    twins: Mapping[str, Mapping[str, Any]]
    content: Mapping[str, Any]
    layered: bool = False
    notes: tuple[str, ...] = ()

    @property
    def modules(self) -> Mapping[str, ModuleSpec]:
        """The modules that are deployed beside the runtime's own."""
        return self.agent.modules
