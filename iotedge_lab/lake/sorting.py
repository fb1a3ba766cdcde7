"""Which table a message belongs to, and as which row.

By the property `messageType`: prediction, detection; without it the message is telemetry, a row of the car as a JSON
object or as the series' CSV line. Whatever does not fit becomes a row of `rejected`: nothing is thrown away.

A row is a tuple in the order of the table's columns; dates are days since 1970, times are µs.
"""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.rows import COLUMNS, NUMBERS, ROW_NAMES, CarRow
from iotedge_lab.errors import DataError
from iotedge_lab.lake.schema import DETECTIONS, PREDICTIONS, REJECTED, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iotedge_lab.lake.messages import Message

Row = tuple[Any, ...]

BAD: Final = "bad"
OTHER: Final = "other"
_DAY: Final = 86_400_000  # ms
_WIDTH: Final = len(COLUMNS)
_REASON: Final = 500  # characters
_LARGEST: Final = 2**63
#: What IoT Hub takes a content encoding for; all else is read as UTF-8.
_ENCODINGS: Final = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def sort(message: Message, log: str) -> tuple[str, Row]:
    """The table's name, and the row. `log`: the log's id."""
    if not message.is_telemetry:
        return REJECTED.name, _rejected(message, log, OTHER, f"The hub's own message ({message.source}).")
    reader = _READERS.get(message.message_type or "")
    if reader is None:
        reason = (
            f"There is no table for messageType {str(message.message_type)[:80]!r}; there are prediction, detection, "
            "and none for a row of the car."
        )
        return REJECTED.name, _rejected(message, log, OTHER, reason)
    try:
        return reader(message, log)
    except DataError as error:
        return REJECTED.name, _rejected(message, log, BAD, str(error))
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number that JSON has and Python's writer refuses (1e999), ...
        return REJECTED.name, _rejected(message, log, BAD, f"The body cannot be kept as a row: {error}")


def _common(message: Message, log: str, drive: Any, extras: Any = None) -> Row:
    properties = message.properties
    return (
        message.enqueued // _DAY,
        message.device,
        log,
        message.partition,
        message.sequence,
        message.enqueued * 1000,
        message.module,
        drive,
        message.message_id,
        _to_json(dict(sorted(properties.items()))) if properties else None,
        _to_json(extras) if extras else None,
    )


def _rejected(message: Message, log: str, kind: str, reason: str) -> Row:
    return (
        *_common(message, log, message.properties.get("driveId")),
        kind,
        reason[:_REASON],
        message.message_type,
        message.content_type or None,
        message.body,
    )


# -- bodies --------------------------------------------------------------------------------------------


def _text(message: Message) -> str:
    encoding = _ENCODINGS.get(message.content_encoding.lower(), "utf-8")
    try:
        return message.body.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"The body is no {encoding} ({error.reason}); send text.") from error


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The body is no JSON ({error}); send a JSON object.") from error
    if not isinstance(found, dict):
        raise DataError(f"The body is {text[:40]!r}; send a JSON object.")
    if "\\u" in text:  # half a pair of surrogates is a text that no file can hold
        try:
            _to_json(found).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"The body holds {error.object[error.start]!a}, half of a character.") from error
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _telemetry(message: Message, log: str) -> tuple[str, Row]:
    text = _text(message)
    extras: Any
    if (
        text.lstrip()[:1] in ("{", "[")
        or message.content_type.partition(";")[0].strip() == "application/json"
    ):
        found = _object(text)
        row = CarRow.from_dict(found)
        time, numbers = row.time, [getattr(row, name) for name in NUMBERS]
        extras = _beyond(found, _CAR) if len(found) > _WIDTH else None
    else:
        time, numbers, extras = csv_row(text)
    common = _common(message, log, message.properties.get("driveId"), extras)
    return TELEMETRY.name, (*common, time, *numbers)


