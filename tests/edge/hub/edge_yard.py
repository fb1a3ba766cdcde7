"""An edge hub in this process: clients without sockets, and links to a hub that the test plays."""

import asyncio
import base64

from edge_client import HUB, LOCAL, WAIT, Client, FakeTransport, answering, code_of
from edge_far_end import FakeLinks

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.hub import EdgeHub, EdgeHubSettings
from iotedge_lab.edge.manifest import read_hub
from iotedge_lab.edge.upstream import Registered, Scope
from iotedge_lab.wire import sas
from iotedge_lab.wire.mqtt.packets import ConnackCode

__all__ = [
    "ALL_UP",
    "EDGE",
    "HUB",
    "LOCAL",
    "Client",
    "FakeTransport",
    "Yard",
    "answering",
    "code_of",
    "key_of",
    "registered",
    "routes",
]
EDGE = "edge"


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
