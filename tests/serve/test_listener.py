"""The listener over real sockets: who gets which connection, and what a bad one can do (nothing)."""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import sys

import certifi
import pytest

from iotedge_lab.errors import PortTaken, UsageError
from iotedge_lab.serve.addresses import reserve
from iotedge_lab.serve.listener import Listener
from iotedge_lab.serve.sniffing import Handlers

STARTS = [
    pytest.param((start, kind, encrypted), id=f"{name}-{'tls' if encrypted else 'clear'}")
    for name, start, kind in (
        ("mqtt", b"\x10\x0c\x00\x04MQTT", b"mqtt"),
        ("amqp", b"AMQP\x03\x01\x00\x00", b"amqp"),
        ("http", b"GET / HTTP/1.1\r\n\r\n", b"http"),
        ("http-method-like-amqp", b"ACL / HTTP/1.1\r\n\r\n", b"http"),
    )
    for encrypted in (False, True)
]


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Nothing that a client does may be logged as an error of ours."""
    caplog.set_level(logging.INFO)
    yield
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


async def ended(reader):
    """The server has closed without an answer; with bytes of ours unread this shows as a reset."""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


@pytest.mark.parametrize("case", STARTS)
async def test_start_decides(listening, connect, made, case):
    """The first bytes choose the handler, under TLS as without, and reach it unchanged."""
    start, kind, encrypted = case
    async with listening() as (listener, port):
        reader, writer = await connect(port, tls=encrypted)
        writer.write(start)
        assert await reader.readexactly(len(kind) + 1 + len(start)) == kind + b":" + start
        [handler] = made
        assert handler.received == start
        assert handler.info.tls is encrypted
        assert handler.info.local == ("127.0.0.1", port)
        assert handler.info.peer == writer.get_extra_info("sockname")
        assert handler.info.client_certificate is None
        accepted = handler.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert (listener.counters.accepted, listener.counters.pending, listener.counters.open) == (1, 0, 1)


@pytest.mark.parametrize("case", STARTS)
async def test_byte_by_byte(listening, connect, made, until, case):
    """A start that trickles in is decided as soon as it can be, and nothing of it is lost."""
    start, kind, encrypted = case
    async with listening() as (_, port):
        _, writer = await connect(port, tls=encrypted)
        for at in range(len(start)):
            writer.write(start[at : at + 1])
            await asyncio.sleep(0.002)
        await until(lambda: made and made[0].received == start)
        assert made[0].kind == kind


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_versions(listening, connect, authority, version):
    """TLS 1.2 (azure-iot-device) and 1.3 (uamqp) are both spoken."""
    context = ssl.create_default_context(cadata=authority.ca_pem)
    context.minimum_version = context.maximum_version = version
    async with listening() as (_, port):
        reader, writer = await connect(port, ssl=context)
        writer.write(b"\x10x")
        assert await reader.readexactly(7) == b"mqtt:\x10x"


async def test_server_name(listening, connect, made):
    """The handler learns which server name each client asked for, its own and nobody else's."""
    async with listening() as (_, port):
        for name in ("lab.azure-devices.net", "other.azure-devices.net"):
            reader, writer = await connect(port, tls=True, server_hostname=name)
            writer.write(b"GET")
            await reader.readexactly(8)
        assert [each.info.server_name for each in made] == [
            "lab.azure-devices.net",
            "other.azure-devices.net",
        ]


async def test_client_certificate(authority, listening, connect, made, tmp_path):
    """Where client certificates are trusted, a client without one is served and a wrong one is refused."""
    device = authority.issue("device", ["device"])
    self_signed = authority.server_context(trusted_clients=authority.ca_pem)
    self_signed.verify_flags &= ~ssl.VERIFY_X509_STRICT
    client = ssl.create_default_context(cadata=authority.ca_pem)
    async with listening(tls=self_signed) as (listener, port):
        reader, writer = await connect(port, ssl=client)
        writer.write(b"\x10")
        await reader.readexactly(6)
        assert made[0].info.client_certificate is None
        client.load_cert_chain(device)
        reader, writer = await connect(port, ssl=client)
        writer.write(b"\x10")
        # The lab's certificates are for servers: OpenSSL refuses one as a client's.
        assert await reader.read() == b""
        assert listener.counters.failed_handshakes == 1


