"""Whom an edge hub asks the hub about when they want to connect, and how seldom."""

import asyncio

from edge_yard import ALL_UP, EDGE, code_of, registered

from iotedge_lab.edge.hub.asking import AGAIN, AT_ONCE
from iotedge_lab.wire.mqtt.encode import encode
from iotedge_lab.wire.mqtt.packets import ConnackCode, Disconnect

NO = ConnackCode.NOT_AUTHORIZED
YES = ConnackCode.ACCEPTED


class Registry:
    """What the hub would say of identities, and who was asked about."""

    def __init__(self, yard):
        self.yard = yard
        self.knows = []
        self.asked = []
        self.go = asyncio.Event()
        self.go.set()
        yard.hub.asking.ask = self.ask

    async def ask(self, device, module):
        self.asked.append((device, module))
        await self.go.wait()
        self.yard.hub.identities.save(
            each for each in self.knows if (each.device, each.module) == (device, module)
        )


async def test_an_identity_made_a_moment_ago(yard):
    """The hub is asked about one who is not known, and what came with its CONNECT is done after the answer."""
    yard.scope()
    yard.apply(ALL_UP)
    registry = Registry(yard)
    registry.knows = [registered("new")]
    client = yard.client("new")
    subscribe = client.mqtt.subscribe(["devices/new/messages/devicebound/#"])[1]
    _, first = client.mqtt.publish("devices/new/messages/events/", b"first")
    registry.go.clear()
    client.connect(subscribe + first)
    await yard.settle()
    assert client.connack is None
    assert not client.transport.reading
    _, second = client.mqtt.publish("devices/new/messages/events/", b"second")
    client.write(second)  # it may still come: a transport has read ahead
    registry.go.set()
    assert await client.connected() is YES
    await client.until(lambda: len(client.acked) == 2)
    assert client.transport.reading
    assert [each.codes for each in client.subacks] == [(1,)]
    assert [parcel.body for parcel in yard.hub.queues.read(yard.hub.queues.lanes()[0])] == [
        b"first",
        b"second",
    ]
    assert registry.asked == [("new", "")]


async def test_a_connect_with_its_goodbye(yard):
    """A client that says CONNECT and DISCONNECT in one breath is answered all the same."""
    yard.scope()
    registry = Registry(yard)
    registry.knows = [registered("new")]
    client = yard.client("new").connect(encode(Disconnect()))
    assert await client.connected() is YES
    await client.until(lambda: not client.open)


async def test_a_client_that_does_not_wait_for_the_answer(yard):
    """One that has gone when the hub answers is let go."""
    yard.scope()
    registry = Registry(yard)
    registry.knows = [registered("new")]
    registry.go.clear()
    client = yard.client("new").connect()
    await yard.settle()
    client.drop()
    registry.go.set()
    await yard.settle()
    assert client.connack is None
    assert not yard.hub.connections


async def test_changes_that_the_hub_knows_of(yard):
    """A new key and an identity enabled again count at once: the hub is asked where what is known says no."""
    yard.scope("a", "b", enabled=True)
    yard.hub.identities.save([registered(EDGE, "b", enabled=False)])
    registry = Registry(yard)
    registry.knows = [registered(EDGE, "a", number=2), registered(EDGE, "b")]
    assert await code_of(yard.client(EDGE, "a", number=2)) is YES
    assert await code_of(yard.client(EDGE, "b")) is YES


async def test_the_hub_is_not_asked_in_vain(yard):
    """Nobody has the hub asked without a token of that identity, nor about the same one again and again."""
    yard.scope("a")
    registry = Registry(yard)
    for options in ({"token": "no"}, {"seconds": -1}, {"token": yard.token(EDGE, "a")}):
        assert await code_of(yard.client("stranger", **options)) is NO
    assert registry.asked == []
    for _ in range(3):
        assert await code_of(yard.client("stranger")) is NO
    assert registry.asked == [("stranger", "")]
    yard.clock.advance(AGAIN)
    assert await code_of(yard.client("stranger")) is NO
    assert len(registry.asked) == 2
    yard.hub.asking.forget()
    assert await code_of(yard.client("stranger")) is NO
    assert len(registry.asked) == 3


async def test_many_strangers(yard):
    """So many are asked about at a time, and two connections of one identity wait for one answer."""
    yard.scope()
    registry = Registry(yard)
    registry.go.clear()
    registry.knows = [registered(f"new{number}") for number in range(AT_ONCE)]
    clients = [yard.client(f"new{number}").connect() for number in range(AT_ONCE)]
    await yard.settle()
    same = yard.client("new0").connect()
    assert await code_of(yard.client("one-more")) is NO
    registry.go.set()
    for client in clients[1:]:
        assert await client.connected() is YES
    assert await same.connected() is YES
    assert not clients[0].open  # the later one has taken its place
    assert len(registry.asked) == AT_ONCE


async def test_closing_while_the_hub_is_asked(yard):
    """An edge hub that ends does not wait for the answer."""
    yard.scope()
    registry = Registry(yard)
    registry.go.clear()
    client = yard.client("new").connect()
    await yard.settle()
    await yard.hub.close()
    await client.until(lambda: not client.open)
    assert client.connack is None
