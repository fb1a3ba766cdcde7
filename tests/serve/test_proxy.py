"""The CONNECT proxy with raw sockets and with the clients that the SDKs are built on."""

import asyncio
import contextlib
import logging
import socket

import paho.mqtt.client as mqtt
import pytest
import requests
from aiohttp import web

from iotedge_lab.errors import PortTaken, UsageError
from iotedge_lab.serve.proxy import ConnectProxy, Route
from iotedge_lab.serve.sniffing import Handlers

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(autouse=True)
def quiet(caplog, monkeypatch):
    """No client can make the proxy log an error, and no proxy setting of this machine gets in."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "mqtt_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    caplog.set_level(logging.INFO)
    yield
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.fixture
def proxying():
    """`async with proxying(routes, ...) as (proxy, port)`: a proxy on a free port."""

    @contextlib.asynccontextmanager
    async def serve(routes=(), **options):
        proxy = ConnectProxy([Route.parse(each) for each in routes], **options)
        port = await proxy.start()
        try:
            yield proxy, port
        finally:
            await proxy.close()

    return serve


@pytest.fixture
async def far():
    """`port = await far(handler)`: a plain server to reach through the proxy."""
    servers = []

    async def serve(handler):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        servers.append(server)
        return server.sockets[0].getsockname()[1]

    yield serve
    for server in servers:
        server.close()
        await server.wait_closed()


async def echo(reader, writer):
    """Send back all that comes, then the word `end` after the client's end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"end")
    writer.close()


async def ask(connect, port, request):
    """The whole answer to `request`."""
    reader, writer = await connect(port)
    writer.write(request)
    async with asyncio.timeout(30):
        return await reader.read()


@pytest.mark.parametrize(
    ("route", "host", "port", "leads"),
    [
        ("*.azure-devices.net:443 -> 127.0.0.1:8443", "lab.azure-devices.net", 443, True),
        ("*.azure-devices.net:443 -> 127.0.0.1:8443", "LAB.Azure-Devices.NET.", 443, True),
        ("*.azure-devices.net:443 -> 127.0.0.1:8443", "lab.azure-devices.net", 8883, False),
        ("*.azure-devices.net:443 -> 127.0.0.1:8443", "azure-devices.net", 443, False),
        ("*.azure-devices.net:443 -> 127.0.0.1:8443", "lab.azure-devices.net.evil.example", 443, False),
        ("car.lab:* -> 127.0.0.2:8883", "car.lab", 1, True),
        ("car.lab:8883->127.0.0.2:8883", "car.lab", 8883, True),
        ("[::1]:443 -> [::1]:8443", "::1", 443, True),
    ],
)
def test_routes(route, host, port, leads):
    """A route leads the names it was written for, and no others."""
    assert Route.parse(route).matches(host, port) is leads
    assert Route.parse(str(Route.parse(route))) == Route.parse(route)


@pytest.mark.parametrize("text", ["", "a -> b", "a:1 -> b", "a -> b:1", "a:x -> b:1", "a:1 b:1"])
def test_malformed_routes(text):
    """What is no route is refused with the form it should have."""
    with pytest.raises(UsageError, match="name:port -> address:port"):
        Route.parse(text)


async def test_routed_and_foreign(proxying, far, connect):
    """A named host goes where its route says, any other goes where it asked to go; bytes pass unchanged."""
    routed, foreign = await far(echo), await far(echo)
    async with proxying([f"lab.azure-devices.net:443 -> 127.0.0.1:{routed}"]) as (_, port):
        for target in ("lab.azure-devices.net:443", f"127.0.0.1:{foreign}"):
            reader, writer = await connect(port)
            # The first bytes for the host come along with the request.
            writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-Any: x\r\n\r\nearly".encode())
            assert await reader.readexactly(len(OK) + 5) == OK + b"early"
            data = bytes(range(256)) * 8000
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.write_eof()
            assert await reader.read() == b"end"  # half-closed: the answer still comes


