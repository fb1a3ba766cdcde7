"""A link to a hub that refuses, breaks off, falls silent, or says what it should not."""

import asyncio
import logging
import ssl
from dataclasses import replace

import pytest
from fake_cloud import KEY, REFUSALS
from upstream_house import QUICK, WAIT, Sent

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.upstream import CloudIdentity
from iotedge_lab.edge.upstream.proxies import Proxy
from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.wire.mqtt.packets import (
    ConnackCode,
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    Publish,
    Subscribe,
    Unsubscribe,
)

COMMANDS = "devices/edge/messages/devicebound/"


async def trouble(link, words):
    """Until the link says so of why it has no connection."""
    async with asyncio.timeout(WAIT):
        while words not in link.status().trouble:
            await link._changed()


# -- connecting ----------------------------------------------------------------------------------------


async def test_what_a_connect_says(fake):
    """A persistent session, a keep-alive, the SDKs' names, and a token."""
    link, _ = fake.link(CloudIdentity("edge", "m", KEY))
    peer = await fake.peer()
    connect = await peer.accept()
    assert (connect.client_id, connect.clean_session, connect.keep_alive, connect.will) == (
        "edge/m",
        False,
        60,
        None,
    )
    assert connect.username.startswith("localhost/edge/m/?api-version=2021-04-12&DeviceClientType=")
    assert connect.password.startswith(
        b"SharedAccessSignature sr=localhost%2Fdevices%2Fedge%2Fmodules%2Fm&sig="
    )
    await link.wait_connected()
    assert await link.close() == 0
    assert await peer.event() == Disconnect()
    assert await peer.event() is None


@pytest.mark.parametrize("code", REFUSALS, ids=lambda code: code.name)
async def test_refusals(fake, code):
    """Told once, tried again slowly, and let in when the hub says yes."""
    link, recorder = fake.link()
    for _ in range(3):
        await (await fake.peer()).refuse(code)
    ((reason,),) = recorder.of("refused")
    assert reason
    assert link.status().refusal == reason
    assert not link.connected
    await (await fake.peer()).accept()
    await recorder.next("connected")
    assert link.status().refusal == ""


async def test_a_hub_that_has_no_time_now(fake):
    """CONNACK 3 is no refusal."""
    link, recorder = fake.link()
    await (await fake.peer()).refuse(ConnackCode.SERVER_UNAVAILABLE)
    await trouble(link, "the hub is not available now")
    await (await fake.peer()).accept()
    await recorder.next("connected")
    assert recorder.of("refused") == []


async def test_a_hub_that_does_not_answer(fake):
    """Given up in its time, and tried again."""
    link, recorder = fake.link(connect=0.2)
    first = await fake.peer()
    await trouble(link, "the hub does not answer")
    assert recorder.told == []
    await first.ended()


@pytest.mark.parametrize("said", [b"", b"\xff\xff\xff", b"\x30\x02\x00\x00", b"\x20\x02\x00"])
async def test_a_hub_that_says_something_else(fake, said):
    """Garbage, half an answer, or a hang-up: it is tried again."""
    link, recorder = fake.link()
    peer = await fake.peer()
    await peer.next(Connect)
    peer.write(said)
    await peer.writer.drain()
    peer.writer.close()
    await (await fake.peer()).accept()
    await recorder.next("connected")
    assert link.connected


async def test_nobody_listens(fake):
    """A port that is closed: told plainly."""
    link, _ = fake.link(cloud=replace(fake.cloud, mqtt_port=1))
    await trouble(link, "no hub listens there (connection refused)")


async def test_a_certificate_that_is_not_trusted(fake):
    """It is a refusal: told, with what to do, and tried again slowly."""
    link, recorder = fake.link(cloud=replace(fake.cloud, context=ssl.create_default_context()))
    assert "certificate is not trusted" in (await recorder.next("refused"))[0]
    assert "SSL_CERT_FILE" in link.status().trouble