def csv_row(text: str) -> tuple[str, list[float], list[str]]:
    """Time, the ten numbers, and the cells behind them, of a line in the series' order. Raises DataError."""
    line = text.strip("\r\n")
    if "\n" in line or "\r" in line:
        raise DataError("The body has several lines; send one row a message.")
    if '"' in line:
        try:
            cells = next(csv.reader([line]), [])
        except csv.Error as error:
            raise DataError(f"The body is no line of CSV ({error}).") from error
    else:
        cells = line.split(",")
    if len(cells) < _WIDTH:
        raise DataError(
            f"The body is {line[:40]!r}; send a row of the car: a JSON object with {', '.join(ROW_NAMES)}, or a line "
            f"of CSV with these {_WIDTH} in this order."
        )
    numbers = []
    for column, cell in zip(COLUMNS[1:], cells[1:_WIDTH], strict=True):
        try:
            number = math.nan if "_" in cell else float(cell)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"The row's {column.name} is {cell[:40]!r}; send a finite number.")
        numbers.append(number)
    return cells[0].strip(), numbers, cells[_WIDTH:]


def _prediction(message: Message, log: str) -> tuple[str, Row]:
    found = _object(_text(message))
    version = _word(found, "modelVersion") or message.properties.get("modelVersion")
    predicted = _number(found, "predicted")
    if predicted is None and not _flag(found, "warmup"):
        raise DataError("The prediction lacks 'predicted'; send the number, or warmup: true.")
    beside = found.get("challenger")
    if beside is not None and not isinstance(beside, dict):
        raise DataError(
            f"The prediction's challenger is {str(beside)[:40]!r}; send an object, or leave it out."
        )
    beside = beside or {}
    return PREDICTIONS.name, (
        *_common(message, log, _drive(found, message), _beyond(found, _PREDICTION)),
        _word(found, "time"),
        _number(found, "seconds"),
        predicted,
        _number(found, "actual"),
        _number(found, "error"),
        _number(found, "low"),
        _number(found, "high"),
        _flag(found, "warmup"),
        version,
        _word(beside, "modelVersion"),
        _number(beside, "predicted"),
        _number(beside, "error"),
    )


def _detection(message: Message, log: str) -> tuple[str, Row]:
    found = _object(_text(message))
    label = _word(found, "label") or message.properties.get("label")
    if not label:
        raise DataError("The detection lacks 'label'; say what was seen.")
    return DETECTIONS.name, (
        *_common(message, log, _drive(found, message), _beyond(found, _DETECTION)),
        _word(found, "event"),
        message.properties.get("state"),
        label,
        _number(found, "score"),
        *_box(found.get("box")),
        _whole(found, "width"),
        _whole(found, "height"),
        _word(found, "video"),
        _number(found, "time"),
        _number(found, "first"),
        _number(found, "last"),
        _whole(found, "frames"),
        _word(found, "by"),
        _word(found, "plate"),
    )


_READERS: Final[dict[str, Callable[[Message, str], tuple[str, Row]]]] = {
    "": _telemetry,
    "prediction": _prediction,
    "detection": _detection,
}
_CAR: Final = frozenset(ROW_NAMES)
_PREDICTION: Final = frozenset(
    {"driveId", "time", "seconds", "predicted", "actual", "error", "low", "high", "warmup", "modelVersion"}
    | {"challenger"}
)
_DETECTION: Final = frozenset(
    {
        "driveId",
        "event",
        "label",
        "score",
        "box",
        "width",
        "height",
        "video",
        "time",
        "first",
        "last",
        "frames",
    }
    | {"by", "plate"}
)


# -- values --------------------------------------------------------------------------------------------


def _beyond(found: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in known}


def _drive(found: Mapping[str, Any], message: Message) -> str | None:
    return message.properties.get("driveId") or _word(found, "driveId")


def _number(found: Mapping[str, Any], name: str) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{name} is {str(value)[:40]!r}; send a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{name} is {str(value)[:40]}; send a finite number.")
    return number


def _whole(found: Mapping[str, Any], name: str) -> int | None:
    number = _number(found, name)
    if number is None:
        return None
    if not number.is_integer() or not -_LARGEST < number < _LARGEST:
        raise DataError(f"{name} is {str(found[name])[:40]}; send a whole number.")
    return int(number)


def _word(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{name} is {str(value)[:40]!r}; send text.")
    return str(value)


def _flag(found: Mapping[str, Any], name: str) -> bool | None:
    value = found.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise DataError(f"{name} is {str(value)[:40]!r}; send true or false.")


def _box(value: Any) -> tuple[float | None, ...]:
    if value is None:
        return (None, None, None, None)
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"box is {str(value)[:40]!r}; send [left, top, right, bottom].")
    return tuple(_number({"box": each}, "box") for each in value)
