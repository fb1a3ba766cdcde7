"""Solution mode, on real processes: a scaffolded solution runs whole, from its manifest alone."""

import contextlib
import json

import pytest
from hub_clients import Consumer

from iotedge_lab.edge.errors import InvalidManifest
from iotedge_lab.errors import HubNotRunning, LabError, UsageError
from iotedge_lab.simulation import Simulator, local_setup
from iotedge_lab.solution import add_module, new_solution

DEVICE = "solution"


@pytest.fixture(scope="module")
def solution(tmp_path_factory):
    """A solution with two modules: what the first sends goes to the second, and that to the hub."""
    folder = tmp_path_factory.mktemp("solution") / "Mine"
    new_solution(folder, "First")
    add_module(folder, "Second")
    file = folder / "deployment.template.json"
    content = json.loads(file.read_text())
    routes = content["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]
    routes["FirstToIoTHub"] = (
        'FROM /messages/modules/First/outputs/output1 INTO BrokeredEndpoint("/modules/Second/inputs/input1")'
    )
    content["modulesContent"]["First"] = {"properties.desired": {"interval": 5}}
    file.write_text(json.dumps(content))
    return file


@pytest.fixture(scope="module")
def simulator(lab, solution, tmp_path_factory):
    """The solution, running, with its own state folder."""
    made = Simulator(tmp_path_factory.mktemp("state"), ephemeral=True)
    made.set_up(local_setup(lab, lab._state, DEVICE))
    made.start_solution(solution, environment={"INTERVAL": "3600"}, registry=lab.rest())
    yield made
    made.stop()


def test_a_message_goes_from_module_to_module_to_the_hub(lab, simulator):
    """Modules found in the solution, placeholders replaced, routes in force, identities at the hub."""
    consumer = Consumer(lab)
    with contextlib.closing(consumer), consumer.news:
        # Its own event, and that of the first module.
        assert consumer.news.wait_for(
            lambda: len([1 for each in consumer.events if _is_of_second(each)]) == 2, 60
        )
    log = (simulator.logs / "Second.log").read_text()
    assert "Received: b'Sending event at" in log
    assert "an event every 3600 s" in log


def test_status(simulator):
    """As an edge device's, with the manifest's file."""
    status = simulator.status()
    assert (status["mode"], status["device"], status["connected"]) == ("solution", DEVICE, True)
    assert status["source"].endswith("Mine/deployment.template.json")
    assert {each["name"]: each["runtimeStatus"] for each in status["modules"]} == {
        "First": "running",
        "Second": "running",
    }
    assert repr(simulator) == "IoT Edge Simulator has been started in solution mode."


def test_the_runtimes_own_twins_are_left_alone(lab, simulator):
    """What is deployed to the device at the hub is another matter; the modules' twins are as the manifest has them."""
    rest = lab.rest()
    agent = rest.call("GET", f"/twins/{DEVICE}/modules/$edgeAgent")["properties"]
    assert (agent["desired"]["$version"], agent["reported"]["$version"]) == (1, 1)
    first = rest.call("GET", f"/twins/{DEVICE}/modules/First")["properties"]["desired"]
    assert first["interval"] == 5


def test_there_is_no_module_to_post_to(simulator):
    """What belongs to single-module mode says so."""
    with pytest.raises(UsageError, match="no inputs to post to"):
        simulator.post("x")
    with pytest.raises(UsageError, match="runs a whole solution"):
        simulator.modulecred()
    with pytest.raises(UsageError, match="runs a whole solution"):
        simulator.outputs()


def _is_of_second(event):
    system = event.system_properties
    sender = (system[b"iothub-connection-device-id"], system[b"iothub-connection-module-id"])
    return sender == (DEVICE.encode(), b"Second") and event.body_as_str().startswith("Sending event at")


# -- misuse -----------------------------------------------------------------------------------------------


def test_images_that_are_no_modules(solution, tmp_path):
    """All of them are named, with what there is."""
    content = solution.read_text().replace("${MODULES.First}", "registry.example/nix:1")
    file = tmp_path / "deployment.json"
    file.write_text(content)
    with pytest.raises(UsageError) as refused:
        Simulator(tmp_path).start_solution(file, environment={"INTERVAL": "1"})
    assert "2 images of the manifest are no local module" in str(refused.value)
    assert "First: registry.example/nix:1" in str(refused.value)
    assert "Second: Second" in str(refused.value)
    assert "EchoModule" in str(refused.value)


def test_a_manifest_with_problems(solution, tmp_path):
    """All of them, each with its place; nothing is started."""
    content = json.loads(solution.read_text())
    content["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["First"]["status"] = "runing"
    content["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]["bad"] = "FROM nowhere"
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps(content))
    made = Simulator(tmp_path)
    with pytest.raises(InvalidManifest) as refused:
        made.start_solution(file, environment={"INTERVAL": "1"})
    assert "has 2 problems" in str(refused.value)
    assert not made.is_running


@pytest.mark.parametrize("folder", ["", "nix.json"])
def test_a_file_that_is_none(tmp_path, folder):
    """A folder, or nothing at all."""
    with pytest.raises(UsageError, match=r"is a folder|There is no file"):
        Simulator(tmp_path).start_solution(tmp_path / folder)


def test_folders_that_are_none(solution, tmp_path):
    """--modules names what is there."""
    with pytest.raises(UsageError, match="There is no folder"):
        Simulator(tmp_path).start_solution(
            solution, module_folders=[tmp_path / "nix"], environment={"INTERVAL": "1"}
        )


def test_without_a_setup(solution, tmp_path):
    """The process says what is missing."""
    made = Simulator(tmp_path / "fresh", ephemeral=True)
    with pytest.raises(LabError, match="Please run 'iotedge-lab simulator setup' first"):
        made.start_solution(solution, environment={"INTERVAL": "1"})
    with pytest.raises(HubNotRunning):
        made.status()
