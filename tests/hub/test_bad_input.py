"""Junk, halves and flipped bits, sent live to the hub while a good client is connected and must not notice."""

import contextlib
import random
import socket
import ssl
import time

import psutil
import pytest
from house import HOST, LOCAL, FakeTransport, House
from hub_clients import Consumer, RawDevice, partition_of

from iotedge_lab.hub.amqp_front import AmqpFront
from iotedge_lab.hub.hub import EVENTS_NAME
from iotedge_lab.wire import sas
from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.frames import FrameReader
from iotedge_lab.wire.amqp.message import Message, encode_message
from iotedge_lab.wire.amqp.performatives import Properties, Source, Target
from iotedge_lab.wire.amqp.states import Role
from iotedge_lab.wire.mqtt import encode as e
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.decode import PacketReader

PORTS = ("mqtt_port", "amqp_port", "plain_amqp_port", "https_port")
FLIPS = 150


@pytest.fixture(scope="module")
def good(lab):
    """A client that is connected throughout this file."""
    for name in ("good", "victim", "late-comer"):
        lab.rest().call("PUT", f"/devices/{name}", {})
    with RawDevice(lab, "good", tls=True) as one:
        one.count = 0
        yield one


@pytest.fixture(autouse=True)
def _good_is_unharmed(good, lab):
    """Before and after each test, on the same connection, the good client's message is acknowledged."""
    good.send(b"before")
    yield
    good.send(b"good %d" % good.count)
    good.count += 1
    assert lab.status()["hub"] == lab._told.hub_id


@pytest.fixture
def victim(lab):
    """A device that the hostile clients speak as."""
    return RawDevice(lab, "victim")


def _talk(lab, data, *, port="plain_amqp_port", half_close=True):
    """Send bytes, say that nothing follows, and read what the hub answers until it closes."""
    told = lab._told
    with socket.create_connection((told.host, getattr(told, port)), timeout=30) as sock:
        answer = b""
        with contextlib.suppress(OSError):
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65_536):
                answer += chunk
    return answer


# -- junk ---------------------------------------------------------------------------------------------

JUNK = {
    "zeros": bytes(100),
    "ones": b"\xff" * 100,
    "noise": random.Random(1).randbytes(5_000),
    "a text": b"hello, is anybody there?\r\n\r\n",
    "http 0.9": b"GET /\r\n",
    "http without a host": b"GET / HTTP/1.1\r\n\r\n",
    "a long line": b"GET /" + b"x" * 100_000,
    "a header that never ends": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
    "two lengths": b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a wrong length": b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Length: minus\r\n\r\n",
    "chunks that are none": b"POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "amqp 0.9.1": b"AMQP\x00\x00\x09\x01",
    "amqp of the future": b"AMQP\x00\x02\x00\x00",
    "amqp tls": b"AMQP\x02\x01\x00\x00",
    "an amqp frame that is too small": b"AMQP\x00\x01\x00\x00\x00\x00\x00\x02\x02\x00\x00\x00",
    "an amqp frame of 4 GB": b"AMQP\x00\x01\x00\x00\xff\xff\xff\xff\x02\x00\x00\x00",
    "an amqp frame of another type": b"AMQP\x00\x01\x00\x00\x00\x00\x00\x08\x02\x07\x00\x00",
    "mqtt of 256 MB": b"\x10\xff\xff\xff\x7f\x00\x04MQTT",
    "mqtt with an endless length": b"\x10\xff\xff\xff\xff\xff\xff",
    "mqtt 3.1": b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02ab",
    "mqtt 5": b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02ab",
    "mqtt publish first": b"\x32\x07\x00\x01a\x00\x01xx",
    "a tls record of junk": b"\x16\x03\x01\x00\x05hello",
    "an oversized tls record": b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    "half a client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
}


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("junk", JUNK)
def test_junk_on_every_port(lab, junk, port):
    """The connection is answered as documented or closed, at once, whatever the port."""
    begun = time.monotonic()
    answer = _talk(lab, JUNK[junk], port=port)
    assert time.monotonic() - begun < 9
    assert b"Traceback" not in answer
    assert len(answer) < 20_000


@pytest.mark.parametrize("junk", [name for name in JUNK if "tls" not in name and "hello" not in name])
def test_junk_inside_tls(lab, junk):
    """As well as in clear text. Where more could follow the hub waits; then it is the client that leaves."""
    told = lab._told
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    with (
        socket.create_connection((told.host, told.mqtt_port), timeout=30) as bare,
        context.wrap_socket(bare, server_hostname=told.host) as sock,
        contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError),
    ):
        sock.sendall(JUNK[junk])
        sock.settimeout(0.3)
        while sock.recv(65_536):
            pass


# -- MQTT ---------------------------------------------------------------------------------------------


