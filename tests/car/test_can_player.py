"""A car drives on a bus in its own time, and its frames go into log files and come back."""

import errno
import time
from datetime import datetime
from itertools import islice, pairwise

import can
import pytest

from iotedge_lab.car import drives
from iotedge_lab.car.can.buses import open_bus
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.car.can.frame import Frame
from iotedge_lab.car.can.log import read_log, record_log, write_log
from iotedge_lab.car.can.player import CarOnBus
from iotedge_lab.car.can.reader import Reader
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import DataError, UsageError


class Wire:
    """Keeps what is sent, with the clock's time; each send takes `cost` seconds."""

    def __init__(self, clock, cost=0.0):
        self.clock = clock
        self.cost = cost
        self.sent = []
        self.full = 0

    def send(self, message, timeout=None):
        if self.full:
            self.full -= 1
            raise can.CanOperationError("full", errno.ENOBUFS)
        self.clock.advance(self.cost)
        self.sent.append((self.clock.monotonic(), message))


@pytest.fixture(scope="module")
def rows():
    return list(islice(drives.rows(drives.drive_path("suburban-02")), 101))


@pytest.fixture(scope="module")
def sent(rows):
    return list(frames(rows))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.mark.parametrize("speedup", [0.1, 1.0, 20.0])
def test_frames_are_sent_when_they_are_due(rows, sent, clock, speedup):
    """Each frame goes at its moment, scaled; the car sleeps between, no more often than frames are due."""
    naps = []
    wire = Wire(clock)
    begin = clock.monotonic()
    car = CarOnBus(rows, wire, speedup, clock=clock, sleep=lambda s: (naps.append(s), clock.advance(s)))
    assert car.run() == car.sent == len(sent)
    assert [Frame.of(message, each.time) for (_, message), each in zip(wire.sent, sent, strict=True)] == sent
    for (moment, message), each in zip(wire.sent, sent, strict=True):
        assert moment - begin == pytest.approx(each.time / speedup, abs=0.0011)
        assert message.timestamp == pytest.approx(moment)
    assert len(naps) <= 1000
    assert min(naps) >= 0.001
    assert sum(naps) == pytest.approx(10.0 / speedup, abs=0.0011)
    assert (car.position, car.laps, car.unsent) == (10.0, 1, 0)


def test_a_slow_bus_is_caught_up_with(rows, sent, clock):
    """What sending costs is taken off the sleep, so the car does not fall behind."""
    wire = Wire(clock, cost=0.0005)
    begin = clock.monotonic()
    car = CarOnBus(rows, wire, clock=clock, sleep=clock.advance)
    car.run()
    assert wire.sent[-1][0] - begin == pytest.approx(10.0, abs=0.02)
    assert car.slipped == 0.0


def test_after_a_long_pause_it_goes_on_from_there(rows, clock):
    """A closed laptop does not make the car send an hour at once."""
    naps = 0

    def sleep(seconds):
        nonlocal naps
        naps += 1
        clock.advance(3600.0 if naps == 100 else seconds)

    wire = Wire(clock)
    car = CarOnBus(rows, wire, clock=clock, sleep=sleep)
    car.run()
    assert car.slipped == pytest.approx(3600.0, abs=0.1)
    late = [moment for moment, _ in wire.sent if moment > wire.sent[0][0] + 3600.0]
    assert late[-1] - late[0] == pytest.approx(9.0, abs=0.1)


def test_the_speed_may_change_on_the_way(rows, clock):
    """Twice the speed from the middle on: the second half takes half the time."""
    wire = Wire(clock)
    begin = clock.monotonic()

    def sleep(seconds):
        clock.advance(seconds)
        if car.position >= 5.0:
            car.speedup = 2.0

    car = CarOnBus(rows, wire, clock=clock, sleep=sleep)
    car.run()
    assert wire.sent[-1][0] - begin == pytest.approx(7.5, abs=0.02)


@pytest.mark.parametrize("speedup", [0.0, -1.0, 1e6, float("nan")])
def test_speeds_that_cannot_be(rows, clock, speedup):
    """A replay stands for ever or goes beyond reason: refused."""
    with pytest.raises(UsageError, match="speed"):
        CarOnBus(rows, Wire(clock), speedup)


def test_in_a_loop_it_begins_anew(rows, clock):
    """At the end the drive starts again as another trip; no frame counter breaks; `stop` ends it."""
    wire = Wire(clock)
    reader = Reader(hz=10)

    def sleep(seconds):
        clock.advance(seconds)
        if car.laps == 3:
            car.stop()

    car = CarOnBus(rows, wire, loop=True, clock=clock, sleep=sleep)
    car.run()
    got = [sample.row for _, message in wire.sent if (sample := reader.feed(message)) is not None]
    assert got[: 3 * len(rows)] == rows * 3
    assert (reader.counts.trips, reader.counts.lost) == (3, 0)
    assert all(after - before < 0.02 for (before, _), (after, _) in pairwise(wire.sent))


def test_what_cannot_be_sent_is_said(clock):
    """No rows, or a loop over what can be read once."""
    with pytest.raises(UsageError, match="no rows"):
        CarOnBus([], Wire(clock)).run()
    with pytest.raises(UsageError, match="loop"):
        CarOnBus(iter([]), Wire(clock), loop=True)


