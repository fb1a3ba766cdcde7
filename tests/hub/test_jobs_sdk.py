"""Jobs by the vendor's manager, for devices of the vendor's SDK, on a hub in its own process."""

import contextlib
import datetime as dt
import sqlite3
import threading

import pytest
import requests
from azure.iot.device import MethodResponse
from azure.iot.hub import IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.protocol import models
from msrest.exceptions import HttpOperationError
from patience import until

from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

VERSION = "2021-04-12"


@pytest.fixture
def jobs(lab):
    """The vendor's manager of jobs."""
    return IoTHubJobManager.from_connection_string(lab.service_connection_string)


def ended(jobs, name):
    """A job, once it has ended."""
    return until(
        lambda: (
            (found := jobs.get_scheduled_job(name)).status in ("completed", "failed", "cancelled") and found
        ),
        60,
    )


def update(condition, tags=None, desired=None, **more):
    """A request for an update of twins."""
    twin = models.Twin(etag="*", tags=tags, properties=models.TwinProperties(desired=desired))
    return models.JobRequest(type="scheduleUpdateTwin", update_twin=twin, query_condition=condition, **more)


def method(condition, name, payload=None, **more):
    """A request for a method."""
    call = models.CloudToDeviceMethod(
        method_name=name, payload=payload, response_timeout_in_seconds=30, connect_timeout_in_seconds=0
    )
    return models.JobRequest(
        type="scheduleDeviceMethod", cloud_to_device_method=call, query_condition=condition, **more
    )


def outcomes(lab, name):
    """The rows of devices.jobs of a job, by device."""
    text = f"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{name}'"
    return {row["deviceId"]: row for row in lab.rest().query(text)}


def test_twins(lab, jobs, registry, device, sdk):
    """A job updates the twins that meet its condition, and a connected device hears of it."""
    registry.update_twin(device, models.Twin(tags={"floor": 43}))
    client = sdk(device)
    heard = threading.Event()
    patches = []

    def patched(patch):
        patches.append(patch)
        heard.set()

    client.on_twin_desired_properties_patch_received = patched
    client.connect()
    client.get_twin()
    made = jobs.create_scheduled_job(
        f"twins-{device}", update(f"tags.floor = 43 AND deviceId = '{device}'", {"done": True}, {"rate": 5})
    )
    assert (made.job_id, made.type, made.status) == (f"twins-{device}", "scheduleUpdateTwin", "queued")
    found = ended(jobs, made.job_id)
    assert (found.status, found.max_execution_time_in_seconds) == ("completed", 3600)
    assert found.device_job_statistics.as_dict() == {
        "device_count": 1,
        "failed_count": 0,
        "succeeded_count": 1,
        "running_count": 0,
        "pending_count": 0,
    }
    assert found.created_time <= found.start_time <= found.end_time
    twin = registry.get_twin(device)
    assert (twin.tags, twin.properties.desired["rate"]) == ({"floor": 43, "done": True}, 5)
    assert heard.wait(60)
    assert patches[0]["rate"] == 5


def test_methods(lab, jobs, registry, device, sdk):
    """Who is connected answers; who is not has failed with 404103; devices.jobs tells of each."""
    away = f"{device}-away"
    lab.rest().call("PUT", f"/devices/{away}", {"deviceId": away})
    client = sdk(device)
    asked = []

    def answer(request):
        asked.append((request.name, request.payload))
        client.send_method_response(MethodResponse.create_from_method_request(request, 201, {"at": "gate"}))

    client.on_method_request_received = answer
    client.connect()
    name = f"methods-{device}"
    jobs.create_scheduled_job(name, method(f"deviceId IN ['{device}', '{away}']", "lockDoor", {"n": 1}))
    found = ended(jobs, name)
    statistics = found.device_job_statistics
    assert (found.status, statistics.device_count) == ("completed", 2)
    assert (statistics.succeeded_count, statistics.failed_count) == (1, 1)
    assert asked == [("lockDoor", {"n": 1})]
    rows = outcomes(lab, name)
    assert rows[device]["outcome"] == {
        "deviceMethodResponse": {"status": 201, "payload": {"at": "gate"}},
    }
    assert rows[away]["error"]["code"] == "DeviceNotOnline"
    assert rows[away]["status"] == "failed"
    asked_by_sdk = registry.query_iot_hub(
        models.QuerySpecification(query=f"SELECT * FROM devices.jobs WHERE jobId = '{name}'")
    )
    assert asked_by_sdk.type == "DeviceJob"
    assert [(row.device_id, row.status) for row in asked_by_sdk.items] == [
        (device, "completed"),
        (away, "failed"),
    ]


