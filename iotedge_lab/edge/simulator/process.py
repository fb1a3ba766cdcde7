"""The simulator's process: one simulated edge device until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from aiohttp import web

from iotedge_lab import __version__
from iotedge_lab.edge.runtime.place import RuntimeFile
from iotedge_lab.edge.simulator.control import Simulation, SimulatorControl
from iotedge_lab.edge.simulator.http import messages_app
from iotedge_lab.edge.simulator.place import SimulatorFolder, SolutionRun
from iotedge_lab.edge.simulator.single import SingleModule
from iotedge_lab.edge.simulator.solution import SolutionDevice
from iotedge_lab.errors import PortTaken, UsageError
from iotedge_lab.serve.addresses import listen
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.serve.daemon import keep_errors, serve_in, stop_events, tell

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """What the command line says."""

    state: Path
    until_eof: bool = False  # end when standard input does: for a simulator that may not outlive its parent


def run(settings: SimulatorSettings, clock: Clock, ready: IO[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Says ready, or the error, on `ready`."""
    folder = SimulatorFolder(settings.state)
    return serve_in(folder, lambda: _serve(settings, folder, clock, ready), "the simulator", ready)


async def _serve(settings: SimulatorSettings, folder: SimulatorFolder, clock: Clock, ready: IO[str]) -> None:
    stop, _ = stop_events(asyncio.get_running_loop(), until_eof=settings.until_eof)
    token = clock.token(24).hex()
    async with contextlib.AsyncExitStack() as held:
        simulation = await _begin(settings, folder, clock, held)
        control = SimulatorControl(simulation, token, stop.set)
        port = await control.start()
        held.push_async_callback(control.close)
        folder.write(RuntimeFile(os.getpid(), port, token, clock.now(), __version__))
        tell(ready, {"ready": True, "pid": os.getpid()})
        keep_errors(folder.path / "simulator.err")
        log.info("the simulator is up (process %d)", os.getpid())
        while not stop.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await stop.wait()
            except TimeoutError:
                if not folder.file.exists():
                    log.warning(
                        "the state folder is gone: nobody can find this simulator any more, so it ends"
                    )
                    stop.set()
        log.info("the simulator stops")


async def _begin(
    settings: SimulatorSettings, folder: SimulatorFolder, clock: Clock, held: contextlib.AsyncExitStack
) -> Simulation:
    """Start what `run.json` says."""
    setup, wanted = folder.read_setup(), folder.read_run()
    if setup is None:
        raise UsageError("Cannot find config file. Please run 'iotedge-lab simulator setup' first.")
    # The lab's own authority, which the hub has too: who trusts the one trusts the other.
    authority = Authority.open(settings.state / "certificates", clock)
    if isinstance(wanted, SolutionRun):
        device = SolutionDevice(setup, wanted, folder.path, authority, clock)
        try:
            await device.start()
        except BaseException:
            await device.discard()
            raise
        held.push_async_callback(device.close)
        return device
    # First of all, for it is the likeliest to fail.
    sockets = _listen(wanted.port)
    for each in sockets:
        held.callback(each.close)
    single = SingleModule(setup, wanted, folder.path, authority, clock)
    single.port = sockets[0].getsockname()[1]
    await single.start()
    held.push_async_callback(single.close)
    runner = web.AppRunner(messages_app(single), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    held.push_async_callback(runner.cleanup)
    for each in sockets:
        await web.SockSite(runner, each).start()
    return single


def _listen(port: int) -> list[socket.socket]:
    try:
        return listen("localhost", port)
    except PortTaken as error:
        raise PortTaken(
            f"{error} Another port: 'iotedge-lab simulator start --port {port + 1 if port < 65535 else 53001}'."
        ) from error
