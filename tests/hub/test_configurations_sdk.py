"""Configurations with the vendor's manager, which knows nothing of this hub, and what the wire says of them."""

import itertools
import json

import pytest
import requests
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Twin,
)
from configuring import AGENT, base, device_content, layer, module_content
from http_calls import VERSION, Caller
from leftovers import collect_leftovers
from msrest.exceptions import HttpOperationError
from patience import until

from iotedge_lab.rest import RestError
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _tidy(request):
    """After each test its configurations go, and what the vendor's clients leave behind."""
    yield
    rest = request.getfixturevalue("lab").rest()
    for one in rest.call("GET", "/configurations"):
        rest.call("DELETE", f"/configurations/{one['id']}")
    if {"manager", "registry", "sdk"} & set(request.fixturenames):
        collect_leftovers()


@pytest.fixture
def manager(lab):
    """The vendor's configuration manager."""
    return IoTHubConfigurationManager.from_connection_string(lab.service_connection_string)


@pytest.fixture
def car(lab):
    """`car(tags)`: the id of a fresh device that has these tags; `edge` makes it an edge device."""

    def make(*, edge=False, **tags):
        name = f"car-{next(_numbers)}"
        body = {"deviceId": name, "capabilities": {"iotEdge": edge}}
        lab.rest().call("PUT", f"/devices/{name}", body)
        lab.rest().call("PATCH", f"/twins/{name}", {"tags": tags})
        return name

    return make


def draft(name, content, target="", priority=0, **more):
    """A configuration as the SDK has it."""
    kinds = {
        "deviceContent": "device_content",
        "moduleContent": "module_content",
        "modulesContent": "modules_content",
    }
    told = ConfigurationContent(**{kinds[kind]: value for kind, value in content.items()})
    return Configuration(id=name, content=told, target_condition=target, priority=priority, **more)


def desired(registry, device, module=None):
    twin = registry.get_module_twin(device, module) if module else registry.get_twin(device)
    return {name: value for name, value in twin.properties.desired.items() if not name.startswith("$")}


def refusal(caught):
    """Status, name and text of what the SDK raised."""
    response = caught.value.response
    name = response.headers["iothub-errorcode"]
    told = json.loads(response.text)["Message"]
    assert told.startswith(f"ErrorCode:{name};")
    return response.status_code, name, told


def test_the_life_of_a_configuration(manager, registry, car):
    """Created, read, listed, updated with its etag in quotes, deleted; twins follow each of these."""
    device = car(kind="van", number=1)
    made = manager.create_configuration(
        draft(
            "chiller", device_content(chiller={"temperature": 38}), "tags.kind='van'", 10,
            labels={"app": "Mobile", "ü": "ß"}, schema_version="1.0",
            metrics=ConfigurationMetrics(queries={"vans": "SELECT deviceId FROM devices WHERE tags.kind='van'"}),
        )
    )  # fmt: skip
    assert (made.id, made.priority, made.labels, made.schema_version) == (
        "chiller",
        10,
        {"app": "Mobile", "ü": "ß"},
        "1.0",
    )
    assert made.created_time_utc == made.last_updated_time_utc
    assert made.content.device_content == {"properties.desired.chiller": {"temperature": 38}}
    until(lambda: desired(registry, device) == {"chiller": {"temperature": 38}})
    twin = registry.get_twin(device)
    assert twin.additional_properties["configurations"] == {"chiller": {"status": "Applied"}}

    read = manager.get_configuration("chiller")
    assert read.etag == made.etag
    assert read.system_metrics.results == {"targetedCount": 1, "appliedCount": 1}
    assert read.metrics.results == {"vans": 1}
    assert [one.as_dict() for one in manager.get_configurations()] == [read.as_dict()]

    read.target_condition, read.priority = "tags.kind='car'", 20
    changed = manager.update_configuration(read, f'"{read.etag}"')
    assert (changed.priority, changed.target_condition) == (20, "tags.kind='car'")
    assert changed.etag != read.etag
    assert (changed.created_time_utc, changed.content.as_dict()) == (
        read.created_time_utc,
        read.content.as_dict(),
    )
    until(lambda: desired(registry, device) == {})
    registry.update_twin(device, Twin(tags={"kind": "car"}))
    until(lambda: desired(registry, device) == {"chiller": {"temperature": 38}})

    manager.delete_configuration("chiller", f'"{changed.etag}"')
    until(lambda: desired(registry, device) == {})
    assert manager.get_configurations() == []
    with pytest.raises(HttpOperationError) as caught:
        manager.get_configuration("chiller")
    assert refusal(caught)[:2] == (404, "ConfigurationNotFound")


