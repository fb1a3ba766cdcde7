"""Single-module mode, on real processes: the vendor's SDK against the simulator, with the hub and without."""

import json
import socket
import urllib.error
import urllib.request

import pytest
from simulated_modules import BROKEN, LOST, MIRROR, module

from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, LabError, PortTaken, StateLocked, UsageError
from iotedge_lab.lab import Lab
from iotedge_lab.simulation import DEVICE, RunningModule, Simulator

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def simulator(lab):
    """A simulator with two inputs, at any port."""
    with lab.simulator("input1", "input2", port=0) as made:
        yield made


@pytest.fixture(scope="module")
def mirror(simulator, tmp_path_factory):
    """A module that runs against it, connected and ready."""
    with simulator.run(module(tmp_path_factory.mktemp("m"), MIRROR, "Mirror")) as running:
        running.wait_for("ready")
        simulator.wait_for_outputs()  # its twin
        yield running


def request(url, body, headers=JSON, method="POST"):
    """The status and the JSON of an answer."""
    asked = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


# -- messages ---------------------------------------------------------------------------------------------


def test_a_posted_message_reaches_the_module_and_comes_out(simulator, mirror):
    """202 as the testing utility answers; the body is JSON, properties and ids stay."""
    said = {"inputName": "input1", "data": "hello world", "properties": {"a": "ü 1"}, "messageId": "m1"}
    assert request(simulator.url, json.dumps(said).encode()) == (202, {"message": "accepted"})
    (got,) = simulator.wait_for_outputs()
    assert (got.output, got.body, got.data) == ("input1", b'"hello world"', "hello world")
    assert got.properties == {"a": "ü 1"}
    assert got.system["message-id"] == "m1"


def test_each_input_is_itself(simulator, mirror):
    """In the order in which they were posted, and by the library's own call as well."""
    for number in range(20):
        simulator.post({"n": number}, f"input{number % 2 + 1}", properties={"n": number})
    got = simulator.wait_for_outputs(20)
    found = {name: [each.data["n"] for each in got if each.output == name] for name in ("input1", "input2")}
    assert found == {"input1": list(range(0, 20, 2)), "input2": list(range(1, 20, 2))}
    assert all(each.properties == {"n": str(each.data["n"])} for each in got)
    assert [each.number for each in simulator.outputs()][-20:] == [each.number for each in got]


REFUSED = [
    (b"{}", JSON, 400, "Cannot get inputName"),
    (b'{"inputName": "input3", "data": 1}', JSON, 400, "without the input 'input3'; it has input1, input2"),
    (
        b'{"inputName": "input1", "data": 1}',
        {"Content-Type": "text/plain"},
        400,
        "Content-Type: application/json",
    ),
    (b'{"inputName": "input1", "data": 1}', {}, 400, "Content-Type: application/json"),
    (
        b'{"inputName": "input1", "data": 1}',
        {**JSON, "Host": "evil.example"},
        400,
        "post to http://localhost",
    ),
    (b" " * 2_100_000, JSON, 413, "over 2097152 bytes"),
]


@pytest.mark.parametrize(("body", "headers", "status", "word"), REFUSED)
def test_what_is_refused(simulator, body, headers, status, word):
    """With a word that helps; a web page of somebody's cannot post, as it may not say what it must."""
    code, said = request(simulator.url, body, headers)
    assert (code, list(said)) == (status, ["error"])
    assert word in said["error"]


@pytest.mark.parametrize(
    ("path", "method"), [("/", "GET"), ("/api/v1/messages", "GET"), ("/api/v1/test", "POST")]
)
def test_nothing_else_is_there(simulator, path, method):
    """404, as the testing utility says it."""
    url = simulator.url.replace("/api/v1/messages", path)
    code, said = request(url, None, method=method)
    assert code == 404
    assert said["error"].startswith("I don't have that")


def test_post_raises_the_answer(simulator):
    """The library's call says the same."""
    with pytest.raises(UsageError, match="without the input 'elsewhere'"):
        simulator.post(1, "elsewhere")


# -- twins and methods ------------------------------------------------------------------------------------


def test_the_twin_is_the_hubs(lab, simulator, mirror):
    """Desired properties reach the module, what it reports reaches the hub."""
    path = f"/twins/{DEVICE}/modules/target"
    lab.rest().call("PATCH", path, {"properties": {"desired": {"interval": 7}}})
    (got,) = simulator.wait_for_outputs()
    assert (got.output, got.data["interval"]) == ("twin", 7)
    assert lab.rest().call("GET", path)["properties"]["reported"]["mirror"] is True


