"""The control API of the simulator: what a notebook and the terminal ask it, on a loopback port.

    GET  /status                       how it is
    GET  /modulecred?module=           the variables that make the SDK connect as that module; may come several times
    GET  /outputs?after=&count=&wait=  outputs after that number; waits `wait` seconds for `count` of them
    GET  /connected?module=&wait=      whether a module is connected; waits for it
    POST /stop                         end

Each request has the token of `runtime.json` (`Authorization: Bearer`), which is its owner's alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from aiohttp import web

from iotedge_lab.edge.simulator.routes import TARGET
from iotedge_lab.edge.simulator.single import SingleModule
from iotedge_lab.edge.simulator.solution import SolutionDevice
from iotedge_lab.errors import UsageError
from iotedge_lab.serve.control import ControlApi

if TYPE_CHECKING:
    from collections.abc import Callable

Simulation = SingleModule | SolutionDevice
LONGEST_WAIT: Final = 30.0  # s in one request
PAGE: Final = 500  # outputs in one answer


class SimulatorControl(ControlApi):
    """The API over a simulation."""

    what: ClassVar[str] = "the simulator"

    def __init__(self, simulation: Simulation, token: str, stop: Callable[[], None]) -> None:
        super().__init__(token, stop)
        self._simulation = simulation

    def routes(self) -> list[web.RouteDef]:
        """See the table above."""
        return [
            web.get("/status", self._status),
            web.get("/modulecred", self._credentials),
            web.get("/outputs", self._outputs),
            web.get("/connected", self._connected),
        ]

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
