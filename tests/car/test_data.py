"""The shipped data set: made again value for value, small, true to itself, and fit for its lesson."""

import gzip
from datetime import datetime

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict, train_test_split
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from iotedge_lab.car import drives
from iotedge_lab.car.make_data import CAR, DRIVES, main
from iotedge_lab.car.rows import HEADER
from iotedge_lab.car.units import METRES_PER_MILE

INPUTS = ["Throttle Position", "Engine RPM", "Acceleration Gs"]
SPEED = "Speed (MPH)"


def content(path):
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def test_the_shipped_files_are_what_the_command_makes(shipped, remade):
    """Each file comes out again byte for byte (what is compressed, once it is decompressed)."""
    made = sorted(path.relative_to(remade) for path in remade.rglob("*") if path.is_file())
    assert len(made) == len(DRIVES) + 2
    for name in made:
        assert content(shipped / name) == content(remade / name), f"{name} differs: run `make data`"
    there = {path.relative_to(shipped) for path in shipped.rglob("*") if path.suffix in (".csv", ".gz")}
    assert there == set(made)


def test_the_data_set_is_small(shipped):
    """All of it stays under 5 MB, as git keeps every version."""
    assert 500_000 < sum(path.stat().st_size for path in shipped.rglob("*")) < 5_000_000


def test_compressed_files_carry_no_time(shipped):
    """A gzip header without a time: making the same rows again changes no file."""
    paths = list(shipped.glob("drives/*.csv.gz"))
    assert len(paths) == len(DRIVES)
    for path in paths:
        assert path.read_bytes()[4:8] == bytes(4)


def test_there_are_enough_drives_of_each_kind():
    """At least twelve drives, at least three of each kind, with differing drivers, loads and roads."""
    entries = drives.catalogue()
    assert len(entries) >= 12
    kinds = [each.kind for each in entries]
    assert all(kinds.count(kind) >= 3 for kind in ("city", "suburban", "highway"))
    assert len({each.temper for each in entries}) == len(entries)
    assert len({each.load for each in entries}) > 8
    assert len({each.seed for each in entries}) == len(entries)


@pytest.mark.parametrize("spec", DRIVES, ids=lambda spec: spec.id)
def test_a_drive_is_consistent(spec):
    """Rows every 0.1 s from 0 on; distance is the integral of speed; places move by it; clocks agree."""
    rows = list(drives.rows(drives.drive_path(spec.id)))
    seconds = np.array([row.seconds for row in rows])
    speed = np.array([row.speed for row in rows])
    assert len(rows) == round(spec.seconds * 10) + 1
    assert np.allclose(seconds, np.arange(len(rows)) / 10)
    miles = np.sum((speed[1:] + speed[:-1]) / 2 * 0.1) / 3600
    assert miles == pytest.approx(rows[-1].distance, abs=0.01 + 0.002 * miles)
    assert (np.diff([row.distance for row in rows]) >= 0).all()
    places = np.radians([(row.latitude, row.longitude) for row in rows[::50]])
    steps = np.hypot(np.diff(places[:, 0]), np.diff(places[:, 1]) * np.cos(places[0, 0])) * 6_371_008.8
    # Chords cut the corners of the road; the receiver wanders by a metre or so.
    assert 0.95 < steps.sum() / (rows[-1].distance * METRES_PER_MILE) < 1.03
    first, last = (datetime.fromisoformat(row.time) for row in (rows[0], rows[-1]))
    assert first == spec.start
    assert (last - first).total_seconds() == pytest.approx(spec.seconds)


def test_car_csv_has_the_recordings_timing(shipped):
    """342 s, about 4,708 rows: a 10 Hz grid with other rows merged in, from 55 us to 0.1 s apart."""
    rows = list(drives.rows(shipped / "car.csv"))
    seconds = np.array([row.seconds for row in rows])
    gaps = np.diff(seconds)
    assert abs(len(rows) - 4708) <= 30
    assert seconds[-1] - seconds[0] == pytest.approx(CAR.seconds, abs=0.2)
    assert gaps.min() >= 54.9e-6
    assert gaps.max() <= 0.1000011
    assert gaps.min() < 0.001
    phase = np.round((seconds - seconds[0]) * 10, 4) % 1
    assert np.isclose(phase, 0, atol=1e-3).sum() == pytest.approx(3420, abs=25)
    assert len(np.unique(np.round(gaps, 6))) > 1000
    text = (shipped / "car.csv").read_text(encoding="utf-8")
    assert text.startswith(HEADER + "\n")
    assert HEADER == (
        "Time,Seconds,Latitude / Y Position (Degrees),Longitude / X Position (Degrees),Distance (Miles),"
        "Speed (MPH),Steering Angle,Throttle Position,Engine RPM,Lateral Gs,Acceleration Gs"
    )


def test_merged_rows_lie_between_their_neighbours():
    """A row merged into the grid carries what lies between the two polls around it."""
    rows = list(drives.rows(drives.car_csv()))
    between = 0
    for before, row, after in zip(rows, rows[1:], rows[2:], strict=False):
        low, high = sorted((before.speed, after.speed))
        # A poll may fall on this very row: then a slope ends here.
        between += low - 0.001 <= row.speed <= high + 0.001
    assert between / len(rows) > 0.97


def test_car_csv_teaches_the_leak():
    """A 1-nearest-neighbour model looks superb on a random split of car.csv and poor on blocks of time."""
    frame = drives.load(drives.car_csv())
    x, y = frame[INPUTS].to_numpy(), frame[SPEED].to_numpy()
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(1))
    for seed in range(3):
        train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.2, random_state=seed)
        assert model.fit(train_x, train_y).score(test_x, test_y) >= 0.93
    blocks = KFold(5)
    predicted = cross_val_predict(model, x, y, cv=blocks)
    assert 0.3 < r2_score(y, predicted) <= 0.75
    assert np.mean([r2_score(y[test], predicted[test]) for _, test in blocks.split(x)]) <= 0.75


def test_whole_drives_held_out_give_honest_scores():
    """Held out by drive: gradient boosting about 0.85, a line about 0.66, and a random split no better."""
    frame = drives.load_all().iloc[::10]
    x, y, groups = frame[INPUTS].to_numpy(), frame[SPEED].to_numpy(), frame["Drive"].to_numpy()
    scores = {}
    for name, model in {
        "line": LinearRegression(),
        "boosting": GradientBoostingRegressor(n_estimators=60, max_depth=4, random_state=0),
    }.items():
        by_drive = cross_val_predict(model, x, y, groups=groups, cv=GroupKFold(4))
        at_random = cross_val_predict(model, x, y, cv=KFold(4, shuffle=True, random_state=0))
        scores[name] = (r2_score(y, by_drive), r2_score(y, at_random))
    assert scores["boosting"][0] == pytest.approx(0.85, abs=0.05)
    assert scores["line"][0] == pytest.approx(0.66, abs=0.07)
    for by_drive, at_random in scores.values():
        assert at_random - by_drive < 0.06


def test_the_command_makes_and_describes(tmp_path, shipped, monkeypatch):
    """The command makes its folder's files and writes their table."""
    monkeypatch.setattr("iotedge_lab.car.make_data.DRIVES", DRIVES[:1])
    result = CliRunner().invoke(main, [str(tmp_path / "new")])
    assert result.exit_code == 0
    assert (tmp_path / "new" / "car.csv").is_file()
    assert "city-01.csv.gz" in result.output
    result = CliRunner().invoke(main, [str(shipped), "--statistics"])
    assert result.exit_code == 0
    assert result.output.startswith("| statistic | recording |")