async def test_flow_control_and_end_reach_the_handler(listening, connect, made, until):
    """pause_writing, resume_writing and the end of the connection come straight from the transport."""
    async with listening() as (listener, port):
        reader, writer = await connect(port, tls=True)
        writer.write(b"\x10")
        await reader.readexactly(6)
        [handler] = made
        part, sent = bytes(1_000_000), 0
        while "pause" not in handler.calls and sent < 64_000_000:  # how much the kernel takes first differs
            handler.transport.write(part)
            sent += len(part)
        assert handler.calls == ["made", "data", "pause"]
        await reader.readexactly(sent)
        await until(lambda: handler.calls[-1] == "resume")
        writer.close()
        assert await handler.lost is None
        assert handler.calls[4:] == ["eof", "lost"]
        await until(lambda: listener.counters.open == 0)


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("junk", [b"\x00", b"\xff" * 4000, b"\x15\x03\x01", b" GET", b"1"])
async def test_junk(listening, connect, until, junk, encrypted):
    """What begins like nothing we know is closed, and the next client is served."""
    async with listening() as (listener, port):
        reader, writer = await connect(port, tls=encrypted)
        writer.write(junk)
        await ended(reader)
        await until(lambda: listener.counters.refused == 1)
        reader, writer = await connect(port)
        writer.write(b"\x10")
        assert await reader.readexactly(6) == b"mqtt:\x10"
        assert listener.counters.open == 1


async def test_junk_in_tls_record(listening, connect, until):
    """A record that says TLS and is none fails as a handshake, without a traceback."""
    async with listening() as (listener, port):
        reader, writer = await connect(port)
        writer.write(b"\x16\x03\x01\x00\x05hello" + bytes(200))
        while await reader.read(100):
            pass
        await until(lambda: listener.counters.failed_handshakes == 1)
        assert listener.counters.pending == 0


async def test_unserved_protocol(listening, connect, until):
    """A protocol without a handler is closed, as is TLS where there is no certificate."""
    async with listening(tls=None, serving=Handlers()) as (listener, port):
        for start in (b"\x10", b"\x16\x03\x01"):
            reader, writer = await connect(port)
            writer.write(start)
            await ended(reader)
        await until(lambda: listener.counters.refused == 2)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_distrusting_client(listening, until, caplog, version):
    """A client without the lab's root is counted as a failed handshake, and the log says what to do."""
    context = ssl.create_default_context()
    context.maximum_version = version

    def visit(port):
        with socket.create_connection(("127.0.0.1", port)) as plain:
            context.wrap_socket(plain, server_hostname="127.0.0.1")

    async with listening() as (listener, port):
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(visit, port)  # asyncio's own client hangs up without the alert
        await until(lambda: listener.counters.failed_handshakes == 1)
        assert (listener.counters.pending, listener.counters.refused) == (0, 0)
        assert "UNKNOWN_CA" in caplog.text
        assert "does not trust the lab's root" in caplog.text


@pytest.mark.parametrize(
    "start", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"AM"], ids=["silent", "one", "half", "amqp"]
)
async def test_slow_start_is_cut(listening, connect, until, start):
    """Whoever is not ready in time is closed: silent, within the handshake, or within the first word."""
    async with listening(by_hand=True) as (listener, port):
        reader, writer = await connect(port)
        writer.write(start)

        def arrived():
            """How far the listener is with the only connection: it waits, shakes hands, or has the start."""
            for each in listener._pending:
                return each.started if each.tls else each.start == start if start else each.watched
            return False

        await until(arrived)
        listener._loop.forward(9.9)
        assert (listener.counters.pending, listener.counters.refused) == (1, 0)
        listener._loop.forward(0.2)
        with contextlib.suppress(ConnectionResetError):  # what lay unread makes a reset of the close
            assert await reader.read() == b""
        assert (listener.counters.pending, listener.counters.refused) == (0, 1)


