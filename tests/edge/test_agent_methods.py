"""The direct methods of $edgeAgent, held against what the documentation shows."""

import asyncio
import base64
import gzip
import json

import pytest
from edge_modules import WAITING, Edge

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.agent import MethodAnswer, ModuleLog, answer
from iotedge_lab.edge.agent.methods import MAX_LOGS
from iotedge_lab.errors import EnvironmentProblem, UsageError


class Agent:
    """An agent with logs of three modules, that notes what it is asked to restart."""

    def __init__(self, folder):
        self.clock = FakeClock()
        self.restarted = []
        self.logs = {
            name: ModuleLog(folder / name, self.clock) for name in ("edgeAgent", "ModuleA", "ModuleB")
        }
        self.logs["edgeAgent"].write("stdout", b"<6> 2023-11-14 22:00:00.000 +00:00 [INF] I am\n")
        self.logs["ModuleA"].write("stdout", b"one\n<3>two\n")
        self.logs["ModuleA"].write("stderr", "thr\u00e4e\n".encode())

    def log_names(self):
        return list(self.logs)

    def read_log(self, name):
        return self.logs[name].snapshot()

    async def restart(self, name):
        if name == "broken":
            raise EnvironmentProblem("no process can be made")
        if name not in self.logs:
            raise UsageError(f"Module {name} not found in the current environment")
        self.restarted.append(name)

    def call(self, name, payload=None):
        return asyncio.run(answer(name, payload, self, self.clock, hub="hub.test", device="car"))

    def get(self, *items, **more):
        """GetModuleLogs; its payload, which has to be a success."""
        found = self.call("GetModuleLogs", {"schemaVersion": "1.0", "items": list(items), **more})
        assert found.status == 200, found
        return found.payload


@pytest.fixture
def agent(tmp_path):
    """See `Agent`."""
    made = Agent(tmp_path)
    yield made
    for each in made.logs.values():
        each.close()


def test_ping(agent):
    """It answers 200 and nothing, whatever it is given."""
    for payload in (None, {}, {"x": 1}, "text"):
        assert agent.call("ping", payload) == MethodAnswer(200)


def test_restart_module(agent):
    """It restarts the module and answers 200 and nothing."""
    assert agent.call("RestartModule", {"schemaVersion": "1.0", "id": "ModuleA"}) == MethodAnswer(200)
    assert agent.call("restartmodule", '{"schemaVersion": "1.0", "id": "ModuleB"}') == MethodAnswer(200)
    assert agent.restarted == ["ModuleA", "ModuleB"]


def test_logs_as_text(agent):
    """The lines as they were written, of each module whose name matches."""
    assert agent.get({"id": "ModuleA"}) == [
        {"id": "ModuleA", "payloadBytes": None, "payload": "one\n<3>two\nthr\u00e4e\n"}
    ]
    assert [each["id"] for each in agent.get({"id": "module"})] == ["ModuleA", "ModuleB"]
    assert [each["id"] for each in agent.get({"id": "all"})] == ["edgeAgent", "ModuleA", "ModuleB"]
    assert agent.get({"id": "nothing"}) == []


def test_logs_as_json(agent):
    """Each line as an object with its level, stream and time."""
    (found,) = agent.get({"id": "^ModuleA$", "filter": {"tail": 2}}, contentType="json")
    expected = {
        "iothub": "hub.test",
        "device": "car",
        "id": "ModuleA",
        "timestamp": "2023-11-14T22:13:20.000000Z",
    }
    assert json.loads(found["payload"]) == [
        {**expected, "stream": "stdout", "loglevel": 3, "text": "two"},
        {**expected, "stream": "stderr", "loglevel": 6, "text": "thr\u00e4e"},
    ]


def test_logs_as_gzip(agent):
    """Compressed and in base64, as `base64 --decode | gzip -d` of the documentation reads it."""
    (found,) = agent.get({"id": "ModuleA", "filter": {"loglevel": 3}}, encoding="gzip")
    assert found["payload"] is None
    assert gzip.decompress(base64.b64decode(found["payloadBytes"])) == b"<3>two\n"


def test_the_first_item_that_names_a_module_counts(agent):
    """As with the agent, a module's filter is that of the first pattern that matches it; one item may stand alone."""
    items = ({"id": "ModuleA", "filter": {"tail": 1}}, {"id": ".*", "filter": {"tail": 0}})
    found = {each["id"]: each["payload"] for each in agent.get(*items)}
    assert found == {"ModuleA": "thr\u00e4e\n", "edgeAgent": "", "ModuleB": ""}
    alone = agent.call("GetModuleLogs", {"schemaVersion": "1.0", "items": {"id": "ModuleB"}})
    assert [each["id"] for each in alone.payload] == ["ModuleB"]