def test_later_and_cancelled(lab, jobs, device):
    """A job that begins later is scheduled, and when it is cancelled it never begins."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    name = f"later-{device}"
    made = jobs.create_scheduled_job(
        name, update(f"deviceId = '{device}'", {"x": 1}, start_time=at, max_execution_time_in_seconds=20)
    )
    assert (made.status, made.max_execution_time_in_seconds) == ("scheduled", 20)
    assert abs(made.start_time - at) < dt.timedelta(milliseconds=1)
    assert jobs.cancel_scheduled_job(name).status == "cancelled"
    assert jobs.get_scheduled_job(name).status == "cancelled"
    with pytest.raises(HttpOperationError) as caught:
        jobs.create_scheduled_job(name, update("*", {"x": 1}))
    assert _refusal(caught) == (409, "JobAlreadyExists")


def _refusal(caught):
    answer = caught.value.response
    return answer.status_code, answer.headers["iothub-errorcode"]


def test_jobs_by_type_and_status(lab, jobs, device):
    """The SDK for Python reads an object, and other SDKs an array, page by page."""
    names = [f"{word}-{device}" for word in ("one", "two", "three")]
    for name in names:
        jobs.create_scheduled_job(name, update(f"deviceId = '{device}'", {"x": name}))
        ended(jobs, name)
    result = jobs.query_scheduled_jobs("scheduleUpdateTwin", "completed")
    assert result.type == "jobResponse"
    assert [item["jobId"] for item in result.items[:3]] == names[::-1]
    assert all(item["deviceJobStatistics"]["deviceCount"] == 1 for item in result.items[:3])
    assert jobs.query_scheduled_jobs("scheduleDeviceMethod", "failed").items == []
    assert jobs.query_scheduled_jobs(None, "running").items == []
    found, token = [], ""
    while True:
        answer = _get(
            lab,
            "/jobs/v2/query",
            {"x-ms-max-item-count": "2", "x-ms-continuation": token},
            jobType="scheduleUpdateTwin",
        )
        assert answer.headers["x-ms-item-type"] == "JobResponse"
        assert len(answer.json()) <= 2
        found += [item["jobId"] for item in answer.json()]
        token = answer.headers.get("x-ms-continuation")
        if not token:
            break
    assert found[:3] == names[::-1]
    assert len(found) == len(set(found))
    for query in ({"jobType": "nonsense"}, {"jobStatus": "pending"}, {"continuationToken": "x"}):
        answer = _get(lab, "/jobs/v2/query", {}, **query)
        assert (answer.status_code, answer.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")


def _get(lab, path, headers, **query):
    string = ConnectionString.parse(lab.service_connection_string)
    token = sas.build(lab.hostname, string.shared_access_key, 2**32, string.shared_access_key_name)
    return requests.get(
        f"https://{lab.hostname}:{lab._told.https_port}{path}",
        params={"api-version": VERSION} | query,
        headers={"Authorization": token} | headers,
        verify=str(lab.ca_file),
        timeout=30,
    )


def test_what_there_is_not(jobs):
    """A job that there is not has the status unknown, as on Azure; it cannot be cancelled."""
    found = jobs.get_scheduled_job("nothing")
    assert (found.job_id, found.type, found.status) == ("nothing", "unknown", "unknown")
    with pytest.raises(HttpOperationError) as caught:
        jobs.cancel_scheduled_job("nothing")
    assert _refusal(caught) == (404, "JobNotFound")


REFUSED = [
    (update("tags.floor == 3", {"x": 1}), 400, "ArgumentInvalid", "line 1, column 13"),
    (update("SELECT * FROM devices", {"x": 1}), 400, "ArgumentInvalid", "what would follow WHERE"),
    (update("FROM devices.jobs", {"x": 1}), 400, "ArgumentInvalid", "devices and devices.modules"),
    (update("", {"x": 1}), 400, "ArgumentNull", "queryCondition is missing"),
    (update("*"), 400, "ArgumentInvalid", "neither tags nor"),
    (method("*", ""), 400, "ArgumentInvalid", "methodName"),
    (
        models.JobRequest(
            type="scheduleUpdateTwin", query_condition="*", update_twin=models.Twin(tags={"x": 1})
        ),
        412,
        "PreconditionFailed",
        "etag='*'",
    ),
]


@pytest.mark.parametrize(
    ("request_", "status", "name", "word"), REFUSED, ids=[str(n) for n in range(len(REFUSED))]
)
def test_what_is_refused(jobs, request_, status, name, word):
    """With the documented codes, and nothing is kept."""
    with pytest.raises(HttpOperationError) as caught:
        jobs.create_scheduled_job("refused", request_)
    assert _refusal(caught) == (status, name)
    assert word in caught.value.response.text
    assert jobs.get_scheduled_job("refused").status == "unknown"


def test_a_hub_that_is_killed(tmp_path, monkeypatch):
    """A job goes on when the hub is back: each twin is updated once."""
    from iotedge_lab.lab import Lab

    count = 3000
    with Lab.open(tmp_path, ephemeral=True) as lab:
        for name, value in lab.env().items():
            monkeypatch.setenv(name, value)
        rest = lab.rest()
        for first in range(0, count, 100):
            rest.call(
                "POST",
                "/devices",
                [{"id": f"d{number:04}", "importMode": "create"} for number in range(first, first + 100)],
            )
        jobs = IoTHubJobManager.from_connection_string(lab.service_connection_string)
        registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
        jobs.create_scheduled_job("all", update("*", desired={"rate": 5}))

        def succeeded():
            statistics = jobs.get_scheduled_job("all").device_job_statistics
            return statistics.succeeded_count if statistics else 0

        until(succeeded, 60)
        lab.crash()
        with contextlib.closing(sqlite3.connect(lab.state_dir / "hub.db")) as db:
            done = db.execute("SELECT COUNT(*) FROM job_device WHERE status = 'completed'").fetchone()[0]
            updated = db.execute("SELECT COUNT(*) FROM twin WHERE desired_version = 2").fetchone()[0]
        assert 0 < done == updated
        lab.start()
        found = ended(jobs, "all")
        assert (found.status, found.device_job_statistics.succeeded_count) == ("completed", count)
        (row,) = rest.query(
            "SELECT COUNT() AS n FROM devices WHERE properties.desired.$version = 2 AND "
            "properties.desired.rate = 5"
        )
        assert row == {"n": count}
        assert registry.get_twin("d0000").properties.desired["rate"] == 5
