"""The edge agent: from the desired properties of `$edgeAgent` to module identities and processes, and back.

Stands for `edgeAgent` and the identity service of the real runtime (learn.microsoft.com, IoT Edge, iot-edge-runtime):
a module that is deployed gets an identity at the hub, by the edge device's own token; one that is no longer deployed
loses it, if the runtime had made it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from iotedge_lab.edge.agent import (
    DesiredStatus,
    ModuleIdentity,
    ModuleState,
    RuntimeStatus,
    Supervisor,
    answer,
)
from iotedge_lab.edge.agent.report import FAILED, SUCCESS
from iotedge_lab.edge.errors import InvalidManifest, UpstreamAway
from iotedge_lab.edge.hub.identities import SYSTEM_MODULES
from iotedge_lab.edge.manifest.reading import read_agent
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.manifest import AgentConfig, ModuleSpec
    from iotedge_lab.edge.upstream import CloudRest

log = logging.getLogger(__name__)

MANAGER = "IotEdge"
"""`managedBy` of the identities that the runtime makes, as the real one writes it."""


class Agent:
    """The agent of one edge device. `place(module, generation_id)` gives a module's surroundings as an identity."""

    def __init__(
        self,
        hub: EdgeHub,
        rest: CloudRest,
        supervisor: Supervisor,
        place: Callable[[str, str], ModuleIdentity],
        hostname: str,
    ) -> None:
        self._hub = hub
        self._rest = rest
        self.supervisor = supervisor
        self._place = place
        self._hostname = hostname

    async def apply(self, desired: Mapping[str, Any]) -> None:
        """Bring the device to these desired properties; what is refused is reported, never raised."""
        version = desired.get("$version", 0)
        try:
            config = read_agent(desired)
        except InvalidManifest as error:
            self.supervisor.refuse(error, version)
            return
        for name in config.modules:
            try:
                await self._ensure(name)
            except UpstreamAway as error:
                log.info("module %s has no identity yet: %s", name, error)
            except LabError as error:
                log.warning("module %s gets no identity: %s", name, error)
        await self.supervisor.apply(config, version)
        await self._forget_others(config)

    async def identify(self, spec: ModuleSpec) -> ModuleIdentity:
        """A module's identity when it starts; raises `UpstreamAway` where it has none and the hub is not there."""
        await self._ensure(spec.name)
        known = self._hub.identities.get(self._hub.settings.device, spec.name)
        return self._place(spec.name, known.generation_id)

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

    async def _ensure(self, name: str) -> None:
        known = self._hub.identities.find(self._hub.settings.device, name)
        if known is None or not known.has_key:
            self._hub.identities.save([await self._rest.create_module(name, MANAGER)])

    async def _forget_others(self, config: AgentConfig) -> None:
        """Delete the identities of modules that are no longer deployed, unless a person made them."""
        for each in self._hub.identities.own_modules():
            mine = each.managed_by.lower() == MANAGER.lower()
            if mine and each.module not in config.modules and each.module not in SYSTEM_MODULES:
                try:
                    await self._rest.delete_module(each.module)
                except LabError as error:
                    log.info("the identity of %s stays for now: %s", each.module, error)
                else:
                    self._hub.identities.delete(each.device, each.module)
                    self._hub.kept_twins.delete(each.device, each.module)


def hub_status(error: LabError | None) -> DesiredStatus:
    """`lastDesiredStatus` of `$edgeHub`."""
    if error is None:
        return DesiredStatus(SUCCESS)
    return (
        DesiredStatus.of(error) if isinstance(error, InvalidManifest) else DesiredStatus(FAILED, str(error))
    )
