"""Deployments as the cloud applies them: what is brought up, changed, refused, taken away, and what is reported."""

import contextlib
import os
import shutil

import psutil
import pytest
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import ConfigurationContent
from edge_stage import MODULES, Stage, manifest, module, until


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """A folder of modules that is empty at first."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def running(lab, more):
    return Stage(lab, "edge", module_folders=[MODULES, more]).start()


def sleeper(**changes):
    return module("sleeper:1", **changes)


def applied(stage, code=200):
    """Until the agent reports that it has seen the newest deployment, and how all its modules are; the report."""
    version = stage.twin("$edgeAgent")["properties"]["desired"]["$version"]

    def met():
        found = stage.reported("$edgeAgent")
        told = found.get("lastDesiredVersion") == version and found["lastDesiredStatus"]["code"] == code
        states = [each["runtimeStatus"] == each["status"] for each in found.get("modules", {}).values()]
        return told and all(states) and found

    return until(met, f"status {code}")


def processes(stage):
    """The process of each module that runs, by name."""
    found = {}
    for each in psutil.Process(stage.edge.runtime.pid).children():
        with contextlib.suppress(psutil.Error):
            name = each.environ().get("IOTEDGE_MODULEID")
            if name:
                found[name] = each.pid
    return found


def test_nothing_deployed_yet(running):
    """A device that was never given modules is connected and reports 417."""
    running.edge.wait_until_connected()
    status = running.edge.status()
    assert (status.deployment, status.modules) == (417, {})
    assert "empty" in applied(running, 417)["lastDesiredStatus"]["description"]


def test_by_the_service_sdk(running):
    """Set modules with azure-iot-hub: they run, have identities of the runtime's, and are reported."""
    manager = IoTHubConfigurationManager.from_connection_string(running.lab.service_connection_string)
    content = ConfigurationContent(
        modules_content=manifest({"one": sleeper(), "two": sleeper(status="stopped")})
    )
    manager.apply_configuration_on_edge_device("edge", content)
    found = applied(running)["modules"]
    assert (found["one"]["runtimeStatus"], found["two"]["runtimeStatus"]) == ("running", "stopped")
    assert found["one"]["settings"]["image"] == "registry.example/sleeper:1"
    for name in ("one", "two"):
        identity = running.rest.call("GET", f"/devices/edge/modules/{name}")
        assert identity["managedBy"] == "IotEdge"
        assert identity["authentication"]["symmetricKey"]["primaryKey"]
    assert [row[0] for row in running.edge.status().rows] == ["$edgeAgent", "$edgeHub", "one", "two"]


def test_only_what_differs(running):
    """A second deployment leaves alone what is as before, restarts what changed, and takes away what is gone."""
    running.deploy({"stays": sleeper(), "changes": sleeper(), "goes": sleeper()})
    applied(running)
    # One that has just begun cannot always be asked for its environment.
    until(lambda: set(processes(running)) == {"stays", "changes", "goes"}, "the processes")
    before = processes(running)
    running.rest.call(
        "PUT", "/devices/edge/modules/mine", {"deviceId": "edge", "moduleId": "mine", "managedBy": ""}
    )
    running.deploy({"stays": sleeper(), "changes": sleeper(env={"A": "1"}), "comes": sleeper()})
    found = applied(running)["modules"]
    assert set(found) == {"stays", "changes", "comes"}
    until(lambda: set(processes(running)) == set(found), "the processes")
    after = processes(running)
    assert after["stays"] == before["stays"]
    assert after["changes"] != before["changes"]
    until(lambda: not running.exists("goes"), "the end of its identity")
    assert running.exists("mine"), "a person made it"
    assert not (running.folder / "modules" / "goes").exists()


