"""A hub in this process, without sockets and without a loop: the test says when time passes and turns end."""

from iotedge_lab.clock import FakeClock
from iotedge_lab.hub.events import Cursor
from iotedge_lab.hub.hub import Hub, HubSettings
from iotedge_lab.hub.mqtt_front import MqttFront
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.wire import sas
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck

HOST = "localhost"
LOCAL = ConnectionInfo(("127.0.0.1", 50_000), ("127.0.0.1", 8883), tls=True)


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

    def get_extra_info(self, name):
        return None

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
