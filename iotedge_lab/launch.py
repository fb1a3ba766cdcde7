"""Starting, finding, stopping and killing the hub's process."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from iotedge_lab import errors
from iotedge_lab.errors import EnvironmentProblem, HubFailed, HubNotRunning, LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iotedge_lab.hub.state import HubFile, StateFolder

START_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a hub is started. `host` None: the address used last, else the first that is free."""

    host: str | None = None
    partitions: int = 2
    retention_days: float = 1.0
    fsync: bool = False


class Child:
    """A background process that was started here and that ends when its standard input does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def wait(self) -> None:
        """Until it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._close_pipes()

    def close(self) -> None:
        """Have it end in order; kill it if it does not within `STOP_SECONDS`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def attach_or_start(
    state: StateFolder, settings: Settings, *, until_eof: bool = False
) -> tuple[HubFile, Child | None]:
    """The hub of a state folder: the one that runs, or one started now (then with its process).

    A hub that another process is just starting is waited for, and for a moment one that is just ending.
    """
    begun = time.monotonic()
    while True:
        if not state.locked():
            try:
                return start(state, settings, until_eof=until_eof)
            except errors.StateLocked:  # another process was faster: take its hub
                if time.monotonic() - begun > START_SECONDS:
                    raise
        told = state.read()
        if told is not None and answers(state, told):
            return told, None
        if not state.locked():
            continue  # it was a probe that held the lock, or a hub that has ended
        patience = STOP_SECONDS if told is not None and psutil.pid_exists(told.pid) else START_SECONDS
        if time.monotonic() - begun > patience:
            raise HubNotRunning(
                f"a process holds {state.path}, and its hub does not answer. Look at {state.log_file}, or stop "
                "it with 'iotedge-lab down'."
            )
        time.sleep(0.1)


def start(state: StateFolder, settings: Settings, *, until_eof: bool = False) -> tuple[HubFile, Child]:
    """Start a hub and wait until it says that it is ready; raises what it says otherwise."""
    command = ["-m", "iotedge_lab.hub", *arguments(state.path, settings)]
    child = spawn(command, "the hub", state.log_file, until_eof=until_eof)
    told = state.read()
    if told is None:
        raise HubFailed(f"the hub started and wrote no {state.path / 'hub.json'}; look at {state.log_file}.")
    return told, child


def spawn(arguments: Sequence[str], who: str, log_file: Path, *, until_eof: bool) -> Child:
    """Start a background process (`serve.daemon`) and wait until it is ready; raises what it says otherwise.

    `until_eof`: it ends with this process, or with the child's `close`.
    """
    command = [sys.executable, *arguments]
    if until_eof:
        command.append("--until-eof")
    # Its output goes to its log; what it writes before that (an import error) comes back here.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if until_eof else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=Path.home() if Path.home().is_dir() else None,
        env=_environment(),
    )
    child = Child(process)
    said, noise = _announcement(process)
    if said is None:
        child.close()
        raise HubFailed(
            f"{who} did not start within {START_SECONDS:g} s: {noise[-2000:].strip() or 'it said nothing'}. "
            f"Its log is {log_file}."
        )
    if "error" in said:
        child.wait()
        kind = getattr(errors, str(said["error"]), HubFailed)
        raise kind(said["message"]) if issubclass(kind, LabError) else HubFailed(said["message"])
    if not until_eof:
        if process.stdout is not None:
            process.stdout.close()
        process.returncode = 0  # it lives on without us: no warning that it still runs
    return child


def _announcement(process: subprocess.Popen[str]) -> tuple[dict[str, Any] | None, str]:
    """The line of JSON in which the hub says that it is ready, or why it cannot be; and what came before it."""
    noise = ""
    patience = threading.Timer(START_SECONDS, process.kill)
    patience.start()
    try:
        for line in process.stdout or ():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    return said, noise
            noise += line
    finally:
        patience.cancel()
    return None, noise


def arguments(state: Path, settings: Settings) -> list[str]:
    """The command line of `python -m iotedge_lab.hub` for these settings."""
    made = ["--state", str(state), "--partitions", str(settings.partitions)]
    made += ["--retention-days", str(settings.retention_days)]
    if settings.host:
        made += ["--host", settings.host]
    if settings.fsync:
        made.append("--fsync")
    return made


def _environment() -> dict[str, str]:
    """The hub's environment: ours, without what would lead it to itself or to a hub that is gone."""
    kept = dict(os.environ)
    ours = kept.pop("mqtt_proxy", None)  # as `Lab.env(proxy=True)` sets it, beside the same HTTPS_PROXY
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        kept.pop(name, None)
    for name in ("HTTPS_PROXY", "https_proxy"):
        if ours is not None and kept.get(name) == ours:
            del kept[name]
    return kept


def answers(state: StateFolder, told: HubFile, timeout: float = 5.0) -> bool:
    """Whether the hub that wrote `told` answers over HTTPS, with a certificate of this folder's authority."""
    try:
        context = ssl.create_default_context(cafile=str(state.certificates / "lab-ca.pem"))
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
        )
        with opener.open(f"https://{told.host}:{told.https_port}/lab/health", timeout=timeout) as response:
            return bool(json.load(response)["hub"] == told.hub_id)
    except (OSError, ValueError, KeyError):
        return False


def stop(state: StateFolder, told: HubFile) -> bool:
    """Stop the hub in order (SIGTERM) and wait for it; False if none ran. Kills what does not stop."""
    process = _process(state, told)
    if process is None:
        return False
    with our_own(process):
        process.terminate()
        if not gone(state):
            process.kill()
            gone(state)
    return True


def kill(state: StateFolder, told: HubFile) -> None:
    """Kill the hub (SIGKILL) and wait until it is gone."""
    process = _process(state, told)
    if process is None:
        raise HubNotRunning("there is no hub to kill: it does not run.")
    with our_own(process):
        process.kill()
        if not gone(state):
            raise EnvironmentProblem(f"process {process.pid} was killed and still holds {state.path}.")


class Locked(Protocol):
    """A folder that a background process holds while it lives."""

    def locked(self) -> bool:
        """Whether it does."""
        ...


def gone(state: Locked) -> bool:
    """Wait until the lock is free: the kernel frees it when the process has ended; False if it does not.

    Waiting for the process itself would not do: it stays a zombie until its parent, who may be a notebook
    server that never asks, has heard of its end.
    """
    deadline = time.monotonic() + STOP_SECONDS
    while state.locked():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _process(state: StateFolder, told: HubFile) -> psutil.Process | None:
    """The process that holds this folder's lock, if it is the hub that wrote `hub.json`.

    A process that is younger than `hub.json` says has been given the number of one that is gone.
    """
    if not state.locked():
        return None
    current = state.read() or told
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(current.pid)
        if process.create_time() <= current.started + 1.0:  # a tick's worth of the kernel's rounding
            return process
    raise EnvironmentProblem(
        f"{state.path} is locked, and not by the process {current.pid} that it names: a hub is just starting, "
        "or runs in a container that shares the folder. Try again in a moment, or stop it there."
    )


@contextlib.contextmanager
def our_own(process: psutil.Process) -> Iterator[None]:
    """Pass over that it has gone; raise `EnvironmentProblem` if it is another user's."""
    try:
        yield
    except psutil.NoSuchProcess:
        pass  # it went by itself
    except psutil.AccessDenied as error:
        raise EnvironmentProblem(
            f"process {process.pid} was started by another user, who alone may stop it."
        ) from error
