"""From events to batches, without a hub: places in a log, logs that change, and what stands in the way of reading."""

import asyncio
import gc
import warnings
from types import SimpleNamespace

import pytest
from lake_cases import LOG, ROW, keys, send

from iotedge_lab.clock import SystemClock
from iotedge_lab.errors import ConnectionStringError, EnvironmentProblem
from iotedge_lab.lake import endpoint
from iotedge_lab.lake.endpoint import Ends, LogFacts, Reader
from iotedge_lab.lake.engine import Engine
from iotedge_lab.lake.place import CaptureSettings, LakePlace
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.status import Meter
from iotedge_lab.lake.tables import Tables


def events(first, last):
    """As azure-eventhub gives them."""
    return [
        SimpleNamespace(
            sequence_number=number,
            system_properties={
                b"x-opt-enqueued-time": 1_772_438_400_000,
                b"iothub-connection-device-id": b"d",
            },
            properties=None,
            body=iter([ROW.to_csv_line().encode()]),
        )
        for number in range(first, last + 1)
    ]


class Running:
    """An engine whose reader never gets anything; messages are given to it by hand."""

    def __init__(self, lake, **settings):
        self.place = LakePlace.of(lake)
        self.engine = Engine(
            CaptureSettings("Endpoint=sb://127.0.0.1:1/", self.place, **{"seconds": 0.05, **settings}),
            Tables(self.place),
            SystemClock(),
        )
        self.stop = asyncio.Event()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.engine.run(self.stop))
        return self.engine

    async def __aexit__(self, *_):
        self.stop.set()
        await self.task


@pytest.fixture(autouse=True)
def _no_endpoint(request, monkeypatch):
    """The engine's own reader waits."""
    if "hub" not in request.fixturenames:
        monkeypatch.setattr(Reader, "run", lambda _: asyncio.Event().wait())


def facts(log=LOG, empty=(), **last):
    return LogFacts(log, Ends({name[1:]: end for name, end in last.items()}, frozenset(empty)))


def found(lake):
    return keys(Lake(lake).frame())


async def test_a_restart_goes_on_where_the_tables_are(tmp_path):
    """Also within one process, where the endpoint is opened again at an older place."""
    async with Running(tmp_path) as engine:
        assert await engine.begin(facts(p1=9)) == {"1": -1}
        await engine.take("1", events(0, 9))
        assert await engine.begin(facts(p1=12)) == {"1": 9}
        await engine.take("1", events(5, 12))
    async with Running(tmp_path) as engine:
        assert await engine.begin(facts(p1=12, p0=-1)) == {"1": 12, "0": -1}
        assert engine.missed == 0
    assert found(tmp_path) == [(LOG, 1, number) for number in range(13)]


async def test_a_log_that_went_back(tmp_path):
    """Numbers that are given again are other messages, also after a crash before the first of them was written."""
    async with Running(tmp_path) as engine:
        await engine.begin(facts(p1=9))
        await engine.take("1", events(0, 9))
    async with Running(tmp_path) as engine:
        assert await engine.begin(facts(p1=6)) == {"1": 6}
    async with Running(tmp_path) as engine:
        assert await engine.begin(facts(p1=20)) == {"1": 6}
        await engine.take("1", events(7, 20))
        assert engine.report()["partitions"]["1"].log == f"{LOG}~2"
        assert await engine.begin(facts(p1=20)) == {"1": 20}
        assert await engine.begin(facts(p1=10)) == {"1": 10}
        await engine.take("1", events(11, 11))
    wanted = [(LOG, number) for number in range(10)]
    wanted += [(f"{LOG}~2", number) for number in range(7, 21)] + [(f"{LOG}~3", 11)]
    assert sorted((log, number) for log, _, number in found(tmp_path)) == wanted


async def test_another_log_is_told_apart(tmp_path):
    """What was taken of the old one is written as its own, though not yet when the new one begins."""
    async with Running(tmp_path, seconds=30) as engine:
        await engine.begin(facts(p1=4))
        await engine.take("1", events(0, 4))
        assert await engine.begin(facts("log@2", p1=2)) == {"1": -1}
        await engine.take("1", events(0, 2))
        assert await engine.begin(facts(p1=4)) == {"1": 4}
    assert sorted(found(tmp_path)) == [
        *((LOG, 1, number) for number in range(5)),
        *(("log@2", 1, number) for number in range(3)),
    ]


