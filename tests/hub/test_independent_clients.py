"""Clients that know nothing of Azure: paho-mqtt as it is, and aiomqtt, with topics and tokens made by hand.

The token here is made from the documentation's recipe ("Control access to IoT Hub using SAS tokens"), not by the
library, so a mistake in the library's would show.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import math
import os
import socket
import ssl
import threading
import time
import urllib.parse

import aiomqtt
import pytest
from finding import annotations, body, find, properties
from paho.mqtt import client as mqtt

from iotedge_lab.rest import RestError

ACCEPTED, BAD_PROTOCOL, NOT_AUTHORIZED = 0, 1, 5
REFUSED = 0x80
SECONDS = 30
METHODS = "$iothub/methods/POST/#"
TWIN_ANSWERS = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"


def c2d(device):
    """The filter of a device's cloud-to-device messages."""
    return f"devices/{device}/messages/devicebound/#"


def telemetry(device, module=None):
    """The topic of telemetry without properties."""
    return f"devices/{device}" + (f"/modules/{module}" if module else "") + "/messages/events/"


def trust(lab):
    """TLS that trusts the lab's authority alone: certifi's many would take longer to read than a test to run."""
    return ssl.create_default_context(cafile=str(lab.state_dir / "certificates" / "lab-ca.pem"))


def hand_made_token(lab, device, module=None, *, which="primaryKey", seconds=3600):
    """A SAS token from the identity's key."""
    path = f"devices/{device}" + (f"/modules/{module}" if module else "")
    key = lab.rest().call("GET", f"/{path}")["authentication"]["symmetricKey"][which]
    resource = urllib.parse.quote(f"{lab.hostname}/{path}", safe="")
    expiry = int(time.time()) + seconds
    signed = hmac.new(base64.b64decode(key), f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(signed), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}"


class Paho:
    """A paho client whose loop runs in the test's thread, when the test waits for something."""

    def __init__(self, lab, device, module=None, *, clean=True, password=None, keep_alive=60, **options):
        name = f"{device}/{module}" if module else device
        self._lab = lab
        self._websocket = options.get("transport") == "websockets"
        self.topic = telemetry(device, module)
        self.client = mqtt.Client(name, clean_session=clean, **options)
        self.client.username_pw_set(
            f"{lab.hostname}/{name}/?api-version=2021-04-12",
            hand_made_token(lab, device, module) if password is None else password,
        )
        self.client.tls_set_context(trust(lab))
        if self._websocket:
            self.client.ws_set_options("/$iothub/websocket")
        self.client.on_connect = lambda _client, _data, flags, code, *_: self._connected(flags, code)
        self.client.on_disconnect = lambda *_: self.ends.append(time.monotonic())
        self.client.on_message = lambda _client, _data, message: self.take(message)
        self.client.on_publish = lambda _client, _data, number: self.acknowledged.add(number)
        self.client.on_subscribe = lambda _client, _data, number, granted: self.granted.update(
            {number: list(granted)}
        )
        self.client.on_unsubscribe = lambda _client, _data, number: self.granted.update({number: []})
        self.keep_alive = keep_alive
        self.code = None
        self.present = None
        self.acknowledged = set()
        self.granted = {}
        self.messages = []
        self.ends = []
        self.take = self.messages.append

    def _connected(self, flags, code):
        self.code, self.present = code, bool(flags["session present"])

    def connect(self):
        """Connect, and wait for the CONNACK; itself."""
        self.code = None
        self.ends.clear()
        port = self._lab._told.https_port if self._websocket else self._lab._told.mqtt_port
        self.client.connect(self._lab._told.host, port, self.keep_alive)
        self.until(lambda: self.code is not None or self.ends)
        return self

    def until(self, holds, seconds=SECONDS):
        """Let the client work until `holds()`."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"after {seconds} s: {self.code=} {self.messages=} {self.ends=}"
            if self.client.loop(0.05) == mqtt.MQTT_ERR_NO_CONN:
                time.sleep(0.02)

    def subscribe(self, *filters):
        """Subscribe to (filter, QoS) or filters at QoS 1; what was granted."""
        pairs = [(one, 1) if isinstance(one, str) else one for one in filters]
        _, number = self.client.subscribe(pairs)
        self.until(lambda: number in self.granted)
        return self.granted.pop(number)

    def unsubscribe(self, *filters):
        """Unsubscribe, and wait for the UNSUBACK."""
        _, number = self.client.unsubscribe(list(filters))
        self.until(lambda: number in self.granted)

    def send(self, payload, *, topic=None, qos=1, retain=False):
        """Publish, and wait until it has left (QoS 0) or is acknowledged (QoS 1)."""
        number = self.client.publish(topic or self.topic, payload, qos, retain=retain).mid
        self.until(lambda: number in self.acknowledged)

    def receive(self, count=1):
        """The next messages."""
        self.until(lambda: len(self.messages) >= count)
        taken, self.messages[:] = self.messages[:count], self.messages[count:]
        return taken

    def quiet(self, seconds=0.4):
        """Whether nothing comes for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.client.loop(0.05)
        return not self.messages

    def cut(self):
        """The network breaks: no DISCONNECT."""
        sock = self.client.socket()
        if sock is not None:
            sock.close()
        self.client._sock = None

    def close(self):
        """DISCONNECT."""
        self.client.disconnect()
        self.client.loop(0.05)
        self.cut()


