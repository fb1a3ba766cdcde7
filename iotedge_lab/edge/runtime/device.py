"""One edge device, put together: gateway, edge hub, agent, workload API and the links to the hub.

    device = EdgeDevice(settings, state_folder, authority, clock)
    await device.start()      # modules of the last deployment run, whether or not the hub can be reached
    await device.offline()    # the ship leaves the harbour
    await device.close()

Stands for an IoT Edge runtime on one machine (learn.microsoft.com, IoT Edge, iot-edge-runtime), started from nothing
but the device's connection string.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.edge.agent import ModuleIdentity, Supervisor
from iotedge_lab.edge.hub import EdgeHub, EdgeHubSettings
from iotedge_lab.edge.hub.identities import ModuleKeys
from iotedge_lab.edge.hub.serving import serve
from iotedge_lab.edge.runtime.agent import Agent, LocalModules
from iotedge_lab.edge.runtime.diary import Diary
from iotedge_lab.edge.runtime.gateway import Gateway
from iotedge_lab.edge.runtime.metrics import Starts, exposition
from iotedge_lab.edge.runtime.routes import Routes
from iotedge_lab.edge.runtime.scope import DeviceScope
from iotedge_lab.edge.runtime.settings import STOCK_MODULES, EdgeSettings
from iotedge_lab.edge.runtime.status import device_status
from iotedge_lab.edge.runtime.system import SystemModule
from iotedge_lab.edge.upstream import Cloud, CloudIdentity, CloudRest, Gate, Links
from iotedge_lab.edge.workload import WorkloadServer
from iotedge_lab.errors import LabError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream import Patience, Registered
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)

_OFFLINE: Final = "offline"  # in the store: the link was taken away, and stays away over a restart


class EdgeDevice:
    """One edge device from `start` to `close`. `folder` is `{state}/edges/{device}`.

    `patience` is that of its links and calls to the hub; a test has less.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        edges: Path,
        authority: Authority,
        clock: Clock,
        *,
        patience: Patience | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.identity = CloudIdentity.from_connection_string(settings.connection_string)
        self.cloud = Cloud.from_connection_string(
            settings.connection_string, settings.ca_file, https_port=settings.https_port
        )
        self.folder = edges / self.identity.device
        self.gate = Gate()
        self._authority = authority
        self._patience = patience
        self._rest = CloudRest(self.cloud, self.identity, clock, self.gate, patience)
        self.gateway = Gateway(self.folder / "edge.json", settings.gateway)
        self.starts = Starts()
        self._images = LocalModules([*settings.module_folders, STOCK_MODULES], settings.images)
        self._diary = Diary(self.identity.device, self.folder, clock)
        self.supervisor = Supervisor(
            self.folder,
            self._images,
            self._identify,
            clock,
            changed=self._module_changed,
            system_logs=self._diary.logs,
        )
        self._workload: WorkloadServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._open: contextlib.AsyncExitStack | None = None
        self._ready = False  # the agent is there, to be told of changes

    @property
    def id(self) -> str:
        """The device id."""
        return self.identity.device

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Serve, and run what was deployed last; returns when clients can connect, online or not.

        Raises StateLocked where the device runs already, PortTaken, EnvironmentProblem.
        """
        with self._diary.of_this_device():
            async with contextlib.AsyncExitStack() as held:
                await self._start(held)
                self._open = held.pop_all()
            log.info("edge %s serves on %s", self.id, self.gateway.hostname)
        return self

    async def _start(self, held: contextlib.AsyncExitStack) -> None:
        held.push_async_callback(self._rest.close)
        await self.supervisor.open()
        held.push_async_callback(self.supervisor.close)
        self._diary.open()
        held.callback(self._diary.close)
        self.hub = EdgeHub(
            EdgeHubSettings(
                self.folder,
                self.id,
                frozenset({self.cloud.hostname, self.cloud.host}),
                self.settings.fsync,
            ),
            Links(self.cloud, self.clock, self.gate, patience=self._patience),
            self.clock,
        )
        held.push_async_callback(self.hub.close)
        if self.hub.store.get_meta(_OFFLINE):
            self.gate.close()
        self._put_together()
        # The routes before the first client: what no route takes is dropped.
        await self.edge_hub.apply_now()
        await self._serve(held)
        self.agent.hub_runs(self.clock.now())
        self.edge_hub.start()
        self.edge_agent.start()
        self._open_system_links()
        self.hub.settle_twins()
        self._tasks = [self.hub.run(self.scope.keep()), self.hub.run(self._tick())]
        held.push_async_callback(self._stop_tasks)
        # The modules first: what they say at their end is stored, and goes up while the links are there.
        held.push_async_callback(self.supervisor.stop)

    def _put_together(self) -> None:
        hub = self.hub
        self.scope = DeviceScope(hub, self._rest, self.gate, self._scope_was_read)
        hub.asking.ask = self.scope.look_up
        hub.on_refused.append(lambda _: self.scope.look_again())
        hub.on_system_refused.append(self.scope.look_again)
        hub.identities.on_change.append(self._identity_changed)
        self.agent = Agent(
            hub,
            self.scope,
            self.supervisor,
            images=self._images,
            place=self._place,
            hostname=self.cloud.hostname,
        )
        self.edge_agent = SystemModule(
            hub,
            "$edgeAgent",
            apply=self._apply_agent,
            report=self.agent.reported,
            method=self.agent.method,
        )
        self.routes = Routes(hub)
        self.edge_hub = SystemModule(hub, "$edgeHub", apply=self._apply_hub, report=self.routes.reported)
        hub.on_clients.append(self.edge_hub.changed)
        self._ready = True

    async def discard(self) -> None:
        """Let go of what was never started."""
        await self._rest.close()

    async def close(self) -> None:
        """Stop the modules, acknowledge what has come, and end. Again does nothing."""
        held, self._open = self._open, None
        if held is not None:
            await held.aclose()
            log.info("edge %s has ended", self.id)

    async def _serve(self, held: contextlib.AsyncExitStack) -> None:
        await serve(held, self.gateway, self._authority, self.hub, lambda: exposition(self))
        self._workload = WorkloadServer(
            ModuleKeys(self.hub.identities),
            self._authority,
            modules=self.supervisor.listing,
            module_of=self.supervisor.module_of,
        )
        await self._workload.start(self.folder)
        held.push_async_callback(self._workload.close)

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self.hub.tick()
                self.agent.tick()
            except LabError as error:
                log.warning("housekeeping: %s", error)
            except Exception:  # a fault of ours here must not end time-outs for everybody
                log.exception("housekeeping")

    # -- the device scope ----------------------------------------------------------------------------------

    @property
    def _scope_read(self) -> bool:
        return self.scope.is_read

    async def _scope_was_read(self) -> None:
        """What is known of the identities is what the hub says: each who needs a key has one now."""
        await self._give_system_keys()
        self._open_system_links()
        await self.agent.settle()

    async def _give_system_keys(self) -> None:
        """On Azure `$edgeAgent` and `$edgeHub` have no keys until their runtime gives them some."""
        for module in (self.edge_agent, self.edge_hub):
            known = self.hub.identities.find(self.id, module.module)
            if known is None or not known.has_key:
                try:
                    await self.scope.make(module.module)
                except LabError as error:
                    log.warning("%s gets no key: %s", module.module, error)

    def _open_system_links(self) -> None:
        for module in (self.edge_agent, self.edge_hub):
            try:
                module.open_link()
            except LabError as error:
                log.warning("%s has no link to the hub: %s", module.module, error)

    def _identity_changed(self, old: Registered, new: Registered | None) -> None:
        if old.device != self.id:
            return
        for module in (self.edge_agent, self.edge_hub):
            if old.module == module.module:
                self.hub.run(module.identity_changed(old, new))

    # -- deployments ---------------------------------------------------------------------------------------

    async def _apply_agent(self, desired: Mapping[str, Any]) -> None:
        await self.agent.apply(desired)

    async def _apply_hub(self, desired: Mapping[str, Any]) -> None:
        await self.routes.apply(desired)

    def _module_changed(self) -> None:
        self.starts.look(self.supervisor.status())
        if self._ready:
            self.edge_agent.changed()

    # -- modules -------------------------------------------------------------------------------------------

    async def _identify(self, spec: Any) -> ModuleIdentity:
        return await self.agent.identify(spec)

    def _place(self, module: str, generation_id: str) -> ModuleIdentity:
        assert self._workload is not None
        return ModuleIdentity(
            hub=self.cloud.hostname,
            device=self.id,
            module=module,
            generation_id=generation_id,
            gateway=self.gateway.hostname,
            workload_uri=self._workload.socket_uri,
            more={**self._trust(), **self.gateway.environment()},
        )

    def _trust(self) -> dict[str, str]:
        """By what modules trust the lab's storage. On a device the system's roots do that for Azure Storage."""
        if self.settings.ca_file is None:  # a hub on Azure
            return {}
        bundle = str(self._authority.bundle_file)
        return {"SSL_CERT_FILE": bundle, "REQUESTS_CA_BUNDLE": bundle}

    # -- what a person asks --------------------------------------------------------------------------------

    async def offline(self) -> None:
        """Cut the link to the hub until `online`, also over a restart; returns when the sockets are closed."""
        self._remember_offline("yes")
        self.gate.close()
        await self.gate.wait_clear()

    def online(self) -> None:
        """Let the link come back."""
        self._remember_offline("")
        if not self.gate.is_open:
            self.gate.open()
            self.scope.look_again()

    def _remember_offline(self, mark: str) -> None:
        try:
            self.hub.store.set_meta(_OFFLINE, mark)
        except StoreUnavailable as error:
            log.warning("whether this edge device is offline will not outlive a restart: %s", error)

    @property
    def is_connected(self) -> bool:
        """Whether the agent is connected to the hub."""
        link = self.edge_agent.link
        return link is not None and link.connected

    def status(self) -> dict[str, Any]:
        """How it is, as JSON (`runtime.status`)."""
        return device_status(self, self._trouble())

    def _trouble(self) -> str:
        """Why there is no connection to the hub, or none that lasts, as far as is known."""
        if not self.gate.is_open:
            return "offline on purpose"
        rivals = self.edge_agent.rivals.words
        if rivals or self.is_connected:
            return rivals
        link = self.edge_agent.link
        status = None if link is None else link.status()
        if status is not None and status.refusal:
            return f"{status.refusal}. {self.scope.trouble}".rstrip(". ")
        return self.scope.trouble or (status.trouble if status is not None else "the hub was not reached yet")
