"""Twins over REST and MQTT: etags, versions, metadata, limits, and what the device is told, with both SDKs."""

import asyncio
import json
import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.device.aio import IoTHubDeviceClient as AioDeviceClient
from azure.iot.device.exceptions import ClientError
from azure.iot.hub.models import Twin, TwinProperties
from leftovers import collect_leftovers
from msrest.exceptions import HttpOperationError

from iotedge_lab.broker.twin import SECTION_LIMIT, TAGS_LIMIT
from iotedge_lab.errors import ArgumentInvalid, PreconditionFailed
from iotedge_lab.rest import RestError, quote
from iotedge_lab.wire.mqtt.packets import PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import TwinResponse, parse_hub_topic, reported_patch_topic, twin_get_topic

SECONDS = 30


@pytest.fixture(autouse=True)
def _tidy(request):
    """After each test with the vendor's clients."""
    yield
    if "lab" in request.fixturenames:
        collect_leftovers()


# -- the rules, without a protocol ---------------------------------------------------------------------


@pytest.fixture
def twins(house):
    house.register("d")
    house.register("d", "m")
    return house.hub.twins


def _json(twins, device="d", module=""):
    return twins.to_json(*twins.get(device, module))


@pytest.mark.parametrize("module", ["", "m"])
def test_a_twin_is_made_with_its_identity(house, twins, module):
    """Its times are those of the creation, whenever it is asked for, and after a restart too."""
    first = _json(twins, module=module)
    house.clock.advance(100)
    assert _json(twins, module=module) == first
    house.restart()
    assert _json(house.hub.twins, module=module) == first
    stamp = {"$lastUpdated": "2023-11-14T22:13:20.000000Z"}
    assert first["properties"] == {
        "desired": {"$metadata": stamp, "$version": 1},
        "reported": {"$metadata": stamp, "$version": 1},
    }
    assert (first["version"], first["etag"], first["tags"]) == (2, "AAAAAAAAAAE=", {})


def test_a_system_module_has_its_twin_from_the_start(house):
    """The two that come with an edge device."""
    house.register("e", capabilities={"iotEdge": True})
    first = _json(house.hub.twins, "e", "$edgeAgent")
    house.clock.advance(1)
    assert _json(house.hub.twins, "e", "$edgeAgent") == first


def test_a_recreated_device_has_a_new_twin(house, twins):
    """Nothing is left of the former one of the same name."""
    twins.patch("d", "", {"tags": {"a": 1}}, None)
    house.hub.identities.delete("d", "", None)
    house.clock.advance(5)
    house.register("d")
    made = _json(twins)
    assert made["tags"] == {}
    assert made["properties"]["desired"]["$metadata"] == {"$lastUpdated": "2023-11-14T22:13:25.000000Z"}


VERSIONS = [
    # change: how much version, etag, desired and reported versions grow
    (lambda twins: twins.patch("d", "", {"tags": {"a": 1}}, None), (1, 1, 0, 0)),
    (lambda twins: twins.patch("d", "", {"properties": {"desired": {"a": 1}}}, None), (1, 1, 1, 0)),
    (
        lambda twins: twins.patch("d", "", {"tags": {"a": 1}, "properties": {"desired": {"a": 1}}}, None),
        (1, 1, 1, 0),
    ),
    (lambda twins: twins.put("d", "", {"tags": {}, "properties": {"desired": {}}}, None), (1, 1, 1, 0)),
    (lambda twins: twins.report("d", "", {"a": 1}), (1, 0, 0, 1)),
    (lambda twins: twins.patch("d", "m", {"tags": {"a": 1}}, None), (0, 0, 0, 0)),
]


@pytest.mark.parametrize(("change", "grown"), VERSIONS)
def test_versions(twins, change, grown):
    """Each change counts one up where it belongs; the etag does not follow the reported properties."""

    def numbers():
        twin = twins.get("d")[1]
        return twin.version, twin.etag_version, twin.desired.version, twin.reported.version

    before = numbers()
    change(twins)
    assert tuple(after - was for after, was in zip(numbers(), before, strict=True)) == grown


