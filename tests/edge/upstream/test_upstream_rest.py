"""REST by an edge device's own token: against a hub, and against one that answers wrongly, slowly or not at all."""

import asyncio
import socket
import ssl
import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from fake_cloud import KEY, answer
from upstream_house import QUICK

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.errors import UpstreamAway, UpstreamOffline, UpstreamRefused, UpstreamUntrusted
from iotedge_lab.edge.upstream import Cloud, CloudIdentity, CloudRest, Registered, rest
from iotedge_lab.edge.upstream.proxies import Proxy
from iotedge_lab.errors import ArgumentInvalid, DeviceNotFound, EnvironmentProblem, Unauthorized
from iotedge_lab.serve.proxy import ConnectProxy, Route
from iotedge_lab.wire import sas

# -- a hub ---------------------------------------------------------------------------------------------


async def test_modules_are_made_read_and_deleted(house):
    """By the device's token; the hub makes keys and generation id; each call may be repeated."""
    made = await house.rest.create_module("ModuleA")
    assert (made.device, made.module, made.managed_by) == (house.device, "ModuleA", "IotEdge")
    assert made.has_key
    assert made.generation_id
    assert await house.rest.create_module("ModuleA") == made == await house.rest.module("ModuleA")
    listed = await house.rest.modules()
    assert [each.module for each in listed] == ["$edgeAgent", "$edgeHub", "ModuleA"]
    assert all(each.has_key for each in listed)
    assert await house.rest.delete_module("ModuleA") is True
    assert await house.rest.delete_module("ModuleA") is False
    assert await house.rest.module("ModuleA") is None
    again = await house.rest.create_module("ModuleA", "me")
    assert again.generation_id != made.generation_id
    assert again.managed_by == "me"


@pytest.mark.parametrize("name", ["a%2Fb", "a?b=c", "m.-:_*!(),=@$'", "x" * 128])
async def test_odd_names_of_modules(house, name):
    """All that an id may hold comes through an address unharmed."""
    assert (await house.rest.create_module(name)).module == name
    assert (await house.rest.member(house.device, name)).modules[0].module == name
    assert await house.rest.delete_module(name) is True


async def test_what_the_hub_does_not_take(house):
    """Its word comes back, and its kind."""
    with pytest.raises(ArgumentInvalid, match="module id"):
        await house.rest.create_module("a b")


async def test_the_scope(house, monkeypatch):
    """All pages: the device, its modules, leaves and theirs; with keys by which tokens are verified offline."""
    monkeypatch.setattr(rest, "_PAGE", 2)
    scope = (await house.call("GET", house.path()))["deviceScope"]
    leaves = [f"{house.device}-leaf-{number}" for number in range(5)]
    for leaf in leaves:
        await house.call("PUT", f"/devices/{leaf}", {"deviceId": leaf, "deviceScope": scope})
    await house.call("PUT", f"/devices/{leaves[0]}/modules/m", {"moduleId": "m", "deviceId": leaves[0]})
    found = await house.rest.scope()
    assert [each.device for each in found.devices] == [house.device, *leaves]
    assert [(each.device, each.module) for each in found.modules] == [
        (house.device, "$edgeAgent"),
        (house.device, "$edgeHub"),
        (leaves[0], "m"),
    ]
    assert found.devices[0].iot_edge
    assert found.devices[0].device_scope == scope == found.devices[1].device_scope
    token = CloudIdentity(leaves[1], "", found.devices[2].primary_key).token("h", int(time.time()) + 60)
    sas.verify(sas.parse(token), found.devices[2].primary_key, time.time())
    one = await house.rest.member(leaves[0], "m")
    assert ([each.device for each in one.devices], [each.module for each in one.modules]) == (
        [leaves[0]],
        ["m"],
    )
    assert [each.device for each in (await house.rest.member(leaves[1])).devices] == [leaves[1]]
    assert await house.rest.member(leaves[1], "m") is None
    assert await house.rest.member("nobody") is None


async def test_a_wrong_key(house):
    """401 says what to check, and not the key."""
    stranger = CloudRest(house.cloud, replace(house.identity, key=KEY), house.clock, house.gate)
    try:
        with pytest.raises(
            Unauthorized, match=r"does not accept the token.*Check that its connection string"
        ) as caught:
            await stranger.modules()
        assert KEY not in str(caught.value)
        assert "clock." in str(caught.value)
    finally:
        await stranger.close()