def _mqtt_exchange(victim):
    """A whole life of an MQTT connection, in bytes."""
    client = victim.client
    connect = client.connect()
    client.state = type(client.state).OPEN
    return b"".join(
        [
            connect,
            client.subscribe([("devices/victim/messages/devicebound/#", 1), ("$iothub/twin/res/#", 0)])[1],
            e.encode_publish(victim.topic + "%24.mid=1&a=b", b"victim", 1, 7),
            e.encode_publish("$iothub/twin/GET/?$rid=1", b" ", 1, 8),
            e.encode_publish(victim.topic, b"victim", 0),
            client.unsubscribe(["$iothub/twin/res/#"])[1],
            e.PINGREQ,
            e.DISCONNECT,
        ]
    )


def _check_mqtt(answer):
    """What the hub answered is MQTT that a server may send."""
    found = PacketReader().feed(answer)
    kinds = (p.ConnAck, p.SubAck, p.UnsubAck, p.PubAck, p.PingResp, p.Publish, p.PublishRun)
    assert all(isinstance(event, kinds) for event in found), found
    assert all(isinstance(event, p.ConnAck) == (number == 0) for number, event in enumerate(found)), found
    return found


def test_a_whole_mqtt_exchange(lab, victim):
    """What the tests below take apart: it is answered whole."""
    found = _check_mqtt(_talk(lab, _mqtt_exchange(victim)))
    assert found[0].code is p.ConnackCode.ACCEPTED
    assert {type(event) for event in found} >= {p.ConnAck, p.SubAck, p.PubAck, p.UnsubAck, p.PingResp}


def test_each_beginning_of_an_mqtt_exchange(lab, victim):
    """Cut off after any byte, the connection ends, and what came before was answered."""
    data = _mqtt_exchange(victim)
    for end in range(1, len(data)):
        _check_mqtt(_talk(lab, data[:end]))


def test_flipped_bits_in_an_mqtt_exchange(lab, victim):
    """A changed byte is answered as what it then means, or the connection is closed; no other is."""
    data = _mqtt_exchange(victim)
    dice = random.Random(2)  # any choice does, the same each time
    for _ in range(FLIPS):
        at = dice.randrange(len(data))
        changed = data[:at] + bytes((data[at] ^ dice.randrange(1, 256),)) + data[at + 1 :]
        _check_mqtt(_talk(lab, changed))


def test_oversized_mqtt_packets(lab, victim):
    """A packet beyond the limit closes the connection as soon as its length is known, not when it has come."""
    connect = victim.client.connect()
    for size in (400_000, 268_435_455):
        begun = time.monotonic()
        head = b"\x32" + _length(size) + b"\x00\x01a"
        found = _check_mqtt(_talk(lab, connect + head, half_close=False))
        assert [type(event) for event in found] == [p.ConnAck]
        assert time.monotonic() - begun < 5


def _length(size):
    """MQTT's Remaining Length."""
    made = b""
    while True:
        size, digit = divmod(size, 128)
        made += bytes((digit | (128 if size else 0),))
        if not size:
            return made


# -- AMQP ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def amqp_exchange(lab, tmp_path_factory):
    """A whole life of a consumer's connection: what it sends, step by step, as a hub in this process is told it."""
    house = House(tmp_path_factory.mktemp("recorded"))
    front = AmqpFront(house.hub, LOCAL)
    transport = FakeTransport(front)
    front.connection_made(transport)
    wire = AmqpConnection(role=Role.CLIENT, container_id="victim", hostname=lab.hostname, sasl=False)
    steps = []
    read = 0

    def turn():
        nonlocal read
        while data := wire.data_to_send():
            steps.append(data)
            front.data_received(data)
            house.turns.run()
            wire.receive(transport.written[read:])
            read = len(transport.written)

    wire.start()
    turn()
    session = wire.begin_session()
    turn()
    replies = session.attach_receiver("r", source=Source(address="$cbs"), target=Target(address="$cbs"))
    requests = session.attach_sender("s", target=Target(address="$cbs"), source=Source(address="$cbs"))
    turn()
    replies.grant(5)
    resource = f"sb://{lab.hostname}/{EVENTS_NAME}"
    token = sas.build(resource, lab._told.keys["service"], int(time.time()) + 3600, "service", raw_key=True)
    asked = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": EVENTS_NAME}
    properties = Properties(message_id="m", reply_to="$cbs")
    requests.send(encode_message(Message(properties=properties, application_properties=asked, value=token)))
    turn()
    assert not [step for step in steps if not step]
    # The hub of the recording has other keys and no events; a reader attaches as well with another name.
    key = house.hub.access.policies["service"].primary_key
    own = sas.build(f"sb://{HOST}/", key, int(house.clock.now()) + 3600, "service", raw_key=True)
    front.tokens["recorded"] = house.hub.access.check(own, raw_key=True)
    partition = partition_of(lab, "good")
    reader = session.attach_receiver(
        "reader", source=Source(address=f"{EVENTS_NAME}/ConsumerGroups/$Default/Partitions/{partition}")
    )
    turn()
    reader.grant(3)
    turn()
    wire.heartbeat()
    wire.close()
    turn()
    house.hub.close()
    return steps


