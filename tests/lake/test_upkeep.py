"""Compaction keeps every row, and versions last as long as they are to."""

import threading

import pytest
from lake_cases import LOG, batch, keys

from iotedge_lab.errors import UsageError
from iotedge_lab.lake import tables as tables_module
from iotedge_lab.lake.place import LakePlace
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.tables import Tables, application_id
from iotedge_lab.lake.upkeep import Upkeep


@pytest.fixture
def place(tmp_path):
    return LakePlace.of(tmp_path / "lake")


def parquet(place):
    """How many data files of telemetry are on the disk."""
    return len(list((place.folder / "telemetry").rglob("*.parquet"))) - len(
        list((place.folder / "telemetry" / "_delta_log").glob("*.parquet"))
    )


def test_compaction_keeps_the_rows_and_the_versions(place):
    """Forty files of a device become one; what is not crowded stays; every version reads as it did."""
    made = Tables(place)
    for number in range(40):
        made.write(batch(number * 5, number * 5 + 4))
    made.write(batch(0, 4, partition=0, device="other"))
    lake = Lake(place)
    before = lake.frame()
    at_20 = lake.frame(version=20)
    done = Upkeep(place).tend()
    assert (done.written, done.replaced, done.removed) == (1, 40, 0)
    assert lake.frame().equals(before)
    assert lake.frame(version=20).equals(at_20)
    made.write(batch(200, 210))  # the writer goes on from what it has seen
    assert keys(lake.frame(devices=["d"])) == [(LOG, 1, number) for number in range(211)]
    assert Tables(place).seen(application_id(LOG, 1)) == 210
    assert Upkeep(place).tend().replaced == 0


def names(place, pattern="*"):
    """The files of telemetry's log."""
    return sorted(file.name for file in (place.folder / "telemetry" / "_delta_log").glob(pattern))


@pytest.fixture
def often(monkeypatch):
    """A checkpoint each ten versions, so that few of them are enough here."""
    monkeypatch.setattr(tables_module, "_CHECKPOINT", "10")


def test_old_versions_go_unless_they_are_held(place, often):
    """The log is cut, and only files that no version needs are removed; the error says what to do the next time."""
    made = Tables(place)
    for number in range(50):
        made.write(batch(number, number))
    lake = Lake(place)
    lake.hold(7, "car-speed 3")
    lake.hold(7, "car-speed 4")
    assert lake.held() == [7]
    held = lake.frame(version=7)
    keeper = Upkeep(place, keep_versions=20, now=lambda: 0.0)  # so that nothing is too young to be removed
    assert keeper.trim("telemetry") == 0  # too little to be worth it
    keeper.compact("telemetry")
    before = lake.frame()
    files = parquet(place)
    # The log begins at the checkpoint of version 29, which has 29 files; the newest version has one.
    assert keeper.trim("telemetry", slack=10) == 50 - 29
    assert parquet(place) == files - 21
    assert names(place)[:4] == [
        "00000000000000000007.checkpoint.parquet",
        "00000000000000000007.json",
        "00000000000000000029.checkpoint.parquet",
        "00000000000000000029.json",
    ]
    assert lake.frame(version=7).equals(held)
    assert len(lake.frame(version=29)) == 29
    assert lake.frame().equals(before)
    with pytest.raises(UsageError, match=r"Version 40 of telemetry cannot be read any more.*hold\(\)"):
        lake.frame(version=40)
    for gone in (6, 8, 28):
        with pytest.raises(UsageError, match="or not any more"):
            lake.frame(version=gone)
        with pytest.raises(UsageError):
            lake.hold(gone, "too late")
    for number in range(50, 85):  # the writer goes on, over its own next checkpoints
        made.write(batch(number, number))
    assert lake.count() == Tables(place).rows()["telemetry"] == 85
    assert keeper.trim("telemetry", slack=10) > 0
    assert keys(lake.frame()) == [(LOG, 1, number) for number in range(85)]
    assert lake.frame(version=7).equals(held)
    (place.folder / "telemetry" / "_delta_log" / "_last_checkpoint").unlink()  # only a hint of where to begin
    assert Tables(place).seen(application_id(LOG, 1)) == 84


def test_what_is_young_stays(place, often):
    """Files that a kept version needs are as young as it: none is removed within an hour."""
    made = Tables(place)
    for number in range(50):
        made.write(batch(number, number))
    keeper = Upkeep(place, keep_versions=20)
    keeper.compact("telemetry")
    assert keeper.trim("telemetry", slack=10) == 0
    assert len(names(place, "*.json")) == 51 - 28
    assert all(len(Lake(place).frame(version=version)) == version for version in (29, 40, 50))


def test_upkeep_beside_a_writer(place):
    """Commits and compactions at the same time: no commit is lost, and none is refused."""
    made = Tables(place)
    over = threading.Event()
    done = []

    def tend():
        keeper = Upkeep(place)
        while not over.is_set():
            done.append(keeper.compact("telemetry", most_small=3).replaced)

    thread = threading.Thread(target=tend)
    thread.start()
    try:
        for number in range(60):
            made.write(batch(number * 10, number * 10 + 9))
    finally:
        over.set()
        thread.join(60)
    assert sum(done) > 0
    assert keys(Lake(place).frame()) == [(LOG, 1, number) for number in range(600)]
    assert made.rows()["telemetry"] == 600
