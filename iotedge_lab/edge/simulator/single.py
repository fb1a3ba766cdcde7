"""Single-module mode: an edge hub for one module, which runs by itself wherever its author wants it.

    simulation = SingleModule(setup, run, folder, authority, clock)
    await simulation.start()
    await simulation.credentials([TARGET])   # what `iotedgehubdev modulecred` prints
    await simulation.post(posted)            # to an input of the module

Stands for `iotedgehubdev start -i`: modules `target` and `input` of an edge device, a gateway, fixed routes, and no
agent. It is the edge hub of the runtime, so twins and direct methods of `target` work as ever, and offline too once
its identity is known. Each start begins with empty queues, as a new container does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub import EdgeHub, EdgeHubSettings
from iotedge_lab.edge.hub.identities import SYSTEM_MODULES
from iotedge_lab.edge.hub.serving import serve
from iotedge_lab.edge.runtime.gateway import Gateway
from iotedge_lab.edge.simulator.outputs import Outputs
from iotedge_lab.edge.simulator.routes import TARGET, UTILITY, routes
from iotedge_lab.edge.simulator.utility import PrintingRouter, Utility
from iotedge_lab.edge.store import KeptTwin
from iotedge_lab.edge.upstream import Cloud, CloudIdentity, CloudRest, Gate, Links
from iotedge_lab.errors import LabError, UsageError
from iotedge_lab.wire.topics import check_module_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.simulator.messages import Posted
    from iotedge_lab.edge.simulator.place import Setup, SingleRun
    from iotedge_lab.edge.upstream import Registered
    from iotedge_lab.errors import StoreUnavailable
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)

_FRESH_TWIN: Final = KeptTwin(
    {"desired": {"$version": 1}, "reported": {}, "reportedVersion": 1, "baseKnown": False}, None
)
"""What the twin of a module is that was just made."""


class SingleModule:
    """One edge device with one module, from `start` to `close`. `devices` is where devices' folders lie."""

    def __init__(
        self, setup: Setup, run: SingleRun, devices: Path, authority: Authority, clock: Clock
    ) -> None:
        self.run = run
        self.port = run.port
        """where messages are posted; told by who listens there"""
        self._clock = clock
        self._authority = authority
        self._identity = CloudIdentity.from_connection_string(setup.connection_string)
        self._cloud = Cloud.from_connection_string(
            setup.connection_string, setup.ca_file, https_port=setup.https_port
        )
        self._config = routes(run.inputs)
        self._folder = devices / self._identity.device
        self._gate = Gate()
        self._rest = CloudRest(self._cloud, self._identity, clock, self._gate)
        self._gateway = Gateway(self._folder / "edge.json", setup.gateway)
        self._posted = 0
        self._trouble = ""
        self._news = asyncio.Event()
        self._open: contextlib.AsyncExitStack | None = None
        self.outputs = Outputs()

    @property
    def device(self) -> str:
        """The device id."""
        return self._identity.device

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Serve. The hub has to be reached the first time alone, for the identities of the two modules.

        Raises PortTaken, EnvironmentProblem (`UpstreamAway` with it), and what the hub refuses.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as held:
            held.push_async_callback(self._rest.close)
            self._hub = EdgeHub(
                EdgeHubSettings(
                    self._folder, self.device, frozenset({self._cloud.hostname, self._cloud.host})
                ),
                Links(self._cloud, self._clock, self._gate),
                self._clock,
            )
            held.push_async_callback(self._hub.close)
            self._hub.router = PrintingRouter()
            self._hub.apply(self._config)
            self._hub.on_clients.append(self._clients_changed)
            for endpoint in {lane.endpoint for lane in self._hub.queues.lanes()}:
                self._hub.queues.purge(endpoint)
            for module in (TARGET, UTILITY):
                await self._ensure(module)
            await self._know_twin()
            printer = self._hub.member(self.device, UTILITY)
            assert printer is not None  # its identity is known
            printer.arrived(Utility(self._hub, self.outputs))
            await serve(held, self._gateway, self._authority, self._hub)
            tick = self._hub.run(self._tick())
            held.callback(tick.cancel)
            self._open = held.pop_all()
        log.info("the simulator serves %s/%s on %s", self.device, TARGET, self._gateway.hostname)
        return self

    async def close(self) -> None:
        """End. Again does nothing."""
        held, self._open = self._open, None
        if held is not None:
            await held.aclose()
            log.info("the simulator has ended")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            try:
                self._hub.tick()
            except LabError as error:
                log.warning("housekeeping: %s", error)
            except Exception:  # a fault of ours here must not end time-outs for everybody
                log.exception("housekeeping")

    # -- identities ----------------------------------------------------------------------------------------

    async def _ensure(self, module: str) -> Registered:
        """The identity of a module, made at the hub if there is none; what is known of it where that is away."""
        known = self._hub.identities.find(self.device, module)
        try:
            found = await self._rest.create_module(module, "")
        except UpstreamAway as error:
            self._trouble = str(error)
            if known is None or not known.has_key:
                raise
            log.warning("the hub cannot be reached, and %s is taken as it was: %s", module, error)
            return known
        self._trouble = ""
        if known is not None and known.generation_id != found.generation_id:
            # It was made anew, with a twin of its own: that of its namesake is not read any more.
            self._hub.kept_twins.delete(self.device, module)
        self._hub.identities.save([found])
        return found

    async def _know_twin(self) -> None:
        """Have a copy of the module's twin, so that it can be read offline from the first moment on."""
        target = self._hub.member(self.device, TARGET)
        assert target is not None  # its identity is known
        if not self._trouble:
            target.open_link()
            try:
                await target.twin.get()
            except UpstreamAway as error:
                self._trouble = str(error)
        elif self._hub.kept_twins.load(self.device, TARGET) is None:
            self._hub.kept_twins.save(self.device, TARGET, _FRESH_TWIN)

    async def credentials(self, modules: Sequence[str]) -> dict[str, str]:
        """The variables that make the SDK connect here as one of these modules; keys are in them.

        Raises UsageError for a name that is none, UpstreamAway where the hub is needed and not there.
        """
        strings = []
        for module in modules:
            if module in SYSTEM_MODULES or module == UTILITY:
                raise UsageError(f"{module!r} is the simulator's own module; 'target' is yours.")
            check_module_id(module)
            key = (await self._ensure(module)).primary_key
            strings.append(
                f"HostName={self._cloud.hostname};GatewayHostName={self._gateway.hostname};"
                f"DeviceId={self.device};ModuleId={module};SharedAccessKey={key}"
            )
        return {
            "EdgeHubConnectionString": "|".join(strings),
            "EdgeModuleCACertificateFile": str(self._authority.ca_file),
            **self._gateway.environment(),
        }

    # -- messages ------------------------------------------------------------------------------------------

    async def post(self, posted: Posted) -> None:
        """Take a message for an input; it is stored when this returns. Raises StoreUnavailable."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: StoreUnavailable | None) -> None:
            if stored.done():
                return
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)

        topic = f"devices/{self.device}/modules/{UTILITY}/messages/events/{posted.bag}".encode()
        self._hub.counters.messages += 1
        self._posted += 1
        self._hub.route(self._hub.router.telemetry(topic, posted.body), done)
        await stored

    # -- what a person asks --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How it is, as JSON."""
        target = self._hub.member(self.device, TARGET)
        link = None if target is None else target.link
        return {
            "mode": "single",
            "device": self.device,
            "hub": self._cloud.hostname,
            "gateway": self._gateway.hostname,
            "inputs": list(self.run.inputs),
            "port": self.port,
            "module": {"name": TARGET, "connected": self.is_connected(TARGET)},
            "hubReached": link is not None and link.connected,
            "trouble": self._trouble,
            "posted": self._posted,
            "waiting": sum(each.length for each in self._hub.figures()),
            "outputs": self.outputs.last,
            "unrouted": self._hub.router.dropped,
        }

    def is_connected(self, module: str) -> bool:
        """Whether a module is connected here."""
        member = self._hub.member(self.device, module)
        return member is not None and member.connection is not None

    async def wait_connected(self, module: str, seconds: float) -> bool:
        """Wait until a module is connected here; whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_connected(module):
                    await self._news.wait()
        return self.is_connected(module)

    def _clients_changed(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
