"""Compaction keeps every row, and versions last as long as they are to."""

import threading

import pytest
from lake_cases import LOG, batch, keys

from iotedge_lab.errors import UsageError
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
    done = Upkeep(place, keep_days=7).tend()
    assert (done.written, done.replaced, done.removed) == (1, 40, 0)
    assert lake.frame().equals(before)
    assert lake.frame(version=20).equals(at_20)
    made.write(batch(200, 210))  # the writer goes on from what it has seen
    assert keys(lake.frame(devices=["d"])) == [(LOG, 1, number) for number in range(211)]
    assert Tables(place).seen(application_id(LOG, 1)) == 210
    assert Upkeep(place, keep_days=7).tend().replaced == 0


def test_versions_are_removed_when_they_are_old_unless_they_are_held(place):
    """Only the files that no version needs; the error says what to do the next time."""
    made = Tables(place)
    for number in range(40):
        made.write(batch(number, number))
    lake = Lake(place)
    lake.hold(7, "car-speed 3")
    lake.hold(7, "car-speed 4")
    assert lake.held() == [7]
    held = lake.frame(version=7)
    keeper = Upkeep(place, keep_days=0)
    keeper.compact("telemetry")
    assert parquet(place) == 41
    assert keeper.vacuum("telemetry") == 33
    assert parquet(place) == 8
    assert lake.frame(version=7).equals(held)
    assert len(lake.frame()) == 40
    with pytest.raises(UsageError, match=r"Version 30 of telemetry cannot be read any more.*hold\(\)"):
        lake.frame(version=30)
    with pytest.raises(UsageError):
        lake.hold(99, "none")
    made.write(batch(40, 41))
    assert lake.count() == 42


def test_upkeep_beside_a_writer(place):
    """Commits and compactions at the same time: no commit is lost, and none is refused."""
    made = Tables(place)
    over = threading.Event()
    done = []

    def tend():
        keeper = Upkeep(place, keep_days=7)
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
