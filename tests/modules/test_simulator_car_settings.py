"""Settings: what each variable and each desired property takes, and what is said of the rest."""

from dataclasses import replace

import pytest
from simulator_car.settings import (
    SETTINGS,
    Settings,
    changed,
    desired_settings,
    differing,
    from_environment,
    merged,
)

# variable, text, field, value
GOOD = [
    ("CAR_SOURCE", "can", "source", "can"),
    ("CAR_FILE", " my drive.csv ", "file", "my drive.csv"),
    ("CAR_RESAMPLE", "TRUE", "resample", True),
    ("CAR_RESAMPLE", "false", "resample", False),
    ("CAR_BUS", "unix:bus/car-1", "bus", "unix:bus/car-1"),
    ("CAR_DBC", "my.dbc", "dbc", "my.dbc"),
    ("CAR_SIGNALS", "Gear, BrakeForce,Gear,", "signals", ("Gear", "BrakeForce")),
    ("CAR_SIGNALS", "", "signals", ()),
    ("CAR_RATE", "10", "rate", 10.0),
    ("CAR_RATE", "0.001", "rate", 0.001),
    ("CAR_RATE", "100", "rate", 100.0),
    ("CAR_FORMAT", "json", "format", "json"),
    ("CAR_DRIVE_ID", "monday", "drive_id", "monday"),
    ("CAR_SPEED_LIMIT", "30.5", "speed_limit", 30.5),
    ("CAR_BRAKING_LIMIT", "-0.3", "braking_limit", -0.3),
    ("CAR_REPORT_SECONDS", "0.5", "report_seconds", 0.5),
]
BAD = [
    ("CAR_SOURCE", "gps", "csv or can"),
    ("CAR_FILE", "x" * 1025, "at most 1024"),
    ("CAR_FILE", "a\nb", "a text"),
    ("CAR_RESAMPLE", "yes", "true or false"),
    ("CAR_SIGNALS", ",".join(map(str, range(51))), "up to 50"),
    ("CAR_RATE", "fast", "from 0.001 to 100"),
    ("CAR_RATE", "0", "from 0.001 to 100"),
    ("CAR_RATE", "101", "from 0.001 to 100"),
    ("CAR_RATE", "nan", "from 0.001 to 100"),
    ("CAR_RATE", "", "from 0.001 to 100"),
    ("CAR_FORMAT", "xml", "csv or json"),
    ("CAR_DRIVE_ID", "x" * 129, "at most 128"),
    ("CAR_SPEED_LIMIT", "-1", "miles an hour"),
    ("CAR_BRAKING_LIMIT", "0.2", "of g from -10 to 0"),
    ("CAR_REPORT_SECONDS", "0", "from 0.1"),
]


@pytest.mark.parametrize(("variable", "text", "field", "value"), GOOD)
def test_variables(variable, text, field, value):
    """Each variable sets its field and no other."""
    assert from_environment({variable: text, "OTHER": "x"}) == replace(Settings(), **{field: value})


def test_every_setting_is_in_the_table():
    """The table above has each variable, good and bad (a path of a DBC is as good as any other)."""
    variables = {each.variable for each in SETTINGS}
    assert {case[0] for case in GOOD} == variables
    assert {case[0] for case in BAD} == variables - {"CAR_BUS", "CAR_DBC"}


