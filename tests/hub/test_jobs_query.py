"""`SELECT * FROM devices.jobs`: what became of each job on each device."""

import asyncio

import pytest
from asking import everything, page
from house import House
from scheduling import Device, carried_out, method, put, start, until, update

from iotedge_lab.hub.jobs import runner


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A hub that has carried out an update of all, a method of all (`a` listens), and has one that was cancelled."""
    house = House(tmp_path_factory.mktemp("jobs"))
    for name in "abc":
        house.register(name)
    house.register("c", "eye")

    async def jobs():
        Device(house, "a")
        start(house)
        put(house, "tag-all", update())
        await carried_out(house)
        house.clock.advance(100)
        put(house, "call", method())
        await carried_out(house)
        put(house, "eyes", update("FROM devices.modules"))
        await carried_out(house)
        house.clock.advance(100)
        slow = Device(house, "a", at_once=False)
        put(house, "stopped", method("deviceId IN ['a', 'b', 'c']"))
        house.hub.jobs.cancel("stopped")
        slow.answer()
        await carried_out(house)

    asyncio.run(jobs())
    yield house
    house.hub.close()


def found(rows):
    return [f"{row['jobId']} {row['deviceId']}" for row in rows]


DOCUMENTED = (
    "devices.jobs.deviceId = 'a' AND devices.jobs.jobType = 'scheduleUpdateTwin' "
    "AND devices.jobs.status = 'completed' AND devices.jobs.createdTimeUtc > '2016-09-01'"
)
WHERES = [
    # a condition, and the rows
    ("devices.jobs.jobId = 'tag-all'", ["tag-all a", "tag-all b", "tag-all c"]),
    ("jobs.jobId = 'tag-all' AND DeviceId = 'b'", ["tag-all b"]),
    ("devices.jobs.deviceId = 'c'", ["tag-all c", "call c", "eyes c"]),
    ("moduleId = 'eye'", ["eyes c"]), ("NOT IS_DEFINED(moduleId) AND deviceId = 'c'", ["tag-all c", "call c"]),
    (DOCUMENTED, ["tag-all a"]),
    ("status = 'failed'", ["call b", "call c"]), ("status IN ['failed', 'x'] AND deviceId > 'b'", ["call c"]),
    ("error.code = 'DeviceNotOnline'", ["call b", "call c"]), ("IS_DEFINED(error)", ["call b", "call c"]),
    ("outcome.deviceMethodResponse.status = 200", ["call a"]),
    ("outcome.deviceMethodResponse.payload.[[from]] = 'a'", ["call a"]),
    ("createdDateTimeUtc < '2000'", []), ("startTimeUtc >= createdDateTimeUtc AND jobId = 'eyes'", ["eyes c"]),
    ("lastUpdatedDateTimeUtc = endTimeUtc AND jobId = 'tag-all' AND deviceId < 'b'", ["tag-all a"]),
    ("nothing = 1", []), ("jobId.x = 1", []),
    ("STARTSWITH(jobId, 'tag') AND deviceId != 'a'", ["tag-all b", "tag-all c"]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "rows"), WHERES, ids=range(len(WHERES)))
async def test_conditions(fleet, where, rows):
    """Over all properties of the job's document, in any case, with their prefix or without; the page's examples."""
    text = f"SELECT * FROM devices.jobs WHERE {where}"
    assert found(await everything(fleet, text)) == rows
    assert await fleet.hub.queries.count(text) == len(rows)


async def test_a_row(fleet):
    """As the documents show it."""
    (row,) = await everything(fleet, "SELECT * FROM devices.jobs WHERE jobId = 'call' AND deviceId = 'a'")
    assert row == {
        "deviceId": "a",
        "jobId": "call",
        "jobType": "scheduleDeviceMethod",
        "status": "completed",
        "startTimeUtc": "2023-11-14T22:15:00.000000Z",
        "endTimeUtc": "2023-11-14T22:15:00.000000Z",
        "createdDateTimeUtc": "2023-11-14T22:15:00.000000Z",
        "lastUpdatedDateTimeUtc": "2023-11-14T22:15:00.000000Z",
        "outcome": {"deviceMethodResponse": {"status": 200, "payload": {"from": "a"}}},
    }


@pytest.mark.parametrize("count", [1, 2, 3, 100])
async def test_pages(fleet, count):
    """Each row once, in the order of the jobs and devices; the type tells what they are."""
    rows, token = [], None
    while True:
        answer = await page(fleet, "SELECT * FROM devices.jobs", count, token)
        assert answer.kind == "DeviceJob"
        assert len(answer.items) <= count
        rows += answer.items
        token = answer.continuation
        if token is None:
            break
    assert found(rows) == ["tag-all a", "tag-all b", "tag-all c", "call a", "call b", "call c", "eyes c"]


async def test_top(fleet):
    """The first so many, over pages too."""
    rows = await everything(fleet, "SELECT TOP 5 * FROM devices.jobs", 2)
    assert found(rows) == ["tag-all a", "tag-all b", "tag-all c", "call a", "call b"]
    assert await fleet.hub.queries.count("SELECT TOP 5 * FROM devices.jobs") == 5


async def test_twins_show_no_jobs(fleet):
    """They have no property `jobs`, as the documents say."""
    (twin,) = await everything(fleet, "SELECT * FROM devices WHERE deviceId = 'a'")
    assert "jobs" not in twin
    assert await everything(fleet, "SELECT deviceId FROM devices WHERE IS_DEFINED(jobs)") == []


async def test_those_that_a_job_has_not_come_to(house, monkeypatch):
    """Pending while it runs, canceled when it was cancelled."""
    monkeypatch.setattr(runner, "AT_ONCE", 1)
    for name in "ab":
        house.register(name)
    device = Device(house, "a", at_once=False)
    start(house)
    put(house, "j", method())
    await until(lambda: device.asked)
    text = "SELECT * FROM devices.jobs WHERE status = '{}'"
    assert found(await everything(house, text.format("running"))) == ["j a"]
    (row,) = await everything(house, text.format("pending"))
    assert row["deviceId"] == "b"
    assert "endTimeUtc" not in row
    house.hub.jobs.cancel("j")
    (row,) = await everything(house, text.format("canceled"))
    assert (row["deviceId"], "endTimeUtc" in row, "error" in row) == ("b", True, False)
    device.answer()
    await carried_out(house)
    assert found(await everything(house, text.format("completed"))) == ["j a"]
