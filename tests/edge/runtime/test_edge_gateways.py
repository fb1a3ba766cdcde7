"""Several edges on one machine, and how modules and leaf devices find theirs: addresses, names, the proxy."""

import json
import os
import socket
import subprocess
import sys

import pytest
from edge_stage import Stage, module, until

from iotedge_lab.serve import claims

CALL = {"methodName": "blink", "payload": 1, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 20}
ROUTES = {
    "up": "FROM /messages/modules/a/outputs/up INTO $upstream",
    "across": 'FROM /messages/modules/a/outputs/across INTO BrokeredEndpoint("/modules/b/inputs/in")',
    "leaves": "FROM /messages/* WHERE NOT IS_DEFINED($connectionModuleId) INTO $upstream",
}
LEAF = """
import sys
from azure.iot.device import IoTHubDeviceClient, Message
client = IoTHubDeviceClient.create_from_connection_string(sys.argv[1], websockets=sys.argv[2] == "websockets")
client.connect()
client.send_message(Message(sys.argv[3]))
client.shutdown()
"""


def a_free_port_443():
    """A loopback address whose port 443 somebody else has, and that socket."""
    for number in range(210, 250):  # from 200 on others test too
        address = f"127.0.0.{number}"
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((address, 443))
        except PermissionError:
            held.close()
            return address, None  # nobody here may bind it, and so it is not there either
        except OSError:
            held.close()
        else:
            held.listen()
            return address, held
    return pytest.skip("no loopback address is free")


@pytest.fixture(scope="module")
def gateways():
    """Three ways to find an edge: with 443 as far as may be, without it, by a name."""
    address, held = a_free_port_443()
    yield {"address": None, "no 443": address, "name": "car.lab"}
    if held is not None:
        held.close()


@pytest.fixture(scope="module", params=["address", "no 443", "name"])
def running(request, lab, gateways):
    """An edge with two modules, one over MQTT and one over WebSocket."""
    stage = Stage(lab, f"edge-{request.param.replace(' ', '-')}", gateway=gateways[request.param])
    stage.deploy({"a": module(), "b": module(env={"PUPPET": "aio", "WEBSOCKETS": "1"})}, ROUTES)
    stage.start().edge.wait_until_running("a", "b")
    yield stage
    stage.deploy({}, ROUTES)


def test_modules(running, events):
    """Messages, inputs and methods work alike, whichever way the gateway is found."""
    a, b = running.puppet("a"), running.puppet("b")
    a.send(f"by {running.device}", output="up")
    events.find(f"by {running.device}")
    a.send("hello", output="across")
    assert b.inputs(1)[-1]["body"] == "hello"
    for caller, other in ((a, "b"), (b, "a")):
        assert caller("invoke", method=CALL, device=running.device, module=other)["status"] == 203


@pytest.mark.parametrize("transport", ["mqtt", "websockets"])
def test_leaf_devices(transport, running, events):
    """A device program in a process of its own gets there with the variables that the status names."""
    name = f"{running.device}-{transport}"
    string = running.leaf(name)
    environment = {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE")
    }
    found = subprocess.run(
        [sys.executable, "-c", LEAF, string, transport, f"leaf {name}"],
        env=environment | running.edge.status().raw["environment"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    events.find(f"leaf {name}")


def test_where_it_is_kept(running):
    """The same way leads there after a restart, proxy and all."""
    before = running.edge.status().raw
    running.edge.stop()
    running.edge.start()
    after = running.edge.status().raw
    assert after["gateway"] == before["gateway"]
    assert after["environment"] == before["environment"]
    running.edge.wait_until_running("a", "b")


def test_two_edges_are_two(lab, events):
    """Two edges of one process have each their own address, modules, queues and link."""
    one, two = (Stage(lab, name).start() for name in ("one", "two"))
    assert one.edge.runtime.pid == two.edge.runtime.pid
    assert one.edge.gateway != two.edge.gateway
    for stage in (one, two):
        stage.deploy({"a": module()}, ROUTES)
    for stage in (one, two):
        stage.edge.wait_until_running("a")
    one.edge.offline()
    one.puppet("a").send("from one", output="up")
    two.puppet("a").send("from two", output="up")
    events.find("from two")
    assert (one.edge.status().waiting, two.edge.status().online) == (1, True)
    one.edge.online()
    events.find("from one")
    for mine, other in ((one, two), (two, one)):
        log = mine.edge.logs("edgeHub") + mine.edge.logs("edgeAgent")
        assert f"{mine.device}/a: connected" in log
        assert f"edge {mine.device} serves on" in log
        assert f"{other.device}/" not in log
    # The module of one edge is nobody at the other.
    assert f"{one.device}/a" not in two.edge.status().raw["clients"]


def test_an_address_is_its_edges(lab):
    """Another edge does not take the address of one that is down; one that is gone for good gives it up."""
    first = Stage(lab, "first").start()
    address = first.edge.gateway
    owner = first.folder / "edge.json"
    first.edge.stop()
    assert claims.claimed(address, owner.with_name("other.json"))
    second = Stage(lab, "second").start()
    assert second.edge.gateway != address
    first.edge.start()
    assert first.edge.gateway == address
    first.edge.runtime.client.call("DELETE", "/edges/first?forget=1")
    assert not claims.claimed(address, owner.with_name("other.json"))
    second.edge.stop()


def test_an_address_that_somebody_else_has_taken(lab):
    """The edge moves to another one and says so in its log."""
    stage = Stage(lab, "moving").start()
    address = stage.edge.gateway
    stage.edge.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address, 8883))
        other.listen()
        stage.edge.start()
    assert stage.edge.gateway != address
    log = (lab.state_dir / "edges" / "runtime.log").read_text()
    until(lambda: f"{address} is taken; this edge moves to" in log, "the word")
    assert json.loads((stage.folder / "edge.json").read_text())["host"] == stage.edge.gateway
    stage.edge.stop()


@pytest.mark.parametrize("gateway", ["car lab", "car.lab:8883", "", ".lab", "10.0.0.1"])
def test_what_is_no_gateway(gateway, lab):
    """A name that is none, or an address beyond loopback, is refused before anything runs."""
    from iotedge_lab.errors import LabError

    stage = Stage(lab, f"bad-{abs(hash(gateway))}", gateway=gateway)
    with pytest.raises(LabError):
        stage.start()
    assert stage.device not in str(lab.edge("one").runtime.edges())
