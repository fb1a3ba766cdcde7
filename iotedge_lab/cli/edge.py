"""`edge`: the IoT Edge runtime of this machine from a terminal."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import not_empty, state_flag, state_option, target_lab
from iotedge_lab.errors import HubNotRunning, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.edge.runtime.settings import EdgeSettings
    from iotedge_lab.edges import Edge, EdgeStatus, Runtime

NOT_RUNNING = 3  # as `status` has it for the hub
_CONNECT_SECONDS = (
    5.0  # that `edge up` gives a device to reach its hub and read its deployment before it is shown
)
_NONE_YET = (406, None)  # the code of a deployment that was not read yet
_FOLLOW_SECONDS = 0.2

_device_argument = click.argument("device_id", metavar="DEVICE", callback=not_empty)
_gateway_option = click.option(
    "--gateway",
    metavar="NAME",
    callback=not_empty,
    help="GatewayHostName for modules and leaf devices: a loopback address or a host name. Default: its own address.",
)
_modules_option = click.option(
    "--modules",
    "module_folders",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Where modules' folders lie, beside those of the lab. May be given several times.",
)


@click.group(short_help="Run edge devices.")
def edge() -> None:
    """Run IoT Edge devices on this machine: start, deploy to, watch, take offline, stop.

    \b
      iotedge-lab device create car1 --edge
      iotedge-lab edge deploy car1 deployment.template.json
      iotedge-lab edge up car1 --modules ./modules
      iotedge-lab edge status car1

    One process in the background hosts all edge devices of a state folder. What a module sent is kept until the hub
    has it, whatever is stopped or killed meanwhile.
    """  # noqa: D301 - click wants the character itself


@edge.command(short_help="Run an edge device in the foreground.")
@state_option
@click.option(
    "-c",
    "--connection-string",
    required=True,
    metavar="STRING",
    envvar="EDGE_CONNECTION_STRING",
    show_envvar=True,
    callback=not_empty,
    help="Of the edge device. Others can see a command line; the variable they cannot.",
)
@_gateway_option
@_modules_option
def run(
    state_dir: Path | None, connection_string: str, gateway: str | None, module_folders: Sequence[Path]
) -> None:
    """Run an edge device in the foreground, from nothing but its connection string, until Ctrl-C.

    For the local hub and for one on Azure alike. Printed are the logs of the modules and what changes; Ctrl-C stops
    the modules in order (status 0).
    """
    from iotedge_lab.cli.following import follow_device, log_sizes
    from iotedge_lab.edge.runtime.place import RuntimeFolder
    from iotedge_lab.edge.runtime.settings import EdgeSettings
    from iotedge_lab.edge.upstream import CloudIdentity
    from iotedge_lab.edges import Edge, Runtime
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.simulation import reach

    state = StateFolder(state_dir)
    device = CloudIdentity.from_connection_string(connection_string).device
    running = Runtime.find(state.path)
    if running is not None and any(each.raw["device"] == device for each in running.edges()):
        raise UsageError(
            f"{device} runs here already: 'iotedge-lab edge status {device}{state_flag(state_dir)}' shows it, "
            f"'iotedge-lab edge stop {device}{state_flag(state_dir)}' stops it."
        )
    ca_file, https_port = reach(connection_string, state)
    settings = EdgeSettings(
        connection_string,
        gateway=gateway,
        module_folders=tuple(folder.absolute() for folder in module_folders),
        ca_file=ca_file,
        https_port=https_port,
    )
    logs = RuntimeFolder(state.path).path / device / "logs"
    before = log_sizes(logs)
    # The runtime is this command's where there is none: then it ends with it, however that ends.
    made = Edge(state.path, device, settings, ephemeral=True)
    try:
        made.start()
        click.echo(f"edge device {device} runs; its gateway is {made.gateway}. Ctrl-C stops it.")
        try:
            follow_device(lambda: made.status().raw, logs, before, click.echo)
            click.echo(f"{device} was stopped.")
        except KeyboardInterrupt:
            made.stop()
            click.echo(f"stopped {device}")
    finally:
        made.close()


@edge.command(short_help="Run an edge device in the background.")
@state_option
@_device_argument
@_gateway_option
@_modules_option
def up(state_dir: Path | None, device_id: str, gateway: str | None, module_folders: Sequence[Path]) -> None:
    """Run the edge device DEVICE in the background, or say that it runs; also without its hub if it ran before.

    Without --gateway and --modules they are as they were the last time, until 'edge stop' forgets them.
    """
    made, note = _started(
        state_dir, device_id, gateway, tuple(folder.absolute() for folder in module_folders)
    )
    if note:
        click.echo(f"note: {note}", err=True)
    deadline = time.monotonic() + (0.0 if note else _CONNECT_SECONDS)
    status = made.status()
    while not (status.connected and _has_deployment(status)) and time.monotonic() < deadline:
        time.sleep(_FOLLOW_SECONDS)
        status = made.status()
    click.echo(repr(status))
    click.echo(f"GatewayHostName of its leaf devices: {status.raw['gateway']}")


def _has_deployment(status: EdgeStatus) -> bool:
    """Whether it has read what is deployed to it, be that nothing."""
    return status.raw["desiredStatus"]["code"] not in _NONE_YET


edge.add_command(up, "start")


def _started(
    state_dir: Path | None, device: str, gateway: str | None, folders: tuple[Path, ...]
) -> tuple[Edge, str]:
    """The device, running, and a note: by the hub's word, or as it ran before where the hub is away."""
    from dataclasses import replace

    from iotedge_lab.edge.runtime.place import RuntimeFolder
    from iotedge_lab.edges import Edge
    from iotedge_lab.hub.state import StateFolder

    path = StateFolder(state_dir).path
    before = RuntimeFolder(path).load_edges().get(device)
    gateway = gateway or (before.gateway if before else None)
    folders = folders or (before.module_folders if before else ())
    try:
        lab = target_lab(state_dir)
        images = before.images if before else None
        return lab.edge(device, gateway=gateway, module_folders=folders, images=images), ""
    except HubNotRunning as error:
        if before is None:
            raise
        settings: EdgeSettings = replace(before, gateway=gateway, module_folders=folders)
        return Edge(path, device, settings, ephemeral=False).start(), (
            f"{error} {device} runs as it did before, and keeps its messages until the hub is there."
        )