def test_etags(manager):
    """An etag in quotes is compared; one without is not looked at, as on Azure: the configuration exists already."""
    made = manager.create_configuration(draft("c", device_content(a=1)))
    for etag in (None, made.etag, "x"):
        with pytest.raises(HttpOperationError) as caught:
            manager.update_configuration(made, etag)
        status, name, told = refusal(caught)
        assert (status, name) == (409, "ConfigurationAlreadyExists")
        assert f'"{made.etag}"' in told
    with pytest.raises(HttpOperationError) as caught:
        manager.update_configuration(made, '"old"')
    assert refusal(caught)[:2] == (412, "PreconditionFailed")
    changed = manager.update_configuration(made, f'"{made.etag}"')
    for call in (manager.update_configuration, lambda one, etag: manager.delete_configuration(one.id, etag)):
        with pytest.raises(HttpOperationError) as caught:
            call(made, f'"{made.etag}"')
        assert refusal(caught)[:2] == (412, "PreconditionFailed")
    manager.delete_configuration("c", changed.etag)
    for call in (
        lambda: manager.update_configuration(made, f'"{made.etag}"'),
        lambda: manager.delete_configuration("c"),
        lambda: manager.get_configuration("c"),
    ):
        with pytest.raises(HttpOperationError) as caught:
            call()
        assert refusal(caught)[:2] == (404, "ConfigurationNotFound")


def test_the_content_cannot_be_changed(manager):
    """400403; and each update says it again, in whatever order."""
    made = manager.create_configuration(draft("c", device_content(a=1, b=2)))
    made = manager.update_configuration(draft("c", device_content(b=2, a=1), priority=5), f'"{made.etag}"')
    assert made.priority == 5
    with pytest.raises(HttpOperationError) as caught:
        manager.update_configuration(draft("c", device_content(a=2)), f'"{made.etag}"')
    assert refusal(caught)[:2] == (400, "CannotModifyImmutableConfigurationContent")
    made.content = None
    with pytest.raises(HttpOperationError) as caught:
        manager.update_configuration(made, f'"{made.etag}"')
    assert refusal(caught)[:2] == (400, "InvalidConfigurationContent")
    assert manager.get_configuration("c").priority == 5


REFUSED = [
    # a configuration, and the name of the error
    (draft("UPPER", device_content(a=1)), "ArgumentInvalid"),
    (draft("c", device_content(a=1), priority=-1), "ArgumentInvalid"),
    (draft("c", device_content(a=1), "tags.a ="), "InvalidConfigurationTargetCondition"),
    (draft("c", device_content(a=1), "properties.desired.a = 1"), "InvalidConfigurationTargetCondition"),
    (draft("c", module_content(a=1), "tags.a = 1"), "InvalidConfigurationTargetCondition"),
    (draft("c", device_content(a=1) | base()), "InvalidConfigurationContent"),
    (draft("c", {"modulesContent": {"m": {}}}), "InvalidConfigurationContent"),
    (draft("c", {"deviceContent": {"tags.a": 1}}), "InvalidConfigurationContent"),
    (Configuration(id="c"), "InvalidConfigurationContent"),
    (
        draft("c", device_content(a=1), metrics=ConfigurationMetrics(queries={"m": "SELECT"})),
        "InvalidConfigurationCustomMetricsQuery",
    ),
]


def test_configurations_that_are_refused(manager):
    """400 by its documented name, and there is none."""
    for configuration, name in REFUSED:
        with pytest.raises(HttpOperationError) as caught:
            manager.create_configuration(configuration)
        assert refusal(caught)[:2] == (400, name)
    assert manager.get_configurations() == []


def test_a_hundred(lab, manager, registry, car):
    """Are the most, 413101; all of them are listed, and a deployment counts as one."""
    device = car(kind="bus")
    rest = lab.rest()
    for number in range(99):
        body = {"content": device_content(**{f"p{number}": number}), "targetCondition": "tags.kind = 'bus'"}
        rest.call("PUT", f"/configurations/c{number:02}", body)
    manager.create_configuration(draft("deployment", base()))
    with pytest.raises(HttpOperationError) as caught:
        manager.create_configuration(draft("more", device_content(a=1)))
    assert refusal(caught)[:2] == (413, "ConfigurationCountLimitExceeded")
    assert len(manager.get_configurations()) == 100
    assert [one.id for one in manager.get_configurations(3)] == ["c00", "c01", "c02"]
    until(lambda: desired(registry, device) == {f"p{number}": number for number in range(99)})
    manager.delete_configuration("c00")
    manager.create_configuration(draft("more", device_content(a=1)))
    until(lambda: "p0" not in desired(registry, device))