async def test_far_end_closes_first(proxying, far, connect):
    """When the host ends first the client gets its last bytes and can still send its own."""
    received = asyncio.get_running_loop().create_future()

    async def handler(reader, writer):
        writer.write(b"bye")
        writer.write_eof()
        received.set_result(await reader.read())
        writer.close()

    target = await far(handler)
    async with proxying() as (proxy, port):
        reader, writer = await connect(port)
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % target)
        assert await reader.read() == OK + b"bye"
        writer.write(b"still")
        writer.write_eof()
        assert await received == b"still"
        assert proxy.url == f"http://127.0.0.1:{port}"


async def test_backpressure(proxying, far, connect):
    """A host that does not read stops the client instead of filling this process's memory."""
    go_on = asyncio.Event()
    read = asyncio.get_running_loop().create_future()

    async def lazy(reader, writer):
        await go_on.wait()
        size = 0
        while data := await reader.read(1 << 20):
            size += len(data)
        read.set_result(size)
        writer.close()

    target = await far(lazy)
    async with proxying() as (_, port):
        reader, writer = await connect(port)
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % target)
        await reader.readexactly(len(OK))
        sent, part = 0, bytes(1 << 20)
        with pytest.raises(TimeoutError):
            while sent < 200 * len(part):
                writer.write(part)
                sent += len(part)
                async with asyncio.timeout(0.3):
                    await writer.drain()
        assert sent < 40 * len(part)
        go_on.set()
        writer.write_eof()
        assert await read == sent


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        (b"CONNECT nowhere HTTP/1.1\r\n\r\n", b"400 Bad Request", b"host:port"),
        (b"CONNECT a:0 HTTP/1.1\r\n\r\n", b"400 Bad Request", b"port from 1"),
        (b"CONNECT a:70000 HTTP/1.1\r\n\r\n", b"400 Bad Request", b"port from 1"),
        (b"CONNECT a/b:1 HTTP/1.1\r\n\r\n", b"400 Bad Request", b"host:port"),
        (b"nonsense\r\n\r\n", b"400 Bad Request", b"no HTTP/1.1 request"),
        (b"\x16\x03\x01\x00\r\n\r\n", b"400 Bad Request", b"no HTTP/1.1 request"),
        (b"GET http://example.com/ HTTP/1.1\r\n\r\n", b"405 Method Not Allowed", b"CONNECT only"),
        (b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 200_000, b"431 ", b"over 64 KB"),
        (b"CONNECT elsewhere.example:443 HTTP/1.1\r\n\r\n", b"403 Forbidden", b"not of this lab"),
        (b"CONNECT lab:1 HTTP/1.1\r\n\r\n", b"502 Bad Gateway", b"is the hub running?"),
        (b"CONNECT lab:1 HTTP/1.1\r\n", b"408 Request Timeout", b"no CONNECT request within"),
        (b"", b"408 Request Timeout", b"no CONNECT request within"),
    ],
)
async def test_refusals(proxying, connect, request_, status, word):
    """Each refusal says what happened, in the reason phrase and in the text."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    patience = 0.1 if status.startswith(b"408") else 30
    async with proxying([f"lab:1 -> 127.0.0.1:{closed}"], foreign=False, timeout=patience) as (_, port):
        answer = await ask(connect, port, request_)
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 " + status)
        assert word in head.split(b"\r\n", 1)[0]
        assert word in body
        assert b"Content-Length: %d" % len(body) in head


async def test_silent_host(proxying, connect, monkeypatch):
    """A host that does not take the connection in time is a 504."""
    request = ConnectProxy._request

    async def then_in_a_hurry(proxy, reader):
        asked = await request(proxy, reader)
        proxy._timeout = 0.1
        return asked

    monkeypatch.setattr(ConnectProxy, "_request", then_in_a_hurry)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        target = full.getsockname()[1]
        filling = []
        for _ in range(4):  # the kernel answers as long as the backlog has room
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", target))
            filling.append(each)
        async with proxying() as (_, port):
            answer = await ask(connect, port, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % target)
            assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout - ")
        for each in filling:
            each.close()


async def test_circle(proxying, connect):
    """A request for the proxy itself is refused, however the address is written."""
    async with proxying() as (_, port):
        for name in ("localhost", "127.0.0.1"):
            answer = await ask(connect, port, b"CONNECT %s:%d HTTP/1.1\r\n\r\n" % (name.encode(), port))
            assert answer.startswith(b"HTTP/1.1 403 Forbidden - ")


async def test_upstream(proxying, far, connect):
    """Foreign hosts go by the upstream proxy with its password, named and loopback ones do not."""
    asked = []
    local = await far(echo)

    async def upstream(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if b"refused.example" in asked[-1]:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 fine\r\nVia: x\r\n\r\nhello")
        await echo(reader, writer)

    there = await far(upstream)
    options = {"upstream": f"http://me:p%40ss@127.0.0.1:{there}"}
    async with proxying([f"lab.example:443 -> 127.0.0.1:{local}"], **options) as (_, port):
        reader, writer = await connect(port)
        writer.write(b"CONNECT foreign.example:443 HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(len(OK) + 5) == OK + b"hello"
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        [request] = asked
        assert request.startswith(b"CONNECT foreign.example:443 HTTP/1.1\r\n")
        assert b"\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n" in request

        answer = await ask(connect, port, b"CONNECT refused.example:443 HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway - the upstream proxy 127.0.0.1:")
        assert b"407 Proxy Authentication Required" in answer

        for name in (b"lab.example:443", b"localhost:%d" % local):
            reader, writer = await connect(port)
            writer.write(b"CONNECT %s HTTP/1.1\r\n\r\nx" % name)
            assert await reader.readexactly(len(OK) + 1) == OK + b"x"
        assert len(asked) == 2


async def test_upstream_is_itself(connect, caplog):
    """A process that inherited the lab's own HTTPS_PROXY does not run in circles."""
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
    proxy = ConnectProxy([], upstream=f"http://localhost:{port}")
    assert await proxy.start("127.0.0.1", port) == port
    answer = await ask(connect, port, b"CONNECT nowhere.invalid:443 HTTP/1.1\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 502 Bad Gateway - nowhere.invalid:443", b"HTTP/1.1 504"))
    assert "names this very proxy" in caplog.text
    await proxy.close()


