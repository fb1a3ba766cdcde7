"""The edge runtime's process: hosts the edge devices of one lab until it is told to stop.

Modules die with it, killed or not; what a killed one left is ended by the next (`edge.agent.left_over`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from iotedge_lab import __version__
from iotedge_lab.edge.runtime.control import Control, Host
from iotedge_lab.edge.runtime.place import RuntimeFile, RuntimeFolder
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.serve.daemon import keep_errors, serve_in, stop_events, tell

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What the command line says."""

    state: Path
    background: bool = False  # standard error goes to a file, for nobody reads it
    until_eof: bool = False  # end when standard input does: for a runtime that may not outlive its parent


def run(settings: RuntimeSettings, clock: Clock, ready: IO[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Says ready, or the error, on `ready`."""
    folder = RuntimeFolder(settings.state)
    return serve_in(folder, lambda: _serve(settings, folder, clock, ready), "the edge runtime", ready)


async def _serve(settings: RuntimeSettings, folder: RuntimeFolder, clock: Clock, ready: IO[str]) -> None:
    loop = asyncio.get_running_loop()
    stop, _ = stop_events(loop, until_eof=settings.until_eof)
    # The lab's own authority, which the hub has too: who trusts the one trusts the other.
    authority = Authority.open(settings.state / "certificates", clock)
    host = Host(folder, authority, clock)
    token = clock.token(24).hex()
    control = Control(host, token, stop.set)
    try:
        await host.resume()
        port = await control.start()
        folder.write(RuntimeFile(os.getpid(), port, token, clock.now(), __version__))
        tell(ready, {"ready": True, "pid": os.getpid()})
        if settings.background:
            keep_errors(folder.path / "runtime.err")
        log.info("the edge runtime is up (process %d)", os.getpid())
        while not stop.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await stop.wait()
            except TimeoutError:
                if not folder.file.exists():
                    log.warning("the state folder is gone: nobody can find this runtime any more, so it ends")
                    stop.set()
        log.info("the edge runtime stops")
    finally:
        await control.close()
        await host.close()
