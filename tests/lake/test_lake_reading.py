"""Reading: frames, SQL, earlier versions, and what a person is told who asks for what is not there."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from lake_cases import LOG, ROW, keys, message

from iotedge_lab.errors import UsageError
from iotedge_lab.lake.place import LakePlace
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.schema import BY_NAME
from iotedge_lab.lake.sorting import sort
from iotedge_lab.lake.tables import Batch, Tables, application_id

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Two devices, two drives, one message an hour for two days: ten versions of telemetry."""
    place = LakePlace.of(tmp_path_factory.mktemp("read") / "lake")
    made = Tables(place)
    for number in range(48):
        told = message(
            ROW.to_csv_line() if number % 8 != 7 else "bad",
            sequence=number,
            enqueued=int((NOON + timedelta(hours=number)).timestamp() * 1000),
            device=f"car-{number % 2}",
            properties={"driveId": f"drive-{number % 3}"},
        )
        if number % 5 == 0:
            filling = Batch()
        filling.add(application_id(LOG, 1), number, *sort(told, LOG))
        if number % 5 == 4 or number == 47:
            made.write(filling)
    return Lake(place)


def numbers(frame):
    return [number for *_, number in keys(frame)]


def test_a_frame_has_the_columns_in_the_order_of_arrival(lake):
    """All of them, or those that are asked for."""
    frame = lake.frame()
    assert list(frame.columns) == list(BY_NAME["telemetry"].names)
    assert numbers(frame) == [number for number in range(48) if number % 8 != 7]
    assert str(frame["enqueued"].dtype) == "datetime64[us, UTC]"
    few = lake.frame("rejected", columns=["reason", "sequence"])
    assert list(few.columns) == ["reason", "sequence"]
    assert list(few["sequence"]) == [7, 15, 23, 31, 39, 47]


def test_a_frame_is_narrowed_by_who_and_when(lake):
    """`since` is included, `until` is not; without a zone it is UTC, another zone is the same moment."""
    assert {number % 2 for number in numbers(lake.frame(devices=["car-1"]))} == {1}
    assert {number % 3 for number in numbers(lake.frame(drives=["drive-0", "drive-1"]))} == {0, 1}
    since, until = NOON + timedelta(hours=10), NOON + timedelta(hours=14)
    assert numbers(lake.frame(since=since, until=until)) == [10, 11, 12, 13]
    assert numbers(lake.frame(since=since.replace(tzinfo=None), until=until)) == [10, 11, 12, 13]
    east = timezone(timedelta(hours=9))
    assert numbers(lake.frame(since=since.astimezone(east), until=until.astimezone(east))) == [10, 11, 12, 13]
    assert lake.frame(devices=["nobody"]).empty
    assert lake.frame(drives=[]).empty


def test_versions_are_what_they_were(lake):
    """By number and by moment; and SQL over them."""
    assert lake.tables() == {"detections": 0, "predictions": 0, "rejected": 6, "telemetry": 10}
    assert numbers(lake.frame(version=2)) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert lake.frame(version=0).empty
    assert lake.count(version=2) == 9
    history = lake.history()
    assert list(history["version"]) == list(range(10, -1, -1))
    assert list(history["rows"])[-3:] == [4, 5, 0]
    when = history["time"][4].to_pydatetime()
    assert 5 <= lake.version_at(when) <= 10  # several may be of one moment
    assert lake.version_at(datetime.now(UTC) + timedelta(days=1)) == 10
    assert lake.sql("SELECT count(*) AS n FROM telemetry", versions={"telemetry": 2})["n"][0] == 9


def test_sql_joins_tables_and_knows_times(lake):
    """Times are UTC, partitions are columns, and a statement without an answer gives an empty frame."""
    found = lake.sql(
        "SELECT date, date_trunc('day', enqueued) AS day, count(*) AS n, max(sequence) AS last FROM telemetry "
        "GROUP BY ALL ORDER BY date"
    )
    assert list(found["n"]) == [11, 21, 10]
    assert str(found["day"][1]) == "2026-03-03 00:00:00+00:00"
    assert str(found["date"][1])[:10] == "2026-03-03"
    assert lake.sql("SELECT count(*) AS n FROM telemetry JOIN rejected USING (device)")["n"][0] == 18 * 6
    assert lake.sql("SET threads = 1").empty
    assert set(lake.drives()["drive_id"]) == {"drive-0", "drive-1", "drive-2"}
    assert lake.drives()["rows"].sum() == 42


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda lake: lake.frame("telemetries"), "There is no table 'telemetries'"),
        (lambda lake: lake.frame(columns=["sped"]), "has no column sped; there are date, device"),
        (lambda lake: lake.frame(version=11), "no version 11, or not any more: the newest is 10"),
        (lambda lake: lake.sql("SELECT sped FROM telemetry"), "DuckDB refuses the query.*sped"),
        (lambda lake: lake.sql("SELECT 1", versions={"x": 1}), "There is no table 'x'"),
        (lambda lake: lake.version_at(datetime(2020, 1, 1)), "no version of 2020-01-01"),  # noqa: DTZ001
        (lambda lake: Lake(lake.place.uri + "/nowhere").frame(), "Start a capture"),
        (lambda lake: Lake(lake.place.uri + "/nowhere").frame(version=3), "Start a capture"),
        (lambda lake: Lake(lake.place.uri + "/nowhere").sql("SELECT 1"), "Start a capture"),
    ],
)
def test_what_is_not_there_is_said(lake, ask, said):
    """With what there is."""
    with pytest.raises(UsageError, match=f"(?s){said}"):
        ask(lake)