@pytest.mark.parametrize(("said", "words"), [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answered: 407 Proxy Authentication Required"),
    (b"SSH-2.0\r\n\r\n", "answered:"),
    (b"", "gave no HTTP answer"),
    (b"x" * 20_000, "gave no HTTP answer"),
])  # fmt: skip
async def test_proxies_that_do_not_lead_there(fake, said, words):
    """What they said is told, and no password."""
    asked = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if not asked.done():
            asked.set_result(head)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = Proxy.parse(f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}", "mqtt_proxy")
    link, _ = fake.link(cloud=replace(fake.cloud, mqtt_proxy=proxy))
    try:
        await trouble(link, words)
        assert f"CONNECT localhost:{fake.port} HTTP/1.1" in (await asked).decode()
        assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in await asked
        assert "secret" not in link.status().trouble
        await link.close()
    finally:
        server.close()


async def test_keys_and_tokens_are_in_no_log(fake, caplog):
    """Whatever happens: neither the key, nor a signature."""
    caplog.set_level(logging.DEBUG)
    link, recorder, peer = await fake.connected()
    peer.cut()
    second = await fake.peer()
    connect = await second.next(Connect)
    second.write(second.engine.connack(ConnackCode.NOT_AUTHORIZED))
    await recorder.next("refused")
    await link.close()
    assert "connected to localhost" in caplog.text
    signature = connect.password.decode().partition("sig=")[2].partition("&")[0]
    assert signature
    for secret in (KEY, signature):
        assert secret not in caplog.text
        assert secret not in repr(link) + repr(link.status()) + repr(recorder.told)


async def test_the_first_attempt(fake):
    """Whether it is still under way can be asked, and waited for: until it came to something, or to nothing."""
    link, _ = fake.link()
    assert link.is_beginning
    begun = asyncio.create_task(link.wait_begun())
    await (await fake.peer()).accept()
    await begun
    assert link.connected
    link, _ = fake.link(cloud=replace(fake.cloud, mqtt_port=1))
    await link.wait_begun()
    assert not link.connected
    await link.close()
    assert not link.is_beginning


# -- what is in flight ---------------------------------------------------------------------------------


async def test_what_was_not_acknowledged_goes_first_on_the_next_connection(fake):
    """With DUP, with its packet ids, in order, and before anything else; what was acknowledged does not."""
    link, recorder, peer = await fake.connected()
    link.listen_methods(True)
    await peer.grant()
    sent = Sent(link, recorder)
    await sent.up_to(5)
    messages = [await peer.next(Publish) for _ in range(5)]
    peer.ack(*messages[:2])
    await sent.acknowledged(2)
    assert link.status().in_flight == 3
    peer.cut()
    await recorder.next("disconnected")
    assert not sent.one()
    peer = await fake.peer()
    await peer.accept(present=True)
    again = [await peer.next(Publish) for _ in range(3)]
    assert again == [replace(message, dup=True) for message in messages[2:]]
    await peer.ungrant()
    await peer.grant()
    await recorder.next("connected", 2)
    await sent.up_to(6)
    new = await peer.next(Publish)
    assert not new.dup
    assert new.packet_id not in {message.packet_id for message in messages[2:]}
    peer.ack(*again, new)
    await sent.acknowledged(6)
    assert sent.done == [0, 1, 2, 3, 4, 5]
    assert link.status().in_flight == 0
    peer.ack(*messages)  # a hub may repeat itself
    assert await link.close() == 0


async def test_a_connection_that_breaks_between_connack_and_the_rest(fake):
    """Again and again: nothing is lost or out of order."""
    link, recorder, peer = await fake.connected()
    sent = Sent(link, recorder)
    await sent.up_to(3)
    for count in range(2, 6):
        peer.cut()
        peer = await fake.peer()
        await peer.accept(present=True)
        await recorder.next("connected", count)
    again = [await peer.next(Publish) for _ in range(3)]
    assert [int(message.payload) for message in again] == [0, 1, 2]
    assert all(message.dup for message in again)
    peer.ack(*again)
    await sent.acknowledged(3)


