"""A link to a real hub: telemetry, twin, methods, messages to the device; and a hub or an identity that goes away."""

import asyncio
import json
from dataclasses import replace

import pytest
from azure.iot.hub import IoTHubRegistryManager
from fake_cloud import KEY
from hub_clients import RawDevice
from upstream_house import WAIT, Sent

from iotedge_lab.edge.errors import UpstreamAway, UpstreamRefused
from iotedge_lab.edge.upstream.proxies import Proxy
from iotedge_lab.edge.upstream.subscriptions import Topic
from iotedge_lab.errors import ArgumentInvalid, UsageError
from iotedge_lab.serve.proxy import ConnectProxy, Route

# -- telemetry -----------------------------------------------------------------------------------------


async def test_messages_reach_the_hub_as_the_device_and_as_its_modules(own_house):
    """In order, with their properties, each on the connection of its own identity."""
    house = own_house
    links = [await house.link(identity) for identity in (house.identity, await house.module("ModuleA"))]
    sent = [Sent(*each) for each in links]
    for number in range(500):
        for each in sent:
            assert each.one(bag=f"%24.ct=application%2Fjson&n=n%2F{number}")
    for each in sent:
        await each.acknowledged(500)
    events = house.stored()
    for module in ("", "ModuleA"):
        found = [event for event in events if event.source.module == module]
        assert [int(event.body) for event in found] == list(range(500))
        assert [event.properties["n"] for event in found] == [f"n/{number}" for number in range(500)]
        assert {event.system["content-type"] for event in found} == {"application/json"}


async def test_a_hub_that_is_killed_again_and_again(own_house):
    """Whatever was taken arrives, once and in order, though the hub dies in the midst of it."""
    house = own_house
    link, recorder = await house.link()
    sent = Sent(link, recorder)
    for round_ in range(1, 4):
        await sent.up_to(sent.next + 500)
        await asyncio.to_thread(house.lab.crash)
        await recorder.next("disconnected", round_)
        assert not link.connected
        await asyncio.to_thread(house.lab.start)
        await recorder.next("connected", round_ + 1)
    await sent.up_to(sent.next + 100)
    await sent.acknowledged(sent.next)
    assert await link.close() == 0
    events = house.stored()
    assert [int(event.body) for event in events] == list(range(sent.next))
    assert sorted(sent.done) == list(range(sent.next))


async def test_offline_at_will(own_house):
    """The hub sees the device go and come; what was in flight arrives once, in order."""
    house = own_house
    link, recorder = await house.link()
    sent = Sent(link, recorder)
    for round_ in range(1, 4):
        for _ in range(300):
            sent.one()
        house.gate.close()
        await house.gate.wait_clear()
        assert recorder.of("disconnected") == [("this edge device is offline on purpose",)] * round_
        assert not sent.one()
        assert link.status().trouble == "this edge device is offline on purpose"
        with pytest.raises(UpstreamAway, match="offline on purpose"):
            await link.twin()
        house.gate.open()
        await recorder.next("connected", round_ + 1)
    await sent.acknowledged(sent.next)
    await link.close()
    assert [int(event.body) for event in house.stored()] == list(range(sent.next))


async def test_the_hub_is_told_of_the_end(house):
    """It shows the device as connected while the link is there, and as gone afterwards."""
    link, _ = await house.link()
    assert (await house.call("GET", house.path()))["connectionState"] == "Connected"
    assert await link.close() == 0
    async with asyncio.timeout(WAIT):
        while (await house.call("GET", house.path()))["connectionState"] != "Disconnected":
            pass
    with pytest.raises(UpstreamAway, match="its link was closed"):
        await link.wait_connected()
    assert not link.send("", b"", lambda: None)


async def test_tokens_are_renewed_without_losing_a_message(own_house):
    """Under load: nothing is lost, nothing comes twice, nothing is out of order."""
    house = own_house
    link, recorder = await house.link(token_seconds=30.0, renew_from=0.005, renew_by=0.01)
    sent = Sent(link, recorder)
    while link.status().renewals < 4:
        await sent.up_to(sent.next + 200)
        await sent.acknowledged(sent.next - 100)
    await sent.acknowledged(sent.next)
    assert {reason for (reason,) in recorder.of("disconnected")} == {"its token was renewed"}
    assert await link.close() == 0
    assert [int(event.body) for event in house.stored()] == list(range(sent.next))


