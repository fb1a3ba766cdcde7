"""The everyday calls, once round, with nothing that only this lab has: the same tests run against a hub on Azure.

They aim at the hub that IOTHUB_CONNECTION_STRING names (its policy iothubowner) and read what arrives through
EVENTHUB_CONNECTION_STRING (its built-in endpoint, with EntityPath); without the two, and where the first names this
machine, at a hub that they start. On Azure they make one device, tagged `iotedgeLab`, and delete it at the end; they
send half a dozen messages.
"""

import json
import os
import queue
import threading
import time
import uuid

import pytest
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin

from iotedge_lab.lab import EVENTS_VARIABLE, SERVICE_VARIABLE, TAG, Lab
from iotedge_lab.serve.addresses import is_loopback
from iotedge_lab.wire.connection_string import ConnectionString

# Read as this file is imported: no test is led to a hub from outside, save these.
_SERVICE, _EVENTS = os.environ.get(SERVICE_VARIABLE, ""), os.environ.get(EVENTS_VARIABLE, "")
ON_AZURE = bool(_SERVICE) and not is_loopback(ConnectionString.parse(_SERVICE).host)
SECONDS = 60 if ON_AZURE else 15  # Azure's built-in endpoint is in no hurry

pytestmark = pytest.mark.timeout(300 if ON_AZURE else 60)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The hub under test: Azure's where the environment names it, else one of this file's own."""
    if not ON_AZURE:
        with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
            yield opened
        return
    if not _EVENTS:
        pytest.skip(
            f"{SERVICE_VARIABLE} names a hub on Azure; set {EVENTS_VARIABLE} to its built-in endpoint too"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVICE_VARIABLE, _SERVICE)
        patch.setenv(EVENTS_VARIABLE, _EVENTS)
        with Lab.open() as opened:
            assert not opened.is_local
            yield opened


@pytest.fixture(scope="module")
def variables(lab):
    """What the SDKs need in the environment, for the whole file."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def manager(lab, variables):
    """The vendor's registry manager."""
    made = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
    yield made
    made.amqp_svc_client.disconnect_sync()


@pytest.fixture(scope="module")
def device(manager):
    """A fresh device, tagged as this lab's; deleted at the end."""
    name = f"iotedge-lab-test-{uuid.uuid4().hex[:12]}"
    manager.create_device_with_sas(name, "", "", "enabled")
    try:
        manager.update_twin(name, Twin(tags={TAG: True}))
        yield name
    finally:
        manager.delete_device(name)


@pytest.fixture(scope="module")
def client(lab, manager, device):
    """The device, connected by MQTT (by WebSocket where only 443 leaves the network)."""
    key = manager.get_device(device).authentication.symmetric_key.primary_key
    string = f"HostName={lab.hostname};DeviceId={device};SharedAccessKey={key}"
    made = IoTHubDeviceClient.create_from_connection_string(string, **lab.client_options)
    made.connect()
    yield made
    made.shutdown()


class Inbox(threading.Thread):
    """What one device sends, as a consumer of the built-in endpoint receives it, from the start of this on."""

    def __init__(self, lab, device):
        super().__init__(name="inbox")
        self.found = queue.Queue()
        self.ready = threading.Event()
        self._device = device.encode()
        self._client = EventHubConsumerClient.from_connection_string(
            lab.events_connection_string, consumer_group="$Default", eventhub_name=lab.events_name
        )
        self._left = set(self._client.get_partition_ids())
        self.start()

    def run(self):
        with self._client:
            # Batches that may be empty tell that a partition is being read; from then on nothing is missed.
            self._client.receive_batch(self._take, starting_position="@latest", max_wait_time=1)

    def _take(self, context, events):
        for event in events:
            if event.system_properties.get(b"iothub-connection-device-id") == self._device:
                self.found.put(event)
        self._left.discard(context.partition_id)
        if not self._left:
            self.ready.set()

    def close(self):
        """Stop reading."""
        self._client.close()
        self.join(30)


@pytest.fixture(scope="module")
def inbox(lab, variables, device):
    """An `Inbox` that is being filled."""
    made = Inbox(lab, device)
    assert made.ready.wait(SECONDS), "no partition of the built-in endpoint was read"
    yield made
    made.close()


def _until(holds):
    """Wait until `holds()` gives something true; that."""
    end = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.1)
    return found


def test_the_identity_is_as_it_was_made(manager, device, client):
    """Enabled, with two keys and an etag, and Connected once the client is."""
    found = manager.get_device(device)
    assert (found.device_id, found.status) == (device, "enabled")
    assert found.etag
    assert found.authentication.symmetric_key.primary_key != found.authentication.symmetric_key.secondary_key
    assert client.connected
    _until(lambda: manager.get_device(device).connection_state == "Connected")
    assert device in {each.device_id for each in manager.get_devices(1000)}


