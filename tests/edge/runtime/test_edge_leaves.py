"""Leaf devices behind an edge, by the vendor's own device client: GatewayHostName, and children by parentScopes."""

import contextlib
import threading

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.device.common.pipeline.pipeline_exceptions import PipelineNotRunning
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubRegistryManager
from edge_aboard import RawLeaf
from edge_stage import Stage, until
from hub_clients import some_key

from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.mqtt.packets import Publish, PublishRun, SubAck


@pytest.fixture(scope="module")
def running(stage):
    """The edge with a route for all that its devices send, and no module."""
    stage.deploy({}, {"leaves": "FROM /messages/* INTO $upstream"})
    stage.edge.wait_until_connected()
    until(lambda: stage.edge.status().raw["routes"], "the routes")
    return stage


class Leaf:
    """A device client and what it was told."""

    def __init__(self, string, **options):
        self.client = IoTHubDeviceClient.create_from_connection_string(string, **options)
        self.news = threading.Condition()
        self.messages, self.patches, self.calls = [], [], []

    def connect(self):
        # What comes before there is a handler does not come to a handler.
        self.client.on_message_received = lambda message: self._note(self.messages, message)
        self.client.on_twin_desired_properties_patch_received = lambda patch: self._note(self.patches, patch)
        self.client.on_method_request_received = self._called
        self.client.connect()
        return self

    def _called(self, request):
        self.client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, {"got": request.payload})
        )

    def _note(self, where, what):
        with self.news:
            where.append(what)
            self.news.notify_all()

    def wait(self, where, count=1):
        with self.news:
            assert self.news.wait_for(lambda: len(where) >= count, 60), where
            return list(where)


@pytest.fixture
def leaf():
    """`leaf(connection string, ...)`: a `Leaf`, not connected yet; shut down after the test."""
    made = []

    def make(string, **options):
        made.append(Leaf(string, **options))
        return made[-1]

    yield make
    for each in made:
        with contextlib.suppress(PipelineNotRunning):  # the test has shut it down
            each.client.shutdown()


def bodies(messages):
    return [message.data.decode() for message in messages]


@pytest.mark.parametrize("websockets", [False, True])
def test_all_that_a_device_does(websockets, running, leaf, events):
    """Telemetry, twin, direct methods and cloud-to-device messages pass through the edge in the device's name."""
    if websockets and "HTTPS_PROXY" in running.edge.status().raw["environment"]:
        pytest.skip("port 443 may not be bound here; with the proxy it is tested in test_edge_gateways")
    name = f"leaf-{websockets}".lower()
    one = leaf(running.leaf(name), websockets=websockets).connect()
    message = Message("from the leaf", content_type="text/plain", content_encoding="utf-8")
    message.custom_properties["x"] = "y"
    one.client.send_message(message)
    events.until(lambda _: "from the leaf" in events.bodies(device=name))
    event = next(each for each in events.events if each.body_as_str() == "from the leaf")
    assert event.properties[b"x"] == b"y"
    running.desire({"colour": "red"}, device=name)
    assert one.wait(one.patches)[-1]["colour"] == "red"
    assert one.client.get_twin()["desired"]["colour"] == "red"
    one.client.patch_twin_reported_properties({"lit": True})
    assert running.twin(device=name)["properties"]["reported"]["lit"] is True
    assert running.invoke("on", 1, module=None, device=name) == (200, {"got": 1})
    registry = IoTHubRegistryManager.from_connection_string(running.lab.service_connection_string)
    registry.send_c2d_message(name, "to the leaf", properties={"p": "q"})
    found = one.wait(one.messages)[0]
    assert (found.data, found.custom_properties["p"]) == (b"to the leaf", "q")
    until(
        lambda: running.rest.call("GET", f"/devices/{name}")["cloudToDeviceMessageCount"] == 0,
        "the settlement",
    )


def test_made_after_the_runtime_has_started(running, leaf):
    """A device that was registered a moment ago connects at once; `$edgeHub` reports it, whatever its name."""
    one = leaf(running.leaf("just.made")).connect()
    assert one.client.connected

    def status():
        return running.reported("$edgeHub")["clients"].get("just%2Emade", {}).get("status")

    until(lambda: status() == "Connected", "the report")
    one.client.shutdown()
    until(lambda: status() == "Disconnected", "the report")


def test_who_is_not_let_in(running, leaf):
    """Unknown, no child of this edge, disabled, another key: each is CredentialError, as at the hub."""
    running.leaf("good")
    running.rest.call("PUT", "/devices/elsewhere", {"deviceId": "elsewhere"})
    running.leaf("disabled", status="disabled")
    good = ConnectionString.parse(running.leaf_string("good"))
    strings = [
        running.leaf_string("elsewhere"),
        running.leaf_string("disabled"),
        running.leaf_string("good").replace(good.shared_access_key, some_key()),
        running.leaf_string("good").replace("DeviceId=good", "DeviceId=nobody"),
    ]
    for string in strings:
        with pytest.raises(CredentialError):
            leaf(string, connection_retry=False).client.connect()