@pytest.fixture
def paho(lab):
    """`paho(device, ...)`: a client that is connected; closed after the test."""
    made = []

    def connect(device, module=None, **options):
        made.append(Paho(lab, device, module, **options))
        return made[-1].connect()

    yield connect
    for one in made:
        one.close()


@pytest.fixture
def send_to(lab):
    """`send_to(device, text, **properties)`: a cloud-to-device message by the vendor's service SDK."""
    from azure.iot.hub import IoTHubRegistryManager

    manager = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)

    def send(device, text, **given):
        manager.send_c2d_message(device, text, given)

    yield send
    manager.amqp_svc_client.disconnect_sync()


@pytest.fixture
def read_back(consume, partition_of):
    """`read_back(device)`: a consumer of the device's partition, from its beginning.

    Of that alone: at a partition where nothing waits the vendor's consumer stays 0.2 s for each event of others.
    """
    return lambda device: consume(partition_id=partition_of(device))


def _invoke(rest, device, method, payload=None):
    request = {"methodName": method, "payload": payload, "responseTimeoutInSeconds": 5}
    return rest.call("POST", f"/twins/{device}/methods", request)


class Invoked(threading.Thread):
    """A method call under way."""

    def __init__(self, lab, device, method, payload=None):
        super().__init__()
        rest = lab.rest()
        self.work = lambda: _invoke(rest, device, method, payload)
        self.answer = None
        self.seconds = None
        self.start()

    def run(self):
        began = time.perf_counter()
        try:
            self.answer = self.work()
        except RestError as error:
            self.answer = error
        self.seconds = time.perf_counter() - began

    def result(self):
        """What the service got."""
        self.join(15)
        return self.answer


def _waiting(lab, device):
    return lab.rest().call("GET", f"/devices/{device}")["cloudToDeviceMessageCount"]


# -- connecting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["primaryKey", "secondaryKey"])
@pytest.mark.parametrize("options", [{}, {"transport": "websockets"}], ids=["TLS", "WebSocket"])
def test_a_hand_made_token_opens(lab, device, paho, which, options):
    """A token from the documented recipe is accepted, by either key, over TLS and over WebSocket."""
    client = paho(device, password=hand_made_token(lab, device, which=which), **options)
    assert client.code == ACCEPTED
    client.send("x")


def test_what_does_not_open(lab, device, paho):
    """A token that has ended, one that was changed, none, and another device's are refused with 5."""
    other = f"{device}-other"
    lab.rest().call("PUT", f"/devices/{other}", {"deviceId": other})
    good = hand_made_token(lab, device)
    wrong = {
        "ended": hand_made_token(lab, device, seconds=-10),
        "longer": good.replace("se=1", "se=2"),
        "changed": good.replace("sig=", "sig=A"),
        "other": hand_made_token(lab, other),
        "words": "open sesame",
        "empty": "",
    }
    assert {name: paho(device, password=token).code for name, token in wrong.items()} == dict.fromkeys(
        wrong, NOT_AUTHORIZED
    )
    assert paho(device).code == ACCEPTED


