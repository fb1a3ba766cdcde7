"""Training from the lake: drives by name, each row once, the same rows for the same version."""

import warnings

import pytest
from lake_cases import LOG, message

from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.lake import tables
from iotedge_lab.lake.place import LakePlace
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.sorting import sort
from iotedge_lab.lake.tables import Batch, Tables, application_id
from iotedge_lab.lake.upkeep import Upkeep
from iotedge_lab.train import dataset, from_lake


@pytest.fixture(scope="module")
def recordings():
    """Three drives of a minute, by name."""
    from datetime import datetime

    start = datetime.fromisoformat("2026-03-02 08:00:00")
    return {f"d{number}": list(record(simulate(4200 + number, "city", 60.0), start)) for number in range(3)}


class Filling:
    """A lake that rows are put into as a capture would."""

    def __init__(self, folder):
        self.place = LakePlace.of(folder)
        self.tables = Tables(self.place)
        self.next = 0

    def put(self, rows, drive, device="car"):
        batch = Batch()
        for row in rows:
            told = message(
                row.to_csv_line(),
                sequence=self.next,
                enqueued=1_772_438_400_000 + self.next,
                device=device,
                properties={"driveId": drive} if drive else {},
            )
            batch.add(application_id(LOG, 1), self.next, *sort(told, LOG))
            self.next += 1
        self.tables.write(batch)


@pytest.fixture
def filling(tmp_path):
    return Filling(tmp_path / "lake")


def test_the_data_set_is_that_of_the_files(filling, recordings):
    """The lake changes nothing of what is learned from, nor do a second lap and a message that was sent twice."""
    for name, rows in recordings.items():
        filling.put(rows, name)
    found = from_lake.rows(filling.place.uri)
    assert (found.table, found.table_version, found.drives) == (
        filling.place.table("telemetry"), 3, ["d0", "d1", "d2"],
    )  # fmt: skip
    direct = dataset.build(recordings)
    data = found.dataset()
    assert data.sha256 == direct.sha256
    assert data.group_names == direct.group_names
    filling.put(recordings["d1"], "d1")
    filling.put([*recordings["d2"][:50], recordings["d2"][10]], "d2")
    assert from_lake.rows(filling.place.uri).dataset().sha256 == direct.sha256


def test_a_version_gives_the_same_rows_whatever_came_later(tmp_path, recordings, monkeypatch):
    """After more rows, compaction, and the removal of what is old: it was held."""
    monkeypatch.setattr(tables, "_CHECKPOINT", "10")
    filling = Filling(tmp_path / "lake")
    filling.put(recordings["d0"][:300], "d0")
    filling.put(recordings["d0"][300:], "d0")
    before = from_lake.rows(Lake(filling.place), hold="car-speed 1")
    assert before.table_version == 2
    for number in range(40):
        filling.put(recordings["d1"][number * 5 : number * 5 + 5], "d1")
    keeper = Upkeep(filling.place, keep_versions=10, now=lambda: 0.0)
    keeper.compact("telemetry")
    assert keeper.trim("telemetry", slack=10) > 0
    assert from_lake.rows(filling.place.uri, 2).frame.equals(before.frame)
    with pytest.raises(UsageError, match="not any more"):
        from_lake.rows(filling.place.uri, 20)


def test_another_car_behind_the_same_name_is_a_drive_of_its_own(filling, recordings):
    """Also on another device; and messages a little out of order are no new drive."""
    mixed = list(recordings["d0"])
    mixed[100], mixed[103] = mixed[103], mixed[100]
    mixed.insert(500, mixed.pop(200))  # one that came late by 30 s
    filling.put(mixed, "d")
    filling.put(recordings["d1"], "d")
    filling.put(recordings["d2"], "d", device="other")
    filling.put(recordings["d2"][:100], None, device="nameless")
    found = from_lake.rows(filling.place.uri)
    assert found.drives == ["car/d", "car/d (2)", "nameless", "other/d"]
    sizes = found.frame.groupby("Drive").size()
    assert dict(sizes) == {
        "car/d": len(mixed),
        "car/d (2)": len(recordings["d1"]),
        "nameless": 100,
        "other/d": len(recordings["d2"]),
    }
    assert all(part["Seconds"].is_monotonic_increasing for _, part in found.frame.groupby("Drive"))
    assert from_lake.rows(filling.place.uri, devices=["other"]).drives == ["d"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(found.dataset().group_names) >= 3


def test_no_rows_is_said(filling, recordings):
    """Before anything drove, and for a drive that there is not."""
    with pytest.raises(DataError, match="Let cars drive"):
        from_lake.rows(filling.place.uri)
    filling.put(recordings["d0"], "d0")
    with pytest.raises(DataError, match="Version 1 "):
        from_lake.rows(filling.place.uri, drives=["d9"])
