"""Batches into tables: exactly once, by one writer, into tables of the right shape."""

import datetime as dt
import random

import deltalake
import pytest
from lake_cases import LOG, ROW, batch, keys, message

from iotedge_lab.errors import EnvironmentProblem, StateLocked, UsageError
from iotedge_lab.lake import tables as tables_module
from iotedge_lab.lake.place import LakePlace
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.schema import TABLES
from iotedge_lab.lake.sorting import sort
from iotedge_lab.lake.tables import Batch, Tables, application_id

resource = pytest.importorskip("resource", reason="limits of a process's files are a thing of POSIX")


@pytest.fixture
def place(tmp_path):
    return LakePlace.of(tmp_path / "lake")


def all_keys(place):
    """The keys of all rows of a lake, sorted."""
    lake = Lake(place)
    return sorted(key for table in TABLES for key in keys(lake.frame(table.name)))


def wanted(*spans, log=LOG, partition=1):
    """The keys of these messages."""
    return [(log, partition, number) for first, last in spans for number in range(first, last + 1)]


def test_what_is_written_twice_is_there_once(place):
    """Batches that overlap, as after a crash: each message stays one row; another partition counts by itself."""
    made = Tables(place)
    assert made.seen(application_id(LOG, 1)) is None
    made.write(batch(0, 9, rejected=lambda number: number % 3 == 0))
    assert made.seen(application_id(LOG, 1)) == 9
    made.write(batch(0, 0))
    made.write(batch(5, 14, rejected=lambda number: number % 3 == 0))
    again = Tables(place)
    assert again.seen(application_id(LOG, 1)) == 14
    again.write(batch(0, 20, rejected=lambda number: number % 3 == 0))
    again.write(batch(0, 4, partition=0))
    assert all_keys(place) == wanted((0, 4), partition=0) + wanted((0, 20))
    assert again.rows() == {"telemetry": 19, "rejected": 7, "predictions": 0, "detections": 0}
    assert again.rows() == Tables(place).rows()
    assert again.versions() == Lake(place).tables()


@pytest.mark.parametrize("seed", range(5))
def test_a_crash_between_two_tables_loses_and_doubles_nothing(place, seed, monkeypatch):
    """Whatever commit is the last one before the process dies, and however the batches are cut afterwards."""
    chance = random.Random(seed)
    kinds = [chance.random() < 0.4 for _ in range(200)]

    class Killed(BaseException):
        pass

    original = tables_module.Writer._commit
    fuse = [0]

    def commit(self, *arguments):
        if fuse[0] == 0:
            raise Killed
        fuse[0] -= 1
        original(self, *arguments)
        if fuse[0] == 0 and chance.random() < 0.5:
            raise Killed

    monkeypatch.setattr(tables_module.Writer, "_commit", commit)
    lives = 0
    while True:
        lives += 1
        fuse[0] = chance.randrange(1, 8)
        made = Tables(place)
        try:
            seen = made.seen(application_id(LOG, 1))
            at = 0 if seen is None else seen + 1
            while at < 200:
                last = min(199, at + chance.randrange(1, 40))
                made.write(batch(at, last, rejected=lambda number: kinds[number]))
                at = last + 1
            break
        except Killed:
            pass
    assert lives > 1
    assert all_keys(place) == wanted((0, 199))
    assert Lake(place).count("rejected") == sum(kinds)


def test_a_log_of_the_same_numbers_is_another_one(place):
    """A hub made anew counts from 0 again."""
    made = Tables(place)
    made.write(batch(0, 4))
    made.write(batch(0, 4, log="log@2"))
    assert all_keys(place) == wanted((0, 4)) + wanted((0, 4), log="log@2")


def test_a_batch_without_telemetry_moves_its_checkpoint(place):
    """Else all would be read again after a restart, if there were only predictions."""
    made = Tables(place)
    made.write(batch(0, 5, rejected=lambda _: True))
    assert Tables(place).seen(application_id(LOG, 1)) == 5
    assert made.rows()["telemetry"] == 0


def test_of_two_writers_one_goes_on(place):
    """Where no lock holds a lake, the tables' transactions do: no row twice, and the loser says why."""
    one, two = Tables(place), Tables(place)
    one.write(batch(0, 9))
    with pytest.raises(StateLocked, match="Another capture writes to the table"):
        two.write(batch(0, 9))
    with pytest.raises(StateLocked):
        two.write(batch(0, 19))
    one.write(batch(10, 19))
    assert all_keys(place) == wanted((0, 19))


def test_a_claimed_folder_is_refused(place):
    """With what to do."""
    with place.claimed(), pytest.raises(StateLocked, match="name another lake"), place.claimed():
        pass
    with place.claimed():
        pass


def test_a_commit_that_happened_although_it_failed(place, monkeypatch):
    """An object store's answer was lost: the table is asked, and the rows are not written again."""
    made = Tables(place)
    original = deltalake.write_deltalake

    def lost(*arguments, **named):
        original(*arguments, **named)
        raise OSError("connection reset")

    monkeypatch.setattr(deltalake, "write_deltalake", lost)
    made.write(batch(0, 9))
    monkeypatch.setattr(deltalake, "write_deltalake", original)
    made.write(batch(10, 12))
    assert all_keys(place) == wanted((0, 12))


