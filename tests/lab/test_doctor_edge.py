"""The doctor on the edge runtime and the simulator: each trouble, made on purpose."""

import json
import os
import socket
from dataclasses import replace

import pytest

from iotedge_lab import __version__
from iotedge_lab.clock import FakeClock
from iotedge_lab.doctor import Level
from iotedge_lab.doctor.edge import check_runtime, check_simulator
from iotedge_lab.doctor.situation import Machine, Situation
from iotedge_lab.edge.runtime.client import ControlClient
from iotedge_lab.edge.runtime.place import RuntimeFile, RuntimeFolder
from iotedge_lab.edge.runtime.settings import EdgeSettings
from iotedge_lab.edge.simulator import SimulatorFolder
from iotedge_lab.hub.state import StateFolder
from iotedge_lab.serve.claims import bind

STRING = "HostName=127.0.0.77;DeviceId={};SharedAccessKey=a2V5"


@pytest.fixture
def here(tmp_path):
    """A state folder, with nothing running."""
    state = StateFolder(tmp_path / "state")
    state.prepare()
    return Situation(
        state=state, environ={}, machine=Machine((3, 11, 7), "Linux", "x86_64"), clock=FakeClock(), told=None,
        running=False, trouble="", ports=(8883,), importing=lambda _name: object(),
        free_bytes=lambda _path: 10**10, kind_of_file_system=lambda _path: "ext4",
    )  # fmt: skip


@pytest.fixture
def running(here):
    """Its edge runtime is said to run: the lock is held, and what it said leads nowhere."""
    folder = RuntimeFolder(here.state.path)
    folder.prepare()
    folder.lock()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        folder.write(RuntimeFile(os.getpid(), nobody.getsockname()[1], "t", 0.0, __version__))
        yield folder
    folder.unlock()


def found(check, situation):
    """The findings by name, each with a fix unless it is OK."""
    findings = list(check(situation))
    assert all(bool(each.fix) == (each.level is not Level.OK) for each in findings)
    return {each.name: each for each in findings}


def test_none_runs(here):
    """Nothing is wrong with that."""
    assert found(check_runtime, here)["edge runtime"].level is Level.OK
    assert found(check_simulator, here)["simulator"].level is Level.OK


def test_a_runtime_that_does_not_answer(here, running):
    """FAIL, with the commands that end it and start it afresh."""
    finding = found(check_runtime, here)["edge runtime"]
    assert finding.level is Level.FAIL
    assert f"(process {os.getpid()}) and does not answer" in finding.said
    assert "edge down" in finding.fix


def test_a_runtime_that_has_not_said_where_it_is(here, running):
    """It may just be starting."""
    running.file.unlink()
    assert "has not said in runtime.json" in found(check_runtime, here)["edge runtime"].said


def device(name="car1", **changes):
    status = {"code": 200, "description": ""}
    return {
        "device": name, "gateway": "127.0.0.9", "hub": "127.0.0.77", "online": True, "connected": True, "trouble": "",
        "desiredStatus": status, **changes,
    }  # fmt: skip


DEVICES = [
    (device(), Level.OK, "connected to 127.0.0.77"),
    (device(online=False, connected=False), Level.OK, "offline on purpose"),
    (
        device(connected=False, trouble="no hub listens there."),
        Level.WARN,
        "no hub listens there; messages are kept",
    ),
    (
        device(desiredStatus={"code": 400, "description": "$.modules.a: is wrong"}),
        Level.WARN,
        "not in force (400): $.modules.a: is wrong",
    ),
    (device(desiredStatus={"code": 417, "description": "empty"}), Level.OK, "connected"),
    (device(desiredStatus={"code": 406, "description": ""}), Level.OK, "connected"),
]


@pytest.mark.parametrize(("status", "level", "said"), DEVICES)
@pytest.mark.usefixtures("running")
def test_devices_that_run(here, monkeypatch, status, level, said):
    """Each is a line of its own."""
    answer = {"edges": [status], "failures": {"cam1": "8883 of 127.0.0.10 is taken by x (pid 5)."}}
    monkeypatch.setattr(ControlClient, "call", lambda *_, **__: answer)
    findings = found(check_runtime, here)
    assert findings["edge runtime"].level is Level.OK
    assert "hosts car1" in findings["edge runtime"].said
    assert (findings["edge car1"].level, said in findings["edge car1"].said) == (level, True)
    assert findings["edge cam1"].level is Level.WARN
    assert "could not be started: 8883 of 127.0.0.10 is taken" in findings["edge cam1"].said


def test_a_gateway_whose_ports_are_taken(here):
    """The device does not run, and would not find its address free: who has it, and how to end that."""
    folder = RuntimeFolder(here.state.path)
    folder.prepare()
    folder.save_edges(
        {"car1": EdgeSettings(STRING.format("car1")), "new": EdgeSettings(STRING.format("new"))}
    )
    (folder.path / "car1").mkdir()
    host, sockets = bind((8883, 8443), folder.path / "car1" / "edge.json", first=60)
    try:
        (folder.path / "car1" / "edge.json").write_text(json.dumps({"host": host}))
        findings = found(check_runtime, here)
        assert findings["edge runtime"].level is Level.OK
        assert "starts it with car1, new" in findings["edge runtime"].said
        assert findings["edge car1"].level is Level.WARN
        assert f"port 8883 and 8443 of its gateway {host} is taken by" in findings["edge car1"].said
        assert "it would move" in findings["edge car1"].said
        assert str(os.getpid()) in findings["edge car1"].fix
        assert "edge new" not in findings
        folder.save_edges({"car1": replace(EdgeSettings(STRING.format("car1")), gateway=host)})
        assert "it cannot start" in found(check_runtime, here)["edge car1"].said
    finally:
        for each in sockets:
            each.close()
    assert "edge car1" not in found(check_runtime, here)


def test_a_simulator_that_does_not_answer(here):
    """FAIL, with the command that ends it."""
    folder = SimulatorFolder(here.state.path)
    folder.prepare()
    folder.lock()
    try:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            folder.write(RuntimeFile(os.getpid(), nobody.getsockname()[1], "t", 0.0, __version__))
            finding = found(check_simulator, here)["simulator"]
    finally:
        folder.unlock()
    assert finding.level is Level.FAIL
    assert "does not answer" in finding.said
    assert "simulator stop" in finding.fix
