"""simulator: the words of iotedgehubdev, and a stock module run from a plain terminal."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

import iotedge_lab
from iotedge_lab.cli import main
from iotedge_lab.hub.state import StateFolder
from iotedge_lab.simulation import DEVICE, Simulator

ECHO = Path(iotedge_lab.__file__).parent / "modules" / "EchoModule"
COMMAND = [sys.executable, "-m", "iotedge_lab"]


@pytest.fixture(scope="module")
def running(hub):
    """The simulator of that hub, started by the command; what it said."""
    words = ["--state", str(hub.state_dir)]
    result = CliRunner().invoke(main, ["simulator", "start", "-i", "input-echo, input2", "-p", "0", *words])
    assert result.exit_code == 0, result.output
    yield result
    result = CliRunner().invoke(main, ["simulator", "stop", *words])
    assert result.stdout == "IoT Edge Simulator has been stopped successfully.\n"


def test_it_says_what_iotedgehubdev_says(running, hub, state):
    """The lines of the blog, with this command's name."""
    url = Simulator(hub.state_dir).url
    said = running.stdout.splitlines()
    header, data = '"Content-Type: application/json"', '{"inputName": "input-echo","data":"hello world"}'
    modulecred = f"iotedge-lab simulator modulecred --state {hub.state_dir}"
    assert said[:7] == [
        "IoT Edge Simulator has been started in single module mode.",
        f"Please run `{modulecred}` to get credential to connect your module.",
        "And send message through:",
        "",
        f"        curl --header {header} --request POST --data '{data}' {url}",
        "",
        "Please refer to https://github.com/Azure/iot-edge-testing-utility/blob/master/swagger.json for detail schema",
    ]


