"""Modules that are the vendor's own SDK, started by the runtime: synchronous over MQTT, asynchronous over WebSocket."""

import http.client
import json
import socket
import ssl
import urllib.request

import pytest
from azure.iot.device import IoTHubDeviceClient, MethodResponse
from edge_stage import module, until
from prometheus_client.parser import text_string_to_metric_families

from iotedge_lab.rest import RestError

ROUTES = {
    "a-up": "FROM /messages/modules/a/outputs/up INTO $upstream",
    "b-up": "FROM /messages/modules/b/outputs/up INTO $upstream",
    "a-to-b": 'FROM /messages/modules/a/outputs/across INTO BrokeredEndpoint("/modules/b/inputs/in")',
    "b-to-a": 'FROM /messages/modules/b/outputs/across INTO BrokeredEndpoint("/modules/a/inputs/in")',
    "hot": "FROM /messages/modules/a/outputs/checked WHERE $body.heat.value > 30 INTO $upstream",
    "marked": "FROM /messages/modules/a/outputs/checked WHERE level = 'high' INTO $upstream",
    "text": "FROM /messages/modules/a/outputs/checked WHERE $contentType = 'text/plain' INTO $upstream",
    "leaves": "FROM /messages/* WHERE NOT IS_DEFINED($connectionModuleId) INTO $upstream",
}


@pytest.fixture(scope="module")
def running(stage):
    """The edge with its two modules."""
    stage.deploy({"a": module(), "b": module(env={"PUPPET": "aio", "WEBSOCKETS": "1"})}, ROUTES)
    stage.edge.wait_until_running("a", "b")
    yield stage
    stage.edge.online()


@pytest.fixture
def a(running):
    puppet = running.puppet("a")
    puppet("forget")
    return puppet


@pytest.fixture
def b(running):
    puppet = running.puppet("b")
    puppet("forget")
    return puppet


@pytest.fixture
def offline(running):
    """The link to the hub is cut for this test."""
    running.edge.offline()
    yield running
    running.edge.online()
    running.edge.wait_until_connected()


def both(a, b, number):
    return (a, b)[number]


# -- messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["sync-mqtt", "aio-websocket"])
def test_messages_to_the_hub(number, a, b, events):
    """They arrive in the module's name, with their properties."""
    puppet = both(a, b, number)
    puppet.send(
        f"hello {number}",
        output="up",
        properties={"colour": "blå", "a b": "c&d=e"},
        message_id="m-1",
        correlation_id="c-1",
        content_type="text/plain",
        content_encoding="utf-8",
    )
    event = events.find(f"hello {number}")
    assert {key.decode(): value.decode() for key, value in event.properties.items()} == {
        "colour": "blå",
        "a b": "c&d=e",
    }
    found = event.system_properties
    assert found[b"iothub-connection-device-id"] == b"edge"
    assert found[b"iothub-connection-module-id"] == puppet.name.encode()
    assert (event.message_id, event.correlation_id, event.content_type) == ("m-1", "c-1", "text/plain")


@pytest.mark.parametrize("number", [0, 1], ids=["a-to-b", "b-to-a"])
def test_messages_between_modules(number, a, b):
    """They come to the input in order, with their properties."""
    sender, receiver = both(a, b, number), both(a, b, 1 - number)
    sender.send("1", "2", "3", output="across", properties={"x": "y"}, message_id="m", content_type="t/t")
    found = receiver.inputs(3)
    assert [each["body"] for each in found] == ["1", "2", "3"]
    assert {each["input"] for each in found} == {"in"}
    assert found[0]["properties"]["x"] == "y"
    assert (found[0]["id"], found[0]["type"]) == ("m", "t/t")