BAD = {
    "schema version": ({"schemaVersion": "3.0"}, 412, "3.0"),
    "unknown image": ({"modules": {"stays": {"settings": {"image": "x/nowhere:1"}}}}, 400, "nowhere"),
    "restart policy": ({"modules": {"stays": {"restartPolicy": "sometimes"}}}, 400, "restartPolicy"),
    "no runtime": ({"runtime": None}, 400, "runtime"),
    "create options": ({"modules": {"stays": {"settings": {"createOptions": "{"}}}}, 400, "createOptions"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_deployment_that_is_refused(name, running):
    """It is reported with the reason, and what runs goes on running; the next good one is applied."""
    patch, code, word = BAD[name]
    running.deploy({"stays": sleeper()})
    applied(running)
    before = processes(running)
    running.desire(patch, "$edgeAgent")
    found = applied(running, code)
    assert word in found["lastDesiredStatus"]["description"]
    assert found["modules"]["stays"]["runtimeStatus"] == "running"
    assert processes(running) == before
    assert running.edge.status().deployment == code
    running.deploy({"stays": sleeper()})
    applied(running)
    assert processes(running) == before


def test_a_route_that_is_refused(running):
    """`$edgeHub` reports the column, and the routes of before stay in force."""
    running.deploy({"stays": sleeper()}, {"good": "FROM /messages/* INTO $upstream"})
    applied(running)
    until(lambda: "good" in running.edge.status().raw["routes"], "the routes")
    running.desire({"routes": {"good": "FROM /messages/* WHERE a = INTO $upstream"}}, "$edgeHub")
    found = until(
        lambda: (now := running.reported("$edgeHub"))["lastDesiredStatus"]["code"] == 400 and now,
        "the refusal",
    )
    assert "column" in found["lastDesiredStatus"]["description"]
    assert running.edge.status().raw["routes"] == {"good": "FROM /messages/* INTO $upstream"}
    running.deploy({"stays": sleeper()}, {"better": "FROM /messages/* INTO $upstream"})
    until(lambda: list(running.edge.status().raw["routes"]) == ["better"], "the routes")
    until(lambda: running.reported("$edgeHub")["lastDesiredStatus"]["code"] == 200, "the report")


def test_an_empty_deployment(running):
    """Desired properties that were taken away are 417, and what ran goes on running."""
    running.deploy({"stays": sleeper()})
    applied(running)
    before = processes(running)
    running.desire(
        {"modules": None, "systemModules": None, "runtime": None, "schemaVersion": None}, "$edgeAgent"
    )
    applied(running, 417)
    assert processes(running) == before


def test_startup_order(running):
    """Modules start in the order that they are given, 0 first, those without a number last."""
    running.deploy({})
    applied(running)
    running.deploy({"last": sleeper(), "second": sleeper(startupOrder=1), "first": sleeper(startupOrder=0)})
    found = applied(running)["modules"]
    started = sorted(found, key=lambda name: found[name]["lastStartTimeUtc"])
    assert started == ["first", "second", "last"]


def test_modules_that_end(running):
    """Exit code and what becomes of them are reported as their restart policy has it."""
    running.deploy(
        {
            "never": module("quitter:1", env={"CODE": "3"}, restartPolicy="never"),
            "well": module("quitter:1", env={"CODE": "0"}, restartPolicy="on-failure"),
            "again": module("quitter:1", env={"CODE": "4"}, restartPolicy="always"),
        }
    )
    wanted = {"never": ("failed", 3), "well": ("stopped", 0), "again": ("backoff", 4)}

    def met():
        found = running.reported("$edgeAgent")["modules"]
        return {name: (each["runtimeStatus"], each["exitCode"]) for name, each in found.items()} == wanted

    until(met, "the ends")
    status = running.edge.status().modules["never"]
    assert "exited with code 3" in status["statusDescription"]


def test_a_module_written_while_the_runtime_runs(running, more):
    """A folder that was not there when the runtime started is an image all the same."""
    shutil.copytree(MODULES / "Sleeper", more / "Fresh")
    running.deploy({"fresh": module("fresh:1")})
    assert applied(running)["modules"]["fresh"]["runtimeStatus"] == "running"


def test_a_runtime_that_was_killed(running):
    """Its modules die with it; the next runs the last deployment, also without the hub, and sees to what was left."""
    running.deploy({"one": sleeper(), "two": sleeper(status="stopped")})
    applied(running)
    before = processes(running)
    running.edge.offline()
    running.edge.crash()
    until(lambda: not any(_runs(pid) for pid in before.values()), "their end")
    running.edge.start()
    running.edge.wait_until(
        lambda status: status.modules.get("one", {}).get("runtimeStatus") == "running", "the module"
    )
    status = running.edge.status()
    assert (status.online, status.connected, status.deployment) == (False, False, 200)
    assert status.modules["two"]["runtimeStatus"] == "stopped"
    running.edge.online()
    running.edge.wait_until_connected()
    assert applied(running)["modules"]["one"]["runtimeStatus"] == "running"


def _runs(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_stopped_and_started_again(running):
    """`stop` ends the modules and this device alone; `start` has it as it was."""
    running.deploy({"one": sleeper()})
    applied(running)
    runtime, pid = running.edge.runtime.pid, processes(running)["one"]
    gateway = running.edge.gateway
    running.edge.stop()
    assert not _runs(pid)
    assert running.edge.runtime.edges() == []
    os.kill(runtime, 0)
    running.edge.start()
    running.edge.wait_until(lambda status: "one" in status.modules, "the module")
    assert running.edge.gateway == gateway
