"""Direct methods: who answers, who does not, and what comes of it; by raw MQTT and with both SDKs."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse
from azure.iot.device.aio import IoTHubDeviceClient as AioDeviceClient
from azure.iot.hub.models import CloudToDeviceMethod
from house import House
from leftovers import collect_leftovers
from msrest.exceptions import HttpOperationError

from iotedge_lab.broker.methods import PAYLOAD_LIMIT, Call
from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    DeviceNotOnline,
    GatewayTimeout,
    ModuleNotFound,
)
from iotedge_lab.rest import RestError
from iotedge_lab.wire.mqtt.packets import PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import MethodCall, method_response_topic, parse_hub_topic

METHODS = "$iothub/methods/POST/#"


@pytest.fixture(autouse=True)
def _tidy(request):
    """After each test with the vendor's clients."""
    yield
    if "lab" in request.fixturenames:
        collect_leftovers()


# -- the request ---------------------------------------------------------------------------------------


GOOD = [
    ({"methodName": "m"}, ("m", b"null", 30, 0)),
    ({"methodName": "m", "payload": {"a": [1, "ü"]}}, ("m", '{"a":[1,"ü"]}'.encode(), 30, 0)),
    ({"methodName": "m", "payload": "\ud800"}, ("m", b'"\\ud800"', 30, 0)),
    ({"methodName": "x" * 100, "connectTimeoutInSeconds": 0}, ("x" * 100, b"null", 30, 0)),
    ({"methodName": "m", "responseTimeoutInSeconds": 5}, ("m", b"null", 5, 0)),
    (
        {"methodName": "m", "responseTimeoutInSeconds": 300, "connectTimeoutInSeconds": 300},
        ("m", b"null", 300, 300),
    ),
    (
        {"methodName": "m", "payload": "x" * (PAYLOAD_LIMIT - 2)},
        ("m", b'"' + b"x" * (PAYLOAD_LIMIT - 2) + b'"', 30, 0),
    ),
    (
        {"methodName": "m", "payload": "ü" * (PAYLOAD_LIMIT // 2 - 1)},
        ("m", b'"' + "ü".encode() * (PAYLOAD_LIMIT // 2 - 1) + b'"', 30, 0),
    ),
]


@pytest.mark.parametrize(("body", "read"), GOOD, ids=range(len(GOOD)))
def test_a_request(body, read):
    """Names of up to 100 characters, 5 to 300 s for the answer, 0 to 300 s for the device to come, 128 KB."""
    call = Call.read(body)
    assert (call.name, call.payload, call.response_seconds, call.connect_seconds) == read


BAD = [
    {},
    {"methodName": ""},
    {"methodName": 5},
    {"methodName": "x" * 101},
    {"methodName": "m", "responseTimeoutInSeconds": 4},
    {"methodName": "m", "responseTimeoutInSeconds": 301},
    {"methodName": "m", "responseTimeoutInSeconds": True},
    {"methodName": "m", "responseTimeoutInSeconds": "30"},
    {"methodName": "m", "connectTimeoutInSeconds": -1},
    {"methodName": "m", "connectTimeoutInSeconds": 301},
    {"methodName": "m", "payload": "x" * (PAYLOAD_LIMIT - 1)},
    {"methodName": "m", "payload": "ü" * (PAYLOAD_LIMIT // 2)},
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_a_wrong_request(body):
    """400004."""
    with pytest.raises(ArgumentInvalid):
        Call.read(body)


# -- the rules, by raw MQTT ----------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path):
    """The house, on the loop of the test."""
    made = House(tmp_path)
    yield made
    made.turns.run()
    made.hub.close()


class Device:
    """A raw device that is subscribed to methods."""

    def __init__(self, house, device="d", module="", *, subscribed=True):
        self.house = house
        self.wire = house.connected(device, module)
        if subscribed:
            self.subscribe()

    def subscribe(self):
        self.wire.send(self.wire.client.subscribe([(METHODS, 1)])[1])

    def unsubscribe(self):
        self.wire.send(self.wire.client.unsubscribe([METHODS])[1])

    async def calls(self, count=1):
        """(name, request id, payload) of the next calls."""
        found = []
        for _ in range(10):
            await asyncio.sleep(0)
            for event in self.wire.answers():
                assert isinstance(event, PublishRun)
                for topic, body, _ in iter_publishes(event.raw):
                    told = parse_hub_topic(topic)
                    assert isinstance(told, MethodCall)
                    found.append((told.name, told.request_id, body))
        assert len(found) == count
        return found

    def answer(self, request_id, body=b"{}", status=200):
        self.wire.send(self.wire.client.publish(method_response_topic(status, request_id), body, 1)[1])


def _invoke(house, device="d", module="", *, name="m", payload=b"null", seconds=5.0, connect=0.0):
    return asyncio.ensure_future(
        house.hub.methods.invoke(device, module, Call(name, payload, seconds, connect))
    )


@pytest.mark.parametrize("module", ["", "m"])
async def test_a_call_and_its_answer(house, module):
    """Name and payload reach the device or module, its status and payload come back, and it is acknowledged."""
    house.register("d")
    device = Device(house, "d", module)
    call = _invoke(house, "d", module, name="re boot/now", payload=b'{"in": 5}')
    [(name, request_id, payload)] = await device.calls()
    assert (name, payload) == ("re boot/now", b'{"in": 5}')
    device.answer(request_id, b'{"ok": true}', 207)
    assert await call == (207, {"ok": True})
    assert not device.wire.client.in_flight


ANSWERS = [(b"", None), (b" ", None), (b"null", None), (b"5", 5), (b'"x"', "x"), (b"[1]", [1]), (b"{}", {}),
           (b'"' + b"x" * (PAYLOAD_LIMIT - 2) + b'"', "x" * (PAYLOAD_LIMIT - 2))]  # fmt: skip


@pytest.mark.parametrize(("body", "payload"), ANSWERS, ids=range(len(ANSWERS)))
async def test_any_json_is_an_answer(house, body, payload):
    """Nothing at all is null; up to 128 KB."""
    device = Device(house)
    call = _invoke(house)
    [(_, request_id, _)] = await device.calls()
    device.answer(request_id, body)
    assert await call == (200, payload)


@pytest.mark.parametrize("body", [b"hello", b"{", b"\xff", b"[" * 5000, b'"' + b"x" * (PAYLOAD_LIMIT - 1) + b'"'],
                         ids=["text", "half", "not UTF-8", "deep", "long"])  # fmt: skip
async def test_an_answer_that_is_none(house, body):
    """400004 for the caller; the device's connection goes on."""
    device = Device(house)
    call = _invoke(house)
    [(_, request_id, _)] = await device.calls()
    device.answer(request_id, body)
    with pytest.raises(ArgumentInvalid):
        await call
    assert not device.wire.transport.closed


async def test_the_first_answer_counts(house):
    """A second one, one to a call that nobody made, and one from another device change nothing."""
    device, other = Device(house), Device(house, "other")
    call = _invoke(house)
    [(_, request_id, _)] = await device.calls()
    other.answer(request_id, b'"foreign"')
    device.answer("never-asked", b'"made up"')
    device.answer(request_id, b'"first"')
    device.answer(request_id, b'"second"')
    assert await call == (200, "first")
    device.answer(request_id, b'"late"')
    assert not device.wire.transport.closed
    again = _invoke(house)
    [(_, next_id, _)] = await device.calls()
    assert next_id != request_id
    device.answer(next_id)
    assert await again == (200, {})


async def test_a_topic_that_is_no_answer_closes(house):
    """A response without a number for its status breaks the protocol, and closes that connection alone."""
    device, other = Device(house), Device(house, "other")
    call = _invoke(house)
    await device.calls()
    device.wire.send(device.wire.client.publish("$iothub/methods/res/fine/?$rid=1", b"", 1)[1])
    assert device.wire.transport.closed
    with pytest.raises(DeviceNotOnline, match="went away"):
        await call
    assert not other.wire.transport.closed


async def test_no_answer_in_time(house):
    """504101, and an answer that comes later finds nobody."""
    device = Device(house)
    call = _invoke(house, seconds=0.02)
    [(_, request_id, _)] = await device.calls()
    with pytest.raises(GatewayTimeout, match="did not answer 'm'"):
        await call
    device.answer(request_id)
    assert not device.wire.transport.closed


OFFLINE = {
    "never connected": lambda house: house.register("d"),
    "not subscribed": lambda house: Device(house, subscribed=False),
    "no more subscribed": lambda house: Device(house).unsubscribe(),
    "gone": lambda house: Device(house).wire.cut(),
    "disconnected": lambda house: (device := Device(house)).wire.send(device.wire.client.disconnect()),
}


@pytest.mark.parametrize("why", OFFLINE)
async def test_who_is_not_there(house, why):
    """404103 at once."""
    OFFLINE[why](house)
    with pytest.raises(DeviceNotOnline):
        await _invoke(house)


async def test_who_does_not_exist(house):
    """404001 and 404010."""
    house.register("d")
    with pytest.raises(DeviceNotFound):
        await _invoke(house, "nobody")
    with pytest.raises(ModuleNotFound):
        await _invoke(house, "d", "none")


async def test_who_goes_while_it_is_asked(house):
    """404103 without waiting for the time-out."""
    device = Device(house)
    call = _invoke(house, seconds=60)
    await device.calls()
    device.wire.cut()
    with pytest.raises(DeviceNotOnline, match="went away"):
        await call


async def test_a_kept_subscription_is_enough(house):
    """A device that comes back to its session answers without subscribing again, as the SDK does."""
    Device(house).wire.cut()
    device = Device(house, subscribed=False)
    call = _invoke(house)
    [(_, request_id, _)] = await device.calls()
    device.answer(request_id)
    assert await call == (200, {})


async def test_waiting_for_a_device_that_comes(house):
    """connectTimeoutInSeconds: all who wait are served when it subscribes, and not before."""
    house.register("d")
    calls = [_invoke(house, connect=5) for _ in range(3)]
    await asyncio.sleep(0)
    device = Device(house, subscribed=False)
    assert await device.calls(0) == []
    device.subscribe()
    for _, request_id, _ in await device.calls(3):
        device.answer(request_id, json.dumps(request_id).encode())
    assert len({payload for _, payload in await asyncio.gather(*calls)}) == 3


async def test_waiting_for_one_that_does_not(house):
    """404103 after that time, and nothing is left of the waiting."""
    house.register("d")
    with pytest.raises(DeviceNotOnline):
        await _invoke(house, connect=0.02)
    assert not house.hub.methods._arrivals
    device = Device(house)
    assert await device.calls(0) == []


async def test_a_caller_that_leaves(house):
    """Its call is forgotten; the device's answer to it is nobody's."""
    device = Device(house)
    call = _invoke(house)
    [(_, request_id, _)] = await device.calls()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    device.answer(request_id)
    assert not device.wire.transport.closed


async def test_fifty_at_once(house):
    """Answered in another order, each reaches its own caller."""
    device = Device(house)
    calls = [_invoke(house, payload=b"%d" % number) for number in range(50)]
    asked = await device.calls(50)
    for _, request_id, payload in reversed(asked):
        device.answer(request_id, payload)
    assert [payload for _, payload in await asyncio.gather(*calls)] == list(range(50))


# -- over REST, with the SDKs ----------------------------------------------------------------------------


@pytest.fixture
def client(lab, device):
    """The vendor's device client, which answers each method with its name and payload; shut down at the end."""
    made = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string(device))
    _answering(made)
    made.connect()
    yield made
    made.shutdown()


def _answering(client):
    def answer(request):
        if request.name == "silent":
            return
        status = 418 if request.name == "teapot" else 200
        payload = {"name": request.name, "payload": request.payload}
        client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))

    client.on_method_request_received = answer


def _method(name, payload=None, response=10, connect=0):
    return CloudToDeviceMethod(
        method_name=name,
        payload=payload,
        response_timeout_in_seconds=response,
        connect_timeout_in_seconds=connect,
    )


@pytest.mark.parametrize(
    "payload", [{"a": [1, None]}, "text", 5, [], "ä" * 1000], ids=["object", "text", "number", "list", "long"]
)
def test_with_the_sdk(registry, client, device, payload):
    """Any JSON goes there and back, with the device's own status."""
    result = registry.invoke_device_method(device, _method("teapot", payload))
    assert (result.status, result.payload) == (418, {"name": "teapot", "payload": payload})


def test_a_module_with_the_sdk(lab, registry, device):
    """`invoke_device_module_method`."""
    registry.create_module_with_sas(device, "m", None, "", "")
    client = IoTHubModuleClient.create_from_connection_string(lab.device_connection_string(device, "m"))
    try:
        _answering(client)
        client.connect()
        result = registry.invoke_device_module_method(device, "m", _method("reset", 1))
        assert result.payload == {"name": "reset", "payload": 1}
        with pytest.raises(HttpOperationError, match="Not Found"):
            registry.invoke_device_method(device, _method("reset"))
    finally:
        client.shutdown()


async def test_with_the_asynchronous_sdk(lab, registry, device):
    """`azure.iot.device.aio` answers, after the service has waited for it to connect."""
    waiting = asyncio.create_task(
        asyncio.to_thread(registry.invoke_device_method, device, _method("late", 7, connect=10))
    )
    client = AioDeviceClient.create_from_connection_string(lab.device_connection_string(device))

    async def answer(request):
        await client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, request.payload)
        )

    client.on_method_request_received = answer
    try:
        await client.connect()
        assert (await waiting).payload == 7
    finally:
        await client.shutdown()


def test_many_with_the_sdk(lab, client, device):
    """50 calls from 10 threads: each gets its own answer."""

    def invoke(number):
        body = {"methodName": "many", "payload": number, "responseTimeoutInSeconds": 20}
        return lab.rest().call("POST", f"/twins/{device}/methods", body, timeout=20)["payload"]["payload"]

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(invoke, range(50))) == list(range(50))


REFUSALS = [
    ("/twins/nobody/methods", {"methodName": "m"}, 404, "DeviceNotFound"),
    ("/twins/{device}/modules/none/methods", {"methodName": "m"}, 404, "ModuleNotFound"),
    ("/twins/{device}/methods", {"methodName": "m"}, 404, "DeviceNotOnline"),
    ("/twins/{device}/methods", {"methodName": ""}, 400, "ArgumentInvalid"),
    ("/twins/{device}/methods", [], 400, "ArgumentInvalid"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[each[3] for each in REFUSALS])
def test_refusals_over_rest(lab, device, refusal):
    """The documented status and name of each."""
    path, body, status, name = refusal
    with pytest.raises(RestError) as caught:
        lab.rest().call("POST", path.format(device=device), body)
    assert (caught.value.http_status, caught.value.error) == (status, name)


def test_silence_over_rest(lab, client, device):
    """504 after the 5 s that are the least."""
    with pytest.raises(RestError) as caught:
        lab.rest().call(
            "POST", f"/twins/{device}/methods", {"methodName": "silent", "responseTimeoutInSeconds": 5}
        )
    assert (caught.value.http_status, caught.value.error) == (504, "GatewayTimeout")
