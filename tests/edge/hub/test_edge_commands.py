"""What the cloud wants of a client of the edge: cloud-to-device messages, direct methods; and modules of each other."""

import asyncio

import pytest
from edge_yard import EDGE, answering

from iotedge_lab.broker.methods import Call
from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    DeviceNotOnline,
    GatewayTimeout,
    ModuleNotFound,
)
from iotedge_lab.wire.topics import method_response_topic, parse_hub_topic


def to_device(client):
    """What came to a leaf device from the cloud: properties and body."""
    return [(each.topic.rpartition("/")[2], each.payload) for each in client.of(f"{client.base}/messages/")]


# -- cloud-to-device messages ---------------------------------------------------------------------------


async def test_a_command_is_settled_when_the_device_has_it(leaf, yard):
    """The hub is told after the device's acknowledgement, and nothing of it is stored here."""
    client, link = leaf
    client.acknowledges = False
    link.listener.command("%24.mid=m1&a=b", b"go", 7)
    await client.next(f"{client.base}/messages/devicebound/")
    assert to_device(client) == [("%24.mid=m1&a=b", b"go")]
    assert link.settled == []
    client.acknowledge()
    assert link.settled == [7]
    assert not yard.hub.queues.lanes()


async def test_a_command_that_was_not_acknowledged(leaf, yard):
    """A device that comes back gets it again over the same link; what it had acknowledged it does not."""
    client, link = leaf
    link.listener.command("", b"had", 1)
    await client.next(f"{client.base}/messages/devicebound/")
    await yard.settle()
    client.acknowledges = False
    link.listener.command("", b"lost", 2)
    link.listener.command("", b"lost too", 3)
    await client.next(f"{client.base}/messages/devicebound/", 3)
    client.drop()
    await yard.settle()
    assert not link.commands
    again = yard.client("leaf").connect()
    await again.next(f"{client.base}/messages/devicebound/", 2)
    assert to_device(again) == [("", b"lost"), ("", b"lost too")]
    await yard.settle()
    assert link.settled == [1, 2, 3]
    assert link.commands


async def test_a_command_while_the_device_is_away(leaf, yard):
    """One that was on its way when the device left is its first when it returns."""
    client, link = leaf
    client.drop()
    await yard.settle()
    link.listener.command("", b"late", 1)
    again = yard.client("leaf").connect()
    await again.next(f"{client.base}/messages/devicebound/")
    await yard.settle()
    assert link.settled == [1]


async def test_a_command_that_the_hub_sends_again(leaf, yard):
    """A link that reconnects brings it again: the device that has it in hand does not get it twice."""
    client, link = leaf
    client.acknowledges = False
    link.listener.command("", b"x", 1)
    await client.next(f"{client.base}/messages/devicebound/")
    link.down()
    link.up()
    link.listener.command("", b"x", 1)
    await yard.settle()
    assert len(to_device(client)) == 1
    client.acknowledge()
    assert link.settled == [1]


async def test_a_command_that_nobody_took_when_the_link_broke(leaf, yard):
    """It is the hub's again, and is not kept here."""
    client, link = leaf
    client.drop()
    await yard.settle()
    link.listener.command("", b"x", 1)
    link.down()
    again = yard.client("leaf").connect()
    await yard.settle()
    link.up()
    link.listener.command("", b"x", 2)  # the session was new
    await again.next(f"{client.base}/messages/devicebound/")
    await yard.settle()
    assert to_device(again) == [("", b"x")]
    assert link.settled == [2]


async def test_no_commands_for_who_does_not_listen(yard):
    """The hub is listened to only while the device is subscribed."""
    yard.scope("leaf:leaf")
    client = yard.client("leaf").connect()
    await client.connected()
    link = yard.link("leaf")
    link.up()
    assert (link.commands, link.methods, link.listens_desired) == (False, False, False)
    await client.subscribe("devices/leaf/messages/devicebound/#")
    assert link.commands
    client.write(client.mqtt.unsubscribe(["devices/leaf/messages/devicebound/#"])[1])
    await yard.settle()
    assert not link.commands


# -- direct methods -------------------------------------------------------------------------------------


async def test_a_method_from_the_cloud(leaf, yard):
    """It reaches the client that the link is for, and its answer goes back by the cloud's own request id."""
    client, link = leaf
    assert link.methods
    link.listener.method("blink", "c1", b'{"n": 3}')
    assert await answering(client, 201) == "blink"
    await yard.until(lambda: link.answers)
    assert link.answers == [("c1", 201, {"got": {"n": 3}})]


async def test_a_method_for_who_is_away_or_leaves(leaf, yard):
    """It is answered 404 at once."""
    client, link = leaf
    link.listener.method("blink", "c1", b"null")
    await client.next("$iothub/methods/POST/")
    client.drop()
    await yard.until(lambda: link.answers)
    link.listener.method("blink", "c2", b"null")
    await yard.until(lambda: len(link.answers) == 2)
    assert [(number, status) for number, status, _ in link.answers] == [("c1", 404), ("c2", 404)]


async def test_an_answer_that_is_too_long_for_the_link(leaf, yard):
    """The caller is told so."""
    client, link = leaf

    def answer_method(request_id, status, body, real=link.answer_method):
        if len(body) > 100:
            raise ArgumentInvalid("the answer is too long.")
        real(request_id, status, body)

    link.answer_method = answer_method
    link.listener.method("blink", "c1", b"null")
    await answering(client, 200, "x" * 200)
    await yard.until(lambda: link.answers)
    assert link.answers == [("c1", 400, {"message": "the answer is too long."})]


async def test_an_answer_that_is_none(leaf, yard):
    """One that is no JSON is told the caller as 400."""
    client, link = leaf
    link.listener.method("blink", "c1", b"null")
    asked = parse_hub_topic((await client.next("$iothub/methods/POST/")).topic)
    client.write(client.mqtt.publish(method_response_topic(200, asked.request_id), b"{")[1])
    await yard.until(lambda: link.answers)
    assert link.answers[0][:2] == ("c1", 400)


async def test_between_modules(yard):
    """A module calls a module or a leaf device; the documented refusals come where nobody answers."""
    yard.scope("a", "b", "leaf:leaf")
    client = await yard.module("a")
    invoke = yard.hub.methods.invoke
    asking = asyncio.ensure_future(invoke(EDGE, "a", Call("m", b"1", 30, 0)))
    await answering(client, 202)
    assert await asking == (202, {"got": 1})
    with pytest.raises(DeviceNotOnline):
        await invoke(EDGE, "b", Call("m", b"1", 30, 0))
    with pytest.raises(ModuleNotFound):
        await invoke(EDGE, "none", Call("m", b"1", 30, 0))
    with pytest.raises(DeviceNotFound):
        await invoke("elsewhere", "", Call("m", b"1", 30, 0))
    with pytest.raises(GatewayTimeout):
        await invoke(EDGE, "a", Call("m", b"1", 0, 0))
    waiting = asyncio.ensure_future(invoke("leaf", "", Call("m", b"1", 30, 30)))
    await yard.settle()
    leaf = await yard.leaf("leaf")
    await answering(leaf)
    assert (await waiting)[0] == 200
