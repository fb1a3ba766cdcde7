"""A deployment manifest applied to one edge device: modules made, twins set, all of it or nothing, with the SDK too."""

import copy
import json
import queue
import time

import pytest
import requests
from azure.iot.device import IoTHubModuleClient
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import ConfigurationContent as SdkContent
from http_calls import Caller
from leftovers import collect_leftovers
from msrest.exceptions import HttpOperationError

from iotedge_lab.broker.twin import DEPTH_LIMIT, SECTION_LIMIT, TEXT_LIMIT
from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    InvalidConfigurationContent,
    QuotaExceeded,
    StoreUnavailable,
)
from iotedge_lab.hub.configuration_content import ConfigurationContent, TwinContent, apply_to_edge_device
from iotedge_lab.hub.identities import MODULES_PER_DEVICE
from iotedge_lab.rest import RestError, quote
from iotedge_lab.wire import sas

AGENT, HUB = "$edgeAgent", "$edgeHub"
EDGE = {"capabilities": {"iotEdge": True}}
EMPTY_AGENT = {AGENT: {"properties.desired": {}}}
SECONDS = 30

# As `iotedgedev` and the blog's template have it: options as an object, as a text, and split.
MANIFEST = {
    "$schema-template": "4.0.0",
    "modulesContent": {
        AGENT: {
            "properties.desired": {
                "schemaVersion": "1.1",
                "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
                "systemModules": {
                    "edgeAgent": {
                        "type": "docker",
                        "settings": {"image": "agent:1.5", "createOptions": "{}"},
                    },
                    "edgeHub": {
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "always",
                        "settings": {
                            "image": "hub:1.5",
                            "createOptions": '{"HostConfig":{"PortBindings":',
                            "createOptions01": '{"8883/tcp":[{"HostPort":"8883"}]}}}',
                        },
                    },
                },
                "modules": {
                    "filter": {
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "always",
                        "settings": {
                            "image": "${MODULES.filter}",
                            "createOptions": {"HostConfig": {"Binds": ["/d:/d"]}},
                        },
                        "env": {"LEVEL": {"value": "2"}},
                    }
                },
            }
        },
        HUB: {
            "properties.desired": {
                "schemaVersion": "1.2",
                "routes": {"up": "FROM /messages/* INTO $upstream"},
                "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
            }
        },
        "filter": {"properties.desired": {"threshold": 25, "nested": {"a": [1, None, True]}}},
        "plain": {},
    },
}


def _manifest(**modules):
    """The manifest with other modules beside the runtime's."""
    made = copy.deepcopy(MANIFEST)
    content = made["modulesContent"]
    made["modulesContent"] = {AGENT: content[AGENT], HUB: content[HUB], **modules}
    return made


def _of_size(size):
    made, number = {}, 0
    while size > 0:
        name = f"k{number:03}"
        made[name] = "x" * min(TEXT_LIMIT, size - len(name))
        size -= len(name) + len(made[name])
        number += 1
    return made


# -- reading -------------------------------------------------------------------------------------------

READ = [
    # what is said of a twin, and what that is
    ({}, TwinContent(None)),
    ({"properties.desired": {}}, TwinContent({}, whole=True)),
    ({"properties.desired": {"a": {"b": 1}}}, TwinContent({"a": {"b": 1}}, whole=True)),
    ({"properties.desired.a": 1}, TwinContent({"a": 1})),
    ({"properties.desired.a": None}, TwinContent({"a": None})),
    ({"properties.desired.a.b.c": {"d": 1}}, TwinContent({"a": {"b": {"c": {"d": 1}}}})),
    ({"properties.desired.a.b": 1, "properties.desired.a.c": 2}, TwinContent({"a": {"b": 1, "c": 2}})),
    ({"properties.desired.a.b": 1, "properties.desired.a": {"c": 2}}, TwinContent({"a": {"b": 1, "c": 2}})),
    ({"properties.desired.a.b": 1, "properties.desired.a": {"b": 2}}, TwinContent({"a": {"b": 1}})),
    (
        {"properties.desired.a.b": 1, "properties.desired": {"a": {"b": 0}, "c": 2}},
        TwinContent({"a": {"b": 1}, "c": 2}, whole=True),
    ),
    ({f"properties.desired{'.a' * DEPTH_LIMIT}": 1}, None),
]


