"""Any car.csv is read right or refused with file, line, column and what to do."""

import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotedge_lab.car import drives
from iotedge_lab.car.drives import HEADER, load, rows
from iotedge_lab.errors import DataError

LINES = [
    "2018-04-08 10:34:04.590700,841.893388,30.32068,-97.753684,8.1,0.591,0.6,3,671,0.01,-0.01",
    "2018-04-08 10:34:04.690701,841.993388,30.32069,-97.753685,8.1,20.5,-12.6,33,1225,-0.05,0.17",
    "2018-04-08 10:34:04.690756,841.993443,30.32069,-97.753685,8.1,20.5,-12.6,33,1225,-0.05,0.17",
]
PLAIN = "\n".join([HEADER, *LINES, ""])
SPEEDS = [0.591, 20.5, 20.5]


def semicolons(text):
    return text.replace(",", ";")


def german(text):
    head, *lines = text.splitlines()
    return "\n".join([semicolons(head), *(semicolons(line).replace(".", ",") for line in lines), ""])


def quoted(text):
    return "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines())


def reordered(text):
    return "\n".join(",".join([*reversed(line.split(",")), "extra"]) for line in text.splitlines())


READABLE = {
    "plain": PLAIN.encode(),
    "no newline at the end": PLAIN.rstrip().encode(),
    "CRLF": PLAIN.replace("\n", "\r\n").encode(),
    "old Mac line ends": PLAIN.replace("\n", "\r").encode(),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16 with mark": PLAIN.encode("utf-16"),
    "UTF-16 big end first, marked": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-16 little, unmarked": PLAIN.encode("utf-16-le"),
    "UTF-16 big, unmarked": PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "gzip": gzip.compress(PLAIN.encode()),
    "semicolons": semicolons(PLAIN).encode(),
    "semicolons and decimal commas": german(PLAIN).encode(),
    "decimal commas, thousands points": german(PLAIN).replace("1225", "1.225").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "tabs and decimal commas": german(PLAIN).replace(";", "\t").encode(),
    "bars": PLAIN.replace(",", "|").encode(),
    "quoted": quoted(PLAIN).encode(),
    "quoted decimal commas": quoted(PLAIN).replace(".", ",").encode(),
    "thousands commas, quoted": PLAIN.replace("1225", '"1,225"').encode(),
    "sep= line": b"sep=;\r\n" + semicolons(PLAIN).encode(),
    "blank lines": ("\n\n" + PLAIN.replace("\n", "\n\n") + "\n , \n,,,,,,,,,,\n\n").encode(),
    "spaces": PLAIN.replace(",", " , ").encode(),
    "header in another case": PLAIN.replace("Speed (MPH)", "speed (mph)")
    .replace("Engine RPM", "ENGINE  rpm")
    .encode(),
    "another order and an extra column": reordered(PLAIN).encode(),
    "extra column with a degree sign in Latin-1": "\n".join(
        f"{line},{'Temp °C' if line == HEADER else '20'}" for line in PLAIN.splitlines()
    ).encode("latin-1"),
    "extra column not always there": PLAIN.replace("Acceleration Gs\n", "Acceleration Gs,Note\n").encode(),
    "a comma at each end": PLAIN.replace("\n", ",\n").encode(),
    "exponents": PLAIN.replace("20.5", "2.05E1").encode(),
    "minus of a typographer": PLAIN.replace("-12.6", "\u221212.6").encode(),
    "plus signs": PLAIN.replace("20.5", "+20.5").encode(),
}


@pytest.mark.parametrize("data", READABLE.values(), ids=READABLE.keys())
def test_variants_are_read_alike(tmp_path, data):
    """However it is written, the same recording gives the same rows and the same DataFrame."""
    path = tmp_path / "car.csv"
    path.write_bytes(data)
    plain = tmp_path / "plain.csv"
    plain.write_text(PLAIN, encoding="utf-8")
    read = list(rows(path))
    assert [row.speed for row in read] == SPEEDS
    frame = load(path)
    assert list(frame.columns) == HEADER.split(",")
    assert (frame.drop(columns="Time").dtypes == "float64").all()
    times = [row.time.replace(",", ".") for row in read]
    assert times == [row.time for row in rows(plain)]
    if times == [row.time for row in read]:
        assert read == list(rows(plain))
        assert frame.equals(load(plain))


def test_irregular_times_are_kept(tmp_path):
    """Steps of 55 us stay steps of 55 us; rows are neither dropped nor evened out."""
    path = tmp_path / "car.csv"
    path.write_text(PLAIN, encoding="utf-8")
    frame = load(path)
    assert list(frame["Seconds"]) == [841.893388, 841.993388, 841.993443]
    assert (frame["Time"].iloc[2] - frame["Time"].iloc[1]).total_seconds() == pytest.approx(55e-6)
    assert frame["Time"].dtype.kind == "M"


