"""The link of a client of the edge to the hub: what goes up over it, when it is there, what becomes of its identity."""

import asyncio

from edge_yard import EDGE, registered

from iotedge_lab.edge.hub.member import IDLE
from iotedge_lab.errors import MessageTooLarge

# -- telemetry ------------------------------------------------------------------------------------------


async def test_telemetry_goes_up_in_its_senders_name(leaf, yard):
    """Each identity sends over its own link, in order, with its properties."""
    client, link = leaf
    module = await yard.module("a")
    await client.send(b"1", bag="%24.ct=application%2Fjson&colour=red")
    await client.send(b"2")
    await module.send(b"3", output="out")
    await yard.settle()
    assert [(bag, body) for bag, body, _ in link.sent] == [
        ("%24.ct=application%2Fjson&colour=red", b"1"),
        ("", b"2"),
    ]
    assert [(bag, body) for bag, body, _ in yard.link(EDGE, "a").sent] == [("%24.on=out", b"3")]


async def test_what_was_not_acknowledged_is_kept(leaf, yard):
    """A message leaves the store when the hub has acknowledged it, and not before."""
    client, link = leaf
    await client.send(b"1", b"2", b"3")
    await yard.settle()
    link.acknowledge(1)
    await yard.settle()
    assert yard.hub.figures()[0].length == 2
    await yard.restart()
    await yard.tick(1)
    yard.link("leaf").up()
    await yard.settle()
    assert yard.link("leaf").bodies() == [b"2", b"3"]


async def test_a_message_that_no_hub_takes(leaf, yard):
    """It is dropped and counted; those after it go on."""
    client, link = leaf
    real = link.send

    def send(bag, body, done):
        if body == b"bad":
            raise MessageTooLarge("too large with its properties.")
        return real(bag, body, done)

    link.send = send
    await client.send(b"bad", b"good")
    await yard.settle()
    assert link.bodies() == [b"good"]
    link.acknowledge()
    await yard.settle()
    assert [(each.length, each.refused) for each in yard.hub.figures()] == [(0, 1)]


async def test_a_link_that_takes_no_more(leaf, yard):
    """It is given no more until it says that it can take again; nothing is lost or out of order."""
    client, link = leaf
    link.window = 3
    await client.send(*(b"%d" % number for number in range(10)))
    await yard.settle()
    assert link.bodies() == [b"0", b"1", b"2"]
    found = []
    while link.sent:
        found += link.bodies()
        link.acknowledge()
        link.listener.writable()
        await yard.settle()
    assert found == [b"%d" % number for number in range(10)]


# -- the life of a link ---------------------------------------------------------------------------------


async def test_a_link_goes_when_nobody_needs_it(leaf, yard):
    """It stays while its client is connected or something waits; a client that comes back has it back."""
    client, link = leaf
    await client.send(b"1")
    client.drop()
    await yard.tick(IDLE + 5)
    assert not link.closed
    link.acknowledge()
    await yard.tick(1)
    again = await yard.leaf("leaf")
    again.drop()
    assert not link.closed
    await yard.tick(IDLE + 2)
    assert link.closed
    await yard.leaf("leaf")
    assert yard.link("leaf") is not link


async def test_one_link_at_a_time(leaf, yard):
    """While a link is being closed there is no other for its identity, whatever comes meanwhile."""
    client, link = leaf
    client.drop()
    yard.links.slow = asyncio.Event()
    await yard.tick(IDLE + 2)
    again = await yard.leaf("leaf")
    await again.send(b"1")
    await yard.tick(3)
    assert yard.links.made["leaf"] == [link]
    yard.links.slow.set()
    await yard.until(lambda: len(yard.links.made["leaf"]) == 2)
    await yard.settle()
    newer = yard.link("leaf")
    assert newer.bodies() == [b"1"]
    assert newer.methods
    assert newer.listens_desired
    assert newer.commands


async def test_in_flight_when_the_link_is_closed(leaf, yard):
    """What a link that was cut for good had in flight goes first over the next."""
    client, link = leaf
    await client.send(b"1", b"2")
    await yard.settle()
    assert link.bodies() == [b"1", b"2"]
    yard.links.slow = asyncio.Event()
    yard.hub.identities.save([registered("leaf", generation="g2")])
    await client.until(lambda: not client.open)
    again = await yard.leaf("leaf")
    await again.send(b"3")
    await yard.tick(2)
    yard.links.slow.set()
    await yard.until(lambda: len(yard.links.made["leaf"]) == 2)
    await yard.tick(1)
    assert yard.link("leaf").bodies() == [b"1", b"2", b"3"]


async def test_an_identity_that_is_gone(leaf, yard, caplog):
    """Its client is dropped and its link closed; what it had sent waits, and nobody is told so every second."""
    client, link = leaf
    link.down()
    await client.send(b"1")
    yard.hub.identities.delete("leaf", "")
    await client.until(lambda: not client.open)
    await yard.tick(5)
    assert link.closed
    assert yard.links.made["leaf"] == [link]
    assert yard.hub.figures()[0].length == 1
    assert len(caplog.records) < 5
    yard.scope("leaf:leaf")
    await yard.tick(2)
    assert yard.link("leaf").bodies() == [b"1"]


async def test_a_device_goes_with_its_modules(yard):
    """A leaf device that is disabled or deleted takes its modules' connections with it."""
    yard.scope("leaf:leaf")
    yard.hub.identities.save([registered("leaf", "m")])
    client = yard.client("leaf", "m").connect()
    await client.connected()
    yard.hub.identities.save([registered("leaf", enabled=False)])
    await client.until(lambda: not client.open)
    yard.hub.identities.save([registered("leaf")])
    client = yard.client("leaf", "m").connect()
    await client.connected()
    yard.hub.identities.delete("leaf", "")
    await client.until(lambda: not client.open)
    assert yard.hub.identities.find("leaf", "m") is None


async def test_a_new_key(leaf, yard):
    """The link has it for its next connection; the client stays."""
    client, link = leaf
    yard.hub.identities.save([registered("leaf", number=2)])
    assert link.identity.key == registered("leaf", number=2).primary_key
    await yard.settle()
    assert client.open
    assert not link.closed


async def test_refused_by_the_hub(leaf, yard):
    """Somebody is told, who then looks at the scope."""
    _, link = leaf
    told = []
    yard.hub.on_refused.append(told.append)
    link.refuse("its key is another one")
    assert [member.name for member in told] == ["leaf"]
    assert told[0].refusal == "its key is another one"
    link.up()
    assert told[0].refusal == ""