@pytest.mark.parametrize(("variable", "text", "words"), BAD)
def test_bad_variables(variable, text, words):
    """A value that cannot be is refused, with the variable's name and what belongs there."""
    with pytest.raises(ValueError, match=words) as refused:
        from_environment({variable: text})
    assert str(refused.value).startswith(f"{variable} is ")
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        ({}, {}),
        ({"$version": 3}, {}),
        ({"rate": 10}, {"rate": 10.0}),
        ({"rate": "2.5"}, {"rate": 2.5}),
        ({"rate": None}, {}),
        ({"resample": True, "signals": ["Gear"]}, {"resample": True, "signals": ("Gear",)}),
        ({"signals": []}, {"signals": ()}),
        ({"driveId": "d", "speedLimit": 20, "brakingLimit": -1}, {
            "drive_id": "d", "speed_limit": 20.0, "braking_limit": -1.0
        }),
    ],
)  # fmt: skip
def test_desired_properties(desired, expected):
    """Those that the twin has go before the environment's; null and absence give the environment's."""
    base = from_environment({"CAR_FILE": "mine.csv", "CAR_RATE": "5"})
    values, errors = desired_settings(base, desired)
    assert errors == {}
    assert changed(Settings(), values) == replace(base, **expected)


@pytest.mark.parametrize(
    ("desired", "words"),
    [
        ({"rate": True}, "number from 0.001 to 100"),
        ({"rate": [1]}, "number from 0.001 to 100"),
        ({"rate": {}}, "number from 0.001 to 100"),
        ({"rate": 10**400}, "number from 0.001 to 100"),
        ({"resample": 1}, "true or false"),
        ({"resample": "maybe"}, "true or false"),
        ({"source": 1}, "csv or can"),
        ({"signals": "x" * 10_000 + "," * 60}, "up to 50 names"),
        ({"signals": [1]}, "up to 50 names"),
        ({"signals": {"a": 1}}, "up to 50 names"),
        ({"file": ["a"]}, "a text"),
        ({"rates": 1}, "no setting of this module, which has source, file"),
    ],
)
def test_bad_desired_properties(desired, words):
    """What is wrong is told by its name, has no value, and the others are taken."""
    values, errors = desired_settings(Settings(), {**desired, "format": "json"})
    (name,) = desired
    assert list(errors) == [name]
    assert words in errors[name]
    assert len(errors[name]) < 300
    assert name not in values
    assert values["format"] == "json"


def test_a_patch_takes_back_with_null():
    """Desired properties are merged as the hub merges them; the values here are plain."""
    assert merged({"rate": 2, "format": "json"}, {"rate": None, "file": "x"}) == {
        "format": "json",
        "file": "x",
    }


@pytest.mark.parametrize(
    ("settings", "drive", "live", "log"),
    [
        (Settings(), "car", False, None),
        (Settings(file="drives/city-01.csv.gz"), "city-01", False, None),
        (Settings(file="x.csv", drive_id="monday"), "monday", False, None),
        (Settings(source="can", bus="unix:/run/car.7"), "car.7", True, None),
        (Settings(source="can", bus="socketcan:vcan0"), "vcan0", True, None),
        (Settings(source="can", bus="log:logs/drive.blf"), "drive", False, "logs/drive.blf"),
        (Settings(source="can"), "can", True, None),
        (Settings(bus="log:logs/drive.blf"), "car", False, None),
    ],
)
def test_what_settings_stand_for(settings, drive, live, log):
    """A drive is named by its file or bus, unless it has a name; a log on the bus's side is replayed."""
    assert (settings.drive, settings.live, settings.log) == (drive, live, log)


def test_what_is_told():
    """The report has each setting by its property's name, None where it is not set, and the drive that it gives."""
    told = Settings(source="can", bus="unix:b", signals=("Gear",)).told()
    assert list(told) == [each.name for each in SETTINGS]
    assert (told["bus"], told["signals"], told["driveId"], told["dbc"]) == ("unix:b", ["Gear"], "b", None)


def test_settings_that_do_not_matter_do_not_begin_a_drive_anew():
    """A bus that is set beside a recording changes nothing of where rows come from."""
    assert replace(Settings(), bus="unix:x", signals=("Gear",), format="json").feed == Settings().feed
    assert replace(Settings(), file="other.csv").feed != Settings().feed
    assert replace(Settings(), source="can").feed != Settings().feed
    assert differing(Settings(), replace(Settings(), rate=2.0, file="x")) == ["file", "rate"]
