"""Jobs that are carried out: whom, once, when, and no longer than they may."""

import asyncio
import contextlib
import json
import sqlite3

import pytest
from scheduling import Device, carried_out, counts, method, put, rows, shown, start, until, update

from iotedge_lab.errors import (
    JobAlreadyExists,
    JobNotFound,
    JobQuotaExceeded,
    JobRunPreconditionFailed,
    StoreUnavailable,
    TooManyActiveJobs,
)
from iotedge_lab.hub.jobs import book, runner
from iotedge_lab.hub.jobs.book import KEPT_SECONDS, MOST_ACTIVE
from iotedge_lab.hub.jobs.job import DEFAULT_SECONDS
from iotedge_lab.wire.mqtt.packets import PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes

LATER = "2030-01-31T12:00:00Z"
LATER_SECONDS = 1896091200.0


def tags(house, device, module=""):
    return house.hub.twins.get(device, module)[1].tags


def fleet(house, count, module=""):
    names = [f"d{number:03}" for number in range(count)]
    for name in names:
        house.register(name)
        if module:
            house.register(name, module)
    return names


# -- twins ---------------------------------------------------------------------------------------------


async def test_twins_that_meet_a_condition(house):
    """Each of them is updated once, the others are not; the job tells how many."""
    names = fleet(house, 60)
    for name in names[::3]:
        house.hub.twins.patch(name, "", {"tags": {"floor": 3}}, None)
    start(house)
    twin = {"etag": "*", "tags": {"done": True}, "properties": {"desired": {"rate": 5}}}
    made = put(house, "j", update("tags.floor = 3", twin))
    assert made.status.value == "queued"
    await carried_out(house)
    for name in names:
        found = house.hub.twins.get(name)[1]
        if name in names[::3]:
            assert (found.tags, found.desired.values) == ({"floor": 3, "done": True}, {"rate": 5})
            assert found.desired.version == 2
        else:
            assert "done" not in found.tags
    told = shown(house, "j")
    assert told["status"] == "completed"
    assert told["endTime"] >= told["startTime"] == told["createdTime"]
    assert counts(house, "j") == (20, 20, 0, 0, 0)


async def test_a_device_is_told(house):
    """A connected device gets its desired properties as after any change."""
    wire = house.connected("a")
    wire.send(wire.client.subscribe(["$iothub/twin/PATCH/properties/desired/#"])[1])
    start(house)
    put(house, "j", update("deviceId = 'a'", {"etag": "*", "properties": {"desired": {"rate": 5}}}))
    await carried_out(house)
    house.turns.run()
    runs = [event for event in wire.answers() if isinstance(event, PublishRun)]
    assert [json.loads(body) for run in runs for _, body, _ in iter_publishes(run.raw)] == [
        {"rate": 5, "$version": 2}
    ]


async def test_modules(house):
    """A condition of devices.modules is for modules, and leaves devices alone."""
    fleet(house, 3, "eye")
    start(house)
    put(house, "j", update("FROM devices.modules WHERE moduleId = 'eye' AND deviceId != 'd001'"))
    await carried_out(house)
    assert [tags(house, name, "eye") for name in ("d000", "d001", "d002")] == [
        {"done": True},
        {},
        {"done": True},
    ]
    assert tags(house, "d000") == {}
    assert [(row["deviceId"], row["moduleId"]) for row in await rows(house, "j")] == [
        ("d000", "eye"),
        ("d002", "eye"),
    ]


async def test_nobody(house):
    """A condition that nobody meets: completed, of no device."""
    start(house)
    put(house, "j", update("tags.floor = 3"))
    await carried_out(house)
    assert (shown(house, "j")["status"], counts(house, "j")) == ("completed", (0, 0, 0, 0, 0))


