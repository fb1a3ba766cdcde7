"""Queries with the vendor's registry manager, which knows nothing of this hub, and what the wire says of them."""

import json
import threading

import pytest
import requests
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Module, QuerySpecification, Twin, TwinProperties
from http_calls import VERSION, Caller
from leftovers import collect_leftovers
from msrest.exceptions import HttpOperationError
from patience import until

from iotedge_lab.rest import RestError
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

DEVICES = 23


@pytest.fixture(autouse=True)
def _tidy(request):
    """After each test with the vendor's clients."""
    yield
    if {"registry", "sdk"} & set(request.fixturenames):
        collect_leftovers()


@pytest.fixture(scope="module")
def fleet(lab):
    """Devices and a module, made by the lab's own client; the SDK's requests are what the tests are about."""
    rest = lab.rest()
    for number in range(DEVICES):
        device = f"q{number:02}"
        rest.call("PUT", f"/devices/{device}", {"deviceId": device})
        body = {"tags": {"floor": number % 3, "name": f"Nr. {number} ä"}}
        rest.call("PATCH", f"/twins/{device}", body | {"properties": {"desired": {"speed": number}}})
    rest.call("PUT", "/devices/q00/modules/eye", {"deviceId": "q00", "moduleId": "eye"})
    return lab


def ask(registry, text, *arguments):
    return registry.query_iot_hub(QuerySpecification(query=text), *arguments)


def test_twins(fleet, registry):
    """SELECT * brings twins with all that they have."""
    found = ask(registry, "SELECT * FROM devices WHERE tags.floor = 1 AND STARTSWITH(deviceId, 'q')")
    assert found.type == "Twin"
    assert found.continuation_token is None
    assert [twin.device_id for twin in found.items] == [f"q{n:02}" for n in range(1, DEVICES, 3)]
    twin = found.items[0]
    assert isinstance(twin, Twin)
    assert twin.as_dict() == registry.get_twin("q01").as_dict()
    assert twin.tags == {"floor": 1, "name": "Nr. 1 ä"}
    assert twin.properties.desired["speed"] == 1


def test_pages(fleet, registry):
    """Page by page through all devices, each once, with the token of the page before."""
    pages, found, token = [], [], None
    while True:
        answer = ask(registry, "SELECT * FROM devices WHERE STARTSWITH(deviceId, 'q')", token, 10)
        pages.append(len(answer.items))
        found += [twin.device_id for twin in answer.items]
        token = answer.continuation_token
        if token is None:
            break
    assert pages == [10, 10, 3]
    assert found == [f"q{n:02}" for n in range(DEVICES)]


def raw(lab, text, **headers):
    """What a service gets that reads the rows itself: the SDK's model of a row is a twin."""
    answer = post(lab, json.dumps({"query": text}), **headers)
    assert answer.status_code == 200, answer.text
    return answer


