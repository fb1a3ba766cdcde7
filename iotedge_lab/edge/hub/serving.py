"""An edge hub behind its gateway: MQTT, WebSocket and HTTPS on the same ports, until what it is held by ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.edge.hub.http import make_app
from iotedge_lab.serve.sniffing import Handlers

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edge.hub.hub import EdgeHub
    from iotedge_lab.serve.certificates import Authority

_GRACE: Final = 3.0  # s that requests have at the end


class Gateway(Protocol):
    """What listens."""

    async def start(self, authority: Authority, handlers: Handlers) -> object:
        """Bind, and listen. Raises PortTaken, EnvironmentProblem or UsageError."""

    async def close(self) -> None:
        """Stop listening."""


async def serve(
    held: contextlib.AsyncExitStack,
    gateway: Gateway,
    authority: Authority,
    hub: EdgeHub,
    metrics: Callable[[], str] = lambda: "",
) -> None:
    """Start the gateway for this hub, and leave its end to `held`; `metrics`: what /metrics answers."""
    runner = web.AppRunner(make_app(hub, metrics), access_log=None, handle_signals=False)
    await runner.setup()

    async def stop() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), _GRACE)

    held.push_async_callback(stop)
    handlers = Handlers(
        mqtt=lambda info: EdgeFront(hub, info),
        http=lambda _: runner.server(),  # type: ignore[misc] # set up above
    )
    await gateway.start(authority, handlers)
    held.push_async_callback(gateway.close)
