"""Server and client: who may send what when, and both of them on a wire that only the test sees."""

import pytest
from mqtt_cases import CASES, EXCHANGE, TOPIC, singles

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.mqtt import client as client_module
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt import server as server_module
from iotedge_lab.wire.mqtt.client import ClientState, MqttClient
from iotedge_lab.wire.mqtt.encode import encode, encode_puback, encode_publish
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.mqtt.server import MqttServer, ServerState

CONNECT = encode(p.Connect("dev1", False, 60))
CLIENT_SENDS = {
    "a run": encode_publish("t", b"x", 1, 1),
    "PUBLISH": encode_publish("t", b"x", 0),
    "PUBACK": encode_puback(1),
    "PUBREC": encode(p.PubRec(1)),
    "PUBREL": encode(p.PubRel(1)),
    "PUBCOMP": encode(p.PubComp(1)),
    "SUBSCRIBE": CASES["subscribe"][1],
    "UNSUBSCRIBE": CASES["unsubscribe"][1],
    "PINGREQ": CASES["pingreq"][1],
}
SERVER_SENDS = {name: CASES[name][1] for name in ("connack", "suback", "unsuback", "pingresp")}


def opened():
    """A server whose client has been accepted."""
    server = MqttServer(1000)
    server.receive(CONNECT)
    server.connack()
    return server


def connected(**options):
    """A client that has been accepted."""
    client = MqttClient("dev1", "h/dev1", "SAS", **options)
    client.connect()
    client.receive(encode(p.ConnAck()))
    return client


# --- The server


def test_a_whole_exchange():
    """From CONNECT to DISCONNECT the server hands out what the client sent, whole and byte by byte."""
    server = MqttServer(1000)
    events = server.receive(EXCHANGE)
    assert isinstance(events[0], p.Connect)
    assert isinstance(events[-1], p.Disconnect)
    assert server.state is ServerState.CLOSED
    other = MqttServer(1000)
    pieces = [event for i in range(len(EXCHANGE)) for event in other.receive(EXCHANGE[i : i + 1])]
    assert singles(pieces) == singles(events)


def test_every_broken_exchange():
    """Every prefix and every flipped byte gives events and at most one violation, which is last."""
    seen = 0
    for index in range(len(EXCHANGE)):
        broken = bytearray(EXCHANGE)
        broken[index] ^= 0xFF
        for data in (EXCHANGE[:index], broken):
            server = MqttServer(1000)
            events = server.receive(data)
            ends = [isinstance(event, p.Violation | p.ConnectRefused) for event in events]
            assert not any(ends[:-1])
            if any(ends):
                seen += 1
                assert server.receive(EXCHANGE) == []
    assert seen > 50


@pytest.mark.parametrize(
    "data", [*CLIENT_SENDS.values(), CASES["disconnect"][1]], ids=[*CLIENT_SENDS, "DISCONNECT"]
)
def test_nothing_before_connect(data):
    """The first packet is a CONNECT [MQTT-3.1.0-1]."""
    server = MqttServer()
    (event,) = server.receive(data + CONNECT)
    assert isinstance(event, p.Violation)
    assert "MQTT-3.1.0-1" in event.spec
    assert server.state is ServerState.CLOSED
    assert server.receive(CONNECT) == []


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("data", CLIENT_SENDS.values(), ids=CLIENT_SENDS.keys())
def test_all_may_follow_connect(data, answered):
    """A client need not wait for its CONNACK."""
    server = MqttServer()
    server.receive(CONNECT)
    if answered:
        server.connack()
    (event,) = server.receive(data)
    assert not isinstance(event, p.Violation)
    assert server.state is (ServerState.OPEN if answered else ServerState.CONNECTING)


