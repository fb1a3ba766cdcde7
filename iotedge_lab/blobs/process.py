"""The storage server's process: takes the folder's lock, serves on the socket that it is given until told to stop.

The hub holds the listening socket and starts this process when somebody first connects (`serve/activation`); it ends
with the hub. So an account that nobody uses costs nothing, and one that is killed comes back with the next connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from aiohttp import web

from iotedge_lab import __version__
from iotedge_lab.blobs.access import Access
from iotedge_lab.blobs.catalogue import Catalogue
from iotedge_lab.blobs.contents import Contents
from iotedge_lab.blobs.errors import BlobError
from iotedge_lab.blobs.http_app import make_app
from iotedge_lab.blobs.http_common import Account
from iotedge_lab.blobs.store import Store
from iotedge_lab.errors import LabError
from iotedge_lab.serve.addresses import BACKLOG, listen
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.serve.daemon import keep_errors, serve_in, stop_events, tell
from iotedge_lab.serve.storage import CONTAINERS, HOST, ServerFile, StorageFolder, endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)

_GRACE: Final = 3.0
_TIDY_EVERY: Final = 3600.0  # s
_LINE: Final = 32 * 1024  # of a request: bytes


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the command line says. `descriptor`: a socket that listens; else one is made on `port` (0: any)."""

    state: Path
    descriptor: int | None = None
    port: int = 0
    until_eof: bool = False


def run(settings: ServerSettings, clock: Clock, ready: IO[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Says ready, or the error, on `ready`."""
    folder = StorageFolder(settings.state)
    return serve_in(folder, lambda: _serve(settings, folder, clock, ready), "the storage server", ready)


def open_account(folder: StorageFolder, clock: Clock, port: int) -> tuple[Account, Store]:
    """The account of a folder, its containers made and what a crash left removed. For start-up: it blocks."""
    keys = folder.keys(clock)
    store = Store(folder.path / "blobs.db", fsync=True)
    contents = Contents(folder.path / "content", clock)
    catalogue = Catalogue(store, contents, clock)
    gone = contents.sweep(catalogue.wanted_files())
    if gone:
        log.info("%d files that no blob has, left over from a crash, were removed", gone)
    for name in CONTAINERS:
        with contextlib.suppress(BlobError):  # it is there
            catalogue.create_container(name, {})
    access = Access(keys, lambda name: catalogue.container(name).policies, clock.now)
    return Account(keys.account, endpoint(port, keys.account), catalogue, contents, access, clock), store


async def _serve(settings: ServerSettings, folder: StorageFolder, clock: Clock, ready: IO[str]) -> None:
    loop = asyncio.get_running_loop()
    stop, _ = stop_events(loop, until_eof=settings.until_eof)
    if settings.descriptor is not None:
        listening = socket.socket(fileno=settings.descriptor)
        listening.setblocking(False)
    else:
        [listening] = listen(HOST, settings.port)
    port = listening.getsockname()[1]
    account, store = open_account(folder, clock, port)
    context = Authority.open(settings.state / "certificates", clock).server_context()
    runner = web.AppRunner(
        make_app(account),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_GRACE,
        # A name of 1024 characters is nine times as long in a URL; metadata may have 8 KB.
        max_line_size=_LINE,
        max_field_size=_LINE,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listening, ssl_context=context, backlog=BACKLOG).start()
        folder.write(ServerFile(os.getpid(), port, clock.now(), __version__))
        log.info("the storage account %s is at port %d (process %d)", account.name, port, os.getpid())
        tell(ready, {"ready": True, "pid": os.getpid(), "port": port})
        keep_errors(folder.path / "server.err")
        tidying = loop.create_task(_tidy(folder, account.catalogue, stop))
        gc.freeze()  # what start-up made stays: the collector need not walk it again
        await stop.wait()
        tidying.cancel()
        log.info("the storage server stops")
    finally:
        await runner.cleanup()
        account.contents.close()
        store.close()


async def _tidy(folder: StorageFolder, catalogue: Catalogue, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        if loop.time() >= due:
            due = loop.time() + _TIDY_EVERY
            try:
                gone = catalogue.drop_old_blocks()
                if gone:
                    log.info("%d blocks that no blob took within a week were dropped", gone)
            except LabError as error:
                log.warning("housekeeping: %s", error)
        await asyncio.sleep(2)
        if not folder.file.exists():
            log.warning("the state folder is gone: nobody can find this server any more, so it ends")
            stop.set()