@pytest.mark.parametrize(("said", "read"), READ, ids=range(len(READ)))
def test_what_is_said_of_a_twin(said, read):
    """The whole, or a patch put together from paths whatever their order; the body itself is left as it was."""
    before = copy.deepcopy(said)
    got = TwinContent.read(said, "here")
    assert read is None or got == read
    assert said == before


def test_a_manifest_is_read():
    """Modules in their order; what else stands at its top is no matter."""
    content = ConfigurationContent.read(MANIFEST)
    assert list(content.modules) == [AGENT, HUB, "filter", "plain"]
    assert content.device == TwinContent()
    for nothing in (None, {}):
        same = MANIFEST | {"deviceContent": nothing, "moduleContent": nothing}
        assert ConfigurationContent.read(same) == content


def _said(value):
    return {"modulesContent": EMPTY_AGENT | {"m": value}}


WRONG = [
    # body, and a word of the refusal
    ({}, "modulesContent is missing"),
    ({"modulesContent": None}, "modulesContent is missing"),
    ({"modulesContent": {}}, "modulesContent is missing"),
    ({"modulesContent": []}, "modulesContent is a JSON object"),
    ({"modulesContent": "x" * 100_000}, "modulesContent is a JSON object"),
    ({"content": MANIFEST}, "modulesContent is missing"),
    ({"deviceContent": {"properties.desired.a": 1}}, "modulesContent is missing"),
    ({"moduleContent": MANIFEST["modulesContent"]}, "moduleContent"),
    (MANIFEST | {"moduleContent": {"properties.desired.a": 1}}, "moduleContent"),
    (MANIFEST | {"moduleContent": []}, "moduleContent is a JSON object"),
    (MANIFEST | {"deviceContent": "x"}, "deviceContent is a JSON object"),
    (MANIFEST | {"deviceContent": {"tags": {"a": 1}}}, "deviceContent: 'tags' cannot be set"),
    ({"modulesContent": {"m": {"properties.desired": {}}}}, r"no \$edgeAgent"),
    ({"modulesContent": {HUB: {"properties.desired": {}}}}, r"no \$edgeAgent"),
    (_said(None), "m is a JSON object"),
    (_said([]), "m is a JSON object"),
    (_said({"properties.desired": None}), "'properties.desired' is a JSON object"),
    (_said({"properties.desired": [1]}), "'properties.desired' is a JSON object"),
    (_said({"properties": {"desired": {}}}), "'properties' cannot be set"),
    (_said({"properties.reported": {}}), "'properties.reported' cannot be set"),
    (_said({"properties.desiredX": 1}), "cannot be set"),
    (_said({"tags": {}}), "'tags' cannot be set"),
    (_said({"": 1}), "cannot be set"),
    (_said({"properties.desired.": 1}), "is no path"),
    (_said({"properties.desired..a": 1}), "is no path"),
    (_said({"properties.desired.a.": 1}), "is no path"),
    (_said({f"properties.desired{'.a' * (DEPTH_LIMIT + 1)}": 1}), "is no path"),
    (_said({f"properties.desired{'.' * 900_000}": 1}), "is no path"),
    (_said({"properties.desired.a": 1, "properties.desired.a.b": 1}), "'a', which the same content"),
    (_said({"properties.desired.a.b": 1, "properties.desired.a": None}), "'a', which the same content"),
    (_said({"properties.desired.a.b": 1, "properties.desired": {"a": []}}), "'a', which the same content"),
    ({"modulesContent": EMPTY_AGENT | {"": {}}}, "module id is empty"),
    ({"modulesContent": EMPTY_AGENT | {"a/b": {}}}, "module id 'a/b' holds '/'"),
    ({"modulesContent": EMPTY_AGENT | {"a b": {}}}, "module id"),
    ({"modulesContent": EMPTY_AGENT | {"m" * 129: {}}}, "module id has 129"),
    ({"modulesContent": EMPTY_AGENT | {f"m{n}": {} for n in range(51)}}, "51 modules"),
]


@pytest.mark.parametrize(("body", "word"), WRONG, ids=range(len(WRONG)))
def test_a_content_that_is_none(body, word):
    """400, by the service's own name for it, and short, with the part that is wrong."""
    with pytest.raises(InvalidConfigurationContent, match=word) as caught:
        ConfigurationContent.read(body)
    assert (caught.value.status, caught.value.name) == (400, "InvalidConfigurationContent")
    assert len(caught.value.message) < 600


# -- applying, without a protocol ----------------------------------------------------------------------