async def test_a_twin_that_cannot_take_it(house):
    """Its outcome is the error; the others are updated."""
    fleet(house, 3)
    big = {f"t{number}": "x" * 4000 for number in range(2)}
    house.hub.twins.patch("d001", "", {"tags": big}, None)
    start(house)
    put(house, "j", update(twin={"etag": "*", "tags": {"more": "y" * 1000}}))
    await carried_out(house)
    assert counts(house, "j") == (3, 2, 1, 0, 0)
    found = {row["deviceId"]: row for row in await rows(house, "j")}
    assert (found["d001"]["status"], found["d001"]["error"]["code"]) == ("failed", "ArgumentInvalid")
    assert found["d000"]["outcome"] == {"deviceMethodResponse": None}
    assert "more" not in tags(house, "d001")


async def test_devices_of_the_moment_when_it_begins(house, monkeypatch):
    """Who is made later is not the job's, and who is deleted meanwhile failed it."""
    monkeypatch.setattr(runner, "_TWINS", 1)
    fleet(house, 5)
    start(house)
    put(house, "j", update())
    await until(lambda: "done" in tags(house, "d000"))
    house.register("e")
    house.hub.identities.delete("d004", "", None)
    await carried_out(house)
    assert tags(house, "e") == {}
    assert counts(house, "j") == (5, 4, 1, 0, 0)
    assert (await rows(house, "j"))[4]["error"]["code"] == "DeviceNotFound"


async def test_a_job_of_many_pages(house, monkeypatch):
    """Found and noted page by page, each device once."""
    monkeypatch.setattr(runner, "_PAGE", 4)
    names = fleet(house, 17)
    start(house)
    put(house, "j", update())
    await carried_out(house)
    assert [row["deviceId"] for row in await rows(house, "j")] == names
    assert counts(house, "j") == (17, 17, 0, 0, 0)


async def test_a_change_event_for_each(house):
    """Who watches twins is told of each change, once."""
    fleet(house, 3)
    heard = []
    house.hub.twins.on_change.append(lambda identity, *_: heard.append(identity.device))
    start(house)
    put(house, "j", update())
    await carried_out(house)
    assert heard == ["d000", "d001", "d002"]


# -- methods -------------------------------------------------------------------------------------------


async def test_methods_and_devices_that_are_not_there(house):
    """Who listens answers; of the others the outcome is 404103, each by itself."""
    fleet(house, 4)
    there = [Device(house, name) for name in ("d000", "d002")]
    there[1].status = 500
    start(house)
    put(house, "j", method(payload={"delay": 3}))
    await carried_out(house)
    assert [device.asked for device in there] == [[("reboot", {"delay": 3})]] * 2
    assert counts(house, "j") == (4, 2, 2, 0, 0)
    found = {row["deviceId"]: row for row in await rows(house, "j")}
    assert found["d002"]["status"] == "completed"
    assert found["d002"]["outcome"]["deviceMethodResponse"] == {"status": 500, "payload": {"from": "d002"}}
    assert (found["d001"]["status"], found["d001"]["error"]["code"]) == ("failed", "DeviceNotOnline")
    assert "d001" in found["d001"]["error"]["description"]
    assert "outcome" not in found["d001"]


async def test_how_many_are_called_at_once(house, monkeypatch):
    """No more than so many; the next one when one has answered."""
    monkeypatch.setattr(runner, "AT_ONCE", 3)
    devices = [Device(house, name, at_once=False) for name in fleet(house, 8)]
    start(house)
    put(house, "j", method())
    asked = lambda: [device.name for device in devices if device.asked]  # noqa: E731 - asked again and again
    await until(lambda: len(asked()) == 3)
    for _ in range(50):
        await asyncio.sleep(0)
    assert asked() == ["d000", "d001", "d002"]
    assert counts(house, "j") == (8, 0, 0, 3, 5)
    devices[1].answer()
    await until(lambda: len(asked()) == 4)
    assert counts(house, "j") == (8, 1, 0, 3, 4)
    for device in devices:
        device.at_once = True
        device.answer()
    await carried_out(house)
    assert counts(house, "j") == (8, 8, 0, 0, 0)
    assert all(len(device.asked) == 1 for device in devices)


