"""The DBC says what the car's bus carries; the precompiled codec does what cantools does."""

import math
from collections import Counter

import pytest
from cantools.database import load_string
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.car.can import database
from iotedge_lab.car.can.codec import EXTENDED, bounds, decimals, layouts
from iotedge_lab.car.can.moments import COLUMN_SIGNALS
from iotedge_lab.car.rows import COLUMNS
from iotedge_lab.errors import DataError

CAR = database.load()
LAYOUTS = layouts(CAR)

# What car.dbc does not need, and a DBC of a learner's or of a real car's may have.
OTHER = load_string(
    """VERSION ""
BU_: Ecu
BO_ 256 Big: 8 Ecu
 SG_ High : 7|12@0+ (0.5,-100) [-100|1900] "" Ecu
 SG_ Low : 11|20@0- (-0.25,0) [-131071.75|131072] "" Ecu
 SG_ Last : 56|1@0+ (1,0) [0|0] "" Ecu
BO_ 257 Little: 8 Ecu
 SG_ Odd : 3|13@1- (3,7) [-12281|12292] "" Ecu
 SG_ Wide : 16|48@1+ (1,0) [0|0] "" Ecu
BO_ 258 Mixed: 4 Ecu
 SG_ Intel : 0|16@1+ (0.1,0) [0|6553.5] "" Ecu
 SG_ Motorola : 23|16@0- (1,0) [-32768|32767] "" Ecu
BO_ 259 Floating: 8 Ecu
 SG_ Single : 0|32@1- (1,0) [0|0] "" Ecu
 SG_ Tail : 32|8@1+ (1,0) [0|200] "" Ecu
BO_ 260 Multiplexed: 3 Ecu
 SG_ Which M : 0|8@1+ (1,0) [0|1] "" Ecu
 SG_ First m0 : 8|16@1+ (0.01,0) [0|655.35] "" Ecu
 SG_ Second m1 : 8|8@1+ (1,0) [0|255] "" Ecu
BO_ 2566844926 Long: 2 Ecu
 SG_ Value : 0|16@1+ (0.0078125,-50) [-50|461.9921875] "" Ecu
SIG_VALTYPE_ 259 Single : 1;
""",
    database_format="dbc",
)

# message, values in the order of the DBC, data
CASES = [
    ("EngineData", (0, 0, 0), "00000000"),
    ("EngineData", (255, 665, 100), "ff990264"),
    ("EngineData", (1, 16000, 4), "01803e04"),
    ("SteeringWheel", (0.1,), "0001"),
    ("SteeringWheel", (-0.1,), "ffff"),
    ("SteeringWheel", (780.0,), "1e78"),
    ("SteeringWheel", (-780.0,), "e188"),
    ("WheelSpeed", (30.647,), "b77700"),
    ("WheelSpeed", (262.143,), "ffff03"),
    ("MotionSensor", (-0.01, 0.05), "ff5f00"),
    ("MotionSensor", (-20.48, 20.47), "00f87f"),
    ("Brake", (1234, 1), "d20401"),
    ("Brake", (65535, 3), "ffff03"),
    ("Transmission", (8,), "08"),
    ("Transmission", (15,), "0f"),
    ("GpsPosition", (30.27, -97.74), "30e2cd01209b2cfa"),
    ("GpsPosition", (-90.0, 180.0), "80b5a2fa00 95ba0a".replace(" ", "")),
    ("TripMeter", (2.77,), "150100"),
    ("DateTime", (20514, 27000000000), "2250004e534906"),
    ("TripClock", (420000000,), "00b10819 00".replace(" ", "")),
]


def by_name(name):
    return next(layout for layout in LAYOUTS.values() if layout.message.name == name)


@pytest.mark.parametrize(("name", "values", "data"), CASES)
def test_values_and_bytes(name, values, data):
    """Each value lies in the bytes where the DBC puts it, and comes back from there."""
    clipped = Counter()
    assert by_name(name).pack(values, clipped).hex() == data
    assert not clipped
    assert by_name(name).unpack(bytes.fromhex(data)) == pytest.approx(list(values), abs=1e-9)


def test_every_message_is_in_the_table():
    """The table above has every message of the DBC."""
    assert {name for name, _, _ in CASES} == {message.name for message in CAR.messages}


def test_the_dbc_tells_all():
    """Each message has a cycle time, each signal a comment, a range and, where it has one, a unit."""
    assert len(CAR.messages) == 10
    assert sum(message.cycle_time is not None for message in CAR.messages) == 10
    signals = [signal for message in CAR.messages for signal in message.signals]
    assert len(signals) == 16
    assert all(signal.comment and signal.minimum is not None for signal in signals)
    assert {signal.byte_order for signal in signals} == {"little_endian", "big_endian"}
    assert max(message.frame_id for message in CAR.messages) == CAR.get_message_by_name("TripClock").frame_id


