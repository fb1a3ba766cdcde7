"""Runtime, hub and module killed at random: what was acknowledged arrives, at least once, and in order."""

import contextlib
import random
import threading
import time

import psutil
import pytest
from edge_aboard import RawLeaf
from edge_stage import Stage, module, until

from iotedge_lab.clock import SystemClock
from iotedge_lab.hub.events import Cursor
from iotedge_lab.hub.log import Log
from iotedge_lab.hub.store import Store
from iotedge_lab.lab import Lab
from iotedge_lab.wire.mqtt.packets import ConnackCode

ROUTES = {
    "urgent": {"route": "FROM /messages/* WHERE p = '0' INTO $upstream", "priority": 0},
    "rest": {"route": "FROM /messages/* WHERE p = '1' INTO $upstream", "priority": 9},
}
BURST = 10


class Sender(threading.Thread):
    """A raw leaf device that numbers its messages, and sends again what was not acknowledged, until it is to end."""

    def __init__(self, stage, name):
        super().__init__(name=name, daemon=True)
        self.device = name
        stage.leaf(name)
        self.raw = RawLeaf(stage.lab, name, stage.edge.gateway)
        self.sent = 0
        self.ending = threading.Event()
        self.fault = None

    @property
    def acknowledged(self):
        """How many were: they are acknowledged in order."""
        return self.sent - len(self.raw.client.in_flight)

    def run(self):
        try:
            while not (self.ending.is_set() and not self.raw.client.in_flight):
                try:
                    self._one_connection()
                except OSError:
                    self.raw.close()
                    time.sleep(0.02)  # the runtime is down, and nothing tells when it is back
        except Exception as error:  # noqa: BLE001 - told by the test
            self.fault = error
        finally:
            self.raw.close()

    def _one_connection(self):
        client = self.raw.client
        assert self.raw.connect(timeout=60).code is ConnackCode.ACCEPTED
        self.raw.sock.sendall(client.resend())
        while not (self.ending.is_set() and not client.in_flight):
            if not self.ending.is_set() and len(client.in_flight) < 4 * BURST:
                packets = [
                    client.publish(f"{self.raw.topic}p={number % 2}", b"%d" % number)[1]
                    for number in range(self.sent, self.sent + BURST)
                ]
                self.sent += BURST
                self.raw.sock.sendall(b"".join(packets))
                time.sleep(0.01)  # a thousand a second is enough
            self.raw.events()


def kill_module(stage):
    """SIGKILL to the module's process, if it runs."""
    for each in psutil.Process(stage.edge.runtime.pid).children():
        with contextlib.suppress(psutil.Error):
            if each.environ().get("IOTEDGE_MODULEID") == "chatter":
                each.kill()


def wreck(stage, seconds, chance):
    """Kill one after another for so long; how often each was."""
    ends = time.monotonic() + seconds
    counts = dict.fromkeys(("runtime", "hub", "module", "link"), 0)
    while time.monotonic() < ends:
        time.sleep(chance.uniform(0.2, 1.5))
        (what,) = chance.choices(tuple(counts), (5, 3, 2, 2))
        counts[what] += 1
        if what == "runtime":
            stage.edge.crash()
            time.sleep(chance.uniform(0.0, 0.3))
            stage.edge.start()
        elif what == "hub":
            stage.lab.crash()
            time.sleep(chance.uniform(0.0, 1.0))
            stage.lab.start()
        elif what == "module":
            kill_module(stage)
        else:
            stage.edge.offline()
            time.sleep(chance.uniform(0.0, 0.5))
            stage.edge.online()
    return counts


def stored(lab):
    """Stop the hub and read its log: numbers by sender and priority, in the order of arrival."""
    lab.stop()
    store = Store(lab.state_dir / "hub.db")
    found = {}
    try:
        log = Log(store, SystemClock())
        for number in range(log.partitions):
            for event in Cursor(log, number, 0).take(10_000_000):
                sender = event.source.module or event.source.device
                body = int(event.body)
                found.setdefault((sender, body % 2), []).append(body)
    finally:
        store.close()
    return found


def check(found, sender, promised):
    """All that was promised is there, and by priority the first arrivals are in order."""
    for priority in (0, 1):
        first = list(dict.fromkeys(found.get((sender, priority), [])))
        missing = set(range(priority, promised, 2)) - set(first)
        assert not missing, (
            f"{sender}: {len(missing)} of {promised} are lost, among them {sorted(missing)[:5]}"
        )
        assert first == sorted(first), f"{sender}: priority {priority} is out of order"


def chaos(folder, seconds, seed):
    with Lab.open(folder, ephemeral=True) as lab:
        stage = Stage(lab, "edge").start()
        options = '{"HostConfig": {"Binds": ["chatter:/app/data"]}}'
        chatter = module("chatter:1")
        chatter["settings"]["createOptions"] = options
        stage.deploy({"chatter": chatter}, ROUTES)
        stage.edge.wait_until_running("chatter")
        notes = next(stage.folder.rglob("acknowledged"))
        senders = [Sender(stage, f"leaf-{number}") for number in range(2)]
        for sender in senders:
            sender.start()
        counts = wreck(stage, seconds, random.Random(seed))
        for sender in senders:
            sender.ending.set()
        for sender in senders:
            sender.join(100)
            assert not sender.is_alive()
            assert sender.fault is None, sender.fault
        stage.deploy({}, ROUTES)  # the module ends; its identity stays until the hub has what it sent
        stage.edge.online()
        until(lambda: not stage.edge.status().modules, "the end of the module")
        spoken = [int(line) for line in notes.read_text().splitlines(keepends=True) if line.endswith("\n")]
        stage.edge.wait_until_delivered(timeout=300)
        assert spoken == list(range(len(spoken))), "the module counts wrongly"
        promised = {sender.device: sender.acknowledged for sender in senders}
        assert all(count > 100 for count in promised.values()), promised
        found = stored(lab)
    for sender, count in promised.items():
        check(found, sender, count)
    check(found, "chatter", len(spoken))
    assert counts["runtime"]
    assert counts["hub"]


@pytest.mark.timeout(300)
def test_thirty_seconds(tmp_path):
    """Every message that was acknowledged is at the hub; per sender and priority in order."""
    chaos(tmp_path, 30, seed=20261126)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_ten_minutes(tmp_path, request):
    """The same for ten minutes, in four runs, each with a seed of its own."""
    if "soak" not in request.config.getoption("markexpr"):
        pytest.skip("ten minutes long: run with -m soak")
    for seed in range(4):
        chaos(tmp_path / str(seed), 150, seed)
