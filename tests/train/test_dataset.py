"""The data set: what it takes, how it groups, and what it does about rows that are not as they should be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from iotedge_lab.car import drives as shelf
from iotedge_lab.car.features import PLAIN, RECIPE, LiveFeatures
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.train import dataset
from iotedge_lab.train.notes import TrainWarning

THROTTLE, RPM, SPEED = "Throttle Position", "Engine RPM", "Speed (MPH)"


@pytest.fixture
def table(recordings):
    """Two drives as a DataFrame with `Drive`."""
    frames = []
    for name in ("d0", "d1"):
        frame = pd.DataFrame([row.to_dict() for row in recordings[name]])
        frame.columns = [column.header for column in shelf.COLUMNS]
        frame.insert(0, "Drive", name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def test_drives_by_name_become_groups(drives, recordings):
    """Each drive is a group; two rows a second behind the warm-up are left, and nothing had to be mended."""
    assert (drives.group_names, drives.notes) == (tuple(recordings), ())
    assert drives.features.shape == (len(drives), 24)
    assert drives.features.dtype == np.float32
    assert len(drives) == 6 * 341
    assert drives.seconds.min() == 10.0
    assert repr(drives) == "Dataset(2046 rows, 24 features, 6 groups)"


def test_features_are_those_of_the_edge(drives, recordings):
    """A row of the data set holds what LiveFeatures gives for that row, in single precision."""
    live = LiveFeatures()
    pushed = {row.seconds: live.push(row) for row in recordings["d2"]}
    part = drives.take(drives.drives == 2)
    expected = [tuple(pushed[seconds].values) for seconds in part.seconds]
    np.testing.assert_allclose(part.features, expected, rtol=1e-6, atol=1e-6)


def test_what_it_takes(table, recordings, tmp_path):
    """A table, rows by name and files by name give the same data set."""
    paths = {}
    for name in ("d0", "d1"):
        paths[name] = tmp_path / f"{name}.csv"
        lines = [shelf.HEADER, *(row.to_csv_line() for row in recordings[name])]
        paths[name].write_text("\n".join(lines))
    rows = {name: recordings[name] for name in ("d0", "d1")}
    hashes = {dataset.build(source).sha256 for source in (table, rows, paths)}
    assert len(hashes) == 1
    assert dataset.build(table.rename(columns={SPEED: "speed"})).sha256 in hashes


def test_the_hash_tells_other_data(drives):
    """Another target, feature or grouping has another hash; the same data the same one."""
    others = [
        replace(drives, target=drives.target + 1),
        replace(drives, groups=drives.groups[::-1]),
        replace(drives, features=drives.features * 2),
        drives.columns(drives.names[:3]),
    ]
    assert len({each.sha256 for each in (drives, *others)}) == 5
    assert replace(drives).sha256 == drives.sha256


def test_all_rows_or_few(recordings):
    """`every` says how many rows are learned from; they keep the features of the full beat."""
    rows = {name: recordings[name] for name in ("d0", "d1")}
    whole, half = dataset.build(rows, every=None), dataset.build(rows, every=0.5)
    assert len(whole) == 2 * 1701
    assert len(half) == 2 * 341
    both = np.isin(whole.seconds, half.seconds)
    np.testing.assert_array_equal(whole.features[both], half.features)


def test_one_recording_is_grouped_by_blocks_of_time():
    """The merged recording alone: eight blocks, in order, and a warning what that cannot tell."""
    with pytest.warns(TrainWarning, match="one drive only, so rows are grouped into 8 blocks") as told:
        data = dataset.build(shelf.car_csv(), PLAIN, every=None)
    assert told[0].filename == __file__
    assert len(data) == 4708
    assert (np.diff(data.groups) >= 0).all()
    assert data.group_names[0] == "block 1"
    assert len(data.notes) == data._repr_html_().count("<li>") == 1


def test_gears_are_told_by_rpm_and_speed(drives):
    """Gear 0 is standing; on a gear's line that gear is named."""
    assert dataset.gears(np.array([665.0, 1970.0, 1404.0]), np.array([0.0, 10.0, 40.0])).tolist() == [0, 1, 7]
    assert set(np.unique(drives.gear)) <= set(range(9))


def test_a_feature_of_ones_own(drives):
    """A column may be added and features chosen; what does not fit is refused."""
    more = drives.with_feature("noise", np.arange(len(drives)), "1")
    assert (more.names[-1], more.units[-1], more.features.shape[1]) == ("noise", "1", 25)
    assert more.columns(["noise", "engine_rpm"]).names == ("noise", "engine_rpm")
    for name, values in (("x", [1.0]), ("x", np.full(len(drives), np.nan)), ("engine_rpm", drives.target)):
        with pytest.raises(UsageError):
            drives.with_feature(name, values)
    with pytest.raises(UsageError, match="no feature boost"):
        drives.columns(["boost"])


def test_the_table_of_all(drives):
    """`frame` names group, time, features and target."""
    frame = drives.frame()
    assert list(frame.columns) == ["Group", "Seconds", *RECIPE.names, "speed"]
    assert frame["Group"].iloc[-1] == "d5"


def test_the_shipped_drives(recordings):
    """The drives in data/ are the default data set."""
    data = dataset.shipped(every=5.0)
    assert (data.drive_count, data.notes) == (14, ())


# What is mended, and says so.


def test_missing_cells_are_left_out_and_told(table):
    """Rows with a missing cell go; the warning counts them column by column."""
    table.loc[100:129, RPM] = np.nan
    table.loc[125:134, SPEED] = np.nan
    table.loc[140, THROTTLE] = np.inf
    with pytest.warns(
        TrainWarning, match=r"30 of 'Engine RPM', 10 of 'Speed \(MPH\)'.* 36 of 3602 rows"
    ) as told:
        data = dataset.build(table, every=None)
    assert np.isfinite(data.features).all()
    assert data.notes == (str(told[0].message),)


