"""Jobs in a `House`: their bodies, a hub that carries them out, and what it is asked of them."""

import asyncio
import json

from asking import everything

from iotedge_lab.hub.jobs import targets
from iotedge_lab.hub.jobs.job import Draft
from iotedge_lab.wire.topics import method_call_topic

TAG = {"etag": "*", "tags": {"done": True}}


def update(condition="*", twin=TAG, **more):
    """The body of a job that updates twins."""
    return {"type": "scheduleUpdateTwin", "updateTwin": twin, "queryCondition": condition} | more


def method(condition="*", name="reboot", payload=None, **more):
    """The body of a job that calls a method; `call` are more of its fields."""
    call = {"methodName": name, "payload": payload} | more.pop("call", {})
    return {"type": "scheduleDeviceMethod", "cloudToDeviceMethod": call, "queryCondition": condition} | more


def put(house, name, body):
    """Make a job."""
    return house.hub.jobs.put(Draft.read(name, body))


def start(house):
    """Have the hub carry jobs out, on the loop that runs."""
    house.hub.job_runner.start()
    return house.hub.job_runner


async def carried_out(house):
    """Until the hub has nothing more to do."""
    await asyncio.wait_for(house.hub.job_runner.idle(), 60)


def shown(house, name):
    """A job as the REST API shows it."""
    job = house.hub.jobs.find(name)
    return job.to_json(targets.statistics(house.hub.store.db, [job]).get(job.serial))


def counts(house, name):
    """(devices, succeeded, failed, running, pending) of a job."""
    found = shown(house, name)["deviceJobStatistics"]
    return tuple(found[f"{word}Count"] for word in ("device", "succeeded", "failed", "running", "pending"))


async def rows(house, name):
    """The rows of devices.jobs of a job."""
    return await everything(house, f"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{name}'")


async def until(holds):
    """Let the loop turn until something holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


class Device:
    """A device that listens for methods: keeps what it is asked, and answers at once or when it is told to."""

    def __init__(self, house, name, module="", *, status=200, at_once=True):
        self.house, self.name, self.module = house, name, module
        self.status, self.at_once = status, at_once
        self.asked = []
        self._waiting = []
        house.hub.methods.ready(name, module, self)

    def deliver(self, topic, payload):
        """`Methods` calls this."""
        start = method_call_topic("", "").partition("POST/")[0] + "POST/"
        word, _, request = topic.removeprefix(start).partition("/")
        self.asked.append((word, json.loads(payload)))
        self._waiting.append(request.removeprefix("?$rid="))
        if self.at_once:
            asyncio.get_running_loop().call_soon(self.answer)
        return True

    def answer(self):
        """Answer all that waits."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            body = json.dumps({"from": self.name}).encode()
            self.house.hub.methods.answered(self.name, self.module, request, self.status, body)