def test_other_versions_of_mqtt_are_refused(device, paho):
    """A client of MQTT 3.1 or MQTT 5 does not get in; one of 3.1.1 does."""
    assert paho(device, protocol=mqtt.MQTTv31).code in (None, BAD_PROTOCOL)  # its CONNECT has another name
    assert paho(device, protocol=mqtt.MQTTv5, clean=None).code != ACCEPTED
    assert paho(device, protocol=mqtt.MQTTv311).code == ACCEPTED


def test_the_newer_connection_wins(device, paho):
    """The first connection ends when a second of the same identity is accepted; a module is another identity."""
    first = paho(device)
    second = paho(device)
    first.until(lambda: first.ends)
    second.send("still here")
    assert not second.ends


def test_silence_ends_a_connection(device, lab, paho):
    """A client is dropped when it is silent for 1.5 times its keep-alive, and kept while it pings."""
    other = f"{device}-pings"
    lab.rest().call("PUT", f"/devices/{other}", {"deviceId": other})
    began = time.monotonic()
    silent, pinging = paho(device, keep_alive=1), paho(other, keep_alive=2)
    sock = silent.client.socket()
    sock.setblocking(False)

    def ended():
        try:
            return sock.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False

    pinging.until(ended)
    assert time.monotonic() - began > 1.5
    pinging.until(lambda: time.monotonic() - began > 4.5)
    pinging.send("still here")
    assert not pinging.ends


HELLO = {"AMQPWSB10": b"AMQP\x03\x01\x00\x00", "mqtt": bytes.fromhex("100c00044d5154540402003c0000")}
ANSWER = {"AMQPWSB10": b"AMQP", "mqtt": b"\x20"}


@pytest.mark.parametrize(
    ("path", "asked", "given"),
    [
        ("/$iothub/websocket", "AMQPWSB10", "AMQPWSB10"),
        ("/$iothub/websocket", "other, AMQPWSB10, mqtt", "AMQPWSB10"),
        ("/$iothub/websocket", "mqtt", "mqtt"),
        ("/$servicebus/websocket/", "AMQPWSB10", "AMQPWSB10"),
    ],
)
def test_a_websocket_speaks_what_was_asked_for(lab, dial, path, asked, given):
    """The path of IoT Hub serves AMQP as well as MQTT: the subprotocol decides, and is said back."""
    sock = dial(lab._told.https_port, tls=True)
    key = base64.b64encode(bytes(16)).decode()
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {lab.hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: {asked}\r\n\r\n".encode()
    )
    stream = sock.makefile("rb")
    assert b" 101 " in stream.readline()
    headers = http.client.parse_headers(stream)
    assert headers["Sec-WebSocket-Protocol"] == given
    frame = bytes([0x82, 0x80 | len(HELLO[given]), 0, 0, 0, 0])  # RFC 6455, 5.2: binary, masked by zeros
    sock.sendall(frame + HELLO[given])
    assert stream.read(1) == b"\x82"
    assert stream.read(1 + 4)[1:].startswith(ANSWER[given])
    stream.close()


# -- telemetry -----------------------------------------------------------------------------------------


def test_telemetry_by_topic(device, paho, read_back):
    """Properties in the topic, in percent-encoding, are the event's; order is kept; QoS 0 and 1 alike."""
    client = paho(device)
    for number in range(10):
        client.send(
            f"{number}", topic=f"{client.topic}n={number}&%24.ct=text%2Fplain&a%26b=c%3Dd", qos=number % 2
        )
    client.send(b"\x00\xff")
    consumer = read_back(device)
    found = [find(consumer, lambda one, n=n: _is(one, device, b"%d" % n)) for n in range(10)]
    assert [properties(one) for one in found] == [{"n": f"{number}", "a&b": "c=d"} for number in range(10)]
    assert [one.sequence_number for one in found] == sorted(one.sequence_number for one in found)
    assert {one.content_type for one in found} == {"text/plain"}
    find(consumer, lambda one: _is(one, device, b"\x00\xff"))


def _is(event, device, expected):
    return annotations(event).get("iothub-connection-device-id") == device and body(event) == expected


