"""Who is let in at an edge hub, what a client may do there, and what it is told when it may not."""

import json

import pytest
from edge_yard import ALL_UP, EDGE, HUB, LOCAL, Client, FakeTransport, code_of, registered

from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.wire.mqtt.encode import encode
from iotedge_lab.wire.mqtt.packets import ConnackCode, PingReq, Will

NO = ConnackCode.NOT_AUTHORIZED
YES = ConnackCode.ACCEPTED


# -- who is let in --------------------------------------------------------------------------------------


async def test_an_identity_of_the_scope_is_let_in_by_its_own_token(yard):
    """A module and a leaf device connect with tokens signed with their primary or secondary key."""
    yard.scope("a", "leaf:leaf")
    assert await code_of(yard.client(EDGE, "a")) is YES
    assert await code_of(yard.client("leaf")) is YES
    second = yard.token(EDGE, "a").replace("sig=", "sig=x")
    assert await code_of(yard.client(EDGE, "a", token=second)) is NO


CASES = {
    "another key": {"number": 2},
    "expired": {"seconds": -1},
    "no token": {"token": ""},
    "not a token": {"token": "let me in"},
}


@pytest.mark.parametrize("name", CASES)
async def test_who_is_not_let_in(name, yard):
    """A wrong, expired, missing or malformed token is answered with CONNACK 5, which the SDK calls CredentialError."""
    yard.scope("a")
    assert await code_of(yard.client(EDGE, "a", **CASES[name])) is NO
    assert yard.hub.counters.refused == 1


async def test_a_token_opens_only_for_its_own_identity(yard):
    """A module cannot connect as another one, as a leaf device, nor as the runtime's own modules."""
    yard.scope("a", "b", "$edgeAgent", "leaf:leaf")
    for device, module in ((EDGE, "b"), ("leaf", ""), (EDGE, ""), (EDGE, "$edgeAgent")):
        stranger = yard.client(device, module, token=yard.token(EDGE, "a"))
        assert await code_of(stranger) is NO, (device, module)
    own = yard.client(EDGE, "$edgeAgent", token=yard.token(EDGE, "$edgeAgent"))
    assert await code_of(own) is NO


async def test_a_token_for_another_hub(yard):
    """The host in user name and token has to be that of the hub which this edge belongs to."""
    yard.scope("a")
    client = yard.client(EDGE, "a")
    client.mqtt._connect = type(client.mqtt._connect)(
        f"{EDGE}/a", False, 60, f"other.test/{EDGE}/a/?api-version=2019-10-01", client.mqtt._connect.password
    )
    assert await code_of(client) is NO
    client = yard.client(EDGE, "a", token=yard.token(EDGE, "a").replace(HUB, "other.test"))
    assert await code_of(client) is NO


async def test_disabled(yard):
    """An identity that is disabled at the hub is not let in, nor a module of a disabled device."""
    yard.scope("leaf:leaf", enabled=False)
    yard.hub.identities.save([registered("leaf", "m")])
    assert await code_of(yard.client("leaf")) is NO
    assert await code_of(yard.client("leaf", "m")) is NO


async def test_by_certificate(yard):
    """A leaf device that authenticates by certificate is refused: that is not served here."""
    yard.hub.identities.save([registered("x", auth_type="selfSigned")])
    assert await code_of(yard.client("x")) is NO


async def test_client_id_and_user_name_differ(yard):
    """They name the same identity, or the client is rejected."""
    yard.scope("a")
    client = yard.client(EDGE, "a")
    client.mqtt._connect = type(client.mqtt._connect)(
        f"{EDGE}/b", False, 60, client.mqtt._connect.username, client.mqtt._connect.password
    )
    assert await code_of(client) is ConnackCode.IDENTIFIER_REJECTED


async def test_a_token_that_ends(yard):
    """A connection ends with its token; a clock that is set back keeps it."""
    yard.scope("a")
    client = yard.client(EDGE, "a", seconds=100)
    assert await code_of(client) is YES
    client.write(encode(PingReq()))
    await yard.tick(80)
    client.write(encode(PingReq()))
    yard.clock.time -= 50_000
    await yard.tick(50)
    assert client.open
    yard.clock.time += 50_000
    await yard.tick(1)
    assert not client.open


