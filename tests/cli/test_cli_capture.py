"""capture: started, asked and stopped from the terminal, with a real hub."""

import json
import time

import pytest
from hub_clients import RawDevice

from iotedge_lab.capture import Capture
from iotedge_lab.lake.reading import Lake


@pytest.fixture
def stopped(hub):
    """No capture of a test outlives it."""
    yield
    Capture(hub.state_dir).stop()


def test_it_runs_until_it_is_stopped(hub, state, cli, stopped, tmp_path):
    """Each command says what it did, in words and for programs."""
    hub.rest().call("PUT", "/devices/captured", {})
    status = cli("capture", "status", *state)
    assert (status.exit_code, status.stdout) == (3, "capture  never ran here\n")
    assert "iotedge-lab capture start --state" in status.stderr
    assert cli("capture", "stop", *state).stdout == "no capture runs\n"
    begun = cli("capture", "start", *state, "--lake", str(tmp_path / "lake"), "--every", "0.1")
    assert begun.exit_code == 0, begun.output
    assert begun.stdout == f"capturing {hub.hostname} into {tmp_path}/lake\n"
    with RawDevice(hub, "captured") as raw:
        raw.send(b"hello")
    Capture(hub.state_dir).wait()
    deadline = time.monotonic() + 60
    while (told := json.loads(cli("capture", "status", *state, "--json").stdout))["behind"] != 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (told["running"], told["state"]) == (True, "capturing")
    assert told["rows"]["rejected"] >= 1
    shown = cli("capture", "status", *state)
    assert shown.exit_code == 0
    assert "not yet written    0" in shown.stdout
    assert "SharedAccessKey" not in shown.stdout
    again = cli("capture", "start", *state, "--lake", str(tmp_path / "lake"), "--every", "0.1")
    assert json.loads(cli("capture", "status", *state, "--json").stdout)["pid"] == told["pid"]
    assert again.exit_code == 0
    ended = cli("capture", "stop", *state)
    assert ended.exit_code == 0
    assert f"rows are in {tmp_path}/lake" in ended.stdout
    assert cli("capture", "status", *state).exit_code == 3
    assert b"hello" in list(Lake(tmp_path / "lake").frame("rejected")["body"])


def test_what_it_refuses(hub, state, cli, tmp_path):
    """A group that is not there, an option that is none, a lake that another capture has, no hub."""
    nobodys = cli("capture", "start", *state, "--consumer-group", "nobodys")
    assert (nobodys.exit_code, "no consumer group 'nobodys'" in nobodys.stderr) == (1, True)
    wrong = cli("capture", "start", *state, "--storage-option", "key")
    assert (wrong.exit_code, "NAME=VALUE" in wrong.stderr) == (1, True)
    with Capture(tmp_path / "other", ephemeral=True) as other:
        other.open(hub.events_connection_string)
        taken = cli("capture", "start", *state, "--lake", other.lake.uri)
        assert (taken.exit_code, "Another capture writes" in taken.stderr) == (1, True)
    away = cli("capture", "start", "--state", str(tmp_path / "none"))
    assert (away.exit_code, "no hub runs" in away.stderr) == (1, True)
