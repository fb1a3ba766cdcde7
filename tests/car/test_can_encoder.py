"""A drive becomes frames: each message at its cycle time, in the order of a bus, with the drive's values."""

from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest

from iotedge_lab.car.can import database
from iotedge_lab.car.can.encoder import Encoder, frames
from iotedge_lab.car.rows import CarRow
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.errors import DataError, UsageError

CAR = database.load()
NEW_SIGNAL = ' SG_ ThrottlePosition : 24|8@1+ (1,0) [0|100] "%" Gearbox,Gateway\n'


def row(seconds, speed=10.0, time="2026-03-01 10:00:00.000000", **more):
    values = {
        "latitude": 30.0, "longitude": -97.0, "distance": 1.0, "speed": speed, "steering_angle": 0.0,
        "throttle_position": 5.0, "engine_rpm": 1000.0, "lateral_gs": 0.0, "acceleration_gs": 0.0,
    } | more  # fmt: skip
    return CarRow(time, seconds, **values)


def decoded(each):
    return CAR.decode_message(each.arbitration_id, each.data)


def changed(tmp_path, *changes):
    """car.dbc with each (old, new) replaced, as a learner would edit a copy."""
    text = database.CAR_DBC.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    place = tmp_path / "mine.dbc"
    place.write_text(text)
    return database.load(place)


def test_each_message_comes_at_its_cycle_time():
    """In one second each message comes as often as the DBC says, evenly, first and last row included."""
    sent = list(frames([row(2.0), row(3.0)]))
    for message in CAR.messages:
        times = [each.time for each in sent if each.arbitration_id == message.frame_id]
        assert len(times) == 1000 / message.cycle_time + 1
        assert times[0] == 2.0
        assert times[-1] == 3.0
        gaps = {round((after - before) * 1000, 3) for before, after in pairwise(times)}
        assert gaps == {float(message.cycle_time)}
    assert [(each.time, each.arbitration_id) for each in sent] == sorted(
        (each.time, each.arbitration_id) for each in sent
    )


def test_between_two_rows_values_lie_on_the_line():
    """Half way from 10 to 20 mph the car goes 15."""
    speeds = {
        each.time: decoded(each)["VehicleSpeed"]
        for each in frames([row(0.0, 10.0), row(1.0, 20.0)])
        if each.arbitration_id == 209
    }
    assert speeds[0.0] == pytest.approx(10.0)
    assert speeds[0.5] == pytest.approx(15.0)
    assert speeds[1.0] == pytest.approx(20.0)


def test_a_simulated_drive_has_gears_brakes_and_a_date():
    """The physics gives what a recording lacks: gear, brake force and pedal; the date when it is given."""
    start = datetime.fromisoformat("2026-03-01 23:59:59.5")
    seen = {}
    for each in frames(simulate(11, "city", 60.0), start=start):
        seen.setdefault(each.arbitration_id, []).append((each.time, decoded(each)))
    gears = {values["Gear"] for _, values in seen[416]}
    assert {1, 2, 3} <= gears <= set(range(1, 9))
    pedals = {str(values["BrakePedal"]) for _, values in seen[241]}
    assert pedals == {"Released", "Pressed"}
    assert 1000 < max(values["BrakeForce"] for _, values in seen[241]) < 20_000
    dates = [(time, values["Date"], values["TimeOfDay"]) for time, values in seen[1760]]
    assert dates[0] == (0.0, 20513, 86_399_500_000)
    assert dates[5] == (0.5, 20514, 0)


def test_a_recording_says_what_it_does_not_have():
    """Rows have no gear and no brakes, perhaps no date: the frames say that it is not available."""
    first = {each.arbitration_id: decoded(each) for each in frames([row(0.0, time="a quarter past ten")])}
    for number, signal in ((416, "Gear"), (241, "BrakePedal"), (241, "BrakeForce"), (1760, "Date")):
        assert str(first[number][signal]) == "NotAvailable"
    assert len(first) == len(CAR.messages)


