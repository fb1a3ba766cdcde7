"""The control API of the edge runtime: who may use it, and what it says to what is wrong."""

import dataclasses
import json
import urllib.error
import urllib.request

import pytest
from edge_stage import Stage

from iotedge_lab.edge.runtime.client import ControlClient
from iotedge_lab.edge.runtime.place import RuntimeFolder, from_json, to_json
from iotedge_lab.edge.runtime.settings import EdgeSettings
from iotedge_lab.edges import Runtime
from iotedge_lab.errors import ConnectionStringError, EnvironmentProblem, HubFailed, UsageError


@pytest.fixture(scope="module")
def runtime(stage):
    return stage.edge.runtime


def ask(runtime, method, path, *, body=None, headers=None):
    """A request without the client's help: status and JSON."""
    request = urllib.request.Request(
        runtime._told.url + path, method=method, data=body, headers=headers or {}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer \xfc\xe9"},
    ],
)
def test_without_the_token(headers, runtime):
    """Nothing is told and nothing done, not even whether a device exists."""
    for method, path in (
        ("GET", "/edges"),
        ("GET", "/edges/edge"),
        ("GET", "/edges/nobody"),
        ("POST", "/edges/edge/offline"),
        ("DELETE", "/edges/edge"),
        ("POST", "/stop"),
        ("GET", "/nowhere"),
    ):
        status, body = ask(runtime, method, path, headers=headers)
        assert status == 401
        assert json.loads(body)["error"] == "Unauthorized"
    assert runtime.edges()[0].online


def test_a_device_that_is_not_there(runtime):
    """The answer says which there are."""
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/offline"),
        ("GET", "/metrics"),
        ("GET", "/logs/a"),
    ):
        with pytest.raises(UsageError, match="there are edge"):
            runtime.client.call(method, f"/edges/nobody{path}")


def test_a_log_that_is_not_there(runtime):
    with pytest.raises(UsageError, match="no log of a module 'nobody'"):
        runtime.client.call("GET", "/edges/edge/logs/nobody")


BAD = {
    "no JSON": b"{",
    "no object": b"[]",
    "no connection string": b"{}",
    "nonsense": json.dumps({"connectionString": 5}).encode(),
    "another device's": json.dumps(
        {"connectionString": "HostName=h;DeviceId=x;SharedAccessKey=eHg="}
    ).encode(),
    "a service's": json.dumps(
        {"connectionString": "HostName=h;SharedAccessKeyName=o;SharedAccessKey=eHg="}
    ).encode(),
    "a CA file that is none": json.dumps(
        {"connectionString": "HostName=h;DeviceId=edge;SharedAccessKey=eHg=", "caFile": "/nowhere"}
    ).encode(),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_are_none(name, runtime):
    """They are refused without showing a key, and what runs is not touched."""
    headers = {"Authorization": f"Bearer {runtime._told.token}", "Content-Type": "application/json"}
    status, body = ask(runtime, "PUT", "/edges/edge", body=BAD[name], headers=headers)
    assert status == 400, body
    assert b"eHg=" not in body
    assert runtime.edges()[0].raw["device"] == "edge"


def test_new_settings_that_do_not_work(stage, runtime):
    """A device that cannot run with its new settings goes on with those of before."""
    import socket

    gateway = stage.edge.gateway
    with socket.socket() as other:
        other.bind(("127.0.0.199", 8883))
        other.listen()
        wanted = dataclasses.replace(stage.edge._settings, gateway="127.0.0.199")
        with pytest.raises(EnvironmentProblem, match="8883"):
            runtime.client.call("PUT", "/edges/edge", to_json(wanted))
    assert stage.edge.gateway == gateway
    stage.edge.wait_until_connected()


def test_the_same_settings_change_nothing(stage, runtime):
    """Running a device that runs is no restart; with other settings it is one."""
    before = stage.edge.status().raw["received"]
    started = json.loads((stage.folder / "edge.json").read_text())
    stage.edge.start()
    assert json.loads((stage.folder / "edge.json").read_text()) == started
    assert stage.edge.status().raw["received"] == before
    with pytest.raises(ConnectionStringError):
        runtime.client.call("PUT", "/edges/edge", {"connectionString": "HostName=h"})


def test_ways_and_paths(runtime):
    """What there is not is 404 or 405, with the token too."""
    headers = {"Authorization": f"Bearer {runtime._told.token}"}
    assert ask(runtime, "GET", "/nowhere", headers=headers)[0] == 404
    assert ask(runtime, "PATCH", "/edges", headers=headers)[0] == 405
    with pytest.raises(HubFailed):
        runtime.client.call("GET", "/nowhere")


def test_stop_by_the_api(lab, tmp_path):
    """The process ends, and remembers its devices for the next."""
    stage = Stage(lab, "api")
    settings = EdgeSettings(
        lab.device_connection_string("api"), ca_file=lab.ca_file, https_port=lab._told.https_port
    )
    runtime = Runtime.open(tmp_path, ephemeral=True)
    runtime.client.call("PUT", "/edges/api", to_json(settings))
    gateway = runtime.edges()[0].raw["gateway"]
    runtime.client.call("POST", "/stop")
    runtime._ended()
    again = Runtime.open(tmp_path, ephemeral=True)
    assert [each.raw["gateway"] for each in again.edges()] == [gateway]
    again.stop()
    runtime.close()
    again.close()
    assert stage.device == "api"


def test_files_that_were_written_by_somebody_else(tmp_path, caplog):
    """A list of devices that cannot be read is none, with a word; one that can comes back whole."""
    folder = RuntimeFolder(tmp_path)
    folder.prepare()
    assert folder.load_edges() == {}
    assert not caplog.records
    settings = EdgeSettings("HostName=h;DeviceId=d;SharedAccessKey=eHg=", "car.lab", images={"a": tmp_path})
    folder.save_edges({"d": settings})
    assert folder.load_edges() == {"d": settings}
    assert from_json(to_json(settings)) == settings
    assert "eHg=" not in repr(settings)
    for content in ("{", "[]", '{"d": 1}', '{"d": {}}'):
        (folder.path / "edges.json").write_text(content)
        assert folder.load_edges() == {}
    assert "cannot be read" in caplog.text
    (folder.path / "runtime.json").write_text("[]")
    assert folder.read() is None


def test_a_client_of_nobody(runtime):
    """A runtime that does not answer is told of with what to do."""
    told = dataclasses.replace(runtime._told, port=1)
    from iotedge_lab.errors import HubNotRunning

    with pytest.raises(HubNotRunning, match=r"Start it again: edge\.start"):
        ControlClient(told).call("GET", "/edges")
    assert runtime._told.token not in repr(told)