def test_retain_becomes_a_property(device, paho, read_back):
    """RETAIN is not served; the event says that it was asked for."""
    client = paho(device)
    client.send("kept", retain=True)
    client.send("kept too", topic=f"{client.topic}a=b", retain=True)
    consumer = read_back(device)
    assert properties(find(consumer, lambda one: _is(one, device, b"kept"))) == {"mqtt-retain": "true"}
    assert properties(find(consumer, lambda one: _is(one, device, b"kept too"))) == {
        "a": "b",
        "mqtt-retain": "true",
    }


@pytest.mark.parametrize(
    ("topic", "qos"),
    [
        (None, 2),
        ("devices/another/messages/events/", 1),
        ("devices/another/messages/events/", 0),
        ("sensors/1/temperature", 1),
        ("$SYS/broker", 1),
        ("$iothub/nonsense", 1),
        ("devices/", 1),
    ],
)
def test_a_breach_ends_the_connection(device, paho, topic, qos):
    """QoS 2, another device's topic and a topic that IoT Hub does not have close the connection, unacknowledged."""
    client = paho(device)
    number = client.client.publish(topic or client.topic, "x", qos).mid
    client.until(lambda: client.ends)
    assert qos == 0 or number not in client.acknowledged
    assert paho(device).code == ACCEPTED


def test_a_will_is_telemetry(lab, device, read_back):
    """The will comes when the network breaks, marked as such; after a DISCONNECT it does not."""
    for end in ("close", "cut"):
        client = Paho(lab, device)
        client.client.will_set(f"{client.topic}why=%24gone", f"the end: {end}", qos=1)
        client.connect()
        getattr(client, end)()
    consumer = read_back(device)
    will = find(consumer, lambda one: _is(one, device, b"the end: cut"))
    assert properties(will) == {"why": "$gone", "iothub-MessageType": "Will"}
    assert not [one for one in consumer.events if _is(one, device, b"the end: close")]


# -- subscriptions -------------------------------------------------------------------------------------


def test_what_a_device_may_subscribe_to(device, paho):
    """Its own topics, at QoS 0 or 1 (2 is granted 1), and narrower ones; all else is refused with 0x80 in its place."""
    own = {
        (c2d(device), 0): 0,
        (c2d(device), 1): 1,
        (c2d(device), 2): 1,
        (METHODS, 1): 1,
        (TWIN_ANSWERS, 0): 0,
        (DESIRED, 2): 1,
        ("$iothub/methods/POST/reboot/#", 1): 1,
        ("$iothub/methods/POST/+/#", 1): 1,
        ("$iothub/twin/res/200/#", 1): 1,
    }
    foreign = dict.fromkeys(
        [
            ("#", 1),
            ("+/#", 1),
            ("+", 0),
            ("$iothub/#", 1),
            ("$iothub/+/res/#", 1),
            ("$SYS/#", 1),
            ("devices/#", 1),
            ("devices/+/messages/devicebound/#", 1),
            ("devices/another/messages/devicebound/#", 1),
            (f"devices/{device}/#", 1),
            (f"devices/{device}/messages/events/#", 1),
            (f"devices/{device}/modules/m/inputs/#", 1),
            (f"devices/{device}0/messages/devicebound/#", 1),
            ("sensors/1", 1),
        ],
        REFUSED,
    )
    client = paho(device)
    mixed = [pair for both in zip(own, foreign, strict=False) for pair in both] + list(foreign)[len(own) :]
    assert client.subscribe(*mixed) == [(own | foreign)[pair] for pair in mixed]
    client.send("still connected")


def test_a_module_has_inputs_and_no_commands(lab, device, paho):
    """A module subscribes to its own inputs, methods and twin, and to nothing of its device."""
    lab.rest().call("PUT", f"/devices/{device}/modules/m", {"deviceId": device, "moduleId": "m"})
    client = paho(device, "m")
    mine, inputs = f"devices/{device}/modules/m/inputs/#", f"devices/{device}/modules/other/inputs/#"
    assert client.subscribe(mine, METHODS, DESIRED, TWIN_ANSWERS, c2d(device), inputs) == [
        1,
        1,
        1,
        1,
        REFUSED,
        REFUSED,
    ]
    client.send("from the module")


