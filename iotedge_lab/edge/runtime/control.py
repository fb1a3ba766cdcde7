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
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from iotedge_lab.edge.runtime.device import EdgeDevice
from iotedge_lab.edge.runtime.metrics import exposition
from iotedge_lab.edge.runtime.place import from_json
from iotedge_lab.edge.upstream import CloudIdentity
from iotedge_lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.runtime.place import RuntimeFolder
    from iotedge_lab.edge.runtime.settings import EdgeSettings
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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


class Control:
    """The API over a `Host`. `stop` ends the process."""

    def __init__(self, host: Host, token: str, stop: Callable[[], None]) -> None:
        self._host = host
        self._token = token
        self._stop = stop
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen on a free loopback port; which."""
        app = web.Application(middlewares=[self._guarded])
        app.add_routes(
            [
                web.get("/edges", self._list),
                web.put("/edges/{device}", self._put),
                web.get("/edges/{device}", self._get),
                web.delete("/edges/{device}", self._delete),
                web.post("/edges/{device}/offline", self._offline),
                web.post("/edges/{device}/online", self._online),
                web.get("/edges/{device}/logs/{module}", self._logs),
                web.get("/edges/{device}/metrics", self._metrics),
                web.post("/stop", self._end),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stop listening. Again does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runner.cleanup(), 3.0)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(errors="replace"), self._token.encode()):
            return _error(401, "Unauthorized", "The token of runtime.json is needed.")
        try:
            return await handler(request)
        except UsageError as error:
            return _error(404 if request.method != "PUT" else 400, type(error).__name__, str(error))
        except LabError as error:
            return _error(409, type(error).__name__, str(error))
        except web.HTTPException:
            raise
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            return _error(500, "HubFailed", f"a fault of the edge runtime: {error!r}")

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

    async def _end(self, _: web.Request) -> web.Response:
        self._stop()
        return web.Response(status=202)


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": kind, "message": message}, status=status)
