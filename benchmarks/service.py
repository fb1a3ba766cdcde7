"""What a service waits for: a direct method's answer, a twin; and a thousand devices that send once a second.

The first two are measured twice, by azure-iot-hub as it is and by bare HTTPS on a kept connection, and the methods
with the vendor's device SDK and with a raw MQTT client: the difference is the SDKs' own time, and the rest the hub's.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import ssl
import time
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.servers import HubServer
from benchmarks.setting import Row, Setting, Worker
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.topics import telemetry_topic, username

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NAME = "service"
TITLE = "What a service waits for, and a thousand devices"
VERSION = "api-version=2021-04-12"
MOST_MS = 5.0
MOST_CORES = 1.0
MOST_MB = 250.0
_MB = 1024 * 1024
_BULK = 100  # entries a request may have
_SDK_SAID = "azure-iot-hub opens a TLS connection for each call, and reads the file of authorities for it"
_KEY = base64.b64encode(b"a key of a benchmark, 32 bytes..").decode()


class Rest:
    """Bare HTTPS on one kept connection."""

    def __init__(self, hub: HubServer) -> None:
        parsed = ConnectionString.parse(hub.lab.service_connection_string)
        assert parsed.host_name
        assert parsed.shared_access_key
        host, _, port = parsed.host_name.partition(":")
        context = ssl.create_default_context(cafile=str(hub.lab.ca_file))
        self._connection = http.client.HTTPSConnection(host, int(port), timeout=60, context=context)
        token = sas.build(host, parsed.shared_access_key, int(time.time()) + 3600, "iothubowner")
        self._headers = {"Authorization": token, "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; AssertionError if it is a refusal."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, f"{path}?{VERSION}", data, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text) if text else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Methods, twins, and the fleet, on uvloop and on plain asyncio."""
    rows: list[Row] = []
    with HubServer(setting.folder / "service-hub") as hub, contextlib.closing(Rest(hub)) as rest:
        for name, value in hub.lab.env().items():
            os.environ[name] = value  # the vendor's SDK trusts by the environment
        try:
            rows += _methods(hub, rest, setting, say)
            rows += _twins(hub, rest, setting, say)
        finally:
            for name in hub.lab.env():
                os.environ.pop(name, None)
    rows += _fleet(setting, say, setting.folder / "fleet-hub", "")
    with _without_uvloop(setting.folder / "no-uvloop"):
        rows += _fleet(setting, say, setting.folder / "plain-hub", ", hub on plain asyncio")
    return rows


# -- round trips ---------------------------------------------------------------------------------------


