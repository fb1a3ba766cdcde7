"""CAN Bus Connect: the rows that come out are the values that went in, whatever else is on the bus."""

import random
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import can
import pytest

from iotedge_lab.car import drives
from iotedge_lab.car.can import database
from iotedge_lab.car.can.codec import decimals
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.car.can.frame import Frame
from iotedge_lab.car.can.moments import COLUMN_SIGNALS
from iotedge_lab.car.can.reader import Counts, Reader
from iotedge_lab.car.rows import NUMBERS
from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.errors import UsageError

CAR = database.load()
STEP = {
    name: next(s for m in CAR.messages for s in m.signals if s.name == signal)
    for name, signal in COLUMN_SIGNALS.items()
}


@pytest.fixture(scope="module")
def drive():
    """The first 40 s of a shipped drive."""
    return list(drives.rows(drives.drive_path("city-01")))[:401]


@pytest.fixture(scope="module")
def sent(drive):
    return list(frames(drive))


def fed(reader, some):
    return [sample for each in some if (sample := reader.feed(each)) is not None]


def test_a_whole_drive_comes_out_as_it_went_in():
    """Every row of a shipped drive, sent over the bus and read ten times a second, is the same row."""
    rows = list(drives.rows(drives.drive_path("highway-03")))
    assert len(rows) > 4000
    reader = Reader(hz=10)
    assert list(reader.rows(frames(rows))) == rows
    assert reader.counts == Counts(frames=reader.counts.frames, trips=1, rows=len(rows))


def test_a_recording_with_merged_rows_comes_out_resampled():
    """The irregular recording comes out at 1 Hz as its values on that grid are, to the DBC's resolution."""
    rows = list(drives.rows(drives.car_csv()))
    wanted = list(drives.resample(rows, 1.0))
    got = list(Reader().rows(frames(rows)))
    assert len(got) == len(wanted) == 342
    for one, other in zip(got, wanted, strict=True):
        assert one.seconds == pytest.approx(other.seconds, abs=1e-6)
        for name in NUMBERS[1:]:
            assert abs(getattr(one, name) - getattr(other, name)) <= 0.5 * STEP[name].scale + 1e-9, (
                name,
                one,
            )
    assert got[0].time == rows[0].time


def test_the_physics_come_out_as_the_logger_records_them():
    """A simulated drive over the bus gives the rows that the car's own logger writes."""
    motion = simulate(5, "suburban", 60.0)
    start = datetime.fromisoformat("2026-03-01 10:00:00")
    assert list(Reader(hz=10).rows(frames(motion, start=start))) == record(motion, start)


def test_one_row_a_second_is_the_default(drive, sent):
    """At 1 Hz every tenth row comes out, as it was at that moment."""
    assert list(Reader().rows(sent)) == drive[::10]


@pytest.mark.parametrize(("hz", "count"), [(0.5, 21), (3.0, 121), (50.0, 2001)])
def test_other_rates(sent, hz, count):
    """Slower, uneven and faster rates give as many rows as they say, up to the clock's own."""
    got = list(Reader(hz=hz).rows(sent))
    assert len(got) == count
    gaps = {round(b.seconds - a.seconds, 6) for a, b in pairwise(got)}
    assert max(gaps) <= 1 / hz + 0.02


def test_the_rate_may_change_on_the_way(sent):
    """A new rate holds from the last row on."""
    reader = Reader(hz=1)
    half = next(number for number, each in enumerate(sent) if each.time > 20.0)
    before = fed(reader, sent[:half])
    reader.hz = 10
    after = fed(reader, sent[half:])
    assert (len(before), len(after)) == (21, 200)
    assert after[0].row.seconds == 20.1


@pytest.mark.parametrize("hz", [0.0, -1.0, 51.0, float("nan")])
def test_rates_that_cannot_be(hz):
    """No rate at all, or one above the clock's, is refused."""
    with pytest.raises(UsageError, match="rows a second"):
        Reader(hz=hz)


