"""Starting and finding a hub where something stands in the way."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from filelock import FileLock

from iotedge_lab import errors, launch
from iotedge_lab.errors import EnvironmentProblem, HubFailed, HubNotRunning, PortTaken, StateLocked
from iotedge_lab.hub import state as state_module
from iotedge_lab.hub.process import PORTS
from iotedge_lab.hub.state import HubFile, StateFolder
from iotedge_lab.lab import Lab
from iotedge_lab.launch import Settings
from iotedge_lab.serve import claims
from iotedge_lab.serve.addresses import free_address

TOLD = HubFile(
    hub_id="h", pid=1, host="127.0.0.1", hostname="localhost", mqtt_port=8883, amqp_port=5671, plain_amqp_port=5672,
    https_port=8443, proxy_port=1, port_443=False, started=1.0, version="0", keys={"iothubowner": "secret=="},
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    made = StateFolder(tmp_path / "state")
    made.prepare()
    return made


@contextlib.contextmanager
def _held(folder):
    """Another process holds the folder's lock."""
    program = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path / "hub.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == "held\n"
        yield holder


# -- the state folder ---------------------------------------------------------------------------------


def test_a_lock_that_cannot_be_written_is_no_traceback(folder):
    """A folder of another user's, or one on a file system that can only be read. (Root is stopped by no mode.)"""
    (folder.path / "hub.lock").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"hub\.lock cannot be written .* name another state folder"):
        folder.lock()


def test_the_lock_is_one(folder):
    """One hub a folder: the second is told who runs, and after the first has gone the lock is free."""
    with _held(folder):
        folder.write(TOLD)
        assert folder.locked()
        with pytest.raises(StateLocked, match="process 1, localhost"):
            folder.lock()
    assert not folder.locked()
    folder.lock()
    assert StateFolder(folder.path).locked()
    folder.unlock()
    assert not folder.locked()


def test_a_folder_that_is_not_there_is_not_locked(tmp_path):
    """Looking does not make it."""
    assert not StateFolder(tmp_path / "none").locked()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"hub_id": "x"',
        "[]",
        "null",
        '{"hub_id": "x"}',
        '{"from": "another version"}',
        "\x00\xff",
        "5",
    ],
)
def test_a_half_written_hub_json_is_none(folder, text):
    """Half a file, another version's or nonsense reads as none, and the next write replaces it."""
    (folder.path / "hub.json").write_bytes(text.encode("latin-1"))
    assert folder.read() is None
    folder.write(TOLD)
    assert folder.read() == TOLD
    assert "secret" not in repr(TOLD)