@pytest.mark.parametrize(
    "text", ["socks5://u:secret@h:1", "http://u:secret@", "u:secret@:80", "http://u:secret@a:x"]
)
def test_malformed_upstream(text):
    """A proxy URL that cannot be used is refused without repeating it, as it may hold a password."""
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        ConnectProxy([], upstream=text)
    assert "secret" not in str(caught.value)


async def test_clients_that_leave(proxying, far, connect, until):
    """Clients that leave at any stage leave no task behind."""
    target = await far(echo)
    async with proxying() as (proxy, port):
        for request in (b"", b"CONN", b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nx" % target):
            _, writer = await connect(port)
            writer.write(request)
            await until(lambda: len(proxy._tasks) == 1)
            writer.transport.abort()
            await until(lambda: not proxy._tasks)


async def test_close_with_tunnels_open(proxying, far, connect):
    """Closing cuts tunnels and waiting clients, and can be repeated."""
    target = await far(echo)
    async with proxying() as (proxy, port):
        waiting, _ = await connect(port)
        reader, writer = await connect(port)
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % target)
        await reader.readexactly(len(OK))
        await proxy.close()
        await proxy.close()
        for each in (reader, waiting):
            with contextlib.suppress(ConnectionError):
                assert await each.read() == b""
        assert proxy.url is None
        with pytest.raises(ConnectionRefusedError):
            await connect(port)