@edge.command(short_help="Show modules as the portal does.")
@state_option
@click.argument("device_id", metavar="[DEVICE]", required=False, callback=not_empty)
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@click.pass_context
def status(ctx: click.Context, state_dir: Path | None, device_id: str | None, as_json: bool) -> None:
    """Show the modules of an edge device (or of all that run here), as the portal's table does.

    Exit status: 0; 3 if no edge device runs here.
    """
    from iotedge_lab.edges import EdgeStatus, Runtime

    runtime = Runtime.find(_path(state_dir))
    if runtime is None:
        click.echo(json.dumps([]) if as_json else "no edge runtime runs here")
        ctx.exit(NOT_RUNNING)
    if device_id is not None:
        found = [EdgeStatus(runtime.client.call("GET", _edge(device_id)))]
        failures: dict[str, str] = {}
    else:
        said = runtime.client.call("GET", "/edges")
        found, failures = [EdgeStatus(each) for each in said["edges"]], said["failures"]
    if as_json:
        shown = [each.raw for each in found]
        click.echo(json.dumps(shown[0] if device_id is not None else shown, indent=2))
    else:
        for number, each in enumerate(found):
            if number:
                click.echo()
            _show(each)
        if not found and not failures:
            click.echo("the edge runtime runs, and hosts no edge device")
    for name, reason in failures.items():
        click.echo(f"{name} could not be started: {reason}", err=True)
    if not found and device_id is None:
        ctx.exit(NOT_RUNNING)


def _show(each: EdgeStatus) -> None:
    click.echo(repr(each))
    refused = each.raw["desiredStatus"]
    if refused["code"] not in (200, *_NONE_YET) and refused.get("description"):
        click.echo(refused["description"])
    routes = each.raw["hubDesiredStatus"]
    if routes["code"] not in (200, *_NONE_YET) and routes.get("description"):
        click.echo(routes["description"])
    for queue in each.raw["queues"]:
        if queue["length"]:
            click.echo(
                f"  {queue['length']} wait for {queue['endpoint']}, the oldest for {queue['oldestSeconds']:.0f} s"
            )


@edge.command(short_help="Cut the link to the hub.")
@state_option
@_device_argument
def offline(state_dir: Path | None, device_id: str) -> None:
    """Cut the link of DEVICE to the hub: its sockets are closed, and messages are kept until it is online."""
    _running(state_dir).client.call("POST", _edge(device_id, "offline"))
    click.echo(
        f"{device_id} is offline; 'iotedge-lab edge online {device_id}{state_flag(state_dir)}' ends that"
    )


@edge.command(short_help="Let the link come back.")
@state_option
@_device_argument
def online(state_dir: Path | None, device_id: str) -> None:
    """Let the link of DEVICE to the hub come back; what was kept is sent."""
    _running(state_dir).client.call("POST", _edge(device_id, "online"))
    click.echo(f"{device_id} is online")