async def test_a_quiet_link_renews_its_token_early(house):
    """In a moment in which nothing is under way: nobody is kept waiting."""
    link, recorder = await house.link(token_seconds=30.0, renew_from=0.005, renew_by=0.9)
    await recorder.next("connected", 4)
    assert link.status().renewals == 3
    assert {reason for (reason,) in recorder.of("disconnected")} == {"its token was renewed"}


async def test_twin_requests_do_not_notice_a_renewal(house):
    """One that meets it waits for the next connection, and one that is under way is waited for."""
    link, _ = await house.link(token_seconds=30.0, renew_from=0.005, renew_by=0.01)

    async def ask():
        while link.status().renewals < 3:
            assert (await link.twin())["desired"]["$version"] == 1

    await asyncio.gather(*(ask() for _ in range(5)))


# -- the twin ------------------------------------------------------------------------------------------


async def test_the_twin(house):
    """Read whole; reported properties patched, with their new version; desired ones as they change."""
    link, recorder = await house.link()
    assert await link.twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    assert await link.report({"a": {"b": 1}, "c": "ü"}) == 2
    assert await link.report({"a": None}) == 3
    link.listen_desired(True)
    await link.wait_listening()
    await house.call("PATCH", f"/twins/{house.device}", {"properties": {"desired": {"x": [1, None]}}})
    assert await recorder.next("desired") == ({"x": [1, None], "$version": 2},)
    assert await link.twin() == {
        "desired": {"x": [1, None], "$version": 2},
        "reported": {"c": "ü", "$version": 3},
    }
    link.listen_desired(False)
    await link.twin()  # comes after the UNSUBSCRIBE
    await house.call("PATCH", f"/twins/{house.device}", {"properties": {"desired": {"x": 2}}})
    assert (await link.twin())["desired"] == {"x": 2, "$version": 3}
    assert len(recorder.of("desired")) == 1


async def test_many_twin_requests_at_once(house):
    """Each gets its own answer."""
    link, _ = await house.link(await house.module("ModuleA"))
    versions = await asyncio.gather(*(link.report({f"p{number}": number}) for number in range(50)))
    assert sorted(versions) == list(range(2, 52))
    assert (await link.twin())["reported"]["p49"] == 49


@pytest.mark.parametrize(
    ("patch", "words"), [({"a": "b" * 5000}, "4"), ({"$bad": 1}, r"\$bad"), ({"a.b": 1}, "a.b")]
)
async def test_patches_that_the_hub_refuses(house, patch, words):
    """ArgumentInvalid with its word, and the link goes on."""
    link, _ = await house.link()
    with pytest.raises(ArgumentInvalid, match=words):
        await link.report(patch)
    assert await link.report({"a": 1}) == 2


async def test_what_is_listened_to_is_so_after_a_crash(own_house):
    """The link subscribes anew by itself."""
    house = own_house
    link, recorder = await house.link()
    link.listen_desired(True)
    link.listen_methods(True)
    await link.wait_listening()
    await asyncio.to_thread(house.lab.crash)
    await recorder.next("disconnected")
    with pytest.raises(UpstreamAway):
        await link.wait_listening()
    await asyncio.to_thread(house.lab.start)
    await recorder.next("connected", 2)
    await link.wait_listening()
    await house.call("PATCH", f"/twins/{house.device}", {"properties": {"desired": {"x": 1}}})
    assert await recorder.next("desired") == ({"x": 1, "$version": 2},)
    call = asyncio.create_task(house.call("POST", f"/twins/{house.device}/methods", {"methodName": "ping"}))
    _, request_id, _ = await recorder.next("method")
    assert link.answer_method(request_id, 200, b"1")
    assert (await call)["payload"] == 1


# -- methods -------------------------------------------------------------------------------------------


async def test_methods(house):
    """Called with their payload, answered once; modules have theirs."""
    identity = await house.module("ModuleA")
    link, recorder = await house.link(identity)
    link.listen_methods(True)
    await link.wait_listening()
    path = f"/twins/{house.device}/modules/ModuleA/methods"
    call = asyncio.create_task(house.call("POST", path, {"methodName": "do it/now", "payload": {"a": "ü"}}))
    name, request_id, body = await recorder.next("method")
    assert (name, json.loads(body)) == ("do it/now", {"a": "ü"})
    assert not link.answer_method("another", 200, b"")
    with pytest.raises(ArgumentInvalid, match="131,072 is the most"):
        link.answer_method(request_id, 200, bytes(131_073))
    assert link.answer_method(request_id, 207, b'{"done": true}')
    assert not link.answer_method(request_id, 200, b"")
    assert await call == {"status": 207, "payload": {"done": True}}