def test_an_unsubscribe_ends_what_it_names(lab, device, paho, send_to):
    """Without its subscription a method is 404103 and a message waits; subscribed again, both come."""
    client = paho(device)
    client.subscribe(METHODS, c2d(device))
    client.unsubscribe(METHODS, c2d(device), "never/subscribed")
    with pytest.raises(RestError, match="DeviceNotOnline"):
        _invoke(lab.rest(), device, "m")
    send_to(device, "wait for me")
    assert client.quiet()
    assert _waiting(lab, device) == 1
    assert client.subscribe(c2d(device)) == [1]
    (message,) = client.receive()
    assert message.payload == b"wait for me"


# -- sessions ------------------------------------------------------------------------------------------


def test_a_persistent_session_is_there_again(lab, device, paho, send_to):
    """Its subscriptions outlive DISCONNECT and a broken network: what was sent meanwhile comes without SUBSCRIBE."""
    client = paho(device, clean=False)
    assert client.present is False
    client.subscribe(c2d(device), METHODS)
    for number, leave in enumerate((client.close, client.cut)):
        leave()
        send_to(device, f"meanwhile {number}")
        client.connect()
        assert client.present is True
        (message,) = client.receive()
        assert message.payload == f"meanwhile {number}".encode()
        asked = Invoked(lab, device, "reboot", {"in": 5})
        (request,) = client.receive()
        rid = request.topic.partition("$rid=")[2]
        client.send(b'"soon"', topic=f"$iothub/methods/res/202/?$rid={rid}")
        assert asked.result() == {"status": 202, "payload": "soon"}


def test_a_clean_session_forgets(device, paho, send_to, lab):
    """clean_session=1 begins without subscriptions, also where a persistent session was, which is gone then."""
    kept = paho(device, clean=False)
    kept.subscribe(c2d(device))
    kept.close()
    clean = paho(device)
    assert clean.present is False
    send_to(device, "not yet")
    assert clean.quiet()
    clean.subscribe(METHODS)
    clean.close()
    again = paho(device, clean=False)
    assert again.present is False
    assert again.quiet()
    with pytest.raises(RestError, match="DeviceNotOnline"):
        _invoke(lab.rest(), device, "m")
    again.subscribe(c2d(device))
    assert again.receive()[0].payload == b"not yet"


class _Broken(Exception):
    """The network breaks as a message is handed over, before paho acknowledges it."""


def test_an_unacknowledged_message_comes_again(lab, device, paho, send_to):
    """After the reconnect it has the same packet id and DUP, before what is newer; acknowledged, it is gone."""
    client = paho(device, clean=False)
    client.subscribe(c2d(device))

    def broken(message):
        first.append(message)
        raise _Broken

    first = []
    client.take = broken
    send_to(device, "turn left", messageId="one")
    with pytest.raises(_Broken):
        client.until(lambda: False)
    client.cut()
    client.until(lambda: lab.rest().call("GET", f"/devices/{device}")["connectionState"] == "Disconnected")
    send_to(device, "turn right")
    client.take = client.messages.append
    client.connect()
    again, newer = client.receive(2)
    assert (first[0].dup, again.dup, newer.dup) == (False, True, False)
    assert again.mid == first[0].mid
    assert (again.payload, again.topic) == (first[0].payload, first[0].topic) == (b"turn left", again.topic)
    assert newer.payload == b"turn right"
    client.until(lambda: _waiting(lab, device) == 0)
    client.cut()
    client.connect()
    assert client.quiet()


def test_a_subscription_at_qos_0_takes_what_it_gets(lab, device, paho, send_to):
    """At QoS 0 nothing is acknowledged: a message is completed as it is sent."""
    client = paho(device, clean=False)
    assert client.subscribe((c2d(device), 0)) == [0]
    send_to(device, "once")
    (message,) = client.receive()
    assert (message.qos, message.mid) == (0, 0)
    assert _waiting(lab, device) == 0


def test_publishes_in_flight_survive_a_killed_hub(lab, device, paho, read_back):
    """paho sends again, marked DUP, what it has no PUBACK for; each message is in the log once."""
    client = paho(device, clean=False)
    client.client.max_inflight_messages_set(200)
    client.send("first")
    numbers = {client.client.publish(client.topic, f"m{index}", 1).mid for index in range(200)}
    lab.crash()  # paho has read none of the acknowledgements, and may not have written all of the messages
    client.cut()
    lab.start()
    client.connect()
    client.until(lambda: numbers <= client.acknowledged)
    consumer = read_back(device)
    for index in range(200):
        find(consumer, lambda one, index=index: _is(one, device, b"m%d" % index))
    mine = [body(one) for one in consumer.events if annotations(one)["iothub-connection-device-id"] == device]
    assert sorted(mine) == sorted([b"first", *(b"m%d" % index for index in range(200))])