@edge.command(short_help="Print what a module has written.")
@state_option
@_device_argument
@click.argument("module", callback=not_empty)
@click.option(
    "--tail", type=click.IntRange(min=0), default=100, show_default=True, metavar="N", help="Last N lines."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def logs(state_dir: Path | None, device_id: str, module: str, tail: int, follow: bool) -> None:
    """Print what a module of DEVICE has written to standard output and standard error."""
    from urllib.parse import quote

    from iotedge_lab.edge.runtime.place import RuntimeFolder

    lines = _running(state_dir).client.call(
        "GET", _edge(device_id, "logs", f"{quote(module, safe='')}?tail={tail}")
    )
    if follow:
        show_log(
            RuntimeFolder(_path(state_dir)).path / device_id / "logs" / f"{module}.log", tail, follow=True
        )
        return
    for line in lines:
        click.echo(line["text"])


def show_log(file: Path, tail: int, *, follow: bool) -> None:
    """Print the last lines of a module's log, and go on with what comes."""
    from iotedge_lab.cli.following import LogFollower

    follower = LogFollower(file)
    try:
        for line in deque(follower.lines(), maxlen=tail):
            click.echo(line)
        while follow:
            for line in follower.lines():
                click.echo(line)
            time.sleep(_FOLLOW_SECONDS)
    finally:
        follower.close()


@edge.command(short_help="Stop one edge device.")
@state_option
@_device_argument
def stop(state_dir: Path | None, device_id: str) -> None:
    """Stop the modules of DEVICE and its runtime. What it keeps for the hub stays in the state folder."""
    _running(state_dir).client.call("DELETE", _edge(device_id))
    click.echo(f"stopped {device_id}")


@edge.command(short_help="Stop all edge devices.")
@state_option
def down(state_dir: Path | None) -> None:
    """Stop all edge devices and the process that hosts them; 'edge up' of any of them starts all again."""
    click.echo(stop_runtime(_path(state_dir)) or "no edge runtime runs here")


def stop_runtime(path: Path) -> str:
    """Stop the edge runtime of a state folder, also one that does not answer; what to say, '' where none runs."""
    from iotedge_lab.edge.runtime.place import RuntimeFolder
    from iotedge_lab.edges import Runtime

    folder = RuntimeFolder(path)
    told = folder.read()
    if told is None or not folder.locked():
        return ""
    runtime = Runtime.find(path)
    names = [] if runtime is None else [str(each.raw["device"]) for each in runtime.edges()]
    (runtime or Runtime(folder, told, None)).stop()
    return f"stopped the edge runtime{f' with {_listed(names)}' if names else ''}"


@edge.command(short_help="Deploy a manifest.")
@state_option
@_device_argument
@click.argument("file", type=click.Path(path_type=Path))
def deploy(state_dir: Path | None, device_id: str, file: Path) -> None:
    """Deploy the manifest FILE to DEVICE, as 'az iot edge set-modules' does, by the hub's own API.

    Placeholders are replaced by variables, from the shell or the solution's .env; ${MODULES.Name} stands for the
    module Name. All that is wrong with the manifest is told, and then nothing is deployed. The device takes it when
    it is online.
    """
    from iotedge_lab.rest import quote
    from iotedge_lab.solution import read_manifest

    manifest = read_manifest(file)
    lab = target_lab(state_dir)
    path = f"/devices/{quote(device_id)}/applyConfigurationContent"
    lab.rest().call("POST", path, dict(manifest.content))
    for note in manifest.notes:
        click.echo(f"note: {note}", err=True)
    names = sorted(manifest.modules)
    click.echo(f"deployed {_listed(names) if names else 'no modules'} to {device_id} ({lab.hostname})")


@edge.command(short_help="Print built-in metrics.")
@state_option
@_device_argument
def metrics(state_dir: Path | None, device_id: str) -> None:
    """Print the built-in metrics of DEVICE, as Prometheus text."""
    click.echo(_running(state_dir).client.call("GET", _edge(device_id, "metrics")), nl=False)


def _running(state_dir: Path | None) -> Runtime:
    """The runtime of the state folder; `HubNotRunning` with advice if it does not run."""
    from iotedge_lab.edges import Runtime

    found = Runtime.find(_path(state_dir))
    if found is None:
        raise HubNotRunning(
            f"no edge runtime runs here. Start it with 'iotedge-lab edge up DEVICE{state_flag(state_dir)}'."
        )
    return found


def _edge(device: str, *parts: str) -> str:
    from iotedge_lab.edge.runtime.client import edge_path

    return edge_path(device, *parts)


def _path(state_dir: Path | None) -> Path:
    from iotedge_lab.hub.state import StateFolder

    return StateFolder(state_dir).path


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
