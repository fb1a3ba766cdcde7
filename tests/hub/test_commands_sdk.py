"""Cloud-to-device messages with the vendors' SDKs: azure-iot-hub and uamqp send, azure-iot-device receives."""

import asyncio
import json
import queue
import time
from contextlib import contextmanager

import pytest
import requests
import uamqp
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.aio import IoTHubDeviceClient as AsyncDeviceClient
from azure.iot.hub import IoTHubRegistryManager

from iotedge_lab.lab import Lab
from iotedge_lab.rest import RestError, quote
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

SECONDS = 30


@pytest.fixture(scope="module", autouse=True)
def _prompt_feedback(lab):
    """Feedback goes out each second rather than every 15."""
    lab.rest().call("PUT", "/lab/cloud-to-device", {"feedback": {"intervalAsIso8601": "PT0S"}})


@pytest.fixture
def registry(lab):
    """The vendor's registry manager; its AMQP connection is closed after the test."""
    made = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
    yield made
    made.amqp_svc_client.disconnect_sync()


def bodies(inbox, count):
    """The bodies of the next messages, sorted: the SDK calls its handlers on four threads, and keeps no order."""
    return sorted(inbox.get(timeout=SECONDS).data for _ in range(count))


@pytest.fixture
def connect(lab):
    """`connect(device)`: a vendor's device client that keeps what it receives in `inbox`; shut down at the end."""
    made = []

    def start(device):
        client = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string(device))
        made.append(client)
        client.inbox = queue.Queue()
        client.on_message_received = client.inbox.put
        client.connect()
        return client

    yield start
    for client in made:
        client.shutdown()


@contextmanager
def receiver(lab):
    """A uamqp client on the feedback endpoint, logged in as Microsoft's Python sample does it."""
    key = ConnectionString.parse(lab.service_connection_string).shared_access_key
    token = sas.build(lab.hostname, key, int(time.time()) + 600, "iothubowner")
    uri = f"amqps://{quote('iothubowner@sas.root.lab')}:{quote(token)}@{lab.hostname}/messages/serviceBound/feedback"
    client = uamqp.ReceiveClient(uri)
    try:
        yield client
    finally:
        client.close()


def feedback(lab, *wanted):
    """Read feedback with uamqp until each of the message ids has come: message id to status code."""
    found = {}
    with receiver(lab) as client:
        end = time.monotonic() + SECONDS
        while not set(wanted) <= found.keys():
            assert time.monotonic() < end, found
            for message in client.receive_message_batch(timeout=1000):
                assert message.properties.content_type == b"application/vnd.microsoft.iothub.feedback.json"
                records = json.loads(b"".join(message.get_data()))
                found |= {record["originalMessageId"]: record["statusCode"] for record in records}
    return found


def waiting(lab, device):
    """cloudToDeviceMessageCount, from the identity and from the twin, which agree while nothing is on its way."""
    counts = {
        lab.rest().call("GET", f"/{kind}/{quote(device)}")["cloudToDeviceMessageCount"]
        for kind in ("devices", "twins")
    }
    assert len(counts) == 1
    return counts.pop()


def empty(lab, device):
    """Wait until the queue is empty: an acknowledgement takes a moment."""
    end = time.monotonic() + SECONDS
    while lab.rest().call("GET", f"/devices/{quote(device)}")["cloudToDeviceMessageCount"]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_property_reaches_the_device(lab, registry, device, connect):
    """What azure-iot-hub can set is what azure-iot-device shows."""
    client = connect(device)
    registry.send_c2d_message(
        device,
        "häagen",
        {
            "messageId": "m-1",
            "correlationId": "c/1",
            "contentType": "application/json;charset=utf-8",
            "contentEncoding": "utf-8",
            "expiryTimeUtc": int((time.time() + 60) * 1000),
            "iothub-ack": "full",
            "plain": "value",
            "odd": "a=b&c d/é+%",
            "number": 5,
            "empty": "",
        },
    )
    message = client.inbox.get(timeout=SECONDS)
    assert message.data == "häagen".encode()
    assert (message.message_id, message.correlation_id, message.ack) == ("m-1", "c/1", "full")
    assert (message.content_type, message.content_encoding) == ("application/json;charset=utf-8", "utf-8")
    assert message.expiry_time_utc.endswith("Z")
    assert message.custom_properties == {"plain": "value", "odd": "a=b&c d/é+%", "number": "5", "empty": ""}
    empty(lab, device)


