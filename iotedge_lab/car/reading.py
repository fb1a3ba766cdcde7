"""Reading a car.csv of whatever make: encoding, delimiter, decimal mark and column order are found out.

Understood: UTF-8 with or without byte order mark, UTF-16, Latin-1; gzip; commas, semicolons, tabs or
bars; decimal points or commas, with thousands marks; quotes; `sep=;` before the header; columns in any order
with others among them; blank lines. Timestamps are kept as they are, however irregular. Everything else gets
a DataError with file, line, column and what to do. Leaves out: workbooks (.xlsx) and other units. Imports
nothing heavy: edge modules use it.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.rows import COLUMNS, NUMBERS, CarRow
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE: Final = 200  # rows looked at to learn the decimal mark

_PLAIN_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA_DECIMAL: Final = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?")
_COMMA_THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_POINT_THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?")
_MAGIC: Final = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x89HDF", "an HDF5 or MATLAB file"),
)
_DECIMALS: Final = tuple(column.decimals for column in COLUMNS[1:])


@dataclass(frozen=True, slots=True)
class Line:
    """The cells of one line of a file, and its number, counted from 1."""

    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows before their cells are numbers: where each of the eleven columns is, and how to read it."""

    path: Path
    places: tuple[int, ...]
    """the index of each of `COLUMNS` in a line"""
    header: list[str]
    lines: list[Line]
    comma: bool
    """whether the decimal mark is a comma"""

    def values(self) -> Iterator[tuple[str, list[float]]]:
        """Time and the ten numbers of each row. Raises DataError at the first cell that is no number."""
        time_place, *places = self.places
        width = len(self.header)
        for line in self.lines:
            cells = line.cells
            if len(cells) != width:
                self._check_width(line)
            yield cells[time_place].strip(), [self._number(line, cells[place], place) for place in places]

    def rows(self) -> Iterator[CarRow]:
        """Each row as a CarRow. Raises DataError at the first cell that is no number."""
        for time, numbers in self.values():
            yield CarRow(time, *numbers)

    def _check_width(self, line: Line) -> None:
        """A line may lack cells behind the eleven columns and have empty ones at its end, and nothing else."""
        count, width = len(line.cells), len(self.header)
        what = f"{self.path}, line {line.number}: {count} cells where the header has {width}."
        if count <= max(self.places):
            raise DataError(f"{what} The line was cut short: complete it or delete it.")
        if any(cell.strip() for cell in line.cells[width:]):
            raise DataError(
                f"{what} Are its numbers written with commas? Then separate the cells with semicolons, or quote them."
            )

    def _number(self, line: Line, cell: str, place: int) -> float:
        if not self.comma:
            # The common case first: what Python reads is a number, but for these words and signs.
            try:
                value = float(cell)
            except ValueError:
                pass
            else:
                if "_" not in cell and math.isfinite(value):
                    return value
        text = cell.strip().replace("\u2212", "-").replace("\xa0", "").replace("\u202f", "")
        if self.comma:
            if _POINT_THOUSANDS.fullmatch(text):
                text = text.replace(".", "")
            text = text.replace(",", ".", 1)
        elif _COMMA_THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        if _PLAIN_NUMBER.fullmatch(text):
            value = float(text)
            if math.isfinite(value):
                return value
        name = self.header[place].strip()
        if not text:
            problem, remedy = "is empty", "fill the cell or delete the line"
        elif cell.strip().casefold() == name.casefold():
            problem, remedy = "holds the header again", "delete the repeated header line"
        else:
            problem = f"holds {cell.strip()[:40]!r}, which is no number"
            remedy = "correct the cell (digits, one decimal mark, no unit) or delete the line"
        raise DataError(f"{self.path}, line {line.number}, column {name!r} {problem}: {remedy}.")


def read_table(path: str | os.PathLike[str]) -> Table:
    """Find out how the file is written and split it into cells.

    Raises DataError for a file that is missing, empty, binary, without all eleven columns or without rows.
    """
    source = Path(path)
    text = _text(source)
    stream, delimiter, skipped = _without_preamble(source, text)
    header: Line | None = None
    lines: list[Line] = []
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
    begin = skipped + 1
    try:
        for cells in reader:
            line, begin = Line(begin, cells), reader.line_num + skipped + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = line
            else:
                lines.append(line)
    except csv.Error as error:
        raise DataError(
            f"{source}, line {begin}: {error}. A quote is probably not closed: correct the line."
        ) from error
    if header is None:
        raise DataError(f"{source} is empty; record again or choose another file.")
    places = _places(source, header)
    if not lines:
        raise DataError(f"{source} has a header and no rows below it; record again or choose another file.")
    return Table(source, places, header.cells, lines, _decimal_comma(lines, places))