def test_garbage_between_the_frames_changes_nothing(drive, sent):
    """Unknown identifiers, wrong lengths, impossible values and remote requests are counted and left out."""
    chance = random.Random(1)
    bad = [
        (can.Message(arbitration_id=0x123, data=bytes(8), is_extended_id=False), "unknown"),
        (can.Message(arbitration_id=165, data=bytes(4), is_extended_id=True), "unknown"),
        (can.Message(arbitration_id=0x1FFFFFFF, data=b"", is_extended_id=True), "unknown"),
        (can.Message(arbitration_id=165, data=bytes(3), is_extended_id=False), "bad_length"),
        (can.Message(arbitration_id=752, data=b"", is_extended_id=False), "bad_length"),
        (can.Message(arbitration_id=1776, data=bytes(8), is_extended_id=False), "bad_length"),
        (can.Message(arbitration_id=752, data=b"\xff\xff\xff\x7f" * 2, is_extended_id=False), "out_of_range"),
        (can.Message(arbitration_id=196, data=b"\x7f\xff", is_extended_id=False), "out_of_range"),
        (can.Message(arbitration_id=416, data=b"\x00", is_extended_id=False), "out_of_range"),
        (can.Message(arbitration_id=165, dlc=4, is_remote_frame=True, is_extended_id=False), "other"),
        (can.Message(is_error_frame=True), "other"),
        (can.Message(arbitration_id=165, data=bytes(12), is_fd=True, is_extended_id=False), "other"),
    ]
    reader = Reader(hz=10)
    got, counts = [], Counts()
    for each in sent:
        if chance.random() < 0.3:
            message, kind = chance.choice(bad)
            setattr(counts, kind, getattr(counts, kind) + 1)
            counts.frames += 1
            got += fed(reader, [message])
        got += fed(reader, [each])
    assert [sample.row for sample in got] == drive
    assert not any(sample.stale for sample in got)
    counts.frames += len(sent)
    assert reader.counts == replace(counts, trips=1, rows=len(drive))
    assert min(counts.unknown, counts.bad_length, counts.out_of_range, counts.other) > 100


def test_random_bytes_break_nothing():
    """Whatever bytes come under whatever identifier, the reader goes on."""
    chance = random.Random(2)
    known = [message.frame_id for message in CAR.messages]
    reader = Reader(hz=50)
    for count in range(5000):
        number = chance.choice([*known, chance.randrange(0x800)])
        data = chance.randbytes(chance.randrange(9))
        reader.feed(can.Message(count / 1000, number, is_extended_id=False, data=data))
    assert reader.counts.frames == 5000
    assert reader.counts.bad_length > 1000
    assert reader.readings()


def test_lost_frames_are_seen_by_the_counter(sent):
    """Where frames of the engine are missing, its counter tells how many."""
    engine = [number for number, each in enumerate(sent) if each.arbitration_id == 165]
    gone = {*engine[100:107], *engine[300:301], *engine[510:520]}
    reader = Reader()
    fed(reader, (each for number, each in enumerate(sent) if number not in gone))
    assert reader.counts.lost == 18


def test_a_silent_unit_makes_its_signals_stale(sent):
    """Signals are stale after three cycle times without a frame, hold their last value, and recover."""
    reader = Reader(hz=50)
    silent = [each for each in sent if each.arbitration_id != 196 or not 10.0 < each.time <= 12.0]
    samples = fed(reader, silent)
    stale = [sample.row.seconds for sample in samples if "SteeringAngle" in sample.stale]
    assert stale[0] == pytest.approx(10.04)
    assert stale[-1] == pytest.approx(12.0)
    assert len(stale) == 99
    held = {sample.row.steering_angle for sample in samples if 10.0 <= sample.row.seconds <= 12.0}
    assert len(held) == 1
    assert {name for sample in samples for name in sample.stale} == {"SteeringAngle"}


def test_slow_messages_are_stale_by_their_own_cycle(sent):
    """A position each 0.1 s is not stale before 0.3 s."""
    reader = Reader(hz=50)
    silent = [each for each in sent if each.arbitration_id != 752 or each.time <= 10.0]
    stale = [sample.row.seconds for sample in fed(reader, silent) if "Latitude" in sample.stale]
    assert stale[0] == pytest.approx(10.32)


def test_no_row_before_everything_has_come(drive, sent):
    """A reader that joins midway waits for all columns, says which are missing, and then begins."""
    reader = Reader(hz=10)
    assert len(reader.missing) == 9
    begin = next(number for number, each in enumerate(sent) if each.time > 5.05)
    samples = fed(reader, sent[begin:])
    assert reader.missing == []
    assert samples[0].row == drive[51]
    reader = Reader()
    assert fed(reader, (each for each in sent if each.arbitration_id not in (752, 209))) == []
    assert reader.missing == ["VehicleSpeed", "Latitude", "Longitude"]