async def test_the_async_client_receives_too(lab, registry, device):
    """azure-iot-device's aio client gets messages, each once."""
    client = AsyncDeviceClient.create_from_connection_string(lab.device_connection_string(device))
    got = queue.Queue()
    client.on_message_received = got.put
    await client.connect()
    for number in range(5):
        registry.send_c2d_message(device, f"{number}")
    found = await asyncio.to_thread(bodies, got, 5)
    await client.shutdown()
    assert found == [b"0", b"1", b"2", b"3", b"4"]


def test_a_device_that_sleeps_gets_its_messages_on_return(lab, registry, device, connect):
    """Messages wait for a device that is away, and come without a new subscription."""
    client = connect(device)
    registry.send_c2d_message(device, "awake")
    assert client.inbox.get(timeout=SECONDS).data == b"awake"
    client.disconnect()
    for number in range(3):
        registry.send_c2d_message(device, f"{number}")
    assert waiting(lab, device) == 3
    assert registry.get_twin(device).cloud_to_device_message_count == 3
    client.connect()
    assert bodies(client.inbox, 3) == [b"0", b"1", b"2"]
    empty(lab, device)


@pytest.mark.parametrize(
    ("properties", "body"),
    [
        ({"expiryTimeUtc": 60}, "x"),
        ({"iothub-ack": "loud"}, "x"),
        ({"messageId": "a b"}, "x"),
        ({"a b": "x"}, "x"),
        ({}, "x" * 65_600),
    ],
)
def test_a_malformed_message_fails_to_send(lab, registry, device, properties, body):
    """azure-iot-hub raises for a rejection, at once and without retries, and sends on afterwards."""
    began = time.monotonic()
    with pytest.raises(Exception, match="C2D message send failure"):
        registry.send_c2d_message(device, body, properties)
    assert time.monotonic() - began < 5
    registry.send_c2d_message(device, "fine")
    assert waiting(lab, device) == 1


def test_a_message_to_nobody_fails_to_send(registry):
    """An unknown device is a rejection."""
    with pytest.raises(Exception, match="C2D message send failure"):
        registry.send_c2d_message("nobody", "x")


def test_uamqp_shows_why_a_message_was_rejected(lab, registry):
    """The description says what azure-iot-hub's exception does not."""
    told = []
    message = uamqp.Message(
        "x", properties=uamqp.message.MessageProperties(to="/devices/nobody/messages/devicebound")
    )
    message.on_send_complete = lambda _, error: told.append(str(error))
    client = registry.amqp_svc_client.amqp_client
    client.queue_message(message)
    assert client.send_all_messages(close_on_done=False) == [uamqp.constants.MessageState.SendFailed]
    assert "DeviceNotFound" in told[0]
    assert "404001" in told[0]


def test_the_51st_message_fails_until_the_queue_is_purged(lab, registry, device):
    """50 may wait; purging tells how many there were, and there is room again."""
    for number in range(50):
        registry.send_c2d_message(device, f"{number}")
    with pytest.raises(Exception, match="C2D message send failure"):
        registry.send_c2d_message(device, "50")
    result = registry.protocol.cloud_to_device_messages.purge_cloud_to_device_message_queue(device)
    assert (result.total_messages_purged, result.device_id) == (50, device)
    registry.send_c2d_message(device, "50")
    assert waiting(lab, device) == 1


def test_feedback_tells_how_messages_ended(lab, registry, device, connect):
    """Success, Expired and Purged, each for the sender that asked, read with uamqp."""
    registry.send_c2d_message(
        device,
        "x",
        {"messageId": f"{device}-old", "iothub-ack": "full", "expiryTimeUtc": int(time.time() * 1000)},
    )
    registry.send_c2d_message(device, "x", {"messageId": f"{device}-purged", "iothub-ack": "negative"})
    registry.protocol.cloud_to_device_messages.purge_cloud_to_device_message_queue(device)
    client = connect(device)
    registry.send_c2d_message(device, "x", {"messageId": f"{device}-silent"})
    registry.send_c2d_message(device, "x", {"messageId": f"{device}-done", "iothub-ack": "positive"})
    assert {client.inbox.get(timeout=SECONDS).message_id for _ in range(2)} == {
        f"{device}-silent",
        f"{device}-done",
    }
    found = feedback(lab, f"{device}-old", f"{device}-purged", f"{device}-done")
    assert {mid: status for mid, status in found.items() if mid.startswith(f"{device}-")} == {
        f"{device}-old": "Expired",
        f"{device}-purged": "Purged",
        f"{device}-done": "Success",
    }