@pytest.fixture
def edge(house):
    """`edge(body)`: apply to the edge device `e`."""
    house.register("e", **EDGE)

    def apply(body, device="e"):
        hub = house.hub
        apply_to_edge_device(ConfigurationContent.read(body), device, hub.store, hub.identities, hub.twins)

    return apply


def _twin(house, module, device="e"):
    return house.hub.twins.get(device, module)[1]


def _everything(house, device="e"):
    """All identities and twins of a device."""
    identities = house.hub.identities
    return [(each, house.hub.twins.get(device, each.module)[1]) for each in identities.modules(device)], (
        house.hub.twins.get(device)
    )


def test_a_manifest_is_deployed(house, edge):
    """Each twin has what the manifest gives it, as given; it survives a restart."""
    edge(MANIFEST)
    house.restart()
    for module, said in MANIFEST["modulesContent"].items():
        assert _twin(house, module).desired.values == said.get("properties.desired", {})
    assert [_twin(house, each).desired.version for each in (AGENT, HUB, "filter", "plain")] == [2, 2, 2, 1]
    assert _twin(house, "").version == 2  # the device's own is as it was


def test_modules_are_made(house, edge):
    """With keys and twin, managed by the runtime; those that are there, and the runtime's own, stay who they are."""
    kept = house.register("e", "plain", managedBy="me")
    system = [house.hub.identities.get("e", each) for each in (AGENT, HUB)]
    edge(MANIFEST)
    made = house.hub.identities.get("e", "filter")
    assert (made.auth_type, made.managed_by, made.status) == ("sas", "IotEdge", "enabled")
    assert made.primary_key
    assert made.primary_key != made.secondary_key
    assert house.hub.identities.get("e", "plain") == kept
    assert [house.hub.identities.get("e", each) for each in (AGENT, HUB)] == system
    edge(MANIFEST)
    assert house.hub.identities.get("e", "filter") == made


def test_a_system_module_that_was_deleted_is_made_again(house, edge):
    """And is no one's to delete, as those that come with the device."""
    house.hub.identities.delete("e", HUB, None)
    edge(MANIFEST)
    assert house.hub.identities.get("e", HUB).managed_by is None
    assert _twin(house, HUB).desired.values["schemaVersion"] == "1.2"


def test_modules_that_are_no_longer_named_stay(house, edge):
    """With their twins: it is the runtime that deletes them."""
    edge(MANIFEST)
    before = house.hub.twins.get("e", "filter")
    edge(_manifest())
    assert house.hub.twins.get("e", "filter") == before


def test_the_whole_replaces_and_a_path_merges(house, edge):
    """Desired properties alone: tags and reported properties are not touched."""
    edge(MANIFEST)
    house.hub.twins.patch("e", "filter", {"tags": {"line": 4}}, None)
    house.hub.twins.report("e", "filter", {"seen": 1})
    edge(_manifest(filter={"properties.desired": {"threshold": 30, "gone": None}}))
    assert _twin(house, "filter").desired.values == {"threshold": 30}
    edge(
        _manifest(
            filter={
                "properties.desired.a.b": {"c": 1},
                "properties.desired.a.d": 2,
                "properties.desired.x": 3,
            }
        )
    )
    assert _twin(house, "filter").desired.values == {"threshold": 30, "a": {"b": {"c": 1}, "d": 2}, "x": 3}
    edge(
        _manifest(
            filter={"properties.desired.a.b": {"e": 4, "c": None}, "properties.desired.threshold": None}
        )
    )
    twin = _twin(house, "filter")
    assert twin.desired.values == {"a": {"b": {"e": 4}, "d": 2}, "x": 3}
    assert (twin.tags, twin.reported.values, twin.desired.version) == ({"line": 4}, {"seen": 1}, 5)


def test_one_route_alone(house, edge):
    """A layer's path: the other routes stay."""
    edge(MANIFEST)
    edge({"modulesContent": {AGENT: {}, HUB: {"properties.desired.routes.more": "FROM /* INTO $upstream"}}})
    assert _twin(house, HUB).desired.values["routes"] == {
        "up": "FROM /messages/* INTO $upstream",
        "more": "FROM /* INTO $upstream",
    }
    assert _twin(house, AGENT).desired.version == 2