async def test_messages_given_in_the_same_moment_as_the_end(fake):
    """They were taken, so they go up on the next connection."""
    link, recorder, peer = await fake.connected()
    sent = Sent(link, recorder)
    for _ in range(3):
        assert sent.one()
    link._keeper.link.drop("the test says so")
    for _ in range(3):
        sent.one()
    peer = await fake.peer()
    await peer.accept(present=True)
    again = [await peer.next(Publish) for _ in range(sent.next)]
    assert [int(message.payload) for message in again] == list(range(sent.next))
    peer.ack(*again)
    await sent.acknowledged(sent.next)


async def test_close_waits_for_acknowledgements(fake):
    """For a while: then DISCONNECT, and a count of what is left."""
    link, recorder, peer = await fake.connected(drain=60.0)
    sent = Sent(link, recorder)
    await sent.up_to(2)
    closing = asyncio.create_task(link.close())
    messages = [await peer.next(Publish) for _ in range(2)]
    assert not sent.one()
    peer.ack(*messages)
    assert await closing == 0
    assert sent.done == [0, 1]
    assert await peer.event() == Disconnect()
    link, recorder, peer = await fake.connected(drain=0.05)
    sent = Sent(link, recorder)
    await sent.up_to(2)
    assert await link.close() == 2
    assert sent.done == []
    assert recorder.of("disconnected") == [("its link was closed",)]


async def test_close_at_once_says_nothing(fake):
    """No DISCONNECT, no waiting; a second call does nothing, nor does one on a link without a connection."""
    link, recorder, peer = await fake.connected(drain=3600.0)
    await Sent(link, recorder).up_to(2)
    assert await link.close(at_once=True) == 2
    assert await link.close() == 0
    assert recorder.of("disconnected") == [("its link was closed",)]
    while (event := await peer.event()) is not None:
        assert not isinstance(event, Disconnect)
    link, recorder = fake.link(cloud=replace(fake.cloud, mqtt_port=1))
    await trouble(link, "no hub listens")
    assert await link.close() == 0
    assert recorder.told == []


async def test_close_in_the_middle_of_connecting(fake):
    """It ends."""
    link, recorder = fake.link()
    peer = await fake.peer()
    await peer.next(Connect)
    assert await link.close() == 0
    await peer.ended()
    assert recorder.told == []


async def test_close_while_the_hub_does_not_read_its_goodbye(fake, monkeypatch):
    """It ends all the same."""
    monkeypatch.setattr("iotedge_lab.edge.upstream.keeper._GOODBYE_SECONDS", 0.1)
    link, _, _ = await fake.connected()
    assert await link.close() == 0


async def test_the_window_is_full(fake):
    """`send` says no, and the listener is told when it would say yes."""
    link, recorder, peer = await fake.connected(window=3)
    sent = Sent(link, recorder)
    assert [sent.one() for _ in range(4)] == [True, True, True, False]
    messages = [await peer.next(Publish) for _ in range(3)]
    assert recorder.of("writable") == []
    peer.ack(messages[0])
    await recorder.next("writable")
    assert [sent.one(), sent.one()] == [True, False]
    peer.ack(*messages[1:])
    await recorder.next("writable", 2)
    assert sent.done == [0, 1, 2]


async def test_the_socket_is_full(fake):
    """A hub that does not read is not sent more than is kept anyway; when it reads, all arrives in order."""
    link, recorder, peer = await fake.connected(window=100_000, window_bytes=10**9)
    sent = Sent(link, recorder)
    more = bytes(50_000)
    for _ in range(2000):
        if not sent.one(more=more):
            break
        await asyncio.sleep(0)  # the loop writes what it was given
    assert 2 < sent.next < 2000
    messages = [await peer.next(Publish) for _ in range(sent.next)]
    await recorder.next("writable")
    assert [int(message.payload[:-50_000]) for message in messages] == list(range(sent.next))
    peer.ack(*messages)
    await sent.acknowledged(sent.next)


# -- silence -------------------------------------------------------------------------------------------


async def test_pings(fake):
    """A link with nothing to say pings, and is content with an answer."""
    link, recorder, peer = await fake.connected(ping_after=0.05, silence=60.0)
    for _ in range(3):
        await peer.next(PingReq)
        peer.write(peer.engine.pingresp())
    assert link.connected
    assert recorder.of("disconnected") == []


