"""The vendor's own module client, unmodified and in a process of its own, with a running hub as its gateway."""

import asyncio
import contextlib
import importlib.util
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.iot.device import Message
from edge_modules import PATIENCE
from hub_clients import Consumer, RawDevice

import iotedge_lab
from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.agent import ModuleIdentity, Supervisor
from iotedge_lab.edge.manifest import ImageTable
from iotedge_lab.edge.workload import ModuleKey, WorkloadServer
from iotedge_lab.lab import Lab
from iotedge_lab.serve.certificates import Authority

MODULES = Path(iotedge_lab.__file__).parent / "modules"
DEVICE = "car"
SDK = """
import logging, sys
logging.basicConfig(level=logging.CRITICAL)
from azure.iot.device import IoTHubModuleClient
client = IoTHubModuleClient.create_from_edge_environment()
client.connect()
client.send_message_to_output("hello from " + sys.argv[1], "out")
print(client.get_twin()["desired"]["$version"])
client.shutdown()
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running hub that the tests of this file share, with an edge device."""
    with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
        body = {"deviceId": DEVICE, "capabilities": {"iotEdge": True}}
        opened.rest().call("PUT", f"/devices/{DEVICE}", body)
        yield opened


class Gateway:
    """What a module needs of an edge: the workload API, and for its gateway the hub itself."""

    def __init__(self, lab, folder):
        self.lab = lab
        self.keys = {}
        self.server = WorkloadServer(self.keys, Authority.open(lab.state_dir / "certificates", SystemClock()))
        self.folder = folder

    async def __aenter__(self):
        await self.server.start(self.folder / "run", port=0)
        return self

    async def __aexit__(self, *_):
        await self.server.close()

    def identity(self, module, uri=None):
        """Make a module identity at the hub; its key goes to the workload API, the rest to the module."""
        path = f"/devices/{DEVICE}/modules/{module}"
        made = self.lab.rest().call("PUT", path, {"deviceId": DEVICE, "moduleId": module})
        key = made["authentication"]["symmetricKey"]["primaryKey"]
        self.keys[module] = ModuleKey(made["generationId"], key)
        host = self.lab.hostname
        return ModuleIdentity(host, DEVICE, module, made["generationId"], host, uri or self.server.socket_uri)


async def run_sdk(environment, *arguments):
    """Run the SDK program with exactly this environment: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SDK, *arguments, env=environment, stdout=-1, stderr=-1
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("door", ["unix", "http"])
async def test_create_from_edge_environment(door, lab, tmp_path):
    """The SDK trusts the hub by the trust bundle and connects with a token that the workload API signed."""
    async with Gateway(lab, tmp_path) as gateway:
        uri = gateway.server.socket_uri if door == "unix" else gateway.server.http_uri
        assert uri.startswith(door)
        identity = gateway.identity(f"sdk-{door}", uri)
        code, output, errors = await run_sdk(identity.environment(), door)
        assert code == 0, errors
        assert output.strip() == "1"
    with reading(lab) as consumer:
        found = await asyncio.to_thread(
            until, consumer, lambda event: event.body_as_str() == f"hello from {door}"
        )
    properties = found.system_properties
    assert properties[b"iothub-connection-module-id"] == f"sdk-{door}".encode()


async def test_another_key_or_generation_does_not_connect(lab, tmp_path):
    """A generation that is gone gets no signature, and a signature with another key no connection."""
    async with Gateway(lab, tmp_path) as gateway:
        environment = gateway.identity("stranger").environment()
        code, _, errors = await run_sdk({**environment, "IOTEDGE_MODULEGENERATIONID": "0"}, "x")
        assert code != 0
        assert "Unable to sign data" in errors
        gateway.keys["stranger"] = ModuleKey(gateway.keys["stranger"].generation_id, "b3RoZXI=")
        code, _, errors = await run_sdk(environment, "x")
        assert code != 0
        assert "CredentialError" in errors or "ConnectionFailedError" in errors


# -- EchoModule -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(lab):
    """A consumer of all that the hub has."""
    consumer = Consumer(lab)
    try:
        yield consumer
    finally:
        consumer.close()


def until(consumer, condition, after=0):
    """The first event from the `after`th on that fulfils a condition."""
    with consumer.news:
        found = consumer.news.wait_for(
            lambda: [event for event in consumer.events[after:] if condition(event)], PATIENCE
        )
        assert found, f"none of {len(consumer.events)} events"
        return found[0]


def says_the_time(event):
    return event.body_as_str().startswith("Sending event at 20")


async def test_echo_module(lab, tmp_path):
    """Deployed by its image it tells the time at the interval of its twin, outlives its connection, and ends well."""
    async with Gateway(lab, tmp_path) as gateway:

        async def identify(spec):
            return gateway.identity(spec.name)

        system = {"type": "docker", "settings": {"image": "mcr.example/x:1"}}
        echo = {
            "type": "docker",
            "settings": {"image": "lab.azurecr.io/echomodule:0.0.1-amd64", "createOptions": "{}"},
            "env": {"ECHO_INTERVAL": {"value": "600"}},
        }
        properties = {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {}},
            "systemModules": {"edgeAgent": system, "edgeHub": system},
            "modules": {"EchoModule": echo},
        }
        images = ImageTable.scan([MODULES])
        with reading(lab) as consumer:
            async with Supervisor(tmp_path / "edge", images, identify, SystemClock()) as supervisor:
                assert (await supervisor.apply_desired(properties)).code == 200
                first = await asyncio.to_thread(until, consumer, says_the_time)
                assert first.properties.get(b"$.on") is None
                assert first.system_properties[b"iothub-connection-module-id"] == b"EchoModule"
                assert twin(lab)["properties"]["reported"]["interval"] == 600

                # The next one comes only because the twin makes the interval short.
                seen = len(consumer.events)
                twin(lab, {"interval": 0.2})
                await asyncio.to_thread(until, consumer, says_the_time, seen)
                assert twin(lab)["properties"]["reported"]["interval"] == 0.2

                # Another connection of this identity has the hub drop the module's: it comes back.
                with RawDevice(lab, DEVICE, "EchoModule", tls=True) as other:
                    assert await asyncio.to_thread(other.closed_by_hub)
                now = f"Sending event at {datetime.now(UTC).isoformat()}"
                await asyncio.to_thread(until, consumer, lambda event: event.body_as_str() > now)

                pid = supervisor.status()["EchoModule"].pid
                properties["modules"] = {"EchoModule": {**echo, "status": "stopped"}}
                await supervisor.apply_desired(properties)
                state = supervisor.status()["EchoModule"]
                lines = [line.text for line in supervisor.read_log("EchoModule").lines()]
                assert pid is not None
                assert (state.status, state.exit_code) == ("stopped", 0), lines[-5:]
                assert lines[-1].endswith("[INF] Stopped")
                assert lines[0].startswith("<6> 20")


def twin(lab, desired=None):
    """The module's twin, after a change of its desired properties."""
    path = f"/twins/{DEVICE}/modules/EchoModule"
    if desired is None:
        return lab.rest().call("GET", path)
    return lab.rest().call("PATCH", path, {"properties": {"desired": desired}})