async def test_a_clock_that_is_wrong(house):
    """401 says by how much, since the hub tells its time."""
    late = CloudRest(house.cloud, house.identity, FakeClock(time.time() - 86_400), house.gate)
    try:
        with pytest.raises(Unauthorized, match=r"clock, which is 86,\d\d\d s behind the hub's"):
            await late.modules()
    finally:
        await late.close()


async def test_a_device_that_is_disabled_or_gone(house):
    """401 both times, as the hub has it, with its word."""
    await house.call(
        "PUT", house.path(), {"deviceId": house.device, "status": "disabled"}, headers={"If-Match": "*"}
    )
    with pytest.raises(Unauthorized, match="is disabled"):
        await house.rest.modules()
    await house.call("DELETE", house.path())
    with pytest.raises(Unauthorized, match="there is no identity"):
        await house.rest.modules()


async def test_a_device_that_is_no_edge_device(house):
    """It has no business here."""
    await house.call(
        "PUT",
        house.path(),
        {"deviceId": house.device, "capabilities": {"iotEdge": False}},
        headers={"If-Match": "*"},
    )
    with pytest.raises(Unauthorized, match="is no edge device"):
        await house.rest.modules()


async def test_a_hub_that_dies_and_comes_back(own_house):
    """UpstreamAway while it is away; afterwards the same client goes on."""
    house = own_house
    await house.rest.create_module("ModuleA")
    await asyncio.to_thread(house.lab.crash)
    with pytest.raises(UpstreamAway, match="no hub listens there"):
        await house.rest.modules()
    await asyncio.to_thread(house.lab.start)
    assert len(await house.rest.modules()) == 3


async def test_offline_and_online(house):
    """While the gate is closed no call is made; afterwards they go through."""
    await house.rest.modules()
    house.gate.close()
    await house.gate.wait_clear()
    with pytest.raises(UpstreamOffline):
        await house.rest.modules()
    house.gate.open()
    assert await house.rest.modules()


async def test_a_client_that_was_closed_may_be_used_again(house):
    """Closing twice does nothing."""
    await house.rest.modules()
    await house.rest.close()
    await house.rest.close()
    assert await house.rest.modules()


async def test_through_a_proxy(house):
    """HTTPS_PROXY leads there, by the name that the certificate is for; a proxy that says no is told as such."""
    name = "lab.azure-devices.net"
    routes = [Route(name, 443, house.lab._told.host, house.lab._told.https_port)]
    proxy = ConnectProxy(routes, foreign=False)
    await proxy.start()
    try:
        by = Proxy.parse(proxy.url, "HTTPS_PROXY")
        for host, port in ((name, 443), ("elsewhere.azure-devices.net", 443)):
            cloud = Cloud(host, house.cloud.context, port, https_proxy=by)
            client = CloudRest(cloud, house.identity, house.clock, house.gate)
            try:
                if host == name:
                    assert await client.modules()
                else:
                    with pytest.raises(UpstreamAway, match=rf"the proxy 127.0.0.1:{by.port} answered 403"):
                        await client.modules()
            finally:
                await client.close()
    finally:
        await proxy.close()
    client = CloudRest(cloud, house.identity, house.clock, house.gate)
    with pytest.raises(UpstreamAway, match=r"the proxy 127.0.0.1:\d+ cannot be reached"):
        await client.modules()
    await client.close()


# -- one that answers wrongly, slowly or not at all ----------------------------------------------------

JSON = "Content-Type: application/json"


async def test_what_is_asked(fake):
    """A call has a token for the device, an api-version, and no more than it needs."""
    client = fake.http((200, []))
    assert await client.modules() == []
    ((head, body),) = fake.requests
    assert head.startswith("GET /devices/edge/modules?api-version=2021-04-12 HTTP/1.1")
    (line,) = [line for line in head.splitlines() if line.startswith("Authorization: ")]
    token = sas.parse(line.removeprefix("Authorization: "))
    assert token.resource_decoded == "localhost/devices/edge"
    sas.verify(token, KEY, time.time())
    assert body == b""