def _timed(call: Callable[[int], object], count: int) -> list[float]:
    """Milliseconds of each of `count` calls, after some to warm up."""
    for number in range(max(3, count // 20)):
        call(number)
    taken = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def _p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100)[98]


def _rows(what: str, times: Sequence[float], *, note: str) -> list[Row]:
    p50 = median(times)
    return [
        Row(f"{what}, p50", p50, "ms", target=f"<= {MOST_MS:g} ms", met=p50 <= MOST_MS, note=note),
        Row(f"{what}, p99", _p99(times), "ms"),
    ]


def _by_sdk(
    hub: HubServer, setting: Setting, call: Callable[[int], object]
) -> tuple[list[float], list[float]]:
    """The call's times as they are, and with a file of authorities that holds the lab's alone."""
    count = setting.count(200, 5)
    as_it_is = _timed(call, count)
    before = os.environ["REQUESTS_CA_BUNDLE"]
    os.environ["REQUESTS_CA_BUNDLE"] = hub.to()["ca"]
    try:
        return as_it_is, _timed(call, count)
    finally:
        os.environ["REQUESTS_CA_BUNDLE"] = before


def _sdk_rows(what: str, times: tuple[list[float], list[float]]) -> list[Row]:
    lean = "the same, trusting the lab's authority alone"
    return [*_rows(what, times[0], note=_SDK_SAID), _rows(f"{what} (lean)", times[1], note=lean)[0]]


def _methods(hub: HubServer, rest: Rest, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    from azure.iot.hub import IoTHubRegistryManager
    from azure.iot.hub.models import CloudToDeviceMethod

    count = setting.count(1000, 5)
    manager = IoTHubRegistryManager.from_connection_string(hub.lab.service_connection_string)
    call = CloudToDeviceMethod(method_name="ping", payload={"n": 1}, response_timeout_in_seconds=30)
    body = {"methodName": "ping", "payload": {"n": 1}, "responseTimeoutInSeconds": 30}
    rows = []
    for device, who in (("methods-sdk", "azure-iot-device"), ("methods-raw", "a raw MQTT device")):
        job = {
            "kind": device,
            **hub.to(),
            **hub.login(device),
            "connection_string": hub.connection_string(device),
        }
        worker = Worker("service_load", job)
        try:
            worker.line()
            path = f"/twins/{device}/methods"
            by_sdk = _by_sdk(hub, setting, lambda _, to=device: manager.invoke_device_method(to, call))
            by_hand = _timed(lambda _, to=path: rest.call("POST", to, body), count)
            worker.tell()
            worker.line()
        finally:
            worker.end()
        say(
            f"method by {who}: {median(by_sdk[0]):.2f} ms from azure-iot-hub, {median(by_hand):.2f} ms from HTTPS"
        )
        rows += _sdk_rows(f"Direct method, azure-iot-hub to {who}", by_sdk)
        note = f"{count:,} calls, one after another"
        rows += _rows(f"Direct method, bare HTTPS to {who}", by_hand, note=note)
    return rows


def store_twins(rest: Rest, count: int) -> None:
    """Devices `twin-00000` and on, each with tags and eight settings."""
    properties = {"desired": {f"setting{number}": {"value": number, "unit": "m/s"} for number in range(8)}}
    for first in range(0, count, _BULK):
        entries = [
            {
                "id": f"twin-{number:05}",
                "importMode": "create",
                "tags": {"hall": number % 7, "line": f"line {number % 31}", "place": {"x": number, "y": 1}},
                "properties": properties,
            }
            for number in range(first, first + _BULK)
        ]
        assert rest.call("POST", "/devices", entries)["isSuccessful"]


def _twins(hub: HubServer, rest: Rest, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    from azure.iot.hub import IoTHubRegistryManager

    stored, count = setting.count(10_000, 100), setting.count(2000, 5)
    store_twins(rest, stored)
    manager = IoTHubRegistryManager.from_connection_string(hub.lab.service_connection_string)
    chance = random.Random(1)
    names = [f"twin-{chance.randrange(stored):05}" for _ in range(count)]
    by_sdk = _by_sdk(hub, setting, lambda number: manager.get_twin(names[number]))
    by_hand = _timed(lambda number: rest.call("GET", f"/twins/{names[number]}"), count)
    say(f"twin: {median(by_sdk[0]):.2f} ms by azure-iot-hub, {median(by_hand):.2f} ms by HTTPS")
    note = f"{stored:,} twins stored, {count:,} read at random"
    return [
        *_sdk_rows("Twin read, azure-iot-hub", by_sdk),
        *_rows("Twin read, bare HTTPS", by_hand, note=note),
    ]


# -- a thousand devices --------------------------------------------------------------------------------


@contextlib.contextmanager
def _without_uvloop(folder: Path) -> Iterator[None]:
    """Processes started meanwhile do not find uvloop, as on Windows."""
    folder.mkdir(parents=True)
    (folder / "uvloop.py").write_text('raise ImportError("hidden by a benchmark")\n', encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def fleet_clients(hub: HubServer, rest: Rest, count: int) -> list[dict[str, str]]:
    """Devices that were just registered, and how each logs in."""
    names = [f"fleet-{number:04}" for number in range(count)]
    authentication = {"type": "sas", "symmetricKey": {"primaryKey": _KEY, "secondaryKey": _KEY}}
    for first in range(0, count, _BULK):
        entries = [
            {"id": name, "importMode": "create", "authentication": authentication}
            for name in names[first : first + _BULK]
        ]
        assert rest.call("POST", "/devices", entries)["isSuccessful"]
    host, end = hub.lab.hostname, int(time.time()) + 3600
    return [
        {
            "client_id": name,
            "username": username(host, name),
            "password": sas.build(f"{host}/devices/{name}", _KEY, end),
            "topic": telemetry_topic(name),
        }
        for name in names
    ]


def _fleet(setting: Setting, say: Callable[[str], None], folder: Path, where: str) -> list[Row]:
    devices, seconds = setting.count(1000, 20), setting.count(20, 2)
    with HubServer(folder) as hub, contextlib.closing(Rest(hub)) as rest:
        job = {"kind": "fleet", **hub.to(), "size": 200, "clients": fleet_clients(hub, rest, devices)}
        worker = Worker("service_load", job | {"seconds": seconds})
        try:
            connected = worker.line()["seconds"]
            before, began = hub.usage(), time.perf_counter()
            worker.tell()
            told = worker.line()
            after, ended = hub.usage(), time.perf_counter()
            held = psutil.Process(hub.pid).memory_info().rss / _MB
        finally:
            worker.end()
    cores = (after.cpu - before.cpu) / (ended - began)
    assert told["acked"] == told["sent"], "a message was not acknowledged"
    say(f"{devices:,} devices{where}: {cores:.2f} cores, {held:.0f} MB, p99 {told['p99']:.1f} ms")
    name = f"{devices:,} devices, a message a second each{where}"
    target, met = ("", None) if where else (f"<= {MOST_MB:g} MB", held <= MOST_MB)
    note = f"{told['acked']:,} messages acknowledged in {seconds} s; all connected after {connected:.1f} s"
    return [
        Row(f"{name}: processor", cores, "cores", target="<= 1 core", met=cores <= MOST_CORES, note=note),
        Row(f"{name}: memory", held, "MB", target=target, met=met, note="resident set"),
        Row(f"{name}: PUBACK, p50", told["p50"], "ms"),
        Row(f"{name}: PUBACK, p99", told["p99"], "ms"),
    ]
