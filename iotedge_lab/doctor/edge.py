"""The edge runtime's process, the edge devices that it hosts, and their gateways' ports; the simulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.doctor.finding import Finding, fail, ok, warn
from iotedge_lab.errors import LabError
from iotedge_lab.serve.addresses import can_bind, is_loopback, who_listens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iotedge_lab.doctor.situation import Situation
    from iotedge_lab.edge.runtime.settings import EdgeSettings

_SECONDS: Final = 5.0


def check_runtime(here: Situation) -> Iterator[Finding]:
    """Whether it answers, and each edge device may connect; whether one that is stopped will find its ports."""
    from iotedge_lab.edge.runtime.client import ControlClient
    from iotedge_lab.edge.runtime.place import RuntimeFolder

    name, folder = "edge runtime", RuntimeFolder(here.state.path)
    wanted = folder.load_edges()
    if not folder.locked():
        if not wanted:
            yield ok(name, "it does not run, and no edge device is to be run")
            return
        yield ok(name, f"it is stopped; {here.command('edge up DEVICE')} starts it with {', '.join(wanted)}")
        for device, settings in wanted.items():
            yield from _gateway(device, settings, folder.path / device / "edge.json")
        return
    told = folder.read()
    restart = f"{here.command('edge down')} && {here.command('edge up DEVICE')}"
    if told is None:
        yield fail(
            name,
            f"a process holds {folder.path / 'runtime.lock'} and has not said in runtime.json how to reach it",
            f"If it has just been started, wait a moment; else look at {folder.log_file}",
        )
        return
    try:
        said = ControlClient(told).call("GET", "/edges", timeout=_SECONDS)
    except LabError:
        yield fail(
            name,
            f"it runs (process {told.pid}) and does not answer: its modules go on, and nobody can ask it",
            f"{restart}; what it was doing is in {folder.log_file}",
        )
        return
    devices = [str(each["device"]) for each in said["edges"]]
    yield ok(name, f"it runs (process {told.pid}) and hosts {', '.join(devices) or 'no edge device'}")
    for device, reason in said["failures"].items():
        yield warn(
            f"edge {device}",
            f"it could not be started: {reason}",
            f"Mend that, then {here.command(f'edge up {device}')}",
        )
    for each in said["edges"]:
        yield _device(here, each)


def _device(here: Situation, status: dict[str, Any]) -> Finding:
    device, trouble = str(status["device"]), str(status.get("trouble") or "").rstrip(".")
    name, gateway = f"edge {device}", status["gateway"]
    if not status["online"]:
        return ok(name, f"it is offline on purpose; {here.command(f'edge online {device}')} ends that")
    code = status["desiredStatus"]["code"]
    if code not in (200, 406, 417, None):  # none was read yet, or none was deployed
        return warn(
            name,
            f"its deployment is not in force ({code}): {status['desiredStatus'].get('description') or 'no reason'}",
            f"Correct the manifest, and deploy it again: {here.command(f'edge deploy {device} FILE')}",
        )
    if status["connected"]:
        return ok(name, f"it is connected to {status['hub']}, its gateway is {gateway}")
    return warn(
        name,
        f"it is not connected to {status['hub']}: {trouble or 'it has just been started'}; messages are kept meanwhile",
        f"See that the hub runs ({here.command('status')}) and that the device is an enabled edge device of it",
    )


def _gateway(device: str, settings: EdgeSettings, owner: Path) -> Iterator[Finding]:
    """Whether a device that does not run will find the ports of its address free."""
    from iotedge_lab.edge.runtime.gateway import HTTPS_PORT, MQTT_PORT

    try:
        host = settings.gateway or json.loads(owner.read_text(encoding="utf-8"))["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # it takes a free address when it first starts
    if not isinstance(host, str) or not is_loopback(host) or host == "127.0.0.1":
        return  # it is reached by a name, through a proxy on any port
    blocked = [port for port in (MQTT_PORT, HTTPS_PORT) if not can_bind(host, port)]
    if not blocked:
        return
    holders = [
        each for port in blocked for each in who_listens(port) if each.everywhere or each.address == host
    ]
    who = " and ".join(dict.fromkeys(map(str, holders))) or "a process that this user may not see"
    pids = dict.fromkeys(each.pid for each in holders if each.pid is not None)
    yield warn(
        f"edge {device}",
        f"port {' and '.join(map(str, blocked))} of its gateway {host} is taken by {who}; "
        + ("it cannot start" if settings.gateway else "it would move, and leaf devices would not find it"),
        " && ".join(f"kill {pid}" for pid in pids)
        or f"Find out who it is and stop it: sudo lsof -i :{blocked[0]} -s TCP:LISTEN",
    )


def check_simulator(here: Situation) -> Iterator[Finding]:
    """Whether it answers where it runs."""
    from iotedge_lab.simulation import Simulator

    name, simulator = "simulator", Simulator(here.state.path)
    if not simulator.is_running:
        yield ok(name, "it does not run")
        return
    try:
        status = simulator.status()
    except LabError as error:
        yield fail(
            name, str(error), f"{here.command('simulator stop')}; its log is {simulator.folder.log_file}"
        )
        return
    what = (
        f"one module, to be posted to at port {status['port']}"
        if status["mode"] == "single"
        else f"the solution {status['source']}"
    )
    yield ok(name, f"it runs {what}, as the edge device {status['device']}")


CHECKS: Final = (("edge runtime", check_runtime), ("simulator", check_simulator))