async def test_the_keep_alive(yard):
    """A client that says nothing for 1.5 times its keep-alive is dropped."""
    yard.scope("a")
    client = yard.client(EDGE, "a")
    assert await code_of(client) is YES
    await yard.tick(89)
    assert client.open
    await yard.tick(3)
    assert not client.open


# -- what a client may do -------------------------------------------------------------------------------


async def test_only_in_its_own_name(yard):
    """A module that publishes as another is dropped, and it gets no subscription to what is another's."""
    yard.scope("a", "b", "leaf:leaf")
    client = await yard.module("a")
    for topic in (f"devices/{EDGE}/modules/b/inputs/#", "devices/leaf/messages/devicebound/#", "#", "+/#"):
        assert await client.subscribe(topic) == (0x80,), topic
    assert client.open
    client.write(client.mqtt.publish(f"devices/{EDGE}/modules/b/messages/events/", b"as b")[1])
    await client.until(lambda: not client.open)
    assert not yard.hub.queues.lanes()


BREACHES = {
    "QoS 2": lambda client: client.mqtt.publish(f"{client.base}/messages/events/", b"x", 2)[1],
    "no topic of a device": lambda client: client.mqtt.publish("some/topic", b"x")[1],
    "an unknown request": lambda client: client.mqtt.publish("$iothub/twin/POST/?$rid=1", b"x")[1],
    "over 256 KB": lambda client: client.mqtt.publish(
        f"{client.base}/messages/events/", bytes(256 * 1024 + 1)
    )[1],
    "properties that are none": lambda client: client.mqtt.publish(
        f"{client.base}/messages/events/a=%ff", b"x"
    )[1],
    "half a surrogate": lambda client: client.mqtt.publish(
        f"{client.base}/messages/events/a=%ed%a0%80", b"x"
    )[1],
    "no MQTT": lambda client: b"\xff\xff\xff\xff\xff",
    "a second CONNECT": lambda client: client.mqtt.connect(),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_breaches(name, yard):
    """What an IoT Hub drops a client for, an edge hub does too; no other client feels it."""
    yard.scope("a", "b")
    yard.apply(ALL_UP)
    other = await yard.module("b")
    client = await yard.module("a")
    client.write(BREACHES[name](client))
    await client.until(lambda: not client.open)
    await other.send(b"still here")


async def test_nothing_before_connect(yard):
    """A connection that says nothing for ten seconds, or something else first, is closed."""
    for data in (b"", encode(PingReq())):
        client = Client(yard, "x", token="none")
        client.front = EdgeFront(yard.hub, LOCAL)
        client.transport, client.open = FakeTransport(client), True
        client.front.connection_made(client.transport)
        if data:
            client.front.data_received(data)
        else:
            await yard.tick(12)
        await client.until(lambda client=client: not client.open)


async def test_a_message_of_256_kb(yard):
    """The largest message is taken, whatever comes in its run."""
    yard.scope("a")
    yard.apply(ALL_UP)
    client = await yard.module("a")
    await client.send(b"small", bytes(256 * 1024), b"small")
    assert yard.hub.queues.figures()[0].length == 3


async def test_qos_0(yard):
    """A message of QoS 0 is taken without an acknowledgement."""
    yard.scope("a")
    yard.apply(ALL_UP)
    client = await yard.module("a")
    client.publish(b"x", qos=0)
    await client.send(b"y")
    assert yard.hub.queues.figures()[0].length == 2


async def test_a_newer_connection(yard):
    """The older connection of an identity is dropped, and the session goes on with its subscriptions."""
    yard.scope("a", "b")
    yard.apply('FROM /messages/modules/b/* INTO BrokeredEndpoint("/modules/a/inputs/in")')
    sender, older = await yard.module("b"), await yard.module("a")
    newer = yard.client(EDGE, "a").connect()
    assert await newer.connected() is YES
    assert newer.connack.session_present
    await older.until(lambda: not older.open)
    await sender.send(b"1")
    assert await newer.inputs(1) == [b"1"]
    assert yard.hub.client_states()[f"{EDGE}/a"]["connected"]


async def test_subscriptions_outlive_a_restart(yard):
    """A client that never subscribes again, as the SDK does not, gets what it did before the runtime was killed."""
    yard.scope("a", "b")
    yard.apply('FROM /messages/modules/b/* INTO BrokeredEndpoint("/modules/a/inputs/in")')
    await yard.module("a")
    await yard.restart()
    yard.apply('FROM /messages/modules/b/* INTO BrokeredEndpoint("/modules/a/inputs/in")')
    again, sender = yard.client(EDGE, "a").connect(), await yard.module("b")
    assert await again.connected() is YES
    assert again.connack.session_present
    await sender.send(b"1")
    assert await again.inputs(1) == [b"1"]


async def test_a_clean_session(yard):
    """It begins without subscriptions, and leaves none."""
    yard.scope("a")
    await yard.module("a")
    clean = yard.client(EDGE, "a", clean=True).connect()
    assert await clean.connected() is YES
    assert not clean.connack.session_present
    clean.leave()
    after = yard.client(EDGE, "a").connect()
    assert await after.connected() is YES
    assert not after.connack.session_present


async def test_a_will(yard):
    """The words of a client that ended without DISCONNECT become a message; after a DISCONNECT they do not."""
    yard.scope("a")
    yard.apply(ALL_UP)
    will = Will(f"devices/{EDGE}/modules/a/messages/events/", b"gone", 1)
    client = await yard.module("a", will=will)
    client.leave()
    await client.until(lambda: not client.open)
    client = await yard.module("a", will=will)
    client.drop()
    await yard.settle()
    link = yard.link(EDGE, "a")
    link.up()
    assert [(bag, body) for bag, body, _ in link.sent] == [("iothub-MessageType=Will", b"gone")]


async def test_a_will_in_anothers_name(yard):
    """It is dropped."""
    yard.scope("a", "b")
    yard.apply(ALL_UP)
    client = await yard.module("a", will=Will(f"devices/{EDGE}/modules/b/messages/events/", b"gone", 1))
    client.drop()
    await yard.settle()
    assert not yard.hub.queues.lanes()


async def test_what_cannot_be_stored_is_not_acknowledged(yard):
    """On a full disk the client is dropped without an acknowledgement, and keeps its message to send it again."""
    yard.scope("a")
    yard.apply(ALL_UP)
    client = await yard.module("a")
    db = yard.hub.store.db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    client.publish(bytes(200_000))
    await client.until(lambda: not client.open)
    assert client.acked == []
    db.execute("PRAGMA max_page_count = 1000000")
    again = await yard.module("a")
    await again.send(bytes(200_000))
    assert yard.hub.figures()[0].length == 1


async def test_the_end_of_the_edge_hub(yard):
    """What has come is stored and acknowledged before connections are closed; what comes afterwards is not."""
    yard.scope("a")
    yard.apply(ALL_UP)
    client = await yard.module("a", will=Will(f"devices/{EDGE}/modules/a/messages/events/", b"gone", 1))
    number = client.publish(b"last")
    await yard.hub.close()
    await client.until(lambda: not client.open)
    assert client.acked == [number]
    await yard.hub.close()


async def test_no_fault_of_a_client_is_in_the_log_as_ours(yard, caplog):
    """Random packets drop their client, and raise nothing."""
    import random

    chance = random.Random(4)
    yard.scope("a")
    for _ in range(60):
        client = yard.client(EDGE, "a").connect()
        await client.connected()
        packet = bytearray(chance.choice(list(BREACHES.values()))(client)[:400])
        for _ in range(chance.randrange(4)):
            if packet:
                packet[chance.randrange(len(packet))] = chance.randrange(256)
        client.write(bytes(packet))
        await yard.settle()
    assert not [each for each in caplog.records if each.exc_info]


def test_keys_do_not_show():
    """An identity's key is not in its repr."""
    made = registered("a")
    assert made.primary_key not in repr(made)
    assert json.dumps(made.to_json()).count(made.primary_key) == 1