async def test_start_errors(proxying):
    """It listens on loopback only, on a free port only, and once."""
    async with proxying() as (proxy, port):
        with pytest.raises(UsageError, match="runs already"):
            await proxy.start()
        with pytest.raises(PortTaken):
            await ConnectProxy([]).start("127.0.0.1", port)
        with pytest.raises(UsageError, match="this machine only"):
            await ConnectProxy([]).start("0.0.0.0", 0)


class Broker(asyncio.Protocol):
    """As much of an MQTT server as a client needs in order to say that it is connected."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if data[0] == 0x10:
            self.transport.write(b"\x20\x02\x00\x00")


def visit(client, port, keep_alive=10):
    """Connect the paho client to lab.azure-devices.net, and the return code of its CONNACK."""
    codes = []
    client.on_connect = lambda client, userdata, flags, code: codes.append(code)
    client.connect("lab.azure-devices.net", port, keep_alive)
    for _ in range(600):
        client.loop(0.05)
        if codes:
            break
    client.disconnect()
    client.loop(0.05)
    return codes


async def test_paho(proxying, listening, client_tls, monkeypatch):
    """paho (and so azure-iot-device) reaches the hub by any name through the variable mqtt_proxy."""
    async with (
        listening(serving=Handlers(mqtt=lambda info: Broker())) as (_, hub),
        proxying([f"*.azure-devices.net:8883 -> 127.0.0.1:{hub}"]) as (proxy, _),
    ):
        monkeypatch.setenv("mqtt_proxy", proxy.url)
        client = mqtt.Client("dev1")
        client.tls_set_context(client_tls)
        assert await asyncio.to_thread(visit, client, 8883) == [0]


async def websocket(request):
    """MQTT in WebSocket, as far as the CONNACK."""
    socket_ = web.WebSocketResponse(protocols=("mqtt",))
    await socket_.prepare(request)
    async for message in socket_:
        if message.data[0] == 0x10:
            await socket_.send_bytes(b"\x20\x02\x00\x00")
    return socket_


async def greet(request):
    """The host that the client thinks it talks to."""
    return web.Response(text=request.headers["Host"])


@pytest.fixture
async def http():
    """A handler for HTTP: a small aiohttp application."""
    app = web.Application()
    app.router.add_get("/$iothub/websocket", websocket)
    app.router.add_get("/", greet)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    yield lambda info: runner.server()
    await runner.cleanup()


async def test_paho_over_websocket(proxying, listening, client_tls, monkeypatch, http):
    """MQTT over WebSocket on 443, which needs root elsewhere, goes through the proxy."""
    async with (
        listening(serving=Handlers(http=http)) as (_, hub),
        proxying([f"*.azure-devices.net:443 -> 127.0.0.1:{hub}"]) as (proxy, _),
    ):
        monkeypatch.setenv("mqtt_proxy", proxy.url)
        client = mqtt.Client("dev1", transport="websockets")
        client.ws_set_options("/$iothub/websocket")
        client.tls_set_context(client_tls)
        assert await asyncio.to_thread(visit, client, 443) == [0]


async def test_requests(proxying, listening, authority, monkeypatch, http):
    """requests (and so the REST clients) obeys HTTPS_PROXY and REQUESTS_CA_BUNDLE, and shows the reason."""
    async with (
        listening(serving=Handlers(http=http)) as (_, hub),
        proxying([f"*.azure-devices.net:443 -> 127.0.0.1:{hub}"], foreign=False) as (proxy, _),
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle_file))

        def get(url):
            with requests.Session() as session:
                return session.get(url, timeout=30).text

        assert await asyncio.to_thread(get, "https://lab.azure-devices.net/") == "lab.azure-devices.net"
        with pytest.raises(requests.exceptions.ProxyError, match=r"403 Forbidden - .*not of this lab"):
            await asyncio.to_thread(get, "https://example.com/")