WRONG = [
    ((200, b"<html>"), UpstreamAway, "not JSON.*Check HostName"),
    ((200, b"{}"), UpstreamAway, "a list of identities that is none"),
    ((200, b'[{"moduleId": "m"}]'), UpstreamAway, "an identity without deviceId"),
    ((200, b"[" * 100_000), UpstreamAway, "not JSON"),
    ((204,), UpstreamAway, "a list of identities that is none"),
    ((302, b"", "Location: https://portal/"), UpstreamAway, "redirection"),
    (
        (404, {"Message": "ErrorCode:DeviceNotFound;gone"}, "iothub-errorcode: DeviceNotFound"),
        DeviceNotFound,
        "^gone",
    ),
    ((429, b"", "Retry-After: 7"), UpstreamAway, "throttling"),
    ((500, b"oops"), UpstreamAway, "oops"),
    ((503, b"", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"), UpstreamAway, "503"),
    ((501, b"", "iothub-errorcode: NotImplemented"), UpstreamRefused, "501 NotImplemented"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", UpstreamAway, "cannot be asked over HTTPS"),
    (b"", UpstreamAway, "closed the connection before it answered"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n[",
        UpstreamAway,
        "cannot be asked over HTTPS",
    ),
]


@pytest.mark.parametrize(("said", "kind", "words"), WRONG)
async def test_answers_that_are_none(fake, said, kind, words):
    """Each is an error that says what came, and none ends the client: the next call goes through."""
    client = fake.http(said, said, (200, []))  # aiohttp asks a second time where a connection broke
    with pytest.raises(kind, match=words) as caught:
        await client.modules()
    assert KEY not in str(caught.value)
    if said[:1] == (429,):
        assert caught.value.retry_after == 7.0
    fake.answers = [answer(200, [])]
    assert await client.modules() == []


async def test_a_hub_that_does_not_answer(fake):
    """The call ends in its time."""
    client = fake.http(None, call=0.2)
    with pytest.raises(UpstreamAway, match=r"no answer came within 0\.2 s"):
        await client.modules()


async def test_an_answer_without_end(fake, monkeypatch):
    """It is not kept in memory."""
    monkeypatch.setattr("iotedge_lab.edge.upstream.http._MOST_BYTES", 1000)
    client = fake.http((200, b" " * 2000))
    with pytest.raises(UpstreamAway, match="more than"):
        await client.modules()


async def test_offline_while_it_waits(fake):
    """The call that waits for an answer ends at once, and the hub sees the connection go."""
    client = fake.http(None)
    call = asyncio.create_task(client.modules())
    await fake.until(lambda: fake.requests)
    fake.gate.close()
    with pytest.raises(UpstreamOffline):
        await call
    await fake.gate.wait_clear()
    await fake.until(lambda: fake.hung_up)


async def test_a_caller_who_gives_up(fake):
    """A call that is cancelled is just that."""
    client = fake.http(None)
    call = asyncio.create_task(client.modules())
    await fake.until(lambda: fake.requests)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("link", [5, "https://elsewhere/", "elsewhere"])
async def test_pages_that_lead_nowhere(fake, link):
    """Only an address of the hub's own is followed."""
    client = fake.http((200, {"devices": [], "modules": [], "continuationLink": link}))
    with pytest.raises(UpstreamAway, match="leads nowhere"):
        await client.scope()


async def test_pages_without_end(fake, monkeypatch):
    """They end here."""
    monkeypatch.setattr(rest, "_MOST_PAGES", 3)
    page = (200, {"devices": [{"deviceId": "d"}], "modules": None, "continuationLink": "/devices/again"})
    client = fake.http(page, page, page)
    with pytest.raises(UpstreamAway, match="has no end"):
        await client.scope()
    assert len(fake.requests) == 3


EXISTS = (409, {"Message": "there"}, "iothub-errorcode: ModuleAlreadyExistsOnDevice")
ODD_CONFLICT = (409, {"Message": "busy"}, "iothub-errorcode: SomethingElse")
GONE = (404, {"Message": "gone"}, "iothub-errorcode: ModuleNotFound")
CHANGED = (412, {"Message": "changed"}, "iothub-errorcode: PreconditionFailed")
MADE = (201, Registered("edge", "m", "g", "e", "sas", KEY, KEY).to_json())
THERE = (200, MADE[1])
KEYLESS = (200, Registered("edge", "m", "g", "e", "none", managed_by="me").to_json())
BY_CERTIFICATE = (200, Registered("edge", "m", "g", "e", "selfSigned", thumbprints=("A" * 40,)).to_json())

RACES = [
    ([MADE], ["PUT"]),
    ([EXISTS, THERE], ["PUT", "GET"]),
    ([ODD_CONFLICT, THERE], ["PUT", "GET"]),
    ([EXISTS, GONE, MADE], ["PUT", "GET", "PUT"]),
    ([EXISTS, KEYLESS, THERE], ["PUT", "GET", "PUT"]),
    ([EXISTS, KEYLESS, CHANGED, EXISTS, THERE], ["PUT", "GET", "PUT", "PUT", "GET"]),
    ([EXISTS, KEYLESS, GONE, MADE], ["PUT", "GET", "PUT", "PUT"]),
]


@pytest.mark.parametrize(("answers", "asked"), RACES)
async def test_an_identity_is_made_whoever_else_does_so(fake, answers, asked):
    """It is there in the end, with a key, whatever happens in between."""
    client = fake.http(*answers)
    assert await client.create_module("m") == Registered.from_json(MADE[1])
    assert [head.split(" ")[0] for head, _ in fake.requests] == asked
    if KEYLESS in answers:
        head, body = fake.requests[2]
        assert 'If-Match: "e"' in head
        assert b'"managedBy": "me"' in body
        assert b"primaryKey" in body


async def test_an_identity_that_others_fight_over(fake):
    """Enough is enough; and one that has a certificate is not taken over."""
    client = fake.http(*[EXISTS, GONE] * 5)
    with pytest.raises(UpstreamAway, match="changed by others"):
        await client.create_module("m")
    client = fake.http(EXISTS, BY_CERTIFICATE)
    with pytest.raises(EnvironmentProblem, match="authenticates by selfSigned"):
        await client.create_module("m")
    client = fake.http(CHANGED, CHANGED, (204,))
    assert await client.delete_module("m") is True
    client = fake.http(*[CHANGED] * 5)
    with pytest.raises(UpstreamAway, match="to be deleted"):
        await client.delete_module("m")


async def test_a_certificate_that_is_not_trusted(fake):
    """It says whose fault that is, and how to mend it."""
    cloud = replace(fake.cloud, context=ssl.create_default_context())
    client = fake.http(cloud=cloud)
    with pytest.raises(UpstreamUntrusted, match=r"not trusted \(.*SSL_CERT_FILE"):
        await client.modules()


async def test_a_name_that_is_not_found(fake, monkeypatch):
    """A HostName with a slip of the pen."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client = fake.http(cloud=replace(fake.cloud, hostname="no-such-hub.example"))
    with pytest.raises(UpstreamAway, match=r"no-such-hub\.example cannot be asked .* name is not found"):
        await client.modules()


async def test_tokens_are_used_again_and_renewed_in_time(fake):
    """One for many calls, and another before it ends."""
    client = fake.http((200, []), (200, []), (200, []))
    clock = client._http._clock = FakeClock(time.time())
    for _ in range(2):
        await client.modules()
    clock.advance(QUICK.token_seconds * 0.85)
    await client.modules()
    tokens = signed(fake)
    assert tokens[0] == tokens[1] != tokens[2]


async def test_a_token_that_was_signed_by_a_wrong_clock(fake):
    """A 401 for one that was used before has it signed anew, once; the second 401 is told, with what the clocks say."""
    refused = (401, {"Message": "no"}, f"Date: {formatdate(time.time() + 3600, usegmt=True)}")
    client = fake.http((200, []), refused, (200, []), refused, refused)
    clock = client._http._clock = FakeClock(time.time())
    await client.modules()
    clock.advance(10)
    await client.modules()
    clock.advance(10)
    with pytest.raises(Unauthorized, match="behind the hub's"):
        await client.modules()
    tokens = signed(fake)
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3] != tokens[4]


def signed(fake):
    """The token of each request."""
    return [
        next(line for line in head.splitlines() if line.startswith("Authorization"))
        for head, _ in fake.requests
    ]