async def test_an_answer_to_a_method_does_not_outlive_its_connection(own_house):
    """A hub that was restarted counts its calls anew: the answer to one would be taken for that to another."""
    house = own_house
    link, recorder = await house.link()
    link.listen_methods(True)
    await link.wait_listening()
    call = asyncio.create_task(house.call("POST", f"/twins/{house.device}/methods", {"methodName": "old"}))
    _, old, _ = await recorder.next("method")
    await asyncio.to_thread(house.lab.crash)
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.to_thread(house.lab.start)
    await recorder.next("connected", 2)
    await link.wait_listening()
    assert not link.answer_method(old, 200, b'"old"')
    call = asyncio.create_task(house.call("POST", f"/twins/{house.device}/methods", {"methodName": "new"}))
    _, new, _ = await recorder.next("method", 2)
    assert new == old
    assert link.answer_method(new, 200, b'"new"')
    assert (await call)["payload"] == "new"


# -- messages to the device ----------------------------------------------------------------------------


@pytest.fixture
def command(lab, monkeypatch):
    """`await command(device, text)`: a cloud-to-device message, sent with the vendor's SDK."""
    for name, value in lab.env().items():
        monkeypatch.setenv(name, value)
    registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)

    async def send(device, text, **properties):
        await asyncio.to_thread(registry.send_c2d_message, device, text, properties=properties)

    return send


async def waiting(house):
    """How many messages the hub keeps for the device."""
    return (await house.call("GET", house.path()))["cloudToDeviceMessageCount"]


async def until_waiting(house, count):
    async with asyncio.timeout(WAIT):
        while await waiting(house) != count:
            pass


async def test_a_message_is_the_hubs_until_it_is_done(house, command):
    """The hub forgets it when whom it is for has it, and not before."""
    link, recorder = await house.link()
    link.listen_commands(True)
    await link.wait_listening()
    await command(house.device, "open the window", messageId="m1", a="b/c")
    bag, body, receipt = await recorder.next("command")
    assert body == b"open the window"
    assert {"%24.mid=m1", "a=b%2Fc"} <= set(bag.split("&"))
    assert await waiting(house) == 1
    assert link.command_done(receipt)
    await until_waiting(house, 0)
    assert not link.command_done(receipt)


async def test_a_message_that_was_not_done_comes_again(house, command):
    """After a reconnect, with the receipt that it had; done meanwhile, it comes no more."""
    link, recorder = await house.link()
    link.listen_commands(True)
    await link.wait_listening()
    for text in ("one", "two"):
        await command(house.device, text)
    (_, _, first), (_, _, second) = await recorder.next("command"), await recorder.next("command", 2)
    house.gate.close()
    await house.gate.wait_clear()
    assert link.command_done(second)
    house.gate.open()
    await recorder.next("command", 3)
    assert recorder.of("command")[2][1:] == (b"one", first)
    assert link.command_done(first)
    await until_waiting(house, 0)
    assert len(recorder.of("command")) == 3


async def test_messages_for_a_device_to_which_nobody_listens(house, command):
    """From a session of before: they wait, and are told once somebody listens."""
    raw = RawDevice(house.lab, house.device)
    with raw:
        _, data = raw.client.subscribe([f"devices/{house.device}/messages/devicebound/#"])
        raw.sock.sendall(data)
        raw.events()
    await command(house.device, "hello")
    link, recorder = await house.link()
    assert recorder.of("connected") == [(True,)]
    await link.twin()
    assert recorder.of("command") == []
    link.listen_commands(True)
    _, body, receipt = await recorder.next("command")
    assert body == b"hello"
    assert link.command_done(receipt)
    await until_waiting(house, 0)


