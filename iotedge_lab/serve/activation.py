"""A listening socket whose server is started when somebody first connects, as systemd does it.

The owner (the hub) binds the port, so that the address holds for as long as the owner lives, and costs nothing until it
is used. The first connection waits in the kernel's backlog while the server starts; the server inherits the socket and
accepts from then on. When it ends, killed or not, the owner watches again, and the next connection starts another one.
The server ends with its owner: its standard input is a pipe of the owner's.

Where a process cannot inherit a socket (Windows), the server is started at once and binds the port itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import EnvironmentProblem, PortTaken
from iotedge_lab.serve.addresses import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
_PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # s after failures in a row; connections that wait are cut
_TRIES: Final = 50


async def bind_kept(
    host: str, wanted: int, ports: range, clock: Clock, held: Callable[[], bool]
) -> socket.socket | None:
    """A socket that listens on the port `wanted` (0: none), else on one of `ports` by chance.

    While `held()`, an earlier owner's server still has the port, and ends: it is waited for. None, with a word in the
    log, where nothing can be bound: the owner does without.
    """
    until = clock.monotonic() + STOP_SECONDS
    while wanted:
        with contextlib.suppress(EnvironmentProblem):
            return listen(host, wanted)[0]
        if clock.monotonic() > until or not held():
            log.warning("port %d is taken; URLs that name it lead nowhere any more", wanted)
            break
        await asyncio.sleep(0.05)
    for _ in range(_TRIES):
        with contextlib.suppress(PortTaken):
            return listen(host, ports[int.from_bytes(clock.token(4)) % len(ports)])[0]
    log.warning("none of %d ports of %s is free", _TRIES, host)
    return None


class Activation:
    """Watches `listening`, and runs `command` (arguments of this Python) on it. `name` is for the log.

    The command gets `--descriptor N --until-eof` (or `--port N` where sockets are not inherited), and says in one line
    of JSON on its standard output that it is ready, or why not.
    """

    def __init__(self, name: str, command: Sequence[str], listening: socket.socket) -> None:
        self._name = name
        self._command = tuple(command)
        self._listening = listening
        self.port = int(listening.getsockname()[1])
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._called = asyncio.Event()
        self._inherits = os.name == "posix"

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    @property
    def pid(self) -> int | None:
        """The running server's process, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def close(self) -> None:
        """Stop the server in order, and free the port. Again does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._end()
        self._listening.close()

    # -- the keeper ------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        failures = 0
        if not self._inherits:
            self._listening.close()
        while True:
            if self._inherits:
                await self._call()
            try:
                failed = await self._run()
            except Exception:
                log.exception("%s could not be run", self._name)
                failed = True
            failures = failures + 1 if failed else 0
            if failed:
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES)) - 1])
                if failures > 2:
                    self._cut()

    async def _call(self) -> None:
        """Until somebody connects."""
        loop = asyncio.get_running_loop()
        self._called.clear()
        loop.add_reader(self._listening.fileno(), self._called.set)
        try:
            await self._called.wait()
        finally:
            loop.remove_reader(self._listening.fileno())

    async def _run(self) -> bool:
        """Run the server to its end; whether it never became ready."""
        number = self._listening.fileno()
        how = ("--descriptor", str(number)) if self._inherits else ("--port", str(self.port))
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._command,
            *how,
            "--until-eof",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(number,) if self._inherits else (),
            start_new_session=True,  # Ctrl-C in a terminal is for the owner, who stops it in order
        )
        said, noise = await self._announcement(process)
        if said is None or "error" in said:
            log.error(
                "%s did not start: %s",
                self._name,
                (said or {}).get("message") or noise[-2000:] or "no reason given",
            )
            await self._end()
            return True
        log.info("%s runs (process %d)", self._name, process.pid)
        status = await process.wait()
        self._process = None
        log.log(
            logging.INFO if status == 0 else logging.WARNING,
            "%s ended with status %d; the next connection starts it again",
            self._name,
            status,
        )
        return False

    @staticmethod
    async def _announcement(process: asyncio.subprocess.Process) -> tuple[dict[str, Any] | None, str]:
        """The line of JSON in which it says how it is, and what came before it."""
        assert process.stdout is not None  # a pipe
        noise = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                async for line in process.stdout:
                    with contextlib.suppress(ValueError):
                        said = json.loads(line)
                        if isinstance(said, dict):
                            return said, noise
                    noise += line.decode(errors="replace")
        return None, noise

    def _cut(self) -> None:
        """Close the connections that wait: their clients hear at once that nobody serves."""
        while True:
            try:
                self._listening.accept()[0].close()
            except OSError:
                return

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
