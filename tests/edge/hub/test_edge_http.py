"""HTTPS at the edge hub: modules that call direct methods, MQTT over WebSocket, metrics."""

import asyncio

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from edge_yard import EDGE, answering, registered

from iotedge_lab.edge.hub.http import make_app
from iotedge_lab.errors import GatewayTimeout

VERSION = {"api-version": "2019-10-01"}
BODY = {"methodName": "m", "payload": {"n": 1}, "responseTimeoutInSeconds": 30}


class Calls:
    """The edge hub's HTTP over a socket."""

    def __init__(self, yard, server, session):
        self.yard, self.server, self.session = yard, server, session

    async def invoke(self, path, *, token=None, body=None, headers=None, query=None):
        """Call a method: HTTP status and JSON."""
        sent = {"x-ms-edge-moduleId": f"{EDGE}/a"}
        sent["Authorization"] = self.yard.token(EDGE, "a") if token is None else token
        async with self.session.post(
            self.server.make_url(path),
            params=VERSION if query is None else query,
            json=BODY if body is None else body,
            headers={name: value for name, value in (sent | (headers or {})).items() if value},
        ) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def calls(yard):
    yard.scope("a", "b", "leaf:leaf", "$edgeAgent")
    app = make_app(yard.hub, lambda: "the_metrics 1\n")
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Calls(yard, server, session)


@pytest.mark.parametrize(
    ("path", "name"), [(f"/twins/{EDGE}/modules/b/methods", "b"), ("/twins/leaf/methods", "")]
)
async def test_invoke(path, name, calls, yard):
    """A module calls another one, or a leaf device, and gets its status and payload."""
    client = await (yard.module("b") if name else yard.leaf("leaf"))
    asking = asyncio.ensure_future(calls.invoke(path))
    assert await answering(client, 207) == "m"
    assert await asking == (200, {"status": 207, "payload": {"got": {"n": 1}}})
    assert yard.hub.counters.method_calls == 1


REFUSED = {
    "not connected": (f"/twins/{EDGE}/modules/b/methods", {}, 404, "DeviceNotOnline"),
    "no such module": (f"/twins/{EDGE}/modules/x/methods", {}, 404, "ModuleNotFound"),
    "no such device": ("/twins/x/methods", {}, 404, "DeviceNotFound"),
    "no body": (f"/twins/{EDGE}/modules/b/methods", {"body": []}, 400, "ArgumentInvalid"),
    "no name": (f"/twins/{EDGE}/modules/b/methods", {"body": {"payload": 1}}, 400, "ArgumentInvalid"),
    "no version": (f"/twins/{EDGE}/modules/b/methods", {"query": {}}, 400, "InvalidProtocolVersion"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refusals(name, calls):
    """They have the IoT Hub's status and code."""
    path, options, status, code = REFUSED[name]
    found, body = await calls.invoke(path, **options)
    assert found == status
    assert body["Message"].startswith(f"ErrorCode:{code};")


async def test_who_may_call(calls, yard):
    """Only a module of this edge device, as itself: by a token of its own that has not ended."""
    tokens = [
        "",
        "nonsense",
        yard.token(EDGE, "a", number=2),
        yard.token(EDGE, "a", seconds=-1),
        yard.token("leaf"),
        yard.token(EDGE),
        yard.token(EDGE, "x"),
        yard.token(EDGE, "$edgeAgent"),
        yard.token(EDGE, "b"),  # and the header says a
        yard.token(EDGE, "a").replace("hub.test", "other.test"),
    ]
    for token in tokens:
        status, body = await calls.invoke(f"/twins/{EDGE}/modules/b/methods", token=token)
        assert status == 401, token
        assert not any(part in str(body) for part in (registered(EDGE, "a").primary_key, "sig="))
    yard.hub.identities.save([registered(EDGE, "a", enabled=False)])
    assert (await calls.invoke(f"/twins/{EDGE}/modules/b/methods"))[0] == 401


async def test_a_caller_that_names_no_module(calls):
    """The header that the SDK sends is checked where it is there."""
    status, _ = await calls.invoke(f"/twins/{EDGE}/modules/b/methods", headers={"x-ms-edge-moduleId": ""})
    assert status == 404


async def test_an_answer_that_does_not_come(calls, yard, monkeypatch):
    """It is 504."""

    async def invoke(*_):
        raise GatewayTimeout("b did not answer in time.")

    monkeypatch.setattr(yard.hub.methods, "invoke", invoke)
    found, body = await calls.invoke(f"/twins/{EDGE}/modules/b/methods")
    assert found == 504
    assert body["Message"].startswith("ErrorCode:GatewayTimeout")


async def test_metrics_and_what_there_is_not(calls):
    """The metrics are text; other paths are 404, other ways 405."""
    async with calls.session.get(calls.server.make_url("/metrics")) as answer:
        assert (answer.status, await answer.text()) == (200, "the_metrics 1\n")
    async with calls.session.get(calls.server.make_url("/devices")) as answer:
        assert answer.status == 404
    async with calls.session.get(calls.server.make_url("/twins/x/methods")) as answer:
        assert answer.status == 405


async def test_websocket(calls, yard):
    """MQTT in binary frames is MQTT."""
    client = yard.client(EDGE, "a")
    async with calls.session.ws_connect(
        calls.server.make_url("/$iothub/websocket"), protocols=("mqtt",)
    ) as socket:
        assert socket.protocol == "mqtt"
        await socket.send_bytes(client.mqtt.connect())
        assert client.mqtt.receive(await socket.receive_bytes())[0].code == 0
        await socket.send_bytes(client.mqtt.disconnect())
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
