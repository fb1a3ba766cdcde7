"""What passes between a client of the edge and the hub: messages, direct methods, commands, and the link for them."""

import asyncio
import json

import pytest
from edge_yard import ALL_UP, EDGE, registered, routes

from iotedge_lab.broker.methods import Call
from iotedge_lab.edge.hub.member import IDLE
from iotedge_lab.edge.manifest import read_hub
from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    DeviceNotOnline,
    GatewayTimeout,
    MessageTooLarge,
    ModuleNotFound,
)
from iotedge_lab.wire.topics import MethodCall, method_response_topic, parse_hub_topic


@pytest.fixture
async def leaf(yard):
    """A connected leaf device whose link is up, and its link."""
    yard.scope("a", "leaf:leaf")
    yard.links.let_in = True
    yard.apply(ALL_UP)
    client = await yard.leaf("leaf")
    link = yard.link("leaf")
    await yard.settle()
    assert link.connected
    return client, link


def to_device(client):
    """What came to a leaf device from the cloud: properties and body."""
    return [(each.topic.rpartition("/")[2], each.payload) for each in client.of(f"{client.base}/messages/")]


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


async def answering(client, status=200, answer=None, count=1):
    """Answer the next method call; what was asked."""
    message = await client.next("$iothub/methods/POST/", count)
    asked = parse_hub_topic(message.topic)
    assert isinstance(asked, MethodCall)
    body = json.dumps({"got": json.loads(message.payload)} if answer is None else answer).encode()
    client.write(client.mqtt.publish(method_response_topic(status, asked.request_id), body)[1])
    return asked.name


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