def _walk(lab, steps):
    """Send step by step, each when the one before was answered, or after a moment; all that the hub answered."""
    told = lab._told
    answer = b""
    with (
        socket.create_connection((told.host, told.plain_amqp_port), timeout=0.15) as sock,
        contextlib.suppress(OSError),
    ):
        for step in steps:
            sock.sendall(step)
            try:
                chunk = sock.recv(65_536)
            except TimeoutError:
                continue
            if not chunk:
                return answer
            answer += chunk
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(15)
        while chunk := sock.recv(65_536):
            answer += chunk
    return answer


def _check_amqp(answer):
    """What the hub answered is whole frames of AMQP."""
    assert answer[:4] in (b"", b"AMQP"), answer[:100]
    reader = FrameReader(1024 * 1024)
    reader.feed(answer)
    frames = []
    while (frame := reader.next()) is not None:
        frames.append(frame)
    return frames


def test_a_whole_amqp_exchange(lab, amqp_exchange):
    """What the tests below take apart: it is answered, from the header over three events to the close."""
    answer = _walk(lab, amqp_exchange)
    assert answer.startswith(b"AMQP\x00\x01\x00\x00")
    assert b"status-code" in answer
    assert answer.count(b"x-opt-sequence-number") == 3
    assert b"\x00\x53\x18" in answer  # close
    assert len(_check_amqp(answer)) > 8


def test_each_beginning_of_an_amqp_exchange(lab, amqp_exchange):
    """Cut off anywhere (each seventh byte, to be quick), the connection ends, and the answer until there is AMQP."""
    whole = sum(map(len, amqp_exchange))
    for end in range(1, whole, 7):
        steps, left = [], end
        for step in amqp_exchange:
            steps.append(step[:left])
            left -= len(step)
            if left <= 0:
                break
        told = lab._told
        with socket.create_connection((told.host, told.plain_amqp_port), timeout=30) as sock:
            answer = b""
            for step in steps[:-1]:
                sock.sendall(step)
                answer += sock.recv(65_536)
            sock.sendall(steps[-1])
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while chunk := sock.recv(65_536):
                    answer += chunk
        _check_amqp(answer)


def test_flipped_bits_in_an_amqp_exchange(lab, amqp_exchange):
    """A changed byte closes that connection or that link, or means something else; the hub goes on."""
    dice = random.Random(3)  # any choice does, the same each time
    closed = 0
    for _ in range(FLIPS):
        number = dice.randrange(len(amqp_exchange))
        step = bytearray(amqp_exchange[number])
        step[dice.randrange(len(step))] ^= dice.randrange(1, 256)
        answer = _walk(lab, [*amqp_exchange[:number], bytes(step), *amqp_exchange[number + 1 :]])
        if answer.startswith(b"HTTP/1.0 400"):  # its first byte had become another letter
            continue
        _check_amqp(answer)
        closed += b"\x00\x53\x18" in answer
    assert closed > FLIPS // 4


# -- connections that come to nothing --------------------------------------------------------------------


def test_six_hundred_that_say_nothing(lab, good):
    """600 connections that are opened and left do not keep a good client out, and are gone after a while."""
    told = lab._told
    with contextlib.ExitStack() as open_sockets:
        for number in range(600):
            port = (told.mqtt_port, told.amqp_port, told.plain_amqp_port, told.https_port)[number % 4]
            sock = open_sockets.enter_context(socket.create_connection((told.host, port), timeout=30))
            if number % 3 == 0:
                with contextlib.suppress(ConnectionError):
                    sock.sendall((b"\x16\x03\x01", b"\x10", b"AM")[number // 3 % 3])
        good.send(b"among six hundred")
        with RawDevice(lab, "late-comer", tls=True) as late:
            late.send(b"let me in")


def test_nothing_of_this_was_a_surprise(lab, good):
    """The hub's log holds no traceback, the process kept its size, and the good client's messages are all there."""
    log = (lab.state_dir / "hub.log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]
    assert psutil.Process(lab._told.pid).memory_info().rss < 300 * 1024 * 1024
    assert len(lab.rest().call("GET", "/devices")) == 3
    reader = Consumer(lab, partition_id=partition_of(lab, "good"))
    try:
        mine = lambda: [  # noqa: E731
            event.body_as_str()
            for event in reader.events
            if event.system_properties[b"iothub-connection-device-id"] == b"good"
            and event.body_as_str().startswith("good ")
        ]
        with reader.news:
            assert reader.news.wait_for(lambda: len(mine()) == good.count, 20)
        assert mine() == [f"good {number}" for number in range(good.count)]
    finally:
        reader.close()
    assert good.count > 100