def _text(source: Path) -> str:
    """The file's text, decompressed and decoded."""
    try:
        data = source.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{source} does not exist; check the path (the working folder is {Path.cwd()})."
        ) from error
    except IsADirectoryError as error:
        raise DataError(f"{source} is a folder; name a CSV file in it.") from error
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}; check its permissions.") from error
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{source} is a damaged gzip file ({error}); copy it again.") from error
    if not data.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise DataError(f"{source} is empty; record again or choose another file.")
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise DataError(f"{source} is {what}, not a CSV file; export or save it as CSV.")
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not valid {encoding} ({error.reason}); save it as UTF-8.") from error
    if "\0" in text:
        raise DataError(f"{source} holds binary data, not text; export it as CSV.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(data: bytes) -> str:
    """The encoding, by its byte order mark, else by where the zero bytes lie, else by trying UTF-8."""
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = data[:200]
    if start[1::2].count(0) > len(start) // 4:
        return "utf-16-le"
    if start[0::2].count(0) > len(start) // 4:
        return "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # Only other columns' names can hold such a letter (a degree sign); each byte decodes to something.
        return "latin-1"
    return "utf-8"


def _without_preamble(source: Path, text: str) -> tuple[io.StringIO, str, int]:
    """The text from its header on, the delimiter, and how many lines were left out before."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    hint = re.fullmatch(r'"?sep=(.)"?', first.strip(" \n"), re.IGNORECASE)
    if hint is not None:
        before, _, rest = text.partition(first + "\n")
        return io.StringIO(rest), hint.group(1), before.count("\n") + 1
    known = {_key(column.header) for column in COLUMNS}

    def matches(delimiter: str) -> int:
        cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        return sum(_key(cell) in known for cell in cells)

    best = max(DELIMITERS, key=matches)
    if matches(best) == 0:
        raise DataError(
            f"{source}: the first line is no header of a car.csv: {first[:60]!r}. "
            f"It must name the columns: {', '.join(column.header for column in COLUMNS)}."
        )
    return io.StringIO(text), best, 0


def _key(header: str) -> str:
    """A column's name without what people and programs change: case, spaces."""
    return re.sub(r"\s+", "", header).casefold()


def _places(source: Path, header: Line) -> tuple[int, ...]:
    """Where each of the eleven columns is."""
    keys = [_key(cell) for cell in header.cells]
    where = f"{source}, line {header.number}"
    places, missing = [], []
    for column in COLUMNS:
        key = _key(column.header)
        if keys.count(key) > 1:
            raise DataError(
                f"{where}: column {column.header!r} is there twice; rename or delete one of the two."
            )
        if key in keys:
            places.append(keys.index(key))
        else:
            missing.append(column.header)
    if missing:
        known = {_key(column.header) for column in COLUMNS}
        others = [cell.strip() for cell in header.cells if cell.strip() and _key(cell) not in known]
        hints = [
            f"is {near[0]!r} meant for {name!r}? Convert it to that unit if it has another, and rename it"
            for name in missing
            if (near := difflib.get_close_matches(name, others, 1, 0.5))
        ]
        hint = "; ".join(hints) or "add the missing ones (a car.csv has all eleven)"
        raise DataError(f"{where}: no column {', '.join(repr(name) for name in missing)}: {hint}.")
    return tuple(places)


def _decimal_comma(lines: list[Line], places: tuple[int, ...]) -> bool:
    """Whether the numbers are written with a decimal comma, judged by the first rows together.

    1,225 alone could be either; a file with a single decimal point outside thousands has points.
    """
    comma = False
    for line in lines[:SAMPLE]:
        for place in places[1:]:
            cell = line.cells[place].strip() if place < len(line.cells) else ""
            if "," in cell and _COMMA_DECIMAL.fullmatch(cell):
                comma = True
            elif "." in cell and not _POINT_THOUSANDS.fullmatch(cell) and _number_like(cell):
                return False
    return comma


def _number_like(cell: str) -> bool:
    return _PLAIN_NUMBER.fullmatch(cell) is not None or _COMMA_THOUSANDS.fullmatch(cell) is not None


def format_row(row: CarRow) -> str:
    """The row as shipped drives are written: every column with its own number of decimals."""
    numbers = (getattr(row, name) for name in NUMBERS)
    cells = (f"{number:.{decimals}f}" for number, decimals in zip(numbers, _DECIMALS, strict=True))
    return ",".join([row.time, *cells])
