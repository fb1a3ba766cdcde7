"""HTTP clients that take their time: whoever sends half a request holds nothing without end."""

import asyncio
import json

import pytest
from house import HOST, LOCAL, House

from iotedge_lab.hub import http_server
from iotedge_lab.hub.http_front import make_app
from iotedge_lab.hub.http_server import FIRST_SECONDS, HttpServer
from iotedge_lab.wire import sas

HEALTH = b"GET /lab/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE = 30


@pytest.fixture
async def house(tmp_path):
    """The house, on the loop of the test."""
    made = House(tmp_path)
    yield made
    made.turns.run()
    made.hub.close()


@pytest.fixture
async def dial(house):
    """`dial()`: (reader, writer) of a fresh connection to the hub's HTTP side, without TLS."""
    server = HttpServer(house.hub, make_app(house.hub))
    await server.start()
    listener = await asyncio.get_running_loop().create_server(lambda: server(LOCAL), "127.0.0.1", 0)
    writers = []

    async def connect():
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
    listener.close()
    await server.close()


async def _answer(reader):
    """(status, body) of the next answer."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(size))


async def _ends(reader):
    """Whether the connection has ended."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize(
    "said", [b"", b"GET /devi", HEALTH[:-2], b"POST /devices HTTP/1.1\r\nContent-Length: 9"]
)
async def test_a_first_request_that_does_not_come(house, dial, said):
    """The connection is cut after half a minute; one that has asked in time is kept."""
    slow, writer = await dial()
    writer.write(said)
    good, asking = await dial()
    asking.write(HEALTH)
    assert (await _answer(good))[0] == 200
    house.clock.advance(FIRST_SECONDS)
    house.hub.tick()
    asking.write(HEALTH)
    assert (await _answer(good))[0] == 200
    house.clock.advance(1)
    house.hub.tick()
    assert await _ends(slow)
    asking.write(HEALTH)
    assert (await _answer(good))[0] == 200


async def test_who_leaves_without_a_word_is_forgotten(house, dial):
    """And nothing is cut twice."""
    reader, writer = await dial()
    writer.close()
    await writer.wait_closed()
    house.clock.advance(FIRST_SECONDS + 1)
    house.hub.tick()
    house.hub.tick()
    assert await _ends(reader)


async def test_a_body_that_does_not_come(house, dial, monkeypatch):
    """408 in the service's shape, and nothing was made."""
    monkeypatch.setattr(http_server, "CALL_SECONDS", 0.2)
    key = house.hub.access.policies["iothubowner"].primary_key
    token = sas.build(HOST, key, int(house.clock.now()) + 60, "iothubowner")
    reader, writer = await dial()
    writer.write(
        f"PUT /devices/d?api-version=2021-04-12 HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{".encode()
    )
    status, body = await _answer(reader)
    assert (status, body["Message"].partition(";")[0]) == (408, "ErrorCode:RequestTimeout")
    assert house.hub.identities.find("d") is None