def test_times_that_are_no_dates_stay_text(tmp_path):
    """A clock without a date, or a date of another form, is kept as it is written."""
    path = tmp_path / "car.csv"
    path.write_text(PLAIN.replace("2018-04-08 ", ""), encoding="utf-8")
    assert load(path)["Time"].iloc[0] == "10:34:04.590700"


REFUSED = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n \n", "is empty"),
    "only a mark": (b"\xef\xbb\xbf", "is empty"),
    "empty gzip": (gzip.compress(b""), "is empty"),
    "header only": (HEADER.encode() + b"\n\n", "a header and no rows"),
    "no header": ("\n".join(LINES).encode(), "first line is no header"),
    "another table": (b"name,age\nx,1\n", "first line is no header"),
    "missing column": (
        "\n".join(line.rsplit(",", 1)[0] for line in PLAIN.splitlines()).encode(),
        "line 1: no column 'Acceleration Gs'",
    ),
    "another unit": (
        PLAIN.replace("Speed (MPH)", "Speed (km/h)").encode(), "is 'Speed (km/h)' meant for 'Speed (MPH)'? Convert",
    ),
    "column twice": (
        "\n".join(f"{line},{line.split(',')[5]}" for line in PLAIN.splitlines()).encode(),
        "'Speed (MPH)' is there twice",
    ),
    "text in a number": (
        PLAIN.replace("1225", "fast", 1).encode(),
        "car.csv, line 3, column 'Engine RPM' holds 'fast', which is no number: correct the cell",
    ),
    "a unit in a number": (
        PLAIN.replace(",33,", ",33 %,", 1).encode(),
        "line 3, column 'Throttle Position' holds '33 %'",
    ),
    "nan": (PLAIN.replace("1225", "nan", 1).encode(), "holds 'nan'"),
    "infinity": (PLAIN.replace("1225", "1e999", 1).encode(), "holds '1e999'"),
    "underscore": (PLAIN.replace("1225", "1_225", 1).encode(), "holds '1_225'"),
    "empty cell": (PLAIN.replace("1225", "", 1).encode(), "line 3, column 'Engine RPM' is empty: fill"),
    "header again": (f"{PLAIN}{PLAIN}".encode(), "line 5, column 'Seconds' holds the header again"),
    "cut short": (PLAIN[:-30].encode(), "line 4: 6 cells where the header has 11. The line was cut short"),
    "decimal commas unquoted": (
        PLAIN.replace("20.5", "20,5").encode(), "line 3: 12 cells where the header has 11. Are its numbers",
    ),
    "mixed decimal marks": (semicolons(PLAIN).replace("20.5", "20,5").encode(), "holds '20,5'"),
    "quote not closed": (PLAIN.replace("2018", '"2018', 1).encode(), "line 2: 1 cells"),
    "Excel": (b"PK\x03\x04rest", "an Excel workbook, not a CSV file; export"),
    "Parquet": (b"PAR1....PAR1", "a Parquet file"),
    "damaged gzip": (gzip.compress(PLAIN.encode())[:60], "damaged gzip"),
    "gzip with a wrong sum": (gzip.compress(PLAIN.encode())[:-8] + bytes(8), "damaged gzip"),
    "binary": (HEADER.encode() + b"\n\x00\x01\x02\x00", "binary data"),
    "half a UTF-16 letter": (PLAIN.encode("utf-16")[:-1], "not valid utf-16"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_says_why(tmp_path, data, words):
    """The error names the file, the place, and what to do."""
    path = tmp_path / "car.csv"
    path.write_bytes(data)
    for read in (lambda: list(rows(path)), lambda: load(path)):
        with pytest.raises(DataError, match=re.escape(words)) as caught:
            read()
        assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    """A path that names no file says so at once, before a row is asked for."""
    with pytest.raises(DataError, match="does not exist"):
        rows(tmp_path / "no.csv")
    with pytest.raises(DataError, match="is a folder"):
        rows(tmp_path)


def test_rows_before_a_bad_one_are_given(tmp_path):
    """Rows come one by one: those before a bad cell are there, the error comes at it."""
    path = tmp_path / "car.csv"
    path.write_text(PLAIN.replace("-97.753685", "west"), encoding="utf-8")
    source = rows(path)
    assert next(source).speed == 0.591
    with pytest.raises(DataError, match="line 3"):
        next(source)


@given(
    st.binary(max_size=300)
    | st.text(max_size=200).map(lambda text: f"{HEADER}\n{text}".encode("utf-8", "replace"))
)
def test_nothing_else_escapes(tmp_path_factory, data):
    """Whatever a file holds: rows, or a DataError."""
    path = tmp_path_factory.mktemp("any") / "car.csv"
    path.write_bytes(data)
    problem = f"{path}"
    try:
        read = list(rows(path))
    except DataError as error:
        problem = str(error)
    else:
        assert all(isinstance(row, drives.CarRow) for row in read)
    assert str(path) in problem