def test_a_hub_starts_over_a_half_written_hub_json(folder):
    """A power cut while it was written does not stand in the way."""
    (folder.path / "hub.json").write_text('{"hub_id": "ab')
    with Lab.open(folder.path, ephemeral=True) as lab:
        assert lab.status()["hub"] == json.loads((folder.path / "hub.json").read_text())["hub_id"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    """With a word on why and what to do."""
    monkeypatch.setattr(state_module, "file_system", lambda _: kind)
    with pytest.raises(EnvironmentProblem, match=kind) as caught:
        StateFolder(tmp_path / "state").prepare()
    assert "--state" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_file_system_of_a_folder(tmp_path):
    """It is that of the innermost mount that holds the path."""
    assert state_module.file_system(tmp_path)
    assert state_module.file_system(state_module.Path("/proc/self")) == "proc"


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_made(tmp_path, where):
    """A file in the way is told, from a hub process as well."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match="cannot be made"):
        StateFolder(tmp_path / where).prepare()
    with pytest.raises(EnvironmentProblem):
        Lab.open(tmp_path / where, ephemeral=True)


def test_the_default_folder(monkeypatch, tmp_path):
    """IOTEDGE_LAB_STATE names it, `~` included; without it the user's own."""
    monkeypatch.setenv("IOTEDGE_LAB_STATE", str(tmp_path / "named"))
    assert StateFolder().path == tmp_path / "named"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IOTEDGE_LAB_STATE", "~/below")
    assert StateFolder().path == tmp_path / "below"
    monkeypatch.delenv("IOTEDGE_LAB_STATE")
    assert "iotedge-lab" in str(StateFolder().path)


# -- starting -----------------------------------------------------------------------------------------


@pytest.fixture
def address():
    """A loopback address that no test uses otherwise, in this run or in one beside it."""
    if sys.platform != "linux":
        pytest.skip("further loopback addresses need Linux")
    return free_address(PORTS, first=200 + os.getpid() % 50)


@pytest.mark.parametrize("port", [8883, 5671, 5672, 8443])
def test_a_taken_port(tmp_path, address, port):
    """On an address that was asked for, a taken port is told by its number, and nothing stays behind."""
    with socket.create_server((address, port)), pytest.raises(PortTaken, match=str(port)):
        Lab.open(tmp_path / "state", ephemeral=True, settings=Settings(host=address))
    assert not StateFolder(tmp_path / "state").locked()
    with Lab.open(tmp_path / "state", ephemeral=True, settings=Settings(host=address)) as lab:
        assert lab.hostname == address


def test_where_no_address_was_asked_for_another_is_taken(tmp_path, address):
    """A hub whose old address is taken moves to a free one, and says so in its log."""
    with Lab.open(tmp_path / "state", ephemeral=True, settings=Settings(host=address)) as lab:
        hub = lab.status()["hub"]
    with socket.create_server((address, 8883)), Lab.open(tmp_path / "state", ephemeral=True) as lab:
        assert lab.hostname != address
        assert lab.status()["hub"] == hub
        assert f"{address} is taken" in (lab.state_dir / "hub.log").read_text()


def test_a_hub_that_says_no_is_told_in_its_words(folder):
    """A store of another version: the reason comes to who opened, as an error of ours."""
    (folder.path / "hub.db").write_bytes(
        b"this is no database at all, but it is long enough to be looked at" * 9
    )
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        Lab.open(folder.path, ephemeral=True)
    assert not folder.locked()


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("import sys; sys.exit('cannot import name')", "did not start"),
        ("print('hello')", "hello"),
        ("raise SystemExit", "it said nothing"),
    ],
)
def test_a_hub_that_does_not_come_up(folder, monkeypatch, program, word):
    """What the process said is in the error, with the place of its log."""
    real = subprocess.Popen
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda _, **more: real([sys.executable, "-c", program], **more)
    )
    with pytest.raises(HubFailed, match=word) as caught:
        launch.start(folder, Settings())
    assert "hub.log" in str(caught.value)


def test_a_hub_that_hangs_at_its_start_is_ended(folder, monkeypatch):
    """Nobody waits for ever."""
    real = subprocess.Popen
    started = []

    def popen(_, **more):
        started.append(real([sys.executable, "-c", "import time; time.sleep(1000)"], **more))
        return started[0]

    monkeypatch.setattr(launch.subprocess, "Popen", popen)
    monkeypatch.setattr(launch, "START_SECONDS", 0.5)
    with pytest.raises(HubFailed):
        launch.start(folder, Settings(), until_eof=True)
    assert started[0].poll() is not None


def test_an_error_that_is_unknown_is_still_told(folder, monkeypatch):
    """A word that this version does not know (a newer hub's) is a HubFailed with its message."""
    real = subprocess.Popen
    program = 'import json; print(json.dumps({"error": "Strange", "message": "the moon"}))'
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda _, **more: real([sys.executable, "-c", program], **more)
    )
    with pytest.raises(HubFailed, match="the moon"):
        launch.start(folder, Settings())


def test_the_settings_become_the_command_line(folder):
    """Each setting has its flag."""
    words = launch.arguments(
        folder.path, Settings(host="127.0.0.9", partitions=7, retention_days=0.5, fsync=True)
    )
    assert words == [
        "--state", str(folder.path), "--partitions", "7", "--retention-days", "0.5", "--host", "127.0.0.9", "--fsync",
    ]  # fmt: skip


def test_settings_reach_the_hub(tmp_path):
    """Four partitions, with fsync: it serves."""
    with Lab.open(tmp_path / "state", ephemeral=True, settings=Settings(partitions=4, fsync=True)) as lab:
        assert len(lab.status()["partitions"]) == 4