@pytest.mark.skipif(shutil.which("xargs") is None, reason="the line of the blog needs xargs")
def test_a_module_from_a_plain_terminal(running, hub, state, cli):
    """`env $(... modulecred | xargs) python main.py` runs a stock module, and curl's POST reaches it."""
    words = " ".join(COMMAND)
    line = (
        f"exec env $({words} simulator modulecred --state {hub.state_dir} | xargs) {sys.executable} main.py"
    )
    # Without what the SDKs find the hub by, as in a fresh terminal.
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        ["sh", "-c", line], cwd=ECHO, env=bare, stdout=subprocess.PIPE, text=True
    ) as module:
        try:
            first = cli("simulator", "outputs", "--count", "1", "--timeout", "60", *state)
            assert first.exit_code == 0, first.output
            assert " output-echo: Sending event at " in first.stdout
            said = json.dumps({"inputName": "input-echo", "data": "hello world", "properties": {"a": 1}})
            request = urllib.request.Request(
                Simulator(hub.state_dir).url,
                said.encode(),
                {"Content-Type": "application/json"},
                method="POST",
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert (answer.status, json.load(answer)) == (202, {"message": "accepted"})
            both = cli("simulator", "outputs", "--count", "2", "--timeout", "60", *state).stdout.splitlines()
            assert both[1].endswith(' output-echo: "hello world"  (a=1)')
            found = [
                json.loads(each) for each in cli("simulator", "outputs", "--json", *state).stdout.splitlines()
            ]
            assert [(each["number"], each["bodyEncoding"]) for each in found] == [(1, "text"), (2, "json")]
            assert (found[1]["body"], found[1]["properties"]) == ("hello world", {"a": "1"})
            shown = dict(
                line.split("  ", 1) for line in cli("simulator", "status", *state).stdout.splitlines()
            )
            assert shown["module"].strip() == "connected"
            assert shown["posted"].strip() == "1 (0 waiting)"
        finally:
            module.terminate()
            module.communicate(timeout=30)
    assert module.returncode == 0


def test_modulecred(running, hub, state, cli, tmp_path):
    """Two lines, and the same in a file that is its owner's alone."""
    result = cli("simulator", "modulecred", "--local", "-o", str(tmp_path / "x" / ".env"), *state)
    first, second, *rest = result.stdout.splitlines()
    assert first.startswith(f"EdgeHubConnectionString=HostName={hub.hostname};GatewayHostName=")
    assert f";DeviceId={DEVICE};ModuleId=target;SharedAccessKey=" in first
    assert second == f"EdgeModuleCACertificateFile={hub.state_dir}/certificates/lab-ca.pem"
    assert all("proxy" in each.lower() for each in rest)  # where 443 could not be bound
    file = tmp_path / "x" / ".env"
    assert file.read_text() == result.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    several = cli("simulator", "modulecred", "-m", "one|two", *state).stdout
    assert ("ModuleId=one;" in several, "|HostName=" in several) == (True, True)


def test_a_second_start(running, state, cli):
    """It says what runs, and how to stop it."""
    result = cli("simulator", "start", *state)
    assert result.exit_code == 1
    assert "runs already, for one module with the inputs input-echo, input2. Stop it first" in result.stderr


def test_logs_are_for_solutions(running, state, cli):
    """A module that is run by hand writes where it is run."""
    assert "you run the module yourself" in cli("simulator", "logs", "target", *state).stderr


def test_setup_while_it_runs(running, hub, state, cli):
    """The next start goes by it."""
    result = cli("simulator", "setup", *state)
    assert result.stdout == "Setup IoT Edge Simulator successfully.\n"
    assert "goes on as it was" in result.stderr


# -- setting up -------------------------------------------------------------------------------------------


def test_setup_with_a_connection_string(hub, cli, tmp_path):
    """Of an edge device of a person's; it is kept for its owner alone."""
    text = hub.device_connection_string(_device(hub, "theirs"))
    mine = ("--state", str(tmp_path / "s"))
    assert cli("simulator", "setup", "-c", text, "-g", "127.0.0.99", *mine).stdout.endswith("successfully.\n")
    setup = Simulator(tmp_path / "s").folder.read_setup()
    assert (setup.connection_string, setup.gateway, setup.local) == (text, "127.0.0.99", False)
    assert stat.S_IMODE((tmp_path / "s" / "simulator" / "setup.json").stat().st_mode) == 0o600
    assert text not in repr(setup)
    assert not StateFolder(tmp_path / "s").locked()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5", "of a back end"),
        ("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5", "of a module"),
        ("nonsense", "has no '='"),
    ],
)
def test_setup_with_another_string(cli, tmp_path, text, word):
    """It says which one it is, and where the right one is found."""
    result = cli("simulator", "setup", "-c", text, "--state", str(tmp_path / "s"))
    assert result.exit_code == 1
    assert word in result.stderr
    assert not (tmp_path / "s" / "simulator").exists()


def _device(hub, name):
    hub.rest().call("PUT", f"/devices/{name}", {"deviceId": name, "capabilities": {"iotEdge": True}})
    return name


# -- misuse -----------------------------------------------------------------------------------------------


def test_what_does_not_run(cli, tmp_path):
    """Each command says how to start it, status by its exit status; stopping is no error."""
    mine = ("--state", str(tmp_path / "s"))
    for words in (("modulecred",), ("outputs",), ("logs", "M")):
        result = cli("simulator", *words, *mine)
        assert result.exit_code == 1
        assert "The simulator does not run. Start it with 'iotedge-lab simulator start'" in result.stderr
    assert cli("simulator", "stop", *mine).stdout == "no simulator runs\n"
    assert (cli("simulator", "status", *mine).exit_code, cli("simulator", "status", *mine).stdout) == (
        3,
        "simulator  not running\n",
    )
    assert json.loads(cli("simulator", "status", "--json", *mine).stdout) == {"running": False}


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("-d", "nix.json"), "There is no file nix.json"),
        (("-d", "."), "is a folder"),
        (("-i", "a b"), "'a b' cannot be an input's name"),
        (("-i", "a,,b"), "An input has no name"),
    ],
)
def test_nothing_is_started_for_a_wrong_command_line(cli, tmp_path, monkeypatch, words, word):
    """Not even a hub."""
    monkeypatch.chdir(tmp_path)
    result = cli("simulator", "start", *words, "--state", str(tmp_path / "s"))
    assert result.exit_code == 1
    assert word in result.stderr
    assert not StateFolder(tmp_path / "s").locked()