async def test_a_hub_that_has_fallen_silent(fake):
    """No answer to a ping: the connection is given up, and made again."""
    link, recorder, peer = await fake.connected(ping_after=0.05, silence=0.1)
    sent = Sent(link, recorder)
    await sent.up_to(1)
    await peer.skip_to(PingReq)
    assert await recorder.next("disconnected") == ("nothing was heard from the hub for 0.1 s",)
    peer = await fake.peer()
    await peer.accept(present=True)
    assert (await peer.next(Publish)).dup


@pytest.mark.parametrize("said", [b"\x10\x00", b"\xf0\x00", b"\x20\x02\x00\x00", b"\x30\xff\xff\xff\xff\x01"])
async def test_a_hub_that_breaks_mqtt(fake, said):
    """The connection ends with a word, and another is made."""
    _, recorder, peer = await fake.connected()
    peer.write(said)
    assert (await recorder.next("disconnected"))[0].startswith("the hub broke MQTT: ")
    await (await fake.peer()).accept()
    await recorder.next("connected", 2)


# -- the token -----------------------------------------------------------------------------------------


async def test_a_new_token_with_acknowledgements_that_do_not_come(fake):
    """The connection is dropped without DISCONNECT, so that the hub knows the doubles that come next."""
    link, recorder, peer = await fake.connected()
    sent = Sent(link, recorder)
    await sent.up_to(2)
    link._keeper._patience = replace(QUICK, renew_from=0.0, renew_by=0.0, drain=0.05)
    events = []
    while (event := await peer.event()) is not None:
        events.append(event)
    assert [type(event) for event in events] == [Publish, Publish]
    assert await recorder.next("disconnected") == ("its token was renewed",)
    link._keeper._patience = QUICK
    peer = await fake.peer()
    await peer.accept(present=True)
    assert [(await peer.next(Publish)).dup for _ in range(2)] == [True, True]
    assert link.status().renewals == 1


async def test_a_new_token_at_a_quiet_moment(fake):
    """DISCONNECT, and another password; a message that is given meanwhile is not taken."""

    class Hurried(SystemClock):
        """Each time that it is asked a minute has gone by."""

        minutes = 0

        def now(self):
            self.minutes += 1
            return super().now() + 60 * self.minutes

    link, recorder = fake.link(clock=Hurried(), token_seconds=10.0, renew_from=0.01, renew_by=0.9)
    peer = await fake.peer()
    first = await peer.accept()
    await recorder.next("connected")
    await peer.skip_to(Disconnect)
    assert not Sent(link, recorder).one()
    await peer.ended()
    second = await (await fake.peer()).accept(present=True)
    assert second.password != first.password
    await recorder.next("connected", 2)


async def test_a_token_is_not_renewed_while_a_method_is_under_way(fake):
    """Nor while a message waits for its device; as soon as both are answered it is."""
    link, recorder, peer = await fake.connected()
    link.listen_commands(True)
    link.listen_methods(True)
    await peer.grant()
    await peer.grant()
    peer.write(peer.engine.publish("$iothub/methods/POST/m/?$rid=1", b"", 0))
    peer.write(peer.engine.publish(COMMANDS, b"", 1, 5))
    (_, request_id, _), (_, _, receipt) = await recorder.next("method"), await recorder.next("command")
    link._keeper._patience = replace(QUICK, renew_from=0.0)
    for _ in range(10):
        await asyncio.sleep(QUICK.tick)  # in which it would have gone
    assert link.connected
    link.command_done(receipt)
    link.answer_method(request_id, 200, b"")
    await recorder.next("disconnected")
    assert link.status().trouble == "its token was renewed"


# -- what the hub says ---------------------------------------------------------------------------------


async def ask(link, peer):
    """A request for the twin, and its id as the hub sees it."""
    call = asyncio.create_task(link.twin())
    request = await peer.event()
    if isinstance(request, Subscribe):
        assert request.filters == (("$iothub/twin/res/#", 0),)
        peer.write(peer.engine.suback(request.packet_id, [0]))
        request = await peer.next(Publish)
    assert (request.qos, request.payload) == (0, b" ")
    return call, request.topic.removeprefix("$iothub/twin/GET/?$rid=")


