"""A disk that is full: nothing is acknowledged that is not stored, and the hub lives on and recovers."""

import sys

import pytest
from hub_clients import RawDevice

from iotedge_lab.clock import SystemClock
from iotedge_lab.hub.events import Cursor
from iotedge_lab.hub.log import Log
from iotedge_lab.hub.store import Store
from iotedge_lab.lab import Lab
from iotedge_lab.rest import RestError
from iotedge_lab.wire.mqtt.packets import ConnackCode

resource = pytest.importorskip("resource", reason="limits of a process's files are a thing of POSIX")
pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason=f"{sys.platform} has no prlimit")


@pytest.fixture
def lab(tmp_path):
    """A hub of the test's own."""
    with Lab.open(tmp_path, ephemeral=True) as opened:
        yield opened


def _room(lab, size):
    """No file of the hub may grow beyond `size` bytes from now on; None for any size."""
    hard = resource.prlimit(lab._told.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(lab._told.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def test_a_disk_that_fills_and_has_room_again(lab):
    """Messages are refused while there is no room, the rest of the hub answers, and afterwards all is stored once."""
    lab.rest().call("PUT", "/devices/d", {})
    wal = lab.state_dir / "hub.db-wal"
    one = RawDevice(lab, "d")
    assert one.connect().code is ConnackCode.ACCEPTED
    one.send(*(b"before %d" % number for number in range(10)))
    _room(lab, wal.stat().st_size + 200_000)
    sent = 10
    refused = 0
    while refused < 3:
        assert sent < 200, "the disk never became full"
        _, data = one.client.publish(one.topic, b"%d " % sent + b"x" * 20_000)
        sent += 1
        try:
            one.sock.sendall(data)
            one.drain()
        except OSError:
            refused += 1
            one.close()
            assert lab.status()["devices"] == 1  # the hub lives
            assert one.connect().code is ConnackCode.ACCEPTED
    one.close()
    assert sent - len(one.client.in_flight) >= 10
    assert len(one.client.in_flight) == 3
    _room(lab, wal.stat().st_size)
    with pytest.raises(RestError) as caught:
        lab.rest().call("PUT", "/devices/no-room", {})
    assert caught.value.http_status == 503
    _room(lab, None)
    assert one.connect().code is ConnackCode.ACCEPTED
    one.sock.sendall(one.client.resend())
    one.drain()
    one.send(b"after")
    one.close()
    assert lab.rest().call("PUT", "/devices/later", {})["deviceId"] == "later"
    lab.stop()
    store = Store(lab.state_dir / "hub.db")
    log = Log(store, SystemClock())
    bodies = [event.body for number in (0, 1) for event in Cursor(log, number, 0).take(1000)]
    store.close()
    numbers = [int(body.split()[0]) for body in bodies if body[:1].isdigit()]
    assert [body for body in bodies if body.startswith(b"before")] == [b"before %d" % n for n in range(10)]
    assert numbers == list(range(10, sent))
    assert bodies[-1] == b"after"


def test_a_log_file_that_cannot_be_written_does_not_stop_the_hub(lab):
    """A full disk stops the hub's own diary as well; that must not stop the hub."""
    lab.rest().call("PUT", "/devices/d", {})
    with RawDevice(lab, "d") as good:
        _room(lab, (lab.state_dir / "hub.log").stat().st_size)
        for _ in range(400):  # each of these is a line in the log
            stranger = RawDevice(lab, "d", client=_stranger(lab))
            stranger.connect()
            stranger.close()
        assert lab.status()["connected"] == 1
        _room(lab, None)
        good.send(b"still there")
    log = (lab.state_dir / "hub.log").read_text()
    assert "Traceback" not in log


def _stranger(lab):
    from iotedge_lab.wire.mqtt.client import MqttClient

    return MqttClient("nobody", f"{lab.hostname}/nobody/?api-version=2021-04-12", "none")
