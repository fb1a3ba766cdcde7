"""The whole lab at once: what all of its processes hold, as a small machine or a session of Binder would have to.

A hub, two edge devices with five modules, the storage account, a capture into a lake, a Jupyter server, and a kernel
that has loaded what notebook 07 loads and has trained. Once on the cores that there are, once on one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.setting import Row, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "whole_lab"
TITLE = "The whole lab: memory of all its processes"
_MB = 1e6
_KERNEL = """
import cv2, duckdb, flaml, ipywidgets, matplotlib.pyplot, onnxruntime, pandas
import azure.iot.device, azure.iot.hub, azure.eventhub, azure.storage.blob
from iotedge_lab.car import drives
from iotedge_lab.registry.registry import Registry
from iotedge_lab.rollout.learn import learn
import tempfile
rows = drives.resample(drives.rows(drives.car_csv()), hz=2)
frame = pandas.DataFrame([row.to_dict() | {"Drive": "d"} for row in rows])
learn(frame, budget=2)
Registry.open(tempfile.mkdtemp())
print("ready", flush=True)
import sys; sys.stdin.read()
"""


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """The highest sum of proportional set sizes over some seconds, and what each kind of process has of it."""
    rows = []
    cores = sorted(os.sched_getaffinity(0))
    for word, used in ((f"{len(cores)} cores", cores), ("one core", cores[:1])):
        os.sched_setaffinity(0, used)  # children have it from here
        try:
            total, parts, seconds = _measured(setting.folder / f"whole-{len(used)}", setting.count(20, 3))
        finally:
            os.sched_setaffinity(0, cores)
        note = ", ".join(
            f"{name} {size / _MB:.0f}" for name, size in sorted(parts.items(), key=lambda each: -each[1])
        )
        say(f"{word}: {total / _MB:.0f} MB ({note})")
        rows.append(
            Row(
                f"Memory (PSS), {word}",
                total / _MB,
                "MB",
                target="<= 1,600 MB",
                met=total <= 1.6e9,
                note=note,
            )
        )
        rows.append(Row(f"From nothing until all of it runs, {word}", seconds, "s"))
    return rows


def _measured(folder: Path, seconds: int) -> tuple[float, dict[str, float], float]:
    from iotedge_lab.capture import Capture
    from iotedge_lab.lab import Lab

    begun = time.monotonic()
    with ExitStack() as held:
        lab = held.enter_context(Lab.open(folder, ephemeral=True)).activate()
        for name, templates in (
            ("car", ("ModuleFilterCar",)),
            ("camera", ("ModuleFilterCamera", "EchoModule")),
        ):
            _edge(lab, name, *templates)
        capture = Capture(lab.state_dir, ephemeral=True).open(lab.events_connection_string)
        held.callback(capture.close)
        _touch_storage(lab)
        held.callback(_end, _jupyter(folder))
        kernel = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _KERNEL],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        held.callback(_end, kernel)
        assert kernel.stdout is not None
        assert kernel.stdout.readline().strip() == "ready"
        capture.wait()
        took = time.monotonic() - begun
        most: dict[str, float] = {}
        for _ in range(seconds):
            time.sleep(1.0)
            now = _sizes(folder)
            if sum(now.values()) > sum(most.values()):
                most = now
        for name in ("car", "camera"):
            lab.edge(name).stop()
        return sum(most.values()), most, took


def _edge(lab: Any, name: str, template: str, *more: str) -> None:
    import iotedge_lab
    from iotedge_lab.edge.manifest import load

    folder = Path(iotedge_lab.__file__).parent / "modules" / template
    text = (folder / "deployment.template.json").read_text(encoding="utf-8")
    content: dict[str, Any] = load(text).content["modulesContent"]
    wanted = content["$edgeAgent"]["properties.desired"]["modules"]
    for each in more:
        wanted[each] = {
            "version": "1.0", "type": "docker", "status": "running", "restartPolicy": "always",
            "settings": {"image": each, "createOptions": {}},
        }  # fmt: skip
    lab.rest().call("PUT", f"/devices/{name}", {"deviceId": name, "capabilities": {"iotEdge": True}})
    lab.rest().call("POST", f"/devices/{name}/applyConfigurationContent", {"modulesContent": content})
    lab.edge(name).wait_until_running(*wanted, timeout=120.0)


def _touch_storage(lab: Any) -> None:
    """The storage account's server starts when it is first asked."""
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(lab.storage_connection_string) as client:
        list(client.list_containers())


def _jupyter(folder: Path) -> subprocess.Popen[bytes]:
    """JupyterLab's server, idle, once it answers."""
    import socket
    import urllib.request

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(
            sys.executable,
            "-m",
            "jupyterlab",
            "--allow-root",
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={port}",
        ),
        *("--ServerApp.port_retries=0", "--IdentityProvider.token=t", f"--ServerApp.root_dir={folder}"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=t", timeout=2):
                return process
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("JupyterLab did not answer within a minute")


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    process.wait(30)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _sizes(folder: Path) -> dict[str, float]:
    """Bytes by kind of process: those that were started here or have the folder on their command line."""
    found: dict[str, float] = {}
    mine = {each.pid for each in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or ())
        where = f"{words} {process.info['cwd'] or ''}"
        if process.pid not in mine and str(folder) not in where:
            continue
        try:
            size = float(process.memory_full_info().pss)
        except psutil.Error:
            continue
        name = _kind(words, where)
        found[name] = found.get(name, 0.0) + size
    return found


def _kind(words: str, where: str) -> str:
    for part, name in (
        ("iotedge_lab.hub", "hub"),
        ("iotedge_lab.edge", "edge runtime"),
        ("iotedge_lab.blobs", "storage"),
        ("iotedge_lab.lake", "capture"),
        ("jupyterlab", "Jupyter server"),
        ("flaml", "kernel"),
    ):
        if part in words:
            return name
    return "modules" if "/modules/" in where else "others"
