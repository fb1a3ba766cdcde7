"""Loopback addresses and ports: finding, holding and explaining them."""

import contextlib
import errno
import os
import socket
import subprocess
import sys

import psutil
import pytest

from iotedge_lab.errors import EnvironmentProblem, PortTaken, UsageError
from iotedge_lab.serve import addresses
from iotedge_lab.serve.addresses import (
    Listening,
    can_bind,
    free_address,
    listen,
    loopback_addresses,
    reserve,
    who_listens,
)

linux = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has only 127.0.0.1")


@pytest.fixture
def spare():
    """Two ports that are free on all addresses now, and stay ours on 127.0.0.200 so that nobody is given them."""
    with reserve([0, 0], first=200) as reservation:
        yield reservation.ports


@linux
def test_first_that_is_free(spare):
    """Each reservation gets the next address, all ports or none of it, and a closed one is free again."""
    with reserve(spare, first=10) as one, reserve(spare, first=10) as two:
        assert (one.address, two.address) == ("127.0.0.10", "127.0.0.11")
        assert one.ports == spare
        with listen("127.0.0.12", spare[1])[0]:  # the second port alone is taken there
            assert free_address(spare, "127.0.0.10") == "127.0.0.13"
        one.close()
        assert free_address(spare, 10) == "127.0.0.10"
        assert not can_bind("127.0.0.11", spare[0])
    assert free_address(spare, 11) == "127.0.0.11"


@linux
def test_order_of_ports(spare):
    """The sockets come in the order in which the ports were asked for."""
    high, low = max(spare), min(spare)
    with reserve([high, low], first=20) as reservation:
        assert reservation.ports == [high, low]
        taken = reservation.take()
        assert reservation.ports == []
    assert [each.getsockname()[1] for each in taken] == [high, low]
    for each in taken:
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        each.close()


@linux
def test_parallel_processes_never_collide(spare):
    """Processes that reserve the same ports at the same moment each get an address of their own."""
    program = (
        "import sys; from iotedge_lab.serve.addresses import reserve\n"
        "sys.stdin.readline()\n"
        f"reservations = [reserve({spare}, first=30) for _ in range(4)]\n"
        "print(*(each.address for each in reservations), flush=True)\n"
        "sys.stdin.readline()\n"
        "for each in reservations: each.close()\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) for _ in range(3)
    ]
    for each in workers:
        each.stdin.write("\n")
        each.stdin.flush()
    found = [address for each in workers for address in each.stdout.readline().split()]
    for each in workers:
        each.communicate("\n")
        assert each.returncode == 0
    assert len(found) == 12
    assert len(set(found)) == 12


@linux
def test_listener_everywhere_blocks_all():
    """A listener on 0.0.0.0 leaves no address free, and the error says that this is why."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        with pytest.raises(PortTaken, match="a listener on all addresses takes the port") as caught:
            reserve([port], first=250)
        assert f"pid {os.getpid()}" in str(caught.value)
        assert "127.0.0.250 to 127.0.0.254" in str(caught.value)
        reason = can_bind("127.0.0.3", port)
        assert not reason
        assert "a listener on all addresses" in reason.reason


@pytest.mark.parametrize("first", [0, 255, "127.0.1.1", "localhost", -1, ""])
def test_first_is_checked(first):
    """A start beyond 127.0.0.1 to 127.0.0.254 is refused."""
    with pytest.raises(UsageError, match="is no start"):
        reserve([0], first)
    with pytest.raises(UsageError, match="No port"):
        reserve([])


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("LOCALHOST", ["127.0.0.1", "::1"]),
        ("127.0.0.9", ["127.0.0.9"]),
        ("[::1]", ["::1"]),
    ],
)
def test_loopback(host, found):
    """localhost stands for both, an address for itself."""
    assert loopback_addresses(host) == found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "169.254.1.1", "example.com", "", "127.1"])
def test_not_loopback(host):
    """Nothing but loopback may be listened on."""
    with pytest.raises(UsageError):
        listen(host, 0)
    assert not can_bind(host, 0)


def test_port_out_of_range():
    """A number that is no port is refused."""
    with pytest.raises(UsageError, match="70000 is no port"):
        listen("127.0.0.1", 70000)


def test_localhost_on_one_port():
    """localhost listens on one port for IPv4 and, where there is any, IPv6."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in listen("localhost", 0)]
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        assert len({each.getsockname()[1] for each in sockets}) == 1


def test_taken_port_names_the_process():
    """The error names the process that holds the port."""
    program = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True); sys.stdin.readline(); s.close()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    port = int(holder.stdout.readline())
    with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port} \(.*python.*, pid {holder.pid}\)\. Stop it"):
        listen("127.0.0.1", port)
    [found] = who_listens(port)
    assert (found.address, found.port, found.pid) == ("127.0.0.1", port, holder.pid)
    assert not found.everywhere
    holder.communicate("\n")


def test_holder_may_not_be_seen(monkeypatch):
    """Without the right to look at other processes the error says how to find out."""
    with listen("127.0.0.1", 0)[0] as held:
        port = held.getsockname()[1]

        def denied(kind):
            raise psutil.AccessDenied

        monkeypatch.setattr(psutil, "net_connections", denied)
        assert who_listens(port) == []
        with pytest.raises(PortTaken, match=f"may not see .`sudo lsof -i :{port}`"):
            listen("127.0.0.1", port)


def test_who_listens():
    """Every listener on the port is listed with its address."""
    with socket.create_server(("0.0.0.0", 0)) as held:
        port = held.getsockname()[1]
        [found] = who_listens(port)
        assert found.everywhere
        assert found.pid == os.getpid()
        assert str(found) == f"0.0.0.0:{port} ({found.name}, pid {os.getpid()})"
    assert who_listens(port) == []
    assert str(Listening("::1", 1, None, None)) == "[::1]:1 (a process that this user may not see)"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EACCES, "Port 443 is privileged"),
        (errno.EADDRNOTAVAIL, "127.0.0.1 is no address of this machine"),
        (errno.EMFILE, "cannot be listened on"),
    ],
)
def test_other_reasons(monkeypatch, number, text):
    """What else can stand in the way is told apart, and tried addresses are not multiplied."""
    tried = []

    def failing(address, port, backlog):
        tried.append(address)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(addresses, "_listen", failing)
    with pytest.raises(EnvironmentProblem, match=text):
        reserve([443])
    assert tried == ["127.0.0.1"]
    assert text in can_bind("127.0.0.1", 443).reason


def test_no_ipv6(monkeypatch):
    """Where the machine has no IPv6, localhost is 127.0.0.1 alone."""
    real = addresses._listen

    def only_ipv4(address, port, backlog):
        if ":" in address:
            raise OSError(errno.EADDRNOTAVAIL, "no")
        return real(address, port, backlog)

    monkeypatch.setattr(addresses, "_listen", only_ipv4)
    [only] = listen("localhost", 0)
    with only:
        assert only.getsockname()[0] == "127.0.0.1"


def test_restart_on_the_same_port():
    """A port whose last connection is in TIME_WAIT can be listened on again at once."""
    [server] = listen("127.0.0.1", 0)
    server.setblocking(True)
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.close()  # the server's side closes first and keeps the wait
    client.close()
    server.close()
    assert can_bind("127.0.0.1", port)