def test_a_replay_from_the_start_is_another_trip(drive, sent):
    """Where the trip's time steps back, rows begin again with the new trip's values."""
    reader = Reader(hz=10)
    samples = fed(reader, [*sent[:3000], *sent])
    assert [sample.row for sample in samples[-len(drive) :]] == drive
    assert reader.counts.trips == 2


def test_a_leap_in_time_is_another_trip(sent):
    """Where the trip's time leaps, no rows are made up for the gap."""
    late = [each for each in sent if not 10.0 < each.time <= 30.0]
    reader = Reader()
    assert [sample.row.seconds for sample in fed(reader, late)] == [
        *(float(n) for n in range(11)),
        *(round(30.02 + n, 2) if n else 30.1 for n in range(1)),
        *(round(31.1 + n, 2) for n in range(9)),
    ]
    assert reader.counts.trips == 2


def test_a_lost_clock_frame_delays_one_row(drive, sent):
    """Where the clock's frame of a row is lost, the row comes with the next one, at that time."""
    lost = [each for each in sent if each.arbitration_id != 1776 or each.time != 3.0]
    seconds = [sample.row.seconds for sample in fed(Reader(), lost)]
    assert seconds[:6] == [0.0, 1.0, 2.0, 3.02, 4.0, 5.0]
    assert len(seconds) == len(drive[::10])


def test_readings_say_value_unit_label_and_age(sent):
    """Every signal of the DBC can be looked at: its value, unit, name of the value, age."""
    reader = Reader()
    assert reader.last_frame is None
    assert reader.readings()["EngineSpeed"].stale
    fed(reader, sent)
    readings = reader.readings()
    assert len(readings) == 16
    assert readings["EngineSpeed"].unit == "1/min"
    assert readings["EngineSpeed"].value > 600
    assert readings["EngineSpeed"].age == 0.0
    assert (readings["Gear"].value, readings["Gear"].label) == (None, "NotAvailable")
    assert readings["TripTime"].value == 40_000_000
    assert not any(each.stale for each in readings.values())
    assert reader.last_frame == sent[-1].time


def test_a_date_that_is_not_available_is_the_loggers(drive):
    """Without a date from the car, a row's time is that of its last frame (UTC)."""
    nameless = [replace(each, time="") for each in drive[:11]]
    begin = 1_767_225_600.0  # 2026-01-01
    messages = [each.message(begin + each.time) for each in frames(nameless)]
    rows = [sample.row for sample in fed(Reader(), messages)]
    assert [each.time for each in rows] == ["2026-01-01 00:00:00.000000", "2026-01-01 00:00:01.000000"]


def _without_clocks(tmp_path):
    text = database.CAR_DBC.read_text()
    lines = [
        line
        for line in text.splitlines()
        if not any(n in line for n in ("1760", "1776", "TripTime", "Date :", "TimeOfDay"))
    ]
    place = tmp_path / "real.dbc"
    place.write_text("\n".join(lines).replace("VehicleSpeed", "Tempo"))
    return database.load(place)


def test_a_dbc_without_a_clock_is_read_by_the_frames_times(tmp_path, drive, sent):
    """A bus without TripTime, and with names of its own, gives rows by its frames' timestamps."""
    real = _without_clocks(tmp_path)
    assert len(real.messages) == 8
    with pytest.raises(UsageError, match="VehicleSpeed for speed"):
        Reader(real)
    reader = Reader(real, columns=COLUMN_SIGNALS | {"speed": "Tempo"})
    rows = [sample.row for sample in fed(reader, sent)]
    assert len(rows) == 40
    assert reader.counts.unknown > 0
    assert rows[0].seconds == pytest.approx(0.01)
    assert {each.speed for each in rows} <= {round(each.speed, 3) for each in Reader(hz=50).rows(sent)} | {
        each.speed for each in drive
    }


def test_frames_with_long_identifiers_are_another_messages(sent):
    """A frame with 29 bits is not the message with the same number in 11."""
    reader = Reader()
    fed(reader, (Frame(each.time, each.arbitration_id, each.data, extended=True) for each in sent[:10]))
    assert reader.counts.unknown == 10


def test_decoded_values_carry_no_binary_dust(sent):
    """Numbers in a row have no more decimals than the DBC's steps."""
    checked = 0
    for each in Reader(hz=10).rows(sent):
        for name in NUMBERS[1:]:
            assert len(repr(getattr(each, name)).partition(".")[2]) <= max(1, decimals(STEP[name]))
            checked += 1
    assert checked > 3000
