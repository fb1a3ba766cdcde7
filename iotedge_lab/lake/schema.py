"""The tables of a lake and their columns: what a reader may rely on.

Every table has the columns of `COMMON` and is partitioned by `date` and `device`. (log, partition, sequence) is the
key: no two rows of a lake share it, and each message of the hub is a row of exactly one table.

    telemetry     rows of a car: messages without a `messageType`
    predictions   messageType=prediction, as ModuleFilterCar sends them
    detections    messageType=detection, as ModuleFilterCamera sends them
    rejected      all else, with the reason and the body: what is not what it says it is, and what has no table

Columns are never taken away, renamed or given another type; a lake of another shape is refused (`tables`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from iotedge_lab.car.rows import COLUMNS as CAR_COLUMNS

Kind = Literal["string", "integer", "long", "double", "boolean", "date", "timestamp", "binary"]
PARTITION_BY: Final = ("date", "device")


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its name, Delta's type, what it means, and whether it may be empty."""

    name: str
    kind: Kind
    meaning: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, what it holds, its columns in order."""

    name: str
    meaning: str
    fields: tuple[Field, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(each.name for each in self.fields)


COMMON: Final = (
    Field("date", "date", "the day it arrived at the hub, UTC", nullable=False),
    Field("device", "string", "the device that sent it, or whose module did; '-' where none is named", nullable=False),
    Field("log", "string", "the hub's log: name of the built-in endpoint, and when it was created", nullable=False),
    Field("partition", "integer", "of the log", nullable=False),
    Field("sequence", "long", "its number in the partition", nullable=False),
    Field("enqueued", "timestamp", "when it arrived at the hub, UTC", nullable=False),
    Field("module", "string", "the module that sent it; empty for a device"),
    Field("drive_id", "string", "the drive it belongs to (driveId)"),
    Field("message_id", "string", "the sender's id of the message"),
    Field("properties", "string", "the application properties as a JSON object, names sorted"),
    Field("extras", "string", "what else the body holds: a JSON object, or the array of a CSV line's rest"),
)  # fmt: skip

TELEMETRY: Final = Table(
    "telemetry",
    "what cars measured",
    (
        *COMMON,
        *(
            Field(each.name, "string" if each.name == "time" else "double", _meaning, nullable=False)
            for each in CAR_COLUMNS
            for _meaning in [f"{each.header}: {each.meaning}" + (f" ({each.unit})" if each.unit else "")]
        ),
    ),
)

PREDICTIONS: Final = Table(
    "predictions",
    "what models on the edge predicted",
    (
        *COMMON,
        Field("time", "string", "of the row that was predicted"),
        Field("seconds", "double", "of that row"),
        Field("predicted", "double", "speed (mph)"),
        Field("actual", "double", "speed that was measured (mph)"),
        Field("error", "double", "predicted less actual (mph)"),
        Field("low", "double", "lower end of the interval (mph)"),
        Field("high", "double", "upper end of the interval (mph)"),
        Field("warmup", "boolean", "whether the features did not look back far enough yet"),
        Field("model_version", "string", "the version that predicted"),
        Field("challenger_version", "string", "the version that ran beside it"),
        Field("challenger_predicted", "double", "what that one predicted (mph)"),
        Field("challenger_error", "double", "its error (mph)"),
    ),
)

DETECTIONS: Final = Table(
    "detections",
    "what cameras saw",
    (
        *COMMON,
        Field("event", "string", "id of the event; the same in the messages of its begin and its end"),
        Field("state", "string", "begin or end"),
        Field("label", "string", "what it is", nullable=False),
        Field("score", "double", "how sure the best frame is, 0 to 1"),
        Field("box_left", "double", "of that frame, in pixels"),
        Field("box_top", "double", "of that frame, in pixels"),
        Field("box_right", "double", "of that frame, in pixels"),
        Field("box_bottom", "double", "of that frame, in pixels"),
        Field("width", "long", "of the frame, in pixels"),
        Field("height", "long", "of the frame, in pixels"),
        Field("video", "string", "file"),
        Field("time", "double", "of the best frame, s from the video's begin"),
        Field("first", "double", "when it was seen first, s"),
        Field("last", "double", "when it was seen last, s"),
        Field("frames", "long", "in how many frames"),
        Field("by", "string", "detector or motion"),
        Field("plate", "string", "what a number plate says"),
    ),
)

REJECTED: Final = Table(
    "rejected",
    "messages that are rows of no other table",
    (
        *COMMON,
        Field("kind", "string", "bad: it is not what it says it is; other: there is no table for it", nullable=False),
        Field("reason", "string", "what is wrong, and what to send instead", nullable=False),
        Field("message_type", "string", "the property messageType"),
        Field("content_type", "string", "as the sender gave it"),
        Field("body", "binary", "as it came", nullable=False),
    ),
)  # fmt: skip

#: In the order in which a batch is written: telemetry last, as its checkpoint says that all of a batch is there.
TABLES: Final = (PREDICTIONS, DETECTIONS, REJECTED, TELEMETRY)
BY_NAME: Final = {each.name: each for each in TABLES}
MAIN: Final = TELEMETRY.name

DATE: Final = 0
DEVICE: Final = 1
LOG: Final = 2
PARTITION: Final = 3
SEQUENCE: Final = 4
"""Where these columns are in a row."""
