"""Names to connections: several addresses, IPv6, and what is left open when nothing comes of it."""

import asyncio
import contextlib
import socket

import pytest
from upstream_house import WAIT

from iotedge_lab.edge.upstream import Cloud, dialing


class Once(asyncio.Protocol):
    """Says to what it was connected, and hangs up."""

    def __init__(self):
        self.peer = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.peer.set_result(transport.get_extra_info("peername"))
        transport.abort()


def address(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@pytest.fixture
def names(monkeypatch):
    """`names(...)`: what every name stands for, from now on."""

    def stand_for(*addresses):
        async def resolve(_host, _port):
            return list(addresses)

        monkeypatch.setattr(dialing, "resolve", resolve)

    return stand_for


@pytest.fixture
async def silent():
    """The address of one who accepts no connection: its backlog is full."""
    with socket.socket() as held, contextlib.ExitStack() as fill:
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        for _ in range(4):
            sock = fill.enter_context(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(held.getsockname())
        yield held.getsockname()


async def test_addresses_are_tried_one_after_the_other(fake, names, silent, monkeypatch):
    """One that refuses and one that is silent do not keep it from the third."""
    monkeypatch.setattr(dialing, "_ATTEMPT_SECONDS", 0.05)
    names(address("127.0.0.1", 1), address(*silent), address("127.0.0.1", fake.port))
    made = Once()
    async with asyncio.timeout(WAIT):
        await dialing.connect(fake.cloud, lambda: made)
    assert (await made.peer)[:2] == ("127.0.0.1", fake.port)


async def test_no_address_answers(fake, names):
    """The last failure is told; a name that stands for nothing is one too."""
    names(address("127.0.0.1", 1))
    with pytest.raises(ConnectionRefusedError):
        await dialing.connect(fake.cloud, Once)
    names()
    with pytest.raises(OSError, match="localhost has no address"):
        await dialing.connect(fake.cloud, Once)


async def test_one_who_gives_up_leaves_no_socket(fake, names, silent):
    """A connection that is cancelled, at whatever step: warnings of open sockets are errors here."""
    names(address(*silent))
    call = asyncio.create_task(dialing.connect(fake.cloud, Once))
    await asyncio.sleep(0.05)  # it waits for an answer by now, or has not begun: both must do
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_ipv6(authority, client_tls):
    """An address in brackets is connected to, and its certificate checked for it, without them."""
    server = await asyncio.start_server(
        lambda _, writer: writer.transport.abort(), "::1", 0, ssl=authority.server_context()
    )
    try:
        port = server.sockets[0].getsockname()[1]
        made = Once()
        await dialing.connect(Cloud("[::1]", client_tls, mqtt_port=port), lambda: made)
        assert (await made.peer)[:2] == ("::1", port)
    finally:
        server.close()
        await server.wait_closed()