@pytest.mark.parametrize("change", ["patch", "put"])
def test_the_etag_is_compared(twins, change):
    """An old etag is 412 and changes nothing; the current one, '*' and none are taken."""
    call = getattr(twins, change)
    old = twins.get("d")[1].etag
    call("d", "", {"tags": {"a": 1}}, f'"{old}"')
    with pytest.raises(PreconditionFailed):
        call("d", "", {"tags": {"a": 2}}, f'"{old}"')
    assert twins.get("d")[1].tags == {"a": 1}
    for match in (twins.get("d")[1].etag, "*", None):
        call("d", "", {"tags": {"a": 3}}, match)
    assert twins.get("d")[1].tags == {"a": 3}


def test_a_report_may_name_its_version(twins):
    """A version that is not the current one is 412."""
    assert twins.report("d", "", {"a": 1}, 1) == 2
    with pytest.raises(PreconditionFailed):
        twins.report("d", "", {"a": 2}, 1)
    assert twins.for_device("d", "")["reported"] == {"a": 1, "$version": 2}


def test_what_put_leaves_out_is_gone(twins):
    """Tags and desired properties are replaced as a whole; reported ones stay."""
    twins.patch("d", "", {"tags": {"a": 1}, "properties": {"desired": {"b": 2, "c": {"d": 3}}}}, None)
    twins.report("d", "", {"r": 1})
    told = []
    twins.on_desired.append(lambda *args: told.append(args))
    twins.put("d", "", {"properties": {"desired": {"c": {"e": 4}, "f": None}}}, None)
    made = _json(twins)
    assert made["tags"] == {}
    assert {key: value for key, value in made["properties"]["desired"].items() if key[0] != "$"} == {
        "c": {"e": 4}
    }
    assert made["properties"]["reported"]["r"] == 1
    assert told == [("d", "", {"b": None, "c": {"d": None, "e": 4}}, 3)]


def test_metadata_tells_the_version_of_desired_alone(twins):
    """`$lastUpdatedVersion` stands in desired properties and not in reported ones."""
    twins.patch("d", "", {"properties": {"desired": {"a": {"b": 1}}}}, None)
    twins.report("d", "", {"a": {"b": 1}})
    shown = _json(twins)["properties"]
    assert shown["desired"]["$metadata"]["a"]["b"]["$lastUpdatedVersion"] == 2
    assert json.dumps(shown["reported"]).count("$lastUpdatedVersion") == 0
    assert "$lastUpdated" in shown["reported"]["$metadata"]["a"]["b"]


def _of_size(size):
    made, number = {}, 0
    while size > 0:
        name = f"k{number:03}"
        made[name] = "x" * min(4096, size - len(name))
        size -= len(name) + len(made[name])
        number += 1
    return made


WRONG = [
    {"tags": []},
    {"tags": {"a.b": 1}},
    {"tags": {"a": 2**52}},
    {"tags": _of_size(TAGS_LIMIT + 1)},
    {"properties": []},
    {"properties": {"desired": [1]}},
    {"properties": {"desired": {"$a": 1}}},
    {"properties": {"desired": _of_size(SECTION_LIMIT + 1)}},
    {"tags": {"fine": 1}, "properties": {"desired": {"a b": 1}}},
]


@pytest.mark.parametrize("change", ["patch", "put"])
@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_a_wrong_change_changes_nothing(twins, change, body):
    """400004, and not even the half that was right is kept."""
    before = _json(twins)
    with pytest.raises(ArgumentInvalid):
        getattr(twins, change)("d", "", body, None)
    assert _json(twins) == before


def test_the_model_of_a_device(house):
    """`model-id` in the user name is noted in the twin, once."""
    house.register("d")
    for model in ("dtmi:com:example:Car;1", "dtmi:com:example:Car;1", "dtmi:com:example:Car;2"):
        client = house.client("d")
        client._connect = client._connect.__class__(
            **{
                name: getattr(client._connect, name)
                for name in client._connect.__slots__
                if name != "username"
            },
            username=f"localhost/d/?api-version=2020-09-30&model-id={quote(model)}",
        )
        house.connect(client)
        assert _json(house.hub.twins)["modelId"] == model
    assert house.hub.twins.get("d")[1].version == 4


# -- over MQTT -----------------------------------------------------------------------------------------


@pytest.fixture
def wire(house):
    """A device that is subscribed to the answers about its twin."""
    made = house.connected("d")
    _, data = made.client.subscribe(
        [("$iothub/twin/res/#", 1), ("$iothub/twin/PATCH/properties/desired/#", 1)]
    )
    made.send(data)
    return made


