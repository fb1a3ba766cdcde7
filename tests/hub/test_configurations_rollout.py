"""Configurations rolled out in a hub in this process: who gets what, when, and what happens when it cannot be."""

import json

import pytest
from configuring import (
    AGENT,
    HUB,
    base,
    delete,
    desired,
    device_content,
    layer,
    module_content,
    put,
    statuses,
    tag,
)

from iotedge_lab.wire.mqtt.packets import PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes

EDGE = {"capabilities": {"iotEdge": True}}
WHOLE = "properties.desired"


@pytest.fixture
def car(house):
    """A device with a tag, and one without."""
    house.register("car")
    house.register("other")
    house.hub.twins.patch("car", "", {"tags": {"kind": "car"}}, None)
    return "car"


@pytest.fixture
def edge(house):
    """An edge device."""
    house.register("edge", **EDGE)
    return "edge"


def report(house, device, values, module=""):
    house.hub.twins.report(device, module, values)
    house.turns.run()


# -- automatic configurations --------------------------------------------------------------------------


def test_those_that_match(house, car):
    """A configuration sets the twins that meet its condition, and says so in them."""
    put(house, "c", device_content(a__b=1), "tags.kind = 'car'")
    assert desired(house, car) == {"a": {"b": 1}}
    assert statuses(house, car) == {"c": "Applied"}
    assert desired(house, "other") == {}
    assert statuses(house, "other") == {}
    assert "configurations" not in house.hub.twins.to_json(*house.hub.twins.get("other", ""))


def test_all_and_none(house, car):
    """`*` is for all devices, those too that come later; nothing is for none."""
    put(house, "all", device_content(a=1), "*")
    put(house, "none", device_content(b=1), "")
    house.register("new")
    house.turns.run()
    for device in (car, "other", "new"):
        assert desired(house, device) == {"a": 1}
        assert statuses(house, device) == {"all": "Applied"}


def test_tags_that_change(house, car):
    """A twin that meets the condition is set at once; one that no longer does gets back what was taken."""
    put(house, "c", device_content(a=1), "tags.kind = 'car' AND NOT tags.off")
    tag(house, car, off=False)
    assert desired(house, car) == {"a": 1}
    tag(house, car, off=True)
    assert (desired(house, car), statuses(house, car)) == ({}, {})
    tag(house, "other", kind="car", off=False)
    assert desired(house, "other") == {"a": 1}
    house.hub.twins.put("other", "", {"tags": {}, "properties": {"desired": {"own": 1}}}, None)
    house.turns.run()
    assert (desired(house, "other"), statuses(house, "other")) == ({"own": 1}, {})


def test_properties_that_are_reported(house, car):
    """A condition over reported properties follows what devices report."""
    put(house, "c", device_content(update="2.0"), "properties.reported.firmware.version < '2.0'")
    assert desired(house, car) == {}
    report(house, car, {"firmware": {"version": "1.9"}})
    assert desired(house, car) == {"update": "2.0"}
    report(house, car, {"other": 1})
    assert desired(house, car) == {"update": "2.0"}
    report(house, car, {"firmware": {"version": "2.0"}})
    assert desired(house, car) == {}


def test_priorities_and_rolling_back(house, car):
    """The higher priority wins; when it is deleted the next one has its say again."""
    put(house, "low", device_content(a=1, b=1), priority=1)
    put(house, "high", device_content(a=2), "deviceId = 'car'", priority=2)
    assert desired(house, car) == {"a": 2, "b": 1}
    assert desired(house, "other") == {"a": 1, "b": 1}
    put(house, "highest", device_content(a=3, b=3), priority=3)
    assert desired(house, car) == {"a": 3, "b": 3}
    assert statuses(house, car) == {"low": "Targeted", "high": "Targeted", "highest": "Applied"}
    delete(house, "highest")
    assert desired(house, car) == {"a": 2, "b": 1}
    assert statuses(house, car) == {"low": "Applied", "high": "Applied"}
    delete(house, "high")
    assert desired(house, car) == {"a": 1, "b": 1}
    delete(house, "low")
    for device in (car, "other"):
        assert (desired(house, device), statuses(house, device)) == ({}, {})


def test_updates(house, car):
    """Another priority and another condition count from their update on."""
    put(house, "one", device_content(a=1), priority=1)
    put(house, "two", device_content(a=2), priority=2)
    put(house, "one", device_content(a=1), priority=3, target="*", update=True)
    assert desired(house, car) == {"a": 1}
    put(house, "one", device_content(a=1), priority=3, target="tags.kind = 'ship'", update=True)
    assert desired(house, car) == {"a": 2}
    put(house, "one", device_content(a=1), priority=3, target="", update=True)
    assert statuses(house, car) == {"two": "Applied"}


