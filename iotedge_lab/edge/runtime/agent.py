"""The edge agent: from the desired properties of `$edgeAgent` to module identities and processes, and back.

Stands for `edgeAgent` and the identity service of the real runtime (learn.microsoft.com, IoT Edge, iot-edge-runtime):
a module that is deployed gets an identity at the hub, by the edge device's own token; one that is no longer deployed
loses it, if the runtime had made it.

What differs: an image that no local module stands for is known at once, so such a deployment is refused (400), where
the real agent finds out when it pulls. And an identity goes only when the hub has all that its module had sent: it
would be refused afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.twin import SECTION_LIMIT, size_of
from iotedge_lab.edge.agent import ModuleIdentity, ModuleState, RuntimeStatus, Supervisor, answer
from iotedge_lab.edge.errors import InvalidManifest, Problem, UnknownImage, UpstreamAway
from iotedge_lab.edge.hub.identities import SYSTEM_MODULES
from iotedge_lab.edge.hub.routing import upstream_lane
from iotedge_lab.edge.manifest import ImageTable
from iotedge_lab.edge.manifest.reading import read_agent
from iotedge_lab.edge.runtime.scope import MANAGER
from iotedge_lab.errors import LabError, StoreUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.manifest import AgentConfig, ModuleSpec
    from iotedge_lab.edge.runtime.scope import DeviceScope
    from iotedge_lab.edge.upstream import Registered

log = logging.getLogger(__name__)

_FORGET_EVERY: Final = 2.0  # seconds
_ROOM: Final = SECTION_LIMIT - 1024  # bytes that may be reported


class LocalModules(ImageTable):
    """The modules that lie in some folders when they are asked for: one may be written while the runtime runs."""

    def __init__(self, roots: Sequence[Path], explicit: Mapping[str, Path]) -> None:
        super().__init__({})
        self._roots = tuple(roots)
        self._patterns = dict(explicit)

    def folder(self, image: str) -> Path:
        """The folder that stands for an image now. Raises UnknownImage, or UsageError for two of one name."""
        return ImageTable.scan(self._roots, self._patterns).folder(image)


class Agent:
    """The agent of one edge device. `place(module, generation_id)` gives a module's surroundings as an identity."""

    def __init__(
        self,
        hub: EdgeHub,
        scope: DeviceScope,
        supervisor: Supervisor,
        *,
        images: ImageTable,
        place: Callable[[str, str], ModuleIdentity],
        hostname: str,
    ) -> None:
        self._hub = hub
        self._scope = scope
        self.supervisor = supervisor
        self._images = images
        self._place = place
        self._hostname = hostname
        self._config: AgentConfig | None = None  # what was applied last
        self._started_as: dict[
            str, tuple[str, str]
        ] = {}  # generation and key with which a module was started
        self._forgetting: asyncio.Task[None] | None = None
        self._leftovers = False  # identities that may have to go
        self._forget_at = 0.0

    # -- deployments ---------------------------------------------------------------------------------------

    async def apply(self, desired: Mapping[str, Any]) -> None:
        """Bring the device to these desired properties; what is refused is reported, never raised."""
        version = desired.get("$version", 0)
        version = version if isinstance(version, int) else 0
        try:
            config = read_agent(desired)
            self._check_images(config)
        except InvalidManifest as error:
            self.supervisor.refuse(error, version)
            return
        await asyncio.gather(*(self._try_to_ensure(name) for name in config.modules))
        await self.supervisor.apply(config, version)
        self._config, self._leftovers, self._forget_at = config, True, 0.0
        for name in tuple(self._started_as):
            if name not in config.modules:
                del self._started_as[name]
        self.tick()

    def _check_images(self, config: AgentConfig) -> None:
        """Raise InvalidManifest for images that no local module stands for."""
        problems = []
        for name, spec in config.modules.items():
            try:
                self._images.folder(spec.image)
            except (UnknownImage, UsageError) as error:
                problems.append(Problem(f"$.modules.{name}.settings.image", str(error)))
        if problems:
            raise InvalidManifest(problems)

    # -- identities ----------------------------------------------------------------------------------------

    async def identify(self, spec: ModuleSpec) -> ModuleIdentity:
        """A module's identity when it starts; raises `UpstreamAway` where it has none and the hub is not there."""
        known = await self._ensure(spec.name)
        self._started_as[spec.name] = _mark(known)
        return self._place(spec.name, known.generation_id)

    async def settle(self) -> None:
        """The scope was read: modules whose identity is gone or another one get theirs, and are started with it."""
        if self._config is None:
            return
        for name in tuple(self._config.modules):
            known = await self._try_to_ensure(name)
            if known is None:
                continue
            if self._started_as.get(name, _mark(known)) != _mark(known):
                log.warning("%s has another identity or key at the hub: it is restarted with that", name)
                try:
                    await self.supervisor.restart(name)
                except UsageError as error:  # it does not run: it gets the new one when it does
                    log.info("%s", error)
            await self.supervisor.retry(name)
        self._leftovers, self._forget_at = True, 0.0
        self.tick()

    async def _try_to_ensure(self, name: str) -> Registered | None:
        try:
            return await self._ensure(name)
        except UpstreamAway as error:
            log.info("module %s has no identity yet: %s", name, error)
        except LabError as error:
            log.warning("module %s gets no identity: %s", name, error)
        return None

    async def _ensure(self, name: str) -> Registered:
        known = self._hub.identities.find(self._hub.settings.device, name)
        if known is None or not known.has_key:
            known = await self._scope.make(name)
        return known

    def tick(self) -> None:
        """Once a second: identities of modules that are no longer deployed go, when that can be done."""
        now = self._hub.clock.monotonic()
        if self._leftovers and self._forgetting is None and now >= self._forget_at:
            self._forget_at = now + _FORGET_EVERY
            self._forgetting = self._hub.run(self._forget_others())
            self._forgetting.add_done_callback(self._forgotten)

    def _forgotten(self, _: asyncio.Task[None]) -> None:
        self._forgetting = None

    async def _forget_others(self) -> None:
        """Delete the identities of modules that are no longer deployed, unless a person made them."""
        assert self._config is not None
        left = False
        for each in self._hub.identities.own_modules():
            mine = each.managed_by.lower() == MANAGER.lower()
            if not mine or each.module in self._config.modules or each.module in SYSTEM_MODULES:
                continue
            if self._hub.queues.length(upstream_lane(each.device, each.module)):
                left = True  # what it had sent goes first
                continue
            try:
                await self._scope.delete(each.module)
            except UpstreamAway as error:
                log.debug("the identity of %s stays for now: %s", each.module, error)
                left = True
            except LabError as error:
                log.warning("the identity of %s stays: %s", each.module, error)
            else:
                log.info("the identity of %s is deleted: it is no longer deployed", each.module)
                self._drop_inputs(each.module)
        self._leftovers = left

    def _drop_inputs(self, module: str) -> None:
        try:
            dropped = self._hub.pumps.forget_inputs(module)
        except StoreUnavailable as error:  # they are dropped when their time is over
            log.warning("what waits for %s stays for now: %s", module, error)
        else:
            if dropped:
                log.warning("%d messages that waited for %s are dropped with it", dropped, module)

    # -- what it answers -----------------------------------------------------------------------------------

    def reported(self) -> dict[str, Any]:
        """The reported properties of `$edgeAgent`; without env and create options where a twin has no room for them.

        Desired properties that fill a twin would, repeated beside how each module is, be too much for another.
        """
        found = self.supervisor.reported()
        if size_of(found) <= _ROOM:
            return found
        modules = {
            name: {**told, "env": {}, "settings": {"image": told["settings"]["image"]}}
            for name, told in found["modules"].items()
        }
        return {**found, "modules": modules}

    async def method(self, name: str, payload: Any) -> tuple[int, Any]:
        """A direct method of `$edgeAgent`."""
        made = await answer(
            name,
            payload,
            self.supervisor,
            self._hub.clock,
            hub=self._hostname,
            device=self._hub.settings.device,
        )
        return made.status, made.payload

    def hub_runs(self, started: float) -> None:
        """Say that the edge hub is up."""
        self.supervisor.set_system("edgeHub", ModuleState(RuntimeStatus.RUNNING, "running", started=started))


def _mark(known: Registered) -> tuple[str, str]:
    """What a running module depends on: the workload API signs for its generation, and its tokens are of its key."""
    return known.generation_id, known.primary_key