async def test_modules_are_called_too(house):
    """By their own names."""
    fleet(house, 2, "eye")
    module = Device(house, "d001", "eye")
    start(house)
    put(house, "j", method("FROM devices.modules WHERE moduleId = 'eye'"))
    await carried_out(house)
    assert len(module.asked) == 1
    assert counts(house, "j") == (2, 1, 1, 0, 0)


# -- when ----------------------------------------------------------------------------------------------


async def test_a_later_start(house):
    """Scheduled until its time has come; its devices are those of then."""
    house.clock.time = LATER_SECONDS - 100
    fleet(house, 2)
    start(house)
    made = put(house, "j", update(startTime=LATER))
    assert (made.status.value, made.start) == ("scheduled", LATER_SECONDS)
    house.clock.advance(99)
    house.hub.tick()
    await carried_out(house)
    assert shown(house, "j")["status"] == "scheduled"
    assert "deviceJobStatistics" not in shown(house, "j")
    house.register("late")
    house.clock.advance(1)
    house.hub.tick()
    await carried_out(house)
    assert (shown(house, "j")["status"], counts(house, "j")) == ("completed", (3, 3, 0, 0, 0))
    assert shown(house, "j")["startTime"] == "2030-01-31T12:00:00.000000Z"


async def test_its_time_is_up(house, monkeypatch):
    """What is under way ends, what has not begun does not; both failed, and the job is completed."""
    monkeypatch.setattr(runner, "AT_ONCE", 2)
    devices = [Device(house, name, at_once=False) for name in fleet(house, 4)]
    start(house)
    put(house, "j", method(maxExecutionTimeInSeconds=10, call={"responseTimeoutInSeconds": 300}))
    await until(lambda: devices[1].asked)
    devices[0].answer()
    await until(lambda: devices[2].asked)
    house.clock.advance(10)
    house.hub.tick()
    await carried_out(house)
    told = shown(house, "j")
    assert (told["status"], counts(house, "j")) == ("completed", (4, 1, 3, 0, 0))
    assert "10 s" in told["statusMessage"]
    found = await rows(house, "j")
    assert [row["status"] for row in found] == ["completed", "failed", "failed", "failed"]
    assert {row["error"]["code"] for row in found[1:]} == {"RequestTimedOut"}
    assert not devices[3].asked
    assert all(row["endTimeUtc"] for row in found)


async def test_ten_at_once(house):
    """One more is refused; one whose time comes meanwhile waits until another has ended."""
    device = Device(house, fleet(house, 1)[0], at_once=False)
    start(house)
    house.clock.time = LATER_SECONDS - 100
    put(house, "waits", update(startTime=LATER))
    for number in range(MOST_ACTIVE):
        put(house, f"j{number}", method())
    await until(lambda: len(device.asked) == MOST_ACTIVE)
    with pytest.raises(TooManyActiveJobs, match="10 jobs are under way"):
        put(house, "more", update())
    house.clock.advance(100)
    house.hub.tick()
    assert shown(house, "waits")["status"] == "queued"
    house.hub.jobs.cancel("j0")
    await until(lambda: shown(house, "waits")["status"] == "completed")
    device.answer()
    await carried_out(house)
    assert {shown(house, f"j{number}")["status"] for number in range(1, MOST_ACTIVE)} == {"completed"}
    put(house, "more", update())
    await carried_out(house)


async def test_how_many_may_wait(house, monkeypatch):
    """So many jobs that have not ended, and no more; one that was cancelled makes room."""
    monkeypatch.setattr(book, "MOST", 3)
    start(house)
    for number in range(3):
        put(house, f"j{number}", update(startTime="2100-01-01"))
    with pytest.raises(JobQuotaExceeded, match="3 jobs have not ended"):
        put(house, "more", update(startTime="2100-01-01"))
    house.hub.jobs.cancel("j1")
    put(house, "more", update(startTime="2100-01-01"))


