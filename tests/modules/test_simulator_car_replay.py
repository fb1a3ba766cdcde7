"""The beat, and recordings that are replayed by it: rows of a car.csv, a car.csv by its own time, a log of a bus."""

import math
from dataclasses import replace
from itertools import islice

import pytest
from simulator_car.feeds import open_feed, prepare
from simulator_car.pace import Pace
from simulator_car.reading import Reading
from simulator_car.replay import Recorded, Replay, load
from simulator_car.settings import Settings

from iotedge_lab.car import drives
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.car.can.log import write_log
from iotedge_lab.car.rows import HEADER, CarRow
from iotedge_lab.errors import DataError, LabError, UsageError

ROW = CarRow("t", 0.0, 30.0, -97.0, 0.0, 10.0, 0.0, 10.0, 1000.0, 0.0, 0.0)


def beats(pace, begin, end, step=0.01):
    """The times at which a caller who looks each `step` takes a beat."""
    taken = []
    for tick in range(round((end - begin) / step) + 1):
        now = begin + tick * step
        if pace.wait(now) <= 1e-9:
            pace.beat(now)
            taken.append(round(now, 2))
    return taken


def test_an_even_beat():
    """The first is due at once, then so many a second."""
    pace = Pace(2.0, 100.0)
    assert beats(pace, 100.0, 102.2) == [100.0, 100.5, 101.0, 101.5, 102.0]
    assert pace.wait(102.3) == pytest.approx(0.2)


def test_the_first_beat_begins_the_time():
    """A drive that had to wait for its edge hub does not hurry after its first row."""
    assert beats(Pace(2.0, 0.0), 0.7, 2.0) == [0.7, 1.2, 1.7]


def test_a_little_late_is_caught_up_with():
    """Late by less than a second: the beats that were missed follow at once, and the average is right."""
    pace = Pace(10.0, 0.0)
    assert len(beats(pace, 0.0, 0.95)) == 10
    assert beats(pace, 1.5, 2.0) == [round(1.5 + n * 0.01, 2) for n in range(6)] + [1.6, 1.7, 1.8, 1.9, 2.0]


def test_a_long_wait_is_given_up():
    """After an outage the beat goes on from there: one row at once, the next a beat later."""
    pace = Pace(10.0, 0.0)
    beats(pace, 0.0, 0.5)
    assert beats(pace, 60.0, 60.3) == [60.0, 60.1, 60.2, 60.3]


@pytest.mark.parametrize(
    ("rate", "at", "expected"),
    [
        (10.0, 0.3, [0.3, 0.4, 0.5]),  # overdue at the new rate: now
        (4.0, 0.1, [0.25, 0.5, 0.75]),
        (0.5, 0.5, [2.0, 4.0]),  # the long beat counts from the last one
    ],
)
def test_another_rate_counts_from_the_last_beat(rate, at, expected):
    """A change takes effect at once, without a burst and without a gap."""
    pace = Pace(1.0, 0.0)
    assert beats(pace, 0.0, 0.05) == [0.0]
    pace.change(rate, at)
    assert beats(pace, at, expected[-1]) == expected


def test_another_rate_before_the_first_beat():
    """The first is still due at once."""
    pace = Pace(0.1, 5.0)
    pace.change(10.0, 5.5)
    assert pace.wait(5.5) == 0.0


def test_a_pause():
    """Nothing is due; afterwards the beat goes on, no sooner than it was due and not in a burst."""
    pace = Pace(1.0, 0.0)
    assert beats(pace, 0.0, 0.2) == [0.0]
    pace.pause()
    assert pace.paused
    assert pace.wait(10.0) == math.inf
    pace.resume(0.5)
    assert pace.wait(0.5) == 0.5
    pace.pause()
    pace.resume(20.0)
    pace.resume(20.5)
    assert beats(pace, 20.0, 22.0) == [20.0, 21.0, 22.0]


def recorded(count=3, step=1.0):
    return [Recorded(replace(ROW, seconds=n * step, speed=float(n))) for n in range(count)]


def taken(replay, now, count):
    """So many readings, taking each as soon as it is due; and the time of the last."""
    found = []
    while len(found) < count:
        got = replay.take(now)
        if isinstance(got, Reading):
            found.append(got)
        else:
            now += got
    return found, now


