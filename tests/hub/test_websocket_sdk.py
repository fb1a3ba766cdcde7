"""The vendors' SDKs over WebSocket, where 443 is all that leaves a network: device, service and built-in endpoint.

azure-iot-device and azure-eventhub take a proxy, so they are run whether the hub could bind 443 or not;
azure-iot-hub's cloud-to-device link takes none.
"""

import queue
import time

import pytest
import uamqp
from azure.eventhub import EventHubConsumerClient, TransportType
from azure.iot.device import Message, MethodResponse
from azure.iot.device.aio import IoTHubDeviceClient as AioDeviceClient
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from finding import annotations, find
from leftovers import collect_leftovers

from iotedge_lab.hub.names import EVENTS_NAME
from iotedge_lab.wire import sas
from iotedge_lab.wire.topics import telemetry_topic

SECONDS = 30
SECURITY = "urn:azureiot:Security:SecurityAgent:1"


@pytest.fixture(autouse=True)
def _by_443(lab, monkeypatch):
    """The variables that lead 443 to the hub where it could not bind it; and no socket is left to other tests."""
    for name, value in lab.env(proxy=True).items():
        monkeypatch.setenv(name, value)
    yield
    collect_leftovers()


@pytest.fixture
def port_443(lab):
    """Skips where the hub has no port 443."""
    if not lab._told.port_443:
        pytest.skip("the hub could not bind port 443, and uamqp knows no proxy")


def _service_string(lab):
    """Without a port: over WebSocket these clients know 443 alone."""
    return f"HostName={lab.hostname};SharedAccessKeyName=iothubowner;SharedAccessKey={lab._told.keys['iothubowner']}"


def _echo(client):
    return lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 201, {"was": request.payload})
    )


@pytest.mark.parametrize("module", [None, "m"], ids=["device", "module"])
def test_all_that_a_device_does(registry, sdk, device, module, consume):
    """Telemetry, twin both ways and methods, as over plain TLS."""
    if module:
        registry.create_module_with_sas(device, module, "", "", "")
    client = sdk(device, module, websockets=True)
    patches = queue.Queue()
    client.on_twin_desired_properties_patch_received = patches.put
    client.on_method_request_received = _echo(client)
    client.connect()
    shown = registry.get_module(device, module) if module else registry.get_device(device)
    assert shown.connection_state == "Connected"
    client.send_message(f"from {device}")
    assert client.get_twin()["desired"] == {"$version": 1}
    wish = Twin(properties=TwinProperties(desired={"pace": 3}))
    call = CloudToDeviceMethod(method_name="ping", payload=[1], response_timeout_in_seconds=30)
    if module:
        registry.update_module_twin(device, module, wish)
        answer = registry.invoke_device_module_method(device, module, call)
    else:
        registry.update_twin(device, wish)
        answer = registry.invoke_device_method(device, call)
    assert patches.get(timeout=SECONDS) == {"pace": 3, "$version": 2}
    assert answer.as_dict() == {"status": 201, "payload": {"was": [1]}}
    client.patch_twin_reported_properties({"pace": 3})
    event = find(consume(), lambda event: event.body_as_str() == f"from {device}")
    assert annotations(event).get("iothub-connection-module-id") == module


async def test_the_asynchronous_client(lab, registry, device):
    """`azure.iot.device.aio` over WebSocket: it sends, reads its twin, and receives."""
    client = AioDeviceClient.create_from_connection_string(
        lab.device_connection_string(device), websockets=True
    )
    received = queue.Queue()
    client.on_message_received = received.put
    try:
        await client.connect()
        await client.send_message("x" * 100_000)
        assert (await client.get_twin())["reported"] == {"$version": 1}
        registry.send_c2d_message(device, "to you")
        assert received.get(timeout=SECONDS).data == b"to you"
    finally:
        await client.shutdown()


@pytest.mark.usefixtures("port_443")
def test_cloud_to_device(lab, device, sdk):
    """azure-iot-hub with `TransportType.AmqpOverWebsocket` sends to a device on WebSocket, and is told of refusals."""
    registry = IoTHubRegistryManager.from_connection_string(
        _service_string(lab), transport_type=uamqp.TransportType.AmqpOverWebsocket
    )
    received = queue.Queue()
    client = sdk(device, websockets=True)
    client.on_message_received = received.put
    client.connect()
    try:
        registry.send_c2d_message(device, "over WebSocket", {"messageId": "m", "level": "high"})
        message = received.get(timeout=SECONDS)
        assert (message.data, message.message_id) == (b"over WebSocket", "m")
        assert message.custom_properties["level"] == "high"
        with pytest.raises(Exception, match="C2D message send failure"):
            registry.send_c2d_message("nobody", "x")
    finally:
        registry.amqp_svc_client.disconnect_sync()


