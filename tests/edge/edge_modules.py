"""Module folders made for a test, an agent over them, and time that a test holds in its hand."""

import asyncio
import contextlib
import textwrap
from pathlib import Path

from manifests import module

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.agent import ModuleIdentity, ModuleState, Supervisor
from iotedge_lab.edge.manifest import ImageTable

WAITING = "import signal\nprint('ready')\nsignal.pause()\n"
PATIENCE = 60.0  # seconds until a test gives up


class Time:
    """A clock that stands still; a back-off lets its seconds pass at once, or waits for `go` if `held`."""

    def __init__(self, *, held=False):
        self.clock = FakeClock()
        self.slept = []
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await self.go.wait()
        self.clock.advance(seconds)


class Edge:
    """A supervisor over module folders below `root`, one for each name, with its `main.py`."""

    def __init__(self, root, codes, *, held=False, **options):
        self.root = root
        self.time = Time(held=held)
        self.news = asyncio.Event()
        for name, code in codes.items():
            self.code(name, code)
        self.identities = []
        self.supervisor = Supervisor(
            root / "state" / "edges" / "car",
            ImageTable.scan([root / "modules"]),
            self.identify,
            self.time.clock,
            changed=self.news.set,
            sleep=self.time.sleep,
            **options,
        )

    def code(self, name, code):
        folder = self.root / "modules" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.py").write_text(textwrap.dedent(code))
        return folder

    async def identify(self, spec):
        self.identities.append(spec.name)
        return ModuleIdentity("hub.test", "car", spec.name, "g1", "gateway.test", "unix:///w.sock")

    async def __aenter__(self):
        await self.supervisor.open()
        return self

    async def __aexit__(self, *_):
        self.time.go.set()
        await self.supervisor.close()

    async def apply(self, version=1, **modules):
        return await self.supervisor.apply_desired(desired(version=version, **modules))

    def state(self, name="a"):
        return self.supervisor.status().get(name, ModuleState())

    async def until(self, condition):
        """Wait until `condition()` holds; it is asked after each change of a module's state."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def until_status(self, status, name="a"):
        await self.until(lambda: self.state(name).status == status)
        return self.state(name)

    def output(self, name="a", stream="stdout"):
        return [line.text for line in self.supervisor.read_log(name).lines() if line.stream == stream]

    async def until_output(self, name="a", text="ready"):
        """Wait until a module has written a line; what it writes is no change of its state."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.output(name):  # noqa: ASYNC110 - another process's file has no event
                await asyncio.sleep(0.01)


def desired(*, version=1, **modules):
    """Desired properties of `$edgeAgent` with these modules, each a dictionary of what differs from the usual."""
    system = {"type": "docker", "settings": {"image": "mcr.example/azureiotedge-agent:1.5"}}
    return {
        "$version": version,
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": {
            "edgeAgent": system,
            "edgeHub": {**system, "status": "running", "restartPolicy": "always"},
        },
        "modules": {name: module(**{"image": f"{name}:1", **changes}) for name, changes in modules.items()},
    }


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