def test_counters_count_and_go_on():
    """The engine's counter goes up by one a frame, round at 256, and on into the next drive."""
    encoder = Encoder()
    counts = [
        decoded(each)["EngineCounter"]
        for _ in range(2)
        for each in encoder.frames([row(0.0), row(2.0)])
        if each.arbitration_id == 165
    ]
    assert len(counts) == 402
    assert counts == [n % 256 for n in range(402)]


def test_a_new_signal_gets_its_value_from_a_function(tmp_path):
    """A signal added to the DBC is sent with what the caller's function makes of the others."""
    new = NEW_SIGNAL + ' SG_ OilTemperature : 32|8@1+ (1,-40) [-40|200] "degC" Cockpit\n'
    mine = changed(tmp_path, ("EngineData: 4", "EngineData: 5"), (NEW_SIGNAL, new))
    extra = {"OilTemperature": lambda values: 60 + values["EngineSpeed"] / 100}
    sent = next(iter(frames([row(0.0)], mine, extra=extra)))
    assert mine.decode_message(sent.arbitration_id, sent.data)["OilTemperature"] == 70
    with pytest.raises(UsageError, match=r"OilTemperature.*extra"):
        Encoder(mine)


def test_a_known_signal_can_be_replaced():
    """An extra for a signal that the drive has takes its place (a broken sensor)."""
    for each in frames([row(0.0)], extra={"VehicleSpeed": lambda values: values["VehicleSpeed"] + 1}):
        if each.arbitration_id == 209:
            assert decoded(each)["VehicleSpeed"] == pytest.approx(11.0)
            return
    pytest.fail("no speed was sent")


def test_a_start_value_serves_where_there_is_no_other(tmp_path):
    """A GenSigStartValue in the DBC is what is sent for a signal that nothing else gives."""
    mine = changed(
        tmp_path,
        ("EngineData: 4", "EngineData: 5"),
        (NEW_SIGNAL, NEW_SIGNAL + ' SG_ Fuel : 32|8@1+ (0.5,0) [0|100] "%" Cockpit\n'),
        ('BA_DEF_ "Baud', 'BA_DEF_ SG_ "GenSigStartValue" INT 0 255;\nBA_DEF_ "Baud'),
        ('BA_ "Baud', 'BA_ "GenSigStartValue" SG_ 165 Fuel 90;\nBA_ "Baud'),
    )
    sent = next(iter(frames([row(0.0)], mine)))
    assert mine.decode_message(sent.arbitration_id, sent.data)["Fuel"] == 45.0


def test_what_is_missing_is_said(tmp_path):
    """A message without a cycle time and an extra without a signal are refused with what to do."""
    mine = changed(tmp_path, ('BA_ "GenMsgCycleTime" BO_ 416 20;\n', ""))
    with pytest.raises(UsageError, match=r"Transmission has no cycle time.*BO_ 416"):
        Encoder(mine)
    with pytest.raises(UsageError, match="no signal Altitude"):
        Encoder(extra={"Altitude": lambda values: 0.0})


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([row(1.0), row(0.5)], "out of order"),
        ([row(0.0), row(5.1)], "several drives"),
        ([row(float("nan"))], "finite"),
        ([row(-1.0)], "before the trip"),
        ([row(0.0, speed=float("nan"))], "VehicleSpeed"),
    ],
)
def test_rows_that_cannot_be_sent(rows, word):
    """Rows out of order, with gaps or without numbers are refused, by name."""
    with pytest.raises(DataError, match=word):
        list(frames(rows))


def test_no_rows_give_no_frames():
    """An empty drive sends nothing."""
    assert list(frames([])) == []


def test_two_rows_of_one_moment_count_as_one():
    """A merged recording may repeat a time; the first row of it is sent."""
    sent = [
        decoded(each)["VehicleSpeed"]
        for each in frames([row(0.0), row(0.0, 99.0)])
        if each.arbitration_id == 209
    ]
    assert sent == [pytest.approx(10.0)]


def test_what_a_sensor_cannot_say_is_counted():
    """A speed beyond the signal's range is sent as its end and counted by name."""
    encoder = Encoder()
    list(encoder.frames([row(0.0, 500.0), row(0.04, 500.0)]))
    assert encoder.clipped == Counter({"VehicleSpeed": 3})