# -- twins and methods, by topic -----------------------------------------------------------------------


def _ask(client, topic, payload=b""):
    """Publish a request and give back (topic of the answer, JSON or None)."""
    client.send(payload, topic=topic)
    (answer,) = client.receive()
    return answer.topic, json.loads(answer.payload) if answer.payload else None


def test_a_twin_by_topic(lab, device, paho):
    """GET is 200 with desired and reported; a patch is 204 with the new version; a desired change is pushed."""
    client = paho(device)
    client.subscribe(TWIN_ANSWERS, DESIRED)
    assert _ask(client, "$iothub/twin/GET/?$rid=a1") == (
        "$iothub/twin/res/200/?$rid=a1",
        {"desired": {"$version": 1}, "reported": {"$version": 1}},
    )
    topic, _ = _ask(client, "$iothub/twin/PATCH/properties/reported/?$rid=a2", b'{"temp": 20.5}')
    assert topic == "$iothub/twin/res/204/?$rid=a2&$version=2"
    lab.rest().call("PATCH", f"/twins/{device}", {"properties": {"desired": {"speed": 7}}})
    (pushed,) = client.receive()
    assert pushed.topic == "$iothub/twin/PATCH/properties/desired/?$version=2"
    assert json.loads(pushed.payload) == {"speed": 7, "$version": 2}
    assert lab.rest().call("GET", f"/twins/{device}")["properties"]["reported"]["temp"] == 20.5


@pytest.mark.parametrize(
    "patch",
    [
        b"",
        b"not JSON",
        b"[]",
        b"3",
        b"null",
        b'{"a.b": 1}',
        b'{"$x": 1}',
        b'{"a": NaN}',
        b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"a": "' + b"x" * 5000 + b'"}',
        json.dumps({f"k{number}": "x" * 4000 for number in range(9)}).encode(),
        b'{"a": "\xff"}',
        b'{"a": 4503599627370496}',
    ],
    ids=lambda patch: patch[:12].decode(errors="replace"),
)
def test_a_wrong_patch_is_answered_400(lab, device, paho, patch):
    """What is no patch is refused with 400 and a word; nothing changes, and the connection stays."""
    client = paho(device)
    client.subscribe(TWIN_ANSWERS)
    topic, told = _ask(client, "$iothub/twin/PATCH/properties/reported/?$rid=1", patch)
    assert topic.startswith("$iothub/twin/res/400/?$rid=1")
    assert told["errorCode"] == 400004
    assert told["message"]
    assert lab.rest().call("GET", f"/twins/{device}")["properties"]["reported"]["$version"] == 1
    assert not client.ends


def test_only_the_right_answer_counts(lab, device, paho):
    """An answer to a foreign request, from another device, or a second one changes nothing."""
    other_id = f"{device}-other"
    lab.rest().call("PUT", f"/devices/{other_id}", {"deviceId": other_id})
    client, other = paho(device), paho(other_id)
    client.subscribe(METHODS)
    asked = Invoked(lab, device, "sum", [1, 2])
    (request,) = client.receive()
    assert request.topic.startswith("$iothub/methods/POST/sum/?$rid=")
    assert json.loads(request.payload) == [1, 2]
    rid = request.topic.partition("$rid=")[2]
    other.send(b"999", topic=f"$iothub/methods/res/200/?$rid={rid}")
    client.send(b"998", topic="$iothub/methods/res/200/?$rid=none-of-mine")
    client.send(b"3", topic=f"$iothub/methods/res/200/?$rid={rid}")
    client.send(b"997", topic=f"$iothub/methods/res/500/?$rid={rid}")
    assert asked.result() == {"status": 200, "payload": 3}
    for one in (client, other):
        one.send("still connected")


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system has no TCP_QUICKACK")
@pytest.mark.parametrize("options", [{}, {"transport": "websockets"}], ids=["TLS", "WebSocket"])
def test_an_answer_does_not_wait_for_tcp(lab, device, paho, options):
    """paho sends PUBACK and answer in two packets, the second when the first is acknowledged: at once, not after 40 ms.

    Beside it is the same client with TCP_NODELAY, which waits for nobody: a kernel that waits would keep the first
    40 ms behind it in each call, whatever else slows the machine.
    """
    other = f"{device}-nodelay"
    lab.rest().call("PUT", f"/devices/{other}", {"deviceId": other})
    waiting, hasty = paho(device, **options), paho(other, **options)
    with socket.socket(fileno=os.dup(hasty.client.socket().fileno())) as same:
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(client, name):
        asked = Invoked(lab, name, "ping")
        rid = client.receive()[0].topic.partition("$rid=")[2]
        client.client.publish(f"$iothub/methods/res/200/?$rid={rid}", "1", 1)
        client.until(lambda: asked.seconds is not None)
        return asked.seconds

    for client in (waiting, hasty):
        client.subscribe(METHODS)
    best = math.inf
    for _ in range(200):
        best = min(best, call(hasty, other))
        if call(waiting, device) < best + 0.03:
            return
    pytest.fail(f"each of 200 calls took 30 ms longer than the best with TCP_NODELAY, {best:.3f} s")


