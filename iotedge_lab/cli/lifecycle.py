"""`up`, `down`, `status`, `env`, `reset`: the local hub's life."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from iotedge_lab.cli.app import (
    echo_lines,
    local_lab,
    state_flag,
    state_option,
    table,
    target_lab,
)
from iotedge_lab.errors import HubNotRunning, LabError

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.hub.state import HubFile, StateFolder

NOT_RUNNING = 3  # as `systemctl status` has it for a unit that is not active


@click.command(short_help="Start the local hub.")
@state_option
@click.option(
    "--foreground",
    is_flag=True,
    help="Run in this process, its log on standard error, until Ctrl-C stops it in order (status 0).",
)
@click.option(
    "--host", metavar="ADDRESS", help="A loopback address. Default: the last one used, else a free one."
)
@click.option("--fsync", is_flag=True, help="Acknowledge only what a power cut would spare (slower).")
@click.option(
    "--partitions",
    type=click.IntRange(1, 32),
    default=2,
    show_default=True,
    help="Partitions of the built-in endpoint; settled when the hub first starts.",
)
@click.option(
    "--retention-days",
    type=click.FloatRange(0, 7, min_open=True),
    default=1.0,
    show_default=True,
    help="How long the built-in endpoint keeps messages.",
)
@click.pass_context
def up(
    ctx: click.Context,
    *,
    state_dir: Path | None,
    foreground: bool,
    host: str | None,
    fsync: bool,
    partitions: int,
    retention_days: float,
) -> None:
    """Start the local hub, or say that it runs already.

    It runs on after this command, on loopback addresses only, until 'iotedge-lab down'. What it acknowledged
    is kept in the state folder. It takes the ports 8883, 5671, 5672 and 8443 of 127.0.0.1, or of 127.0.0.2
    and so on where they are taken, and 443 where that is allowed.
    """
    from iotedge_lab import launch
    from iotedge_lab.hub.state import StateFolder

    state = StateFolder(state_dir)
    if foreground:
        ctx.exit(
            _serve_here(
                state, state_dir, host=host, fsync=fsync, partitions=partitions, retention_days=retention_days
            )
        )
    settings = launch.Settings(host, partitions, retention_days, fsync)
    told, child = launch.attach_or_start(state, settings)
    echo_lines(_described(state, told, "started" if child is not None else "runs already"))
    if child is None:
        asked = [
            flag
            for name, flag in (
                ("host", "--host"),
                ("fsync", "--fsync"),
                ("partitions", "--partitions"),
                ("retention_days", "--retention-days"),
            )
            if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        ]
        if asked:
            click.echo(
                f"note: {', '.join(asked)} did nothing, as the hub runs already; "
                f"'iotedge-lab down{state_flag(state_dir)}' first.",
                err=True,
            )
    click.echo()
    click.echo(f'Next: eval "$(iotedge-lab env{state_flag(state_dir)})"')


def _described(state: StateFolder, told: HubFile, how: str) -> list[str]:
    lead = (
        "bound"
        if told.port_443
        else "not bound; MQTT over WebSocket and file upload: iotedge-lab env --proxy"
    )
    return table(
        [
            ("hub", f"{told.hostname} ({how}, process {told.pid})"),
            ("MQTT", f"{told.mqtt_port} (TLS)"),
            ("AMQP", f"{told.amqp_port} (TLS), {told.plain_amqp_port} (plain)"),
            ("HTTPS", f"{told.https_port}"),
            ("443", lead),
            ("proxy", f"{told.host}:{told.proxy_port}"),
            ("storage", _storage(told)),
            ("state", f"{state.path}"),
        ]
    )


def _storage(told: HubFile) -> str:
    """Where blobs are; its server runs from its first use on."""
    from iotedge_lab.wire.storage.account import StorageAccount

    return StorageAccount.parse(told.storage).endpoint if told.storage else "no port for it"


class _Announcement:
    """What `hub.process.run` writes its one line of JSON to: told to the person instead."""

    def __init__(self, state: StateFolder, state_dir: Path | None, out: TextIO) -> None:
        self._state = state
        self._state_dir = state_dir
        self._out = out

    def write(self, line: str) -> int:
        said = json.loads(line)
        if "error" in said:
            self._out.write(f"error: {said['message']}\n")
        else:
            told = self._state.read()
            assert told is not None  # written before the hub says that it is ready
            lines = _described(self._state, told, "in this terminal")
            self._out.write("\n".join(lines) + "\n\n")
            self._out.write(
                f'Next, in another terminal: eval "$(iotedge-lab env{state_flag(self._state_dir)})"\n'
            )
            self._out.write("Ctrl-C stops the hub.\n\n")
        return len(line)

    def flush(self) -> None:
        self._out.flush()


def _serve_here(
    state: StateFolder,
    state_dir: Path | None,
    *,
    host: str | None,
    fsync: bool,
    partitions: int,
    retention_days: float,
) -> int:
    from iotedge_lab.clock import SystemClock
    from iotedge_lab.hub.process import ProcessSettings, run

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # A LabError that ends the hub is logged and announced; on a terminal once is enough.
    handler.addFilter(lambda record: record.levelno < logging.ERROR or record.exc_info is not None)
    logging.getLogger().addHandler(handler)
    settings = ProcessSettings(state.path, host, partitions, retention_days, fsync)
    try:
        ready: Any = _Announcement(state, state_dir, sys.stderr)
        return run(settings, SystemClock(), ready)
    finally:
        logging.getLogger().removeHandler(handler)


@click.command(short_help="Stop the local hub.")
@state_option
def down(state_dir: Path | None) -> None:
    """Stop the local hub in order, and the edge devices and the simulator that run here.

    What arrived is stored and acknowledged first. Nothing is deleted: 'iotedge-lab up' goes on where it left off,
    and so does 'iotedge-lab edge up'. Stopping a hub that does not run is no error.
    """
    import psutil

    from iotedge_lab import launch
    from iotedge_lab.hub.state import StateFolder

    state = StateFolder(state_dir)
    _stop_edges(state)
    told = state.read()
    if not state.locked():
        click.echo(f"no hub runs on {state.path}")
        return
    if told is None:
        raise HubNotRunning(
            f"a process holds {state.path / 'hub.lock'} and has not yet said who it is; try again in a moment."
        )
    try:
        stopped = launch.stop(state, told)
    except psutil.AccessDenied as error:
        raise HubNotRunning(
            f"the hub (process {told.pid}) belongs to another user, who must stop it."
        ) from error
    click.echo(f"stopped {told.hostname} (process {told.pid})" if stopped else f"no hub runs on {state.path}")


def _stop_edges(state: StateFolder) -> None:
    """Before the hub: what modules say at their end still arrives."""
    from iotedge_lab.cli.edge import stop_runtime
    from iotedge_lab.simulation import Simulator

    if Simulator(state.path).stop():
        click.echo("stopped the simulator")
    stopped = stop_runtime(state.path)
    if stopped:
        click.echo(stopped)


def _edges(state: StateFolder) -> list[tuple[str, bool]]:
    """The edge devices that run here, and whether each is connected to its hub."""
    from iotedge_lab.edges import Runtime

    runtime = Runtime.find(state.path)
    found = [] if runtime is None else runtime.edges()
    return [(str(each.raw["device"]), each.connected) for each in found]


def _edges_text(edges: list[tuple[str, bool]]) -> str:
    return ", ".join(f"{name} ({'connected' if connected else 'not connected'})" for name, connected in edges)


@click.command(short_help="Say whether the local hub runs.")
@state_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.pass_context
def status(ctx: click.Context, state_dir: Path | None, as_json: bool) -> None:
    """Say whether the local hub runs, and what it holds; which edge devices run here.

    Exit status: 0 it runs; 3 it does not; 1 its process is there and does not answer.
    """
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.serve.storage import StorageFolder

    state = StateFolder(state_dir)
    edges = _edges(state)
    shown = [("edge devices", _edges_text(edges))] if edges else []
    told_edges = (
        {"edges": [{"device": name, "connected": connected} for name, connected in edges]} if edges else {}
    )
    if not state.locked():
        if as_json:
            click.echo(json.dumps({"running": False, "state": str(state.path), **told_edges}))
        else:
            echo_lines(table([("hub", "not running"), *shown, ("state", str(state.path))]))
        ctx.exit(NOT_RUNNING)
    lab = local_lab(state_dir)
    said = lab.status()
    told, storage = state.read(), StorageFolder(state.path)
    if told is None:
        raise HubNotRunning(f"the hub of {state.path} has just ended; 'iotedge-lab up' starts it.")
    if as_json:
        found = {
            "running": True,
            "state": str(state.path),
            "hostname": told.hostname,
            "pid": told.pid,
            "ports": {
                "mqtt": told.mqtt_port,
                "amqp": told.amqp_port,
                "amqpPlain": told.plain_amqp_port,
                "https": told.https_port,
                "proxy": told.proxy_port,
                "443": told.port_443,
            },
        }
        found["storage"] = {"endpoint": _storage(told) if told.storage else None, "running": storage.locked()}
        click.echo(json.dumps(found | said | told_edges))
        return
    since = datetime.fromtimestamp(float(said["started"]), UTC).astimezone()
    disabled = f" ({said['disabled']} disabled)" if said.get("disabled") else ""
    partitions = ", ".join(f"{each['id']}: {each['last'] - each['first'] + 1}" for each in said["partitions"])
    echo_lines(
        table(
            [
                ("hub", "running"),
                ("hostname", told.hostname),
                ("process", str(told.pid)),
                ("since", f"{since:%Y-%m-%d %H:%M:%S}"),
                ("devices", f"{said['devices']}{disabled}"),
                ("connected", str(said["connected"])),
                ("messages", str(said["messages"])),
                ("partitions", f"{len(said['partitions'])} ({partitions})"),
                ("consumer groups", ", ".join(said["consumerGroups"])),
                *shown,
                (
                    "storage",
                    f"{_storage(told)} ({'in use' if storage.locked() else 'starts when it is used'})",
                ),
                ("state", str(state.path)),
            ]
        )
    )


@click.command(short_help="Print the variables for the SDKs.")
@state_option
@click.option(
    "--proxy",
    is_flag=True,
    help="Also HTTPS_PROXY and mqtt_proxy, which lead port 443 to the hub where it could not be bound.",
)
def env(state_dir: Path | None, proxy: bool) -> None:
    """Print the variables by which the SDKs find and trust the local hub.

    \b
    For sh, bash and zsh:
      eval "$(iotedge-lab env)"

    They are IOTHUB_CONNECTION_STRING, EVENTHUB_CONNECTION_STRING, AZURE_STORAGE_CONNECTION_STRING, SSL_CERT_FILE,
    REQUESTS_CA_BUNDLE and NODE_EXTRA_CA_CERTS; with --state also IOTEDGE_LAB_STATE, so that later commands mean the
    same hub. The hub must run: nothing is started. The lines hold keys.
    """  # noqa: D301 - click wants the character itself
    lab = local_lab(state_dir)
    found = lab.env(proxy=proxy)
    if state_dir is not None:
        found["IOTEDGE_LAB_STATE"] = str(lab.state_dir)
    for name, value in found.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    if proxy and "mqtt_proxy" not in found:
        click.echo("note: the hub has port 443 itself, so no proxy is needed.", err=True)


@click.command(short_help="Delete devices and their messages.")
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(state_dir: Path | None, yes: bool) -> None:
    """Start afresh: delete devices and what they sent.

    On the local hub all devices, messages, sessions, consumer groups and uploaded files go; its keys and
    certificates stay. On a hub on Azure only the devices whose twin has the tag iotedgeLab go, and nothing else.
    """
    from iotedge_lab.lab import TAG

    lab = target_lab(state_dir)
    if not yes:
        what = (
            f"all devices, messages and consumer groups of {lab.hostname} ({lab.state_dir})"
            if lab.is_local
            else f"the devices tagged {TAG} of {lab.hostname}"
        )
        if not click.confirm(f"Delete {what}?"):
            raise LabError("nothing was deleted.")
    count = lab.reset()
    click.echo(f"deleted {count} device{'' if count == 1 else 's'} of {lab.hostname}")
