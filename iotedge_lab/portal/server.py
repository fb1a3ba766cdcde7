"""The portal's server: its pages and calls on one loopback port."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from iotedge_lab.errors import PortTaken
from iotedge_lab.portal import access
from iotedge_lab.portal.api import Api, errors_as_json
from iotedge_lab.portal.listening import Listening
from iotedge_lab.portal.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from azure.eventhub.aio import EventHubConsumerClient

    from iotedge_lab.lab import Lab

STATIC: Final = Path(__file__).with_name("static")
LARGEST: Final = 512 * 1024  # bytes of a call's body; a twin has 32 KB, a message 64 KB


class Portal:
    """Listens on 127.0.0.1 while it is entered. `port` 0: any that is free. Raises `PortTaken`.

    The lab is `activate`d, for the SDKs find and trust the hub by this process's environment; `attach` finds it
    again, activated, when it does not answer any more, and raises `HubNotRunning` rather than start it. `any_host`:
    see `access.guard`. `listening` in place of the one of its own.
    """

    def __init__(
        self,
        lab: Lab,
        attach: Callable[[], Lab],
        token: str,
        port: int = 0,
        *,
        any_host: bool = False,
        listening: Listening | None = None,
    ) -> None:
        self._source = Source(lab, attach)
        self._listening = listening or Listening(self._reader)
        self._token = token
        self._port = port
        self._any_host = any_host
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    @property
    def link(self) -> str:
        """The page with its token. A browser does not send what is behind the #, so no log has it."""
        return f"http://127.0.0.1:{self.port}/#token={self._token}"

    async def __aenter__(self) -> Self:
        # The guard is outermost: an error, too, is said only to those who may ask.
        guard = access.guard(self._token, any_host=self._any_host)
        app = web.Application(middlewares=[guard, errors_as_json], client_max_size=LARGEST)
        app.add_routes(Api(self._source, self._listening).routes())
        app.router.add_get("/", _page)
        app.router.add_static("/static", STATIC)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortTaken(
                f"Port {self._port} of 127.0.0.1 cannot be had ({os.strerror(error.errno or 0)}): name another with "
                "--port, or none for any that is free."
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _reader(self) -> EventHubConsumerClient:
        return events_client(self._source.lab)


def events_client(lab: Lab) -> EventHubConsumerClient:
    """A client of the hub's built-in endpoint."""
    from azure.eventhub.aio import EventHubConsumerClient

    return EventHubConsumerClient.from_connection_string(
        lab.events_connection_string, consumer_group="$Default", eventhub_name=lab.events_name
    )


async def _page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")
