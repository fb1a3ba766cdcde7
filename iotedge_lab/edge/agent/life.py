"""The life of one deployed module: started, awaited, started again as its restart policy says, stopped.

One task a module goes through `starting - running - ended - waiting` until it is stopped or its policy has it rest.
Between the steps it waits for events only: the process's end, the end of the back-off, or the wish to stop.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.agent.process import ModuleProcess
from iotedge_lab.edge.agent.restarts import RuntimeStatus, after_policy, cool_off, ended_as, is_healthy
from iotedge_lab.edge.agent.state import ModuleState
from iotedge_lab.edge.manifest.model import Status
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.agent.logs import ModuleLog
    from iotedge_lab.edge.manifest.model import ModuleSpec

log = logging.getLogger(__name__)

STOP_TIMEOUT: Final = 10.0  # seconds from SIGTERM to SIGKILL, as `docker stop` has it
CANNOT_START: Final = 125  # the exit code of what could not be started, as `docker run` has it
_MAX_WORDS: Final = 300


@dataclass(frozen=True, slots=True)
class Launch:
    """What a process is started from."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a life needs of its supervisor.

    `launch` prepares a start (fresh: the working folder is made anew) and may raise LabError; `changed` is called
    after each change of state; `sleep` waits for seconds.
    """

    clock: Clock
    launch: Callable[[ModuleSpec, bool], Awaitable[Launch]]
    changed: Callable[[], None]
    sleep: Callable[[float], Awaitable[None]]
    stop_timeout: float


class ModuleLife:
    """A module from its deployment to its removal or change. `state` is how it is."""

    def __init__(self, spec: ModuleSpec, output: ModuleLog, around: Surroundings) -> None:
        self.spec = spec
        self.log = output
        self._around = around
        self._state = ModuleState(RuntimeStatus.STOPPED)
        self._process: ModuleProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._fresh = True
        self._exited: float | None = None  # on the monotonic clock

    @property
    def state(self) -> ModuleState:
        """How the module is now. Restarts are forgotten once it has been well for long enough."""
        if self._state.status is RuntimeStatus.RUNNING and self._state.restarts and self._is_healthy():
            self._state = replace(self._state, restarts=0, restarted=None)
        return self._state

    async def start(self) -> None:
        """Have it run; returns once its process was started, or the first attempt has failed."""
        await self.stop()
        self._stopping.clear()
        attempted = asyncio.Event()
        self._task = asyncio.create_task(self._live(attempted), name=f"module {self.spec.name}")
        first = asyncio.ensure_future(attempted.wait())
        try:
            await asyncio.wait({first, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            first.cancel()

    async def stop(self) -> None:
        """Have it end, and wait for that; SIGKILL where it does not within the timeout."""
        task = self._task
        if task is None:
            return
        self._stopping.set()
        if self._process is not None:
            await self._process.stop(self._around.stop_timeout)
        await task
        self._task = None
        if self._state.status is not RuntimeStatus.STOPPED:
            self._become(RuntimeStatus.STOPPED, "stopped")

    async def restart(self) -> None:
        """End it and start it again at once; restarts by policy are not counted anew."""
        count, at = self._state.restarts, self._state.restarted
        await self.stop()
        self._state = replace(self._state, restarts=count, restarted=at)
        await self.start()

    async def update(self, spec: ModuleSpec) -> None:
        """Look after it by another restart policy, startup order, ...; a process that runs goes on.

        A module that is to run and rests is looked at again: its new policy may want it back, or no longer.
        """
        self.spec = spec
        if spec.status is not Status.RUNNING or self._exited is None:
            return
        waits = self._state.status is RuntimeStatus.BACKOFF
        ended = ended_as(self._state.exit_code) if waits else self._state.status
        wanted = after_policy(ended, spec.restart_policy, self._state.restarts) is RuntimeStatus.BACKOFF
        if waits and not wanted:
            description = self._state.description
            await self.stop()
            self._become(ended, description)
        elif wanted and not waits:
            await self.start()

    def process_id(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process is not None else None

    # -- the steps -------------------------------------------------------------------------------------

    async def _live(self, attempted: asyncio.Event) -> None:
        while not self._stopping.is_set():
            code = await self._run_once(attempted)
            attempted.set()
            status = self._ended(code)
            if status is not RuntimeStatus.BACKOFF:
                return
            seconds = cool_off(self._state.restarts)
            log.info("module %s is started again in %g s", self.spec.name, seconds)
            if await self._stopped_while_waiting(seconds):
                return
            self._state = replace(
                self._state, restarts=self._state.restarts + 1, restarted=self._around.clock.now()
            )

    async def _run_once(self, attempted: asyncio.Event) -> int | None:
        """Start the process and wait for its end; its exit code, or None where it could not be started."""
        try:
            launch = await self._around.launch(self.spec, self._fresh)
            if self._stopping.is_set():
                return None
            self._process = ModuleProcess.start(
                launch.command, folder=launch.folder, environment=launch.environment, output=self.log
            )
        except Exception as error:  # whatever stands in its way: supervision goes on
            unexpected = None if isinstance(error, (LabError, OSError)) else error
            log.warning("module %s cannot be started: %s", self.spec.name, error, exc_info=unexpected)
            self._state = replace(self._state, exit_code=CANNOT_START)
            self._become(RuntimeStatus.FAILED, f"cannot be started: {error}"[:_MAX_WORDS])
            return None
        self._fresh = False
        log.info("module %s runs as process %d", self.spec.name, self._process.pid)
        self._state = replace(self._state, exit_code=0, started=self._around.clock.now())
        self._become(RuntimeStatus.RUNNING, "running")
        attempted.set()
        try:
            return await self._process.ended()
        except asyncio.CancelledError:  # the loop ends, and nobody would look after it any more
            self._process.abandon()
            self.log.close()
            raise
        finally:
            self._process = None

    def _ended(self, code: int | None) -> RuntimeStatus:
        """Note the end, and decide what comes next."""
        healthy = code is not None and self._is_healthy()
        was_asked = self._stopping.is_set()
        ended = ended_as(code, was_asked=was_asked)
        restarts = 0 if healthy else self._state.restarts
        status = ended if was_asked else after_policy(ended, self.spec.restart_policy, restarts)
        self._exited = self._around.clock.monotonic()
        description = self._state.description
        if code is not None:
            description = self._words(code, was_asked=was_asked)
            log.log(
                logging.INFO if was_asked or code == 0 else logging.WARNING,
                "module %s %s", self.spec.name, description,
            )  # fmt: skip
        self._state = replace(
            self._state,
            exit_code=self._state.exit_code if code is None else code,
            exited=self._around.clock.now(),
            restarts=restarts,
            restarted=None if healthy else self._state.restarted,
        )
        self._become(status, description)
        return status

    async def _stopped_while_waiting(self, seconds: float) -> bool:
        """Wait out the back-off; whether the module was stopped meanwhile."""
        waiting = asyncio.ensure_future(self._around.sleep(seconds))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (waiting, stopping):
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each
        return self._stopping.is_set()

    def _become(self, status: RuntimeStatus, description: str) -> None:
        self._state = replace(self._state, status=status, description=description, pid=self.process_id())
        self._around.changed()

    def _is_healthy(self) -> bool:
        since = None if self._exited is None else self._around.clock.monotonic() - self._exited
        return is_healthy(since)

    def _words(self, code: int, *, was_asked: bool) -> str:
        """The end in a sentence; of a failure also the last line that was written to stderr."""
        if was_asked:
            return f"stopped, exit code {code}"
        last = self.log.last("stderr") if code else ""
        return f"exited with code {code}{f': {last}' if last else ''}"[:_MAX_WORDS]
