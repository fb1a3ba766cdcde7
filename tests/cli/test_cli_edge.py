"""edge: an edge device's life from the terminal, with a scaffolded solution on it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from iotedge_lab.cli import main
from iotedge_lab.cli.following import LogFollower
from iotedge_lab.edge.runtime.client import edge_path
from iotedge_lab.edge.runtime.place import RuntimeFolder
from iotedge_lab.edges import EdgeStatus, Runtime
from iotedge_lab.lab import Lab

COMMAND = [sys.executable, "-m", "iotedge_lab"]
HEAD = "Name        Type                    Specified in deployment  Reported by device  Runtime status  Exit code"


@pytest.fixture(scope="module")
def solution(tmp_path_factory):
    """A scaffolded solution with the module MyModule."""
    folder = tmp_path_factory.mktemp("edge") / "Solution"
    assert CliRunner().invoke(main, ["solution", "new", str(folder), "--module", "MyModule"]).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def edge_hub(tmp_path_factory):
    """A hub of these tests' own: they stop it."""
    with Lab.open(tmp_path_factory.mktemp("edge-hub") / "state", ephemeral=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def there(edge_hub):
    """`--state` of that hub; its edge runtime is stopped in the end."""
    words = ("--state", str(edge_hub.state_dir))
    yield words
    CliRunner().invoke(main, ["edge", "down", *words])


@pytest.fixture(scope="module")
def car(edge_hub, there, solution):
    """The edge device car1, deployed to and up, its module running."""
    run = CliRunner()
    manifest = str(solution / "deployment.template.json")
    said = []
    for words in (
        ("device", "create", "car1", "--edge"),
        ("edge", "deploy", "car1", manifest),
        ("edge", "up", "car1", "--modules", str(solution / "modules")),
    ):
        result = run.invoke(main, [*words, *there])
        assert result.exit_code == 0, result.output
        said.append(result.output)
    until(edge_hub, "car1", lambda status: status.modules.get("MyModule", {}).get("connected"))
    return said


def until(lab, device, met):
    """Wait until the runtime says so of a device."""
    deadline = time.monotonic() + 60
    while True:
        runtime = Runtime.find(lab.state_dir)
        status = EdgeStatus(runtime.client.call("GET", edge_path(device))) if runtime else None
        if status is not None and met(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


# -- one that runs ----------------------------------------------------------------------------------------


def test_deployed_and_up(car, edge_hub):
    """From nothing but the solution's folder: the words of each step, and the table of the portal."""
    created, deployed, up = car
    assert created == "created Edge device car1\n"
    assert deployed == f"deployed MyModule to car1 ({edge_hub.hostname})\n"
    assert up.splitlines()[0] == HEAD
    assert up.splitlines()[-1].startswith("GatewayHostName of its leaf devices: ")


def test_status(car, there, cli):
    """For a person and for a program; one device and all."""
    shown = cli("edge", "status", "car1", *there).stdout.splitlines()
    assert shown[0] == HEAD
    rows = {line.split()[0]: line.split()[-2:] for line in shown[1:4]}
    assert rows == {
        "$edgeAgent": ["running", "0"],
        "$edgeHub": ["running", "0"],
        "MyModule": ["running", "0"],
    }
    assert any(line.startswith("car1: connected to the hub") for line in shown)  # a message may wait below it
    assert cli("edge", "status", *there).stdout.splitlines()[0] == HEAD
    one = json.loads(cli("edge", "status", "car1", "--json", *there).stdout)
    (same,) = json.loads(cli("edge", "status", "--json", *there).stdout)
    assert (one["device"], same["device"], one["connected"]) == ("car1", "car1", True)
    assert "SharedAccessKey" not in json.dumps(one)


def test_the_labs_status_knows_of_it(car, there, cli):
    """`iotedge-lab status` names edge devices."""
    assert "edge devices     car1 (connected)" in cli("status", *there).stdout
    assert json.loads(cli("status", "--json", *there).stdout)["edges"] == [
        {"device": "car1", "connected": True}
    ]


def test_up_again(car, there, cli, edge_hub):
    """It runs on as it was, its folder of modules remembered."""
    before = until(edge_hub, "car1", lambda status: True).modules["MyModule"]["lastStartTimeUtc"]
    assert cli("edge", "start", "car1", *there).exit_code == 0
    assert until(edge_hub, "car1", lambda status: True).modules["MyModule"]["lastStartTimeUtc"] == before


def test_logs(car, there, cli):
    """The last lines, and none of a module that is not there."""
    whole = cli("edge", "logs", "car1", "MyModule", *there).stdout
    assert "Sending event at" in whole
    assert (
        cli("edge", "logs", "car1", "MyModule", "--tail", "1", *there).stdout
        == whole.splitlines(keepends=True)[-1]
    )
    wrong = cli("edge", "logs", "car1", "Nix", *there)
    assert wrong.exit_code == 1
    assert "no log of a module 'Nix'" in wrong.stderr


def test_logs_as_they_come(car, there, edge_hub):
    """--follow goes on until Ctrl-C."""
    log = RuntimeFolder(edge_hub.state_dir).path / "car1" / "logs" / "MyModule.log"
    command = [*COMMAND, "edge", "logs", "car1", "MyModule", "--follow", "--tail", "1", *there]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert "Sending event at" in process.stdout.readline()
            with log.open("a") as stream:
                stream.write("2026-11-26T02:00:00.000000Z stdout one more line\n")
            assert process.stdout.readline() == "one more line\n"
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130


def test_offline_and_online(car, there, cli, edge_hub):
    """The link is cut when the command returns; what waits is seen."""
    said = cli("edge", "offline", "car1", *there)
    assert (
        said.stdout
        == f"car1 is offline; 'iotedge-lab edge online car1 --state {edge_hub.state_dir}' ends that\n"
    )
    assert "car1: offline on purpose" in cli("edge", "status", "car1", *there).stdout
    assert cli("edge", "online", "car1", *there).stdout == "car1 is online\n"
    until(edge_hub, "car1", lambda status: status.connected)


def test_metrics(car, there, cli):
    """Prometheus text."""
    assert 'edgehub_connected_clients{edge_device="car1"' in cli("edge", "metrics", "car1", *there).stdout


def test_a_manifest_that_is_refused(car, there, cli, solution, tmp_path):
    """All that is wrong is told, and the device goes on with what it had."""
    content = json.loads((solution / "deployment.template.json").read_text())
    content["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["MyModule"]["restartPolicy"] = (
        "seldom"
    )
    content["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]["bad"] = "FROM"
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    version = json.loads(cli("edge", "status", "car1", "--json", *there).stdout)["desiredVersion"]
    result = cli("edge", "deploy", "car1", str(tmp_path / "wrong.json"), *there, env={"INTERVAL": "1"})
    assert result.exit_code == 1
    assert "has 2 problems" in result.stderr
    assert json.loads(cli("edge", "status", "car1", "--json", *there).stdout)["desiredVersion"] == version


def test_notes_of_a_manifest(car, there, cli, solution, tmp_path):
    """What has no effect here is said, and the rest is deployed."""
    content = json.loads((solution / "deployment.template.json").read_text())
    content["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["MyModule"]["settings"][
        "createOptions"
    ] = {"HostConfig": {"Privileged": True}}
    (tmp_path / "notes.json").write_text(json.dumps(content))
    cli("device", "create", "noted", "--edge", *there)
    result = cli("edge", "deploy", "noted", str(tmp_path / "notes.json"), *there, env={"INTERVAL": "1"})
    assert result.exit_code == 0
    assert "note: " in result.stderr
    assert "Privileged" in result.stderr


# -- what is not there ------------------------------------------------------------------------------------


def test_devices_that_are_none(car, there, cli):
    """One that is not registered, one that is no edge device, one that does not run here."""
    cli("device", "create", "leaf", *there)
    for words, word in (
        (("up", "nix"), "404 DeviceNotFound"),
        (("up", "leaf"), "is no edge device"),
        (("status", "nix"), "No edge device 'nix' runs here"),
        (("stop", "nix"), "No edge device 'nix' runs here"),
        (("offline", "nix"), "No edge device 'nix' runs here"),
        (("deploy", "nix", "nix.json"), "There is no file nix.json"),
    ):
        result = cli("edge", *words, *there)
        assert result.exit_code == 1
        assert word in result.stderr


def test_parents(car, there, cli, edge_hub):
    """A leaf device lies in its parent's scope, an edge device has its own below it."""
    rest = edge_hub.rest()
    scope = rest.call("GET", "/devices/car1")["deviceScope"]
    assert cli("device", "create", "leaf1", "--parent", "car1", *there).exit_code == 0
    assert cli("device", "create", "edge1", "--edge", "--parent", "car1", *there).exit_code == 0
    assert rest.call("GET", "/devices/leaf1")["deviceScope"] == scope
    below = rest.call("GET", "/devices/edge1")
    assert (below["parentScopes"], below["deviceScope"] == scope) == ([scope], False)
    wrong = cli("device", "create", "leaf2", "--parent", "leaf1", *there)
    assert "'leaf1' is no edge device" in wrong.stderr
    assert cli("device", "create", "leaf2", "--parent", "nix", *there).exit_code == 1
    assert cli("device", "create", "car1", "--module", "m", "--parent", "edge1", *there).exit_code == 2


def test_nothing_runs(cli, tmp_path):
    """Each command says how to start it; `down` and `status` are no errors."""
    mine = ("--state", str(tmp_path / "s"))
    for words in (("offline", "x"), ("online", "x"), ("logs", "x", "M"), ("stop", "x"), ("metrics", "x")):
        result = cli("edge", *words, *mine)
        assert result.exit_code == 1
        assert "no edge runtime runs here. Start it with 'iotedge-lab edge up DEVICE" in result.stderr
    assert cli("edge", "down", *mine).stdout == "no edge runtime runs here\n"
    status = cli("edge", "status", *mine)
    assert (status.exit_code, status.stdout) == (3, "no edge runtime runs here\n")
    assert cli("edge", "status", "--json", *mine).stdout == "[]\n"
    assert cli("edge", "up", "x", *mine).exit_code == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5", "of a back end"),
        ("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5", "of a module"),
        ("HostName=h;DeviceId=d;x509=true", "by certificate"),
        ("HostName=127.0.0.1;DeviceId=d;SharedAccessKey=no key", "is not base64"),
    ],
)
def test_run_with_a_string_that_is_none(cli, tmp_path, text, word):
    """It says which one is needed, and starts nothing."""
    result = cli("edge", "run", "-c", text, "--state", str(tmp_path / "s"))
    assert result.exit_code == 1
    assert word in result.stderr
    assert not RuntimeFolder(tmp_path / "s").locked()


# -- in the foreground ------------------------------------------------------------------------------------


def test_run_in_the_foreground(car, there, cli, edge_hub, solution):
    """From its connection string alone: logs and changes are printed, Ctrl-C stops the modules in order."""
    cli("device", "create", "front", "--edge", *there)
    cli("edge", "deploy", "front", str(solution / "deployment.template.json"), *there)
    text = edge_hub.device_connection_string("front")
    command = [*COMMAND, "edge", "run", "--modules", str(solution / "modules"), *there]
    environment = {**os.environ, "EDGE_CONNECTION_STRING": text}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            said = ""
            while "Sending event at" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            assert said.startswith("edge device front runs; its gateway is 127.")
            assert "MyModule | " in said
            assert text not in said
            again = cli("edge", "run", "-c", text, *there)
            assert "front runs here already" in again.stderr
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert rest.endswith("stopped front\n")
    assert [each.raw["device"] for each in Runtime.find(edge_hub.state_dir).edges()] == ["car1"]


def test_run_without_a_runtime(car, there, cli, edge_hub, tmp_path):
    """It is this command's then, and ends with it; a hub of another state folder is trusted by SSL_CERT_FILE."""
    cli("device", "create", "lonely", "--edge", *there)
    mine = ("--state", str(tmp_path / "s"))
    environment = {**os.environ, "SSL_CERT_FILE": str(edge_hub.ca_file)}
    command = [*COMMAND, "edge", "run", "-c", edge_hub.device_connection_string("lonely"), *mine]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            said = ""
            while "connected to the hub" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest.splitlines()[-1]) == (0, "stopped lonely")
    assert not RuntimeFolder(tmp_path / "s").locked()