def test_conditions(a, events, running):
    """A route takes what its condition says: of the body, a property, or a system property."""
    before = running.edge.status().raw["unrouted"]
    for number, heat in enumerate((20, 40)):
        a.send(json.dumps({"n": number, "heat": {"value": heat}}), output="checked", json_body=True)
    a.send("no JSON", '{"heat": {"value": 40}}', output="checked")
    a.send("high", output="checked", properties={"level": "high"})
    a.send("low", output="checked", properties={"level": "low"})
    a.send("text", output="checked", content_type="text/plain")
    events.find("text")
    found = [body for body in events.bodies("a") if body.startswith(("{", "no", "hi", "lo", "te"))]
    assert found == ['{"n": 1, "heat": {"value": 40}}', "high", "text"]
    assert running.edge.status().raw["unrouted"] - before == 4


# -- twins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["sync-mqtt", "aio-websocket"])
def test_twins_online(number, a, b, running):
    """Read, reported to and told of, by the hub's own twin."""
    puppet = both(a, b, number)
    running.desire({"speed": 10, "gone": None}, puppet.name)
    assert puppet.patches(1)[-1]["speed"] == 10
    assert puppet("twin")["desired"]["speed"] == 10
    puppet("report", patch={"temperature": 21.5, "old": None})
    assert running.reported(puppet.name)["temperature"] == 21.5
    with pytest.raises(RuntimeError, match="ClientError"):
        puppet("report", patch={"bad.name": 1})


@pytest.mark.parametrize("number", [0, 1], ids=["sync-mqtt", "aio-websocket"])
def test_twins_offline(number, a, b, offline):
    """Offline the copy is read, reports are kept, and what was missed is told when the link is back."""
    puppet = both(a, b, number)
    version = puppet("twin")["desired"]["$version"]
    offline.desire({"while": f"away {version}"}, puppet.name)
    assert puppet("twin")["desired"]["$version"] == version
    puppet("report", patch={"offline": version, "temperature": None})
    assert puppet("twin")["reported"]["offline"] == version
    assert offline.reported(puppet.name).get("offline") != version
    offline.edge.online()
    assert puppet.patches(1)[-1]["while"] == f"away {version}"
    until(lambda: offline.reported(puppet.name).get("offline") == version, "the report")
    assert "temperature" not in offline.reported(puppet.name)


def test_offline_messages_wait(a, b, offline, events):
    """Modules go on among themselves; what is for the hub waits, is seen to wait, and arrives in order."""
    a.send(*(f"waiting {number}" for number in range(20)), output="up")
    b.send("still here", output="across")
    assert a.inputs(1)[0]["body"] == "still here"
    status = offline.edge.status()
    assert (status.online, status.connected, status.waiting) == (False, False, 20)
    assert status.raw["trouble"] == "offline on purpose"
    until(lambda: offline.edge.status().raw["queues"][0]["oldestSeconds"] > 0, "an age")
    with pytest.raises(RestError) as caught:
        offline.invoke("ping")
    assert caught.value.http_status == 404
    offline.edge.online()
    events.find("waiting 19")
    assert [body for body in events.bodies("a") if body.startswith("waiting")] == [
        f"waiting {number}" for number in range(20)
    ]
    offline.edge.wait_until_delivered()


# -- direct methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["sync-mqtt", "aio-websocket"])
def test_methods_from_the_cloud(number, a, b, running):
    """The module's own status and payload come back."""
    puppet = both(a, b, number)
    assert running.invoke("blink", {"times": 2}, puppet.name) == (203, {"echo": {"times": 2}})
    assert puppet("wait", kind="calls", count=1, seconds=30) == [{"name": "blink", "payload": {"times": 2}}]


def test_a_method_that_is_not_answered(a, running):
    """The hub gives up after the time that the caller has set."""
    with pytest.raises(RestError) as caught:
        running.invoke("silent", None, "a", responseTimeoutInSeconds=5)
    assert caught.value.http_status == 504


@pytest.mark.parametrize("number", [0, 1], ids=["sync-mqtt", "aio-websocket"])
def test_methods_between_modules(number, a, b, offline):
    """A module calls another over HTTPS, offline as well, and the agent; 404 where nobody answers."""
    caller, other = both(a, b, number), both(a, b, 1 - number)
    call = {
        "methodName": "blink",
        "payload": [1, 2],
        "responseTimeoutInSeconds": 30,
        "connectTimeoutInSeconds": 0,
    }
    assert caller("invoke", method=call, device="edge", module=other.name) == {
        "status": 203,
        "payload": {"echo": [1, 2]},
    }
    ping = caller("invoke", method={**call, "methodName": "ping"}, device="edge", module="$edgeAgent")
    assert ping == {"status": 200, "payload": None}
    with pytest.raises(RuntimeError, match="404"):
        caller("invoke", method=call, device="edge", module="nobody")