def test_the_same_again_is_a_new_version(house, edge):
    """As a PUT of the same is; the device is told of no change but the version."""
    edge(MANIFEST)
    before = _twin(house, HUB)
    told = []
    house.hub.twins.on_desired.append(lambda *args: told.append(args))
    edge(MANIFEST)
    after = _twin(house, HUB)
    assert after.desired.values == before.desired.values
    assert (after.desired.version, after.version) == (before.desired.version + 1, before.version + 1)
    assert after.etag != before.etag
    assert told == [("e", each, {}, 3) for each in (AGENT, HUB, "filter")]


def test_the_devices_own_twin(house, edge):
    """deviceContent sets it, in the same go."""
    house.hub.twins.patch("e", "", {"tags": {"t": 1}, "properties": {"desired": {"a": 1}}}, None)
    edge(MANIFEST | {"deviceContent": {"properties.desired.b.c": 2}})
    twin = _twin(house, "")
    assert (twin.tags, twin.desired.values) == ({"t": 1}, {"a": 1, "b": {"c": 2}})


TOO_MUCH = [
    # module, what is said of it, and a word of the refusal
    ("big", {"properties.desired": _of_size(SECTION_LIMIT + 1)}, "modulesContent, big: .*32769 bytes"),
    (
        "long",
        {"properties.desired": {"a": "x" * (TEXT_LIMIT + 1)}},
        "modulesContent, long: .*'a' holds a text",
    ),
    ("odd", {"properties.desired": {"a.b": 1}}, "modulesContent, odd: .*'a.b' is no name"),
    ("odd", {"properties.desired.a b": 1}, "modulesContent, odd: .*'a b' is no name"),
    ("odd", {"properties.desired": {"n": 2**52}}, "modulesContent, odd: .*out of range"),
    ("deep", {f"properties.desired{'.a' * DEPTH_LIMIT}": {"b": 1}}, "modulesContent, deep: .*levels deep"),
]


@pytest.mark.parametrize(("module", "said", "word"), TOO_MUCH, ids=range(len(TOO_MUCH)))
def test_one_wrong_twin_and_nothing_changes(house, edge, module, said, word):
    """400 that names the module, and no twin and no identity is other than before."""
    edge(MANIFEST)
    before = _everything(house)
    told = []
    house.hub.twins.on_desired.append(lambda *args: told.append(args))
    for body in (
        _manifest(new={"properties.desired": {"a": 1}}, **{module: said}),
        _manifest(**{module: said}, new={}) | {"deviceContent": {"properties.desired.a": 1}},
    ):
        with pytest.raises(ArgumentInvalid, match=word):
            edge(body)
    assert _everything(house) == before
    assert not told


def test_what_fits_is_taken(house, edge):
    """A section of exactly its limit, and texts of theirs: createOptions of 4 KB."""
    full = _of_size(SECTION_LIMIT)
    options = {"settings": {"createOptions": "x" * TEXT_LIMIT, "createOptions01": "y" * TEXT_LIMIT}}
    edge(_manifest(full={"properties.desired": full}) | {"deviceContent": {"properties.desired.o": options}})
    assert _twin(house, "full").desired.values == full
    assert _twin(house, "").desired.values == {"o": options}
    with pytest.raises(ArgumentInvalid, match="modulesContent, full"):  # what merges may grow too large too
        edge(_manifest(full={"properties.desired.k": "x"}))


def test_a_wrong_device_content(house, edge):
    """It keeps the modules from being changed too."""
    before = _everything(house)
    with pytest.raises(ArgumentInvalid, match="deviceContent: "):
        edge(MANIFEST | {"deviceContent": {"properties.desired.$a": 1}})
    assert _everything(house) == before


def test_whom_it_cannot_be_applied_to(house, edge):
    """404 for a device that is none, 400 for one that is no edge device; and nothing is made."""
    house.register("leaf")
    with pytest.raises(DeviceNotFound):
        edge(MANIFEST, "nobody")
    with pytest.raises(ArgumentInvalid, match="Not an Azure IoT Edge device") as caught:
        edge(MANIFEST, "leaf")
    assert (caught.value.code, caught.value.name) == (400004, "ArgumentInvalid")
    assert house.hub.identities.modules("leaf") == []


def test_fifty_modules_beside_those_of_the_runtime(house, edge):
    """As documented; one more, counted with those that the device has already, is refused and none is made."""
    fifty = {f"m{number}": {} for number in range(MODULES_PER_DEVICE)}
    edge(_manifest(**fifty))
    edge(_manifest(**fifty))
    assert len(house.hub.identities.modules("e")) == MODULES_PER_DEVICE + 2
    before = _everything(house)
    with pytest.raises(QuotaExceeded, match="no room for 2 more"):
        edge(_manifest(one={}, more={}))
    assert _everything(house) == before
    with pytest.raises(QuotaExceeded):
        house.register("e", "one")
    house.hub.identities.delete("e", "m0", None)
    edge(_manifest(one={}))


