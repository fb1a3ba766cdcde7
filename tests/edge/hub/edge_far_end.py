"""Links to a hub that the test plays: `CloudLink` and `Links`, without a socket."""

import asyncio
import json

from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub.copy import merged
from iotedge_lab.edge.upstream.listener import LinkStatus


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
        version = self.cloud["reported"]["$version"] + 1
        self.cloud["reported"] = {**merged(self.cloud["reported"], patch), "$version": version}
        return version

    def desire(self, patch):
        """The service changes the desired properties; told if it is listened to."""
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