def test_after_the_last_row_comes_the_first():
    """Rows are numbered within the lap, and laps are counted; the time between laps is a beat as any other."""
    replay = Replay(recorded(), 2.0, 10.0)
    found, now = taken(replay, 10.0, 7)
    assert [(each.lap, each.number) for each in found] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1),
    ]  # fmt: skip
    assert [each.row.speed for each in found] == [0, 1, 2, 0, 1, 2, 0]
    assert now == pytest.approx(13.0)
    assert replay.progress(now) == {"rows": 3}
    replay.close()


def test_the_speed_of_the_replay():
    """Ten times the speed, a tenth of the time; it stays when the rate changes."""
    replay = Replay(recorded(), 1.0, 0.0)
    taken(replay, 0.0, 1)
    replay.set_speed(10.0, 0.5)
    assert taken(replay, 0.5, 3)[1] == pytest.approx(0.7)
    replay.set_rate(2.0, 0.7)
    assert replay.speed == 10.0
    assert taken(replay, 0.7, 2)[1] == pytest.approx(0.8)


@pytest.mark.parametrize("speed", [0.0, -1.0, 1001.0, math.nan])
def test_speeds_that_cannot_be(speed):
    """Standing still for ever and a thousandfold are refused; the old speed stays."""
    replay = Replay(recorded(), 1.0, 0.0)
    with pytest.raises(UsageError, match=r"from 0\.01 to 1000"):
        replay.set_speed(speed, 0.0)
    assert replay.speed == 1.0


@pytest.mark.parametrize(
    ("before", "number", "lap", "speed"),
    [(4, 8, 1, 3.5), (9, 18, 1, 8.5), (10, 1, 2, 0.0), (0, 1, 1, 0.0)],
)
def test_the_same_drive_at_another_rate_goes_on_where_it_was(before, number, lap, speed):
    """What was sent is not sent again; a drive that was at its end begins the next lap."""
    replay = Replay(recorded(10), 1.0, 0.0)
    taken(replay, 0.0, before)
    finer = [Recorded(replace(ROW, seconds=n / 2, speed=n / 2)) for n in range(19)]
    replay.set_rate(2.0, 100.0, finer)
    got = replay.take(100.0)
    assert (got.number, got.lap, got.row.speed) == (number, lap, speed)


def test_at_a_coarser_rate_the_rest_may_be_none():
    """Where no row of the new grid lies behind the last one sent, the next lap begins."""
    replay = Replay(recorded(10), 1.0, 0.0)
    taken(replay, 0.0, 9)
    replay.set_rate(0.2, 100.0, [Recorded(replace(ROW, seconds=s)) for s in (0.0, 5.0)])
    got = replay.take(100.0)
    assert (got.number, got.lap) == (1, 2)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path.name


def test_the_shipped_recording(folder):
    """All rows of data/car.csv as they are, the header skipped."""
    assert [each.row for each in load(Settings(), folder)] == list(drives.rows(drives.car_csv()))


def test_a_recording_by_its_own_time(folder):
    """Resampled, `rate` says how many rows each second of the drive has."""
    rows = load(replace(Settings(), resample=True, rate=2.0), folder)
    assert len(rows) == 684
    assert rows[1].row.seconds - rows[0].row.seconds == pytest.approx(0.5)


def test_a_file_of_ones_own(tmp_path):
    """With semicolons, decimal commas and a mark at its beginning it is read as any car.csv."""
    line = ROW.to_csv_line().replace(",", ";").replace(".", ",")
    written(tmp_path / "mine.csv", "\ufeff" + HEADER.replace(",", ";") + "\n" + line + "\n")
    assert load(replace(Settings(), file="mine.csv"), tmp_path)[0].row == ROW


