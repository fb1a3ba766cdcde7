"""aiohttp behind the listener: its protocol factory drops in as the handler for HTTP."""

import asyncio
import hashlib
import io

import aiohttp
import pytest
from aiohttp import web

from iotedge_lab.serve.sniffing import Handlers


async def digest(request):
    """The SHA-256 of the body, read in parts."""
    sha = hashlib.sha256()
    async for part in request.content.iter_chunked(65536):
        sha.update(part)
    return web.json_response(
        {"sha256": sha.hexdigest(), "peer": request.transport.get_extra_info("peername")}
    )


async def large(request):
    """A large body, streamed."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(bytes(65536))
    await response.write_eof()
    return response


async def websocket(request):
    """Send every message back."""
    socket = web.WebSocketResponse(protocols=("mqtt",), max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


@pytest.fixture
async def serving(listening):
    """`base URL, listener` of an aiohttp application over TLS."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/digest", digest)
    app.router.add_get("/large", large)
    app.router.add_get("/ws", websocket)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    async with listening(serving=Handlers(http=lambda info: runner.server())) as (listener, port):
        yield f"localhost:{port}", listener
        await runner.cleanup()


@pytest.fixture
async def session(client_tls):
    """A client that trusts the lab and keeps connections alive."""
    connector = aiohttp.TCPConnector(ssl=client_tls, family=2)
    async with aiohttp.ClientSession(connector=connector) as made:
        yield made
    await asyncio.sleep(0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_keep_alive(serving, session, scheme):
    """Requests follow one another on one connection."""
    where, listener = serving
    peers = set()
    for at in range(5):
        async with session.post(f"{scheme}://{where}/digest", data=b"x" * at) as answer:
            told = await answer.json()
            assert told["sha256"] == hashlib.sha256(b"x" * at).hexdigest()
            peers.add(tuple(told["peer"]))
    assert len(peers) == listener.counters.accepted == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_large_bodies(serving, session, scheme):
    """Megabytes pass both ways unchanged: the handover does not disturb flow control."""
    where, _ = serving
    body = bytes(range(256)) * 40_000
    async with session.post(f"{scheme}://{where}/digest", data=io.BytesIO(body)) as answer:
        assert (await answer.json())["sha256"] == hashlib.sha256(body).hexdigest()
    async with session.get(f"{scheme}://{where}/large") as answer:
        assert len(await answer.read()) == 64 * 65536


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_websocket(serving, session, scheme):
    """A WebSocket is opened with its subprotocol and carries large messages."""
    where, _ = serving
    async with session.ws_connect(f"{scheme}://{where}/ws", protocols=("mqtt",), max_msg_size=0) as socket:
        assert socket.protocol == "mqtt"
        for size in (1, 200, 70_000, 3_000_000):
            await socket.send_bytes(bytes(size))
            assert len(await socket.receive_bytes()) == size


async def test_many_at_once(serving, session):
    """Requests on many connections at once are each answered with their own."""
    where, listener = serving

    async def one(at):
        async with session.post(f"https://{where}/digest", data=b"%d" % at) as answer:
            assert (await answer.json())["sha256"] == hashlib.sha256(b"%d" % at).hexdigest()

    await asyncio.gather(*(one(at) for at in range(60)))
    assert listener.counters.accepted > 10
    assert listener.counters.refused == 0


async def test_pipelined_start(serving, connect):
    """A request that comes whole with the first bytes, and the next one with it, are both answered."""
    where, _ = serving
    port = int(where.split(":")[1])
    reader, writer = await connect(port, tls=True)
    request = b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    writer.write(request + b"\r\na" + request + b"Connection: close\r\n\r\nb")
    answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert hashlib.sha256(b"a").hexdigest().encode() in answer
    assert hashlib.sha256(b"b").hexdigest().encode() in answer
