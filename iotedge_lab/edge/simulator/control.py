"""The control API of the simulator: what a notebook and the terminal ask it, on a loopback port.

    GET  /status                       how it is
    GET  /modulecred?module=           the variables that make the SDK connect as that module; may come several times
    GET  /outputs?after=&count=&wait=  outputs after that number; waits `wait` seconds for `count` of them
    GET  /connected?module=&wait=      whether a module is connected; waits for it
    POST /stop                         end

Each request has the token of `runtime.json` (`Authorization: Bearer`), which is its owner's alone.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
from asyncio import wait_for
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from iotedge_lab.edge.simulator.routes import TARGET
from iotedge_lab.edge.simulator.single import SingleModule
from iotedge_lab.edge.simulator.solution import SolutionDevice
from iotedge_lab.errors import LabError, UsageError

log = logging.getLogger(__name__)

Simulation = SingleModule | SolutionDevice
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LONGEST_WAIT: Final = 30.0  # s in one request
PAGE: Final = 500  # outputs in one answer


class SimulatorControl:
    """The API over a simulation. `stop` ends the process."""

    def __init__(self, simulation: Simulation, token: str, stop: Callable[[], None]) -> None:
        self._simulation = simulation
        self._token = token
        self._stop = stop
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen on a free loopback port; which."""
        app = web.Application(middlewares=[self._guarded])
        app.add_routes(
            [
                web.get("/status", self._status),
                web.get("/modulecred", self._credentials),
                web.get("/outputs", self._outputs),
                web.get("/connected", self._connected),
                web.post("/stop", self._end),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stop listening. Again does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            with contextlib.suppress(TimeoutError):
                await wait_for(runner.cleanup(), 3.0)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return _error(401, "Unauthorized", "The token of runtime.json is needed.")
        try:
            return await handler(request)
        except LabError as error:
            return _error(409, type(error).__name__, str(error))
        except web.HTTPException:
            raise
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            return _error(500, "HubFailed", f"a fault of the simulator: {error!r}")

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self._simulation.status())

    async def _credentials(self, request: web.Request) -> web.Response:
        modules = request.query.getall("module", [TARGET])
        return web.json_response(await self._single().credentials(modules))

    async def _outputs(self, request: web.Request) -> web.Response:
        outputs = self._single().outputs
        after, count = _number(request, "after"), max(1, _number(request, "count", 1))
        await outputs.wait(after, count, _seconds(request))
        found = outputs.after(after, PAGE)
        return web.json_response({"outputs": [each.to_json() for each in found], "last": outputs.last})

    async def _connected(self, request: web.Request) -> web.Response:
        module = request.query.get("module", TARGET)
        return web.json_response(
            {"connected": await self._single().wait_connected(module, _seconds(request))}
        )

    async def _end(self, _: web.Request) -> web.Response:
        self._stop()
        return web.Response(status=202)

    def _single(self) -> SingleModule:
        if isinstance(self._simulation, SolutionDevice):
            raise UsageError(
                "The simulator runs a whole solution, whose modules get their credentials by themselves and send "
                "where the routes say. For one module that you run yourself: 'iotedge-lab simulator stop', then "
                "'iotedge-lab simulator start -i input1'."
            )
        return self._simulation


def _number(request: web.Request, name: str, default: int = 0) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UsageError(f"{name}={text[:40]!r} is no number.")
    return int(text)


def _seconds(request: web.Request) -> float:
    text = request.query.get("wait", "0")
    try:
        return min(LONGEST_WAIT, max(0.0, float(text)))
    except ValueError:
        raise UsageError(f"wait={text[:40]!r} is no number of seconds.") from None


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": kind, "message": message}, status=status)