BROKEN = {
    "missing": (None, "does not exist"),
    "empty": ("", "is empty"),
    "no rows": (HEADER + "\n", "no rows"),
    "text in a number": (f"{HEADER}\n{ROW.to_csv_line()}\n{ROW.to_csv_line().replace('1000', 'x')}\n", "line 3"),
    "no column": ("a,b\n1,2\n", "no header"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_files_that_are_no_recording(tmp_path, text, words):
    """Each is refused before the first row is sent, however late its fault comes."""
    if text is not None:
        written(tmp_path / "car.csv", text)
    with pytest.raises(DataError, match=words):
        load(replace(Settings(), file="car.csv"), tmp_path)


def test_two_drives_in_one_file(tmp_path):
    """Row by row they are replayed as they are; by their own time they cannot be."""
    lines = [replace(ROW, seconds=s).to_csv_line() for s in (0.0, 1.0, 0.0)]
    written(tmp_path / "car.csv", "\n".join([HEADER, *lines]))
    assert len(load(replace(Settings(), file="car.csv"), tmp_path)) == 3
    with pytest.raises(DataError, match="several drives"):
        load(replace(Settings(), file="car.csv", resample=True), tmp_path)


@pytest.fixture(scope="module")
def drive():
    """The first 20 s of a shipped drive."""
    return list(islice(drives.rows(drives.drive_path("city-01")), 201))


@pytest.fixture
def log(tmp_path, drive):
    """That drive's frames in a BLF."""
    write_log(tmp_path / "drive.blf", frames(drive))
    return replace(Settings(), source="can", bus="log:drive.blf")


def test_a_log_of_a_bus(tmp_path, drive, log):
    """A BLF gives the drive's rows, one a second of the car's time or as many as asked for."""
    assert [each.row for each in load(log, tmp_path)] == drive[::10]
    assert [each.row for each in load(replace(log, rate=10.0), tmp_path)] == drive


def test_further_signals_of_a_log(tmp_path, log):
    """What the DBC has besides the columns goes along; what the car does not tell is None."""
    rows = load(replace(log, signals=("EngineCounter", "Gear")), tmp_path)
    assert set(rows[5].extras) == {"EngineCounter", "Gear"}
    assert 0 <= rows[5].extras["EngineCounter"] <= 255
    assert rows[5].extras["Gear"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bus": "log:none.blf"}, "no log"),
        ({"bus": "log:car.txt"}, "cannot be read as a log"),
        ({"signals": ("Radio",)}, "no signal Radio; it has EngineCounter, EngineSpeed"),
        ({"rate": 80.0}, "to 50 rows a second"),
        ({"dbc": "none.dbc"}, "cannot be read"),
    ],
)
def test_logs_that_cannot_be_replayed(tmp_path, log, change, words):
    """No file, no log, a DBC that lacks something, a rate that the bus does not have."""
    written(tmp_path / "car.txt", "nothing")
    with pytest.raises(LabError, match=words):
        load(replace(log, **change), tmp_path)


def test_a_log_of_another_car(tmp_path, drive, log):
    """Frames of which this DBC knows too few make no row, and that is said."""
    write_log(tmp_path / "drive.blf", [frame for frame in frames(drive) if frame.arbitration_id != 752])
    with pytest.raises(DataError, match="Latitude, Longitude missing"):
        load(log, tmp_path)


def changed_feed(feed, before, after, folder, now=1.0):
    return prepare(feed, before, after, folder=folder, wake=lambda: None, now=now)(now)


def test_changes_keep_what_they_can(folder, tmp_path):
    """Another rate goes on with the drive; another file begins anew, at the speed of before, paused if it was."""
    settings = Settings()
    feed = open_feed(settings, folder, lambda: None, 0.0)
    taken(feed, 0.0, 3)
    assert changed_feed(feed, settings, replace(settings, format="json"), folder) is feed
    assert changed_feed(feed, settings, replace(settings, rate=10.0), folder) is feed
    assert taken(feed, 1.0, 1)[0][0].number == 4
    feed.set_speed(5.0, 1.0)
    feed.pause()
    written(tmp_path / "car.csv", f"{HEADER}\n{ROW.to_csv_line()}\n")
    other = changed_feed(feed, settings, replace(settings, file=str(tmp_path / "car.csv")), folder)
    assert other is not feed
    assert (other.speed, other.paused) == (5.0, True)
    other.resume(2.0)
    assert taken(other, 2.0, 1)[0][0].row == ROW


def test_a_resampled_drive_goes_on_at_another_rate(folder):
    """The moment of the drive is kept, not the number of the row."""
    settings = replace(Settings(), resample=True)
    feed = open_feed(settings, folder, lambda: None, 0.0)
    last = taken(feed, 0.0, 30)[0][-1].row.seconds
    assert changed_feed(feed, settings, replace(settings, rate=10.0), folder, 50.0) is feed
    assert taken(feed, 50.0, 1)[0][0].row.seconds == pytest.approx(last + 0.1)