def test_what_somebody_else_has_set(house, car):
    """Stays beside it, and what is changed by hand stays until the configuration wants something else."""
    house.hub.twins.patch(car, "", {"properties": {"desired": {"a": {"own": 1}, "mine": 2}}}, None)
    put(house, "c", device_content(a__b=1))
    assert desired(house, car) == {"a": {"own": 1, "b": 1}, "mine": 2}
    house.hub.twins.patch(car, "", {"properties": {"desired": {"a": {"b": 5}}}}, None)
    tag(house, car, x=1)
    assert desired(house, car)["a"] == {"own": 1, "b": 5}
    delete(house, "c")
    assert desired(house, car) == {"a": {"own": 1}, "mine": 2}


def test_a_whole(house, car):
    """`properties.desired` replaces all that was there; tags stay."""
    house.hub.twins.patch(car, "", {"properties": {"desired": {"old": 1}}}, None)
    put(house, "c", {"deviceContent": {WHOLE: {"new": 1}}}, "deviceId = 'car'")
    assert desired(house, car) == {"new": 1}
    assert house.hub.twins.get(car, "")[1].tags == {"kind": "car"}
    assert statuses(house, car) == {"c": "Applied"}
    delete(house, "c")
    assert desired(house, car) == {}


def test_a_twin_that_is_so_already(house, car):
    """Gets no new version, and nobody is told."""
    house.hub.twins.patch(car, "", {"properties": {"desired": {"a": 1}}}, None)
    before = house.hub.twins.get(car, "")[1].desired.version
    put(house, "c", device_content(a=1))
    assert house.hub.twins.get(car, "")[1].desired.version == before
    assert statuses(house, car) == {"c": "Applied"}


def test_once_and_no_more(house, car):
    """A twin is set once, however often it is looked at."""
    put(house, "c", device_content(a=1))
    version = house.hub.twins.get(car, "")[1].version
    tag(house, "other", x=1)
    report(house, car, {"x": 1})
    house.hub.rollout.all_anew()
    house.turns.run()
    assert house.hub.twins.get(car, "")[1].desired.version == 2
    assert house.hub.twins.get(car, "")[1].version == version + 1  # what it reported


def test_modules(house, car):
    """moduleContent is for module twins; their own device's twin is left alone."""
    house.register(car, "eye")
    house.register(car, "ear")
    put(house, "c", module_content(a=1), "FROM devices.modules WHERE moduleId = 'eye' AND tags.on")
    assert desired(house, car, "eye") == {}
    tag(house, car, "eye", on=True)
    assert desired(house, car, "eye") == {"a": 1}
    assert statuses(house, car, "eye") == {"c": "Applied"}
    assert (desired(house, car), desired(house, car, "ear")) == ({}, {})
    house.register("other", "eye")
    tag(house, "other", "eye", on=True)
    assert desired(house, "other", "eye") == {"a": 1}
    put(house, "all", module_content(b=1), "*")
    assert desired(house, car, "ear") == {"b": 1}
    assert desired(house, car) == {}
    house.hub.identities.delete(car, "eye", None)
    delete(house, "c")
    delete(house, "all")
    assert desired(house, car, "ear") == desired(house, "other", "eye") == {}


def test_a_device_that_is_connected_is_told(house, car):
    """As of any change of its desired properties."""
    wire = house.connected(car)
    _, data = wire.client.subscribe([("$iothub/twin/PATCH/properties/desired/#", 1)])
    wire.send(data)
    put(house, "c", device_content(a=1))
    runs = [event for event in wire.answers() if isinstance(event, PublishRun)]
    assert [json.loads(body) for run in runs for _, body, _ in iter_publishes(run.raw)] == [
        {"a": 1, "$version": 2}
    ]


def test_a_device_that_was_deleted(house, car):
    """And is made again has no more of it than the configuration gives it anew."""
    put(house, "c", device_content(a=1), "tags.kind = 'car'")
    house.hub.identities.delete(car, "", None)
    house.turns.run()
    house.register(car)
    house.turns.run()
    assert (desired(house, car), statuses(house, car)) == ({}, {})
    tag(house, car, kind="car")
    assert desired(house, car) == {"a": 1}


# -- edge deployments ----------------------------------------------------------------------------------


def test_a_deployment(house, edge, car):
    """Makes the modules, sets all twins, and shows itself in $edgeAgent's; it is for edge devices alone."""
    put(house, "d", base(filter={WHOLE: {"threshold": 25}}, plain={}))
    assert desired(house, edge, AGENT) == {"modules": {}}
    assert desired(house, edge, HUB) == {"routes": {}}
    assert desired(house, edge, "filter") == {"threshold": 25}
    assert statuses(house, edge, AGENT) == {"d": "Applied"}
    for module in ("", HUB, "filter"):
        assert statuses(house, edge, module) == {}
    made = house.hub.identities.get(edge, "plain")
    assert (made.managed_by, made.auth_type, made.status) == ("IotEdge", "sas", "enabled")
    assert house.hub.identities.modules(car) == []


