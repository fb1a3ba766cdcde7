"""`Simulator`: a handle on the lab's simulator, running or not."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode

import psutil

from iotedge_lab import launch
from iotedge_lab.edge.runtime.client import ControlClient
from iotedge_lab.edge.simulator import (
    DEFAULT_PORT,
    MESSAGES_PATH,
    Output,
    SimulatorFolder,
    SingleRun,
    SolutionRun,
)
from iotedge_lab.edge.simulator.routes import TARGET, routes
from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, LabError, UsageError
from iotedge_lab.simulation.credentials import ModuleCredentials
from iotedge_lab.simulation.module_run import RunningModule
from iotedge_lab.simulation.twins import set_twins
from iotedge_lab.solution import check_images, find_module_folders, read_manifest
from iotedge_lab.wire.connection_string import ConnectionString

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from iotedge_lab.edge.manifest import DeploymentManifest
    from iotedge_lab.edge.runtime.place import RuntimeFile
    from iotedge_lab.edge.simulator import Setup
    from iotedge_lab.edge.simulator.place import Run
    from iotedge_lab.rest import RestClient

_SCHEMA: Final = "https://github.com/Azure/iot-edge-testing-utility/blob/master/swagger.json"
_ONE_WAIT: Final = 20.0  # s in one request, of a wait that may take longer


class Simulator:
    """The simulator of a state folder. `ephemeral`: one that is started here ends with this process, or `close`."""

    def __init__(self, state: Path, *, ephemeral: bool = False) -> None:
        self._state = state
        self._ephemeral = ephemeral
        self._child: launch.Child | None = None
        self._given = 0  # the number of the last output that `wait_for_outputs` gave
        self.folder = SimulatorFolder(state)

    # -- setting up and starting ---------------------------------------------------------------------------

    def set_up(self, setup: Setup) -> Self:
        """Have it act as an edge device from the next start on."""
        self.folder.write_setup(setup)
        return self

    def open(self, setup: Setup, *inputs: str, port: int = DEFAULT_PORT) -> Self:
        """Have it serve one module as `start` does; one that already does so as is asked for goes on."""
        wanted = check_inputs(inputs)
        if self.is_running:
            found = self.status()
            same = (
                found["mode"] == "single" and tuple(found["inputs"]) == wanted and port in (0, found["port"])
            )
            if same and setup == self.folder.read_setup():
                self._given = int(found["outputs"])
                return self
            self.stop()
        self.set_up(setup)
        return self.start(*wanted, port=port)

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.folder.locked()

    def start(self, *inputs: str, port: int = DEFAULT_PORT) -> Self:
        """Serve one module that runs by itself; `inputs` are the inputs that messages can be posted to (`port` 0: any).

        Raises StateLocked where it runs already, PortTaken, UsageError for an input that is none, and what keeps the
        edge device from its hub.
        """
        return self._begin(SingleRun(check_inputs(inputs), port))

    def start_solution(
        self,
        file: str | Path,
        *,
        module_folders: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
        registry: RestClient | None = None,
    ) -> DeploymentManifest:
        """Run all modules of a deployment manifest; the manifest, with its notes.

        Modules are looked for in `module_folders`, in the solution's `modules`, and among the lab's. `registry` is the
        hub's REST API, by which the desired properties of the modules are set at the hub. Raises UsageError for a
        file that is not there or images that no module stands for, InvalidManifest with all that is wrong, and what
        `start` raises.
        """
        path = Path(file)
        manifest = read_manifest(path, environment)
        folders = [Path(folder).absolute() for folder in module_folders]
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"There is no folder {folder} to look for modules in.")
        folders += find_module_folders(path)
        check_images(manifest, folders)
        if registry is not None:
            set_twins(registry, self.device, manifest.twins)
        self._begin(SolutionRun(dict(manifest.content), tuple(folders), str(path.absolute())))
        return manifest

    def _begin(self, run: Run) -> Self:
        self.folder.prepare()
        self.folder.lock()  # raises where it runs; the process takes the lock itself in a moment
        try:
            self.folder.write_run(run)
        finally:
            self.folder.unlock()
        command = ["-m", "iotedge_lab.edge.simulator", "--state", str(self._state)]
        child = launch.spawn(command, "the simulator", self.folder.log_file, until_eof=self._ephemeral)
        self._child = child if self._ephemeral else None
        self._given = 0
        return self

    @property
    def device(self) -> str:
        """The edge device that it acts as. Raises UsageError where there was no setup."""
        setup = self.folder.read_setup()
        if setup is None:
            raise UsageError("Cannot find config file. Please run 'iotedge-lab simulator setup' first.")
        return str(ConnectionString.parse(setup.connection_string).device_id)

    # -- one module ----------------------------------------------------------------------------------------

    def modulecred(self, *modules: str) -> ModuleCredentials:
        """The variables that make the SDK connect as the module `target` (or as those that are named)."""
        query = urlencode([("module", name) for name in modules or (TARGET,)])
        return ModuleCredentials(self._call("GET", f"/modulecred?{query}"))

    def run(self, folder: str | Path, env: Mapping[str, str] | None = None) -> RunningModule:
        """Run a module folder's `main.py` against the simulator, as the module `target`."""
        return RunningModule(Path(folder), self.modulecred().environment, env or {})

    def post(
        self,
        data: Any,
        input: str | None = None,  # noqa: A002 - what it is called
        *,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a message to an input of the module (the first one by default): JSON `data`, and properties.

        The same as a POST to `url`. Raises UsageError with the answer's word where it is refused.
        """
        status = self._single()
        body = {"inputName": input or status["inputs"][0], "data": data}
        if properties:
            body["properties"] = dict(properties)
        request = urllib.request.Request(
            f"http://localhost:{int(status['port'])}{MESSAGES_PATH}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30.0):
                pass
        except urllib.error.HTTPError as error:
            with error:
                answered = error.read()
            with contextlib.suppress(ValueError, KeyError, TypeError):
                raise UsageError(str(json.loads(answered)["error"])) from None
            raise UsageError(f"{request.full_url} answered {error.code} {error.reason}.") from None
        except OSError as error:
            raise HubNotRunning(f"The simulator does not answer at {request.full_url}: {error}.") from error

    def outputs(self, after: int = 0) -> list[Output]:
        """What the module has sent, in order (the newest ten thousand)."""
        found: list[Output] = []
        while True:
            page, last = self._outputs(after)
            found += page
            if not page or page[-1].number >= last:
                return found
            after = page[-1].number

    def wait_for_outputs(self, count: int = 1, *, timeout: float = 30.0) -> list[Output]:
        """The next `count` outputs that this handle has not given yet; waits for them. Raises UsageError in the end."""
        deadline = time.monotonic() + timeout
        found: list[Output] = []
        while len(found) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UsageError(
                    f"{len(found)} of {count} outputs came within {timeout:g} s.\n{self._why_none()}"
                )
            page, _ = self._outputs(self._given, count - len(found), left)
            for each in page[: count - len(found)]:
                found.append(each)
                self._given = each.number
        return found

    def follow_outputs(self, after: int = 0) -> Iterator[Output]:
        """Each output as it comes, until the simulator has ended."""
        while True:
            try:
                page, _ = self._outputs(after, 1, _ONE_WAIT)
            except HubNotRunning:
                return
            for each in page:
                after = each.number
                yield each

    def wait_connected(self, module: str = TARGET, *, timeout: float = 30.0) -> None:
        """Wait until the module is connected. Raises UsageError."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            wait = min(left, _ONE_WAIT)
            if self._call("GET", f"/connected?module={quote(module)}&wait={wait:.3f}", wait)["connected"]:
                return
        raise UsageError(f"The module {module} did not connect within {timeout:g} s. {self._why_none()}")

    def _outputs(self, after: int, count: int = 1, wait: float = 0.0) -> tuple[list[Output], int]:
        wait = min(wait, _ONE_WAIT)
        query = urlencode({"after": after, "count": max(1, count), "wait": f"{wait:.3f}"})
        found = self._call("GET", f"/outputs?{query}", wait)
        return [Output.from_json(each) for each in found["outputs"]], int(found["last"])

    def _why_none(self) -> str:
        """What may keep outputs from coming."""
        status = self.status()
        if not status["module"]["connected"]:
            return "The module is not connected: run it with the variables of modulecred."
        if status["waiting"]:
            return (
                f"{status['waiting']} messages wait for the module: it is connected, and takes none from its inputs "
                "(on_message_received)."
            )
        if status["unrouted"]:
            return (
                f"{status['unrouted']} messages went to no output: send_message_to_output(message, 'output1') sends "
                "to one, send_message does not."
            )
        return (
            "The module is connected and has taken all messages; what it does with them is in its own output."
        )

    # -- asking and ending ---------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How it is, as the process tells. Raises HubNotRunning where it does not run."""
        found: dict[str, Any] = self._call("GET", "/status")
        return found

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that messages can be posted to. Raises UsageError where it runs a solution."""
        return tuple(self._single()["inputs"])

    @property
    def url(self) -> str:
        """Where messages are posted. Raises UsageError where it runs a solution."""
        return f"http://localhost:{self._single()['port']}{MESSAGES_PATH}"

    @property
    def logs(self) -> Path:
        """Where the logs of a solution's modules lie, one `<module>.log` each."""
        return self.folder.path / self.device / "logs"

    def _single(self) -> dict[str, Any]:
        status = self.status()
        if status["mode"] != "single":
            raise UsageError("The simulator runs a whole solution; there are no inputs to post to.")
        return status

    def stop(self) -> bool:
        """Stop it, and the modules of a solution; whether it ran."""
        if not self.folder.locked():
            self.close()
            return False
        told = self._told()
        try:
            process = psutil.Process(told.pid)
        except psutil.NoSuchProcess:
            process = None
        if process is not None:
            with launch.our_own(process):
                process.terminate()
                if not launch.gone(self.folder):
                    process.kill()
                    if not launch.gone(self.folder):
                        raise EnvironmentProblem(
                            f"process {told.pid} was killed and still runs the simulator."
                        )
        self.close()
        return True

    def close(self) -> None:
        """Let go of it; one that may not outlive this process ends."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _told(self) -> RuntimeFile:
        told = self.folder.read()
        if told is None or not self.folder.locked():
            raise HubNotRunning(
                "The simulator does not run. Start it with 'iotedge-lab simulator start', or lab.simulator('input1')."
            )
        return told

    def _call(self, method: str, path: str, wait: float = 0.0) -> Any:
        told = self._told()
        try:
            return ControlClient(told).call(method, path, timeout=30.0 + wait)
        except HubNotRunning as error:
            raise HubNotRunning(
                f"The simulator (process {told.pid}) does not answer. Stop it with 'iotedge-lab simulator stop', and "
                f"start it again; {self.folder.log_file} says more."
            ) from error

    # -- shown ---------------------------------------------------------------------------------------------

    def said(self, command: str = "iotedge-lab simulator modulecred") -> list[str]:
        """What iotedgehubdev says of a simulator that was started."""
        status = self.status()
        if status["mode"] != "single":
            return ["IoT Edge Simulator has been started in solution mode."]
        data = f'{{"inputName": "{status["inputs"][0]}","data":"hello world"}}'
        return [
            "IoT Edge Simulator has been started in single module mode.",
            f"Please run `{command}` to get credential to connect your module.",
            "And send message through:",
            "",
            f"        curl --header \"Content-Type: application/json\" --request POST --data '{data}' {self.url}",
            "",
            f"Please refer to {_SCHEMA} for detail schema",
        ]

    def __repr__(self) -> str:
        try:
            return "\n".join(self.said())
        except LabError:
            return "Simulator(stopped)"

    def _repr_html_(self) -> str:
        # JupyterLab breaks long lines anywhere, in the middle of a word of a command too.
        style = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
        return f'<pre style="{style}">{escape(repr(self))}</pre>'


def check_inputs(inputs: Sequence[str]) -> tuple[str, ...]:
    """The names of inputs, blanks around them taken away; `input1` where there is none. Raises UsageError."""
    names = tuple(dict.fromkeys(name.strip() for name in inputs or ("input1",)))
    if not all(names):
        raise UsageError("An input has no name. Give names with commas between them: input1,input2.")
    for name in names:
        try:
            routes([name])
        except LabError as error:
            raise UsageError(
                f"{name!r} cannot be an input's name, as it cannot stand in a route: use letters, digits, '-' and '_'."
            ) from error
    return names


def _process(told: RuntimeFile) -> psutil.Process | None:
    """The process that wrote `told`; None where its number is another's by now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(told.pid)
        if process.create_time() <= told.started + 1.0:  # a tick's worth of the kernel's rounding
            return process
    return None