def test_feedback_over_rest(lab, registry, device):
    """The generated client receives, abandons and completes by the lock in the ETag."""
    registry.send_c2d_message(device, "x", {"messageId": "rest", "iothub-ack": "full"})
    calls = registry.protocol.cloud_to_device_messages
    calls.purge_cloud_to_device_message_queue(device)
    end = time.monotonic() + SECONDS
    while (answer := calls.receive_feedback_notification(raw=True).response).status_code == 204:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [record["statusCode"] for record in answer.json()] == ["Purged"]
    assert answer.headers["Content-Type"] == "application/vnd.microsoft.iothub.feedback.json"
    calls.abandon_feedback_notification(answer.headers["ETag"].strip('"'))
    answer = calls.receive_feedback_notification(raw=True).response
    assert answer.headers["iothub-deliverycount"] == "1"
    lock = answer.headers["ETag"].strip('"')
    calls.complete_feedback_notification(lock)
    assert calls.receive_feedback_notification(raw=True).response.status_code == 204
    with pytest.raises(Exception, match="Precondition Failed"):
        calls.complete_feedback_notification(lock)


def test_a_deleted_device_takes_its_queue_along(lab, registry, device):
    """A new device of the same id has no messages."""
    registry.send_c2d_message(device, "x")
    registry.delete_device(device)
    lab.rest().call("PUT", f"/devices/{quote(device)}", {"deviceId": device})
    assert waiting(lab, device) == 0


def test_nothing_accepted_is_lost_when_the_hub_is_killed(tmp_path, monkeypatch):
    """kill -9 between sending and delivery: the device gets every message, and feedback that waited comes."""
    with Lab.open(tmp_path, ephemeral=True) as lab:
        for name, value in lab.env().items():
            monkeypatch.setenv(name, value)
        lab.rest().call("PUT", "/devices/dev1", {"deviceId": "dev1"})
        client = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string("dev1"))
        try:
            got = queue.Queue()
            client.on_message_received = got.put
            client.connect()
            client.disconnect()
            registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
            for number in range(10):
                registry.send_c2d_message(
                    "dev1", f"{number}", {"messageId": f"{number}", "iothub-ack": "full"}
                )
            registry.amqp_svc_client.disconnect_sync()
            lab.crash()
            lab.start()
            assert waiting(lab, "dev1") == 10
            client.connect()
            assert bodies(got, 10) == [b"%d" % number for number in range(10)]
            empty(lab, "dev1")
            lab.crash()
            lab.start()
            assert feedback(lab, *map(str, range(10))) == {str(number): "Success" for number in range(10)}
        finally:
            client.shutdown()


# -- HTTPS, the device's side --------------------------------------------------------------------------


