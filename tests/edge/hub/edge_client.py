"""A raw MQTT client of an edge hub, over a transport without a socket."""

import asyncio
import json

from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, PubAcks, Publish, PublishRun, SubAck
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import MethodCall, TwinResponse, method_response_topic, parse_hub_topic

HUB = "hub.test"
WAIT = 30.0  # seconds until a test gives up
LOCAL = ConnectionInfo(("127.0.0.1", 50_000), ("127.0.0.1", 8883), tls=True)


class FakeTransport:
    """What a front writes goes to the client."""

    def __init__(self, client):
        self.client = client
        self.closed = False
        self.reading = True

    def write(self, data):
        if not self.closed:
            self.client.came(data)

    def close(self):
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.client.ended)

    abort = close

    def is_closing(self):
        return self.closed

    def get_extra_info(self, name):
        return None

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Client:
    """A raw MQTT client of the edge hub. It reads all, and acknowledges what it gets unless it is told not to."""

    def __init__(
        self, yard, device, module="", *, number=1, clean=False, token=None, seconds=3600, will=None
    ):
        self.yard = yard
        self.device, self.module = device, module
        self.name = f"{device}/{module}" if module else device
        self.base = f"devices/{device}" + (f"/modules/{module}" if module else "")
        if token is None:
            token = yard.token(device, module, number=number, seconds=seconds)
        self.mqtt = MqttClient(
            self.name, f"{HUB}/{self.name}/?api-version=2019-10-01", token, clean_session=clean, will=will
        )
        self.connack = None
        self.open = False
        self.acknowledges = True
        self.got = []  # messages, requests and patches, as Publish
        self.acked = []
        self.subacks = []
        self.news = asyncio.Event()

    # -- the connection

    def connect(self, more=b""):
        """A connection; `more` comes in the same read as the CONNECT."""
        self.front = EdgeFront(self.yard.hub, LOCAL)
        self.transport = FakeTransport(self)
        self.open = True
        self.connack = None
        self.front.connection_made(self.transport)
        self.front.data_received(self.mqtt.connect() + more)
        return self

    async def connected(self):
        """Until the edge hub has answered; the code."""
        await self.until(lambda: self.connack is not None or not self.open)
        return self.connack.code if self.connack else None

    def write(self, data):
        if not self.transport.closed:
            self.front.data_received(data)

    def came(self, data):
        acks = b""
        for event in self.mqtt.receive(data):
            match event:
                case ConnAck():
                    self.connack = event
                case PubAcks():
                    self.acked += event.packet_ids
                case SubAck():
                    self.subacks.append(event)
                case PublishRun():
                    for topic, body, packet_id in iter_publishes(event.raw):
                        self.got.append(Publish(topic.decode(), body, 1, packet_id=packet_id))
                    acks += event.acks
                case Publish():
                    self.got.append(event)
                    if event.qos:
                        acks += self.puback(event)
        self.news.set()
        if acks and self.acknowledges:
            asyncio.get_running_loop().call_soon(self.write, acks)

    def puback(self, message):
        return encode_puback(message.packet_id)

    def acknowledge(self):
        """Acknowledge all that it got."""
        self.write(b"".join(self.puback(each) for each in self.got if each.qos))

    def ended(self):
        if self.open:
            self.open = False
            self.transport.closed = True
            self.front.connection_lost(None)
            self.news.set()

    def drop(self):
        """The network is cut."""
        self.ended()

    def leave(self):
        """DISCONNECT."""
        self.write(self.mqtt.disconnect())

    async def until(self, condition):
        async with asyncio.timeout(WAIT):
            while not condition():
                self.news.clear()
                await self.news.wait()

    # -- what it does

    def publish(self, body, *, output=None, bag="", qos=1):
        """Telemetry; its packet id."""
        head = f"%24.on={output}" if output else ""
        packet_id, data = self.mqtt.publish(
            f"{self.base}/messages/events/{'&'.join(filter(None, (head, bag)))}", body, qos
        )
        self.write(data)
        return packet_id

    async def send(self, *bodies, **options):
        """Telemetry, until it is acknowledged."""
        ids = [self.publish(body, **options) for body in bodies]
        await self.until(lambda: set(ids) <= set(self.acked) or not self.open)
        assert set(ids) <= set(self.acked), "not acknowledged"

    async def subscribe(self, *filters):
        """Subscribe; the codes of the SUBACK."""
        count = len(self.subacks)
        self.write(self.mqtt.subscribe(filters)[1])
        await self.until(lambda: len(self.subacks) > count or not self.open)
        return self.subacks[-1].codes if len(self.subacks) > count else ()

    async def listen(self):
        """Subscribe to all that an SDK does."""
        filters = ["$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#", "$iothub/methods/POST/#"]
        filters.append(f"{self.base}/inputs/#" if self.module else f"{self.base}/messages/devicebound/#")
        assert await self.subscribe(*filters) == (1,) * 4
        return self

    def of(self, prefix):
        """What came at topics that begin so."""
        return [each for each in self.got if each.topic.startswith(prefix)]

    async def next(self, prefix, count=1):
        """The `count`th message at such a topic."""
        await self.until(lambda: len(self.of(prefix)) >= count)
        return self.of(prefix)[count - 1]

    async def inputs(self, count):
        """The bodies of `count` messages to inputs."""
        await self.next(f"{self.base}/inputs/", count)
        return [each.payload for each in self.of(f"{self.base}/inputs/")]

    async def ask(self, topic, body=b" "):
        """A twin request: status, JSON and `$version` of the answer."""
        rid = f"r{len(self.acked)}-{len(self.got)}"
        self.write(self.mqtt.publish(topic + f"?$rid={rid}", body)[1])
        found = []

        def answered():
            for each in self.of("$iothub/twin/res/"):
                parsed = parse_hub_topic(each.topic)
                if isinstance(parsed, TwinResponse) and parsed.request_id == rid:
                    found[:] = [parsed.status, json.loads(each.payload or b"null"), parsed.version]
            return bool(found)

        await self.until(answered)
        return tuple(found)

    async def twin(self):
        """Its twin; the answer has to be 200."""
        status, body, _ = await self.ask("$iothub/twin/GET/")
        assert status == 200, body
        return body

    async def report(self, patch):
        """Report; the status."""
        return (await self.ask("$iothub/twin/PATCH/properties/reported/", json.dumps(patch).encode()))[0]

    def patches(self):
        """The desired patches that it was told."""
        return [json.loads(each.payload) for each in self.of("$iothub/twin/PATCH/properties/desired/")]


async def answering(client, status=200, answer=None, count=1):
    """Answer the next method call; what was asked."""
    message = await client.next("$iothub/methods/POST/", count)
    asked = parse_hub_topic(message.topic)
    assert isinstance(asked, MethodCall)
    body = json.dumps({"got": json.loads(message.payload)} if answer is None else answer).encode()
    client.write(client.mqtt.publish(method_response_topic(status, asked.request_id), body)[1])
    return asked.name


async def code_of(client):
    """Connect; the code that the edge hub answers with."""
    client.connect()
    code = await client.connected()
    if code is not ConnackCode.ACCEPTED:
        await client.until(lambda: not client.open)
    return code