@pytest.fixture(scope="module")
def echo():
    """The module's code, as an import."""
    spec = importlib.util.spec_from_file_location("echo_main", MODULES / "EchoModule" / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Client:
    """Takes what is sent, after some failures."""

    def __init__(self, failures=()):
        self.failures = list(failures)
        self.sent = []
        self.reported = []

    def send_message_to_output(self, message, output):
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((message, output))

    def patch_twin_reported_properties(self, patch):
        self.reported.append(patch)


def test_what_comes_goes_out(echo):
    """A message to input-echo goes to output-echo with all that it has; while that fails, it is tried again."""
    from azure.iot.device.exceptions import ConnectionDroppedError

    module = echo.EchoModule(1.0)
    module.client = Client([ConnectionDroppedError()])
    message = Message(b"\x00data", "id-1", "utf-8", "application/json")
    message.correlation_id = "c-1"
    message.custom_properties = {"a": "1"}
    message.input_name = "input-echo"
    module.echo(message)
    ((copy, output),) = module.client.sent
    assert output == "output-echo"
    assert (copy.data, copy.message_id, copy.correlation_id) == (b"\x00data", "id-1", "c-1")
    assert (copy.content_encoding, copy.content_type, copy.custom_properties) == (
        "utf-8", "application/json", {"a": "1"},
    )  # fmt: skip
    message.input_name = "elsewhere"
    module.echo(message)
    assert len(module.client.sent) == 1


@pytest.mark.parametrize(
    ("desired", "interval"),
    [({"interval": 5}, 5), ({"interval": "2.5"}, 2.5), ({"interval": None}, 30), ({"$version": 3}, 7),
     ({"interval": 0}, 7), ({"interval": "soon"}, 7), ({"interval": [1]}, 7), ({"interval": float("nan")}, 7)],
)  # fmt: skip
def test_intervals(desired, interval, echo):
    """The desired interval holds where it is a number of seconds; the one in force is reported."""
    module = echo.EchoModule(7)
    module.client = Client()
    module.configure(desired)
    assert module.interval == interval
    assert module.client.reported == [{"interval": interval}]


async def test_a_bad_interval_in_the_environment():
    """ECHO_INTERVAL that is no number ends the module with a word, and exit code 2."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", MODULES / "EchoModule" / "main.py", env={"ECHO_INTERVAL": "often"}, stdout=-1
    )
    output, _ = await process.communicate()
    assert process.returncode == 2
    assert b"ECHO_INTERVAL is 'often'" in output
    assert output.startswith(b"<3> ")


async def test_stopped_before_it_is_connected(tmp_path):
    """With no edge hub there it keeps trying, and SIGTERM still ends it well."""
    identity = ModuleIdentity(
        "hub.test", DEVICE, "EchoModule", "g", "127.0.0.1", f"unix://{tmp_path}/nothing"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", MODULES / "EchoModule" / "main.py", env=identity.environment(), stdout=-1
    )
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    assert b"cannot be reached yet" in line
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


def test_the_module_folder():
    """It has what a module of a solution has."""
    folder = MODULES / "EchoModule"
    told = json.loads((folder / "module.json").read_text())
    assert told["image"]["repository"].endswith("/echomodule")
    assert all((folder / file).is_file() for file in told["image"]["tag"]["platforms"].values())
    assert "azure-iot-device" in (folder / "requirements.txt").read_text()
