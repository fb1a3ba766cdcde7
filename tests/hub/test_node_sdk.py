"""The vendor's SDKs for Node, unmodified: azure-iot-device over MQTT, azure-iothub, @azure/event-hubs.

Skipped where node, npm or a package registry is missing; what needs port 443 (azure-iothub's REST calls know no
other) where the hub could not bind it.
"""

import pytest
from node import Node, NodeError
from patience import until

from iotedge_lab.wire.connection_string import ConnectionString

pytestmark = pytest.mark.timeout(300)  # the first run installs the packages
SYSTEM = {
    "messageId": "id 1",
    "correlationId": "c/2",
    "contentType": "application/json",
    "contentEncoding": "utf-8",
}
PROPERTIES = {"plain": "value", "signs": "a&b=c?d/e%20+ ü", "empty": ""}


@pytest.fixture(scope="module")
def node(lab):
    """The Node process of this file, with the service's connection string."""
    started = Node(lab.env())
    try:
        started.wait("sdks", "ready")
        started.call("service", connectionString=_service_string(lab))
        lab.rest().call("PUT", "/lab/cloud-to-device", {"feedback": {"intervalAsIso8601": "PT0S"}})
        yield started
    finally:
        started.close()


def _service_string(lab):
    """Without a port: these SDKs take what HostName says for a name."""
    parsed = ConnectionString.parse(lab.service_connection_string)
    return (
        f"HostName={lab.hostname};SharedAccessKeyName={parsed.shared_access_key_name};"
        f"SharedAccessKey={parsed.shared_access_key}"
    )


@pytest.fixture
def port_443(lab):
    """Skips where the hub has no port 443."""
    if not lab._told.port_443:
        pytest.skip("the hub could not bind port 443, the only one that azure-iothub's REST calls know")


@pytest.fixture(params=["MQTT", "MQTT over WebSocket", "MQTT over WebSocket and the proxy"])
def way(lab, request):
    """How a device connects, as arguments of `connect`."""
    if request.param == "MQTT":
        return {}
    if "proxy" in request.param:
        return {"websocket": True, "proxy": f"http://{lab._told.host}:{lab._told.proxy_port}"}
    request.getfixturevalue("port_443")
    return {"websocket": True}


@pytest.fixture
def connected(lab, node):
    """`connected(device, module, **way)`: a Node client of that identity, by name; closed after the test."""
    names = []

    def connect(device, module=None, **how):
        name = f"{device}/{module}" if module else device
        node.call("connect", name=name, connectionString=lab.device_connection_string(device, module), **how)
        names.append(name)
        return name

    yield connect
    for name in names:
        node.call("close", name=name)


@pytest.fixture
def module(lab, device):
    """A fresh device and a module of it."""
    lab.rest().call("PUT", f"/devices/{device}/modules/m1", {"deviceId": device, "moduleId": "m1"})
    return device, "m1"


@pytest.fixture
def events(lab, node):
    """The name of a consumer on the plain port, as the lab's connection string has it."""
    node.call("consume", name="events", connectionString=lab.events_connection_string)
    yield "events"
    node.call("stopConsuming", name="events")


def _of(device, body):
    """Which events are this device's with this body."""
    return lambda event: (event["system"].get("iothub-connection-device-id"), event["body"]) == (device, body)


# -- devices -------------------------------------------------------------------------------------------


def test_telemetry_arrives_as_it_was_sent(node, device, way, connected, events):
    """Body, application properties and system properties reach the Node consumer, with the device's name."""
    name = connected(device, **way)
    node.call("send", name=name, body='{"speed": 1}', system=SYSTEM, properties=PROPERTIES | {"ü ñ": "x"})
    (event,) = node.wait(events, "event", matches=_of(device, {"speed": 1}))  # this SDK reads JSON by itself
    assert event["properties"] == PROPERTIES | {"ü ñ": "x"}
    assert (event["messageId"], event["contentType"]) == ("id 1", "application/json")
    assert event["system"]["iothub-message-source"] == "Telemetry"
    assert not node.heard(events, "error")


def test_a_module_sends_to_an_output(node, module, way, connected, events):
    """sendOutputEvent names the output."""
    name = connected(*module, **way)
    node.call("sendOutput", name=name, output="out 1", body="o")
    (event,) = node.wait(events, "event", matches=_of(module[0], "o"))
    assert event["system"]["iothub-connection-module-id"] == module[1]
    assert event["system"]["iothub-outputname"] == "out 1"


