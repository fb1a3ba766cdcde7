"""A car that drives by itself: its bus is heard, its rows wait to be taken, and a bus that breaks comes back."""

import math
import threading
from dataclasses import replace
from itertools import islice

import pytest
from simulator_car import livebus
from simulator_car.livebus import LiveBus
from simulator_car.reading import Reading
from simulator_car.settings import Settings

from iotedge_lab.car import drives
from iotedge_lab.car.can.buses import open_bus
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.errors import EnvironmentProblem, LabError, UsageError

PATIENCE = 30.0


@pytest.fixture(scope="module")
def drive():
    """The first 12 s of a shipped drive."""
    return list(islice(drives.rows(drives.drive_path("city-01")), 121))


@pytest.fixture(scope="module")
def sent(drive):
    """Its frames."""
    return list(frames(drive))


@pytest.fixture(scope="module")
def halves(sent):
    """Its frames up to 6.5 s, which make seven rows, and the rest of them, which make six."""
    return [frame for frame in sent if frame.time <= 6.5], [frame for frame in sent if frame.time > 6.5]


class Listening:
    """A live bus, a car's end of it, and what was taken."""

    def __init__(self, private, **settings):
        options = {name: settings.pop(name) for name in ("most", "clock") if name in settings}
        self.news = threading.Condition()
        self.settings = replace(Settings(), source="can", bus="unix:bus/car-1", **settings)
        self.car = open_bus(f"unix:{private}/bus/car-1", preserve_timestamps=True)
        self.feed = LiveBus(self.settings, private, self.wake, **options)
        self.taken = []

    def wake(self):
        with self.news:
            self.news.notify_all()

    def drive(self, frames):
        for frame in frames:
            self.car.send(frame.message(1e9 + frame.time), 5.0)

    def take(self, count):
        """Take readings until there are so many."""

        def enough():
            while isinstance(got := self.feed.take(0.0), Reading):
                self.taken.append(got)
            return len(self.taken) >= count

        with self.news:
            assert self.news.wait_for(enough, PATIENCE), f"{len(self.taken)} of {count}"
        return self.taken

    def until(self, condition):
        """Wait until the feed's progress fulfils a condition."""
        end = threading.Event()
        for _ in range(int(PATIENCE / 0.02)):
            if condition(self.feed.progress(0.0)):
                return
            end.wait(0.02)
        raise AssertionError(self.feed.progress(0.0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.feed.close()
        self.car.shutdown()


def test_rows_of_a_bus(private, drive, sent, halves):
    """One a second of the car's time, as they were sent; numbered within the trip, and trips are laps."""
    with Listening(private) as bus:
        bus.drive(sent)
        found = bus.take(13)
        assert [each.row for each in found] == drive[::10]
        assert [(each.lap, each.number) for each in found] == [(1, n) for n in range(1, 14)]
        assert not any(each.stale for each in found)
        assert bus.feed.progress(0.0) == {
            "waiting": 0, "dropped": 0, "skipped": 0, "frames": len(sent), "unknownFrames": 0, "badFrames": 0,
            "lostFrames": 0, "silentSeconds": 0, "trouble": None,
        }  # fmt: skip
        bus.drive(halves[0])
        assert [(each.lap, each.number) for each in bus.take(20)[13:]] == [(2, n) for n in range(1, 8)]
        assert bus.feed.take(0.0) == math.inf


def test_further_signals_and_silent_units(private, halves):
    """Signals of the DBC go along; where their unit falls silent the row says that it is stale."""
    with Listening(private, signals=("EngineCounter",)) as bus:
        bus.drive(halves[0])
        bus.drive(frame for frame in halves[1] if frame.arbitration_id != 165)
        found = bus.take(13)
        assert all(0 <= each.extras["EngineCounter"] <= 255 for each in found)
        assert [each.stale for each in found] == [False] * 7 + [True] * 6


def test_the_rate_may_change_on_the_way(private, drive, halves):
    """Ten rows a second from the next frame on, on the same bus."""
    with Listening(private) as bus:
        bus.drive(halves[0])
        bus.until(lambda progress: progress["frames"] == len(halves[0]))
        bus.feed.set_rate(10.0)
        bus.drive(halves[1])
        found = [each.row for each in bus.take(63)]
        assert found[:7] == drive[:61:10]
        assert found[7].seconds == 6.52  # overdue at the new rate: with the next tick of the car's clock
        assert found[8:] == drive[66:]


def test_there_is_no_speed_to_set(private):
    """The car drives at its own."""
    with Listening(private) as bus:
        assert bus.feed.speed == 1.0
        with pytest.raises(UsageError, match="own speed"):
            bus.feed.set_speed(2.0, 0.0)


def test_a_pause_leaves_rows_out(private, drive, halves):
    """The car drives on; its rows are counted and not kept until it is resumed."""
    with Listening(private) as bus:
        bus.feed.pause()
        assert bus.feed.paused
        bus.drive(halves[0])
        bus.until(lambda progress: progress["skipped"] == 7)
        bus.feed.resume(0.0)
        bus.drive(halves[1])
        assert [each.row for each in bus.take(6)] == drive[70::10]
        assert bus.taken[0].number == 8


def test_what_nobody_takes_is_bounded(private, drive, sent):
    """Beyond so many the oldest rows are dropped and counted."""
    with Listening(private, most=5) as bus:
        bus.drive(sent)
        bus.until(lambda progress: progress["dropped"] == 8)
        assert bus.feed.progress(0.0)["waiting"] == 5
        assert [each.row for each in bus.take(5)] == drive[80::10]


def test_a_silent_bus_is_told(private, caplog, sent):
    """Once, with the question whether there is a car; when it comes, all is well again."""
    time = [0.0]
    with Listening(private, clock=lambda: time[0]) as bus:
        time[0] = 60.0
        for _ in range(500):
            if "is a car on this bus?" in caplog.text:
                break
            threading.Event().wait(0.02)
        assert caplog.text.count("is a car on this bus?") == 1
        assert bus.feed.progress(60.0)["silentSeconds"] == 60
        bus.drive(sent[:200])
        bus.until(lambda progress: progress["silentSeconds"] == 0)


def test_a_bus_that_breaks_is_opened_again(private, monkeypatch, drive, sent):
    """What the interface raises ends nothing: the bus is opened again, as often as it takes."""
    monkeypatch.setattr(livebus, "REOPEN", 0.01)
    attempts = []

    def reopen(address):
        attempts.append(address)
        if len(attempts) < 3:
            raise EnvironmentProblem("not yet")
        return open_bus(address)

    with Listening(private) as bus:
        monkeypatch.setattr(livebus, "open_bus", reopen)
        bus.feed._bus.shutdown()
        bus.until(lambda _: len(attempts) == 3)
        bus.until(lambda progress: progress["trouble"] is None)
        bus.drive(sent)
        assert [each.row for each in bus.take(13)] == drive[::10]
    assert set(attempts) == {f"unix:{private}/bus/car-1"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bus": ""}, "bus names none"),
        ({"bus": "car-1"}, "is no bus"),
        ({"bus": "usb:1"}, "no kind of bus"),
        ({"bus": "socketcan:nothing9"}, "cannot be opened"),
        ({"bus": "udp_multicast:239.74.163.2"}, "whole network"),
        ({"dbc": "none.dbc"}, "cannot be read"),
        ({"signals": ("Radio",)}, "no signal Radio"),
        ({"rate": 51.0}, "to 50 rows a second"),
    ],
)
def test_a_bus_that_cannot_be_had(private, settings, words):
    """Said at once, with what to do."""
    with pytest.raises(LabError, match=words):
        LiveBus(replace(Settings(source="can", bus="unix:car-1"), **settings), private, lambda: None)