async def test_a_condition_that_cannot_be_worked_out(house, monkeypatch):
    """The job failed, and says why."""
    start(house)
    nested = " AND ".join(f"tags.a{number} = {number}" for number in range(3))
    put(house, "j", update(nested))
    await carried_out(house)
    assert shown(house, "j")["status"] == "completed"
    put(house, "bad", update("tags.a == 3"))  # the front refuses it before this
    await carried_out(house)
    told = shown(house, "bad")
    assert told["status"] == "failed"
    assert "column" in told["failureReason"]
    assert "deviceJobStatistics" not in told


# -- cancelled -----------------------------------------------------------------------------------------


async def test_cancelled_before_it_begins(house):
    """Nothing is done, ever."""
    house.clock.time = LATER_SECONDS - 100
    fleet(house, 2)
    start(house)
    put(house, "j", update(startTime=LATER))
    assert house.hub.jobs.cancel("j").status.value == "cancelled"
    house.clock.advance(200)
    house.hub.tick()
    await carried_out(house)
    assert tags(house, "d000") == {}
    assert shown(house, "j")["status"] == "cancelled"


async def test_cancelled_while_it_runs(house, monkeypatch):
    """What has begun goes on to its end, the others are canceled."""
    monkeypatch.setattr(runner, "AT_ONCE", 2)
    devices = [Device(house, name, at_once=False) for name in fleet(house, 5)]
    start(house)
    put(house, "j", method())
    await until(lambda: devices[1].asked)
    house.hub.jobs.cancel("j")
    assert shown(house, "j")["status"] == "cancelled"
    assert counts(house, "j") == (5, 0, 0, 2, 0)
    for device in devices:
        device.answer()
    await carried_out(house)
    assert [bool(device.asked) for device in devices] == [True, True, False, False, False]
    assert [row["status"] for row in await rows(house, "j")] == ["completed"] * 2 + ["canceled"] * 3
    assert counts(house, "j") == (5, 2, 0, 0, 0)
    assert house.hub.jobs.cancel("j").status.value == "cancelled"  # again changes nothing


async def test_twins_that_are_cancelled(house, monkeypatch):
    """The next slice does not come."""
    monkeypatch.setattr(runner, "_TWINS", 1)
    names = fleet(house, 20)
    start(house)
    put(house, "j", update())
    await until(lambda: "done" in tags(house, names[2]))
    house.hub.jobs.cancel("j")
    await carried_out(house)
    done = [name for name in names if "done" in tags(house, name)]
    assert 3 <= len(done) < 20
    assert counts(house, "j") == (20, len(done), 0, 0, 0)


async def test_what_cannot_be_cancelled(house):
    """One that there is not, or that has ended."""
    start(house)
    with pytest.raises(JobNotFound, match="no job 'j'"):
        house.hub.jobs.cancel("j")
    put(house, "j", update())
    await carried_out(house)
    with pytest.raises(JobRunPreconditionFailed, match="completed"):
        house.hub.jobs.cancel("j")
    with pytest.raises(JobAlreadyExists, match="another id"):
        put(house, "j", update())


# -- what lasts ----------------------------------------------------------------------------------------


def _progress(house):
    """How many devices are noted and done, and where the job stands."""
    noted = house.hub.store.db.execute("SELECT status, COUNT(*) FROM job_device GROUP BY 1").fetchall()
    return noted, house.hub.jobs.find("j").status


async def test_a_hub_that_is_killed_goes_on(house, monkeypatch):
    """Wherever it was: each twin is updated once, by version."""
    monkeypatch.setattr(runner, "_TWINS", 1)
    monkeypatch.setattr(runner, "_PAGE", 5)
    names = fleet(house, 23)
    start(house)
    put(house, "j", update(twin={"etag": "*", "properties": {"desired": {"rate": 5}}}))
    kills = 0
    while not house.hub.jobs.find("j").status.ended:
        before = _progress(house)
        await until(lambda before=before: _progress(house) != before)
        house.hub.job_runner.close()
        await asyncio.sleep(0)
        house.restart()
        start(house)
        kills += 1
    await carried_out(house)
    assert kills > 10
    assert counts(house, "j") == (23, 23, 0, 0, 0)
    assert {house.hub.twins.get(name)[1].desired.version for name in names} == {2}