def test_a_device_has_its_twin(node, lab, device, way, connected):
    """The twin is read, desired patches come, reported ones are kept; nulls delete."""
    name = connected(device, **way)
    assert node.call("twin", name=name) == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    lab.rest().call("PATCH", f"/twins/{device}", {"properties": {"desired": {"speed": 5, "deep": {"a": 1}}}})
    (patch,) = node.wait(name, "desired", matches=lambda patch: patch["$version"] == 2)
    assert patch == {"speed": 5, "deep": {"a": 1}, "$version": 2}
    node.call("report", name=name, patch={"temp": 20, "gone": 1})
    node.call("report", name=name, patch={"gone": None})
    reported = lab.rest().call("GET", f"/twins/{device}")["properties"]["reported"]
    assert {key: value for key, value in reported.items() if key[0] != "$"} == {"temp": 20}
    assert reported["$version"] == 3


def test_a_device_answers_methods(node, lab, device, way, connected):
    """Status and payload come back to the caller, whatever JSON it is."""
    name = connected(device, **way)
    node.call("onMethod", name=name, method="echo-it", status=207)
    for payload in ({"a": [1, None, "ü"]}, "text", 0, None, []):
        answer = lab.rest().call(
            "POST", f"/twins/{device}/methods", {"methodName": "echo-it", "payload": payload}
        )
        assert answer == {"status": 207, "payload": {"echo": payload}}
    assert not node.heard(name, "error")


def test_a_wrong_key_is_unauthorized(node, lab, device):
    """CONNACK 5 becomes the SDK's UnauthorizedError."""
    string = ConnectionString.parse(lab.device_connection_string(device))
    wrong = f"HostName={string.host_name};DeviceId={device};SharedAccessKey={'a2V5' * 8}"
    with pytest.raises(NodeError) as caught:
        node.call("connect", name="wrong", connectionString=wrong)
    assert caught.value.name == "UnauthorizedError"


# -- the service, over HTTPS ---------------------------------------------------------------------------


def _registry(node, method, *args):
    return node.call("registry", method=method, args=args)


@pytest.mark.usefixtures("port_443")
def test_the_registrys_round(node):
    """create, get, update, list, modules and delete, with the errors that the SDK knows by name."""
    made = _registry(node, "create", {"deviceId": "from-node", "status": "enabled"})
    assert made["authentication"]["symmetricKey"]["primaryKey"]
    with pytest.raises(NodeError) as caught:
        _registry(node, "create", {"deviceId": "from-node"})
    assert (caught.value.name, caught.value.status) == ("DeviceAlreadyExistsError", 409)
    changed = _registry(
        node, "update", {"deviceId": "from-node", "status": "disabled", "statusReason": "rest"}
    )
    assert (changed["status"], changed["statusReason"]) == ("disabled", "rest")
    assert changed["authentication"] == made["authentication"]
    assert "from-node" in [device["deviceId"] for device in _registry(node, "list")]
    _registry(node, "addModule", {"deviceId": "from-node", "moduleId": "m"})
    assert [one["moduleId"] for one in _registry(node, "getModulesOnDevice", "from-node")] == ["m"]
    with pytest.raises(NodeError, match="Not found") as caught:
        _registry(node, "getModule", "from-node", "other")
    assert caught.value.status == 404
    _registry(node, "removeModule", "from-node", "m")
    assert _registry(node, "getModulesOnDevice", "from-node") == []
    _registry(node, "delete", "from-node")
    with pytest.raises(NodeError) as caught:
        _registry(node, "get", "from-node")
    assert (caught.value.name, caught.value.status) == ("DeviceNotFoundError", 404)


@pytest.mark.usefixtures("port_443")
def test_many_at_once_and_counts(node):
    """addDevices, updateDevices, removeDevices; the statistics count them."""
    devices = [{"deviceId": f"bulk-{number}"} for number in range(5)]
    before = _registry(node, "getRegistryStatistics")["totalDeviceCount"]
    assert _registry(node, "addDevices", devices)["isSuccessful"]
    assert _registry(node, "getRegistryStatistics")["totalDeviceCount"] == before + 5
    disabled = [device | {"status": "disabled"} for device in devices]
    assert _registry(node, "updateDevices", disabled, True)["isSuccessful"]
    assert _registry(node, "get", "bulk-3")["status"] == "disabled"
    assert _registry(node, "removeDevices", devices, True)["isSuccessful"]
    assert _registry(node, "getRegistryStatistics")["totalDeviceCount"] == before


