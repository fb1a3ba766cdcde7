"""An edge hub in this process: clients over a transport without a socket, and links to a hub that the test plays."""

import asyncio
import base64
import json

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub import EdgeHub, EdgeHubSettings
from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.edge.manifest import read_hub
from iotedge_lab.edge.upstream import Registered, Scope
from iotedge_lab.edge.upstream.listener import LinkStatus
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.wire import sas
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, PubAcks, Publish, PublishRun, SubAck
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import TwinResponse, parse_hub_topic

HUB, EDGE = "hub.test", "edge"
WAIT = 30.0  # seconds until a test gives up
LOCAL = ConnectionInfo(("127.0.0.1", 50_000), ("127.0.0.1", 8883), tls=True)


def key_of(name, number=1):
    """The key of an identity; another one for another number."""
    return base64.b64encode(f"{name}-{number}".encode().ljust(32, b".")).decode()


def registered(device, module="", *, number=1, generation="g1", **changes):
    """An identity as the hub's scope has it."""
    key = key_of(f"{device}/{module}", number)
    return Registered(
        device, module, generation, primary_key=key, secondary_key=key_of("second", number), **changes
    )


def routes(*texts, ttl=7200, **named):
    """The desired properties of `$edgeHub`; a route is a text, or an object with priority and time to live."""
    made = {f"r{number}": text for number, text in enumerate(texts)} | named
    return {
        "$version": 1,
        "schemaVersion": "1.1",
        "routes": made,
        "storeAndForwardConfiguration": {"timeToLiveSecs": ttl},
    }


ALL_UP = "FROM /messages/* INTO $upstream"


class FakeLink:
    """A `CloudLink` whose other end the test holds in its hand."""

    def __init__(self, identity, listener):
        self.identity = identity
        self.listener = listener
        self.connected = False
        self.is_beginning = True
        self.begun = asyncio.Event()
        self.window = 1_000_000
        self.sent = []  # (bag, body, done)
        self.methods = self.listens_desired = self.commands = False
        self.answers = []
        self.settled = []
        self.cloud = {"desired": {"$version": 1}, "reported": {"$version": 1}}
        self.refuses = None  # an error that reports are answered with
        self.silent = False
        self.asked = []
        self.closed = False

    async def wait_begun(self):
        await self.begun.wait()

    def up(self):
        """The hub lets it in."""
        self.connected, self.is_beginning = True, False
        self.begun.set()
        self.listener.connected(True)

    def down(self, reason="cut"):
        """The connection ends."""
        self.connected, self.is_beginning = False, False
        self.begun.set()
        self.listener.disconnected(reason)

    def refuse(self, reason="not authorised"):
        """The hub does not let it in."""
        self.connected, self.is_beginning = False, False
        self.begun.set()
        self.listener.refused(reason)

    def status(self):
        return LinkStatus(self.identity.name, self.connected, "", "", 0, 0, 0, 1, 0)

    def send(self, bag, body, done):
        if not self.connected or len(self.sent) >= self.window:
            return False
        self.sent.append((bag, body, done))
        return True

    def bodies(self):
        return [body for _, body, _ in self.sent]

    def acknowledge(self, count=None):
        """The hub has the first `count` of what was sent."""
        taken, self.sent = self.sent[:count], self.sent[len(self.sent) if count is None else count :]
        for _, _, done in taken:
            done()

    async def _asking(self, what):
        self.asked.append(what)
        if self.silent:
            await asyncio.Event().wait()
        if not self.connected:
            raise UpstreamAway("it is away.")

    async def twin(self):
        await self._asking("twin")
        return json.loads(json.dumps(self.cloud))

    async def report(self, patch):
        await self._asking(patch)
        if self.refuses is not None:
            raise self.refuses
        from iotedge_lab.edge.hub.copy import merged

        version = self.cloud["reported"]["$version"] + 1
        self.cloud["reported"] = {**merged(self.cloud["reported"], patch), "$version": version}
        return version

    def desire(self, patch):
        """The service changes the desired properties; told if it is listened to."""
        from iotedge_lab.edge.hub.copy import merged

        version = self.cloud["desired"]["$version"] + 1
        self.cloud["desired"] = {**merged(self.cloud["desired"], patch), "$version": version}
        if self.listens_desired and self.connected:
            self.listener.desired({**patch, "$version": version})

    def listen_methods(self, on):
        self.methods = on

    def listen_desired(self, on):
        self.listens_desired = on

    def listen_commands(self, on):
        self.commands = on

    def answer_method(self, request_id, status, body):
        self.answers.append((request_id, status, json.loads(body)))
        return True

    def command_done(self, receipt):
        self.settled.append(receipt)
        return True

    def rekey(self, key):
        self.identity = type(self.identity)(self.identity.device, self.identity.module, key)


