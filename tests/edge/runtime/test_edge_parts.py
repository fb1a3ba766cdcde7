"""Parts of the runtime by themselves: what is reported, how often, what is counted."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
from edge_stage import module

from iotedge_lab.broker.twin import SECTION_LIMIT, check, check_size
from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.agent import ModuleState, RuntimeStatus
from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub.identities import Identities
from iotedge_lab.edge.runtime.diary import Diary
from iotedge_lab.edge.runtime.metrics import Starts
from iotedge_lab.edge.runtime.routes import Routes, twin_key
from iotedge_lab.edge.runtime.system import SystemModule
from iotedge_lab.edge.store import EdgeStore, KeptIdentities, KeptTwins
from iotedge_lab.errors import ArgumentInvalid

# -- what `$edgeHub` reports ----------------------------------------------------------------------------


def state(connected, since):
    return {"connected": connected, "lastConnected": since, "lastDisconnected": 0.0, "upstream": True}


def test_names_that_a_twin_cannot_have():
    """A device id may have dots and dollars, a property may not."""
    made = twin_key("a.b$c d%/e")
    assert made == "a%2Eb%24c%20d%25/e"
    check({made: 1}, "it")


def test_more_clients_than_a_twin_has_room_for():
    """Those that came last are told, and the report fits."""
    hub = SimpleNamespace(client_states=lambda: {f"leaf.{n:04}": state(True, float(n)) for n in range(1000)})
    found = Routes(hub).reported()
    check(found, "the report")
    check_size(found, SECTION_LIMIT)
    names = list(found["clients"])
    assert names[0] == "leaf%2E0999"
    assert 50 < len(names) < 1000
    assert found["clients"][names[0]]["status"] == "Connected"


async def test_more_modules_than_a_twin_has_room_for(aboard):
    """A deployment that fills a twin is reported all the same, without what makes it long."""
    device = await aboard.connected(await aboard.device("large"))
    env = {f"NAME{number}": "x" * 90 for number in range(10)}
    await aboard.deploy(
        device, {f"m{number}": module("sleeper:1", env=env, status="stopped") for number in range(24)}
    )
    found = await aboard.until(lambda: _reported(aboard, device))
    assert len(found["modules"]) == 24
    assert found["modules"]["m0"]["settings"] == {"image": "registry.example/sleeper:1"}
    assert found["modules"]["m0"]["runtimeStatus"] == "stopped"


async def _reported(aboard, device):
    found = (await aboard.twin(device, "$edgeAgent"))["properties"]["reported"]
    return found if found.get("modules") else None


# -- how the runtime's own modules report ---------------------------------------------------------------


class Link:
    """A link that is connected, with a twin at its other end."""

    is_beginning = False

    def __init__(self):
        self.connected = True
        self.reports = []
        self.refusal = None
        self.answers = []

    async def twin(self):
        return {"desired": {"$version": 1}, "reported": {"$version": 1}}

    async def report(self, patch):
        self.reports.append(patch)
        if self.refusal is not None:
            raise self.refusal
        return len(self.reports) + 1

    def answer_method(self, request_id, status, body):
        if len(body) > 1000:
            raise ArgumentInvalid("the answer is too long.")
        self.answers.append((request_id, status, body))


class Hub:
    """What a system module needs of an edge hub."""

    def __init__(self, folder):
        self.store = EdgeStore(folder / "edge.db")
        self.store.attach_loop(asyncio.get_running_loop().call_soon)
        self.kept_twins = KeptTwins(self.store)
        self.clock = FakeClock()
        self.settings = SimpleNamespace(device="edge")
        self.identities = Identities(KeptIdentities(self.store), "edge", frozenset({"hub.test"}), self.clock)
        self.methods = SimpleNamespace(
            ready=lambda *_: None, answered=lambda *told: self.answered.append(told)
        )
        self.answered = []
        self.on_system_refused = []
        self.tasks = []

    def run(self, work):
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]


@pytest.fixture
async def hub(tmp_path):
    made = Hub(tmp_path)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    made.store.close()


async def settle():
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_report_that_the_hub_does_not_take(hub, caplog):
    """It is not made again and again; when something else is to be said, that is."""
    told = {"size": 1}
    module = SystemModule(hub, "$edgeHub", apply=lambda _: asyncio.sleep(0), report=lambda: dict(told))
    module.link = Link()
    module.link.refusal = ArgumentInvalid("too large, says the hub.")
    module.start()
    for _ in range(5):
        module.changed()
        await settle()
    assert module.link.reports == [{"size": 1}]
    assert caplog.text.count("does not take") == 1
    told["size"] = 2
    module.link.refusal = None
    module.changed()
    await settle()
    assert module.link.reports[-1] == {"size": 2}
    module.changed()
    await settle()
    assert len(module.link.reports) == 2


async def test_a_report_while_the_hub_is_away(hub):
    """It is kept, and made when the hub is back."""
    module = SystemModule(hub, "$edgeHub", apply=lambda _: asyncio.sleep(0), report=lambda: {"a": 1})
    module.link = link = Link()
    link.connected = False
    module.start()
    module.changed()
    await settle()
    assert link.reports == []
    assert module.twin.is_pending
    link.connected = True
    module.connected(True)
    await settle()
    assert link.reports == [{"a": 1}]
    assert not module.twin.is_pending


async def test_desired_properties_that_cannot_be_applied(hub, caplog):
    """A fault there does not end the care for the next ones."""
    seen = []

    async def apply(desired):
        seen.append(desired["$version"])
        if len(seen) == 1:
            raise RuntimeError("a fault of ours")

    module = SystemModule(hub, "$edgeAgent", apply=apply, report=dict)
    module.link = Link()
    module.start()
    module.connected(True)
    await settle()
    assert seen == [1]
    assert "could not be applied: a fault of ours" in caplog.text
    module.desired({"x": 1, "$version": 2})
    await settle()
    module.desired({"x": 1, "$version": 2})
    await settle()
    assert seen == [1, 2]


METHODS = [
    ("cloud", b'{"n": 1}', 200, b'{"got": {"n": 1}}'),
    ("cloud", b"", 200, b"null"),
    ("cloud", b"{", 400, b'{"message": "The payload is not JSON."}'),
    ("cloud", b'"fail"', 500, b'{"message": "A fault of the edge runtime; its log says more."}'),
    ("cloud", b'"long"', 400, b'{"message": "the answer is too long."}'),
    ("module", b'{"n": 1}', 200, b'{"got": {"n": 1}}'),
]


@pytest.mark.parametrize(("who", "body", "status", "answer"), METHODS)
async def test_direct_methods(who, body, status, answer, hub):
    """The cloud and modules of the device get the same answers, and always one."""

    async def method(name, payload):
        assert name == "ping"
        if payload == "fail":
            raise RuntimeError("a fault of ours")
        if payload == "long":
            return 200, "x" * 2000
        return 200, None if payload is None else {"got": payload}

    module = SystemModule(hub, "$edgeAgent", apply=lambda _: asyncio.sleep(0), report=dict, method=method)
    module.link = Link()
    if who == "cloud":
        module.method("ping", "r1", body)
        await settle()
        assert module.link.answers == [("r1", status, answer)]
    else:
        assert module.deliver("$iothub/methods/POST/ping/?$rid=r1", body)
        await settle()
        assert hub.answered == [("edge", "$edgeAgent", "r1", status, answer)]


# -- what is counted ------------------------------------------------------------------------------------


def test_starts_and_ends():
    """Each process counts once, however often one looks; restarts that the agent forgets do not count back."""
    starts = Starts()
    running = ModuleState(RuntimeStatus.RUNNING, started=1.0)
    ended = ModuleState(RuntimeStatus.BACKOFF, started=1.0, exited=2.0, restarts=1)
    again = ModuleState(RuntimeStatus.RUNNING, started=3.0, exited=2.0, restarts=1)
    for each in (
        running,
        running,
        ended,
        ended,
        again,
        ModuleState(RuntimeStatus.RUNNING, started=3.0, exited=2.0),
    ):
        starts.look({"a": each})
    starts.look({"b": ModuleState(RuntimeStatus.FAILED, exited=5.0)})
    starts.look({})
    assert starts.counts == {"a": (2, 1), "b": (0, 0)}


# -- a module without an identity -----------------------------------------------------------------------


async def test_a_module_that_gets_its_identity_later(aboard, monkeypatch):
    """One that could not be started without the registry is started once that answers, whatever its policy."""
    device = await aboard.connected(await aboard.device("late"))
    real = device._rest.create_module

    async def away(*_):
        raise UpstreamAway("the registry does not answer.")

    monkeypatch.setattr(device._rest, "create_module", away)
    await aboard.deploy(device, {"a": module("sleeper:1", restartPolicy="never")})
    status = await aboard.until(lambda: device.supervisor.status().get("a"))
    await aboard.until(lambda: device.supervisor.status()["a"].status is RuntimeStatus.FAILED)
    assert "does not answer" in device.supervisor.status()["a"].description
    assert device.status()["desiredStatus"]["code"] == 500
    monkeypatch.setattr(device._rest, "create_module", real)
    device.scope.look_again()
    await aboard.until(lambda: device.supervisor.status()["a"].status is RuntimeStatus.RUNNING)
    await aboard.until(lambda: device.status()["desiredStatus"]["code"] == 200)
    assert status is not None


async def test_a_module_with_another_key(aboard):
    """Its tokens are of the old one, so it is started again when that is known; others are not."""
    device = await aboard.connected(await aboard.device("rekey"))
    await aboard.deploy(device, {"a": module("sleeper:1"), "b": module("sleeper:1")})
    await aboard.until(
        lambda: [each.status for each in device.supervisor.status().values()] == [RuntimeStatus.RUNNING] * 2
    )
    before = {name: device.supervisor._lives[name].process_id() for name in "ab"}
    found = await aboard.call("GET", "/devices/rekey/modules/a")
    found["authentication"]["symmetricKey"]["primaryKey"] = found["authentication"]["symmetricKey"][
        "secondaryKey"
    ]
    await aboard.call("PUT", "/devices/rekey/modules/a", found, headers={"If-Match": "*"})
    device.scope.look_again()
    await aboard.until(lambda: device.supervisor._lives["a"].process_id() not in (None, before["a"]))
    assert device.supervisor._lives["b"].process_id() == before["b"]


# -- what the runtime says of itself --------------------------------------------------------------------


async def test_the_diary_of_a_device(tmp_path, monkeypatch):
    """Lines of its own and of none are kept, by whose they are; those of another device, and debugging, are not."""
    diary, other = (Diary(name, tmp_path / name, FakeClock()) for name in ("mine", "other"))
    hub, agent = (logging.getLogger(f"iotedge_lab.edge.{room}.x") for room in ("hub", "runtime"))
    logging.getLogger("iotedge_lab").setLevel(logging.DEBUG)
    # pytest keeps what is logged, and xdist cannot send half a character to its other process.
    monkeypatch.setattr(logging.getLogger("iotedge_lab"), "propagate", False)
    try:
        diary.open()
        with diary.of_this_device():
            hub.info("of the hub")
            agent.warning("of the agent, \udcff")
            agent.debug("too small")
            logging.getLogger("iotedge_lab.edge.agent.logs").warning("of the log itself")
            await asyncio.to_thread(hub.error, "of a thread")
            await asyncio.ensure_future(_say(agent, "of a task"))
        with other.of_this_device():
            hub.info("of another")
        agent.info("of nobody")
        try:
            raise ValueError("bad")
        except ValueError:
            agent.exception("a fault")
        await settle()
    finally:
        diary.close()
        logging.getLogger("iotedge_lab").setLevel(logging.NOTSET)
    agent.warning("after the end")
    found = {
        name: [each.text.partition("+00:00 ")[2] for each in log.snapshot().lines()]
        for name, log in diary.logs.items()
    }
    assert found == {
        "edgeAgent": [
            "[WRN] - of the agent, ?",
            "[INF] - of a task",
            "[INF] - of nobody",
            "[ERR] - a fault: ValueError('bad')",
        ],
        "edgeHub": ["[INF] - of the hub", "[ERR] - of a thread"],
    }


async def _say(logger, text):
    logger.info(text)