@pytest.mark.usefixtures("port_443")
def test_twins_from_the_service(node, module):
    """updateTwin merges by etag; a stale etag is refused; modules have theirs."""
    device, name = module
    first = _registry(node, "getTwin", device)
    patch = {"tags": {"hall": 4}, "properties": {"desired": {"speed": 3}}}
    second = _registry(node, "updateTwin", device, patch, first["etag"])
    assert (second["tags"], second["properties"]["desired"]["speed"]) == ({"hall": 4}, 3)
    with pytest.raises(NodeError) as caught:
        _registry(node, "updateTwin", device, patch, first["etag"])
    assert caught.value.status == 412
    _registry(node, "updateModuleTwin", device, name, {"tags": {"m": True}}, "*")
    assert _registry(node, "getModuleTwin", device, name)["tags"] == {"m": True}


@pytest.mark.usefixtures("port_443")
def test_methods_from_the_service(node, module, connected):
    """invokeDeviceMethod reaches device and module; to one that is away it fails with 404, "Not found"."""
    device, name = module
    params = {"methodName": "go", "payload": {"x": 1}, "responseTimeoutInSeconds": 10}
    with pytest.raises(NodeError, match="Not found") as caught:
        node.call("invoke", device=device, params=params)
    assert caught.value.status == 404
    for which, status in ((None, 200), (name, 299)):
        node.call("onMethod", name=connected(device, which), method="go", status=status)
        answer = node.call("invoke", device=device, module=which, params=params)
        assert answer == {"status": status, "payload": {"echo": {"x": 1}}}


@pytest.mark.usefixtures("port_443")
def test_jobs(node, device, connected):
    """JobClient makes jobs, and lists them page by page; what became of them is in devices.jobs."""
    node.call("onMethod", name=connected(device), method="go", status=202)
    condition = f"deviceId = '{device}'"
    patch = {"etag": "*", "tags": {"by": "node"}}
    node.call("jobs", method="scheduleTwinUpdate", args=[f"twin-{device}", condition, patch])
    call = {"methodName": "go", "payload": {"x": 1}}
    node.call("jobs", method="scheduleDeviceMethod", args=[f"call-{device}", condition, call])
    names = [f"twin-{device}", f"call-{device}"]
    for name in names:
        until(lambda name=name: node.call("jobs", method="getJob", args=[name])["status"] == "completed", 60)
    assert _registry(node, "getTwin", device)["tags"] == {"by": "node"}
    pages = node.call("pages", type="", status="completed", size=1)
    assert [len(page) for page in pages] == [1] * len(pages)
    assert [page[0]["jobId"] for page in pages[:2]] == names[::-1]
    rows = node.call("pages", text=f"SELECT * FROM devices.jobs WHERE deviceId = '{device}'", size=1)
    assert [page[0]["jobId"] for page in rows] == names
    assert rows[1][0]["outcome"]["deviceMethodResponse"] == {"status": 202, "payload": {"echo": {"x": 1}}}
    with pytest.raises(NodeError) as caught:
        node.call("jobs", method="cancelJob", args=["nothing"])
    assert caught.value.status == 404


@pytest.mark.usefixtures("port_443")
def test_what_is_not_served_yet_is_refused_in_words(node):
    """A call that this hub does not know is an error of the SDK with status 501, never a guess."""
    with pytest.raises(NodeError, match="not served by this hub") as caught:
        _registry(node, "listJobs")
    assert caught.value.status == 501


# -- the service, over AMQP ----------------------------------------------------------------------------


@pytest.fixture(params=["AMQP", "AMQP over WebSocket"])
def service(request, node):
    """The name of an open service client."""
    websocket = "WebSocket" in request.param
    if websocket:
        request.getfixturevalue("port_443")
    node.call("open", name=request.param, websocket=websocket)
    yield request.param
    node.call("closeService", name=request.param)


