"""The control API of a lab's edge runtime: what a notebook and the terminal tell it, on a loopback port.

    GET    /edges                         the status of each edge device
    PUT    /edges/{device}                run it: the body is its settings (`place.to_json`)
    GET    /edges/{device}                its status
    DELETE /edges/{device}[?forget=1]     stop it
    POST   /edges/{device}/offline        cut the link to the hub; answers when the sockets are closed
    POST   /edges/{device}/online
    GET    /edges/{device}/logs/{module}  the module's log as text, `?tail=` lines of it
    GET    /edges/{device}/metrics        Prometheus text
    POST   /stop                          end the runtime

Each request has the token of `runtime.json` (`Authorization: Bearer`), which is its owner's alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from aiohttp import web

from iotedge_lab.edge.runtime.device import EdgeDevice
from iotedge_lab.edge.runtime.metrics import exposition
from iotedge_lab.edge.runtime.place import from_json
from iotedge_lab.edge.upstream import CloudIdentity
from iotedge_lab.errors import LabError, UsageError
from iotedge_lab.serve.control import ControlApi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.runtime.place import RuntimeFolder
    from iotedge_lab.edge.runtime.settings import EdgeSettings
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)


class Host:
    """The edge devices of one process."""

    def __init__(self, folder: RuntimeFolder, authority: Authority, clock: Clock) -> None:
        self._folder = folder
        self._authority = authority
        self._clock = clock
        self._turn = asyncio.Lock()
        self._devices: dict[str, EdgeDevice] = {}
        self._wanted = folder.load_edges()
        self.failures: dict[str, str] = {}
        """devices that should run and could not be started, with the reason"""

    @property
    def edges(self) -> Path:
        """Where the devices' folders lie."""
        return self._folder.path

    def __iter__(self) -> Any:
        return iter(tuple(self._devices.values()))

    async def resume(self) -> None:
        """Run the devices that ran before. One that cannot be started does not keep the others from it."""
        for name, settings in tuple(self._wanted.items()):
            try:
                await self.run(settings)
            except LabError as error:
                self.failures[name] = str(error)
                log.warning("edge %s could not be started: %s", name, error)
            except Exception as error:
                self.failures[name] = f"a fault of the edge runtime: {error!r}"
                log.exception("edge %s could not be started", name)

    async def run(self, settings: EdgeSettings) -> EdgeDevice:
        """Run a device; one that runs with other settings is started anew. Raises LabError."""
        async with self._turn:
            device = EdgeDevice(settings, self.edges, self._authority, self._clock)
            running = self._devices.get(device.id)
            if running is not None and running.settings == settings:
                await device.discard()
                return running
            if running is not None:
                await self._devices.pop(device.id).close()
            try:
                await device.start()
            except BaseException:
                if running is not None:
                    await self._run_again(running.settings)
                raise
            self._devices[device.id] = device
            self.failures.pop(device.id, None)
            self._wanted[device.id] = settings
            self._folder.save_edges(self._wanted)
            return device

    async def _run_again(self, settings: EdgeSettings) -> None:
        """New settings were no good: go on with those of before."""
        device = EdgeDevice(settings, self.edges, self._authority, self._clock)
        try:
            self._devices[device.id] = await device.start()
        except LabError as error:
            self.failures[device.id] = str(error)
            log.warning("edge %s does not run any more: %s", device.id, error)

    async def stop(self, name: str, *, forget: bool = False) -> None:
        """Stop a device; `forget`: and give its address up. Raises UsageError."""
        async with self._turn:
            if name not in self._devices and name not in self.failures:
                self.get(name)  # says which there are
            self._wanted.pop(name, None)
            self._folder.save_edges(self._wanted)
            self.failures.pop(name, None)
            device = self._devices.pop(name, None)
            if device is not None:
                await device.close()
                if forget:
                    device.gateway.give_up()

    def get(self, name: str) -> EdgeDevice:
        """A running device; raises UsageError."""
        found = self._devices.get(name)
        if found is None:
            why = f" ({self.failures[name]})" if name in self.failures else ""
            raise UsageError(
                f"No edge device {name!r} runs here{why}; there are {', '.join(self._devices) or 'none'}."
            )
        return found

    async def close(self) -> None:
        """Stop all, and remember which they were."""
        async with self._turn:
            ends = await asyncio.gather(
                *(device.close() for device in self._devices.values()), return_exceptions=True
            )
            for device, end in zip(self._devices.values(), ends, strict=True):
                if isinstance(end, Exception):
                    log.error("edge %s did not end in order", device.id, exc_info=end)
            self._devices.clear()


class Control(ControlApi):
    """The API over a `Host`."""

    what: ClassVar[str] = "the edge runtime"

    def __init__(self, host: Host, token: str, stop: Callable[[], None]) -> None:
        super().__init__(token, stop)
        self._host = host

    def routes(self) -> list[web.RouteDef]:
        """See the table above."""
        return [
            web.get("/edges", self._list),
            web.put("/edges/{device}", self._put),
            web.get("/edges/{device}", self._get),
            web.delete("/edges/{device}", self._delete),
            web.post("/edges/{device}/offline", self._offline),
            web.post("/edges/{device}/online", self._online),
            web.get("/edges/{device}/logs/{module}", self._logs),
            web.get("/edges/{device}/metrics", self._metrics),
        ]

    def status_of(self, error: LabError, request: web.Request) -> int:
        """404 for a device or module that is not there, 400 for settings that are wrong, 409 for all else."""
        if isinstance(error, UsageError):
            return 400 if request.method == "PUT" else 404
        return super().status_of(error, request)

    def _device(self, request: web.Request) -> EdgeDevice:
        return self._host.get(request.match_info["device"])

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"edges": [device.status() for device in self._host], "failures": self._host.failures}
        )

    async def _put(self, request: web.Request) -> web.Response:
        try:
            settings = from_json(await request.json())
            named = CloudIdentity.from_connection_string(settings.connection_string).device
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"The settings cannot be read ({type(error).__name__}).") from error
        if named != request.match_info["device"]:
            raise UsageError(
                f"The connection string is that of {named!r}, and not of {request.match_info['device']!r}."
            )
        return web.json_response((await self._host.run(settings)).status())

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._device(request).status())

    async def _delete(self, request: web.Request) -> web.Response:
        await self._host.stop(request.match_info["device"], forget="forget" in request.query)
        return web.Response(status=204)

    async def _offline(self, request: web.Request) -> web.Response:
        await self._device(request).offline()
        return web.Response(status=204)

    async def _online(self, request: web.Request) -> web.Response:
        self._device(request).online()
        return web.Response(status=204)

    async def _logs(self, request: web.Request) -> web.Response:
        snapshot = self._device(request).supervisor.read_log(request.match_info["module"])
        lines = await asyncio.to_thread(lambda: list(snapshot.lines()))
        tail = request.query.get("tail")
        if tail is not None and tail.isdigit():
            lines = lines[-int(tail) :] if int(tail) else []
        return web.json_response(
            [{"time": line.time, "stream": line.stream, "text": line.text} for line in lines]
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=exposition(self._device(request)))
