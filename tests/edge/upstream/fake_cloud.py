"""A hub of a test's own making, on a socket: it says what the test has it say, when it has it say so, or nothing."""

import asyncio
import base64
import contextlib
import ssl
from dataclasses import replace

from upstream_house import QUICK, WAIT, Recorder

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.upstream import Cloud, CloudIdentity, CloudLink, CloudRest, Gate
from iotedge_lab.wire.mqtt.packets import ConnackCode, Connect, Publish, PublishRun, Subscribe, Unsubscribe
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.mqtt.server import MqttServer

KEY = base64.b64encode(b"k" * 32).decode()
EDGE = CloudIdentity("edge", "", KEY)


class Peer:
    """The hub's side of one connection. Reads only when it is asked to."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.engine = MqttServer()
        self._events = []

    async def event(self):
        """The next packet; None at the end of the connection. A run of PUBLISHes comes one by one."""
        async with asyncio.timeout(WAIT):
            while not self._events:
                try:
                    data = await self.reader.read(65_536)
                except (ConnectionError, ssl.SSLError):
                    data = b""
                if not data:
                    return None
                for event in self.engine.receive(data):
                    if isinstance(event, PublishRun):
                        self._events += [
                            Publish(topic.decode(), body, 1, packet_id=number)
                            for topic, body, number in iter_publishes(event.raw)
                        ]
                    else:
                        self._events.append(event)
        return self._events.pop(0)

    async def next(self, kind):
        """The next packet, which is of this kind."""
        event = await self.event()
        assert isinstance(event, kind), event
        return event

    async def skip_to(self, kind):
        """The next packet of this kind; those before it are passed over."""
        while not isinstance(event := await self.event(), kind):
            assert event is not None, f"the connection ended before a {kind.__name__}"
        return event

    async def accept(self, *, present=False):
        """Answer the CONNECT; it."""
        connect = await self.next(Connect)
        self.write(self.engine.connack(session_present=present))
        return connect

    async def refuse(self, code):
        """Answer the CONNECT with a code that says no, and close."""
        await self.next(Connect)
        self.write(self.engine.connack(code))
        await self.ended()

    async def grant(self, *, skip=False):
        """Answer the next SUBSCRIBE as asked; its filters."""
        packet = await (self.skip_to if skip else self.next)(Subscribe)
        self.write(self.engine.suback(packet.packet_id, [qos for _, qos in packet.filters]))
        return packet.filters

    async def ungrant(self):
        """Answer the next UNSUBSCRIBE; its filters."""
        packet = await self.next(Unsubscribe)
        self.write(self.engine.unsuback(packet.packet_id))
        return packet.filters

    def ack(self, *messages):
        """Acknowledge what was published."""
        self.write(b"".join(self.engine.puback(each.packet_id) for each in messages))

    def write(self, data):
        self.writer.write(data)

    def cut(self):
        """End the connection, as a fault would."""
        self.writer.transport.abort()

    async def ended(self):
        """Until the other side has ended the connection."""
        while await self.event() is not None:
            pass
        self.cut()


class FakeCloud:
    """Serves TLS on a port of 127.0.0.1. Connections come as `Peer`s, in order; `http` makes them answer REST."""

    def __init__(self, authority, client_tls):
        self.server_tls = authority.server_context()
        self.client_tls = client_tls
        self.peers = asyncio.Queue()
        self.made = []
        self.links = []
        self.gate = Gate()
        self.answers = None  # bytes for each HTTP request, in order
        self.requests = []
        self.hung_up = 0  # HTTP connections that the other side has ended
        self._news = asyncio.Event()
        self.clients = []

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.server_tls)
        self.port = self.server.sockets[0].getsockname()[1]
        self.cloud = Cloud("localhost", self.client_tls, https_port=self.port, mqtt_port=self.port)

    async def _serve(self, reader, writer):
        self.made.append(writer)
        if self.answers is None:
            self.peers.put_nowait(Peer(reader, writer))
            return
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        self.hung_up += 1
        self._news.set()
        writer.transport.abort()

    async def _answer(self, reader, writer):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = [line for line in head.splitlines() if line.lower().startswith("content-length:")]
            body = await reader.readexactly(int(size[0].split(":")[1])) if size else b""
            self.requests.append((head, body))
            self._news.set()
            answer = self.answers.pop(0)
            if answer is None:  # not a word
                continue
            writer.write(answer)
            if b"close\r\n" in answer or not answer:
                await writer.drain()
                return

    async def peer(self):
        """The next connection."""
        async with asyncio.timeout(WAIT):
            return await self.peers.get()

    def http(self, *answers, **options):
        """Have it answer REST calls with these, in order; a client."""
        self.answers = [
            each if each is None or isinstance(each, bytes) else answer(*each) for each in answers
        ]
        self.clients.append(
            CloudRest(
                options.pop("cloud", self.cloud), EDGE, SystemClock(), self.gate, replace(QUICK, **options)
            )
        )
        return self.clients[-1]

    async def until(self, condition):
        """Until `condition()` holds; looked at whenever a request has come or a connection has ended."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def link(self, identity=EDGE, **options):
        """A link to it, and its listener; `options` are those of `CloudLink` and of `Patience`."""
        recorder = Recorder()
        times = {name: options.pop(name) for name in tuple(options) if hasattr(QUICK, name)}
        link = CloudLink(
            options.pop("cloud", self.cloud),
            identity,
            options.pop("clock", None) or SystemClock(),
            listener=recorder,
            gate=self.gate,
            patience=replace(QUICK, **times),
            **options,
        ).start()
        self.links.append(link)
        return link, recorder

    async def connected(self, identity=EDGE, *, present=False, **options):
        """A link that it has let in: the link, its listener, and the hub's side of it."""
        link, recorder = self.link(identity, **options)
        peer = await self.peer()
        await peer.accept(present=present)
        await recorder.next("connected")
        return link, recorder, peer

    async def close(self):
        for link in self.links:
            await link.close(at_once=True)
        for client in self.clients:
            await client.close()
        self.server.close()
        for writer in self.made:
            writer.transport.abort()
        await self.server.wait_closed()


def answer(status, body=b"", *headers):
    """An HTTP answer; `body` as bytes, or as what JSON is made of."""
    import json

    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


REFUSALS = tuple(code for code in ConnackCode if code.value not in (0, 3))