def test_changed_at_the_hub(running, leaf):
    """Enabled again, or with another key, a device is let in at once; disabled or deleted, it is thrown out."""
    path = "/devices/changing"
    string = running.leaf("changing", status="disabled")
    with pytest.raises(CredentialError):
        leaf(string, connection_retry=False).client.connect()
    found = running.rest.call("GET", path)
    running.rest.call("PUT", path, {**found, "status": "enabled"}, headers={"If-Match": "*"})
    # The hub is not asked about one device again and again; it was, a moment ago.
    until(lambda: _lets_in(leaf, string), "admission")
    keys = {"primaryKey": some_key(b"1"), "secondaryKey": some_key(b"2")}
    found["authentication"] = {"type": "sas", "symmetricKey": keys}
    running.rest.call("PUT", path, {**found, "status": "enabled"}, headers={"If-Match": "*"})
    until(lambda: _lets_in(leaf, running.leaf_string("changing")), "admission")
    one = leaf(running.leaf_string("changing"), connection_retry=False)
    one.client.connect()
    running.rest.call("DELETE", path, headers={"If-Match": "*"})
    until(lambda: not one.client.connected, "the end")
    until(lambda: not running.edge.status().raw["clients"]["changing"]["connected"], "the end")


def _lets_in(leaf, string):
    one = leaf(string, connection_retry=False)
    try:
        one.client.connect()
    except CredentialError:
        return False
    one.client.shutdown()
    return True


def test_offline(running, leaf, events):
    """Known devices connect while the edge is offline; what they send and report arrives when it is back."""
    string = running.leaf("sailor")
    running.leaf("stranger")
    one = leaf(string).connect()
    one.client.get_twin()
    running.edge.offline()
    try:
        one.client.disconnect()
        one.client.connect()
        one.client.send_message("from the ocean")
        one.client.patch_twin_reported_properties({"at": "sea"})
        with pytest.raises(CredentialError):
            leaf(running.leaf_string("stranger"), connection_retry=False).client.connect()
        running.desire({"come": "home"}, device="sailor")
        assert "come" not in one.client.get_twin()["desired"]
    finally:
        running.edge.online()
    # At each connection the SDK reads the twin by itself, and gives it as a patch.
    until(lambda: any(patch.get("come") == "home" for patch in tuple(one.patches)), "what was missed")
    events.until(lambda _: "from the ocean" in events.bodies(device="sailor"))
    until(lambda: running.twin(device="sailor")["properties"]["reported"].get("at") == "sea", "the report")


def test_a_message_to_a_device_that_is_killed(running, leaf):
    """A cloud-to-device message that the device did not acknowledge waits at the hub, and comes again."""
    running.leaf("fragile")
    raw = RawLeaf(running.lab, "fragile", running.edge.gateway)
    with raw:
        raw.sock.sendall(raw.client.subscribe(["devices/fragile/messages/devicebound/#"])[1])
        raw.until(SubAck)
        registry = IoTHubRegistryManager.from_connection_string(running.lab.service_connection_string)
        registry.send_c2d_message("fragile", "first")
        raw.until(PublishRun | Publish)  # and no PUBACK
    assert running.rest.call("GET", "/devices/fragile")["cloudToDeviceMessageCount"] == 1
    one = leaf(running.leaf_string("fragile")).connect()
    assert bodies(one.wait(one.messages)) == ["first"]
    until(
        lambda: running.rest.call("GET", "/devices/fragile")["cloudToDeviceMessageCount"] == 0,
        "the settlement",
    )


def test_a_message_while_the_runtime_is_killed(running, leaf):
    """One that lay between hub and device when the runtime was killed comes again by the next runtime."""
    running.leaf("unlucky")
    raw = RawLeaf(running.lab, "unlucky", running.edge.gateway)
    with raw:
        raw.sock.sendall(raw.client.subscribe(["devices/unlucky/messages/devicebound/#"])[1])
        raw.until(SubAck)
        registry = IoTHubRegistryManager.from_connection_string(running.lab.service_connection_string)
        registry.send_c2d_message("unlucky", "once more")
        raw.until(PublishRun | Publish)
        running.edge.crash()
    running.edge.start()
    one = leaf(running.leaf_string("unlucky")).connect()
    assert bodies(one.wait(one.messages)) == ["once more"]
    path = "/devices/unlucky"
    until(lambda: running.rest.call("GET", path)["cloudToDeviceMessageCount"] == 0, "the settlement")


def test_a_restart_without_the_hub(lab, leaf):
    """A runtime that comes back while the hub is away lets its devices in from what it knew."""
    stage = Stage(lab, "lonely").start()
    stage.deploy({}, {"up": "FROM /messages/* INTO $upstream"})
    until(lambda: stage.edge.status().raw["routes"], "the routes")
    string = stage.leaf("friend")
    leaf(string).connect().client.shutdown()
    gateway = stage.edge.gateway
    stage.edge.offline()
    stage.edge.crash()
    stage.edge.start()
    status = stage.edge.status()
    assert not status.online, "it was taken offline, and a restart does not change that"
    assert stage.edge.gateway == gateway
    one = leaf(string).connect()
    one.client.send_message("kept")
    assert stage.edge.status().waiting == 1
    stage.edge.online()
    stage.edge.wait_until_delivered()
