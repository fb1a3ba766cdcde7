"""From one deployment to the next: what has to be done, and nothing else.

A module is restarted where what it runs as has changed: image, version, environment, create options. A change of
its restart policy, startup order or pull policy only changes how the agent looks after it. Stands for the edge
agent's planner (learn.microsoft.com, IoT Edge, iot-edge-runtime).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iotedge_lab.edge.manifest.model import AgentConfig, HubConfig, ModuleSpec, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ModuleChanges:
    """What to do to the modules, each by name; a module is in one of the six at most.

    Do `stop` and `remove` first, then `restart` and `start` in the order given (that of startup); `stop` and
    `remove` are in the reverse of it. `update` are modules whose specification is new but whose process goes on
    (or stays stopped). `reasons` says for each module of `restart` and `update` what has changed.
    """

    start: tuple[str, ...] = ()  # new ones that are to run, and stopped ones that are to run now
    restart: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()  # that stay in the deployment
    remove: tuple[str, ...] = ()  # that are no longer in it
    update: tuple[str, ...] = ()
    add: tuple[str, ...] = ()  # new ones that are to be stopped
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.start or self.restart or self.stop or self.remove or self.update or self.add)


@dataclass(frozen=True, slots=True)
class RouteChanges:
    """The names of routes that are new, gone, or other than before."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    time_to_live: bool = False

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.added or self.removed or self.changed or self.time_to_live)


def diff(old: AgentConfig | None, new: AgentConfig) -> ModuleChanges:
    """What leads from `old` (None: nothing was deployed) to `new`."""
    before = dict(old.modules) if old else {}
    start: list[str] = []
    restart: list[str] = []
    stop: list[str] = []
    update: list[str] = []
    add: list[str] = []
    reasons: dict[str, tuple[str, ...]] = {}
    for module in new.in_startup_order():
        name, was = module.name, before.get(module.name)
        running = module.status is Status.RUNNING
        if was is None:
            (start if running else add).append(name)
            continue
        process, care = _differences(was, module)
        if process or care:
            reasons[name] = (*process, *care)
        if was.status is not module.status:
            (start if running else stop).append(name)
        elif process and running:
            restart.append(name)
        elif process or care:
            update.append(name)
    gone = [module.name for module in old.in_startup_order() if module.name not in new.modules] if old else []
    return ModuleChanges(
        tuple(start),
        tuple(restart),
        tuple(reversed(stop)),
        tuple(reversed(gone)),
        tuple(update),
        tuple(add),
        reasons,
    )


def diff_routes(old: HubConfig | None, new: HubConfig) -> RouteChanges:
    """What differs between the routes of two deployments."""
    before = dict(old.routes) if old else {}
    return RouteChanges(
        tuple(name for name in new.routes if name not in before),
        tuple(name for name in before if name not in new.routes),
        tuple(name for name, entry in new.routes.items() if name in before and before[name] != entry),
        old is not None and old.time_to_live != new.time_to_live,
    )


def _differences(old: ModuleSpec, new: ModuleSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What has changed about the process, and about the agent's care for it."""
    process = [what for what in ("image", "version") if getattr(old, what) != getattr(new, what)]
    before, after = old.environment, new.environment
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    process += [f"env {name}" for name in names]
    options = ("mounts", "command", "entrypoint")
    process += [
        f"createOptions {what}"
        for what in options
        if getattr(old.create_options, what) != getattr(new.create_options, what)
    ]
    care = [
        what
        for what in ("restart_policy", "startup_order", "pull_policy")
        if getattr(old, what) != getattr(new, what)
    ]
    return tuple(process), tuple(care)
