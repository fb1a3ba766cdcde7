"""The edge agent's hands: brings the processes of one edge device to what its deployment says.

    async with Supervisor(...) as supervisor:
        await supervisor.apply_desired(twin["desired"])
        supervisor.reported()

Stands for what `edgeAgent` and the container engine do together (learn.microsoft.com, IoT Edge, iot-edge-runtime,
"IoT Edge agent"). A deployment that cannot be read changes nothing; a module that cannot be started does not keep
the others from it. One supervisor at a time has a device's folder, and the first thing that it does is end what an
earlier one left. Left out: health checks, so no module is ever unhealthy; image pulls; updates of the agent itself.

All methods belong to the loop in which it was opened.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from filelock import FileLock, Timeout

from iotedge_lab.edge.agent import left_over, workspace
from iotedge_lab.edge.agent.environment import RUN_VARIABLE, module_command, module_environment
from iotedge_lab.edge.agent.life import CANNOT_START, STOP_TIMEOUT, Launch, ModuleLife, Surroundings
from iotedge_lab.edge.agent.logs import LogLimits, ModuleLog
from iotedge_lab.edge.agent.report import FAILED, SUCCESS, DesiredStatus, reported_properties
from iotedge_lab.edge.agent.restarts import RuntimeStatus
from iotedge_lab.edge.agent.state import ModuleState, listed
from iotedge_lab.edge.errors import InvalidManifest
from iotedge_lab.edge.manifest.changes import ModuleChanges, diff
from iotedge_lab.edge.manifest.model import AgentConfig, Status
from iotedge_lab.edge.manifest.reading import read_agent
from iotedge_lab.errors import EnvironmentProblem, StateLocked, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.agent.environment import ModuleIdentity
    from iotedge_lab.edge.agent.logs import LogSnapshot
    from iotedge_lab.edge.manifest.images import ImageTable
    from iotedge_lab.edge.manifest.model import ModuleSpec

log = logging.getLogger(__name__)

#: The runtime's own modules, whose logs can be asked for beside the others'.
SYSTEM: Final = ("edgeAgent", "edgeHub")


class Supervisor:
    """The modules of one edge device. Open it with `async with`, or `open` and `close`.

    `folder` is `{state}/edges/{device}`. `images` says which folder stands for which image. `identify` gives a
    module's identity when it is started, and may raise LabError (no such identity yet): the module then fails, and
    is tried again as its policy says. `system_logs` are logs of `edgeAgent` and `edgeHub` that GetModuleLogs may
    read. `changed` is called after each change of a module's state: time to report. `inherited` is the environment
    of which modules get `environment.PASSED_ON`.
    """

    def __init__(
        self,
        folder: Path,
        images: ImageTable,
        identify: Callable[[ModuleSpec], Awaitable[ModuleIdentity]],
        clock: Clock,
        *,
        changed: Callable[[], None] | None = None,
        limits: LogLimits | None = None,
        stop_timeout: float = STOP_TIMEOUT,
        system_logs: Mapping[str, ModuleLog] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        inherited: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._images = images
        self._identify = identify
        self._clock = clock
        self._tell = changed or (lambda: None)
        self._limits = limits or LogLimits()
        self._system_logs = dict(system_logs or {})
        self._inherited = os.environ if inherited is None else inherited
        self._around = Surroundings(clock, self._launch, self._changed, sleep, stop_timeout)
        self._lock = FileLock(self.folder / "agent.lock", timeout=0, mode=0o600)
        self._one_at_a_time = asyncio.Lock()
        self._run = clock.new_id()
        self._lives: dict[str, ModuleLife] = {}
        self._noted: list[left_over.Noted] = []
        self._config = AgentConfig()
        self._version = 0
        self._refused: DesiredStatus | None = DesiredStatus()
        self._system: dict[str, ModuleState] = {}

    # -- opening and closing ---------------------------------------------------------------------------

    async def open(self) -> Self:
        """Take the device's folder and end what an earlier run left there.

        Raises StateLocked where another runtime has it, EnvironmentProblem where it cannot be used.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise StateLocked(
                f"Another edge runtime runs on {self.folder}: one device has one runtime. Stop it first, or "
                "start this one as another device."
            ) from None
        except OSError as error:
            raise EnvironmentProblem(
                f"The folder {self.folder} cannot be used ({error.strerror}). Mend its rights or free some space."
            ) from error
        await asyncio.to_thread(left_over.end, self.folder, RUN_VARIABLE)
        self._system["edgeAgent"] = ModuleState(
            RuntimeStatus.RUNNING, "running", started=self._clock.now(), pid=os.getpid()
        )
        return self

    async def stop(self) -> None:
        """Stop all modules; a second call does nothing."""
        async with self._one_at_a_time:
            await asyncio.gather(*(life.stop() for life in self._lives.values()))
            for life in self._lives.values():
                life.log.close()
            self._lives.clear()
            self._system.clear()

    async def close(self) -> None:
        """Stop all modules, and give the folder back; a second call does nothing."""
        await self.stop()
        self._lock.release()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- deployments -----------------------------------------------------------------------------------

    async def apply_desired(self, desired: Mapping[str, Any]) -> DesiredStatus:
        """Bring the modules to the desired properties of `$edgeAgent`, as its twin has them (with `$version`).

        Never raises for what is in them: the status says that they were refused, and all goes on as it was.
        """
        version = desired.get("$version", 0)
        version = version if isinstance(version, int) else 0
        try:
            config = read_agent(desired)
        except InvalidManifest as error:
            return self.refuse(error, version)
        return await self.apply(config, version)

    def refuse(self, error: InvalidManifest, version: int) -> DesiredStatus:
        """Note that desired properties were refused; nothing else changes."""
        log.warning("the deployment (version %d) is refused: %s", version, error)
        self._version, self._refused = version, DesiredStatus.of(error)
        self._changed()
        return self._refused

    async def apply(self, config: AgentConfig, version: int = 0) -> DesiredStatus:
        """Bring the modules to `config`: what does not differ from before is not touched.

        Returns once all that is to stop has ended and all that is to run was started; 500 where some could not be.
        """
        # Not to be left half done, whatever becomes of the caller: the next deployment starts from what this one says.
        await asyncio.shield(asyncio.ensure_future(self._apply(config, version)))
        return self.last_desired[1]

    async def restart(self, name: str) -> None:
        """Restart a module at once, whatever its policy. Raises UsageError where it is not running."""
        async with self._one_at_a_time:
            life = self._lives.get(name)
            if life is None:
                raise UsageError(f"Module {name} not found in the current environment")
            if life.state.status is not RuntimeStatus.RUNNING:
                raise UsageError(f"Module {name} cannot be restarted since it is not running")
            await life.restart()

    async def retry(self, name: str) -> None:
        """Start a module that could not be started, without waiting for its back-off; nothing for any other."""
        async with self._one_at_a_time:
            life = self._lives.get(name)
            if (
                life is not None
                and life.spec.status is Status.RUNNING
                and life.state.status in (RuntimeStatus.FAILED, RuntimeStatus.BACKOFF)
                and life.state.exit_code == CANNOT_START
            ):
                await life.start()

    # -- what it tells ---------------------------------------------------------------------------------

    @property
    def config(self) -> AgentConfig:
        """The deployment that was applied last."""
        return self._config

    @property
    def last_desired(self) -> tuple[int, DesiredStatus]:
        """The version of the desired properties seen last, and what became of them."""
        return self._version, self._refused or self._outcome()

    def status(self) -> dict[str, ModuleState]:
        """How each module is, in the order of startup."""
        return {
            spec.name: self._lives[spec.name].state
            for spec in self._config.in_startup_order()
            if spec.name in self._lives
        }

    def set_system(self, name: str, state: ModuleState) -> None:
        """Say how `edgeHub` (or `edgeAgent`) is: the supervisor does not run them."""
        self._system[name] = state
        self._changed()

    def reported(self) -> dict[str, Any]:
        """The reported properties of `$edgeAgent`, whole."""
        return reported_properties(self._config, self.status(), self._system, *self.last_desired)

    def listing(self) -> list[dict[str, Any]]:
        """The modules as `GET /modules` of the workload API answers."""
        found = [(name, self._config.system.get(name), self._system.get(name)) for name in SYSTEM]
        system = [listed(name, spec, state) for name, spec, state in found if spec and state]
        return system + [listed(name, self._lives[name].spec, state) for name, state in self.status().items()]

    def module_of(self, pid: int) -> str | None:
        """The module that a process belongs to, by its session; None where it is none of ours."""
        with suppress(OSError):
            session = os.getsid(pid)
            for name, life in self._lives.items():
                if life.process_id() == session:
                    return name
        return None

    def log_names(self) -> list[str]:
        """The modules whose logs can be read, the runtime's own among them."""
        return [*self._system_logs, *self._lives]

    def read_log(self, name: str) -> LogSnapshot:
        """A module's log as it is now. Raises UsageError for a name that is not in `log_names`."""
        found = self._lives[name].log if name in self._lives else self._system_logs.get(name)
        if found is None:
            raise UsageError(
                f"There is no log of a module {name!r}; there are {', '.join(self.log_names()) or 'none'}."
            )
        return found.snapshot()

    # -- the steps -------------------------------------------------------------------------------------

    async def _apply(self, config: AgentConfig, version: int) -> None:
        async with self._one_at_a_time:
            for note in config.notes:
                log.info("deployment: %s", note)
            before, changes = self._config, diff(self._config, config)
            await self._take_down(before, changes)
            self._config, self._version, self._refused = config, version, None
            for name in (*changes.update, *changes.stop):
                await self._lives[name].update(config.modules[name])
            for name in changes.add:
                self._born(config.modules[name])
            for group in _in_order(config, (*changes.start, *changes.restart)):
                await asyncio.gather(*(self._begin(config.modules[name]) for name in group))
        self._changed()

    async def _take_down(self, before: AgentConfig, changes: ModuleChanges) -> None:
        """Stop what is to stop, in the reverse order of startup; what is gone or new leaves nothing behind."""
        down = (*changes.stop, *changes.remove, *changes.restart)
        for group in reversed(list(_in_order(before, down))):
            await asyncio.gather(*(self._lives[name].stop() for name in group))
        for name in changes.remove:
            life = self._lives.pop(name)
            life.log.remove()
            await asyncio.to_thread(workspace.remove, self.folder, name)
        for name in changes.reasons:
            log.info("module %s has changed: %s", name, ", ".join(changes.reasons[name]))

    def _born(self, spec: ModuleSpec) -> ModuleLife:
        """A life for a module that is new or was changed; its restarts count from 0."""
        old = self._lives.get(spec.name)
        output = old.log if old else ModuleLog(self._log_file(spec.name), self._clock, self._limits)
        life = self._lives[spec.name] = ModuleLife(spec, output, self._around)
        return life

    async def _begin(self, spec: ModuleSpec) -> None:
        await self._born(spec).start()

    def _log_file(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    async def _launch(self, spec: ModuleSpec, fresh: bool) -> Launch:
        identity = await self._identify(spec)
        folder = workspace.working_folder(self.folder, spec.name)
        if fresh or not folder.is_dir():
            source = self._images.folder(spec.image)
            folder = await asyncio.to_thread(workspace.prepare, spec, source, self.folder)
        environment = module_environment(spec, identity, self._run, self._inherited)
        return Launch(module_command(spec), folder, environment)

    def _outcome(self) -> DesiredStatus:
        """What has become of the deployment that was applied last."""
        failed = [
            f"{name}: {state.description}"
            for name, state in self.status().items()
            if state.exit_code == CANNOT_START and state.started is None
        ]
        if failed:
            return DesiredStatus(FAILED, "Modules could not be started: " + "; ".join(failed))
        return DesiredStatus(SUCCESS)

    def _changed(self) -> None:
        running = {name: life.process_id() for name, life in self._lives.items()}
        if {(each.module, each.pid) for each in self._noted} != {
            (name, pid) for name, pid in running.items() if pid is not None
        }:
            self._noted = [
                left_over.Noted(name, pid, left_over.began(pid), self._run)
                for name, pid in running.items()
                if pid is not None
            ]
            left_over.write(self.folder, self._noted)
        try:
            self._tell()
        except Exception:  # a report that fails must not end the care for a module
            log.exception("a change could not be told")


def _in_order(config: AgentConfig, names: Iterable[str]) -> Iterator[list[str]]:
    """The names in groups of one startup order, the first to start first."""
    wanted = set(names)
    specs = [spec for spec in config.in_startup_order() if spec.name in wanted]
    for _, group in itertools.groupby(specs, key=lambda spec: spec.startup_order):
        yield [spec.name for spec in group]