async def test_subscriptions_that_somebody_has_left_behind_are_taken_back(house):
    """The hub does not take the device for one that answers methods."""
    raw = RawDevice(house.lab, house.device)
    with raw:
        _, data = raw.client.subscribe(["$iothub/methods/POST/#"])
        raw.sock.sendall(data)
        raw.events()
    link, recorder = await house.link()
    await link.twin()  # comes after the UNSUBSCRIBE
    with pytest.raises(Exception, match="not subscribed to direct methods"):
        await house.call("POST", f"/twins/{house.device}/methods", {"methodName": "ping"})
    assert recorder.of("method") == []


async def test_modules_get_no_messages_from_the_cloud(house):
    """As at a hub on Azure."""
    link, _ = await house.link(await house.module("ModuleA"))
    with pytest.raises(UsageError, match="for devices"):
        link.listen_commands(True)


# -- identities ----------------------------------------------------------------------------------------


async def set_status(house, status):
    await house.call(
        "PUT", house.path(), {"deviceId": house.device, "status": status}, headers={"If-Match": "*"}
    )


async def test_an_identity_that_is_disabled_and_enabled_again(house):
    """It is told once, tried again and again, and let in when it may; what was in flight goes up then."""
    link, recorder = await house.link()
    await set_status(house, "disabled")
    (reason,) = await recorder.next("refused")
    assert "not authorised" in reason
    assert (link.status().refusal, link.status().trouble) == (reason, reason)
    with pytest.raises(UpstreamAway, match="not authorised"):
        await link.report({"a": 1})
    await set_status(house, "enabled")
    await recorder.next("connected", 2)
    assert (link.status().refusal, link.status().trouble) == ("", "")
    assert await link.report({"a": 1}) == 2
    assert len(recorder.of("refused")) == 1


async def test_an_identity_with_another_key(house):
    """A key that is wrong is refused; with the right one it connects at once, whatever the delay."""
    link, recorder = await house.link(replace(house.identity, key=KEY), connected=False, refused_delay=3600.0)
    await recorder.next("refused")
    link.rekey(house.identity.key)
    await recorder.next("connected")
    assert link.identity == house.identity
    assert KEY not in repr(link)


async def test_a_key_that_is_none(house):
    """It is refused without asking the hub, and told as such."""
    link, recorder = await house.link(replace(house.identity, key="no base64"), connected=False)
    assert "not base64" in (await recorder.next("refused"))[0]
    assert "no base64" not in repr(link.status())


async def test_an_identity_that_is_deleted_and_made_anew(house):
    """Refused until it is there again; then with its new key."""
    identity = await house.module("ModuleA")
    link, recorder = await house.link(identity)
    await house.rest.delete_module("ModuleA")
    await recorder.next("refused")
    again = await house.module("ModuleA")
    assert again.key != identity.key
    link.rekey(again.key)
    await recorder.next("connected", 2)


async def test_two_runtimes_with_one_identity(house):
    """They throw each other out, each time later; neither loses what it has sent."""
    one, first = await house.link()
    two, second = await house.link()
    await first.next("disconnected")
    await second.next("disconnected")
    sent = [Sent(one, first), Sent(two, second)]
    await asyncio.gather(*(each.up_to(50) for each in sent))
    await asyncio.gather(*(each.acknowledged(50) for each in sent))


async def test_what_is_not_granted(house):
    """A filter that the hub refuses is told to who waits for it, and the link goes on."""
    link, _ = await house.link()
    link._subscriptions._filters[Topic.METHODS] = "devices/other/#"
    link.listen_methods(True)
    with pytest.raises(UpstreamRefused, match="direct methods"):
        await link.wait_listening()
    assert await link.twin()


async def test_through_a_proxy(house):
    """mqtt_proxy leads there; a proxy that says no is told as such."""
    name = "lab.azure-devices.net"
    proxy = ConnectProxy([Route(name, 8883, house.lab._told.host, house.lab._told.mqtt_port)], foreign=False)
    await proxy.start()
    try:
        by = Proxy.parse(proxy.url, "mqtt_proxy")
        house.cloud = replace(house.cloud, hostname=name, mqtt_proxy=by)
        link, _ = await house.link()
        assert await link.twin()
        house.cloud = replace(house.cloud, hostname="elsewhere.azure-devices.net")
        link, _ = await house.link(connected=False)
        async with asyncio.timeout(WAIT):
            while "the proxy 127.0.0.1" not in link.status().trouble:
                await link._changed()
        assert "answered: 403" in link.status().trouble
    finally:
        await proxy.close()