async def test_methods_that_were_under_way_when_it_was_killed(house, monkeypatch):
    """They are not called again: how they went is not known. The others are called."""
    monkeypatch.setattr(runner, "AT_ONCE", 2)
    names = fleet(house, 4)
    devices = [Device(house, name, at_once=False) for name in names]
    start(house)
    put(house, "j", method())
    await until(lambda: devices[1].asked)
    house.hub.job_runner.close()
    await asyncio.sleep(0)
    house.restart()
    devices += [Device(house, name) for name in names]
    start(house)
    await carried_out(house)
    assert [len(device.asked) for device in devices] == [1, 1, 0, 0, 0, 0, 1, 1]
    found = await rows(house, "j")
    assert [row["status"] for row in found] == ["failed", "failed", "completed", "completed"]
    assert "not known" in found[0]["error"]["description"]
    assert shown(house, "j")["status"] == "completed"


async def test_a_job_whose_time_came_while_the_hub_was_down(house):
    """Begins when the hub is back."""
    house.clock.time = LATER_SECONDS - 100
    fleet(house, 1)
    put(house, "j", update(startTime=LATER))
    house.restart()
    house.clock.advance(500)
    start(house)
    await carried_out(house)
    assert shown(house, "j")["status"] == "completed"


async def test_thirty_days(house):
    """Then a job is forgotten, with what came of it, also when the hub is killed in between."""
    names = fleet(house, 3)
    start(house)
    put(house, "old", update())
    await carried_out(house)
    house.clock.advance(KEPT_SECONDS - 1)
    house.hub.tick()
    put(house, "new", update(maxExecutionTimeInSeconds=DEFAULT_SECONDS))
    await carried_out(house)
    assert len(await rows(house, "old")) == len(names)
    house.clock.advance(60)
    house.hub.jobs.prune()
    assert house.hub.jobs.find("old") is None
    assert await rows(house, "old") == []
    assert len(await rows(house, "new")) == len(names)
    house.restart()
    start(house)
    kept = lambda: house.hub.store.db.execute("SELECT COUNT(*) FROM job_device").fetchone()  # noqa: E731
    assert kept() == (6,)
    house.hub.tick()
    assert kept() == (3,)
    put(house, "old", update())  # the id is free again
    await carried_out(house)


async def test_a_store_that_is_full(house, monkeypatch):
    """The job waits and goes on when there is room; nothing is done twice, and no call is lost."""
    devices = [Device(house, name) for name in fleet(house, 3)]
    start(house)
    full = [0]
    transaction = house.hub.store.transaction

    @contextlib.contextmanager
    def refusing():
        full[0] += 1
        if full[0] % 3:
            raise StoreUnavailable("no room") from sqlite3.OperationalError()
        with transaction() as db:
            yield db

    made = put(house, "j", method())
    monkeypatch.setattr(house.hub.store, "transaction", refusing)
    async with asyncio.timeout(60):
        while not house.hub.jobs.find("j").status.ended or house.hub.job_runner._runs:
            for _ in range(30):
                await asyncio.sleep(0)
            house.hub.job_runner.tick()
    assert made.serial == 1
    assert counts(house, "j") == (3, 3, 0, 0, 0)
    assert [len(device.asked) for device in devices] == [1, 1, 1]
    assert full[0] > 6


async def test_a_hub_that_is_reset(house):
    """Forgets jobs, also those that run."""
    device = Device(house, fleet(house, 1)[0], at_once=False)
    start(house)
    put(house, "j", method())
    await until(lambda: device.asked)
    house.hub.reset()
    await asyncio.sleep(0)
    assert house.hub.jobs.find("j") is None
    assert not house.hub.job_runner._runs
    assert house.hub.store.db.execute("SELECT COUNT(*) FROM job_device").fetchone() == (0,)
    house.register("d000")
    put(house, "j", update())
    await carried_out(house)
    assert counts(house, "j") == (1, 1, 0, 0, 0)
