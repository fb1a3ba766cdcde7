"""Edge devices in this process, with less patience than they have on Azure, and raw clients of theirs."""

import asyncio
import time
from dataclasses import replace

from edge_stage import MODULES, manifest
from hub_clients import RawDevice

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.runtime.device import EdgeDevice
from iotedge_lab.edge.runtime.settings import EdgeSettings
from iotedge_lab.edge.upstream import Patience
from iotedge_lab.rest import RestError, quote
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.mqtt.client import MqttClient

WAIT = 60.0  # seconds until a test gives up
QUICK = Patience(
    first_delay=0.05, longest_delay=0.2, refused_delay=0.2, tick=0.05, answer=2.0, call=3.0, connect=3.0
)


class SteppedClock(SystemClock):
    """The machine's clock, that somebody sets anew."""

    def __init__(self):
        self.shift = 0.0

    def now(self):
        return time.time() + self.shift


class Aboard:
    """A lab, and edge devices of it that run here."""

    def __init__(self, lab, folder):
        self.lab = lab
        self.folder = folder
        self.rest = lab.rest()
        self.clock = SteppedClock()
        self.authority = Authority.open(lab.state_dir / "certificates", SystemClock())
        self.devices = []

    async def call(self, method, path, body=None, **options):
        return await asyncio.to_thread(self.rest.call, method, path, body, **options)

    async def register(self, name):
        """Register an edge device, unless it was."""
        body = {"deviceId": name, "capabilities": {"iotEdge": True}}
        try:
            await self.call("PUT", f"/devices/{name}", body)
        except RestError as error:
            if error.http_status != 409:
                raise

    async def settings(self, name, **options):
        string = await asyncio.to_thread(self.lab.device_connection_string, name)
        return EdgeSettings(
            string,
            module_folders=(MODULES,),
            ca_file=self.lab.ca_file,
            https_port=self.lab._told.https_port,
            **options,
        )

    async def device(self, name, *, folder="edges", start=True, patience=None, settings=None, **options):
        """An edge device, running; registered if it was not."""
        if settings is None:
            await self.register(name)
            settings = await self.settings(name, **options)
        made = EdgeDevice(
            settings,
            self.folder / folder,
            self.authority,
            self.clock,
            patience=replace(QUICK, **(patience or {})),
        )
        if start:
            try:
                await made.start()
            except BaseException:
                await made.discard()
                raise
        self.devices.append(made)
        return made

    async def deploy(self, device, modules, routes=None, **hub):
        content = {"modulesContent": manifest(modules, routes, **hub)}
        await self.call("POST", f"/devices/{quote(device.id)}/applyConfigurationContent", content)

    async def until(self, condition, what="it", seconds=WAIT):
        """Until `condition()` holds (it may be asynchronous); its last value."""
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)

    async def connected(self, device):
        await self.until(lambda: device.is_connected and device.scope.is_read, "the connection")
        return device

    async def twin(self, device, module):
        return await self.call("GET", f"/twins/{device.id}/modules/{quote(module)}")

    async def leaf(self, device, name):
        """Register a leaf device of an edge; a raw client of it."""
        found = await self.call("GET", f"/devices/{device.id}")
        await self.call("PUT", f"/devices/{name}", {"deviceId": name, "parentScopes": [found["deviceScope"]]})
        return await asyncio.to_thread(RawLeaf, self.lab, name, device.gateway.hostname)

    async def close(self):
        for each in self.devices:
            await each.close()


class _Gateway:
    """What `RawDevice` takes for a lab."""

    def __init__(self, lab, host):
        self._told = type("Told", (), {"host": host, "mqtt_port": 8883})
        self.ca_file = lab.ca_file


class RawLeaf(RawDevice):
    """A raw MQTT client of a leaf device that connects to an edge's gateway."""

    def __init__(self, lab, name, gateway):
        key = ConnectionString.parse(lab.device_connection_string(name)).shared_access_key
        token = sas.build(f"{lab.hostname}/devices/{name}", key, int(time.time()) + 3600)
        client = MqttClient(
            name, f"{lab.hostname}/{name}/?api-version=2021-04-12", token, clean_session=False
        )
        super().__init__(_Gateway(lab, gateway), name, tls=True, client=client)