def test_a_store_that_takes_no_write(house, edge, monkeypatch):
    """503, nothing has changed and no one is told."""
    before = _everything(house)
    told = []
    house.hub.twins.on_desired.append(lambda *args: told.append(args))
    house.hub.identities.on_created.append(told.append)
    write, calls = house.hub.twins.write, []

    def full(db, change):
        calls.append(change)
        if len(calls) == 3:
            db.execute("INSERT INTO no_such_table VALUES (1)")
        write(db, change)

    monkeypatch.setattr(house.hub.twins, "write", full)
    with pytest.raises(StoreUnavailable):
        edge(MANIFEST)
    assert len(calls) == 3
    assert _everything(house) == before
    assert not told


def test_events(house, edge):
    """A module that is made, then each twin that is set: replaced as a whole, or updated by a path."""
    house.hub.notices.change({"twinChangeEvents": True, "deviceLifecycleEvents": True})
    edge(
        {
            "modulesContent": {
                AGENT: {"properties.desired": {"a": 1}},
                HUB: {"properties.desired.routes.up": "FROM /* INTO $upstream"},
                "m": {},
            }
        }
    )
    house.turns.run()
    told = [
        (event.properties["opType"], event.properties["moduleId"], json.loads(event.body))
        for event in house.events()
    ]
    assert [each[:2] for each in told] == [
        ("createDeviceIdentity", "m"),
        ("replaceTwin", AGENT),
        ("updateTwin", HUB),
    ]
    assert told[1][2]["properties"]["desired"]["a"] == 1
    assert told[2][2]["properties"]["desired"]["routes"] == {"up": "FROM /* INTO $upstream"}
    assert told[2][2]["version"] == 3


# -- over REST, with the SDK -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _tidy(request):
    """After each test with the vendor's clients."""
    yield
    if "lab" in request.fixturenames:
        collect_leftovers()


@pytest.fixture
def manager(lab):
    """The vendor's configuration manager."""
    return IoTHubConfigurationManager.from_connection_string(lab.service_connection_string)


@pytest.fixture
def car(lab, device):
    """The id of a fresh edge device."""
    lab.rest().call("PUT", f"/devices/{device}", {"deviceId": device, **EDGE}, headers={"If-Match": "*"})
    return device


def _content(manifest):
    return SdkContent(modules_content=manifest["modulesContent"])


def test_with_the_sdk(manager, registry, car):
    """The manifest of a file is deployed: twins are set, modules are there to connect."""
    assert manager.apply_configuration_on_edge_device(car, _content(MANIFEST)) is None
    for module, said in MANIFEST["modulesContent"].items():
        shown = registry.get_module_twin(car, module).properties.desired
        assert {key: value for key, value in shown.items() if key[0] != "$"} == said.get(
            "properties.desired", {}
        )
    modules = {each.module_id: each for each in registry.get_modules(car)}
    assert list(modules) == [AGENT, HUB, "filter", "plain"]
    assert modules["filter"].managed_by == "IotEdge"
    assert modules["filter"].authentication.symmetric_key.primary_key


def test_with_the_sdk_refused(manager, registry, car, device):
    """What is wrong is said, by status and by name."""
    refusals = [
        (car, SdkContent(modules_content={"m": {}}), "InvalidConfigurationContent", "no $edgeAgent"),
        (
            car,
            SdkContent(device_content={"properties.desired.a": 1}),
            "InvalidConfigurationContent",
            "modulesContent",
        ),
        (
            car,
            _content(_manifest(m={"properties.desired": {"a b": 1}})),
            "ArgumentInvalid",
            "modulesContent, m",
        ),
        ("nobody", _content(MANIFEST), "DeviceNotFound", "nobody"),
    ]
    for whom, content, name, word in refusals:
        with pytest.raises(HttpOperationError) as caught:
            manager.apply_configuration_on_edge_device(whom, content)
        answer = caught.value.response
        assert answer.headers["iothub-errorcode"] == name
        assert word in answer.json()["Message"]
    assert [each.module_id for each in registry.get_modules(car)] == [AGENT, HUB]


