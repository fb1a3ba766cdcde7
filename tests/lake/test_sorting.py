"""Which table a message belongs to, as which row."""

import json

import pytest
from lake_cases import ROW, message

from iotedge_lab.car.rows import NUMBERS, ROW_NAMES
from iotedge_lab.lake.schema import BY_NAME, COMMON, TABLES
from iotedge_lab.lake.sorting import sort

PREDICTION = {
    "driveId": "city-1", "time": "2026-03-02 08:00:00", "seconds": 12.5, "predicted": 31.2, "actual": 30.0,
    "error": 1.2, "low": 28.0, "high": 33.0, "warmup": False, "modelVersion": "3",
    "challenger": {"modelVersion": "4", "predicted": 30.1, "error": 0.1},
}  # fmt: skip
DETECTION = {
    "event": "e-1", "label": "Car", "score": 0.83, "box": [1, 2.5, 30, 40], "time": 1.2, "first": 0.4, "last": 2.0,
    "frames": 7, "video": "video-000001.mp4", "width": 640, "height": 480, "by": "detector",
}  # fmt: skip


def sorted_as(made):
    """Table, and the row by column."""
    table, row = sort(made, "log@1")
    fields = BY_NAME[table].names
    assert len(fields) == len(row)
    found = dict(zip(fields, row, strict=True))
    for each in BY_NAME[table].fields:
        assert each.nullable or found[each.name] is not None, each.name
    return table, found


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ROW.to_csv_line(), ""),
        (ROW.to_csv_line() + "\r\n", "text/csv"),
        (ROW.to_json(), "application/json"),
        (" " + ROW.to_json(), ""),
    ],
)
def test_a_row_is_telemetry_in_both_forms(body, content_type):
    """CSV and JSON give the same numbers, exactly."""
    table, row = sorted_as(message(body, content_type=content_type, properties={"driveId": "city-1"}))
    assert table == "telemetry"
    assert [row[name] for name in ROW_NAMES] == [getattr(ROW, name) for name in ROW_NAMES]
    assert (row["drive_id"], row["extras"]) == ("city-1", None)


def test_the_columns_that_all_tables_share():
    """Who, when, which message, and what it was sent with."""
    made = message(
        ROW.to_json(), device="d", module="m", sequence=7, enqueued=86_400_000 * 3 + 5, message_id="x",
        properties={"b": "2", "a": "é"},
    )  # fmt: skip
    _, row = sorted_as(made)
    assert [row[each.name] for each in COMMON] == [
        3, "d", "log@1", 1, 7, (86_400_000 * 3 + 5) * 1000, "m", None, "x", '{"a":"é","b":"2"}', None,
    ]  # fmt: skip


def test_what_a_body_holds_beyond_the_columns_is_kept():
    """Further signals of the bus: keys of JSON, cells of CSV."""
    _, row = sorted_as(message(json.dumps(ROW.to_dict() | {"gear": 3})))
    assert row["extras"] == '{"gear":3}'
    _, row = sorted_as(message(ROW.to_csv_line() + ",3,"))
    assert row["extras"] == '["3",""]'


def test_a_prediction():
    """As ModuleFilterCar sends it; without a challenger, and while it warms up."""
    table, row = sorted_as(message(json.dumps(PREDICTION), message_type="prediction"))
    assert table == "predictions"
    wanted = {
        name: value
        for name, value in PREDICTION.items()
        if name not in ("driveId", "modelVersion", "challenger")
    }
    assert {name: row[name] for name in wanted} == wanted
    assert (row["drive_id"], row["model_version"]) == ("city-1", "3")
    assert (row["challenger_version"], row["challenger_predicted"], row["challenger_error"]) == (
        "4",
        30.1,
        0.1,
    )
    early = {"modelVersion": "3", "warmup": True, "predicted": None}
    table, row = sorted_as(message(json.dumps(early), message_type="prediction"))
    assert (table, row["predicted"], row["challenger_version"]) == ("predictions", None, None)


def test_a_detection():
    """As ModuleFilterCamera sends it; what it lacks is empty."""
    made = message(
        json.dumps(DETECTION), message_type="detection", properties={"state": "end", "label": "Car"}
    )
    table, row = sorted_as(made)
    assert table == "detections"
    assert [row[f"box_{side}"] for side in ("left", "top", "right", "bottom")] == [1.0, 2.5, 30.0, 40.0]
    assert (row["state"], row["label"], row["frames"], row["plate"]) == ("end", "Car", 7, None)
    table, row = sorted_as(message('{"label":"Bus"}', message_type="detection"))
    assert (table, row["label"], row["box_left"]) == ("detections", "Bus", None)