async def test_slow_start_under_tls_is_cut(listening, connect, until):
    """A finished handshake does not buy more time, and drops that trickle in do not either."""
    async with listening(by_hand=True) as (listener, port):
        reader, _ = await connect(port, tls=True)
        cut, trickle = await connect(port)
        await until(lambda: listener.counters.accepted == 2)
        for each in b"\x16\x03\x01\x02\x00":
            trickle.write(bytes([each]))
            await trickle.drain()
            listener._loop.forward(1.9)
            await asyncio.sleep(0)
        assert (listener.counters.pending, listener.counters.refused) == (2, 0)
        listener._loop.forward(0.6)
        for each in (reader, cut):
            await ended(each)
        assert (listener.counters.pending, listener.counters.refused) == (0, 2)


async def test_handed_over_is_never_cut(listening, connect, until):
    """The time limit ends with the handover: a quiet device stays connected."""
    async with listening(by_hand=True) as (listener, port):
        reader, writer = await connect(port)
        writer.write(b"\x10")
        await reader.readexactly(6)
        idle, _ = await connect(port)
        await until(lambda: listener.counters.accepted == 2)
        listener._loop.forward(10.1)
        assert await idle.read() == b""
        writer.write(b"still here")
        assert await reader.readexactly(15) == b"mqtt:still here"


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01\x02\x00\x01", b"AM"], ids=["silent", "tls", "amqp"])
async def test_client_goes_before_it_is_ready(listening, connect, until, start):
    """A client that leaves early, politely or not, leaves nothing behind."""
    async with listening() as (listener, port):
        for abrupt in (False, True):
            _, writer = await connect(port)
            writer.write(start)
            await until(lambda: listener.counters.pending == 1)
            if abrupt:
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()
            await until(lambda: listener.counters.pending == 0)
        assert listener.counters.accepted == 2
        assert listener.counters.open == 0


async def test_flood_leaves_good_client_served(listening, connect, until):
    """600 connections that never get ready hold up a good client by the grace, two seconds."""
    start = b"\x16\x03\x01\x02\x00\x01"
    flood = []
    try:
        async with listening(by_hand=True) as (listener, port):
            for at in range(600):
                each = socket.create_connection(("127.0.0.1", port))
                flood.append(each)
                if at % 2:
                    each.sendall(start)
            good = asyncio.ensure_future(connect(port, tls=True))
            await until(lambda: listener._full)
            listener._loop.forward(1.99)
            assert listener._full
            assert not good.done()
            listener._loop.forward(0.02)
            reader, writer = await good
            writer.write(b"\x10")
            assert await reader.readexactly(6) == b"mqtt:\x10"
            counters = listener.counters
            assert counters.pending <= 500
            assert counters.refused >= 100
            assert counters.accepted == 601
    finally:
        for each in flood:
            each.close()


async def test_crowd_waits_its_turn(listening, connect):
    """More honest clients at once than may be pending are all served: the kernel holds those who wait."""
    async with listening(max_pending=5) as (listener, port):

        async def client():
            reader, writer = await connect(port, tls=True)
            writer.write(b"\x10")
            assert await reader.readexactly(6) == b"mqtt:\x10"

        await asyncio.gather(*(client() for _ in range(60)))
        assert (listener.counters.refused, listener.counters.open) == (0, 60)