def test_modules(manager, registry, car):
    """moduleContent is set in the twins of modules that meet a condition over them."""
    device = car()
    registry.create_module_with_sas(device, "eye", "me", "", "")
    registry.create_module_with_sas(device, "ear", "me", "", "")
    manager.create_configuration(
        draft(
            "m", module_content(rate=5), f"FROM devices.modules WHERE moduleId='eye' AND deviceId='{device}'"
        )
    )
    until(lambda: desired(registry, device, "eye") == {"rate": 5})
    assert desired(registry, device, "ear") == {}
    assert manager.get_configuration("m").system_metrics.results == {"targetedCount": 1, "appliedCount": 1}


def test_deployments(manager, registry, car, sdk, lab):
    """A base, a layer on top of it, what the runtime reports of it, and back to the next in priority."""
    device = car(edge=True, site="a")
    target = f"deviceId='{device}'"
    manager.create_configuration(draft("old", base(old={"properties.desired": {"v": 1}}), target, 1))
    until(
        lambda: (
            registry.get_modules(device) and "old" in {one.module_id for one in registry.get_modules(device)}
        )
    )
    manager.create_configuration(draft("new", base(new={"properties.desired": {"v": 2}}), target, 5))
    manager.create_configuration(
        draft(
            "layer",
            layer({"eye": {"properties.desired": {"rate": 1}}}, modules__eye={"image": "eye"}),
            target,
            6,
        )
    )
    until(lambda: desired(registry, device, AGENT) == {"modules": {"eye": {"image": "eye"}}})
    assert desired(registry, device, "new") == {"v": 2}
    assert desired(registry, device, "eye") == {"rate": 1}
    results = {one.id: one.system_metrics.results for one in manager.get_configurations()}
    nothing = {"reportedSuccessfulCount": 0, "reportedFailedCount": 0}
    assert results == {
        "old": {"targetedCount": 1, "appliedCount": 0} | nothing,
        "new": {"targetedCount": 1, "appliedCount": 1} | nothing,
        "layer": {"targetedCount": 1, "appliedCount": 1} | nothing,
    }

    agent = sdk(device, AGENT, connection_string=lab.device_connection_string(device, AGENT))
    agent.connect()
    version = registry.get_module_twin(device, AGENT).properties.desired["$version"]
    for code, success, failure in ((200, 1, 0), (406, 0, 1)):
        agent.patch_twin_reported_properties(
            {"lastDesiredVersion": version, "lastDesiredStatus": {"code": code}}
        )
        told = {"reportedSuccessfulCount": success, "reportedFailedCount": failure}
        results = manager.get_configuration("layer").system_metrics.results
        assert results == {"targetedCount": 1, "appliedCount": 1} | told
        assert manager.get_configuration("old").system_metrics.results["reportedFailedCount"] == 0

    manager.delete_configuration("layer")
    until(lambda: desired(registry, device, AGENT) == {"modules": {}})
    manager.delete_configuration("new")
    until(lambda: manager.get_configuration("old").system_metrics.results["appliedCount"] == 1)
    shown = registry.get_module_twin(device, AGENT).additional_properties["configurations"]
    assert shown == {"old": {"status": "Applied"}}


def test_a_device_is_told(manager, car, sdk):
    """A connected device gets the patch that a configuration makes."""
    device = car(kind="told")
    client = sdk(device)
    patches = []
    client.on_twin_desired_properties_patch_received = patches.append
    client.connect()
    client.get_twin()
    manager.create_configuration(draft("c", device_content(a=1), f"deviceId='{device}'"))
    until(lambda: patches == [{"a": 1, "$version": 2}])
    client.patch_twin_reported_properties({"done": True})
    manager.update_configuration(
        draft("c", device_content(a=1), f"deviceId='{device}' AND NOT IS_DEFINED(properties.reported.done)"),
        f'"{manager.get_configuration("c").etag}"',
    )
    until(lambda: patches[1:] == [{"a": None, "$version": 3}])