def test_layers(house, edge):
    """Lie on top of the base below them, are taken off again, and follow each device's tags."""
    house.register("edge2", **EDGE)
    put(house, "base", base(), priority=1)
    agent = {f"{WHOLE}.modules.eye": {"image": "eye"}}
    put(house, "eye", {"modulesContent": {AGENT: agent, "eye": {WHOLE: {"a": 1}}}}, "tags.eye", priority=2)
    assert statuses(house, edge, AGENT) == {"base": "Applied"}
    tag(house, edge, eye=True)
    assert desired(house, edge, AGENT) == {"modules": {"eye": {"image": "eye"}}}
    assert desired(house, edge, "eye") == {"a": 1}
    assert statuses(house, edge, AGENT) == {"base": "Applied", "eye": "Applied"}
    assert house.hub.identities.find("edge2", "eye") is None
    tag(house, edge, eye=False)
    assert desired(house, edge, AGENT) == {"modules": {}}
    assert statuses(house, edge, AGENT) == {"base": "Applied"}


def test_rolling_back_to_the_next_deployment(house, edge):
    """When the winner is deleted the next base is deployed; without any the device is left as it is."""
    put(house, "old", base(old={WHOLE: {"v": 1}}), priority=1)
    put(house, "new", base(new={WHOLE: {"v": 2}}), priority=2)
    assert statuses(house, edge, AGENT) == {"old": "Targeted", "new": "Applied"}
    assert desired(house, edge, "new") == {"v": 2}
    put(house, "new", base(new={WHOLE: {"v": 2}}), priority=0, update=True)
    assert statuses(house, edge, AGENT) == {"old": "Applied", "new": "Targeted"}
    put(house, "new", base(new={WHOLE: {"v": 2}}), priority=2, update=True)
    delete(house, "new")
    assert statuses(house, edge, AGENT) == {"old": "Applied"}
    assert house.hub.identities.find(edge, "new") is not None  # the runtime deletes it
    delete(house, "old")
    assert statuses(house, edge, AGENT) == {}
    assert desired(house, edge, AGENT) == {"modules": {}}
    assert desired(house, edge, "old") == {"v": 1}
    put(house, "third", base(old={f"{WHOLE}.w": 3}))
    assert desired(house, edge, "old")["w"] == 3


def test_layers_alone(house, edge):
    """Change nothing, and are Targeted."""
    put(house, "layer", layer({"m": {}}, modules__m={"image": "m"}), priority=5)
    assert statuses(house, edge, AGENT) == {"layer": "Targeted"}
    assert desired(house, edge, AGENT) == {}
    assert house.hub.identities.find(edge, "m") is None


def test_a_module_that_a_deployment_wants(house, edge):
    """Is made again when somebody deletes it, $edgeHub too."""
    put(house, "d", base(m={WHOLE: {"a": 1}}))
    for module in ("m", HUB, AGENT):
        house.hub.identities.delete(edge, module, None)
    house.turns.run()
    assert desired(house, edge, "m") == {"a": 1}
    assert desired(house, edge, HUB) == {"routes": {}}
    assert statuses(house, edge, AGENT) == {"d": "Applied"}


def test_a_device_that_becomes_an_edge_device(house, car):
    """Gets the deployment; one that is none any more is counted no longer."""
    put(house, "d", base(m={}))
    assert house.hub.identities.find(car, "m") is None
    identity = house.hub.identities.get(car, "")
    house.hub.identities.put(car, "", {"deviceId": car, **EDGE}, identity.etag)
    house.turns.run()
    assert statuses(house, car, AGENT) == {"d": "Applied"}
    identity = house.hub.identities.get(car, "")
    house.hub.identities.put(car, "", {"deviceId": car, "capabilities": {"iotEdge": False}}, identity.etag)
    house.turns.run()
    assert house.hub.rollout.busy is False
    assert statuses(house, car, AGENT) == {}


def test_configurations_of_modules_on_an_edge_device(house, edge):
    """Come on top of what a deployment sets, in the same twin."""
    put(house, "m", module_content(extra=1), "FROM devices.modules WHERE moduleId = 'filter'")
    put(house, "d", base(filter={WHOLE: {"threshold": 25}}))
    assert desired(house, edge, "filter") == {"threshold": 25, "extra": 1}
    put(house, "d2", base(filter={WHOLE: {"threshold": 30}}), priority=1)
    assert desired(house, edge, "filter") == {"threshold": 30, "extra": 1}
    delete(house, "m")
    assert desired(house, edge, "filter") == {"threshold": 30}
