"""Drives in the field's log files: written and read by python-can, BLF first of all.

A `.blf` is what Vector's tools write; `.asc`, `.log` (candump), `.trc` and `.mf4` go the same way. Frames come back
with their identifiers, data and order; times count from the log's first frame, to the microsecond.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import can

from iotedge_lab.car.can.frame import Frame
from iotedge_lab.errors import DataError, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator


_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # BLF files know no earlier moments


def write_log(path: str | os.PathLike[str], frames: Iterable[Frame], *, start: datetime = _EPOCH) -> int:
    """Write frames to a new log, of the kind that the path's ending says; how many. Takes a file's place.

    start: the wall clock at the frames' time 0. Raises UsageError for an ending that python-can does not know, and
    for a place that cannot be written.
    """
    begin = start.timestamp()
    return _written(path, (frame.message(round(begin + frame.time, 6)) for frame in frames))


def record_log(
    path: str | os.PathLike[str], bus: can.BusABC, *, stop: Callable[[], bool], patience: float = 0.2
) -> int:
    """Write what comes from the bus, with its timestamps, until `stop()` (asked each `patience` seconds); how many.

    Raises as `write_log` does.
    """

    def heard() -> Iterator[can.Message]:
        while not stop():
            message = bus.recv(patience)
            if message is not None:
                yield message

    return _written(path, heard())


def read_log(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """The data frames of a log in its order; remote requests, error frames and CAN FD are left out.

    Raises UsageError at once for a file that is not there; DataError when it comes to what cannot be read: an
    unknown ending, damage. A BLF that was cut off (a killed recorder) gives what is whole of it.
    """
    place = Path(path)
    if not place.is_file():
        raise UsageError(f"There is no log {place}; give the path of a .blf, .asc or .log file.")
    return _read(place)


def _read(place: Path) -> Iterator[Frame]:
    begin: float | None = None
    try:
        # Opened here: python-can leaves a file open that turns out to be no BLF.
        with place.open("rb") as file:
            reader = can.BLFReader(file) if place.suffix.lower() == ".blf" else can.LogReader(place)
            with reader:
                for message in reader:
                    if message.is_error_frame or message.is_remote_frame or message.is_fd:
                        continue
                    if begin is None:
                        begin = message.timestamp
                    yield Frame.of(message, round(message.timestamp - begin, 6))
    except Exception as error:
        # What python-can's readers raise depends on the kind of file and on where it is damaged.
        raise DataError(
            f"{place} cannot be read as a log ({type(error).__name__}: {error}); record it again."
        ) from error


def _written(path: str | os.PathLike[str], messages: Iterable[can.Message]) -> int:
    count = 0
    try:
        logger = can.Logger(Path(path))
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{Path(path)} cannot be written: {error}. Give a path that ends in .blf."
        ) from error
    with logger:
        for message in messages:
            logger.on_message_received(message)
            count += 1
    return count