def test_messages_to_a_device_and_feedback(node, device, service, connected):
    """A C2D message comes with all its properties, and its sender learns that it was completed."""
    name = connected(device)
    node.call("listen", name=name)
    node.call("feedback", name=service)
    number = f"m-{device}"
    system = {"messageId": number, "correlationId": "c:2", "ack": "full"}
    node.call("sendTo", name=service, device=device, body="turn left", system=system, properties=PROPERTIES)
    (message,) = node.wait(name, "message")
    assert (message["body"], message["messageId"], message["correlationId"]) == ("turn left", number, "c:2")
    assert PROPERTIES.items() <= message["properties"].items()
    told = lambda records: any(one["originalMessageId"] == number for one in records)  # noqa: E731 - short
    (records,) = node.wait(service, "feedback", matches=told)
    assert records[0] | {"deviceId": device, "statusCode": "Success", "description": "Success"} == records[0]


def test_messages_wait_for_a_device_that_is_away(node, lab, device, service, connected):
    """What is sent while nobody is connected comes when the device does."""
    for number in range(3):
        node.call("sendTo", name=service, device=device, body=f"{number}")
    assert lab.rest().call("GET", f"/devices/{device}")["cloudToDeviceMessageCount"] == 3
    name = connected(device)
    node.call("listen", name=name)
    assert [one["body"] for one in node.wait(name, "message", count=3)] == ["0", "1", "2"]


def test_a_message_to_nobody_is_an_error(node, service):
    """amqp:not-found becomes the SDK's DeviceNotFoundError, and the link stays good."""
    for _ in range(2):
        with pytest.raises(NodeError) as caught:
            node.call("sendTo", name=service, device="nobody", body="x")
        assert caught.value.name == "DeviceNotFoundError"


# -- the built-in endpoint -----------------------------------------------------------------------------


def test_the_endpoint_over_tls(node, lab, device, connected):
    """Without the emulator's mark the client takes TLS on 5671, trusting NODE_EXTRA_CA_CERTS."""
    key = ConnectionString.parse(lab.events_connection_string).shared_access_key
    string = (
        f"Endpoint=sb://{lab.hostname}/;SharedAccessKeyName=iothubowner;SharedAccessKey={key};"
        f"EntityPath={lab.events_name}"
    )
    node.call("send", name=connected(device), body="over TLS")
    node.call("consume", name="tls", connectionString=string)
    try:
        (event,) = node.wait("tls", "event", matches=_of(device, "over TLS"))
        assert int(event["offset"]) >= 0
        assert not node.heard("tls", "error")
    finally:
        node.call("stopConsuming", name="tls")


def test_the_endpoint_is_found_from_the_hubs_name(node, lab, device, connected):
    """The vendor's sample: `amqp:link:redirect` at the hub's own address gives the Event Hub's connection string."""
    string = node.call("endpoint", connectionString=_service_string(lab))
    assert f"sb://{lab.hostname}/;EntityPath={lab.events_name};" in string
    node.call("send", name=connected(device), body="found")
    node.call("consume", name="found", connectionString=string)
    try:
        node.wait("found", "event", matches=_of(device, "found"))
    finally:
        node.call("stopConsuming", name="found")
    wrong = _service_string(lab).replace("SharedAccessKeyName=iothubowner", "SharedAccessKeyName=device")
    with pytest.raises(NodeError):
        node.call("endpoint", connectionString=wrong)


def test_the_endpoints_description(node, lab, events):
    """$management tells Node the hub's name and each partition's state."""
    told = node.call("partitions", name=events)
    assert told["hub"] == lab.events_name
    assert [one["partitionId"] for one in told["partitions"]] == ["0", "1"]
    assert {one["eventHubName"] for one in told["partitions"]} == {lab.events_name}


# -- the hub goes and comes ----------------------------------------------------------------------------


def test_a_killed_hub_is_found_again(node, lab, device, connected):
    """After kill -9 and a restart the same client sends on and still gets its methods."""
    name = connected(device)
    node.call("onMethod", name=name, method="ping", status=200)
    node.call("send", name=name, body="before")
    lab.crash()
    lab.start()
    node.call("send", name=name, body="after", seconds=60)
    request = {"methodName": "ping", "payload": 1, "connectTimeoutInSeconds": 20}
    assert lab.rest().call("POST", f"/twins/{device}/methods", request, timeout=60)["status"] == 200
    node.call("consume", name="later", connectionString=lab.events_connection_string)
    try:
        for body in ("before", "after"):
            node.wait("later", "event", matches=_of(device, body))
    finally:
        node.call("stopConsuming", name="later")