def test_a_hub_is_started_where_there_is_none(cli, tmp_path):
    """setup says so, and `down` stops both."""
    mine = ("--state", str(tmp_path / "s"))
    try:
        result = cli("simulator", "start", "-p", "0", "-i", "input1", "-d", "ignored.json", *mine)
        assert result.exit_code == 0, result.output
        assert "The local hub is started: " in result.stderr
        assert "Deployment manifest is ignored when inputs are present." in result.stdout
        assert Simulator(tmp_path / "s").is_running
    finally:
        down = cli("down", *mine)
    assert down.stdout.startswith("stopped the simulator\nstopped ")
    assert not Simulator(tmp_path / "s").is_running


# -- in the foreground ------------------------------------------------------------------------------------


def foreground(*words):
    return subprocess.Popen(
        [*COMMAND, "simulator", "start", "-v", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def until(process, word):
    """What it has printed up to a line with this word in it."""
    said = ""
    for line in process.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(said)


def ended(process):
    """Press Ctrl-C; what came after, and the exit status."""
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return rest, process.returncode


def set_up(hub, device, state):
    """Have the simulator of a state folder act as a device of `hub`, which it trusts by SSL_CERT_FILE."""
    text = hub.device_connection_string(_device(hub, device))
    words = ["simulator", "setup", "-c", text, "--state", str(state)]
    assert CliRunner(env={"SSL_CERT_FILE": str(hub.ca_file)}).invoke(main, words).exit_code == 0


def test_one_module_in_the_foreground(hub, tmp_path):
    """-v prints what the module sends; Ctrl-C stops the simulator in order."""
    state = tmp_path / "s"
    set_up(hub, "foreground", state)
    made = Simulator(state)
    code = """
        from azure.iot.device import IoTHubModuleClient
        client = IoTHubModuleClient.create_from_edge_environment()
        client.connect()
        client.send_message_to_output("from the module", "out")
        client.shutdown()
    """
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "main.py").write_text(textwrap.dedent(code))
    with foreground("-p", "0", "--state", str(state)) as process:
        try:
            until(process, "printed below")
            with made.run(tmp_path / "m") as module:
                assert module.wait(timeout=60) == 0, module.output
            assert until(process, "from the module").splitlines()[-1].endswith(" out: from the module")
            rest, status = ended(process)
        finally:
            process.kill()
    assert (rest, status) == ("IoT Edge Simulator has been stopped successfully.\n", 0)
    assert not made.is_running


def test_a_solution_in_the_foreground(hub, cli, tmp_path):
    """The modules' logs with their names before them; the simulator that is stopped elsewhere ends the command."""
    state = tmp_path / "s"
    set_up(hub, "whole", state)
    assert cli("solution", "new", str(tmp_path / "S"), "--module", "Mine").exit_code == 0
    manifest = tmp_path / "S" / "deployment.template.json"
    with foreground("-d", str(manifest), "--state", str(state)) as process:
        try:
            said = until(process, "Sending event at")
            assert "IoT Edge Simulator has been started in solution mode. Ctrl-C stops it." in said
            assert "Mine | " in said
            shown = cli("simulator", "status", "--state", str(state)).stdout
            assert f"solution {manifest}" in shown
            assert "Mine " in shown
            assert "Sending event at" in cli("simulator", "logs", "Mine", "--state", str(state)).stdout
            wrong = cli("simulator", "logs", "Nix", "--state", str(state))
            assert "The solution has no module 'Nix'; it has Mine." in wrong.stderr
            assert cli("simulator", "stop", "--state", str(state)).exit_code == 0
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert rest.endswith("The simulator has ended.\n")
    assert process.returncode == 0