def post(lab, body, token=None, **headers):
    if token is None:
        string = ConnectionString.parse(lab.service_connection_string)
        token = sas.build(lab.hostname, string.shared_access_key, 2**32, string.shared_access_key_name)
    return requests.post(
        f"https://{lab.hostname}:{lab._told.https_port}/devices/query?api-version={VERSION}",
        data=body,
        headers={"Authorization": token, "Content-Type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
        verify=str(lab.ca_file),
        timeout=30,
    )


def test_columns_and_aggregates(fleet, registry):
    """Their rows are Raw; the SDK's answer has the type, and the lab's client the rows."""
    columns = "tags.floor AS floor, COUNT() AS n, SUM(properties.desired.speed) AS s"
    text = f"SELECT {columns} FROM devices GROUP BY tags.floor"
    assert ask(registry, text).type == "Raw"
    rows = [row for row in fleet.rest().query(text) if "floor" in row]
    assert rows == [
        {"floor": 0, "n": 8, "s": 84},
        {"floor": 1, "n": 8, "s": 92},
        {"floor": 2, "n": 7, "s": 77},
    ]
    found = ask(registry, "SELECT deviceId, tags FROM devices WHERE deviceId = 'q05'")
    assert found.type == "Raw"
    assert (found.items[0].device_id, found.items[0].tags["name"]) == ("q05", "Nr. 5 ä")


def test_modules(fleet, registry):
    """FROM devices.modules finds module twins."""
    registry.update_module_twin("q00", "eye", Twin(properties=TwinProperties(desired={"lens": "wide"})))
    found = ask(registry, "SELECT * FROM devices.modules WHERE properties.desired.lens = 'wide'")
    assert found.type == "Twin"
    assert [(twin.device_id, twin.module_id) for twin in found.items] == [("q00", "eye")]


def test_what_a_device_reports(fleet, registry, sdk):
    """Reported properties and the connection are found as soon as they are there."""
    client = sdk("q07")
    client.connect()
    client.patch_twin_reported_properties({"engine": {"rpm": 900}})
    text = (
        "SELECT * FROM devices WHERE properties.reported.engine.rpm > 800 AND connectionState = 'Connected'"
    )
    assert [twin.device_id for twin in ask(registry, text).items] == ["q07"]
    client.disconnect()
    until(lambda: ask(registry, text).items == [])


FAULTS = [
    # a query, and its column
    ("SELECT * FROM devices WHERE tags.floor == 1", 41),
    ("SELECT * FROM devices WHERE", 28),
    ("SELECT deviceId FROM device", 22),
    ("SELECT * FROM devices WHERE tags.name LIKE 'a'", 39),
    ("", 1),
]


@pytest.mark.parametrize(("text", "column"), FAULTS, ids=range(len(FAULTS)))
def test_queries_that_cannot_be_read(fleet, registry, text, column):
    """The SDK raises a 400 that has the documented code, and tells the column."""
    with pytest.raises(HttpOperationError) as caught:
        ask(registry, text)
    assert caught.value.response.status_code == 400
    answer = json.loads(caught.value.response.text)
    assert answer["Message"].startswith("ErrorCode:ArgumentInvalid;")
    assert f"line 1, column {column}:" in answer["Message"]
    assert caught.value.response.headers["iothub-errorcode"] == "ArgumentInvalid"


BODIES = [
    # a body that is no query, and the error
    ("{}", "ArgumentNull"), ('{"query": null}', "ArgumentNull"), ('{"query": 5}', "ArgumentInvalid"),
    ('{"query": ["SELECT * FROM devices"]}', "ArgumentInvalid"), ("[]", "ArgumentInvalid"), ("", "ArgumentInvalid"),
    ("SELECT * FROM devices", "ArgumentInvalid"), (b"\xff\xfe", "ArgumentInvalid"),
    ('{"query": "\\ud800"}', "ArgumentInvalid"), ('{"query": "' + "x" * 100_000 + '"}', "ArgumentInvalid"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "name"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_query(fleet, body, name):
    """Each is a 400."""
    answer = post(fleet, body)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (400, name)
    assert len(answer.text) < 1000


@pytest.mark.parametrize("asked", ["0", "-1", "101", "1000000", "many", "1.5", "", "9" * 400])
def test_sizes_that_are_not_acceptable(fleet, asked):
    """Another size is used instead, as documented."""
    answer = raw(fleet, "SELECT * FROM devices WHERE STARTSWITH(deviceId, 'q')", x_ms_max_item_count=asked)
    assert len(answer.json()) == DEVICES
    assert "x-ms-continuation" not in answer.headers


def test_a_token_of_another_query(fleet, registry):
    """Goes on with its own query only."""
    token = ask(registry, "SELECT * FROM devices", None, 1).continuation_token
    for foreign in (token[:-4], "x", token):
        with pytest.raises(HttpOperationError) as caught:
            ask(registry, "SELECT * FROM devices WHERE true", foreign, 1)
        assert caught.value.response.status_code == 400
        assert "x-ms-continuation" in caught.value.response.text


def test_who_may(fleet):
    """Running queries is a service's; the registry's policies and devices may not."""
    body = json.dumps({"query": "SELECT * FROM devices"})
    assert post(fleet, body, token="").status_code == 401
    assert post(fleet, body, token=Caller(fleet, "q00").token).status_code in (401, 403)


def test_the_labs_own_client(fleet):
    """`lab.rest().query` gives row after row, and raises what the service says."""
    rows = list(fleet.rest().query("SELECT deviceId FROM devices WHERE STARTSWITH(deviceId, 'q')", page=7))
    assert [row["deviceId"] for row in rows] == [f"q{n:02}" for n in range(DEVICES)]
    with pytest.raises(RestError, match="column 15"):
        list(fleet.rest().query("SELECT * FROM nothing"))


def test_many_at_once(fleet, registry):
    """Queries asked at the same time each get their own answer."""
    answers = {}

    def run(number):
        own = IoTHubRegistryManager.from_connection_string(fleet.service_connection_string)
        found = ask(own, f"SELECT * FROM devices WHERE properties.desired.speed = {number}")
        answers[number] = [twin.device_id for twin in found.items]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {number: [f"q{number:02}"] for number in range(12)}


def test_a_module_that_was_deleted(fleet, registry):
    """Is found no more."""
    registry.create_module_with_sas("q01", "gone", "me", "", "")
    assert isinstance(registry.get_module("q01", "gone"), Module)
    text = "SELECT * FROM devices.modules WHERE moduleId = 'gone'"
    assert len(ask(registry, text).items) == 1
    registry.delete_module("q01", "gone")
    assert ask(registry, text).items == []
