"""How long an HTTP client may take: nobody holds a connection, or a call, without end.

aiohttp waits as long as it takes for the first request of a connection and for the body of any. Here a connection
whose first request has not come within `FIRST_SECONDS` is cut, one that was kept and is idle is closed, and a call
that has not been answered in time, because its body does not come, is 408. Whoever speaks at a usual pace notices
nothing; a direct method has its own time-outs, and a WebSocket ends by its own protocol's rules.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from iotedge_lab.broker.methods import CONNECT_SECONDS, RESPONSE_SECONDS

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.serve.sniffing import ConnectionInfo

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 120.0
CALL_SECONDS: Final = 60.0
_METHOD_SECONDS: Final = CALL_SECONDS + CONNECT_SECONDS[1] + RESPONSE_SECONDS[1]
_NEWCOMERS: Final = web.AppKey("newcomers", dict[asyncio.Protocol, float])
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def in_time(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Note that a request has come, and answer 408 if it is not served in time."""
    request.app[_NEWCOMERS].pop(request.protocol, None)
    if "upgrade" in request.headers.get("Connection", "").lower():
        return await handler(request)
    seconds = _METHOD_SECONDS if request.path.endswith("/methods") else CALL_SECONDS
    try:
        async with asyncio.timeout(seconds) as limit:
            return await handler(request)
    except TimeoutError:
        if not limit.expired():
            raise
        raise web.HTTPRequestTimeout from None


def prepare(app: web.Application) -> None:
    """Make an application ready for an `HttpServer`; `in_time` is one of its middlewares."""
    app[_NEWCOMERS] = {}


class HttpServer:
    """aiohttp's server, handed connections by the listener; looked after once a second (`LiveConnection`)."""

    def __init__(self, hub: Hub, app: web.Application) -> None:
        self._hub = hub
        self._newcomers = app[_NEWCOMERS]
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, keepalive_timeout=IDLE_SECONDS
        )

    async def start(self) -> None:
        """Make ready to take connections."""
        await self._runner.setup()
        self._hub.connections.add(self)

    def __call__(self, _: ConnectionInfo) -> asyncio.Protocol:
        """The protocol for one connection (`serve.sniffing.Handler`)."""
        assert self._runner.server is not None  # after `start`
        protocol = self._runner.server()
        self._newcomers[protocol] = self._hub.clock.monotonic()
        return protocol

    async def close(self) -> None:
        """End what is under way."""
        self._hub.connections.discard(self)
        await self._runner.cleanup()

    def tick(self, monotonic: float, now: float) -> None:  # noqa: ARG002 - as `LiveConnection` has it
        """Cut the connections whose first request does not come."""
        late = [protocol for protocol, since in self._newcomers.items() if monotonic - since > FIRST_SECONDS]
        for protocol in late:
            del self._newcomers[protocol]
            transport = getattr(protocol, "transport", None)  # None once the client has gone
            if transport is not None:
                log.info("an HTTP connection is closed: no request came within %g s", FIRST_SECONDS)
                transport.abort()

    def drop(self, reason: str) -> None:
        """`close` does that, in its own time."""
