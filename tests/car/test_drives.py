"""The catalogue of shipped drives, where it is found, and rows on an even beat."""

import subprocess
import sys
from dataclasses import replace

import pytest

from iotedge_lab.car import drives
from iotedge_lab.car.drives import CarRow, resample
from iotedge_lab.errors import DataError, UsageError

ROW = CarRow("t0", 0.0, 30.0, -97.0, 0.0, 10.0, 0.0, 10.0, 1000.0, 0.0, 0.0)


def test_the_catalogue_names_files_that_are_there():
    """Each drive's file is there and as long as the catalogue says."""
    entries = drives.catalogue()
    assert len(entries) >= 12
    for each in entries:
        assert each.path.is_file()
        assert drives.drive_path(each.id) == each.path
    assert entries[0].id == "city-01"


def test_a_drive_by_its_id():
    """A drive is a DataFrame of the eleven columns; its length is the catalogue's."""
    info = drives.catalogue()[0]
    frame = drives.drive(info.id)
    assert list(frame.columns) == [column.header for column in drives.COLUMNS]
    assert frame["Seconds"].iloc[-1] == pytest.approx(info.seconds)
    assert frame["Distance (Miles)"].iloc[-1] == pytest.approx(info.miles)


def test_drives_together_carry_their_ids():
    """Several drives below each other: `Drive` says which row is whose."""
    frame = drives.load_all(["city-01", "highway-01"])
    assert list(frame.columns[:3]) == ["Drive", "Kind", "Time"]
    assert frame["Drive"].unique().tolist() == ["city-01", "highway-01"]
    assert set(frame["Kind"]) == {"city", "highway"}
    with pytest.raises(UsageError, match="at least one"):
        drives.load_all([])


def test_an_unknown_id_lists_the_known():
    """An id that there is not is answered with those that there are."""
    with pytest.raises(UsageError, match=r"city-01, city-02"):
        drives.drive("city-99")


def test_the_folder_may_be_named(tmp_path, monkeypatch):
    """IOTEDGE_LAB_DATA wins, and says what is wrong with it."""
    monkeypatch.setenv("IOTEDGE_LAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"IOTEDGE_LAB_DATA is .*no catalogue\.csv in it"):
        drives.catalogue()
    (tmp_path / "catalogue.csv").write_text(
        "Drive,Kind,Seed,Temper,Load (kg),Seconds,Miles\na,city,1,0.5,10,60,1\n"
    )
    (entry,) = drives.catalogue()
    assert entry.path == tmp_path / "drives" / "a.csv.gz"
    with pytest.raises(DataError, match="does not exist"):
        drives.drive("a")
    (tmp_path / "catalogue.csv").write_text("Drive,Kind\na,city\n")
    with pytest.raises(DataError, match="is damaged"):
        drives.catalogue()


def test_an_installed_package_looks_above_the_working_folder(tmp_path, monkeypatch):
    """Away from the repository, `data/` is looked for from the working folder upwards."""
    monkeypatch.setattr(drives, "__file__", str(tmp_path / "site" / "iotedge_lab" / "car" / "drives.py"))
    work = tmp_path / "clone" / "notebooks"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    with pytest.raises(DataError, match="make_data FOLDER"):
        drives.data_folder()
    (tmp_path / "clone" / "data").mkdir()
    (tmp_path / "clone" / "data" / "catalogue.csv").write_text("Drive\n")
    assert drives.data_folder() == tmp_path / "clone" / "data"


def test_reading_rows_loads_neither_numpy_nor_pandas():
    """What an edge module needs stays light."""
    code = (
        "import sys; from iotedge_lab.car import drives; "
        "row = next(drives.rows(drives.car_csv())); row.to_json(); "
        "list(drives.resample([row], 1)); drives.catalogue(); "
        "print(sorted({'numpy', 'pandas', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_resampling_keeps_the_beat_and_the_lines():
    """At 1 Hz: a row a second from the first, values on the straight lines between the rows."""
    source = [
        replace(ROW, time=f"t{n}", seconds=s, speed=10 + s) for n, s in enumerate((0.0, 0.4, 0.4, 1.7, 3.0))
    ]
    even = list(resample(source, 1.0))
    assert [row.seconds for row in even] == [0.0, 1.0, 2.0, 3.0]
    assert [row.speed for row in even] == pytest.approx([10.0, 11.0, 12.0, 13.0])
    assert [row.time for row in even] == ["t0", "t2", "t3", "t4"]


def test_resampling_a_grid_at_its_own_rate_changes_nothing():
    """A shipped drive at 10 Hz stays as it is."""
    before = list(drives.rows(drives.drive_path("city-01")))
    after = list(resample(before, 10))
    assert len(after) == len(before)
    assert [row.speed for row in after] == pytest.approx([row.speed for row in before])


def test_car_csv_at_1_hz_is_a_row_a_second():
    """The recording's merged rows become 342 even ones."""
    even = list(resample(drives.rows(drives.car_csv()), 1))
    assert len(even) == 342
    assert even[1].seconds - even[0].seconds == pytest.approx(1.0)


@pytest.mark.parametrize("seconds", [(1.0, 0.5), (0.0, 60.0)])
def test_two_drives_in_one_are_not_bridged(seconds):
    """Time that steps back or leaps is refused, not drawn over."""
    with pytest.raises(DataError, match="several drives"):
        list(resample([replace(ROW, seconds=each) for each in seconds], 1.0))


@pytest.mark.parametrize("hz", [0.0, -1.0, 1e6, float("nan")])
def test_a_beat_must_be_one(hz):
    """A rate that is none is refused at once."""
    with pytest.raises(UsageError):
        resample([], hz)


def test_resampling_nothing_gives_nothing():
    """No rows in, no rows out."""
    assert list(resample([], 1.0)) == []