def _endpoint(lab, policy="iothubowner"):
    """azure-eventhub's connection string without a port, and what it needs for WebSocket."""
    string = (
        f"Endpoint=sb://{lab.hostname}/;SharedAccessKeyName={policy};SharedAccessKey={lab._told.keys[policy]};"
        f"EntityPath={EVENTS_NAME}"
    )
    options = {"transport_type": TransportType.AmqpOverWebsocket, "connection_verify": str(lab.ca_file)}
    if not lab._told.port_443:
        options["http_proxy"] = {"proxy_hostname": lab._told.host, "proxy_port": lab._told.proxy_port}
    return string, options


def test_the_built_in_endpoint(lab, raw, device, consume):
    """azure-eventhub with `TransportType.AmqpOverWebsocket`: what is there, and what comes while it listens."""
    one = raw(device)
    one.send(b"before")
    string, options = _endpoint(lab, "service")
    reader = consume(connection_string=string, client_options=options)
    find(reader, lambda event: event.body_as_str() == "before")
    one.send(b"y" * 200_000, b"after")
    event = find(reader, lambda event: event.body_as_str() == "after")
    assert annotations(event)["iothub-connection-device-id"] == device


def test_what_the_endpoint_tells_of_itself(lab):
    """`$management` over WebSocket; and a policy without ServiceConnect is refused."""
    string, options = _endpoint(lab)
    with EventHubConsumerClient.from_connection_string(string, "$Default", **options) as client:
        assert client.get_eventhub_properties()["eventhub_name"] == EVENTS_NAME
    string, options = _endpoint(lab, "device")
    with (
        EventHubConsumerClient.from_connection_string(string, "$Default", retry_total=0, **options) as client,
        pytest.raises(Exception, match=r"(?i)unauthori[sz]ed|put a token"),
    ):
        client.get_eventhub_properties()


# -- the two system properties that only some clients write ---------------------------------------------


@pytest.mark.parametrize("options", [{}, {"websockets": True}], ids=["TLS", "WebSocket"])
def test_a_security_message_keeps_its_interface(sdk, device, consume, options):
    """`Message.set_as_security_message` arrives as the annotation iothub-interface-id."""
    client = sdk(device, **options)
    message = Message("intruder")
    message.set_as_security_message()
    client.send_message(message)
    event = find(consume(), lambda event: event.body_as_str() == "intruder" and _is_of(event, device))
    assert annotations(event)["iothub-interface-id"] == SECURITY
    assert not event.properties


def test_a_creation_time_is_kept(raw, device, consume):
    """`$.ctime`, as other SDKs write it, arrives as the annotation iothub-creation-time-utc."""
    one = raw(device)
    told = "2026-11-22T10:00:00.0000000Z"
    one.send(b"made earlier", topic=telemetry_topic(device, None, {"iothub-creation-time-utc": told}))
    event = find(consume(), lambda event: event.body_as_str() == "made earlier" and _is_of(event, device))
    assert annotations(event)["iothub-creation-time-utc"] == told


def _is_of(event, device):
    return annotations(event)["iothub-connection-device-id"] == device


# -- from the hub's name to the endpoint ----------------------------------------------------------------


def _receiver(lab, host, path, scope):
    """uamqp on an address of the hub, logged in by SASL PLAIN as the samples do."""
    token = sas.build(f"{host}{scope}", lab._told.keys["iothubowner"], int(time.time()) + 600, "iothubowner")
    login = uamqp.authentication.SASLPlain(host, "iothubowner@sas.root.lab", token)
    return uamqp.ReceiveClient(f"amqps://{host}{path}", auth=login, timeout=SECONDS * 1000)


def test_a_client_that_knows_the_hub_alone_is_led_to_the_events(lab, raw, device):
    """uamqp meets `amqp:link:redirect` at the hub's address, goes where it says, and reads what was sent."""
    raw(device).send(b"find me")
    partition = lab.status()["partitions"][0]["id"]
    path = f"/messages/events/ConsumerGroups/$Default/Partitions/{partition}"
    client = _receiver(lab, lab.hostname, path, "/messages/events")
    with pytest.raises(uamqp.errors.LinkRedirect) as caught:
        client.receive_message_batch(timeout=SECONDS * 1000)
    client.close()
    told = caught.value
    assert (told.hostname.decode(), told.port) == (lab.hostname, 5671)
    found, device_ids = [], set()
    for number in range(len(lab.status()["partitions"])):
        place = told.address.decode().replace(f"/Partitions/{partition}", f"/Partitions/{number}")
        token = sas.build(
            f"{lab.hostname}/{EVENTS_NAME}",
            lab._told.keys["iothubowner"],
            int(time.time()) + 600,
            "iothubowner",
        )
        login = uamqp.authentication.SASLPlain(lab.hostname, "iothubowner@sas.root.lab", token)
        reader = uamqp.ReceiveClient(place, auth=login, timeout=3000, prefetch=50)
        for message in reader.receive_message_batch(max_batch_size=50, timeout=3000):
            found.append(b"".join(message.get_data()))
            device_ids.add(message.annotations[b"iothub-connection-device-id"].decode())
        reader.close()
    assert b"find me" in found
    assert device in device_ids