def _messages(events):
    """(what the topic says, body) of each message among events."""
    for event in events:
        if isinstance(event, PublishRun):
            for topic, body, _ in iter_publishes(event.raw):
                yield parse_hub_topic(topic), body


def _ask(wire, topic, body=b""):
    """The answer to a twin request: (what the topic says, body)."""
    _, data = wire.client.publish(topic, body, 1)
    answers = [found for found in _messages(wire.send(data)) if isinstance(found[0], TwinResponse)]
    return answers[0] if answers else (None, None)


def test_the_whole_twin(wire, house):
    """200 with both sections and their versions, without metadata."""
    house.hub.twins.patch("d", "", {"tags": {"t": 1}, "properties": {"desired": {"a": 1}}}, None)
    told, body = _ask(wire, twin_get_topic("r 1"))
    assert (told.status, told.request_id) == (200, "r 1")
    assert json.loads(body) == {"desired": {"a": 1, "$version": 2}, "reported": {"$version": 1}}


def test_a_report(wire, house):
    """204 with the new version, and an empty body."""
    told, body = _ask(wire, reported_patch_topic("r"), b'{"a": 1}')
    assert (told.status, told.version, body) == (204, 2, b"")


BAD_REPORTS = [b"", b"hello", b"[]", b"5", b'{"a b": 1}', b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff", b"[" * 5000,
               b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", b'{"a": ' + b"9" * 5000 + b"}",
               json.dumps(_of_size(SECTION_LIMIT + 1)).encode()]  # fmt: skip


@pytest.mark.parametrize("body", BAD_REPORTS, ids=range(len(BAD_REPORTS)))
def test_a_wrong_report(wire, house, body):
    """400 with the reason, nothing changed, and the connection goes on."""
    told, said = _ask(wire, reported_patch_topic("r"), body)
    assert (told.status, told.version) == (400, None)
    assert json.loads(said)["errorCode"] == 400004
    assert house.hub.twins.get("d")[1].reported.values == {}
    assert _ask(wire, reported_patch_topic("r"), b'{"a": 1}')[0].status == 204


def test_a_report_with_an_old_version(wire):
    """412."""
    assert _ask(wire, reported_patch_topic("r", 1), b'{"a": 1}')[0].status == 204
    assert _ask(wire, reported_patch_topic("r", 1), b'{"a": 1}')[0].status == 412


def test_who_is_not_subscribed_hears_nothing(house):
    """The request is acknowledged all the same."""
    made = house.connected("d")
    assert _ask(made, twin_get_topic("r")) == (None, None)
    assert not made.client.in_flight


def test_desired_patches(wire, house):
    """On PATCH what was asked, on PUT what differs; the version in topic and body; tags tell nothing."""
    house.hub.twins.patch("d", "", {"properties": {"desired": {"a": 1, "b": 2}}}, None)
    house.hub.twins.patch("d", "", {"tags": {"x": 1}}, None)
    house.hub.twins.put("d", "", {"properties": {"desired": {"a": 1}}}, None)
    told = [(topic.version, json.loads(body)) for topic, body in _messages(wire.answers())]
    assert told == [(2, {"a": 1, "b": 2, "$version": 2}), (3, {"b": None, "$version": 3})]


# -- over REST, with the SDKs ----------------------------------------------------------------------------


def test_etags_over_rest(lab, device):
    """ETag in the answer, 412 for an old one, 404 for a stranger, 400 for what is no object."""
    rest, path = lab.rest(), f"/twins/{device}"
    first = rest.call("GET", path)
    second = rest.call("PATCH", path, {"tags": {"a": 1}}, headers={"If-Match": f'"{first["etag"]}"'})
    assert second["tags"] == {"a": 1}
    refusals = [
        ("PATCH", path, {"tags": {}}, first["etag"], 412, "PreconditionFailed"),
        ("PUT", path, {"tags": {}}, first["etag"], 412, "PreconditionFailed"),
        ("PATCH", path, [], "*", 400, "ArgumentInvalid"),
        ("PATCH", path, {"tags": {"a": {"$b": 1}}}, "*", 400, "ArgumentInvalid"),
        ("GET", "/twins/nobody", None, "*", 404, "DeviceNotFound"),
        ("GET", f"{path}/modules/none", None, "*", 404, "ModuleNotFound"),
    ]
    for method, where, body, etag, status, name in refusals:
        with pytest.raises(RestError) as caught:
            rest.call(method, where, body, headers={"If-Match": etag})
        assert (caught.value.http_status, caught.value.error) == (status, name), (method, where)


