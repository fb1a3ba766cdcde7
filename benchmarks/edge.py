"""How fast the edge runtime is: to the hub, from module to module, out of a backlog, and at its start.

The load is raw MQTT over TLS as a module of the edge, 1 KB a message, QoS 1; what arrives at the hub is read back by
azure-eventhub and has to be whole and in order. Edge runtime, hub, load and reader share the machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from benchmarks.servers import PORT, HubServer, MosquittoServer, usage_of
from benchmarks.setting import Row, Setting, compared, work
from iotedge_lab.wire import sas
from iotedge_lab.wire.topics import telemetry_topic, username

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edges import Edge

NAME = "edge"
TITLE = "The edge runtime: 1 KB, QoS 1, TLS, stored before it is acknowledged"
DEVICE = "bench-edge"
SIZE = 1024
IN_FLIGHT = 500
LEAST = 2000.0  # messages/s
P50_MS, P99_MS = 3.0, 20.0
START_SECONDS = 2.0
MEMORY_MB = 120.0
_MB = 1024 * 1024
_ROUTES = {
    "up": "FROM /messages/modules/Sender/outputs/up INTO $upstream",
    "over": 'FROM /messages/modules/Sender/outputs/over INTO BrokeredEndpoint("/modules/Receiver/inputs/in1")',
}


class Bench:
    """A hub, an edge device at it, and two modules that are connections of the load's."""

    def __init__(
        self, stack: ExitStack, setting: Setting, name: str = "edge-hub", routes: dict[str, str] = _ROUTES
    ) -> None:
        self._routes = routes
        self.hub = stack.enter_context(HubServer(setting.folder / name))
        self._rest = self.hub.lab.rest()
        self._rest.call("PUT", f"/devices/{DEVICE}", {"deviceId": DEVICE, "capabilities": {"iotEdge": True}})
        for module in ("Sender", "Receiver"):
            self._rest.call(
                "PUT", f"/devices/{DEVICE}/modules/{module}", {"deviceId": DEVICE, "moduleId": module}
            )
        self.deploy({})
        self.edge: Edge = self.hub.lab.edge(DEVICE)
        stack.callback(self.edge.close)
        self.edge.wait_until(lambda status: routes.keys() <= status.raw["routes"].keys(), "the routes")

    def deploy(self, modules: dict[str, Any]) -> None:
        """The routes, and these modules."""
        system = {
            "edgeAgent": {"type": "docker", "settings": {"image": "azureiotedge-agent:1.5"}},
            "edgeHub": {
                "type": "docker",
                "status": "running",
                "restartPolicy": "always",
                "settings": {"image": "azureiotedge-hub:1.5"},
            },
        }
        agent = {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {}},
            "systemModules": system,
            "modules": modules,
        }
        hub = {
            "schemaVersion": "1.1",
            "routes": self._routes,
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        }
        content = {"$edgeAgent": {"properties.desired": agent}, "$edgeHub": {"properties.desired": hub}}
        self._rest.call("POST", f"/devices/{DEVICE}/applyConfigurationContent", {"modulesContent": content})

    @property
    def to(self) -> dict[str, Any]:
        """Where the edge listens."""
        return {**self.hub.to(), "host": self.edge.gateway, "port": PORT}

    def key(self, module: str) -> str:
        """A module's key."""
        found = self._rest.call("GET", f"/devices/{DEVICE}/modules/{module}")
        return str(found["authentication"]["symmetricKey"]["primaryKey"])

    def login(self, module: str, output: str = "up") -> dict[str, str]:
        """As the SDK makes it, with the topic of an output."""
        host = self.hub.lab.hostname
        resource = f"{host}/devices/{DEVICE}/modules/{module}"
        return {
            "client_id": f"{DEVICE}/{module}",
            "username": username(host, DEVICE, module),
            "password": sas.build(resource, self.key(module), int(time.time()) + 3600),
            "topic": telemetry_topic(DEVICE, module, {"iothub-outputname": output}),
        }

    def connection_string(self, module: str) -> str:
        """Of a module, through the edge."""
        return (
            f"HostName={self.hub.lab.hostname};DeviceId={DEVICE};ModuleId={module};"
            f"SharedAccessKey={self.key(module)};GatewayHostName={self.edge.gateway}"
        )

    @property
    def pid(self) -> int:
        """The runtime's process."""
        return self.edge.runtime.pid


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """All of it on one edge device."""
    rows: list[Row] = []
    with ExitStack() as stack:
        bench = Bench(stack, setting)
        idle = usage_of(bench.pid).memory
        rows += _sustained(bench, setting, say)
        rows += _backlog(bench, setting, say)
        rows += _module_to_module(bench, setting, say)
        rows += _sdk(bench, stack, setting, say)
        rows += _start(bench, idle, say)
    return rows


