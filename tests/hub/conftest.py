"""A hub without sockets, a hub of its own process, and a raw MQTT client for what the SDKs would not do."""

import base64
import contextlib
import itertools
import socket
import ssl
import threading
import time

import pytest

from iotedge_lab.clock import FakeClock
from iotedge_lab.hub.hub import Hub, HubSettings
from iotedge_lab.hub.log import Source
from iotedge_lab.hub.mqtt_front import MqttFront
from iotedge_lab.lab import Lab
from iotedge_lab.rest import quote
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, PubAcks

HOST = "localhost"
LOCAL = ConnectionInfo(("127.0.0.1", 50_000), ("127.0.0.1", 8883), tls=True)


# -- in process ----------------------------------------------------------------------------------------


class Turns:
    """An event loop's `call_soon` that turns when it is told to."""

    def __init__(self):
        self.waiting = []

    def __call__(self, callback):
        self.waiting.append(callback)

    def run(self):
        """Turn until nothing waits."""
        while self.waiting:
            waiting, self.waiting = self.waiting, []
            for callback in waiting:
                callback()


class FakeTransport:
    """What a front writes, and whether it has closed."""

    def __init__(self, protocol):
        self.protocol = protocol
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data):
        assert not self.closed
        self.written += data

    def close(self):
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(None)

    abort = close

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class House:
    """A hub in this process, whose time and turns the test decides; it can be stopped and come back."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self.settings = settings
        self.clock = FakeClock()
        self.start()

    def start(self):
        self.turns = Turns()
        settings = HubSettings(self.folder, frozenset({HOST, "127.0.0.1"}), **self.settings)
        self.hub = Hub(settings, self.clock, self.turns)

    def restart(self):
        """As after a kill: what was not committed is gone."""
        self.hub.store._waiting.clear()
        self.hub.store.close()
        self.start()

    def register(self, device, module="", **body):
        """Create an identity."""
        return self.hub.identities.put(device, module, body, None)[0]

    def token(self, device, module="", *, key=None, seconds=3600):
        """A SAS token as the device SDK makes it."""
        key = key or self.hub.identities.get(device, module).primary_key
        resource = f"{HOST}/devices/{device}" + (f"/modules/{module}" if module else "")
        return sas.build(resource, key, int(self.clock.now()) + seconds)

    def client(self, device, module="", *, token=None, **options):
        """A raw client of this identity; it must be given a connection with `dial`."""
        name = f"{device}/{module}" if module else device
        token = token or self.token(device, module)
        return MqttClient(name, f"{HOST}/{name}/?api-version=2021-04-12", token, **options)

    def dial(self):
        """A fresh connection to the MQTT front: (front, transport)."""
        front = MqttFront(self.hub, LOCAL)
        transport = FakeTransport(front)
        front.connection_made(transport)
        return front, transport

    def connect(self, client):
        """`dial`, and the client's CONNECT accepted: a `Wire`."""
        wire = Wire(self, client)
        events = wire.send(client.connect())
        assert isinstance(events[0], ConnAck)
        wire.connack = events[0]
        return wire

    def connected(self, device, module="", **options):
        """A `Wire` of a registered identity."""
        if self.hub.identities.find(device, module) is None:
            self.register(device, module)
        return self.connect(self.client(device, module, **options))

    def events(self):
        """All messages in the log, partition by partition."""
        from iotedge_lab.hub.events import Cursor

        found = []
        for partition in range(self.hub.log.partitions):
            found += Cursor(self.hub.log, partition, 0).take(1_000_000)
        return found

    def bodies(self):
        return [event.body for event in self.events()]


class Wire:
    """One connection between a raw client and the MQTT front, without a socket."""

    def __init__(self, house, client):
        self.house = house
        self.client = client
        self.front, self.transport = house.dial()
        self._read = 0

    def send(self, data, *, turn=True):
        """Bytes to the hub, a turn of its loop, and what it answered, as events."""
        self.front.data_received(data)
        if turn:
            self.house.turns.run()
        return self.answers()

    def answers(self):
        fresh = self.transport.written[self._read :]
        self._read = len(self.transport.written)
        return self.client.receive(fresh) if fresh else []

    def publish(self, payload, *, topic=None, qos=1):
        """Publish one message; whether it was acknowledged."""
        device, _, module = self.client._connect.client_id.partition("/")
        base = f"devices/{device}" + (f"/modules/{module}" if module else "")
        packet_id, data = self.client.publish(topic or f"{base}/messages/events/", payload, qos)
        self.send(data)
        return packet_id not in self.client.in_flight

    def cut(self):
        """The socket breaks."""
        if not self.transport.closed:
            self.transport.closed = True
            self.front.connection_lost(ConnectionResetError())


@pytest.fixture
def house(tmp_path):
    """A hub in this process with a clock that stands still."""
    made = House(tmp_path)
    yield made
    made.turns.run()
    made.hub.close()


@pytest.fixture
def source():
    """A source for the log."""
    return Source("dev1", "", "1", "{}")


# -- a hub in its own process ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running hub that the tests of one file share."""
    with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _sdk_finds_the_lab(request, _no_hub_from_outside):
    """The variables by which the SDKs find and trust `lab`, where a test asks for it."""
    if "lab" not in request.fixturenames:
        yield
        return
    opened = request.getfixturevalue("lab")
    before = dict(opened._before)
    opened.activate()
    yield
    child, opened._child = opened._child, None  # close() of an ephemeral lab would end the hub
    opened.close()
    opened._child = child
    opened._before.update(before)


@pytest.fixture
def registry(lab):
    """The vendor's registry manager."""
    from azure.iot.hub import IoTHubRegistryManager

    return IoTHubRegistryManager.from_connection_string(lab.service_connection_string)


