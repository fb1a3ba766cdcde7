"""An edge device on a hub, and a listener that remembers."""

import asyncio
from dataclasses import replace

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.upstream import Cloud, CloudIdentity, CloudLink, CloudRest, Gate, Links, Patience
from iotedge_lab.hub.events import Cursor
from iotedge_lab.hub.log import Log
from iotedge_lab.hub.store import Store
from iotedge_lab.rest import quote

WAIT = 30.0  # seconds until a test gives up
#: Quick to come again, and patient with a machine that is busy.
QUICK = Patience(first_delay=0.05, longest_delay=0.1, refused_delay=0.1, tick=0.02)


class Recorder:
    """A `LinkListener` that keeps what it is told, as tuples. What it was told first can be awaited."""

    def __init__(self):
        self.told = []
        self._news = asyncio.Event()

    def _tell(self, *what):
        self.told.append(what)
        self._news.set()

    def connected(self, session_present):
        self._tell("connected", session_present)

    def disconnected(self, reason):
        self._tell("disconnected", reason)

    def refused(self, reason):
        self._tell("refused", reason)

    def writable(self):
        self._tell("writable")

    def desired(self, patch):
        self._tell("desired", patch)

    def method(self, name, request_id, body):
        self._tell("method", name, request_id, body)

    def command(self, bag, body, receipt):
        self._tell("command", bag, body, receipt)

    def of(self, kind):
        """What it was told of one kind, without the kind."""
        return [each[1:] for each in self.told if each[0] == kind]

    async def until(self, condition):
        """Until `condition()` holds; looked at whenever something was told."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def next(self, kind, count=1):
        """The `count`th that it was told of a kind, once it was."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


class Sent:
    """Numbered messages, and which of them the hub has. Sends as fast as the link takes them."""

    def __init__(self, link, recorder):
        self.link = link
        self.recorder = recorder
        self.next = 0
        self.done = []
        self._news = asyncio.Event()

    def one(self, *, bag="", more=b""):
        """Send one more; whether it was taken."""
        number = self.next
        taken = self.link.send(bag, b"%d" % number + more, lambda: self._done(number))
        self.next += taken
        return taken

    def _done(self, number):
        self.done.append(number)
        self._news.set()

    async def up_to(self, count):
        """Send until `count` were taken, waiting wherever the link says so."""
        async with asyncio.timeout(WAIT):
            while self.next < count:
                told = len(self.recorder.told)
                if not self.one():
                    await self.recorder.until(
                        lambda told=told: any(
                            each[0] in ("writable", "connected") for each in self.recorder.told[told:]
                        )
                    )

    async def acknowledged(self, count):
        """Until the hub has `count` of them."""
        async with asyncio.timeout(WAIT):
            while len(self.done) < count:
                self._news.clear()
                await self._news.wait()


class House:
    """An edge device, its gate, and what leads from it to the hub."""

    def __init__(self, lab, device):
        self.lab = lab
        self.device = device
        self.registry = lab.rest()
        self.registry.call(
            "PUT", f"/devices/{device}", {"deviceId": device, "capabilities": {"iotEdge": True}}
        )
        text = lab.device_connection_string(device)
        self.cloud = Cloud.from_connection_string(text, lab.ca_file, https_port=lab._told.https_port)
        self.identity = CloudIdentity.from_connection_string(text)
        self.clock = SystemClock()
        self.gate = Gate()
        self.rest = CloudRest(self.cloud, self.identity, self.clock, self.gate)
        self.links = Links(self.cloud, self.clock, self.gate, patience=QUICK)
        self.others = []

    async def call(self, method, path, body=None, **options):
        """A call of the service's, with the policy iothubowner."""
        return await asyncio.to_thread(self.registry.call, method, path, body, **options)

    async def module(self, name):
        """The identity of a module, made."""
        made = await self.rest.create_module(name)
        return CloudIdentity(made.device, made.module, made.primary_key)

    async def link(self, identity=None, *, connected=True, **options):
        """A link and its listener; `options` are those of `CloudLink` and of `Patience`."""
        recorder = Recorder()
        times = {name: options.pop(name) for name in tuple(options) if hasattr(QUICK, name)}
        link = CloudLink(
            self.cloud,
            identity or self.identity,
            self.clock,
            listener=recorder,
            gate=self.gate,
            patience=replace(QUICK, **times),
            **options,
        ).start()
        self.others.append(link)
        if connected:
            await recorder.next("connected")
        return link, recorder

    def path(self, rest=""):
        return f"/devices/{quote(self.device)}{rest}"

    async def close(self):
        for link in self.others:
            await link.close(at_once=True)
        await self.links.close_all(at_once=True)
        await self.rest.close()

    def stored(self):
        """Stop the hub and read its log: the events of this device, in order."""
        self.lab.stop()
        store = Store(self.lab.state_dir / "hub.db")
        try:
            log = Log(store, SystemClock())
            return [
                event
                for number in range(log.partitions)
                for event in Cursor(log, number, 0).take(1_000_000)
                if event.source.device == self.device
            ]
        finally:
            store.close()
