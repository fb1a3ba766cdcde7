"""A row of the car travels as CSV and as JSON and comes back equal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotedge_lab.car.drives import COLUMNS, HEADER, rows
from iotedge_lab.car.rows import NUMBERS, ROW_NAMES, CarRow
from iotedge_lab.errors import DataError

ROW = CarRow("2026-03-01 10:31:37.000700", 0.0007, 30.27, -97.74, 0.0, 30.647, -0.5, 12.0, 944.0, -0.01, 0.05)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def test_columns_and_fields_agree():
    """Each column is a field of a row, in one order; each has a meaning, each number but one a unit."""
    assert [column.name for column in COLUMNS] == list(ROW_NAMES)
    assert len(COLUMNS) == 11
    assert all(column.meaning for column in COLUMNS)
    assert all(column.unit for column in COLUMNS[1:])


def test_a_csv_line_is_short_and_in_order():
    """Whole numbers go without a decimal point; the order is the header's."""
    assert (
        ROW.to_csv_line() == "2026-03-01 10:31:37.000700,0.0007,30.27,-97.74,0,30.647,-0.5,12,944,-0.01,0.05"
    )


def test_json_carries_the_eleven_names():
    """The message is one flat object by the columns' names."""
    message = json.loads(ROW.to_json())
    assert list(message) == list(ROW_NAMES)
    assert message == ROW.to_dict()
    assert CarRow.from_json(ROW.to_json().encode()) == ROW
    assert CarRow.from_dict(message | {"more": 1}) == ROW


@given(st.builds(CarRow, st.text("0123456789-: ,\"T'"), *[NUMBER] * 10))
def test_rows_survive_the_trip(tmp_path_factory, row):
    """Any row comes back equal from JSON, and from a file of its CSV line."""
    assert CarRow.from_json(row.to_json()) == row
    path = tmp_path_factory.mktemp("row") / "car.csv"
    path.write_text(f"{HEADER}\n{row.to_csv_line()}\n", encoding="utf-8")
    (back,) = rows(path)
    assert [getattr(back, name) for name in NUMBERS] == [getattr(row, name) for name in NUMBERS]
    assert back.time == row.time.strip()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "JSON object"),
        ("null", "JSON object"),
        ('{"time": "x"}', "lacks seconds, latitude"),
        (json.dumps(ROW.to_dict() | {"speed": "fast"}), "speed is 'fast'"),
        (json.dumps(ROW.to_dict() | {"speed": "12"}), "speed is '12'"),
        (json.dumps(ROW.to_dict() | {"speed": None}), "speed is 'None'"),
        (json.dumps(ROW.to_dict() | {"speed": True}), "speed is 'True'"),
        (json.dumps(ROW.to_dict() | {"speed": float("nan")}), "speed is 'nan'"),
        (json.dumps(ROW.to_dict() | {"speed": 10**400}), "speed is '1000"),
        (json.dumps(ROW.to_dict() | {"speed": [1]}), "finite number"),
    ],
    ids=str,
)
def test_what_is_no_row_is_refused(message, words):
    """A message that is no row says which part is not."""
    with pytest.raises(DataError, match=words.replace("[", r"\[")):
        CarRow.from_json(message)