BAD = [
    ("", "", "send a row of the car"),
    ("hello", "", "send a row of the car"),
    ("hello", "application/json", "no JSON"),
    ("[1, 2]", "", "send a JSON object"),
    ("{", "", "no JSON"),
    ('{"time": NaN}', "", "no JSON"),
    ("{}", "", "lacks time, seconds"),
    (json.dumps(ROW.to_dict() | {"speed": "fast"}), "", "speed is 'fast'"),
    (json.dumps(ROW.to_dict()).replace(repr(ROW.speed), "1e999"), "", "speed is 'inf'"),
    (json.dumps(ROW.to_dict() | {"more": 0}).replace('"more": 0', '"more": 1e999'), "", "cannot be kept"),
    (json.dumps(ROW.to_dict() | {"more": "\ud800"}), "", "half of a character"),
    ("[" * 100_000, "", "no JSON"),
    (ROW.to_csv_line().replace(",", ",x", 1), "", "seconds is 'x"),
    (ROW.to_csv_line().replace(",", ",nan,", 1), "", "seconds is 'nan'"),
    (ROW.to_csv_line().replace(",", ",1_0,", 1), "", "seconds is '1_0'"),
    (ROW.to_csv_line() + "\n" + ROW.to_csv_line(), "", "several lines"),
    (ROW.to_csv_line().rpartition(",")[0], "", "send a row of the car"),
    (b"\xff\xfe\x00", "", "no utf-8"),
]


@pytest.mark.parametrize(("body", "content_type", "reason"), BAD)
def test_what_is_no_row_is_rejected_with_the_reason(body, content_type, reason):
    """The body stays as it came."""
    made = message(body, content_type=content_type)
    table, row = sorted_as(made)
    assert (table, row["kind"], row["body"]) == ("rejected", "bad", made.body)
    assert reason in row["reason"]
    assert len(row["reason"]) <= 500


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("prediction", "x", "no JSON"),
        ("prediction", {"modelVersion": "1"}, "lacks 'predicted'"),
        ("prediction", {"predicted": True}, "predicted is 'True'"),
        ("prediction", {"predicted": 1, "warmup": 1}, "warmup is '1'"),
        ("prediction", {"predicted": 1, "challenger": [1]}, "challenger"),
        ("prediction", {"predicted": 10**400}, "predicted is"),
        ("detection", {"score": 1}, "lacks 'label'"),
        ("detection", {"label": "x", "box": [1, 2]}, "box is"),
        ("detection", {"label": "x", "frames": 1.5}, "frames is 1.5"),
        ("detection", {"label": ["x"]}, "label is"),
    ],
)
def test_what_is_no_prediction_or_detection_is_rejected(kind, body, reason):
    """With the key that is wrong."""
    table, row = sorted_as(message(body if isinstance(body, str) else json.dumps(body), message_type=kind))
    assert (table, row["kind"], row["message_type"]) == ("rejected", "bad", kind)
    assert reason in row["reason"]


def test_what_has_no_table_is_kept_beside_what_is_bad():
    """Videos and requests for models are no faults; the hub's own notices are no telemetry."""
    table, row = sorted_as(message("{}", message_type="video"))
    assert (table, row["kind"]) == ("rejected", "other")
    assert "'video'" in row["reason"]
    table, row = sorted_as(message(ROW.to_json(), source="twinchangeevents"))
    assert (table, row["kind"]) == ("rejected", "other")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "UTF-8"])
def test_a_body_is_read_in_its_encoding(encoding):
    """Those that IoT Hub knows."""
    table, _ = sorted_as(message(ROW.to_csv_line().encode(encoding), content_encoding=encoding))
    assert table == "telemetry"


def test_every_column_is_explained_once():
    """The schema is what readers rely on."""
    assert [each.name for each in TABLES] == ["predictions", "detections", "rejected", "telemetry"]
    for table in TABLES:
        assert len(set(table.names)) == len(table.names)
        assert table.fields[: len(COMMON)] == COMMON
        assert all(each.meaning for each in table.fields)
    assert set(NUMBERS) < set(BY_NAME["telemetry"].names)