def test_a_direct_method_of_the_cloud(lab, simulator, mirror):
    """It is called through the hub, as on a device."""
    body = {
        "methodName": "ask",
        "payload": {"a": 1},
        "responseTimeoutInSeconds": 30,
        "connectTimeoutInSeconds": 30,
    }
    answer = lab.rest().call("POST", f"/twins/{DEVICE}/modules/target/methods", body, timeout=60.0)
    assert answer == {"status": 200, "payload": [{"a": 1}]}


# -- credentials ------------------------------------------------------------------------------------------


def test_credentials(lab, simulator):
    """The two lines of iotedgehubdev, with the key, which is not shown."""
    found = simulator.modulecred()
    status = simulator.status()
    head = f"HostName={lab.hostname};GatewayHostName={status['gateway']};DeviceId={DEVICE};ModuleId=target"
    assert found.connection_string.startswith(f"{head};SharedAccessKey=")
    assert found.ca_file == str(lab.state_dir / "certificates" / "lab-ca.pem")
    assert repr(found).splitlines()[0] == f"EdgeHubConnectionString={head};SharedAccessKey=***"
    assert found.lines()[0] == f"EdgeHubConnectionString={found.connection_string}"


def test_credentials_of_several_modules(simulator):
    """With vertical bars between them; the simulator's own module is nobody's else."""
    first, second = simulator.modulecred("one", "two").connection_string.split("|")
    assert ("ModuleId=one;" in first, "ModuleId=two;" in second) == (True, True)
    with pytest.raises(UsageError, match="'input' is the simulator's own module"):
        simulator.modulecred("input")
    with pytest.raises(LabError, match="module id"):
        simulator.modulecred("no/module")


# -- a handle ---------------------------------------------------------------------------------------------


def test_it_says_what_iotedgehubdev_says(simulator):
    """Also in a notebook."""
    json_header, data = '"Content-Type: application/json"', '{"inputName": "input1","data":"hello world"}'
    assert repr(simulator).splitlines() == [
        "IoT Edge Simulator has been started in single module mode.",
        "Please run `iotedge-lab simulator modulecred` to get credential to connect your module.",
        "And send message through:",
        "",
        f"        curl --header {json_header} --request POST --data '{data}' {simulator.url}",
        "",
        "Please refer to https://github.com/Azure/iot-edge-testing-utility/blob/master/swagger.json for detail schema",
    ]
    assert ">IoT Edge Simulator has been started" in simulator._repr_html_()


def test_opening_it_again_changes_nothing(lab, simulator):
    """A cell that is run twice finds the simulator as it was."""
    before = simulator.folder.read()
    assert lab.simulator("input1", "input2", port=0).status()["port"] == simulator.status()["port"]
    assert simulator.folder.read() == before


def test_it_runs_once(lab, simulator):
    """A second start is refused, and the first goes on."""
    with pytest.raises(StateLocked, match=r"runs already \(process \d+\)\. Stop it with"):
        Simulator(lab.state_dir).start("input1", port=0)
    assert simulator.is_running


def test_what_keeps_outputs_from_coming(simulator, mirror, tmp_path):
    """Waiting in vain says why."""
    with pytest.raises(
        UsageError, match=r"0 of 1 outputs came within .*\nThe module is connected and has taken"
    ):
        simulator.wait_for_outputs(timeout=0.1)


# -- a module's life --------------------------------------------------------------------------------------


def test_messages_wait_for_the_module(lab, tmp_path):
    """Until it is there; a simulator that is started anew has forgotten them, as a new container has.

    The order is not asked for: the SDK calls a module's handler on several threads.
    """
    folder = module(tmp_path, MIRROR)
    with own(lab, tmp_path) as simulator:
        simulator.post("forgotten")
        simulator.stop()
        simulator.start("input1", port=0)
        assert simulator.status()["waiting"] == 0
        with pytest.raises(UsageError, match="The module is not connected: run it with"):
            simulator.wait_for_outputs(timeout=0.1)
        for number in range(3):
            simulator.post(number)
        with simulator.run(folder):
            simulator.wait_connected()
            got = [each for each in simulator.wait_for_outputs(4) if each.output != "twin"]
        assert sorted(each.data for each in got) == [0, 1, 2]


def test_a_module_that_breaks(lab, tmp_path):
    """Its last words and its exit code are there to be read."""
    with own(lab, tmp_path) as simulator:
        broken = simulator.run(module(tmp_path, BROKEN))
        assert broken.wait() == 1
        assert broken.output.startswith("about to break\nTraceback")
        assert broken.output.endswith("RuntimeError: input-echo is not an output")
        assert repr(broken) == "RunningModule(Module, ended with exit code 1)"
        with pytest.raises(UsageError, match="has not written 'ready', and it has ended with exit code 1"):
            broken.wait_for("ready")
        broken.stop()
        with pytest.raises(UsageError, match=r"has no main\.py"):
            simulator.run(tmp_path)