# -- leaf devices ---------------------------------------------------------------------------------------


def test_methods_to_a_leaf_device(a, running):
    """A module calls a method of a device that is connected to the same edge, and 404 when it has gone."""
    client = IoTHubDeviceClient.create_from_connection_string(running.leaf("lamp"))
    call = {"methodName": "on", "payload": 5, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 20}
    try:
        client.on_method_request_received = lambda request: client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, request.payload)
        )
        client.connect()
        assert a("invoke", method=call, device="lamp") == {"status": 200, "payload": 5}
    finally:
        client.shutdown()
    until(lambda: not running.edge.status().raw["clients"]["lamp"]["connected"], "its end")
    with pytest.raises(RuntimeError, match="404"):
        a("invoke", method={**call, "connectTimeoutInSeconds": 0}, device="lamp")


# -- the agent's part -----------------------------------------------------------------------------------


def test_what_the_hub_knows_of_them(running):
    """Agent and edge hub report as the portal reads it."""
    agent = until(
        lambda: (
            (found := running.reported("$edgeAgent"))["modules"].get("b", {}).get("runtimeStatus")
            == "running"
            and found
        ),
        "the report",
    )
    assert agent["lastDesiredStatus"] == {"code": 200, "description": ""}
    assert agent["lastDesiredVersion"] == running.twin("$edgeAgent")["properties"]["desired"]["$version"]
    assert agent["modules"]["a"]["runtimeStatus"] == "running"
    assert agent["modules"]["a"]["restartCount"] == 0
    assert agent["systemModules"]["edgeHub"]["runtimeStatus"] == "running"
    hub = until(
        lambda: (
            (found := running.reported("$edgeHub"))["clients"].get("edge/a", {}).get("status") == "Connected"
            and found
        ),
        "the report",
    )
    assert hub["lastDesiredStatus"]["code"] == 200


def test_logs_and_restart(a, running):
    """GetModuleLogs gives what a module has written; RestartModule gives it another process; GetTaskStatus answers."""
    a("print", text="a line of its own")
    request = {"schemaVersion": "1.0", "items": {"id": "^a$", "filter": {"tail": 5}}, "encoding": "none"}
    until(
        lambda: "a line of its own" in running.invoke("GetModuleLogs", request)[1][0]["payload"], "the line"
    )
    assert "a line of its own" in running.edge.logs("a")
    everything = {"schemaVersion": "1.0", "items": [{"id": ".*", "filter": {"tail": 200}}]}
    logs = {each["id"]: each["payload"] for each in running.invoke("GetModuleLogs", everything)[1]}
    assert set(logs) == {"edgeAgent", "edgeHub", "a", "b"}
    assert "[INF] - module a runs as process" in logs["edgeAgent"]
    assert "edge/a: connected to" in logs["edgeHub"]
    before = a.pid
    assert running.invoke("RestartModule", {"schemaVersion": "1.0", "id": "a"}) == (200, None)
    running.edge.wait_until_running("a")
    assert until(lambda: a.pid != before, "another process")
    assert running.invoke("RestartModule", {"schemaVersion": "1.0", "id": "x"})[0] == 500
    assert running.invoke("GetTaskStatus", {"schemaVersion": "1.0", "correlationId": "c"})[0] == 200
    assert running.invoke("nonsense")[0] == 400