def respond(peer, request_id, status=200, body=b'{"desired": {}, "reported": {}}'):
    peer.write(peer.engine.publish(f"$iothub/twin/res/{status}/?$rid={request_id}", body, 0))


async def test_answers_find_those_who_asked(fake):
    """In any order; one for nobody, one that is late, and one that comes twice are passed over."""
    link, _, peer = await fake.connected()
    first, one = await ask(link, peer)
    second, two = await ask(link, peer)
    respond(peer, "nobody")
    respond(peer, two, body=b'{"desired": {"a": 2}, "reported": {}}')
    respond(peer, two)
    assert (await second)["desired"] == {"a": 2}
    respond(peer, one)
    assert await first == {"desired": {}, "reported": {}}
    respond(peer, one, 500)
    third, three = await ask(link, peer)
    respond(peer, three, 429)
    with pytest.raises(UpstreamAway, match="throttling"):
        await third
    report = asyncio.create_task(link.report({"a": 1}))
    request = await peer.next(Publish)
    assert request.payload == b'{"a":1}'
    respond(peer, request.topic.partition("$rid=")[2], 400, b'{"errorCode": 400004, "message": "too deep"}')
    with pytest.raises(ArgumentInvalid, match="too deep"):
        await report


async def test_no_answer(fake):
    """The caller is told in time; so it is when the connection ends, or the link."""
    link, recorder, peer = await fake.connected()
    call, request_id = await ask(link, peer)
    respond(peer, request_id)
    await call
    link._patience = replace(QUICK, answer=0.2)
    call, _ = await ask(link, peer)
    with pytest.raises(UpstreamAway, match=r"did not answer a twin request within 0\.2 s"):
        await call
    link._patience = QUICK
    call, _ = await ask(link, peer)
    peer.cut()
    with pytest.raises(UpstreamAway, match="the hub closed the connection"):
        await call
    peer = await fake.peer()
    await peer.accept()
    await recorder.next("connected", 2)
    call = asyncio.create_task(link.twin())
    await peer.next(Subscribe)
    await link.close(at_once=True)
    with pytest.raises(UpstreamAway):
        await call


async def test_a_hub_that_grants_no_answers(fake):
    """The twin cannot be asked for; everything else can."""
    link, recorder, peer = await fake.connected()
    call = asyncio.create_task(link.twin())
    packet = await peer.next(Subscribe)
    peer.write(peer.engine.suback(packet.packet_id, [128]))
    with pytest.raises(Exception, match="answers to twin requests"):
        await call
    assert Sent(link, recorder).one()


async def test_things_that_mean_nothing(fake, caplog):
    """Topics of nobody's, inputs, desired properties that are none: passed over, acknowledged, and the link goes on."""
    link, recorder, peer = await fake.connected()
    link.listen_desired(True)
    await peer.grant()
    odd = [
        ("other/topic", b""),
        ("$iothub/methods/POST/", b""),
        ("devices/edge/modules/m/inputs/i/", b""),
        ("$iothub/twin/PATCH/properties/desired/?$version=2", b"no JSON"),
        ("$iothub/twin/PATCH/properties/desired/?$version=2", b"[]"),
        ("$iothub/twin/PATCH/properties/desired/?$version=2", b"[" * 100_000),
        (f"{COMMANDS}%FF=1", b""),
    ]
    for number, (topic, body) in enumerate(odd, 1):
        peer.write(peer.engine.publish(topic, body, 1, number))
    peer.write(
        peer.engine.publish("$iothub/twin/PATCH/properties/desired/?$version=3", b'{"$version": 3}', 1, 99)
    )
    assert await recorder.next("desired") == ({"$version": 3},)
    assert [(await peer.next(PubAck)).packet_id for _ in range(8)] == [1, 2, 3, 4, 5, 6, 7, 99]
    assert len(recorder.of("desired")) == 1
    assert "passed over" in caplog.text


