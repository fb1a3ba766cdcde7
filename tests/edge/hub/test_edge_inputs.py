"""Messages between modules: to inputs, by routes, in order, as long as they live."""

from edge_yard import ALL_UP, EDGE, routes

from iotedge_lab.edge.manifest import read_hub

# -- inputs ---------------------------------------------------------------------------------------------


TO_A = 'INTO BrokeredEndpoint("/modules/a/inputs/in")'


async def test_an_input(yard):
    """A message comes to the input with its properties, and with who sent it in place of its output."""
    yard.scope("a", "b", "leaf:leaf")
    yard.apply(f"FROM /messages/* {TO_A}")
    sender, leaf, client = await yard.module("b"), await yard.leaf("leaf"), await yard.module("a")
    await sender.send(b"1", output="out", bag="%24.mid=m&%24.cdid=faked&%24.cmid=faked&x=a%20b")
    await leaf.send(b"2")
    await client.inputs(2)
    topics = [
        each.topic.removeprefix(f"{client.base}/inputs/in/") for each in client.of(f"{client.base}/inputs/")
    ]
    assert sorted(topics[0].split("&")) == sorted(["%24.mid=m", f"%24.cdid={EDGE}", "%24.cmid=b", "x=a%20b"])
    assert topics[1] == "%24.cdid=leaf"


async def test_inputs_wait_for_their_module(yard):
    """What comes for a module that is away or not subscribed waits in order; what was not acknowledged comes again."""
    yard.scope("a", "b")
    yard.apply(f"FROM /messages/modules/b/* {TO_A}")
    sender = await yard.module("b")
    await sender.send(b"0", b"1", b"2")
    client = yard.client(EDGE, "a")
    client.acknowledges = False
    client.connect()
    await client.connected()
    await yard.tick(2)
    assert client.got == []
    await client.listen()
    assert await client.inputs(3) == [b"0", b"1", b"2"]
    client.write(client.puback(client.got[0]))
    client.drop()
    await sender.send(b"3")
    again = yard.client(EDGE, "a").connect()
    assert await again.inputs(3) == [b"1", b"2", b"3"]
    await yard.settle()
    assert yard.hub.figures()[0].length == 0


async def test_priorities_and_time_to_live(yard):
    """Of what waits, the highest priority goes first; what is over its time is dropped and counted."""
    yard.scope("a", "b")
    yard.hub.apply(
        read_hub(
            routes(
                ttl=100,
                low={"route": f"FROM /messages/modules/b/outputs/low {TO_A}", "priority": 9},
                none=f"FROM /messages/modules/b/outputs/none {TO_A}",
                high={
                    "route": f"FROM /messages/modules/b/outputs/high {TO_A}",
                    "priority": 0,
                    "timeToLiveSecs": 10,
                },
            )
        )
    )
    sender = await yard.module("b")
    await sender.send(b"high: too old", output="high")
    await yard.tick(20)
    for output in ("none", "low", "high", "none", "low", "high"):
        await sender.send(output.encode(), output=output)
    client = await yard.module("a")
    assert await client.inputs(6) == [b"high", b"high", b"low", b"low", b"none", b"none"]
    assert {each.priority: each.expired for each in yard.hub.figures()} == {0: 1, 9: 0, 2_000_000_000: 0}


async def test_new_routes(yard):
    """What lies in the queues stays; what comes goes by the new routes. What none takes is acknowledged and counted."""
    yard.scope("a", "b")
    sender = await yard.module("b")
    await sender.send(b"nowhere")
    assert yard.hub.router.dropped == 1
    yard.apply(f"FROM /messages/modules/b/* {TO_A}")
    await sender.send(b"old")
    yard.apply(ALL_UP)
    await sender.send(b"new")
    client = await yard.module("a")
    assert await client.inputs(1) == [b"old"]
    link = yard.link(EDGE, "b")
    link.up()
    await yard.settle()
    assert link.bodies() == [b"new"]
    assert dict(yard.hub.router.taken) == {"r0": 2}  # both times the route of this name


async def test_a_flood_is_held_back(yard):
    """A module that does not acknowledge has so many messages on their way; the rest waits in the store."""
    yard.scope("a", "b")
    yard.apply(f"FROM /messages/modules/b/* {TO_A}")
    sender, client = await yard.module("b"), yard.client(EDGE, "a")
    client.acknowledges = False
    client.connect()
    await client.listen()
    await sender.send(*(b"%d" % number for number in range(1000)))
    await yard.settle()
    assert len(client.of(f"{client.base}/inputs/")) == 256
    while yard.hub.figures()[0].length:
        client.acknowledge()
        await yard.settle()
    bodies = [int(each.payload) for each in client.of(f"{client.base}/inputs/")]
    assert bodies == list(range(1000))


async def test_the_queue_of_a_removed_module(yard):
    """What waits for a module that is no longer deployed is dropped and counted; deployed again, it begins anew."""
    yard.scope("a", "b")
    yard.apply(f"FROM /messages/modules/b/* {TO_A}")
    sender = await yard.module("b")
    await sender.send(b"1", b"2")
    assert yard.hub.pumps.forget_inputs("a") == 2
    assert yard.hub.pumps.purged["removed"] == 2
    assert yard.hub.pumps.forget_inputs("a") == 0
    await sender.send(b"3")
    client = await yard.module("a")
    assert await client.inputs(1) == [b"3"]


async def test_a_lane_whose_identity_comes_later(yard):
    """A route to a module that is not known yet keeps its messages for it."""
    yard.scope("b")
    yard.apply(f"FROM /messages/modules/b/* {TO_A}")
    sender = await yard.module("b")
    await sender.send(b"1")
    await yard.tick(2)
    yard.scope("a", "b")
    client = await yard.module("a")
    await yard.tick(1)
    assert await client.inputs(1) == [b"1"]