class HttpDevice:
    """A device that polls over HTTPS with a token of its own."""

    def __init__(self, lab, device, *, token=None):
        parsed = ConnectionString.parse(lab.device_connection_string(device))
        resource = f"{lab.hostname}/devices/{device}"
        self.token = token or sas.build(resource, parsed.shared_access_key, int(time.time()) + 600)
        host = ConnectionString.parse(lab.service_connection_string).host_name
        self.box = f"https://{host}/devices/{quote(device)}/messages/deviceBound"

    def call(self, method, path="", *, query="", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(
            method,
            f"{self.box}{path}?api-version=2021-04-12{query}",
            headers={"Authorization": self.token} | named,
            timeout=SECONDS,
        )

    def receive(self, **headers):
        answer = self.call("GET", **headers)
        assert answer.status_code == 200, answer.text
        return answer, answer.headers["ETag"].strip('"')


def test_a_device_receives_over_https(lab, registry, device):
    """204 while nothing waits; then body and properties as the headers that Azure's tools read."""
    poll = HttpDevice(lab, device)
    assert poll.call("GET").status_code == 204
    registry.send_c2d_message(
        device,
        "body",
        {
            "messageId": "m",
            "correlationId": "c",
            "contentType": "text/plain",
            "contentEncoding": "utf-8",
            "iothub-ack": "full",
            "a": "b c",
        },
    )
    answer, _ = poll.receive()
    assert answer.content == b"body"
    shown = answer.headers
    expected = {
        "iothub-messageid": "m",
        "iothub-correlationid": "c",
        "iothub-userid": "",
        "iothub-to": f"/devices/{device}/messages/deviceBound",
        "iothub-ack": "full",
        "iothub-expiry": "",
        "iothub-deliverycount": "0",
        "ContentType": "text/plain",
        "ContentEncoding": "utf-8",
        "iothub-app-a": "b c",
    }
    assert {name: shown[name] for name in expected} == expected
    assert shown["iothub-sequencenumber"].isdigit()
    assert shown["iothub-enqueuedtime"].endswith((" AM", " PM"))


def test_a_device_settles_over_https(lab, registry, device):
    """Complete and reject end a message, abandon brings it back; each tells the sender what it asked for."""
    poll = HttpDevice(lab, device)
    for name in ("1", "2"):
        registry.send_c2d_message(device, name, {"messageId": f"{device}-{name}", "iothub-ack": "full"})
    _, lock = poll.receive(iothub_messagelocktimeout="300")
    assert poll.call("POST", f"/{lock}/abandon").status_code == 204
    answer, lock = poll.receive()
    assert (answer.text, answer.headers["iothub-deliverycount"]) == ("1", "1")
    assert poll.call("DELETE", f"/{lock}").status_code == 204
    _, lock = poll.receive()
    assert poll.call("DELETE", f"/{lock}", query="&reject").status_code == 204
    assert poll.call("GET").status_code == 204
    for method, path in (("DELETE", f"/{lock}"), ("POST", f"/{lock}/abandon")):
        lost = poll.call(method, path)
        assert (lost.status_code, lost.headers["iothub-errorcode"]) == (412, "DeviceMessageLockLost")
        assert '"errorCode": 412002' in lost.json()["ExceptionMessage"]
    found = feedback(lab, f"{device}-1", f"{device}-2")
    assert (found[f"{device}-1"], found[f"{device}-2"]) == ("Success", "Rejected")


def test_a_device_reads_its_own_queue_only(lab, device):
    """401 without a token, with another device's, with an expired one and with a made-up one; 400 without version."""
    lab.rest().call("PUT", "/devices/other", {"deviceId": "other"})
    others = HttpDevice(lab, "other").token
    key = ConnectionString.parse(lab.device_connection_string(device)).shared_access_key
    expired = sas.build(f"{lab.hostname}/devices/{device}", key, int(time.time()) - 10)
    foreign = sas.build(f"elsewhere/devices/{device}", key, int(time.time()) + 600)
    for token in (others, expired, foreign, "nonsense", "SharedAccessSignature sr=x"):
        answer = HttpDevice(lab, device, token=token).call("GET")
        name = "IotHubUnauthorized" if token is expired else "IotHubUnauthorizedAccess"
        assert (answer.status_code, answer.headers["iothub-errorcode"]) == (401, name), token
    poll = HttpDevice(lab, device)
    plain = requests.get(poll.box, headers={"Authorization": poll.token}, timeout=SECONDS)
    assert plain.status_code == 400
    assert poll.call("GET", iothub_messagelocktimeout="1").status_code == 400
    assert poll.call("GET").status_code == 204


def test_a_device_with_an_odd_id_receives_over_each_protocol(lab, registry, connect):
    """An id with '%' and other signs that mean something in addresses and topics."""
    device = "odd%20:a=b@c,(d)"
    lab.rest().call("PUT", f"/devices/{quote(device)}", {"deviceId": device})
    registry.send_c2d_message(device, "1")
    answer, lock = HttpDevice(lab, device).receive()
    assert answer.content == b"1"
    assert HttpDevice(lab, device).call("DELETE", f"/{lock}").status_code == 204
    client = connect(device)
    registry.send_c2d_message(device, "2")
    assert client.inbox.get(timeout=SECONDS).data == b"2"


def test_options_are_shown_and_refused_by_name(lab):
    """The lab's own call has ARM's shape."""
    assert lab.rest().call("GET", "/lab/cloud-to-device")["maxDeliveryCount"] == 10
    with pytest.raises(RestError, match="maxDeliveryCount is a whole number from 1 to 100"):
        lab.rest().call("PUT", "/lab/cloud-to-device", {"maxDeliveryCount": 0})
