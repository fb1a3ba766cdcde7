"""The API by which a background process is told what to do, on a free loopback port, and for its owner alone.

Each request has the token that the process wrote into its folder (`Authorization: Bearer`). Errors are JSON:
`{"error": kind, "message": text}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar, Final

from aiohttp import web

from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LAST_WORDS: Final = 3.0  # s that requests have when it closes


class ControlApi:
    """What listens, checks and answers; a subclass says with which `routes`. `stop` ends the process."""

    what: ClassVar[str]
    """which process this is, in an error's text"""

    def __init__(self, token: str, stop: Callable[[], None]) -> None:
        self._token = token
        self._stop = stop
        self._runner: web.AppRunner | None = None

    def routes(self) -> Iterable[web.RouteDef]:
        """What it serves besides `POST /stop`."""
        raise NotImplementedError

    def status_of(self, error: LabError, request: web.Request) -> int:
        """The status that an error of ours is answered with."""
        del error, request
        return 409

    async def start(self) -> int:
        """Listen on a free loopback port; which."""
        app = web.Application(middlewares=[self._guarded])
        app.add_routes([*self.routes(), web.post("/stop", self._end)])
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
                await asyncio.wait_for(runner.cleanup(), _LAST_WORDS)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(errors="replace"), self._token.encode()):
            return _error(401, "Unauthorized", "The token of runtime.json is needed.")
        try:
            return await handler(request)
        except LabError as error:
            return _error(self.status_of(error, request), type(error).__name__, str(error))
        except web.HTTPException:
            raise
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            return _error(500, "HubFailed", f"a fault of {self.what}: {error!r}")

    async def _end(self, _: web.Request) -> web.Response:
        self._stop()
        return web.Response(status=202)


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": kind, "message": message}, status=status)