def test_an_object_store_is_tried_again(place, monkeypatch):
    """It fails now and then; a folder that fails is broken. What comes back in time is written once."""
    slept = []
    made = Tables(place, sleep=slept.append)
    original = deltalake.write_deltalake
    failures = [0]

    def write(*arguments, **named):
        if failures[0]:
            failures[0] -= 1
            raise OSError("time-out")
        original(*arguments, **named)

    monkeypatch.setattr(deltalake, "write_deltalake", write)
    for writer in made._writers.values():
        writer._waits = tables_module._WAITS  # as for a place that is a URL
    failures[0] = 3
    made.write(batch(0, 9))
    assert slept == [1.0, 2.0, 4.0]
    failures[0] = 6
    with pytest.raises(EnvironmentProblem, match="failed: time-out"):
        made.write(batch(10, 12))
    assert slept[3:] == [1.0, 2.0, 4.0, 8.0, 15.0]
    made.write(batch(10, 12))
    assert all_keys(place) == wanted((0, 12))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no prlimit here")
def test_a_full_disk_stops_with_its_name_and_loses_nothing(place):
    """The tables stay as they were, and go on when there is room."""
    made = Tables(place)
    made.write(batch(0, 9))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(EnvironmentProblem, match=r"The disk is full.*nothing is lost"):
            made.write(batch(10, 500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert all_keys(place) == wanted((0, 9))
    made.write(batch(10, 500))
    assert all_keys(place) == wanted((0, 500))


@pytest.mark.parametrize(
    ("fields", "partition_by", "said"),
    [
        (["date", "device"], [], "log is missing"),
        ([each.name for each in TABLES[-1].fields], ["date"], "partitioned by date, not date, device"),
    ],
)
def test_a_table_of_another_shape_is_refused(place, fields, partition_by, said):
    """Before anything is written to it."""
    kinds = {each.name: each.kind for each in TABLES[-1].fields}
    deltalake.DeltaTable.create(
        place.table("telemetry"),
        deltalake.Schema(
            [deltalake.Field(name, deltalake.schema.PrimitiveType(kinds[name])) for name in fields]
        ),
        partition_by=partition_by,
    )
    with pytest.raises(UsageError, match="name another lake, or move that table away") as caught:
        Tables(place)
    assert said in str(caught.value)


def test_a_column_of_another_type_is_refused(place):
    """A number of another kind would be cut."""
    fields = [
        deltalake.Field(
            each.name, deltalake.schema.PrimitiveType("string" if each.name == "speed" else each.kind)
        )
        for each in TABLES[-1].fields
    ]
    deltalake.DeltaTable.create(
        place.table("telemetry"), deltalake.Schema(fields), partition_by=["date", "device"]
    )
    with pytest.raises(UsageError, match="speed is string and not double"):
        Tables(place)


NAMES = ["-", "a b", "A", "a", "é", "%41", "x=1", "a:b", "a#?*!(),@$'_+.", "d" * 128]


def test_every_name_of_a_device_and_every_day_has_its_partition(place):
    """Names with characters that mean something in a path, and the turn of a day in UTC."""
    midnight = 1_772_496_000_000
    made = Batch()
    for number, name in enumerate(NAMES):
        told = message(ROW.to_csv_line(), sequence=number, device=name, enqueued=midnight - 1 + number % 2)
        made.add(application_id(LOG, 1), number, *sort(told, LOG))
    Tables(place).write(made)
    lake = Lake(place)
    frame = lake.frame()
    assert sorted(frame["device"]) == sorted(NAMES)
    for number, name in enumerate(NAMES):
        found = lake.frame(devices=[name])
        assert list(found["sequence"]) == [number]
        assert found["date"][0] == dt.date(2026, 3, 2 + number % 2)
    assert len(lake.sql("SELECT * FROM telemetry WHERE device = '%41' AND date = DATE '2026-03-03'")) == 1
    assert list(lake.sql("SELECT device FROM telemetry ORDER BY sequence")["device"]) == NAMES


@pytest.mark.parametrize(
    ("where", "said"),
    [("", "not the empty text"), ("s3://k:secret@b/x", "secret"), ("az://c?sig=x", "secret")],
)
def test_a_place_that_cannot_be_one(where, said):
    """Secrets have no place in a URL, which is shown and logged."""
    with pytest.raises(UsageError, match=said):
        LakePlace.of(where)


def test_places(tmp_path):
    """Folders, file URLs, object stores; options are never shown."""
    assert LakePlace.of(tmp_path).folder == tmp_path
    assert LakePlace.of(f"file://{tmp_path}/a%20b").folder == tmp_path / "a b"
    far = LakePlace.of("abfss://c@a.dfs.core.windows.net/lake/", {"account_key": "secret"})
    assert (far.folder, far.table("telemetry")) == (None, "abfss://c@a.dfs.core.windows.net/lake/telemetry")
    assert "secret" not in repr(far)