@pytest.mark.parametrize("again", [CONNECT, b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x01a"])
def test_a_second_connect(again):
    """CONNECT comes once [MQTT-3.1.0-2], whatever its level."""
    ping, violation = opened().receive(CASES["pingreq"][1] + again + CASES["pingreq"][1])
    assert ping == p.PingReq()
    assert "MQTT-3.1.0-2" in violation.spec


@pytest.mark.parametrize("data", SERVER_SENDS.values(), ids=SERVER_SENDS.keys())
def test_what_only_a_server_sends(data):
    """A client that sends a server's packets breaks the protocol."""
    (event,) = opened().receive(data)
    assert isinstance(event, p.Violation)


@pytest.mark.parametrize("data", [CLIENT_SENDS["a run"], CASES["disconnect"][1], CONNECT, b"\x32", b"\xff"])
@pytest.mark.parametrize("apart", [False, True])
def test_nothing_after_disconnect(data, apart):
    """Data after DISCONNECT is one violation, in the same read or in the next, complete or not."""
    server = opened()
    goodbye = CASES["disconnect"][1]
    if apart:
        assert server.receive(goodbye) == [p.Disconnect()]
        assert server.receive(b"") == []
        events = server.receive(data)
    else:
        first, *events = server.receive(goodbye + data)
        assert first == p.Disconnect()
    assert len(events) == 1
    assert isinstance(events[0], p.Violation)
    assert server.receive(data) == []


def test_connect_is_kept():
    """Keep-alive and will are there for whoever closes the connection."""
    server = MqttServer()
    assert (server.keep_alive, server.keep_alive_timeout, server.connect) == (0, None, None)
    connect = p.Connect("a", keep_alive=60, will=p.Will("t", b"gone"))
    assert server.receive(encode(connect)) == [connect]
    assert server.connect == connect
    assert (server.keep_alive, server.keep_alive_timeout) == (60, 90)


def test_a_server_answers_connect_first_and_once():
    """Nothing is accepted before CONNECT, nothing else sent before CONNACK, and no CONNACK sent twice."""
    server = MqttServer()
    with pytest.raises(UsageError, match="new"):
        server.connack()
    server.receive(CONNECT)
    for send in (
        server.pingresp,
        lambda: server.publish("t", b"", 1, 1),
        lambda: server.puback(1),
        lambda: server.suback(1, [0]),
        lambda: server.unsuback(1),
    ):
        with pytest.raises(UsageError, match="connecting"):
            send()
    assert server.connack(session_present=True) == b"\x20\x02\x01\x00"
    with pytest.raises(UsageError, match="open"):
        server.connack()
    assert server.pingresp() == b"\xd0\x00"
    assert server.puback(3) == encode_puback(3)
    assert server.suback(3, [1, 128]) == b"\x90\x04\x00\x03\x01\x80"
    assert server.unsuback(3) == b"\xb0\x02\x00\x03"
    assert server.publish("t", b"x", 1, 7, dup=True) == b"\x3a\x06\x00\x01t\x00\x07x"


def test_a_refusal_ends_the_connection():
    """After a refusing CONNACK nothing is read and nothing sent."""
    server = MqttServer()
    server.receive(CONNECT)
    assert server.connack(p.ConnackCode.NOT_AUTHORIZED) == b"\x20\x02\x00\x05"
    assert server.state is ServerState.CLOSED
    assert server.receive(CASES["pingreq"][1]) == []
    with pytest.raises(UsageError):
        server.pingresp()


def test_mqtt_5_is_refused_by_code():
    """A CONNECT of another level can be refused and cannot be accepted."""
    server = MqttServer()
    (event,) = server.receive(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x01a\xc0\x00")
    assert isinstance(event, p.ConnectRefused)
    assert server.state is ServerState.REFUSING
    with pytest.raises(UsageError):
        server.connack()
    assert server.connack(event.code) == b"\x20\x02\x00\x01"
    assert server.state is ServerState.CLOSED


def test_the_tables_name_all_that_comes():
    """Each packet that the docstring promises stands in the table of the open state, and no other."""
    received = server_module.RECEIVED
    assert set(received) == set(ServerState)
    promised = MqttServer.receive.__doc__
    assert len(received[ServerState.OPEN]) == 10
    for event in (*received[ServerState.OPEN], *received[ServerState.NEW]):
        assert f"`{event.__name__}`" in promised
    assert set(client_module.RECEIVED) == set(ClientState)


# --- The client


def test_a_client_and_a_server_on_a_fake_wire():
    """Two real ends agree on everything, from CONNECT to DISCONNECT, byte by byte."""
    client, server = MqttClient("dev1", "h/dev1", "SAS", keep_alive=30), MqttServer()

    def to_server(data):
        return [event for i in range(len(data)) for event in server.receive(data[i : i + 1])]

    def to_client(data):
        return [event for i in range(len(data)) for event in client.receive(data[i : i + 1])]

    (connect,) = to_server(client.connect())
    assert connect == p.Connect("dev1", False, 30, "h/dev1", b"SAS")
    assert to_client(server.connack()) == [p.ConnAck()]
    assert client.state is ClientState.OPEN

    packet_id, data = client.subscribe(["a/#", ("b", 0)])
    assert to_server(data) == [p.Subscribe(packet_id, (("a/#", 1), ("b", 0)))]
    assert to_client(server.suback(packet_id, [1, 0])) == [p.SubAck(packet_id, (1, 0))]

    packet_id, data = client.publish(TOPIC, b"x")
    (run,) = to_server(data)
    assert list(client.in_flight) == [packet_id]
    assert to_client(run.acks) == [p.PubAcks((packet_id,))]
    assert not client.in_flight

    (run,) = to_client(server.publish("a/b", b"down", 1, 77))
    assert to_server(run.acks) == [p.PubAck(77)]
    assert to_client(server.publish("b", b"down", 0)) == [p.Publish("b", b"down")]

    packet_id, data = client.unsubscribe(["b"])
    assert to_server(data) == [p.Unsubscribe(packet_id, ("b",))]
    assert to_client(server.unsuback(packet_id)) == [p.UnsubAck(packet_id)]
    assert client.free == 65_535

    assert to_server(client.ping()) == [p.PingReq()]
    assert to_client(server.pingresp()) == [p.PingResp()]
    assert to_server(client.disconnect()) == [p.Disconnect()]
    assert client.state is ClientState.IDLE


def test_many_at_once():
    """`publish_many` is what as many `publish` would be, and one read of PUBACKs clears it."""
    payloads = [b"x" * (i % 5) for i in range(1000)]
    client, other = connected(), connected()
    ids, data = client.publish_many(TOPIC, payloads)
    assert ids == list(range(1, 1001))
    assert data == b"".join(other.publish(TOPIC, payload)[1] for payload in payloads)
    assert dict(client.in_flight) == dict(other.in_flight)
    (run,) = opened().receive(data[:-5] + data[-5:])[:1]
    assert (run.count, [body for _, body, _ in iter_publishes(data)]) == (1000, payloads)
    assert client.receive(run.acks) == [p.PubAcks(tuple(ids))]
    assert client.free == 65_535


def test_packet_ids_skip_what_is_in_flight():
    """An id is used again only after its acknowledgement, and goes round past 65,535."""
    client = connected()
    ids, _ = client.publish_many("t", [b""] * 65_535)
    assert (ids[0], ids[-1], client.free) == (1, 65_535, 0)
    for send in (
        lambda: client.publish("t", b""),
        lambda: client.publish_many("t", [b""]),
        lambda: client.subscribe(["a"]),
    ):
        with pytest.raises(UsageError, match=r"in flight|free"):
            send()
    assert client.publish("t", b"", 0)[0] == 0
    assert client.publish_many("t", []) == ([], b"")
    client.receive(encode_puback(500) + encode_puback(40_000) + encode_puback(7))
    assert client.publish("t", b"")[0] == 7
    assert client.subscribe(["a"])[0] == 500
    assert client.publish_many("t", [b""])[0] == [40_000]
    assert client.free == 0
    client.receive(b"".join(map(encode_puback, range(1, 65_536))))
    assert client.free == 65_534
    assert 500 not in client.publish_many("t", [b""] * 65_534)[0]


def test_sending_again_after_a_reconnect():
    """What is in flight comes again in its order with DUP; what was acknowledged does not."""
    client = connected()
    client.publish_many("t", [b"1", b"2", b"3"])
    client.receive(encode_puback(2))
    client.publish("t", b"4")
    client.subscribe(["a"])
    client.connect("a new token")
    client.receive(encode(p.ConnAck(session_present=True)))
    expected = [
        p.Publish("t", body, 1, dup=True, packet_id=i) for body, i in ((b"1", 1), (b"3", 3), (b"4", 4))
    ]
    server = opened()
    assert server.receive(client.resend()) == expected
    assert server.receive(client.resend()) == expected
    assert client.receive(b"".join(map(encode_puback, (1, 3, 4)))) == [p.PubAcks((1, 3, 4))]
    assert client.resend() == b""
    assert client.free == 65_535


def test_half_a_packet_does_not_outlive_its_connection():
    """A reconnect begins with an empty reader."""
    client = connected()
    client.receive(b"\x32\x7f")
    client.connect()
    assert client.receive(encode(p.ConnAck())) == [p.ConnAck()]


def test_a_clean_session_forgets():
    """With clean_session nothing is in flight after a reconnect."""
    client = connected(clean_session=True)
    client.publish("t", b"1")
    client.connect()
    assert not client.in_flight


def test_a_new_password():
    """A renewed token goes into the next CONNECT."""
    client = MqttClient("dev1", "u", b"old")
    assert MqttServer().receive(client.connect())[0].password == b"old"
    assert MqttServer().receive(client.connect("new"))[0].password == b"new"
    assert "new" not in repr(client)


def test_qos_2_goes_in_two_steps():
    """After PUBREC only the release is sent again, in the message's place; PUBCOMP ends it."""
    client = connected()
    first, _ = client.publish("t", b"1", 2)
    client.publish("t", b"2")
    assert client.receive(encode(p.PubRec(first))) == [p.PubRec(first)]
    assert client.pubrel(first) == encode(p.PubRel(first))
    client.connect()
    client.receive(encode(p.ConnAck()))
    assert client.resend() == encode(p.PubRel(first)) + encode_publish("t", b"2", 1, 2, dup=True)
    client.receive(encode(p.PubRec(999)))
    assert client.receive(encode(p.PubComp(first))) == [p.PubComp(first)]
    assert list(client.in_flight) == [2]


@pytest.mark.parametrize(
    "data", [SERVER_SENDS["pingresp"], encode_puback(1), encode_publish("t", b"", 1, 1), b"\xff"]
)
def test_a_server_answers_connect_before_all_else(data):
    """Whatever comes before CONNACK is a violation [MQTT-3.2.0-1]."""
    client = MqttClient("a")
    client.connect()
    (event,) = client.receive(data)
    assert isinstance(event, p.Violation)
    assert client.state is ClientState.IDLE
    assert client.receive(encode(p.ConnAck())) == []


@pytest.mark.parametrize(
    "data", [encode(p.ConnAck()), *(CLIENT_SENDS[n] for n in ("SUBSCRIBE", "PINGREQ")), CONNECT]
)
def test_what_a_server_may_not_send(data):
    """A second CONNACK and a client's packets are violations."""
    client = connected()
    *_, event = client.receive(data)
    assert isinstance(event, p.Violation)


def test_a_refused_client_is_idle():
    """A refusing CONNACK ends the connection; the next may be tried."""
    client = MqttClient("a")
    assert client.receive(encode(p.ConnAck())) != []
    client.connect()
    refusal = p.ConnAck(p.ConnackCode.NOT_AUTHORIZED)
    assert client.receive(encode(refusal)) == [refusal]
    assert client.state is ClientState.IDLE
    client.connect()
    assert client.receive(encode(p.ConnAck())) == [p.ConnAck()]


# --- The vendor's client


def test_paho_is_understood():
    """What paho-mqtt, the device SDK's client, writes is read as it was meant."""
    from paho.mqtt import client as paho

    sent = []
    vendor = paho.Client("dev1", clean_session=False)
    vendor.username_pw_set("h/dev1/?api-version=2019-10-01", "SAS")
    vendor._packet_queue = lambda command, packet, *_: sent.append(bytes(packet)) or paho.MQTT_ERR_SUCCESS
    vendor._sock = object()
    vendor._send_connect(60)
    vendor._send_subscribe(False, [(b"a/#", 1)])
    vendor._send_publish(2, TOPIC.encode(), b"x" * 200, 1)
    vendor._send_publish(2, TOPIC.encode(), b"x" * 200, 1, dup=True)
    vendor._send_puback(9)
    vendor._send_pingreq()
    vendor._send_disconnect()
    vendor._sock = None
    events = MqttServer().receive(b"".join(sent))
    assert [type(event) for event in events] == [
        p.Connect,
        p.Subscribe,
        p.PublishRun,
        p.Publish,
        p.PubAck,
        p.PingReq,
        p.Disconnect,
    ]
    assert events[0] == p.Connect("dev1", False, 60, "h/dev1/?api-version=2019-10-01", b"SAS")
    assert events[1].filters == (("a/#", 1),)