async def test_nobody_is_pushed_out_while_all_goes_well(listening, connect):
    """As long as connections become ready one after another, slow ones keep their place."""
    grace = 0.3
    async with listening(max_pending=3, grace=grace, by_hand=True) as (listener, port):

        async def client():
            reader, writer = await connect(port)
            writer.write(b"\x10")
            assert await reader.readexactly(6) == b"mqtt:\x10"
            listener._loop.forward(0.7 * grace)

        slow = [await connect(port) for _ in range(2)]
        for _ in range(8):
            await asyncio.gather(*(client() for _ in range(5)))  # more than there is room for
        assert (listener.counters.refused, listener.counters.pending) == (0, 2)
        for reader, writer in slow:
            writer.write(b"\x10")
            assert await reader.readexactly(6) == b"mqtt:\x10"


async def test_never_more_pending_than_allowed(listening, connect, until):
    """The limit holds while idle clients come; when nobody gets ready the oldest gives way to the newest."""
    async with listening(max_pending=3, grace=1.0, by_hand=True) as (listener, port):
        clients = [await connect(port) for _ in range(4)]
        await until(lambda: listener._full)
        listener._loop.forward(0.99)
        assert (listener.counters.pending, listener.counters.refused) == (3, 0)
        listener._loop.forward(0.02)
        assert await clients[0][0].read() == b""
        assert listener.counters.pending == 3
        assert listener.counters.refused == 1
        clients[3][1].write(b"\x10")
        assert await clients[3][0].readexactly(6) == b"mqtt:\x10"


class Exhausted(socket.socket):
    """A listening socket of a process that has no descriptors left, for the first tries."""

    failing = 3
    tries = 0

    def accept(self):
        self.tries += 1
        if self.tries <= self.failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_out_of_descriptors(listening, connect, until, caplog):
    """When accept fails for want of descriptors the listener rests, says so once and takes up again."""
    server = Exhausted()
    server.bind(("127.0.0.1", 0))
    async with listening(by_hand=True, where=server) as (listener, port):
        reader, writer = await connect(port)
        writer.write(b"\x10")
        for number in range(1, Exhausted.failing + 1):
            await until(lambda: server.tries == number)  # noqa: B023
            listener._loop.forward(0.49)
            for _ in range(20):
                await asyncio.sleep(0)
            assert server.tries == number  # one a rest: it does not spin
            listener._loop.forward(0.02)
        assert await reader.readexactly(6) == b"mqtt:\x10"
        assert caplog.text.count("Too many open files") == 1


async def test_start_more_while_resting(listening, connect, until):
    """Addresses added later are served at once, and those that rest just then are not forgotten."""
    server = Exhausted()
    server.failing = 1
    server.bind(("127.0.0.1", 0))
    async with listening(by_hand=True, where=server) as (listener, port):
        waiting = await connect(port)
        await until(lambda: server.tries)
        await listener.start([("127.0.0.1", 0)])
        for reader, writer in (await connect(listener.addresses[1][1]), waiting):
            writer.write(b"\x10")
            assert await reader.readexactly(6) == b"mqtt:\x10"


async def test_failing_handler(listening, connect, caplog):
    """A handler that raises costs its own connection, and the log tells where."""

    def broken(info):
        raise ValueError("a fault of the handler")

    async with listening(serving=Handlers(mqtt=broken)) as (listener, port):
        reader, writer = await connect(port)
        writer.write(b"\x10")
        assert await reader.read() == b""
        assert "a fault of the handler" in caplog.text
        assert listener.counters.pending == 0
    caplog.clear()


async def test_close_with_connections_open(listening, connect, made, until):
    """Closing ends what is open and what is pending, tells the handlers, and can be repeated."""
    async with listening() as (listener, port):
        readers = []
        for tls, start in ((True, b"\x10"), (False, b"GET"), (False, b"\x16\x03\x01"), (False, b"")):
            reader, writer = await connect(port, tls=tls)
            writer.write(start)
            readers.append(reader)
        await until(lambda: listener.counters.open == 2 and listener.counters.pending == 2)
        await readers[0].readexactly(6)
        await readers[1].readexactly(8)
        await listener.close()
        assert (listener.counters.open, listener.counters.pending) == (0, 0)
        assert all(each.lost.done() for each in made)
        for reader in readers:
            await ended(reader)
        await listener.close()
        assert listener.addresses == []
        with pytest.raises(ConnectionRefusedError):
            await connect(port)
        with pytest.raises(UsageError, match="make a new one"):
            await listener.start([("127.0.0.1", 0)])