def test_a_method_payload_that_is_no_json(lab, device, paho):
    """The caller is told so, and the device stays connected."""
    client = paho(device)
    client.subscribe(METHODS)
    asked = Invoked(lab, device, "m")
    rid = client.receive()[0].topic.partition("$rid=")[2]
    client.send(b"{not JSON", topic=f"$iothub/methods/res/200/?$rid={rid}")
    assert asked.result().http_status == 400
    client.send("still connected")


# -- aiomqtt -------------------------------------------------------------------------------------------


def _aio(lab, device, **options):
    return aiomqtt.Client(
        lab._told.host,
        lab._told.mqtt_port,
        identifier=device,
        username=f"{lab.hostname}/{device}/?api-version=2021-04-12",
        password=hand_made_token(lab, device),
        tls_context=trust(lab),
        protocol=aiomqtt.ProtocolVersion.V311,
        **options,
    )


async def test_a_device_on_aiomqtt(lab, device, read_back, send_to):
    """Telemetry, twin, method and a cloud-to-device message in one asyncio program."""
    async with asyncio.timeout(20), _aio(lab, device) as client:
        await client.subscribe([(c2d(device), 1), (METHODS, 1), (TWIN_ANSWERS, 1), (DESIRED, 1)])
        await client.publish(f"{telemetry(device)}from=aiomqtt", "hello", qos=1)
        await client.publish("$iothub/twin/GET/?$rid=1", " ", qos=1)
        calls = asyncio.get_running_loop().run_in_executor
        asked = calls(None, _invoke, lab.rest(), device, "add", [1, 2])
        sent = calls(None, send_to, device, "to you")
        seen = {}
        async for message in client.messages:
            topic = message.topic.value
            seen[topic.partition("?")[0].partition("%24")[0]] = message.payload
            if topic.startswith("$iothub/methods/POST/add"):
                rid = topic.partition("$rid=")[2]
                total = sum(json.loads(message.payload))
                await client.publish(f"$iothub/methods/res/200/?$rid={rid}", json.dumps(total), qos=1)
            if len(seen) == 3:
                break
        assert await asked == {"status": 200, "payload": 3}
        await sent
    assert json.loads(seen["$iothub/twin/res/200/"]) == {
        "desired": {"$version": 1},
        "reported": {"$version": 1},
    }
    assert seen[f"devices/{device}/messages/devicebound/"] == b"to you"
    event = find(read_back(device), lambda one: _is(one, device, b"hello"))
    assert properties(event) == {"from": "aiomqtt"}


async def test_a_will_on_aiomqtt(lab, device, read_back):
    """A will set by another client is telemetry too, when its connection is cut by a newer one."""
    will = aiomqtt.Will(telemetry(device), b"cut off", qos=1)
    async with asyncio.timeout(20):
        with pytest.raises(aiomqtt.MqttError):
            async with _aio(lab, device, will=will) as older, _aio(lab, device) as newer:
                await newer.publish(telemetry(device), "newer", qos=1)
                async for _ in older.messages:
                    pass
    found = find(read_back(device), lambda one: _is(one, device, b"cut off"))
    assert properties(found) == {"iothub-MessageType": "Will"}
