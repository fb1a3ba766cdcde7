"""Edge devices as a notebook, a test or the terminal handles them: started, asked, cut off from the hub, stopped.

    edge = lab.edge("car-edge")            # the runtime of that device runs, in a process of its own
    edge.wait_until_running("EchoModule")
    edge.offline(); edge.online()

One process hosts all edge devices of a lab (`python -m iotedge_lab.edge`); it outlives the notebook as the hub does.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Self

import psutil

from iotedge_lab import errors, launch
from iotedge_lab.edge.agent.report import UNKNOWN
from iotedge_lab.edge.runtime.client import ControlClient, edge_path
from iotedge_lab.edge.runtime.place import RuntimeFile, RuntimeFolder, release_all, to_json
from iotedge_lab.errors import EnvironmentProblem, HubFailed, HubNotRunning, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from iotedge_lab.edge.runtime.settings import EdgeSettings

_POLL = 0.05


class Runtime:
    """A lab's edge runtime process. `child` is there if it may not outlive this process."""

    def __init__(self, folder: RuntimeFolder, told: RuntimeFile, child: launch.Child | None) -> None:
        self._folder = folder
        self._told = told
        self.child = child
        self.client = ControlClient(told)

    @classmethod
    def open(cls, state: Path, *, ephemeral: bool = False) -> Self:
        """The runtime of a state folder: the one that runs, or one started now. Raises `HubFailed`, `StateLocked`."""
        folder = RuntimeFolder(state)
        folder.prepare()
        begun = time.monotonic()
        while True:
            if not folder.locked():
                try:
                    command = ["-m", "iotedge_lab.edge", "--state", str(state)]
                    child = launch.spawn(command, "the edge runtime", folder.log_file, until_eof=ephemeral)
                except errors.StateLocked:  # another process was faster: take its runtime
                    pass
                else:
                    return cls(folder, _told(folder), child if ephemeral else None)
            found = cls.find(state)
            if found is not None:
                return found
            if time.monotonic() - begun > launch.START_SECONDS:
                raise HubNotRunning(
                    f"A process holds {folder.path}, and its edge runtime does not answer. Look at {folder.log_file}."
                )
            time.sleep(0.1)

    @classmethod
    def find(cls, state: Path) -> Self | None:
        """The runtime that runs on a state folder and answers, or None."""
        folder = RuntimeFolder(state)
        told = folder.read()
        if told is None or not folder.locked():
            return None
        runtime = cls(folder, told, None)
        try:
            runtime.client.call("GET", "/edges", timeout=5.0)
        except errors.LabError:
            return None
        return runtime

    @property
    def pid(self) -> int:
        """Its process."""
        return self._told.pid

    def edges(self) -> list[EdgeStatus]:
        """How each edge device is."""
        return [EdgeStatus(found) for found in self.client.call("GET", "/edges")["edges"]]

    def stop(self) -> None:
        """Stop all edge devices and the process; it remembers them, and runs them when it is started again."""
        with self._process() as process:
            process.terminate()
            if not launch.gone(self._folder):
                process.kill()
                launch.gone(self._folder)
        self._ended()

    def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone. Its modules die with it."""
        with self._process() as process:
            process.kill()
            if not launch.gone(self._folder):
                raise EnvironmentProblem(
                    f"process {process.pid} was killed and still holds {self._folder.path}."
                )
        self._ended()

    def close(self, *, comes_back: bool = False) -> None:
        """End it if it may not outlive this process, else only let go of it. Its addresses stay if it `comes_back`."""
        if self.child is not None:
            self.child.close()
            self.child = None
            if not comes_back:
                release_all(self._folder.path)

    def _ended(self) -> None:
        if self.child is not None:
            self.child.wait()

    @contextlib.contextmanager
    def _process(self) -> Iterator[psutil.Process]:
        if not self._folder.locked():
            raise HubNotRunning("there is no edge runtime to stop: it does not run.")
        told = self._folder.read() or self._told  # another one may have been started since
        try:
            process = psutil.Process(told.pid)
        except psutil.NoSuchProcess:
            process = None
        # One that is younger than the file says has been given the number of one that is gone.
        if process is None or process.create_time() > told.started + 1.0:
            raise EnvironmentProblem(
                f"{self._folder.path} is locked, and not by the process {told.pid} that it names: an edge runtime is "
                "just starting, or runs in a container that shares the folder. Try again in a moment, or stop it there."
            )
        with launch.our_own(process):
            yield process


def forget_all(state: Path) -> None:
    """Stop every edge device of a lab and take away what it kept: queues, copies of twins, logs.

    For a hub that was reset: it knows none of them any more, and what they kept must not reach their namesakes.
    """
    folder = RuntimeFolder(state)
    runtime = Runtime.find(state)
    if runtime is not None:
        found = runtime.client.call("GET", "/edges")
        for device in (*(edge["device"] for edge in found["edges"]), *found["failures"]):
            runtime.client.call("DELETE", edge_path(device) + "?forget=1")
    elif folder.path.is_dir() and not folder.locked():
        folder.save_edges({})
    else:
        return
    for place in folder.path.iterdir():
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)


def _told(folder: RuntimeFolder) -> RuntimeFile:
    told = folder.read()
    if told is None:
        raise HubFailed(f"The edge runtime started and wrote no {folder.file}; look at {folder.log_file}.")
    return told


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """How an edge device is, as its runtime says; `raw` is all of it (`EdgeDevice.status`)."""

    raw: dict[str, Any]

    @property
    def online(self) -> bool:
        """Whether it may reach the hub (`Edge.offline` takes that away)."""
        return bool(self.raw["online"])

    @property
    def connected(self) -> bool:
        """Whether it is connected to the hub."""
        return bool(self.raw["connected"])

    @property
    def deployment(self) -> int:
        """`lastDesiredStatus`: 200 applied, 417 nothing deployed, 400 and more: refused; 406: nothing read yet."""
        return int(self.raw["desiredStatus"]["code"])

    @property
    def waiting(self) -> int:
        """How many messages lie in its queues."""
        return int(self.raw["waiting"])

    @property
    def modules(self) -> dict[str, dict[str, Any]]:
        """Each module by name: `runtimeStatus`, `exitCode`, `restartCount`, `connected` and more."""
        return {module["name"]: module for module in self.raw["modules"]}

    @property
    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """The table of the portal: name, type, specified, reported, runtime status, exit code."""
        system = [
            (f"${name}", "IoT Edge System Module", "yes", "yes", "running", "0")
            for name in ("edgeAgent", "edgeHub")
        ]
        return system + [
            (
                module["name"],
                module["type"],
                "yes" if module["specified"] else "no",
                "yes",
                module["runtimeStatus"],
                str(module["exitCode"]),
            )
            for module in self.raw["modules"]
        ]

    def _facts(self) -> str:
        link = (
            "connected to the hub" if self.connected else (self.raw["trouble"] or "not connected to the hub")
        )
        waiting = f"{self.waiting} message{'s' * (self.waiting != 1)} waiting"
        return f"{link}; deployment {self.deployment}; {waiting}"

    def __repr__(self) -> str:
        widths = [max(len(row[at]) for row in (_HEAD, *self.rows)) for at in range(len(_HEAD))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (_HEAD, *self.rows)
        ]
        return "\n".join([*lines, f"{self.raw['device']}: {self._facts()}"])

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{escape(cell)}</th>" for cell in _HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        caption = f"{escape(self.raw['device'])}: {escape(self._facts())}"
        return (
            f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


_HEAD = (
    "Name",
    "Type",
    "Specified in deployment",
    "Reported by device",
    "Runtime status",
    "Exit code",
)


class Edge:
    """One edge device that runs here. Closing a notebook does not stop it; `stop` does."""

    def __init__(self, state: Path, device: str, settings: EdgeSettings, *, ephemeral: bool) -> None:
        self._state = state
        self._device = device
        self._settings = settings
        self._ephemeral = ephemeral
        self._runtime: Runtime | None = None

    @property
    def device_id(self) -> str:
        """The device id."""
        return self._device

    @property
    def gateway(self) -> str:
        """GatewayHostName for leaf devices."""
        return str(self.status().raw["gateway"])

    @property
    def runtime(self) -> Runtime:
        """The process that hosts it."""
        if self._runtime is None:
            self._runtime = Runtime.open(self._state, ephemeral=self._ephemeral)
        return self._runtime

    def start(self) -> Self:
        """Run it; nothing if it runs. Also after `stop` and `crash`."""
        if self._runtime is not None and Runtime.find(self._state) is None:
            self._runtime.close(comes_back=True)
            self._runtime = None
        self._call("PUT", body=to_json(self._settings))
        return self

    def succeed(self, before: Edge | None) -> Self:
        """Take the place of another handle: the runtime that would have ended with that one ends with this."""
        if before is not None:
            self._runtime = before.let_go()
        return self

    def let_go(self) -> Runtime | None:
        """Have no part in the runtime's life any more; it, for who has."""
        runtime, self._runtime = self._runtime, None
        return runtime

    def status(self) -> EdgeStatus:
        """How it is."""
        return EdgeStatus(self._call("GET"))

    def stop(self) -> None:
        """Stop its modules and the runtime of this device."""
        self._call("DELETE")

    def crash(self) -> None:
        """Kill the runtime with SIGKILL, and all that it hosts; nothing that was acknowledged is lost."""
        self.runtime.kill()

    def offline(self) -> None:
        """Cut the link to the hub until `online`: the sockets are closed when this returns. Messages are stored.

        A runtime that is started again meanwhile is offline too.
        """
        self._call("POST", "offline")

    def online(self) -> None:
        """Let the link come back; what was stored is sent."""
        self._call("POST", "online")

    def logs(self, module: str, tail: int = 100) -> str:
        """The last lines of a module's log; `edgeAgent` and `edgeHub` are what the runtime says of this device."""
        from urllib.parse import quote

        found = self._call("GET", "logs", f"{quote(module, safe='')}?tail={tail}")
        return "\n".join(line["text"] for line in found)

    def metrics(self) -> str:
        """The built-in metrics, as Prometheus text."""
        return str(self._call("GET", "metrics"))

    def wait_until(
        self, met: Callable[[EdgeStatus], bool], what: str, *, timeout: float = 60.0
    ) -> EdgeStatus:
        """Wait until the status meets a condition, and return it. Raises `UsageError` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.status()
            if met(status):
                return status
            if time.monotonic() > deadline:
                raise UsageError(
                    f"{self._device}: {what} did not come within {timeout:g} s. It is now:\n{status!r}\n"
                    f"edge.logs('Module') and {RuntimeFolder(self._state).log_file} say more."
                )
            time.sleep(_POLL)

    def wait_until_running(self, *modules: str, timeout: float = 60.0) -> EdgeStatus:
        """Wait until these modules run and are connected to their edge hub."""

        def met(status: EdgeStatus) -> bool:
            return all(
                name in status.modules
                and status.modules[name]["runtimeStatus"] == "running"
                and status.modules[name]["connected"]
                for name in modules
            )

        return self.wait_until(met, f"running {', '.join(modules)}", timeout=timeout)

    def wait_until_connected(self, *, timeout: float = 60.0) -> EdgeStatus:
        """Wait until it, and each of its modules that runs, is connected to the hub, and it knows what is desired."""

        def met(status: EdgeStatus) -> bool:
            clients = [status.raw["clients"].get(f"{self._device}/{name}") for name in status.modules]
            here = [client for client in clients if client and client["connected"]]
            return (
                status.connected
                and status.deployment != UNKNOWN
                and all(client["upstream"] for client in here)
            )

        return self.wait_until(met, "the connection to the hub, its modules' too,", timeout=timeout)

    def wait_until_delivered(self, *, timeout: float = 60.0) -> EdgeStatus:
        """Wait until its queues are empty."""
        return self.wait_until(lambda status: status.waiting == 0, "the end of the queues", timeout=timeout)

    def close(self) -> None:
        """Let go of it; a runtime that may not outlive this process ends."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    def _call(self, method: str, *parts: str, body: Any = None) -> Any:
        runtime = self.runtime
        try:
            return runtime.client.call(method, edge_path(self._device, *parts), body)
        except HubNotRunning:
            found = Runtime.find(self._state)  # another handle has started it again, say
            if found is None or found.pid == runtime.pid:
                raise
            if runtime.child is not None:
                runtime.child.wait()
            self._runtime = found
            return found.client.call(method, edge_path(self._device, *parts), body)

    def __repr__(self) -> str:
        return f"Edge({self._device})"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()
