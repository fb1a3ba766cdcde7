"""A module as a process, with the hub itself as its gateway, as `iotedgehubdev modulecred` has it for debugging."""

import os
import re
import signal
import subprocess
import sys
import threading

from azure.eventhub import EventHubConsumerClient

PATIENCE = 30.0  # s that a test waits for what must come
DEVICE, MODULE = "car", "ModuleSimulatorCar"


def identity(lab):
    """Make the edge device and the module at the hub; the variables by which the module finds it."""
    rest = lab.rest()
    rest.call("PUT", f"/devices/{DEVICE}", {"deviceId": DEVICE, "capabilities": {"iotEdge": True}})
    rest.call("PUT", f"/devices/{DEVICE}/modules/{MODULE}", {"deviceId": DEVICE, "moduleId": MODULE})
    return {
        "EdgeHubConnectionString": (
            f"{lab.device_connection_string(DEVICE, MODULE)};GatewayHostName={lab.hostname}"
        ),
        "EdgeModuleCACertificateFile": str(lab.ca_file),
    }


class Module:
    """The process `python -u main.py` in its folder, and what it has written so far."""

    def __init__(self, folder, environment):
        self.lines = []
        self._news = threading.Condition()
        passed_on = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-u", "main.py"],
            cwd=folder,
            env={**passed_on, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        self._process.stdout.close()

    def says(self, pattern, after=0):
        """Wait for a line that has this pattern, from the `after`th on; its match."""
        found = []

        def there():
            found[:] = [match for line in self.lines[after:] if (match := re.search(pattern, line))]
            return bool(found)

        with self._news:
            assert self._news.wait_for(there, PATIENCE), "\n".join(self.lines)
        return found[0]

    def end(self):
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._reading.join(PATIENCE)


class Events:
    """The vendor's consumer on a thread: all events of the built-in endpoint, in the order of their partitions.

    In batches: event by event the SDK gives one for each look at all partitions, which take 0.2 s each. It hands on
    what came when it has heard nothing for that long or has had `prefetch` events, so a steady stream wants few.
    """

    def __init__(self, lab, prefetch):
        self._found = []
        self._news = threading.Condition()
        self._client = EventHubConsumerClient.from_connection_string(
            lab.events_connection_string, consumer_group="$Default", retry_total=0
        )
        self._thread = threading.Thread(
            target=self._client.receive_batch,
            args=(self._take,),
            kwargs={"starting_position": "-1", "prefetch": prefetch},
        )
        self._thread.start()

    def _take(self, _, events):
        with self._news:
            self._found += events
            self._news.notify_all()

    def wait(self, count):
        """The events, once there are so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._found) >= count, PATIENCE), (
                f"{len(self._found)} of {count} events came"
            )
            return list(self._found)

    def close(self):
        self._client.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
