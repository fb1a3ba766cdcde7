"""The hub's process: takes the folder's lock, binds the ports, serves until it is told to stop.

Started by `Lab` and `iotedge-lab up` as `python -m iotedge_lab.hub` (`serve.daemon` has what it does as a process).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from iotedge_lab import __version__
from iotedge_lab.errors import EnvironmentProblem, LabError
from iotedge_lab.hub.amqp_front import AmqpFront
from iotedge_lab.hub.http_front import make_app
from iotedge_lab.hub.http_server import HttpServer
from iotedge_lab.hub.hub import Hub, HubSettings
from iotedge_lab.hub.mqtt_front import MqttFront
from iotedge_lab.hub.names import AMQP_PORT, HUB_NAME, PLAIN_AMQP_PORT
from iotedge_lab.hub.state import HubFile, StateFolder
from iotedge_lab.serve.activation import Activation, bind_kept
from iotedge_lab.serve.addresses import listen
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.serve.claims import bind, claim, release
from iotedge_lab.serve.client_certificates import accept_any_certificate
from iotedge_lab.serve.daemon import keep_errors, serve_in, stop_events, tell
from iotedge_lab.serve.listener import Listener
from iotedge_lab.serve.proxy import ConnectProxy, Route
from iotedge_lab.serve.sniffing import Handlers
from iotedge_lab.serve.storage import HOST, StorageFolder
from iotedge_lab.serve.storage import PORTS as STORAGE_PORTS
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)

MQTT_PORT, HTTPS_PORT = 8883, 8443
PORTS = (MQTT_PORT, AMQP_PORT, PLAIN_AMQP_PORT, HTTPS_PORT)
_GRACE = 3.0


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What the command line says. `host` None: the address used last, else the first that is free."""

    state: Path
    host: str | None = None
    partitions: int = 2
    retention_days: float = 1.0
    fsync: bool = False
    background: bool = False  # standard error goes to a file, for nobody reads it
    until_eof: bool = False  # end when standard input does: for a hub that may not outlive its parent