def test_a_message_to_no_output(lab, tmp_path):
    """send_message leads nowhere, and waiting for it says so."""
    with own(lab, tmp_path) as simulator, simulator.run(module(tmp_path, LOST)) as lost:
        lost.wait_for("sent")
        with pytest.raises(UsageError, match="1 messages went to no output: send_message_to_output"):
            simulator.wait_for_outputs(timeout=0.1)


def test_a_bare_environment(tmp_path, monkeypatch):
    """The module gets what it is given, and no key of a service's."""
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", "secret")
    code = "import os\nprint(sorted(set(os.environ) - {'PATH', 'HOME', 'LANG', 'LC_CTYPE', 'LC_ALL', 'TZ', 'TMPDIR'}))"
    with RunningModule(module(tmp_path, code), {"EdgeHubConnectionString": "x"}, {"MINE": "1"}) as running:
        assert running.wait() == 0
        assert running.output == "['EdgeHubConnectionString', 'MINE']"


# -- misuse -----------------------------------------------------------------------------------------------


def own(lab, tmp_path):
    """A simulator of a test's own, on a state folder beside that of the hub."""
    made = Simulator(tmp_path / "state", ephemeral=True)
    made.set_up(_setup(lab))
    return made.start("input1", port=0)


def _setup(lab):
    from iotedge_lab.simulation import local_setup

    return local_setup(lab, lab._state, "own")


def test_a_port_that_is_taken(lab, tmp_path):
    """The error names who has it, and another port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = Simulator(tmp_path / "state", ephemeral=True).set_up(_setup(lab))
        with pytest.raises(PortTaken, match=f":{port} is taken by this|Port {port} is taken by") as refused:
            made.start("input1", port=port)
        assert "simulator start --port" in str(refused.value)
    assert not made.is_running


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        (("input1", ""), "An input has no name"),
        (("in put",), "'in put' cannot be an input's name"),
        (("a/b",), "'a/b' cannot be an input's name"),
        (('x")',), "cannot be an input's name"),
    ],
)
def test_inputs_that_are_none(tmp_path, inputs, word):
    """Before anything is started."""
    with pytest.raises(UsageError) as refused:
        Simulator(tmp_path / "state").start(*inputs)
    assert word in str(refused.value)


def test_one_that_does_not_run(tmp_path):
    """Asking says how to start it; stopping is no error."""
    made = Simulator(tmp_path / "state")
    with pytest.raises(HubNotRunning, match="iotedge-lab simulator start"):
        made.status()
    with pytest.raises(HubNotRunning):
        made.post("x")
    assert made.stop() is False
    assert repr(made) == "Simulator(stopped)"
    with pytest.raises(UsageError, match=r"Please run 'iotedge-lab simulator setup' first\."):
        _ = made.device


def test_a_damaged_setup(tmp_path):
    """It says how to write it anew."""
    made = Simulator(tmp_path)
    made.folder.prepare()
    (made.folder.path / "setup.json").write_text("{")
    with pytest.raises(UsageError, match="Invalid config file"):
        made.folder.read_setup()


# -- without the hub --------------------------------------------------------------------------------------


def test_without_the_hub(tmp_path):
    """Once the device is known all works offline: a module that comes, its twin, a simulator that starts."""
    folder = module(tmp_path, MIRROR)
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        lab.rest()
        simulator = lab.simulator("input1", port=0)
        path = f"/twins/{DEVICE}/modules/target"
        lab.crash()
        with simulator.run(folder) as running:
            running.wait_for("ready")
            simulator.post("offline")
            got = simulator.wait_for_outputs(2)
            assert {each.output for each in got} == {"twin", "input1"}
        simulator.stop()
        simulator.start("input1", port=0)
        assert "cannot be asked" in simulator.status()["trouble"]
        with simulator.run(folder) as running:
            running.wait_for("ready")
            simulator.post("started offline")
            got = {each.output: each.data for each in simulator.wait_for_outputs(2)}
            assert got["input1"] == "started offline"
            lab.start()
            lab.rest().call("PATCH", path, {"properties": {"desired": {"back": True}}})
            told = simulator.wait_for_outputs()
            assert told[0].data["back"] is True
        simulator.stop()


def test_the_first_start_needs_the_hub(tmp_path):
    """For the module's identity: the error says that the hub is away, and nothing runs then."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        made = Simulator(tmp_path / "own", ephemeral=True).set_up(_setup(lab))
        lab.stop()
        with pytest.raises(EnvironmentProblem, match="no hub listens there"):
            made.start("input1", port=0)
        assert not made.is_running