async def test_stop_accepting_keeps_connections(listening, connect):
    """After `stop_accepting` nobody new gets in, and who is in goes on."""
    async with listening() as (listener, port):
        reader, writer = await connect(port)
        writer.write(b"\x10")
        await reader.readexactly(6)
        listener.stop_accepting()
        with pytest.raises(ConnectionRefusedError):
            await connect(port)
        writer.write(b"on")
        assert await reader.readexactly(7) == b"mqtt:on"


async def test_port_taken(server_tls, handlers):
    """A taken port is named, and the ports bound before it are free again."""
    with socket.create_server(("127.0.0.1", 0)) as held, reserve([0]) as spare:
        taken, free = held.getsockname()[1], spare.ports[0]
        spare.close()
        listener = Listener(server_tls, handlers)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{taken} is taken by this very process"):
            await listener.start([("127.0.0.1", free), ("127.0.0.1", taken)])
        socket.create_server(("127.0.0.1", free)).close()
        await listener.start([("127.0.0.1", free)])
        assert listener.addresses == [("127.0.0.1", free)]
        await listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.com", ""])
async def test_loopback_only(server_tls, handlers, host):
    """An address that other machines can reach is refused, given by name or as a bound socket."""
    listener = Listener(server_tls, handlers)
    with pytest.raises(UsageError):
        await listener.start([(host, 0)])
    with socket.create_server(("0.0.0.0", 0)) as everywhere, pytest.raises(UsageError, match="this machine"):
        await listener.start([everywhere])
    await listener.close()


async def test_reservation_and_localhost(server_tls, handlers, connect):
    """A reservation is taken over with its port, and `localhost` is both loopback addresses."""
    listener = Listener(server_tls, handlers)
    with reserve([0, 0], first=2) as reservation:
        ports = reservation.ports
        await listener.start([reservation, ("localhost", 0)])
    assert listener.addresses[:2] == [(reservation.address, ports[0]), (reservation.address, ports[1])]
    assert {host for host, _ in listener.addresses[2:]} <= {"127.0.0.1", "::1"}
    assert len({port for _, port in listener.addresses[2:]}) == 1
    for host, port in listener.addresses:
        reader, writer = await connect(port, host=host)
        writer.write(b"\x10")
        assert await reader.readexactly(6) == b"mqtt:\x10"
    await listener.close()


@pytest.mark.parametrize("trusts", [True, False], ids=["trusting", "distrusting"])
async def test_uamqp(listening, authority, made, until, trusts):
    """uamqp (azure-iot-hub's cloud-to-device sender) agrees on TLS if and only if it knows the root."""
    pytest.importorskip("uamqp")
    program = (
        "import sys, uamqp\n"
        "from uamqp import authentication\n"
        "auth = authentication.SASLAnonymous('localhost', port=int(sys.argv[1]), verify=sys.argv[2])\n"
        "client = uamqp.SendClient(f'amqps://localhost:{sys.argv[1]}/x', auth=auth)\n"
        "client.open()\n"
        "while True: client.do_work()\n"
    )
    roots = authority.ca_file if trusts else certifi.where()
    async with listening() as (listener, port):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(port), str(roots), stdout=-3, stderr=-3
        )
        try:
            await until(lambda: made or listener.counters.failed_handshakes)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if trusts:
            assert (made[0].kind, made[0].received[:5]) == (b"amqp", b"AMQP\x03")
        else:
            assert made == []