async def test_what_is_gone_is_counted_and_not_waited_for(tmp_path):
    """By age, or by a reset of the hub."""
    async with Running(tmp_path) as engine:
        await engine.begin(facts(p1=200))
        assert engine.ends(Ends({"1": 200})) == {"1"}
        await engine.take("1", events(100, 104))  # the first ever: nobody promised the ones before
        await engine.take("1", events(110, 111))
        assert engine.missed == 5
        assert engine.ends(Ends({"1": 200}, frozenset({"1"}))) == set()
        assert engine.ends(Ends({"1": 111})) == set()
        await engine._drained()
        assert engine.report()["partitions"]["1"].stored == 111


async def test_reading_waits_for_the_tables(tmp_path, monkeypatch):
    """No more than two batches are in memory, however slow the disk is."""
    gate = asyncio.Event()
    running = Running(tmp_path, rows=10, seconds=30)
    original = Engine._on_thread

    async def slow(self, work, *arguments):
        await gate.wait()
        return await original(self, work, *arguments)

    monkeypatch.setattr(Engine, "_on_thread", slow)
    async with running as engine:
        await engine.begin(facts(p1=99))
        taking = asyncio.create_task(engine.take("1", events(0, 99)))
        for _ in range(200):  # turns of the loop, more than all messages would need
            await asyncio.sleep(0)
        assert engine._places["1"] == 19
        assert not taking.done()
        gate.set()
        await taking
    assert len(found(tmp_path)) == 100
    assert Lake(tmp_path).version() >= 10


async def test_what_the_tables_raise_ends_it(tmp_path, monkeypatch):
    """With its own words, and messages that were not written are read again the next time."""
    running = Running(tmp_path)

    def full(_):
        raise EnvironmentProblem("The disk is full.")

    monkeypatch.setattr(running.engine._tables, "write", full)
    task = asyncio.create_task(running.engine.run(running.stop))
    await running.engine.begin(facts(p1=0))
    await running.engine.take("1", events(0, 0))
    with pytest.raises(EnvironmentProblem, match="full"):
        await asyncio.wait_for(task, 60)


class Listening:
    """A sink that only hears what stands in the way."""

    def __init__(self):
        self.word = asyncio.get_running_loop().create_future()

    async def begin(self, told):
        return dict.fromkeys(told.ends.last, -1)

    async def take(self, partition, events):
        """Nothing is kept."""

    def ends(self, ends):
        return set(ends.last) - ends.empty

    def retrying(self, word):
        if not self.word.done():
            self.word.set_result(word)


async def hindrance(connection_string, **settings):
    """The word that a reader says first."""
    sink = Listening()
    place = LakePlace("nowhere")
    reading = asyncio.create_task(Reader(CaptureSettings(connection_string, place, **settings), sink).run())
    try:
        done, _ = await asyncio.wait({reading, sink.word}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert done, "the reader said nothing"
        return reading.result() if reading in done else sink.word.result()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_what_stands_in_the_way_is_said(hub, device, monkeypatch):
    """A wrong key, a consumer group that is not there, no hub, a string that is none; and never the key."""
    monkeypatch.setattr(endpoint, "_LOOK", 0.2)
    send(hub, device(), b"one")
    good = hub.events_connection_string
    key = good.partition("SharedAccessKey=")[2].partition(";")[0]
    wrong, none, nobodys = await asyncio.gather(
        hindrance(good.replace(key, "AAAA" + key)),
        hindrance(good.replace(f":{hub._told.plain_amqp_port}", ":9")),
        hindrance(good, group="nobodys"),
    )
    assert "refuses the connection string" in wrong
    assert key not in wrong
    assert "does not answer" in none
    assert "Make the consumer group 'nobodys' again" in nobodys
    with pytest.raises(ConnectionStringError, match="cannot be used"):
        await hindrance("Endpoint=nothing")
    with warnings.catch_warnings():
        # azure-eventhub forgets the socket of a connection that it was refused.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_lag_and_rate():
    """Shares of what was written in the last minute."""
    meter = Meter(0.0)
    assert (meter.lag(1.0), meter.rate(1.0)) == (None, 0.0)
    meter.add(10.0, [(0.5, 98), (1.0, 1), (3.0, 1)])
    told = meter.lag(10.0)
    assert (told.p50, told.p99, told.most) == (0.51, 1.01, 3.01)
    assert meter.rate(10.0) == 10.0
    assert meter.lag(71.0) is None