class FakeLinks:
    """`Links`; each that was ever opened is in `made`, by its name."""

    def __init__(self):
        self.made = {}
        self.open_now = {}
        self.let_in = False  # whether links connect as soon as they are made
        self.slow = None  # an event that closing waits for

    def open(self, identity, listener):
        assert identity.name not in self.open_now, "a second link for one identity"
        link = FakeLink(identity, listener)
        before = self.made.get(identity.name)
        if before:
            link.cloud = before[-1].cloud
        self.made.setdefault(identity.name, []).append(link)
        self.open_now[identity.name] = link
        if self.let_in:
            asyncio.get_running_loop().call_soon(link.up)
        return link

    async def close(self, device, module="", *, at_once=False):
        link = self.open_now.get(f"{device}/{module}" if module else device)
        if link is None:
            return 0
        if self.slow is not None:
            await self.slow.wait()
        del self.open_now[link.identity.name]
        link.closed, link.connected = True, False
        link.listener.disconnected("its link was closed")
        return len(link.sent)

    async def close_all(self):
        for link in tuple(self.open_now.values()):
            await self.close(link.identity.device, link.identity.module)

    @property
    def connected(self):
        return sum(link.connected for link in self.open_now.values())


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
        from iotedge_lab.wire.mqtt.encode import encode_puback

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


class Yard:
    """An edge hub, its clock, its links and its clients."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = FakeClock()
        self.clients = []
        self.start()

    def start(self):
        self.links = FakeLinks()
        self.hub = EdgeHub(EdgeHubSettings(self.folder, EDGE, frozenset({HUB})), self.links, self.clock)

    async def restart(self):
        """As after a kill: what was not committed is gone, and so are all connections."""
        for client in self.clients:
            client.open = False
        self.hub.store._waiting.clear()
        self.hub.pumps.close()
        for task in tuple(self.hub._tasks):
            task.cancel()
        await asyncio.gather(*self.hub._tasks, return_exceptions=True)
        self.hub.store.close()
        made = self.links.made
        self.start()
        self.links.made = {name: links[-1:] for name, links in made.items()}

    def token(self, device, module="", *, number=1, seconds=3600):
        target = f"{HUB}/devices/{device}" + (f"/modules/{module}" if module else "")
        return sas.build(target, key_of(f"{device}/{module}", number), int(self.clock.now()) + seconds)

    def scope(self, *names, **changes):
        """The hub says that these are in the scope: `module` of this device, or `leaf:`device."""
        devices, modules = [registered(EDGE)], []
        for name in names:
            if name.startswith("leaf:"):
                devices.append(registered(name[5:], **changes))
            else:
                modules.append(registered(EDGE, name, **changes))
        self.hub.identities.replace(Scope(tuple(devices), tuple(modules)))

    def apply(self, *texts, **options):
        self.hub.apply(read_hub(routes(*texts, **options)))

    def client(self, device, module="", **options):
        made = Client(self, device, module, **options)
        self.clients.append(made)
        return made

    async def module(self, name, **options):
        """A connected module that listens to all."""
        made = self.client(EDGE, name, **options).connect()
        assert await made.connected() is ConnackCode.ACCEPTED
        return await made.listen()

    async def leaf(self, name, **options):
        """A connected leaf device that listens to all."""
        made = self.client(name, **options).connect()
        assert await made.connected() is ConnackCode.ACCEPTED
        return await made.listen()

    def link(self, device, module=""):
        """The link that an identity has now, or had last."""
        return self.links.made[f"{device}/{module}" if module else device][-1]

    async def tick(self, seconds=1.0):
        """Let time pass, second by second, and all that is due be done."""
        while seconds > 0:
            self.clock.advance(min(seconds, 1.0))
            self.hub.tick()
            await self.settle()
            seconds -= 1.0

    async def settle(self):
        """Until what the hub has begun in the background has come to a halt."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def until(self, condition):
        """Until `condition()` holds; for what has no event."""
        async with asyncio.timeout(WAIT):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def close(self):
        await self.hub.close()