def test_the_environment_of_a_module(a, running):
    """The manifest's, IOTEDGE_* and trust in the lab's storage: no key, nothing of who started the runtime."""
    found = a("environment")
    text = json.dumps(found)
    assert "SharedAccessKey" not in text
    assert not {name for name in found if name.startswith(("IOTHUB", "EVENTHUB", "AZURE", "PYTEST"))}
    bundle = str(running.lab.state_dir / "certificates" / "ca-bundle.pem")
    assert {name: value for name, value in found.items() if name.startswith(("SSL_", "REQUESTS_"))} == {
        "SSL_CERT_FILE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
    }
    assert found["IOTEDGE_GATEWAYHOSTNAME"] == running.edge.gateway
    assert running.lab._told.keys["iothubowner"] not in text


def test_nothing_secret_is_shown(running):
    """No key is in a log, in a status, in a metric or a repr, and the files are the owner's alone."""
    rest = running.rest
    keys = [running.lab._told.keys["iothubowner"]]
    for path in ("/devices/edge", "/devices/edge/modules/a", "/devices/edge/modules/$edgeAgent"):
        symmetric = rest.call("GET", path)["authentication"]["symmetricKey"]
        keys += [symmetric["primaryKey"], symmetric["secondaryKey"]]
    edges = running.lab.state_dir / "edges"
    token = json.loads((edges / "runtime.json").read_text())["token"]
    status = running.edge.status()
    shown = [
        (edges / "runtime.log").read_text(),
        json.dumps(status.raw),
        repr(status),
        status._repr_html_(),
        repr(running.edge),
        repr(running.edge._settings),
        running.edge.metrics(),
        *(file.read_text() for file in (running.folder / "logs").glob("*")),
    ]
    for secret in (*keys, token):
        assert not any(secret in text for text in shown)
    for file in (
        edges / "runtime.json",
        edges / "edges.json",
        running.folder / "edge.db",
        edges / "runtime.log",
    ):
        assert file.stat().st_mode & 0o077 == 0, file
    assert edges.stat().st_mode & 0o077 == 0


def test_metrics(a, running):
    """They have the real names, are text that Prometheus reads, and their counters do not go back."""
    first = _metrics(running.edge.metrics())
    a.send("x", "y", output="up")
    running.edge.wait_until_delivered()
    second = _metrics(running.edge.metrics())
    sent = ("edgehub_messages_sent_total", "$upstream")
    assert second[sent] - first.get(sent, 0) == 2
    assert second["edgehub_messages_received_total", ""] - first["edgehub_messages_received_total", ""] == 2
    assert ("edgeAgent_module_start_total", "a") in second
    assert ("edgehub_queue_length", "$upstream") in second
    context = ssl.create_default_context(cafile=str(running.lab.ca_file))
    with urllib.request.urlopen(f"https://{running.edge.gateway}:8443/metrics", context=context) as answer:
        assert set(_metrics(answer.read().decode())) >= set(first)
    for name, value in first.items():
        if name[0].endswith(("_total", "_count", "_sum")):
            assert second.get(name, 0) >= value, name


def _metrics(text):
    """Each sample's value by its name and where it is about (a module, an endpoint, a reason), summed."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            assert labels["edge_device"] == "edge"
            about = next(
                (labels[key] for key in ("to", "endpoint", "reason", "module_name") if key in labels), ""
            )
            found[sample.name, about] = found.get((sample.name, about), 0) + sample.value
    return found


def test_a_module_that_speaks_for_another(a, running):
    """The workload API signs for the module that asks, and for no other."""
    environment = a("environment")
    generation = running.rest.call("GET", "/devices/edge/modules/b")["generationId"]
    assert environment["IOTEDGE_MODULEGENERATIONID"] != generation

    class Unix(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.connect(environment["IOTEDGE_WORKLOADURI"].removeprefix("unix://"))

    def sign(name, genid):
        connection = Unix("workload")
        body = json.dumps({"keyId": "primary", "algo": "HMACSHA256", "data": "YQ=="})
        connection.request("POST", f"/modules/{name}/genid/{genid}/sign?api-version=2020-07-07", body)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    assert sign("b", environment["IOTEDGE_MODULEGENERATIONID"]) == 403
    assert sign("b", generation) == 200  # from outside, by one who knows the generation
    system = running.rest.call("GET", "/devices/edge/modules/$edgeAgent")["generationId"]
    assert sign("$edgeAgent", system) == 404