def _send(bench: Bench, tag: str, count: int) -> dict[str, Any]:
    clients = [bench.login("Sender")]
    job = {**bench.to, "tag": tag, "size": SIZE, "each": count, "in_flight": IN_FLIGHT, "clients": clients}
    return work("raw_sender", job)


def _read_back(bench: Bench, sent: list[list[Any]]) -> int:
    """All of it, each message whole, once and in order; RuntimeError otherwise."""
    events = bench.hub.lab.events_connection_string
    job = {
        "events": events,
        "name": bench.hub.lab.events_name,
        "size": SIZE,
        "expected": sent,
        "prefetch": 1000,
        "partitions": ["0", "1"],
    }
    told = work("event_reader", job)
    faults = {name: told[name] for name in ("twice", "damaged", "foreign", "disordered") if told[name]}
    if told["intact"] != told["expected"] or faults:
        raise RuntimeError(
            f"{told['expected']:,} messages were acknowledged, {told['intact']:,} read {faults}"
        )
    return int(told["intact"])


def _arrived(bench: Bench, count: int) -> None:
    while int(bench.hub.lab.status()["messages"]) < count:
        time.sleep(0.01)


def _sustained(bench: Bench, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """From the first message sent until the last one lies at the hub."""
    count = setting.count(60_000, 500)
    began, used = time.monotonic(), usage_of(bench.pid).cpu
    told = _send(bench, "s", count)
    _arrived(bench, count)
    rate = count / (time.monotonic() - began)
    cpu = (usage_of(bench.pid).cpu - used) / count * 1e6
    read = _read_back(bench, [["s", 0, count]])
    absorbed = told["acked"] / told["seconds"]
    say(f"to the hub {rate:,.0f} messages/s, absorbed at {absorbed:,.0f}/s")
    return [
        Row(
            "Through the edge to the hub",
            rate,
            "messages/s",
            target=f">= {LEAST:,.0f}",
            met=rate >= LEAST,
            note=f"{count:,}, until the last is at the hub (start of the load's process included); all {read:,} "
            "read back, each once, in order",
        ),
        Row("- acknowledged to the module meanwhile", absorbed, "messages/s"),
        Row("- CPU of the runtime", cpu, "us a message"),
    ]


def _backlog(bench: Bench, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Offline, filled, online again."""
    count = setting.count(100_000, 500)
    before = int(bench.hub.lab.status()["messages"])
    bench.edge.offline()
    _send(bench, "b", count)
    waiting = bench.edge.status().waiting
    if waiting != count:
        raise RuntimeError(f"{count:,} messages were acknowledged offline, and {waiting:,} wait")
    memory = usage_of(bench.pid).memory
    began = time.monotonic()
    bench.edge.online()
    bench.edge.wait_until_connected()
    _arrived(bench, before + count)
    rate = count / (time.monotonic() - began)
    _read_back(bench, [["s", 0, before], ["b", 0, count]])
    say(f"a backlog of {count:,} drains at {rate:,.0f} messages/s")
    return [
        Row(
            f"Backlog of {count:,} drained",
            rate,
            "messages/s",
            target=f">= {LEAST:,.0f}",
            met=rate >= LEAST,
            note="from going online; the reconnection included; all read back, each once, in order",
        ),
        Row(f"- memory of the runtime with {count:,} waiting (USS)", memory / _MB, "MB"),
    ]


def _module_to_module(bench: Bench, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    sender, receiver = bench.login("Sender", "over"), bench.login("Receiver")
    job = {
        **bench.to,
        "size": SIZE,
        "rate": 200,
        "count": setting.count(4000, 100),
        "sender": sender,
        "receiver": receiver,
        "topic": sender["topic"],
        "filter": f"devices/{DEVICE}/modules/Receiver/inputs/#",
    }
    found = work("edge_latency", job)["latencies"]
    p50, p99 = median(found), quantiles(found, n=100)[98]
    say(f"module to module p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    note = "200 messages/s; from writing to reading at the other module, stored in between"
    return [
        Row("Module to module, p50", p50, "ms", target=f"<= {P50_MS:g} ms", met=p50 <= P50_MS, note=note),
        Row("Module to module, p99", p99, "ms", target=f"<= {P99_MS:g} ms", met=p99 <= P99_MS),
    ]


def _sdk(bench: Bench, stack: ExitStack, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """The vendor's module client through the edge and at Mosquitto, by turns."""
    blocks = setting.count(40, 4)
    ca = bench.hub.to()["ca"]
    servers = [{"name": "hub", "connection_string": bench.connection_string("Sender"), "ca": ca}]
    if MosquittoServer.installed_version():
        mosquitto = stack.enter_context(MosquittoServer(setting.folder / "edge-mosquitto"))
        servers.append(
            {
                "name": "mosquitto",
                "connection_string": mosquitto.connection_string(DEVICE) + ";ModuleId=Sender",
                "ca": mosquitto.to()["ca"],
            }
        )
    job = {"servers": servers, "size": 200, "block": 50, "blocks": blocks, "at_once": 50}
    told = work("sdk_sender", job)
    rows = []
    for way, what in (("sequential", "one after another"), ("concurrent", "50 at once")):
        rates = told[way]
        for name, blocks_of in rates.items():
            say(f"SDK module, {what}, {name}: {median(blocks_of):,.0f} messages/s")
        other = rates.get("mosquitto", [])
        rows.append(
            compared(
                f"SDK module through the edge, {what}",
                rates["hub"],
                other,
                "messages/s",
                least=0.9,
                note="200 B",
            )
        )
    return rows


def _start(bench: Bench, idle: int, say: Callable[[str], None]) -> list[Row]:
    """The runtime is stopped, three modules are deployed, and it is started."""
    modules = {
        name: {
            "version": "1.0",
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "settings": {"image": "EchoModule", "createOptions": "{}"},
        }
        for name in ("EchoOne", "EchoTwo", "EchoThree")
    }
    imported = _seconds("import azure.iot.device")
    bench.deploy(modules)
    bench.edge.wait_until_running(*modules)  # their identities are made, and the deployment is in the store
    bench.edge.runtime.stop()
    began = time.monotonic()
    bench.edge.start()
    up = time.monotonic() - began
    bench.edge.wait_until_running(*modules)
    beyond = time.monotonic() - began - imported
    memory = usage_of(bench.pid).memory / _MB
    say(f"three modules run {beyond + imported:.2f} s after the start; memory {memory:.0f} MB")
    return [
        Row(
            "Runtime started to three modules connected, beyond their import",
            beyond,
            "s",
            target=f"<= {START_SECONDS:g} s",
            met=beyond <= START_SECONDS,
            note=f"{beyond + imported:.2f} s in all; importing azure.iot.device alone takes {imported:.2f} s, once",
        ),
        Row("- the runtime's own start", up, "s"),
        Row(
            "Memory of the runtime with three modules (USS)",
            memory,
            "MB",
            target=f"<= {MEMORY_MB:g} MB",
            met=memory <= MEMORY_MB,
            note=f"{idle / _MB:.0f} MB idle, without modules",
        ),
    ]


def _seconds(statement: str) -> float:
    """What a statement takes in a fresh interpreter, the interpreter's own start included; the best of three."""
    found = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)
        found.append(time.monotonic() - began)
    return min(found)