# -- its end, so these come last --------------------------------------------------------------------------


def test_down_and_up_without_the_hub(car, there, cli, edge_hub):
    """`down` stops all that runs here; a device that ran comes up again while its hub is away."""
    down = cli("down", *there)
    assert down.stdout.splitlines()[0] == "stopped the edge runtime with car1"
    assert down.stdout.splitlines()[1].startswith(f"stopped {edge_hub.hostname}")
    edge_hub.stop()  # it runs no more; its process was this one's child, and is seen to
    up = cli("edge", "up", "car1", *there)
    assert up.exit_code == 0, up.output
    assert "note: no hub runs on" in up.stderr
    assert "car1 runs as it did before" in up.stderr
    until(edge_hub, "car1", lambda status: status.modules["MyModule"]["connected"])
    status = cli("status", *there)
    assert (status.exit_code, "car1 (not connected)" in status.stdout) == (3, True)
    edge_hub.start()
    until(edge_hub, "car1", lambda status: status.connected and status.waiting == 0)


def test_stop(car, there, cli, edge_hub):
    """The device is gone, and the runtime stays until it is told to go."""
    if Runtime.find(edge_hub.state_dir) is None:
        cli("edge", "up", "car1", *there)
    assert cli("edge", "stop", "car1", *there).stdout == "stopped car1\n"
    status = cli("edge", "status", *there)
    assert (status.exit_code, status.stdout) == (3, "the edge runtime runs, and hosts no edge device\n")
    assert cli("edge", "down", *there).stdout == "stopped the edge runtime\n"