def test_the_hub_does_not_inherit_what_would_mislead_it(monkeypatch):
    """Neither trust nor proxies of a lab reach a hub; a proxy of the network's does."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "mqtt_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert not {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "mqtt_proxy", "HTTPS_PROXY", "https_proxy"} & set(
        launch._environment()
    )
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:8080")
    assert launch._environment()["HTTPS_PROXY"] == "http://proxy.example:8080"


# -- a hub that is there and is not ---------------------------------------------------------------------


def test_a_lock_without_a_hub_that_answers(folder, monkeypatch):
    """A folder that somebody holds, and no hub answers: told after a while, and nothing is killed."""
    monkeypatch.setattr(launch, "START_SECONDS", 0.3)
    monkeypatch.setattr(launch, "STOP_SECONDS", 0.3)
    with _held(folder) as holder:
        with pytest.raises(HubNotRunning, match="does not answer"):
            Lab.open(folder.path)
        assert holder.poll() is None


def test_a_second_hub_on_a_folder_is_refused_in_its_own_words(folder):
    """A hub process that finds the folder held ends, and says so as StateLocked."""
    with _held(folder), pytest.raises(StateLocked, match="another hub runs"):
        launch.start(folder, Settings(), until_eof=True)


def test_a_hub_that_is_just_starting_is_waited_for(folder):
    """While another process is bringing it up, `open` waits and then attaches."""
    with subprocess.Popen(
        [sys.executable, "-m", "iotedge_lab.hub", "--state", str(folder.path), "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        while not folder.locked():  # it has the lock long before it answers
            assert other.poll() is None
            time.sleep(0.001)
        with Lab.open(folder.path) as lab:
            assert lab._told.pid == other.pid


def test_a_frozen_hub_is_not_mistaken_for_a_living_one(tmp_path, monkeypatch):
    """A hub that is stopped by SIGSTOP does not answer, `open` says so, and `stop` still ends it."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        os.kill(lab._told.pid, signal.SIGSTOP)
        try:
            assert not launch.answers(lab._state, lab._told, timeout=0.3)
            monkeypatch.setattr(launch, "STOP_SECONDS", 0.5)
            monkeypatch.setattr(launch, "answers", lambda *_: False)
            with pytest.raises(HubNotRunning):
                Lab.open(tmp_path / "state")
            lab.stop()
            assert not psutil.pid_exists(lab._told.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(lab._told.pid, signal.SIGCONT)


def test_another_hub_on_the_same_address_is_not_ours(tmp_path):
    """Whoever answers at the old address with another certificate or id is not taken for this folder's hub."""
    with Lab.open(tmp_path / "one", ephemeral=True) as one, Lab.open(tmp_path / "two", ephemeral=True) as two:
        assert launch.answers(one._state, one._told)
        assert not launch.answers(two._state, one._told)
        assert not launch.answers(StateFolder(tmp_path / "nowhere"), one._told)


def test_no_process_is_killed_that_is_not_the_hub(folder):
    """hub.json may name a number that another process has by now: without the lock, nothing is ended."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as bystander:
        told = HubFile(**{**{name: getattr(TOLD, name) for name in TOLD.__slots__}, "pid": bystander.pid})
        folder.write(told)
        assert launch.stop(folder, told) is False
        with pytest.raises(HubNotRunning):
            launch.kill(folder, told)
        with _held(folder), pytest.raises(EnvironmentProblem, match=str(bystander.pid)):
            launch.kill(folder, told)
        assert bystander.poll() is None


def test_every_error_of_a_hub_has_a_class():
    """What `launch.start` looks up by name is there."""
    for name in ("PortTaken", "StateLocked", "EnvironmentProblem", "HubFailed"):
        assert issubclass(getattr(errors, name), errors.LabError)


def test_a_probe_does_not_disturb(folder):
    """Looking whether the folder is locked, many times, leaves it free."""
    for _ in range(50):
        assert not folder.locked()
    with FileLock(folder.path / "hub.lock", timeout=0):
        assert folder.locked()


@pytest.mark.parametrize("way", ["crash", "stop"])
def test_a_hub_that_is_down_finds_its_address_again(tmp_path, way):
    """While a hub is down its address is not taken, and not even tried, by those that start meanwhile."""
    with Lab.open(tmp_path / "one", ephemeral=True) as one:
        address = one.hostname
        getattr(one, way)()
        with Lab.open(tmp_path / "other", ephemeral=True) as other:
            assert other.hostname != address
        one.start()
        assert one.hostname == address
    mark = claims.folder() / address
    held_by = (
        mark.read_text(encoding="utf-8") if mark.exists() else ""
    )  # another test's hub may be there by now
    assert held_by != str(tmp_path / "one" / "hub.json")