_numbers = itertools.count(1)


@pytest.fixture
def device(lab):
    """The id of a fresh device."""
    name = f"device-{next(_numbers)}"
    lab.rest().call("PUT", f"/devices/{quote(name)}", {"deviceId": name})
    return name


class RawDevice:
    """A raw MQTT client over a socket: the plain port, unless `tls`."""

    def __init__(self, lab, device, module=None, *, tls=False, clean=False, client=None):
        self.lab = lab
        self.tls = tls
        if client is None:
            parsed = ConnectionString.parse(lab.device_connection_string(device, module))
            name = f"{device}/{module}" if module else device
            resource = f"{lab.hostname}/devices/{device}" + (f"/modules/{module}" if module else "")
            token = sas.build(resource, parsed.shared_access_key, int(time.time()) + 3600)
            client = MqttClient(
                name, f"{lab.hostname}/{name}/?api-version=2021-04-12", token, clean_session=clean
            )
        self.client = client
        base = f"devices/{device}" + (f"/modules/{module}" if module else "")
        self.topic = f"{base}/messages/events/"
        self.sock = None

    def connect(self, *, timeout=10.0):
        """Open a connection; the CONNACK."""
        self.sock = dial(self.lab, self.lab._told.mqtt_port if self.tls else self.lab._told.plain_amqp_port,
                         tls=self.tls, timeout=timeout)
        self.sock.sendall(self.client.connect())
        while True:
            for event in self.events():
                assert isinstance(event, ConnAck)
                return event

    def events(self):
        """What the next read brings; raises ConnectionError at the end of the connection."""
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError("the hub closed the connection")
        return self.client.receive(data)

    def until(self, kind):
        """Read until an event of `kind` comes."""
        while True:
            for event in self.events():
                if isinstance(event, kind):
                    return event

    def send(self, *payloads, topic=None):
        """Publish, and wait until all is acknowledged."""
        _, data = self.client.publish_many(topic or self.topic, payloads)
        self.sock.sendall(data)
        self.drain()

    def drain(self):
        while self.client.in_flight:
            self.events()

    def closed_by_hub(self):
        """Read to the end of the connection."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while self.sock.recv(65_536):
                pass
        return True

    def close(self):
        if self.sock is not None:
            self.sock.close()

    def __enter__(self):
        assert self.connect().code is ConnackCode.ACCEPTED
        return self

    def __exit__(self, *_):
        self.close()


def dial(lab, port, *, tls, timeout=10.0):
    """A socket to the hub."""
    sock = socket.create_connection((lab._told.host, port), timeout=timeout)
    if not tls:
        return sock
    try:
        return ssl.create_default_context(cafile=str(lab.ca_file)).wrap_socket(
            sock, server_hostname=lab._told.host
        )
    except BaseException:
        sock.close()
        raise


@pytest.fixture
def raw(lab):
    """`raw(device, ...)`: a connected `RawDevice`; closed at the end of the test."""
    made = []

    def connect(device, module=None, **options):
        one = RawDevice(lab, device, module, **options)
        made.append(one)
        one.__enter__()
        return one

    yield connect
    for one in made:
        one.close()


class Consumer:
    """The vendor's consumer on a thread, keeping what it received."""

    def __init__(self, lab, *, group="$Default", connection_string=None, client_options=None, **options):
        from azure.eventhub import EventHubConsumerClient

        self.events = []
        self.errors = []
        self.news = threading.Condition()
        self.client = EventHubConsumerClient.from_connection_string(
            connection_string or lab.events_connection_string,
            consumer_group=group,
            retry_total=0,
            **(client_options or {}),
        )
        options.setdefault("starting_position", "-1")
        self.thread = threading.Thread(target=self._run, kwargs=options)
        self.thread.start()

    def _run(self, **options):
        try:
            self.client.receive(
                on_event=self._on_event,
                on_error=self._on_error,
                **options,
            )
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self._on_error(None, error)

    def _on_event(self, _, event):
        with self.news:
            self.events.append(event)
            self.news.notify_all()

    def _on_error(self, _, error):
        with self.news:
            self.errors.append(error)
            self.news.notify_all()

    def wait(self, count, seconds=15.0):
        """The events, once there are `count`."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.events) >= count or self.errors, seconds), (
                f"{len(self.events)} of {count} events came"
            )
            assert len(self.events) >= count, self.errors
            return list(self.events)

    def wait_error(self, seconds=15.0):
        """The first error."""
        with self.news:
            assert self.news.wait_for(lambda: self.errors, seconds), "no error came"
            return self.errors[0]

    def close(self):
        self.client.close()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def consume(lab):
    """`consume(...)`: a `Consumer`; closed at the end of the test."""
    made = []

    def start(**options):
        made.append(Consumer(lab, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def partition_of(lab, device):
    """The partition of a device, from the rule that the hub documents."""
    import zlib

    return str(zlib.crc32(device.encode()) % len(lab.status()["partitions"]))


@pytest.fixture(name="partition_of")
def _partition_of(lab):
    return lambda device: partition_of(lab, device)


def some_key(byte=b"k"):
    """A key of 32 bytes that is no one's."""
    return base64.b64encode(byte * 32).decode()


@pytest.fixture(name="some_key")
def _some_key():
    return some_key


@pytest.fixture(name="dial")
def _dial(lab):
    """`dial(port, tls=...)`: a bare socket to the hub; closed at the end of the test."""
    made = []

    def connect(port, *, tls=False, timeout=10.0):
        made.append(dial(lab, port, tls=tls, timeout=timeout))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture(name="acks")
def _acks():
    return PubAcks