def test_making_it_again_is_a_conflict(manager, device):
    """The SDK's error carries 409 and DeviceAlreadyExists."""
    with pytest.raises(Exception, match=r"DeviceAlreadyExists|Conflict") as caught:
        manager.create_device_with_sas(device, "", "", "enabled")
    assert caught.value.response.status_code == 409


def test_a_message_is_read_back(inbox, client):
    """Body, application properties, system properties and the device's name arrive at the built-in endpoint."""
    message = Message(json.dumps({"speed": 42}))
    message.message_id = "m-1"
    message.correlation_id = "c-1"
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.custom_properties["hall"] = "4 & 5"
    client.send_message(message)
    event = inbox.found.get(timeout=SECONDS)
    assert event.body_as_json() == {"speed": 42}
    assert event.properties == {b"hall": b"4 & 5"}
    system = event.system_properties
    assert (event.message_id, event.correlation_id) == ("m-1", "c-1")
    assert (event.content_type, system[b"iothub-message-source"]) == ("application/json", b"Telemetry")
    assert abs(event.enqueued_time.timestamp() - time.time()) < 300
    assert event.partition_key is None


def test_messages_keep_their_order(inbox, client):
    """One device's messages are read in the order in which they were sent."""
    for number in range(5):
        client.send_message(Message(f"{number}"))
    events = [inbox.found.get(timeout=SECONDS) for _ in range(5)]
    assert [event.body_as_str() for event in events] == ["0", "1", "2", "3", "4"]
    assert len({event.sequence_number for event in events}) == 5


def test_a_twin_goes_both_ways(manager, device, client):
    """A desired property is pushed to the device and read by it; what it reports is read by the service."""
    patches = queue.Queue()
    client.on_twin_desired_properties_patch_received = patches.put
    version = client.get_twin()["desired"]["$version"]
    manager.update_twin(device, Twin(properties={"desired": {"limit": {"speed": 5}}}))
    patch = patches.get(timeout=SECONDS)
    assert patch == {"limit": {"speed": 5}, "$version": version + 1}
    assert client.get_twin()["desired"]["limit"] == {"speed": 5}
    client.patch_twin_reported_properties({"limit": {"speed": 5}, "gone": None})
    twin = _until(lambda: _reported(manager, device, "limit"))
    assert twin.properties.reported["limit"] == {"speed": 5}
    assert twin.tags == {TAG: True}


def _reported(manager, device, name):
    twin = manager.get_twin(device)
    return twin if name in twin.properties.reported else None


def test_a_method_is_answered(manager, device, client):
    """Name and payload reach the device, status and payload the caller; an unknown device is 404."""

    def answer(request):
        payload = {"name": request.name, "was": request.payload}
        client.send_method_response(MethodResponse.create_from_method_request(request, 202, payload))

    client.on_method_request_received = answer
    call = CloudToDeviceMethod(method_name="reboot", payload={"in": [1, 2]}, response_timeout_in_seconds=30)
    found = _until(lambda: _invoked(manager, device, call))
    assert found.as_dict() == {"status": 202, "payload": {"name": "reboot", "was": {"in": [1, 2]}}}
    with pytest.raises(Exception, match=r"404|Not ?Found") as caught:
        manager.invoke_device_method(f"{device}-not", call)
    assert caught.value.response.status_code == 404


def _invoked(manager, device, call):
    """The answer; None while the hub does not know yet that the device takes methods."""
    try:
        return manager.invoke_device_method(device, call)
    except Exception as error:
        if getattr(getattr(error, "response", None), "status_code", None) == 404:
            return None
        raise


def test_a_message_to_the_device(manager, device, client):
    """A cloud-to-device message comes with its properties."""
    received = queue.Queue()
    client.on_message_received = received.put
    properties = {"messageId": "c2d-1", "correlationId": "c-9", "level": "high"}
    manager.send_c2d_message(device, "turn left", properties)
    message = received.get(timeout=SECONDS)
    assert message.data == b"turn left"
    assert (message.message_id, message.correlation_id) == ("c2d-1", "c-9")
    assert message.custom_properties["level"] == "high"


def test_a_disabled_device_is_cut_off(manager, device, client):
    """The service's switch ends the connection, and opens the door again."""
    found = manager.get_device(device)
    keys = found.authentication.symmetric_key
    for status in ("disabled", "enabled"):
        manager.update_device_with_sas(
            device, manager.get_device(device).etag, keys.primary_key, keys.secondary_key, status
        )
        if status == "disabled":
            _until(lambda: not client.connected)
            _until(lambda: manager.get_device(device).connection_state == "Disconnected")
    _until(lambda: _connected(client))


def _connected(client):
    """Whether it is; tries once."""
    try:
        client.connect()
    except Exception:  # noqa: BLE001 - the SDK's own retry may be under way; the caller asks again
        return False
    return client.connected