def run(settings: ProcessSettings, clock: Clock, ready: IO[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Says ready, or the error, on `ready`."""
    folder = StateFolder(settings.state)
    return serve_in(folder, lambda: _serve(settings, folder, clock, ready), "the hub", ready)


async def _serve(settings: ProcessSettings, folder: StateFolder, clock: Clock, ready: IO[str]) -> None:
    loop = asyncio.get_running_loop()
    before = folder.read()
    host, sockets = _bind(settings, folder, before)
    with contextlib.ExitStack() as held:
        for each in sockets:
            held.callback(each.close)
        hostname = "localhost" if host == "127.0.0.1" else host
        hosts = frozenset(
            {hostname, host, f"{HUB_NAME}.azure-devices.net", f"{HUB_NAME}.servicebus.windows.net"}
        )
        authority = Authority.open(folder.certificates, clock)
        bundle = authority.bundle_file  # made now, so that clients find it
        log.info("trust is in %s", bundle)
        hub = Hub(
            HubSettings(folder.path, hosts, settings.partitions, settings.retention_days, settings.fsync),
            clock,
            loop.call_soon,
        )
        held.callback(hub.close)
        server = HttpServer(hub, make_app(hub))
        await server.start()
        handlers = Handlers(
            mqtt=lambda info: MqttFront(hub, info),
            amqp=lambda info: AmqpFront(hub, info),
            http=server,
        )
        context = authority.server_context()
        hub.devices.no_certificates = accept_any_certificate(context)
        if hub.devices.no_certificates:
            log.warning("devices cannot connect by X.509 certificate here: %s", hub.devices.no_certificates)
        listener = Listener(context, handlers)
        held.pop_all()  # from here on the listener owns the sockets, and the hub is closed below
        await listener.start(sockets)
        proxy = ConnectProxy(_routes(host), upstream=os.environ.get("HTTPS_PROXY"))
        storage = await _storage(folder, before, clock)
        hub.files.local = storage[1] if storage is not None else None
        try:
            proxy_port = await _start_proxy(proxy, host, before)
            stop, orphaned = stop_events(loop, until_eof=settings.until_eof)
            told = HubFile(
                hub_id=hub.id,
                pid=os.getpid(),
                host=host,
                hostname=hostname,
                mqtt_port=MQTT_PORT,
                amqp_port=AMQP_PORT,
                plain_amqp_port=PLAIN_AMQP_PORT,
                https_port=HTTPS_PORT,
                proxy_port=proxy_port,
                port_443=any(each.getsockname()[1] == 443 for each in sockets if each.fileno() >= 0),
                started=clock.now(),
                version=__version__,
                keys={name: policy.primary_key for name, policy in hub.access.policies.items()},
                storage=storage[1].format() if storage is not None else "",
            )
            folder.write(told)
            claim(host, folder.hub_file)
            log.info("hub %s serves on %s (process %d)", hub.id, hostname, told.pid)
            tell(ready, {"ready": True, "pid": told.pid, "hostname": hostname})
            if settings.background:
                keep_errors(folder.path / "hub.err")
            hub.job_runner.start()
            ticker = loop.create_task(_tick(hub, folder, stop))
            gc.freeze()  # what start-up made stays: the collector need not walk it again
            await stop.wait()
            ticker.cancel()
            log.info("hub %s stops", hub.id)
            if orphaned.is_set():  # otherwise who holds the handle may start it again, and lets go at the end
                release(host, folder.hub_file)
        finally:
            hub.close_connections()
            await listener.close()
            await proxy.close()
            if storage is not None:
                await storage[0].close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.close(), _GRACE)
            hub.close()


def _bind(
    settings: ProcessSettings, folder: StateFolder, before: HubFile | None
) -> tuple[str, list[socket.socket]]:
    """Listening sockets on one loopback address: the one asked for, else the one used last, else a free one.

    Clients keep the address across a restart, so a hub that comes back wants its old one.
    """
    owner = folder.hub_file
    host, sockets = bind(PORTS, owner, asked=settings.host, before=(before.host if before else "127.0.0.1"))
    if before and host != before.host and not settings.host:
        log.warning(
            "%s is taken; this hub moves to %s, and its old connection strings do not", before.host, host
        )
    if host == "127.0.0.1":
        for port in PORTS:  # where localhost means ::1 first, clients need not wait for a refusal
            with contextlib.suppress(LabError):
                sockets.extend(listen("::1", port))
    with contextlib.suppress(LabError):
        sockets.extend(listen(host, 443))
    return host, sockets


def _routes(host: str) -> list[Route]:
    """Where the CONNECT proxy leads: this hub's names on any port to the port that serves them."""
    names = {"localhost", host} if host == "127.0.0.1" else {host}
    names |= {f"{HUB_NAME}.azure-devices.net", f"{HUB_NAME}.servicebus.windows.net"}
    to = {443: HTTPS_PORT, HTTPS_PORT: HTTPS_PORT, MQTT_PORT: MQTT_PORT, AMQP_PORT: AMQP_PORT}
    return [Route(name, port, host, target) for name in sorted(names) for port, target in to.items()]


async def _start_proxy(proxy: ConnectProxy, host: str, before: HubFile | None) -> int:
    """Start the proxy on the port it had before, if that is free, else on any."""
    if before and before.host == host and before.proxy_port:
        with contextlib.suppress(EnvironmentProblem):
            return await proxy.start(host, before.proxy_port)
    return await proxy.start(host, 0)


async def _storage(
    folder: StateFolder, before: HubFile | None, clock: Clock
) -> tuple[Activation, StorageAccount] | None:
    """The storage account's port, watched: the first who connects has its server started (`iotedge_lab.blobs`)."""
    place = StorageFolder(folder.path)
    keys = place.keys(clock)
    kept = 0
    if before and before.storage:
        with contextlib.suppress(LabError, ValueError):  # a file that somebody has changed
            kept = urlsplit(StorageAccount.parse(before.storage).endpoint).port or 0
    listening = await bind_kept(HOST, kept, STORAGE_PORTS, clock, place.locked)
    if listening is None:
        return None
    command = ("-m", "iotedge_lab.blobs", "--state", str(folder.path))
    activation = Activation("the storage server", command, listening)
    activation.start()
    return activation, keys.at(activation.port)


async def _tick(hub: Hub, folder: StateFolder, stop: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(1)
        if not folder.hub_file.exists():
            log.warning("the state folder is gone: nobody can find this hub any more, so it ends")
            stop.set()
        try:
            hub.tick()
        except LabError as error:
            log.warning("housekeeping: %s", error)
        except Exception:  # a fault of ours here must not end time-outs for everybody
            log.exception("housekeeping")
