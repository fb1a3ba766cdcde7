"""What goes wrong around a running edge: its store, its disk, its hub, its process; and how it says so and recovers."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from edge_aboard import RawLeaf
from edge_stage import Stage, module, until

from iotedge_lab.edges import Runtime
from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, UsageError
from iotedge_lab.lab import Lab
from iotedge_lab.wire.mqtt.packets import ConnackCode

UP = {"up": "FROM /messages/* INTO $upstream"}


@pytest.fixture(scope="module")
def running(stage):
    """The edge with a module that does nothing, and all routes up."""
    stage.deploy({"a": module("sleeper:1")}, UP)
    stage.edge.wait_until(
        lambda status: status.modules.get("a", {}).get("runtimeStatus") == "running", "the module"
    )
    return stage


@pytest.fixture
def raw(running):
    """`raw(name)`: a connected raw client of a leaf device; closed at the end."""
    made = []

    def connect(name):
        running.leaf(name)
        made.append(RawLeaf(running.lab, name, running.edge.gateway))
        assert made[-1].connect(timeout=60).code is ConnackCode.ACCEPTED
        return made[-1]

    yield connect
    for each in made:
        each.close()


def again(client):
    """Connect once more, as soon as somebody listens; what was not acknowledged is sent again."""
    client.close()

    def connected():
        with contextlib.suppress(OSError):
            return client.connect(timeout=60).code is ConnackCode.ACCEPTED
        return False

    until(connected, "a connection")
    client.sock.sendall(client.client.resend())


def arrived(stage, device):
    """The bodies that the hub has of a device, in order, each at its first arrival."""
    from iotedge_lab.clock import SystemClock
    from iotedge_lab.hub.events import Cursor
    from iotedge_lab.hub.log import Log
    from iotedge_lab.hub.store import Store

    stage.lab.stop()
    store = Store(stage.lab.state_dir / "hub.db")
    try:
        log = Log(store, SystemClock())
        found = [
            event.body
            for number in range(log.partitions)
            for event in Cursor(log, number, 0).take(1_000_000)
            if event.source.device == device
        ]
    finally:
        store.close()
        stage.lab.start()
    return list(dict.fromkeys(found))


# -- the hub --------------------------------------------------------------------------------------------


def test_a_hub_that_stops_and_starts(running, raw):
    """Messages are stored while there is no hub, the status says why, and all arrives in order when it is back."""
    client = raw("steady")
    client.send(b"0")
    running.lab.stop()
    client.send(b"1", b"2")
    trouble = running.edge.wait_until(lambda status: not status.connected, "the end").raw["trouble"]
    assert trouble
    until(lambda: "refused" in running.edge.status().raw["trouble"], "the reason")
    running.lab.start()
    client.send(b"3")
    running.edge.wait_until_connected()
    running.edge.wait_until_delivered()
    assert arrived(running, "steady") == [b"0", b"1", b"2", b"3"]


def test_a_hub_that_says_nothing(running, raw):
    """Clients are served while the hub hangs, and nothing is lost when it goes on."""
    client = raw("patient")
    running.edge.wait_until_connected()
    hub = running.lab._told.pid
    os.kill(hub, signal.SIGSTOP)
    try:
        client.send(*(b"%d" % number for number in range(100)))
        assert running.edge.status().waiting >= 100
    finally:
        os.kill(hub, signal.SIGCONT)
    running.edge.wait_until_delivered()
    assert arrived(running, "patient") == [b"%d" % number for number in range(100)]


# -- the disk -------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of another process are a thing of Linux"
)
def test_a_disk_that_fills_and_has_room_again(running, raw):
    """What cannot be stored is not acknowledged; the runtime lives, delivers, and takes messages again."""
    import resource

    pid = running.edge.runtime.pid
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    client = raw("full")
    running.edge.offline()
    sent = refused = 0
    try:
        client.send(b"%d" % sent)
        sent += 1
        room = (running.folder / "edge.db-wal").stat().st_size + 200_000
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))
        while refused < 2:
            assert sent < 200, "the disk never became full"
            _, data = client.client.publish(client.topic, b"%d " % sent + b"x" * 20_000)
            sent += 1
            try:
                client.sock.sendall(data)
                client.drain()
            except OSError:
                refused += 1
                assert running.edge.status().modules["a"]["runtimeStatus"] == "running"
                client.close()
                assert client.connect(timeout=60).code is ConnackCode.ACCEPTED
        assert len(client.client.in_flight) == refused
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        running.edge.online()
    again(client)
    client.drain()
    client.send(b"after")
    running.edge.wait_until_delivered()
    numbers = [body.split()[0] for body in arrived(running, "full")]
    assert numbers == [b"%d" % number for number in range(sent)] + [b"after"]


def test_a_store_that_is_damaged(running):
    """The device does not start, and says which file; others do; without the file it begins anew."""
    running.edge.stop()
    file = running.folder / "edge.db"
    kept = file.read_bytes()
    file.write_bytes(b"this is no database" * 1000)
    with pytest.raises(EnvironmentProblem, match=r"edge\.db"):
        running.edge.start()
    other = Stage(running.lab, "beside").start()
    other.edge.wait_until_connected()
    running.edge.crash()
    other.edge.start()
    with pytest.raises(UsageError, match="'edge'"):
        running.edge.status()
    other.edge.wait_until_connected()
    file.write_bytes(kept[: len(kept) // 2])
    for more in running.folder.glob("edge.db-*"):
        more.unlink()
    with pytest.raises(EnvironmentProblem, match=r"edge\.db"):
        running.edge.start()
    file.unlink()
    running.edge.start()
    running.edge.wait_until(
        lambda status: status.modules.get("a", {}).get("runtimeStatus") == "running", "the module"
    )


def test_a_store_that_is_damaged_when_the_process_starts(running):
    """The process comes up with the others and tells of the failure; `stop` and `forget_all` know it as well."""
    running.edge.stop()
    file = running.folder / "edge.db"
    kept = file.read_bytes()
    running.edge.start()
    running.edge.crash()
    for more in running.folder.glob("edge.db-*"):
        more.unlink()
    file.write_bytes(b"x" * 10_000)
    runtime = Runtime.open(running.lab.state_dir, ephemeral=True)
    try:
        found = runtime.client.call("GET", "/edges")
        assert "edge.db" in found["failures"]["edge"]
        with pytest.raises(UsageError, match=r"edge\.db"):
            running.edge.status()
        running.edge.stop()
        assert runtime.client.call("GET", "/edges")["failures"] == {}
    finally:
        file.write_bytes(kept)
        runtime.close()
    running.edge.start()
    running.edge.wait_until(
        lambda status: status.modules.get("a", {}).get("runtimeStatus") == "running", "the module"
    )


# -- the process ----------------------------------------------------------------------------------------


def test_a_second_process(running):
    """Another runtime on the same folder ends with a word about the first, which goes on."""
    pid = running.edge.runtime.pid
    other = subprocess.run(
        [sys.executable, "-m", "iotedge_lab.edge", "--state", str(running.lab.state_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = json.loads(other.stdout)
    assert other.returncode == 1
    assert said["error"] == "StateLocked"
    assert "Another edge runtime" in said["message"]
    assert running.edge.runtime.pid == pid
    assert running.edge.status().modules


def test_killed_and_gone(running):
    """What is asked of a runtime that was killed says so; `start` brings all back, at the same address."""
    gateway = running.edge.gateway
    running.edge.crash()
    with pytest.raises(HubNotRunning, match="does not answer"):
        running.edge.status()
    with pytest.raises(HubNotRunning):
        running.edge.crash()
    running.edge.start()
    assert running.edge.gateway == gateway
    running.edge.wait_until(
        lambda status: status.modules.get("a", {}).get("runtimeStatus") == "running", "the module"
    )


def test_a_state_folder_that_goes_away(tmp_path):
    """A runtime whose folder was deleted ends, with all that it hosts."""
    import shutil

    runtime = Runtime.open(tmp_path / "state", ephemeral=True)
    process = psutil.Process(runtime.pid)
    shutil.rmtree(tmp_path / "state")
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its end")
    runtime.close()


def test_a_flood_is_held_on_disk(running, raw):
    """Thirty megabytes that wait for the hub take little memory, and go through in order when it is back."""
    client = raw("flood")
    running.edge.offline()
    process = psutil.Process(running.edge.runtime.pid)
    before = process.memory_info().rss
    body = b"x" * 1000
    for first in range(0, 30_000, 1000):
        client.send(*(b"%d " % number + body for number in range(first, first + 1000)))
    grown = process.memory_info().rss - before
    assert running.edge.status().waiting == 30_000
    running.edge.online()
    running.edge.wait_until_delivered(timeout=110)
    assert grown < 60 * 2**20
    numbers = [int(body.split()[0]) for body in arrived(running, "flood")]
    assert numbers == list(range(30_000))


# -- the lab --------------------------------------------------------------------------------------------


def test_a_lab_that_is_reset(tmp_path, monkeypatch):
    """After `reset` nothing runs, and a device of the same name begins with nothing of its namesake."""
    with Lab.open(tmp_path, ephemeral=True) as lab:
        stage = Stage(lab, "edge").start()
        stage.deploy({"a": module("sleeper:1")}, UP)
        stage.edge.wait_until(lambda status: status.modules, "the module")
        lab.reset()
        fresh = Stage(lab, "edge").start()
        fresh.edge.wait_until_connected()
        assert fresh.edge.status().deployment == 417
        assert fresh.edge.status().modules == {}


def test_a_hub_that_is_reset_under_it(running):
    """A device that the hub does not know any more says what to check, goes on, and `lab.edge` mends it."""
    running.rest.call("POST", "/lab/reset")
    until(lambda: "connection string" in running.edge.status().raw["trouble"], "a word")
    assert running.edge.status().modules["a"]["runtimeStatus"] == "running"
    fresh = Stage(running.lab, "edge").start()
    fresh.edge.wait_until_connected()
    fresh.deploy({"b": module("sleeper:1")}, UP)
    fresh.edge.wait_until(lambda status: set(status.modules) == {"b"}, "the new deployment")
