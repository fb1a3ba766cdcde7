"""Queries of a hub that goes on meanwhile: pages, what changes with time, threads that end."""

import asyncio
import sqlite3
import threading

import pytest
from asking import everything, page

from iotedge_lab.errors import RequestTimedOut
from iotedge_lab.hub.command_message import Draft
from iotedge_lab.hub.query.queries import MOST
from iotedge_lab.hub.query.reader import Reader


async def test_the_size_of_a_page(house):
    """At most 100 rows, whatever is asked for."""
    for number in range(MOST + 1):
        house.register(f"d{number:03}")
    for count in (MOST, MOST + 1, 10**9):
        assert len((await page(house, "SELECT * FROM devices", count)).items) == MOST
    assert len((await page(house, "SELECT * FROM devices", 0)).items) == 1
    assert len(await everything(house, "SELECT * FROM devices")) == MOST + 1


async def test_twins_that_come_and_go_between_pages(house):
    """A page begins behind the last row of the one before, also when that has gone meanwhile."""
    for name in "bdfh":
        house.register(name)
    text = "SELECT deviceId FROM devices"
    first = await page(house, text, 2)
    house.hub.identities.delete("d", "", None)
    house.hub.identities.delete("b", "", None)
    for name in "ae":
        house.register(name)
    second = await page(house, text, 2, first.continuation)
    assert [row["deviceId"] for row in (*first.items, *second.items)] == ["b", "d", "e", "f"]


# -- what changes with time ----------------------------------------------------------------------------


async def test_who_is_connected(house):
    """connectionState and lastActivityTime are those of the moment, for modules too."""
    for device in "abc":
        house.register(device)
    house.register("c", "m")
    house.connected("a")
    wire = house.connected("c", "m")
    text = (
        "SELECT deviceId, connectionState, lastActivityTime FROM devices WHERE connectionState = 'Connected'"
    )
    (row,) = await everything(house, text)
    assert (row["deviceId"], row["connectionState"]) == ("a", "Connected")
    since = row["lastActivityTime"]
    assert [row["deviceId"] for row in await everything(
        house, f"SELECT deviceId FROM devices WHERE lastActivityTime >= '{since}'"
    )] == ["a"]  # fmt: skip
    modules = "SELECT moduleId FROM devices.modules WHERE connectionState = 'Connected'"
    assert await everything(house, modules) == [{"moduleId": "m"}]
    wire.front.drop("gone")
    assert await everything(house, modules) == []


async def test_messages_that_wait(house):
    """cloudToDeviceMessageCount counts those that wait now."""
    house.register("a")
    house.register("b")
    house.hub.commands.send(Draft("b", b"x"), lambda _: None)
    house.turns.run()
    text = "SELECT deviceId, cloudToDeviceMessageCount AS n FROM devices WHERE cloudToDeviceMessageCount > 0"
    assert await everything(house, text) == [{"deviceId": "b", "n": 1}]
    house.clock.advance(3 * 3600)
    assert await everything(house, text) == []


async def test_what_was_just_changed(house):
    """A query sees each change that was answered, and no device that is deleted."""
    house.register("a")
    text = "SELECT tags.x FROM devices WHERE tags.x > 0"
    for number in range(1, 4):
        house.hub.twins.patch("a", "", {"tags": {"x": number}}, None)
        assert await everything(house, text) == [{"x": number}]
    house.hub.identities.delete("a", "", None)
    assert await everything(house, text) == []


# -- off the loop --------------------------------------------------------------------------------------


async def test_the_loop_goes_on_meanwhile(house):
    """While a query is being worked on the loop turns, and other queries are answered."""
    house.register("a")
    reader = house.hub.queries._reader
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(_):
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return "done"

    task = asyncio.create_task(reader.run(slow))
    await asyncio.wait_for(begun.wait(), 60)
    assert await everything(house, "SELECT deviceId FROM devices") == [{"deviceId": "a"}]
    assert not task.done()
    go_on.set()
    assert await task == "done"


_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"


async def test_what_takes_too_long_is_ended(house):
    """400024, the search is interrupted, and the thread serves the next one."""
    reader = Reader(house.hub.store.path, seconds=0.2)
    try:
        for _ in range(4):
            with pytest.raises(RequestTimedOut, match=r"longer than 0.2 s"):
                await reader.run(lambda db: db.execute(_ENDLESS).fetchone())
        assert await Reader.run(reader, lambda db: db.execute("SELECT 1").fetchone()) == (1,)
    finally:
        reader.close()


async def test_a_client_that_gives_up(house):
    """A request that is cancelled ends its search."""
    reader = Reader(house.hub.store.path)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(db):
        loop.call_soon_threadsafe(begun.set)
        db.execute(_ENDLESS).fetchone()

    tasks = [asyncio.create_task(reader.run(endless)) for _ in range(5)]  # some have not even begun
    await asyncio.wait_for(begun.wait(), 60)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    reader.close()  # waits for what runs
    reader.close()


async def test_closing_ends_what_runs(house):
    """A hub that stops does not wait for a query."""
    reader = house.hub.queries._reader
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(db):
        loop.call_soon_threadsafe(begun.set)
        return db.execute(_ENDLESS).fetchone()

    task = asyncio.create_task(reader.run(endless))
    await asyncio.wait_for(begun.wait(), 60)
    house.hub.close()
    with pytest.raises(RequestTimedOut):
        await task


async def test_a_connection_of_a_query_cannot_write(house):
    """Whatever a query would be compiled to, it reads."""

    def write(db):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("DELETE FROM identity")
        return True

    assert await house.hub.queries.read(write)