def test_testing_queries(manager):
    """What cannot be read is named; `*` needs no test and is refused, as on Azure."""
    answer = manager.test_configuration_queries(
        ConfigurationQueriesTestInput(
            target_condition="tags.a ==1",
            custom_metric_queries={
                "good": "SELECT deviceId FROM devices",
                "bad": "SELECT deviceId FROM things",
            },
        )
    )
    assert "column 9" in answer.target_condition_error
    assert set(answer.custom_metric_query_errors) == {"bad"}
    assert "column 22" in answer.custom_metric_query_errors["bad"]
    for target in ("tags.a = 1", "FROM devices.modules WHERE moduleId = 'm'"):
        good = manager.test_configuration_queries(ConfigurationQueriesTestInput(target_condition=target))
        assert (good.target_condition_error, good.custom_metric_query_errors) == (None, None)
    every = manager.test_configuration_queries(ConfigurationQueriesTestInput(target_condition="*"))
    assert every.target_condition_error


BODIES = [
    # method, path, body, the status
    ("PUT", "c", "[]", 400), ("PUT", "c", "", 400), ("PUT", "c", "x", 400), ("PUT", "c", "{}", 400),
    ("PUT", "c", '{"content": {"deviceContent": {"properties.desired.a": 1}}, "id": "d"}', 400),
    ("PUT", "c", '{"content": ' + "[" * 100_000 + "]" * 100_000 + "}", 400),
    ("PUT", "c", '{"content": {"deviceContent": {"properties.desired.a":' + '{"a":' * 900 + "1" + "}" * 902 + "}", 400),
    ("PUT", "c", '{"content": {"deviceContent": {"properties.desired.a": 1}}, "priority": ' + "9" * 5000 + "}", 400),
    ("PUT", "c", '{"content": {"deviceContent": {"properties.desired.a": NaN}}}', 400),
    ("PUT", "a%20b", '{"content": {"deviceContent": {"properties.desired.a": 1}}}', 400),
    ("GET", "none", "", 404), ("DELETE", "none", "", 404), ("GET", "NONE", "", 404), ("GET", "x" * 5000, "", 404),
    ("POST", "testQueries", "[]", 400), ("POST", "testQueries", '{"targetCondition": 5}', 400),
]  # fmt: skip


def call(lab, method, path, body="", *, token=None, query=""):
    if token is None:
        string = ConnectionString.parse(lab.service_connection_string)
        token = sas.build(lab.hostname, string.shared_access_key, 2**32, string.shared_access_key_name)
    where = f"https://{lab.hostname}:{lab._told.https_port}/configurations{path and '/' + path}"
    return requests.request(
        method,
        f"{where}?api-version={VERSION}{query}",
        data=body,
        headers={"Authorization": token, "Content-Type": "application/json"},
        verify=str(lab.ca_file),
        timeout=30,
    )


@pytest.mark.parametrize(("method", "path", "body", "status"), BODIES, ids=range(len(BODIES)))
def test_requests_that_are_wrong(lab, method, path, body, status):
    """Each has its status, short, and nothing comes of it."""
    answer = call(lab, method, path, body)
    assert answer.status_code == status
    assert len(answer.text) < 1500
    assert lab.rest().call("GET", "/configurations") == []


@pytest.mark.parametrize("top", ["0", "-1", "x", "", "1.5", "9" * 5000])
def test_tops_that_are_wrong(lab, top):
    """400, unless it is a number that is only too large."""
    assert call(lab, "GET", "", query=f"&top={top}").status_code == (200 if top.startswith("9") else 400)


def test_who_may(lab, device):
    """A device's token opens none of it, and nor does none."""
    for token in ("", Caller(lab, device).token):
        for method, path in (
            ("GET", ""),
            ("GET", "c"),
            ("PUT", "c"),
            ("DELETE", "c"),
            ("POST", "testQueries"),
        ):
            assert call(lab, method, path, "{}", token=token).status_code in (401, 403)


def test_the_labs_own_client(lab, car):
    """The documented paths take what `az iot hub configuration` sends."""
    rest = lab.rest()
    device = car(kind="rest")
    body = {
        "id": "c",
        "content": device_content(a=1),
        "targetCondition": "tags.kind='rest'",
        "priority": 3,
        "etag": "*",
    }
    made = rest.call("PUT", "/configurations/c", body)
    until(lambda: rest.call("GET", f"/twins/{device}")["properties"]["desired"].get("a") == 1)
    changed = rest.call(
        "PUT", "/configurations/c", made | {"priority": 4}, headers={"If-Match": f'"{made["etag"]}"'}
    )
    assert changed["priority"] == 4
    again = rest.call("PUT", "/configurations/c", changed | {"priority": 5}, headers={"If-Match": "*"})
    assert again["priority"] == 5
    with pytest.raises(RestError, match="PreconditionFailed"):
        rest.call("DELETE", "/configurations/c", headers={"If-Match": f'"{made["etag"]}"'})
    rest.call("DELETE", "/configurations/c", headers={"If-Match": "*"})