def test_text_among_numbers_is_left_out_and_told(table):
    """Numbers written as text count; words do not, and an example is shown."""
    table[RPM] = table[RPM].astype(str)
    whole = dataset.build(table)
    assert whole.notes == ()
    table.loc[[5, 700], RPM] = "n/a"
    with pytest.warns(TrainWarning, match=r"2 of 3602 cells of 'Engine RPM' are text, such as 'n/a'"):
        dataset.build(table)


def test_rows_sent_twice_are_left_out_and_told(recordings):
    """A block of rows that is there twice counts once."""
    rows = recordings["d0"]
    sent = {"d0": [*rows[:900], *rows[850:]], "d1": recordings["d1"]}
    with pytest.warns(TrainWarning, match="50 rows are of a moment that another row has"):
        data = dataset.build(sent)
    assert data.sha256 == dataset.build({"d0": rows, "d1": recordings["d1"]}).sha256


def test_a_constant_column_stays_and_is_told(table):
    """A dead sensor teaches nothing; the model still takes the rows that the edge has."""
    table[THROTTLE] = 17.0
    with pytest.warns(TrainWarning, match="'Throttle Position' is 17 in every row"):
        data = dataset.build(table)
    assert data.names == RECIPE.names


def test_speeds_of_no_car_are_left_out_and_told(table):
    """Impossible speeds and single leaps are neither learned from nor judged by."""
    table.loc[500, SPEED] = -40.0
    table.loc[900, SPEED] = 655.35
    table.loc[1200, SPEED] = table.loc[1200, SPEED] + 60.0
    with pytest.warns(TrainWarning, match=r"3 of 3602 speeds are none of a car, such as 655\.35 mph"):
        data = dataset.build(table, every=None)
    assert len(data) == 2 * 1701 - 3
    assert data.target.max() < 100


def test_hard_driving_is_no_outlier():
    """Ten seconds from standstill to 60 mph and a full stop stay in, at 1 Hz too."""
    row = next(shelf.rows(shelf.car_csv()))
    speeds = [*np.linspace(0, 60, 11), *[60.0] * 200, *np.linspace(60, 0, 5), *[0.0] * 200]
    rows = [
        replace(
            row,
            seconds=float(n),
            speed=speed,
            engine_rpm=700 + speed,
            throttle_position=speed,
            acceleration_gs=speed,
        )
        for n, speed in enumerate(speeds)
    ]
    data = dataset.build({"a": rows, "b": rows}, PLAIN, every=None)
    assert data.notes == ()
    assert len(data) == 2 * len(rows)


@pytest.mark.parametrize("hz", [10, 1])
def test_a_hundred_rows_are_told_to_be_few(recordings, hz):
    """A hundred rows give a data set, with all that was done to keep them."""
    rows = recordings["d1"][600 : 600 + 1000 // hz : 10 // hz][:100]
    with pytest.warns(TrainWarning) as told:
        data = dataset.build(rows)
    words = " ".join(str(each.message) for each in told)
    assert "rows are few" in words
    assert "one drive only" in words
    assert ("warm-up stay in" in words) == (hz == 10)
    assert (len(data), len(data.group_names)) == ((100, 8) if hz == 10 else (90, 8))


# What is refused.


def refused(source, message, recipe=RECIPE):
    with pytest.raises(DataError, match=message):
        dataset.build(source, recipe)


def test_what_cannot_be_learned_from_is_refused(table, recordings):
    """Each refusal says what is wrong and what to do."""
    refused(table.drop(columns=[RPM]), "no column 'Engine RPM'; its columns are")
    refused(table.assign(**{SPEED: 30.0}), "The speed is 30 mph in every row")
    refused(table.assign(**{THROTTLE: 1, RPM: 2, "Acceleration Gs": 0.0}), "one value only")
    refused(table.assign(**{RPM: "1.225,0"}), "3602 of 3602 cells of 'Engine RPM' are text")
    refused(
        table.assign(**{RPM: np.nan}),
        r"Only 0 of 3602 rows are whole \(missing cells: 3602 of 'Engine RPM'\)",
    )
    refused(table.assign(**{SPEED: table[SPEED] * -1 - 5}), "speeds are none of a car")
    refused(table.sample(frac=1.0, random_state=1), "in the order in which they were driven")
    refused(table.iloc[:0], "There are no rows")
    refused([], "There are no rows")
    refused({}, "There are no drives")
    refused(recordings["d1"][600:620], "20 rows can be learned from, which is too few", PLAIN)
    refused("/no/such/car.csv", "does not exist")


def test_arguments_that_make_no_sense_are_refused(table):
    """A beat, a number of blocks or a source that is none is the caller's mistake."""
    for wrong in ({"every": 0.0}, {"every": 61.0}, {"blocks": 1}, {"blocks": 1000}):
        with pytest.raises(UsageError):
            dataset.build(table, **wrong)
    with pytest.raises(UsageError, match="CarRow"):
        dataset.build([1, 2, 3])


def test_a_file_with_text_in_it_names_line_and_column(tmp_path):
    """A car.csv is read as strictly as everywhere: the error names the cell."""
    path = tmp_path / "car.csv"
    rows = list(shelf.rows(shelf.car_csv()))[:50]
    lines = [shelf.HEADER, *(row.to_csv_line() for row in rows)]
    lines[7] = lines[7].replace(",671,", ",n/a,")
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"line 8, column 'Engine RPM' holds 'n/a'"):
        dataset.build(path)
