"""up, down, status, env, reset: on real processes."""

import json
import os
import signal
import subprocess
import sys

import pytest

from iotedge_lab.hub.state import StateFolder


def lines(result):
    """`name  value` lines as a dictionary."""
    return dict(line.split("  ", 1) for line in result.stdout.splitlines() if "  " in line)


def test_a_hub_lives_and_ends(cli, tmp_path):
    """up starts it, again says so, status and down tell the truth before and after."""
    state = ("--state", str(tmp_path / "state"))
    assert cli("status", *state).exit_code == 3
    up = cli("up", *state)
    try:
        assert up.exit_code == 0, up.output
        told = StateFolder(tmp_path / "state").read()
        assert f"{told.hostname} (started, process {told.pid})" in up.stdout
        assert up.stdout.endswith(f'Next: eval "$(iotedge-lab env --state {tmp_path}/state)"\n')
        again = cli("up", *state, "--partitions", "4")
        assert again.exit_code == 0
        assert f"{told.hostname} (runs already, process {told.pid})" in again.stdout
        assert "--partitions did nothing" in again.stderr
        assert cli("status", *state).exit_code == 0
    finally:
        down = cli("down", *state)
    assert (down.exit_code, down.stdout) == (0, f"stopped {told.hostname} (process {told.pid})\n")
    assert cli("down", *state).stdout == f"no hub runs on {tmp_path}/state\n"
    after = cli("status", *state)
    assert (after.exit_code, after.stdout) == (3, f"hub    not running\nstate  {tmp_path}/state\n")
    assert json.loads(cli("status", *state, "--json").stdout) == {
        "running": False,
        "state": f"{tmp_path}/state",
    }


def test_up_says_why_it_cannot(cli, tmp_path):
    """The hub's own words come through."""
    result = cli("up", "--state", str(tmp_path / "s"), "--host", "10.0.0.1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 10.0.0.1 would let other machines in")


def test_foreground_serves_until_ctrl_c(tmp_path):
    """In this process: it says where it is, logs, and stops in order with status 0."""
    command = [sys.executable, "-m", "iotedge_lab", "up", "--foreground", "--state", str(tmp_path / "s")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while "Ctrl-C stops the hub" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            assert StateFolder(tmp_path / "s").locked()
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert " stops" in rest
    assert "Traceback" not in said + rest
    assert not StateFolder(tmp_path / "s").locked()


def test_foreground_on_a_folder_in_use_says_so_once(hub, state):
    """The error, status 1, and no log line that repeats it."""
    command = [sys.executable, "-m", "iotedge_lab", "up", "--foreground", *state]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    assert ran.stderr.count("another hub runs on") == 1
    assert ran.stderr.startswith("error: ")


def test_status_counts(hub, state, cli):
    """What the hub holds, for people and for programs."""
    hub.reset()
    cli("device", "create", "one", *state)
    cli("device", "create", "two", "--disabled", *state)
    shown = lines(cli("status", *state))
    assert shown["hostname"].strip() == hub.hostname
    assert shown["devices"].strip() == "2 (1 disabled)"
    assert shown["messages"].strip() == "0"
    assert shown["partitions"].strip() == "2 (0: 0, 1: 0)"
    found = json.loads(cli("status", *state, "--json").stdout)
    assert (found["running"], found["hostname"], found["devices"]) == (True, hub.hostname, 2)
    assert found["ports"]["mqtt"] == 8883
    endpoint = hub.storage_connection_string.split("BlobEndpoint=")[1].rstrip(";")
    assert found["storage"] == {"endpoint": endpoint, "running": False}
    assert shown["storage"].strip() == f"{endpoint} (starts when it is used)"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_env_can_be_evaluated(hub, state, cli, shell):
    """In sh and in bash, each variable comes out as it was meant."""
    result = cli("env", *state)
    assert result.exit_code == 0
    code = f"{result.stdout}\nexec {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
    ran = subprocess.run([shell, "-eu", "-c", code], capture_output=True, text=True, check=True)
    got = json.loads(ran.stdout)
    wanted = hub.env() | {"IOTEDGE_LAB_STATE": str(hub.state_dir)}
    assert wanted
    assert {name: got.get(name) for name in wanted} == wanted


def test_env_for_the_default_folder_names_no_folder(hub, cli, monkeypatch):
    """Without --state later commands find it by themselves."""
    monkeypatch.setenv("IOTEDGE_LAB_STATE", str(hub.state_dir))
    names = [line.split("=")[0] for line in cli("env").stdout.splitlines()]
    assert names == [f"export {name}" for name in hub.env()]


def test_env_proxy(hub, state, cli):
    """The proxy's variables where the hub lacks 443, a note where it has it."""
    result = cli("env", "--proxy", *state)
    if StateFolder(hub.state_dir).read().port_443:
        assert "no proxy is needed" in result.stderr
    else:
        assert "export mqtt_proxy=http://" in result.stdout


def test_env_is_the_local_hubs_even_when_azure_is_set(hub, state, cli, monkeypatch):
    """It is the way back from Azure."""
    elsewhere = "HostName=x.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", elsewhere)
    assert hub.service_connection_string in cli("env", *state).stdout
    assert os.environ["IOTHUB_CONNECTION_STRING"] == elsewhere


def test_reset_asks_first(hub, state, cli):
    """No keeps everything; yes deletes and counts."""
    hub.reset()
    cli("device", "create", "kept", *state)
    no = cli("reset", *state, input="n\n")
    assert no.exit_code == 1
    assert f"Delete all devices, messages and consumer groups of {hub.hostname}" in no.stdout
    assert hub.status()["devices"] == 1
    yes = cli("reset", *state, input="y\n")
    assert yes.exit_code == 0
    assert yes.stdout.endswith(f"deleted 1 device of {hub.hostname}\n")
    assert cli("reset", "--yes", *state).stdout == f"deleted 0 devices of {hub.hostname}\n"