def test_logs_that_are_too_large(agent):
    """What a method's answer cannot hold is replaced by a word on how to ask for less; the others are there."""
    agent.logs["ModuleA"].write("stdout", b"x" * 100 + b"\n" + (b"y" * 999 + b"\n") * (MAX_LOGS // 1000))
    found = {each["id"]: each for each in agent.get({"id": ".*"})}
    assert "Try reducing the size" in found["ModuleA"]["payload"]
    assert found["edgeAgent"]["payload"].endswith("I am\n")
    assert len(json.dumps(list(found.values()))) < 128 * 1024
    (packed,) = agent.get({"id": "ModuleA"}, encoding="gzip")
    assert len(gzip.decompress(base64.b64decode(packed["payloadBytes"]))) > 100_000


def test_task_status(agent):
    """No upload is ever made, so no task is known."""
    found = agent.call("GetTaskStatus", {"schemaVersion": "1.0", "correlationId": "c-1"})
    assert found == MethodAnswer(200, {"status": "Unknown", "message": "", "correlationId": "c-1"})


ITEMS = [{"id": "a"}]
REFUSED = [
    # method, payload, status, what the message says
    ("Dance", None, 400, "Command 'Dance' not found. The supported commands are - ping,"),
    ("RestartModule", None, 400, "Request payload not found"),
    ("RestartModule", {}, 400, "Request payload not found"),
    ("RestartModule", [1], 400, "Request payload not found"),
    ("RestartModule", "{", 400, "Error parsing command payload"),
    ("RestartModule", {"id": "ModuleA"}, 400, "schemaVersion is None"),
    ("RestartModule", {"schemaVersion": "2.0", "id": "ModuleA"}, 400, "schemaVersion is '2.0'"),
    ("RestartModule", {"schemaVersion": 1.0, "id": "ModuleA"}, 400, "schemaVersion is 1.0"),
    ("RestartModule", {"schemaVersion": "1.0"}, 400, "id is missing"),
    ("RestartModule", {"schemaVersion": "1.0", "id": "zebra"}, 500, "Module zebra not found"),
    ("RestartModule", {"schemaVersion": "1.0", "id": "broken"}, 500, "no process can be made"),
    ("GetModuleLogs", {"schemaVersion": "1.0"}, 400, "items is missing"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": []}, 400, "items is missing"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": [1]}, 400, "each of items is an object"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": [{"id": "("}]}, 400, "is no regular expression"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": [{"id": "a", "filter": 1}]}, 400, "filter of 'a'"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": [{"id": "a", "filter": {"tail": -1}}]}, 400, "tail"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": ITEMS, "encoding": "zip"}, 400, "encoding is 'zip'"),
    ("GetModuleLogs", {"schemaVersion": "1.0", "items": ITEMS, "contentType": 1}, 400, "contentType is 1"),
    ("GetTaskStatus", {"schemaVersion": "1.0"}, 400, "correlationId is missing"),
]


@pytest.mark.parametrize(("name", "payload", "status", "words"), REFUSED)
def test_refusals(name, payload, status, words, agent):
    """What cannot be read is 400, what cannot be done 500, each with a message."""
    found = agent.call(name, payload)
    assert found.status == status
    assert set(found.payload) == {"message"}
    assert words in found.payload["message"]
    assert agent.restarted == []


async def test_with_real_modules(tmp_path):
    """The supervisor is such an agent: its modules restart, and their logs are read."""
    async with Edge(tmp_path, {"a": WAITING}) as edge:

        async def call(name, **payload):
            return await answer(
                name,
                {"schemaVersion": "1.0", **payload},
                edge.supervisor,
                edge.time.clock,
                hub="h",
                device="car",
            )

        await edge.apply(a={})
        await edge.until_output()
        pid = edge.state().pid
        assert (await call("RestartModule", id="a")).status == 200
        assert edge.state().pid != pid
        found = await call("GetModuleLogs", items=[{"id": "^a$", "filter": {"tail": 1}}])
        assert found.payload == [{"id": "a", "payloadBytes": None, "payload": "ready\n"}]
        await edge.apply(a={"status": "stopped"})
        found = await call("RestartModule", id="a")
        assert found == MethodAnswer(500, {"message": "Module a cannot be restarted since it is not running"})