# -- following a log --------------------------------------------------------------------------------------


def _line(text):
    return f"2026-11-26T02:00:00.000000Z stdout {text}\n"


def test_a_log_that_rotates(tmp_path):
    """Nothing is lost and nothing comes twice; half a line waits for its end."""
    file = tmp_path / "M.log"
    follower = LogFollower(file)
    with contextlib.closing(follower):
        assert list(follower.lines()) == []
        file.write_text(_line("one") + _line("two")[:-3])
        assert list(follower.lines()) == ["one"]
        with file.open("a") as stream:
            stream.write("wo\n" + _line("three"))
        assert list(follower.lines()) == ["two", "three"]
        with file.open("a") as stream:
            stream.write(_line("four"))
        file.rename(tmp_path / "M.log.1")
        assert list(follower.lines()) == ["four"]
        file.write_text(_line("five"))
        assert list(follower.lines()) == ["five"]
        file.write_text("")
        assert list(follower.lines()) == []
        with file.open("a") as stream:
            stream.write(_line("six") + "no line at all\n")
        assert list(follower.lines()) == ["six"]


def test_a_log_from_a_place_on(tmp_path):
    """What an earlier run has written is not told again."""
    file = tmp_path / "M.log"
    file.write_text(_line("old"))
    with contextlib.closing(LogFollower(file, file.stat().st_size)) as follower:
        assert list(follower.lines()) == []
        with file.open("a") as stream:
            stream.write(_line("new"))
        assert list(follower.lines()) == ["new"]