async def test_acknowledgements_of_messages_keep_their_order(fake):
    """Done in another order, acknowledged in that in which they came [MQTT-4.6.0-2]."""
    link, recorder, peer = await fake.connected()
    link.listen_commands(True)
    await peer.grant()
    for number in (11, 12, 13):
        peer.write(peer.engine.publish(f"{COMMANDS}%24.to=x&n={number}", b"%d" % number, 1, number))
    await recorder.next("command", 3)
    receipts = [receipt for _, _, receipt in recorder.of("command")]
    assert [bag for bag, _, _ in recorder.of("command")] == [
        f"%24.to=x&n={number}" for number in (11, 12, 13)
    ]
    assert link.command_done(receipts[2])
    assert link.command_done(receipts[1])
    call, request_id = await ask(link, peer)  # no acknowledgement came before this
    respond(peer, request_id)
    await call
    assert link.command_done(receipts[0])
    assert [(await peer.next(PubAck)).packet_id for _ in range(3)] == [11, 12, 13]


async def test_a_message_that_comes_with_the_connack(fake):
    """In one piece: the listener hears of the connection first."""
    link, recorder = fake.link()
    link.listen_commands(True)
    peer = await fake.peer()
    await peer.next(Connect)
    connack = peer.engine.connack(session_present=True)
    peer.write(connack + peer.engine.publish(COMMANDS, b"hello", 1, 1))
    await recorder.next("command")
    assert [each[0] for each in recorder.told] == ["connected", "command"]
    assert isinstance(await peer.event(), Unsubscribe)


async def test_listeners_that_fail(fake, caplog):
    """Their fault is logged, and the connection is none the worse."""
    link, recorder, peer = await fake.connected()

    def fail(*_):
        raise KeyError("a fault of the test")

    recorder.desired = fail
    link.listen_desired(True)
    await peer.grant()
    peer.write(peer.engine.publish("$iothub/twin/PATCH/properties/desired/?$version=2", b"{}", 0))
    assert link.send("", b"", fail)
    sent = Sent(link, recorder)
    await sent.up_to(1)
    peer.ack(await peer.next(Publish), await peer.next(Publish))
    await sent.acknowledged(1)
    assert caplog.text.count("\nKeyError: ") == 2
    assert link.connected


# -- coming again --------------------------------------------------------------------------------------


async def test_retry_does_not_wait(fake):
    """For the delay that there would be."""
    link, recorder, peer = await fake.connected(first_delay=3600.0, longest_delay=3600.0)
    peer.cut()
    await recorder.next("disconnected")
    link.retry()
    await (await fake.peer()).accept()
    await recorder.next("connected", 2)
    link.retry()  # nothing to do
    assert link.connected


async def test_a_gate_that_opens_does_not_wait_either(fake):
    """Nor does one that closes in the midst of connecting leave a socket."""
    link, recorder, peer = await fake.connected(first_delay=3600.0, longest_delay=3600.0)
    peer.cut()
    await recorder.next("disconnected")
    fake.gate.close()
    fake.gate.open()
    peer = await fake.peer()
    await peer.next(Connect)
    fake.gate.close()
    await fake.gate.wait_clear()
    await peer.ended()
    await trouble(link, "offline on purpose")
    fake.gate.open()
    await (await fake.peer()).accept()
    await recorder.next("connected", 2)


async def test_a_link_that_starts_offline(fake):
    """It connects when it may."""
    fake.gate.close()
    link, recorder = fake.link()
    await trouble(link, "offline on purpose")
    assert fake.peers.empty()
    fake.gate.open()
    await (await fake.peer()).accept()
    await recorder.next("connected")


async def test_a_fault_of_ours_does_not_end_a_link(fake, monkeypatch, caplog):
    """It is logged, and tried again."""
    monkeypatch.setattr("iotedge_lab.edge.upstream.keeper.connect", None)
    link, recorder = fake.link()
    await trouble(link, "a fault of this runtime")
    monkeypatch.undo()
    await (await fake.peer()).accept()
    await recorder.next("connected")
    assert "TypeError" in caplog.text
