"""A lab with an edge device in a process of its own, modules that do what a test says, and what the hub has of it."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

from hub_clients import Consumer

from iotedge_lab.rest import quote

MODULES = Path(__file__).parent / "modules"
WAIT = 60.0  # seconds until a test gives up


def module(image="puppet:1", *, env=None, **changes):
    """A module of a manifest."""
    return {
        "version": "1.0",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": f"registry.example/{image}", "createOptions": "{}"},
        "env": {name: {"value": value} for name, value in (env or {}).items()},
        **changes,
    }


def manifest(modules, routes=None, **hub):
    """A deployment manifest; `modules` by name, `routes` as in a manifest."""
    system = {
        "type": "docker",
        "settings": {"image": "mcr.example/azureiotedge-agent:1.5", "createOptions": "{}"},
    }
    return {
        "$edgeAgent": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
                "systemModules": {
                    "edgeAgent": system,
                    "edgeHub": {**system, "status": "running", "restartPolicy": "always"},
                },
                "modules": modules,
            }
        },
        "$edgeHub": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "routes": routes or {"up": "FROM /messages/* INTO $upstream"},
                "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
                **hub,
            }
        },
    }


class Puppet:
    """A running module of `Puppet`, spoken to over its socket."""

    def __init__(self, folder, name):
        self.folder = folder / "modules" / name
        self.name = name

    def _dial(self):
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError, ValueError):
                _, port = (self.folder / "port").read_text().split()
                return socket.create_connection(("127.0.0.1", int(port)), timeout=WAIT)
            assert time.monotonic() < deadline, f"{self.name} does not run"
            time.sleep(0.05)

    def __call__(self, operation, **arguments):
        """Have it do something; what that gives. Raises RuntimeError with what went wrong there."""
        with self._dial() as sock, sock.makefile("rw") as stream:
            stream.write(json.dumps([operation, arguments]) + "\n")
            stream.flush()
            done, found = json.loads(stream.readline())
        if not done:
            raise RuntimeError(found)
        return found

    def send(self, *bodies, output="out", **options):
        return self("send", output=output, bodies=list(bodies), **options)

    def inputs(self, count):
        """What came to its inputs, once there are `count`."""
        found = self("wait", kind="inputs", count=count, seconds=WAIT)
        assert len(found) >= count, found
        return found

    def patches(self, count):
        found = self("wait", kind="patches", count=count, seconds=WAIT)
        assert len(found) >= count, found
        return found

    @property
    def pid(self):
        return self("pid")


class Stage:
    """One edge device of a lab."""

    def __init__(self, lab, device, **options):
        self.lab = lab
        self.device = device
        self.rest = lab.rest()
        body = {"deviceId": device, "capabilities": {"iotEdge": True}}
        self.scope = self.rest.call("PUT", f"/devices/{quote(device)}", body)["deviceScope"]
        self.options = {"module_folders": [MODULES], **options}
        self.edge = None

    def start(self):
        self.edge = self.lab.edge(self.device, **self.options)
        return self

    @property
    def folder(self):
        return self.lab.state_dir / "edges" / self.device

    def deploy(self, modules, routes=None, **hub):
        """Apply a manifest at the hub."""
        self.rest.call(
            "POST",
            f"/devices/{quote(self.device)}/applyConfigurationContent",
            {"modulesContent": manifest(modules, routes, **hub)},
        )

    def puppet(self, name):
        return Puppet(self.folder, name)

    def twin(self, module=None, device=None):
        path = f"/twins/{quote(device or self.device)}" + (f"/modules/{quote(module)}" if module else "")
        return self.rest.call("GET", path)

    def reported(self, module):
        return self.twin(module)["properties"]["reported"]

    def desire(self, patch, module=None, device=None):
        path = f"/twins/{quote(device or self.device)}" + (f"/modules/{quote(module)}" if module else "")
        self.rest.call("PATCH", path, {"properties": {"desired": patch}})

    def invoke(self, method, payload=None, module="$edgeAgent", device=None, **times):
        """Call a direct method as the cloud does: status and payload."""
        path = (
            f"/twins/{quote(device or self.device)}"
            + (f"/modules/{quote(module)}" if module else "")
            + "/methods"
        )
        answer = self.rest.call("POST", path, {"methodName": method, "payload": payload, **times})
        return answer["status"], answer["payload"]

    def leaf(self, device, **body):
        """Register a leaf device behind this edge; its connection string by way of the gateway."""
        self.rest.call(
            "PUT", f"/devices/{device}", {"deviceId": device, "parentScopes": [self.scope], **body}
        )
        return self.leaf_string(device)

    def leaf_string(self, device):
        return f"{self.lab.device_connection_string(device)};GatewayHostName={self.edge.gateway}"

    def exists(self, module):
        """Whether a module identity is there at the hub."""
        found = self.rest.call("GET", f"/devices/{quote(self.device)}/modules")
        return module in [each["moduleId"] for each in found]


def until(condition, what, seconds=WAIT):
    """Wait for what has no event of its own: another process's doing. The condition's last value."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


class Events(Consumer):
    """What arrives at the hub's built-in endpoint, from all partitions."""

    def bodies(self, module=None, device=None):
        """The bodies of what came from a module or device, in the order of arrival."""
        with self.news:
            return [event.body_as_str() for event in self.events if self._is_from(event, module, device)]

    @staticmethod
    def _is_from(event, module, device):
        found = event.system_properties
        sender = (found.get(b"iothub-connection-module-id") or b"").decode()
        return (module is None or sender == module) and (
            device is None or found.get(b"iothub-connection-device-id").decode() == device
        )

    def until(self, condition, seconds=WAIT):
        """Until `condition(self)` holds."""
        with self.news:
            assert self.news.wait_for(lambda: self.errors or condition(self), seconds), "it did not come"
            assert not self.errors, self.errors
        return self

    def find(self, body):
        """The event with this body, once it is there."""
        found = []

        def met(_):
            found[:] = [event for event in self.events if event.body_as_str() == body]
            return bool(found)

        self.until(met)
        return found[0]


class Background(threading.Thread):
    """Runs something beside the test; what it raised is raised by `join`."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self._work = work
        self.result = self._fault = None
        self.start()

    def run(self):
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self._fault = error

    def get(self, seconds=WAIT):
        self.join(seconds)
        assert not self.is_alive()
        if self._fault is not None:
            raise self._fault
        return self.result
