"""One edge device, put together: gateway, edge hub, agent, workload API and the links to the hub.

    device = EdgeDevice(settings, state_folder, authority, clock)
    await device.start()      # modules of the last deployment run, whether or not the hub can be reached
    device.offline()          # the ship leaves the harbour
    await device.close()

Stands for an IoT Edge runtime on one machine (learn.microsoft.com, IoT Edge, iot-edge-runtime), started from nothing
but the device's connection string.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

from iotedge_lab import __version__
from iotedge_lab.edge.agent import ModuleIdentity, Supervisor
from iotedge_lab.edge.agent.state import utc
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub import EdgeHub, EdgeHubSettings
from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.edge.hub.http import make_app
from iotedge_lab.edge.hub.identities import ModuleKeys
from iotedge_lab.edge.manifest import ImageTable, read_hub
from iotedge_lab.edge.manifest.model import DEFAULT_TIME_TO_LIVE
from iotedge_lab.edge.runtime.agent import Agent, hub_status
from iotedge_lab.edge.runtime.gateway import Gateway
from iotedge_lab.edge.runtime.metrics import exposition
from iotedge_lab.edge.runtime.settings import STOCK_MODULES, EdgeSettings
from iotedge_lab.edge.runtime.system import SystemModule
from iotedge_lab.edge.upstream import Cloud, CloudIdentity, CloudRest, Gate, Links
from iotedge_lab.edge.workload import WorkloadServer
from iotedge_lab.errors import LabError
from iotedge_lab.serve.sniffing import Handlers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.manifest.model import HubConfig
    from iotedge_lab.edge.upstream import Registered
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)

_REFRESH: Final = 3600.0  # s between two looks at the whole device scope, as the real edge hub has it
_RETRY: Final = 2.0  # s, doubled up to _RETRY_MOST: until the device scope was read once
_RETRY_MOST: Final = 30.0
_SOON: Final = 1.0  # s from a refusal to a look at the scope
_GRACE: Final = 3.0


class EdgeDevice:
    """One edge device from `start` to `close`. `folder` is `{state}/edges/{device}`."""

    def __init__(self, settings: EdgeSettings, edges: Path, authority: Authority, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.identity = CloudIdentity.from_connection_string(settings.connection_string)
        self.cloud = Cloud.from_connection_string(
            settings.connection_string, settings.ca_file, https_port=settings.https_port
        )
        self.folder = edges / self.identity.device
        self.gate = Gate()
        self._authority = authority
        self._rest = CloudRest(self.cloud, self.identity, clock, self.gate)
        self.gateway = Gateway(self.folder / "edge.json", settings.gateway)
        self.supervisor = Supervisor(
            self.folder,
            ImageTable.scan([*settings.module_folders, STOCK_MODULES], settings.images),
            self._identify,
            clock,
            changed=self._module_changed,
        )
        self._runner: web.AppRunner | None = None
        self._workload: WorkloadServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._look_again = asyncio.Event()
        self._scope_read = False
        self._hub_config: HubConfig | None = None
        self._hub_error: LabError | None = None
        self._hub_version = 0
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
        async with contextlib.AsyncExitStack() as held:
            await self.supervisor.open()
            held.push_async_callback(self.supervisor.close)
            held.push_async_callback(self._rest.close)
            self.hub = EdgeHub(
                EdgeHubSettings(
                    self.folder,
                    self.id,
                    frozenset({self.cloud.hostname, self.cloud.host}),
                    self.settings.fsync,
                ),
                Links(self.cloud, self.clock, self.gate),
                self.clock,
            )
            held.push_async_callback(self.hub.close)
            self.hub.lookup = self._look_up
            self.hub.on_refused.append(lambda _: self._look_again.set())
            self.hub.on_system_refused.append(self._look_again.set)
            self.agent = Agent(self.hub, self._rest, self.supervisor, self._place, self.cloud.hostname)
            self.edge_agent = SystemModule(
                self.hub,
                "$edgeAgent",
                apply=self._apply_agent,
                report=self.supervisor.reported,
                method=self.agent.method,
            )
            self.edge_hub = SystemModule(
                self.hub, "$edgeHub", apply=self._apply_hub, report=self._hub_reported
            )
            self.hub.on_clients.append(self.edge_hub.changed)
            self._ready = True
            await self._serve(held)
            self.agent.hub_runs(self.clock.now())
            await self.edge_hub.start()
            await self.edge_agent.start()
            self._tasks = [self.hub.run(self._keep_scope()), self.hub.run(self._tick())]
            held.push_async_callback(self._stop_tasks)
            # The modules first: what they say at their end is stored, and goes up while the links are there.
            held.push_async_callback(self.supervisor.stop)
            self._open = held.pop_all()
        log.info("edge %s serves on %s", self.id, self.gateway.hostname)
        return self

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
        runner = self._runner = web.AppRunner(
            make_app(self.hub, lambda: exposition(self)), access_log=None, handle_signals=False
        )
        await runner.setup()
        held.push_async_callback(self._stop_http)
        handlers = Handlers(
            mqtt=lambda info: EdgeFront(self.hub, info),
            http=lambda _: runner.server(),  # type: ignore[misc] # set up above
        )
        await self.gateway.start(self._authority, handlers)
        held.push_async_callback(self.gateway.close)
        self._workload = WorkloadServer(
            ModuleKeys(self.hub.identities),
            self._authority,
            modules=self.supervisor.listing,
            module_of=self.supervisor.module_of,
        )
        await self._workload.start(self.folder)
        held.push_async_callback(self._workload.close)

    async def _stop_http(self) -> None:
        if self._runner is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._runner.cleanup(), _GRACE)

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self.hub.tick()
            except LabError as error:
                log.warning("housekeeping: %s", error)
            except Exception:  # a fault of ours here must not end time-outs for everybody
                log.exception("housekeeping")

    # -- the device scope ----------------------------------------------------------------------------------

    async def _keep_scope(self) -> None:
        """Know the identities that may connect here: read at the start, each hour, and when one is refused."""
        delay = _RETRY
        if self.hub.identities.find(self.id, "$edgeAgent") is not None:
            self._open_system_links()
        while True:
            try:
                self.hub.identities.replace(await self._rest.scope())
                self._scope_read, delay, wait = True, _RETRY, _REFRESH
                await self._rekey_system_links()
            except UpstreamAway as error:
                log.info("the device scope cannot be read now: %s", error)
                wait, delay = delay, min(delay * 2, _RETRY_MOST)
            except LabError as error:
                log.warning("the device scope cannot be read: %s", error)
                wait, delay = delay, min(delay * 2, _RETRY_MOST)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._look_again.wait()
                    await asyncio.sleep(_SOON)
            self._look_again.clear()
            await self.gate.wait_open()

    def _open_system_links(self) -> None:
        for module in (self.edge_agent, self.edge_hub):
            try:
                module.open_link()
            except LabError as error:
                log.warning("%s has no link to the hub: %s", module.module, error)

    async def _rekey_system_links(self) -> None:
        for module in (self.edge_agent, self.edge_hub):
            if module.link is not None and module.refusal:
                await module.reopen_link()
        self._open_system_links()

    async def _look_up(self, device: str, module: str) -> None:
        """Ask the hub for an identity that wants to connect and is not known."""
        try:
            found = await self._rest.member(device, module)
        except LabError as error:
            log.info("%s/%s is not known, and the hub cannot tell: %s", device, module, error)
            return
        if found is not None:
            members: list[Registered] = [*found.devices, *found.modules]
            self.hub.identities.save(members)

    # -- deployments ---------------------------------------------------------------------------------------

    async def _apply_agent(self, desired: Mapping[str, Any]) -> None:
        await self.agent.apply(desired)

    async def _apply_hub(self, desired: Mapping[str, Any]) -> None:
        self._hub_version = int(desired.get("$version", 0))
        if not any(not key.startswith("$") for key in desired):
            return  # nothing was deployed yet
        try:
            config = read_hub(desired)
        except LabError as error:
            log.warning("the routes (version %d) are refused: %s", self._hub_version, error)
            self._hub_error = error
        else:
            self._hub_config, self._hub_error = config, None
            self.hub.apply(config)

    def _hub_reported(self) -> dict[str, Any]:
        clients = {
            name: {
                "status": "Connected" if state["connected"] else "Disconnected",
                "lastConnectedTimeUtc": utc(state["lastConnected"] or None),
                "lastDisconnectTimeUtc": utc(state["lastDisconnected"] or None),
            }
            for name, state in self.hub.client_states().items()
        }
        return {
            "schemaVersion": "1.0",
            "version": {"version": __version__, "build": "", "commit": ""},
            "lastDesiredVersion": self._hub_version,
            "lastDesiredStatus": hub_status(self._hub_error).reported(),
            "clients": clients,
        }

    def _module_changed(self) -> None:
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
            more=self.gateway.environment(),
        )

    # -- what a person asks --------------------------------------------------------------------------------

    async def offline(self) -> None:
        """Cut the link to the hub until `online`; returns when the sockets are closed."""
        self.gate.close()
        await self.gate.wait_clear()

    def online(self) -> None:
        """Let the link come back."""
        self.gate.open()
        self._look_again.set()

    @property
    def is_connected(self) -> bool:
        """Whether the agent is connected to the hub."""
        link = self.edge_agent.link
        return link is not None and link.connected

    def status(self) -> dict[str, Any]:
        """How it is, as JSON: for the terminal, a notebook's table, and tests."""
        version, desired = self.supervisor.last_desired
        config = self.supervisor.config
        modules = [
            {
                "name": name,
                "type": "IoT Edge Module",
                "specified": True,
                "image": config.modules[name].image,
                "status": config.modules[name].status.value,
                **state.reported(),
                "connected": bool((self.hub.client_states().get(f"{self.id}/{name}") or {}).get("connected")),
            }
            for name, state in self.supervisor.status().items()
        ]
        queues = [
            {
                "endpoint": each.lane.endpoint,
                "source": each.lane.source,
                "priority": each.priority,
                "length": each.length,
                "oldestSeconds": round(each.oldest, 3),
                "expired": each.expired,
                "refused": each.refused,
            }
            for each in self.hub.figures()
        ]
        return {
            "device": self.id,
            "hub": self.cloud.hostname,
            "gateway": self.gateway.hostname,
            "online": self.gate.is_open,
            "connected": self.is_connected,
            "trouble": self._trouble(),
            "desiredVersion": version,
            "desiredStatus": desired.reported(),
            "hubDesiredVersion": self._hub_version,
            "hubDesiredStatus": hub_status(self._hub_error).reported(),
            "routes": {entry.name: entry.route.text for entry in self.hub.router.table},
            "timeToLiveSecs": self._hub_config.time_to_live if self._hub_config else DEFAULT_TIME_TO_LIVE,
            "modules": modules,
            "clients": self.hub.client_states(),
            "queues": queues,
            "waiting": sum(each["length"] for each in queues),
            "received": self.hub.counters.messages,
            "unrouted": self.hub.router.dropped,
        }

    def _trouble(self) -> str:
        """Why there is no connection to the hub, as far as is known."""
        if not self.gate.is_open:
            return "offline on purpose"
        link = self.edge_agent.link
        if link is None:
            return "" if self._scope_read else "the hub was not reached yet"
        status = link.status()
        return status.refusal or status.trouble