def test_a_plain_device_over_rest(lab, device):
    """400 with Azure's words."""
    with pytest.raises(RestError, match="Not an Azure IoT Edge device") as caught:
        lab.rest().call("POST", f"/devices/{device}/applyConfigurationContent", MANIFEST)
    assert (caught.value.http_status, caught.value.error) == (400, "ArgumentInvalid")


def test_connected_modules_are_told(lab, manager, car, sdk):
    """A module's patch, $edgeAgent's among them: what differs on replacing, what is given by a path."""
    manager.apply_configuration_on_edge_device(car, _content(MANIFEST))
    patches = {}
    for module in ("filter", AGENT):
        client = sdk(car, module)
        patches[module] = queue.Queue()
        client.on_twin_desired_properties_patch_received = patches[module].put
        client.connect()
        assert client.get_twin()["desired"]["$version"] == 2
    changed = _manifest(filter={"properties.desired": {"threshold": 30}})
    changed["modulesContent"][AGENT]["properties.desired"]["modules"] = {}
    manager.apply_configuration_on_edge_device(car, _content(changed))
    assert patches["filter"].get(timeout=SECONDS) == {"threshold": 30, "nested": None, "$version": 3}
    assert patches[AGENT].get(timeout=SECONDS) == {"modules": {"filter": None}, "$version": 3}
    layer = {AGENT: {}, "filter": {"properties.desired.layer.a": 1}}
    manager.apply_configuration_on_edge_device(car, SdkContent(modules_content=layer))
    assert patches["filter"].get(timeout=SECONDS) == {"layer": {"a": 1}, "$version": 4}
    assert patches[AGENT].empty()


def test_a_module_connects_by_its_new_keys(lab, manager, car, sdk):
    """And reads the twin that was set before it ever ran."""
    manager.apply_configuration_on_edge_device(car, _content(MANIFEST))
    client = sdk(car, "filter")
    assert isinstance(client, IoTHubModuleClient)
    client.connect()
    said = MANIFEST["modulesContent"]["filter"]["properties.desired"]
    assert client.get_twin()["desired"] == said | {"$version": 2}


def _post(lab, path, token, **options):
    return requests.post(
        f"https://{lab.hostname}:{lab._told.https_port}{path}",
        headers={"Authorization": token},
        verify=str(lab.ca_file),
        timeout=SECONDS,
        **options,
    )


def _token(lab, policy):
    return sas.build(lab.hostname, lab._told.keys[policy], int(time.time()) + 600, policy)


def test_on_the_wire(lab, car):
    """204 with an empty body; api-version must be there; no JSON, no object and too much are refused."""
    path, token = f"/devices/{quote(car)}/applyConfigurationContent", _token(lab, "iothubowner")
    query = "?api-version=2021-04-12"
    done = _post(lab, path + query, token, json=MANIFEST)
    assert (done.status_code, done.content) == (204, b"")
    assert _post(lab, path, token, json=MANIFEST).status_code == 400
    for data in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"modulesContent": NaN}'):
        refused = _post(lab, path + query, token, data=data)
        assert (refused.status_code, refused.headers["iothub-errorcode"]) == (400, "ArgumentInvalid"), data
    deep = b'{"modulesContent": {"$edgeAgent": {"properties.desired": %s}}}' % (
        b'{"a":' * 900 + b"1" + b"}" * 900
    )
    assert _post(lab, path + query, token, data=deep).status_code == 400
    assert _post(lab, path + query, token, data=b" " * (1024 * 1024 + 1)).status_code == 413
    assert _post(lab, path + query, token, json=MANIFEST).status_code == 204


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ("iothubowner", 204),
        ("service", 401),
        ("registryReadWrite", 401),
        ("registryRead", 401),
        ("device", 401),
    ],
)
def test_who_may(lab, car, policy, status):
    """It takes the right to make identities and the right to change twins."""
    query = "?api-version=2021-04-12"
    answer = _post(
        lab, f"/devices/{quote(car)}/applyConfigurationContent{query}", _token(lab, policy), json=MANIFEST
    )
    assert answer.status_code == status


@pytest.mark.parametrize("module", [None, AGENT, HUB])
def test_an_edge_device_may_not_deploy_to_itself(lab, car, module):
    """Its own token looks after its modules, and no more."""
    path = f"/devices/{quote(car)}/applyConfigurationContent"
    assert Caller(lab, car, module).call("POST", path, json=MANIFEST).status_code == 401
