"""Solution mode: a whole deployment manifest on one simulated edge device.

Stands for `iotedgehubdev start -d deployment.json`. It is the edge device of the runtime, with one difference: what is
to run, and the routes, come from the file and not from the twins of `$edgeAgent` and `$edgeHub`, which are left alone.
Modules get identities at the hub and are connected to it, messages to `$upstream` arrive there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from iotedge_lab.edge.runtime.agent import Agent
from iotedge_lab.edge.runtime.device import EdgeDevice
from iotedge_lab.edge.runtime.settings import EdgeSettings

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.simulator.place import Setup, SolutionRun
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)

_DESIRED = "properties.desired"


class SolutionDevice(EdgeDevice):
    """One edge device with a manifest, from `start` to `close`. `devices` is where devices' folders lie."""

    def __init__(
        self, setup: Setup, run: SolutionRun, devices: Path, authority: Authority, clock: Clock
    ) -> None:
        settings = EdgeSettings(
            setup.connection_string,
            gateway=setup.gateway,
            module_folders=run.module_folders,
            ca_file=setup.ca_file,
            https_port=setup.https_port,
        )
        super().__init__(settings, devices, authority, clock)
        self.run = run
        self._applying: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        """Serve, and bring the modules up in the background. Raises what `EdgeDevice.start` does."""
        await super().start()
        for endpoint in {lane.endpoint for lane in self.hub.queues.lanes()}:
            self.hub.queues.purge(endpoint)  # a new container's edge hub has empty queues
        self._applying = self.hub.run(self._apply())
        return self

    async def _apply(self) -> None:
        contents = self.run.content["modulesContent"]
        await self._apply_hub({**contents["$edgeHub"][_DESIRED], "$version": 1})
        await self._apply_agent({**contents["$edgeAgent"][_DESIRED], "$version": 1})

    def _put_together(self) -> None:
        super()._put_together()
        self.agent = _KeepingAgent(
            self.hub,
            self.scope,
            self.supervisor,
            images=self._images,
            place=self._place,
            hostname=self.cloud.hostname,
        )

    # -- the runtime's own modules have no part in this ----------------------------------------------------

    def _open_system_links(self) -> None:
        """The manifest's file is what counts, not the twins."""

    async def _give_system_keys(self) -> None:
        """They stay as they are: the device may be a real one's, whose runtime has given them keys."""

    @property
    def is_connected(self) -> bool:
        """Whether a module of it is connected to the hub."""
        return self.hub.links.connected > 0

    def _trouble(self) -> str:
        """Why there is no connection to the hub, as far as is known."""
        if self.is_connected:
            return ""
        return self.scope.trouble or ("" if self.scope.is_read else "the hub was not reached yet")

    def status(self) -> dict[str, Any]:
        """As an edge device's, with what was started."""
        return {"mode": "solution", "source": self.run.source, **super().status()}


class _KeepingAgent(Agent):
    """An agent that deletes no identities: those of the device's own deployment are not in the file."""

    async def _forget_others(self) -> None:
        self._leftovers = False