def test_steps_are_the_recordings():
    """Each column's signal has the column's unit and resolves its last decimal."""
    units = {"degrees": "deg"}
    checked = 0
    for column in COLUMNS[2:]:
        signal = next(s for m in CAR.messages for s in m.signals if s.name == COLUMN_SIGNALS[column.name])
        assert decimals(signal) >= column.decimals
        assert signal.unit == units.get(column.unit, column.unit)
        checked += 1
    assert checked == 9


@pytest.mark.parametrize("key", sorted(LAYOUTS))
@given(chance=st.data())
@settings(max_examples=25, deadline=None)
def test_cantools_agrees_on_the_car(key, chance):
    """On random values within the ranges, bytes and values are cantools' own."""
    _agree(LAYOUTS[key], chance)


@pytest.mark.parametrize("key", sorted(layouts(OTHER)))
@given(chance=st.data())
@settings(max_examples=25, deadline=None)
def test_cantools_agrees_on_other_layouts(key, chance):
    """So are they for other scales, byte orders, floats and identifiers of 29 bits."""
    layout = layouts(OTHER)[key]
    if not layout.message.is_multiplexed():
        _agree(layout, chance)


def _agree(layout, chance):
    values = []
    for signal in layout.message.signals:
        if signal.is_float:
            values.append(chance.draw(st.floats(width=32, allow_nan=False, allow_infinity=False)))
            continue
        low, high = bounds(signal)
        raw = chance.draw(st.integers(low, high))
        wobble = 0.0 if raw in (low, high) or signal.length > 40 else chance.draw(st.floats(-0.49, 0.49))
        values.append(
            (raw + wobble) * signal.scale + signal.offset if wobble else raw * signal.scale + signal.offset
        )
    named = dict(zip(layout.names, values, strict=True))
    data = layout.pack(values, Counter())
    assert data == layout.message.encode(named, strict=False)
    decoded = layout.message.decode(data, decode_choices=False)
    assert layout.unpack(data) == [decoded[name] for name in layout.names]


@given(data=st.binary(min_size=8, max_size=8))
def test_any_bytes_are_values_or_refused(data):
    """Random data of the right length give cantools' values or, beyond a range, nothing."""
    refused = 0
    for layout in LAYOUTS.values():
        part = data[: layout.length]
        values = layout.unpack(part)
        decoded = layout.message.decode(part, decode_choices=False)
        if values is None:
            refused += 1
            assert any(
                not (signal.minimum <= decoded[signal.name] <= signal.maximum)
                for signal in layout.message.signals
            )
        else:
            assert values == [decoded[name] for name in layout.names]
    assert refused < len(LAYOUTS)


def test_what_lies_beyond_a_range_is_held_and_counted():
    """A value beyond its range becomes the range's end, as a sensor's does; each is counted by name."""
    clipped = Counter()
    assert by_name("EngineData").pack((300, 99_999, -3), clipped) == bytes.fromhex("ff803e00")
    assert by_name("SteeringWheel").pack((-9000.0,), clipped) == bytes.fromhex("e188")
    assert clipped == {"EngineCounter": 1, "EngineSpeed": 1, "ThrottlePosition": 1, "SteeringAngle": 1}
    mixed = layouts(OTHER)[258]
    assert mixed.unpack(mixed.pack((1e9, -1e9), clipped)) == [6553.5, -32768]
    assert clipped["Intel"] == clipped["Motorola"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("layout", [by_name("WheelSpeed"), layouts(OTHER)[258]])
def test_what_is_no_number_is_refused(value, layout):
    """NaN and infinity cannot be sent; the error names the signal."""
    values = [value, *[0.0] * (len(layout.names) - 1)]
    with pytest.raises(DataError, match=layout.names[0]):
        layout.pack(values, Counter())


def test_a_multiplexed_message_carries_what_its_switch_says():
    """What a frame does not carry is NaN, not 0."""
    layout = layouts(OTHER)[260]
    assert layout.names == ("Which", "First", "Second")
    assert layout.unpack(bytes([0, 0x10, 0x27]))[1] == pytest.approx(100.0)
    which, first, second = layout.unpack(bytes([1, 0x10, 0x27]))
    assert (which, second) == (1, 16)
    assert math.isnan(first)
    assert layout.unpack(bytes([9, 0, 0])) is None


def test_long_identifiers_are_told_from_short_ones():
    """A 29-bit identifier is found by its number with the flag that DBC files set too."""
    assert [key for key in layouts(OTHER) if key & EXTENDED] == [2566844926]


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "no DBC"), ("BO_ nonsense", "no DBC"), ('VERSION "x"\nBU_: A\n', "no message")],
)
def test_a_file_that_is_no_dbc(tmp_path, text, word):
    """What cantools cannot read is named, with the file."""
    place = tmp_path / "mine.dbc"
    place.write_text(text)
    with pytest.raises(DataError, match=word) as caught:
        database.load(place)
    assert "mine.dbc" in str(caught.value)


def test_a_dbc_that_is_not_there(tmp_path):
    """A missing file is named."""
    with pytest.raises(DataError, match="none"):
        database.load(tmp_path / "none.dbc")