def test_a_full_bus_costs_frames_and_no_more(rows, sent, clock):
    """Frames that the bus does not take are counted; a closed bus ends the drive with its error."""
    wire = Wire(clock)
    wire.full = 7
    car = CarOnBus(rows, wire, clock=clock, sleep=clock.advance)
    car.run()
    assert (car.unsent, car.sent) == (7, len(sent) - 7)
    bus = open_bus("virtual:closed")
    bus.shutdown()
    with pytest.raises(can.CanOperationError, match="closed"), CarOnBus(rows, bus) as car:
        car.join(5.0)


def test_a_simulated_car_drives_on_a_real_bus(tmp_path):
    """The physics, a thread, a unix socket and the reader together: rows with the simulated values, in order."""
    motion = simulate(3, "city", 20.0)
    address = f"unix:{tmp_path}/car"
    start = datetime.fromisoformat("2026-03-01 10:00:00")
    wanted = list(Reader(hz=5).rows(frames(motion, start=start)))
    with open_bus(address) as wire, open_bus(address) as ear:
        car = CarOnBus(motion, wire, 20.0, start=start)
        reader = Reader(hz=5)
        with car:
            end = time.monotonic() + 20.0
            heard = reader.samples(ear, stop=lambda: time.monotonic() > end)
            samples = list(islice(heard, len(wanted)))
            assert car.join(10.0)
        assert [sample.row for sample in samples] == wanted
        assert not any(sample.stale for sample in samples)
        assert reader.counts.lost == reader.counts.unknown == car.unsent == 0
    assert len(wanted) == 101
    assert "20.0 s" in repr(car)


def test_a_car_drives_once(rows, clock):
    """One object is one drive."""
    with CarOnBus(rows, Wire(clock), clock=clock, sleep=clock.advance) as car, pytest.raises(UsageError):
        car.start()


@pytest.mark.parametrize("ending", ["blf", "asc", "log", "csv"])
def test_a_log_gives_the_same_frames(tmp_path, sent, ending):
    """What is written to a log is read from it: times, identifiers, data."""
    place = tmp_path / f"drive.{ending}"
    assert write_log(place, sent) == len(sent)
    got = list(read_log(place))
    assert [each[1:] for each in got] == [each[1:] for each in sent]
    assert [each.time for each in got] == pytest.approx([each.time for each in sent], abs=2e-6)


def test_a_blf_is_exact_and_can_be_replayed(tmp_path, rows, sent, clock):
    """A BLF gives the frames to the digit; sent from it, the drive is read as the drive."""
    place = tmp_path / "drive.blf"
    write_log(place, sent, start=datetime.fromisoformat("2026-03-01 10:00:00.123456+00:00"))
    assert list(read_log(place)) == sent
    assert place.stat().st_size < 60_000
    with open_bus("virtual:replay") as wire, open_bus("virtual:replay") as ear:
        CarOnBus(read_log(place), wire, clock=clock, sleep=clock.advance).run()
        reader = Reader(hz=10)
        got = [sample.row for sample in reader.samples(ear, stop=lambda: reader.counts.frames == len(sent))]
    assert got == rows


def test_a_bus_can_be_recorded(tmp_path, rows, sent, clock):
    """What is heard on a bus goes into a log with its times."""
    place = tmp_path / "heard.blf"
    with (
        open_bus("virtual:tape", preserve_timestamps=True) as wire,
        open_bus("virtual:tape") as ear,
    ):
        CarOnBus(rows, wire, clock=clock, sleep=clock.advance).run()
        silent = iter([False] * len(sent) + [True])
        assert record_log(place, ear, stop=lambda: next(silent)) == len(sent)
    got = list(read_log(place))
    assert [each[1:] for each in got] == [each[1:] for each in sent]
    assert got[-1].time == pytest.approx(10.0, abs=0.002)


def test_logs_that_cannot_be_read_or_written(tmp_path, sent):
    """No file, no log, a torn log, an unknown ending: each says which file and what to do."""
    with pytest.raises(UsageError, match="no log"):
        read_log(tmp_path / "none.blf")
    (tmp_path / "text.blf").write_text("this is no log")
    (tmp_path / "drive.xyz").write_text("nor this")
    for name in ("text.blf", "drive.xyz"):
        with pytest.raises(DataError, match=name):
            list(read_log(tmp_path / name))
    whole = tmp_path / "whole.blf"
    write_log(whole, sent)
    broken = bytearray(whole.read_bytes())
    broken[1000:1100] = bytes(100)
    (tmp_path / "broken.blf").write_bytes(broken)
    with pytest.raises(DataError, match=r"broken\.blf"):
        list(read_log(tmp_path / "broken.blf"))
    with pytest.raises(UsageError, match=r"\.blf"):
        write_log(tmp_path / "drive.xyz", sent)
    with pytest.raises(UsageError, match=r"\.blf"):
        write_log(tmp_path / "nowhere" / "drive.blf", sent)


def test_a_log_that_was_cut_off_gives_what_is_whole(tmp_path, sent):
    """The log of a recorder that was killed holds the frames up to there."""
    whole = tmp_path / "whole.blf"
    write_log(whole, sent)
    torn = tmp_path / "torn.blf"
    torn.write_bytes(whole.read_bytes()[:-2000])
    got = list(read_log(torn))
    assert len(sent) / 2 < len(got) < len(sent)
    assert got == sent[: len(got)]