@pytest.fixture
def client(lab, device):
    """The vendor's device client; shut down at the end."""
    made = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string(device))
    made.patches = queue.Queue()
    made.on_twin_desired_properties_patch_received = made.patches.put
    made.connect()
    yield made
    made.shutdown()


def test_with_the_sdk(registry, client, device):
    """The service's patch and replacement reach the device, its report reaches the service."""
    twin = registry.get_twin(device)
    registry.update_twin(
        device, Twin(tags={"line": 4}, properties=TwinProperties(desired={"a": 1, "b": 2})), twin.etag
    )
    assert client.patches.get(timeout=SECONDS) == {"a": 1, "b": 2, "$version": 2}
    with pytest.raises(HttpOperationError, match="Precondition Failed"):
        registry.update_twin(device, Twin(tags={}), twin.etag)
    registry.replace_twin(device, Twin(properties=TwinProperties(desired={"b": 3})), "*")
    assert client.patches.get(timeout=SECONDS) == {"a": None, "b": 3, "$version": 3}
    client.patch_twin_reported_properties({"speed": 88, "nested": {"x": [1, "y", None, True]}})
    assert client.get_twin() == {
        "desired": {"b": 3, "$version": 3},
        "reported": {"speed": 88, "nested": {"x": [1, "y", None, True]}, "$version": 2},
    }
    shown = registry.get_twin(device)
    assert (shown.tags, shown.properties.reported["speed"]) == ({}, 88)
    client.patch_twin_reported_properties({"speed": None})
    assert "speed" not in client.get_twin()["reported"]


def test_a_report_that_is_too_large(client):
    """The SDK raises; what fits is taken afterwards."""
    with pytest.raises(ClientError):
        client.patch_twin_reported_properties(_of_size(SECTION_LIMIT + 1))
    client.patch_twin_reported_properties(_of_size(SECTION_LIMIT))


def test_a_device_that_comes_back_sees_the_version(lab, registry, device):
    """What was changed while it was away is in the twin that it reads."""
    make = lambda: IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string(device))  # noqa: E731
    client = make()
    assert client.get_twin()["desired"]["$version"] == 1
    client.shutdown()
    registry.update_twin(device, Twin(properties=TwinProperties(desired={"a": 1})))
    client = make()
    try:
        assert client.get_twin()["desired"] == {"a": 1, "$version": 2}
    finally:
        client.shutdown()


def test_a_module_twin_with_the_sdk(lab, registry, device):
    """A module has its own, apart from its device's."""
    registry.create_module_with_sas(device, "m", None, "", "")
    client = IoTHubModuleClient.create_from_connection_string(lab.device_connection_string(device, "m"))
    patches = queue.Queue()
    client.on_twin_desired_properties_patch_received = patches.put
    try:
        client.connect()
        registry.update_module_twin(device, "m", Twin(properties=TwinProperties(desired={"a": 1})))
        assert patches.get(timeout=SECONDS) == {"a": 1, "$version": 2}
        client.patch_twin_reported_properties({"b": 2})
        assert registry.get_module_twin(device, "m").properties.reported["b"] == 2
        assert registry.get_twin(device).version == 2
        etag = registry.get_module_twin(device, "m").etag
        registry.replace_module_twin(device, "m", Twin(properties=TwinProperties(desired={})), etag)
        assert patches.get(timeout=SECONDS) == {"a": None, "$version": 3}
    finally:
        client.shutdown()


async def test_with_the_asynchronous_sdk(lab, registry, device):
    """`azure.iot.device.aio`, and many reports at once: each is one version."""
    client = AioDeviceClient.create_from_connection_string(lab.device_connection_string(device))
    patches = queue.Queue()  # the SDK calls its handlers on a thread of its own
    client.on_twin_desired_properties_patch_received = patches.put
    try:
        await client.connect()
        await asyncio.to_thread(
            registry.update_twin, device, Twin(properties=TwinProperties(desired={"a": 1}))
        )
        assert await asyncio.to_thread(patches.get, timeout=SECONDS) == {"a": 1, "$version": 2}
        await asyncio.gather(*(client.patch_twin_reported_properties({f"k{n}": n}) for n in range(20)))
        reported = (await client.get_twin())["reported"]
        assert reported == {f"k{n}": n for n in range(20)} | {"$version": 21}
    finally:
        await client.shutdown()
