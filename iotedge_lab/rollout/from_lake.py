"""The lake as the loop's source: rows of cars since a moment, and the version of the table that they were read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import DataError
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.schema import MAIN
from iotedge_lab.rollout.loop import Rows

if TYPE_CHECKING:
    import os
    from datetime import datetime

    from iotedge_lab.lake.place import LakePlace

COLUMNS: Final = (
    "device",
    "drive_id",
    "time",
    "seconds",
    "latitude",
    "longitude",
    "distance",
    "speed",
    "steering_angle",
    "throttle_position",
    "engine_rpm",
    "lateral_gs",
    "acceleration_gs",
)


class LakeSource:
    """Give it to `Loop`. What was read is held, so that one can travel back to what a model learned from."""

    def __init__(self, lake: Lake | str | os.PathLike[str] | LakePlace, *, hold: bool = True) -> None:
        self.lake = lake if isinstance(lake, Lake) else Lake(lake)
        self._hold = hold

    def __call__(self, since: datetime | None) -> Rows:
        """The rows that arrived since then, or all; in the order in which they were driven, each once.

        A car that drives the same recording again adds nothing, and a row that came twice counts once. A drive is a
        device's: two cars may give theirs the same name. Raises `DataError` where there are none.
        """
        version = self.lake.version()
        found = self.lake.frame(version=version, columns=COLUMNS, since=since)
        if found.empty:
            raise DataError(
                "The lake has no rows of cars since then; wait until it has, or take all of them."
            )
        found["Drive"] = found["device"] + "/" + found["drive_id"].fillna("")
        found = found.drop(columns=["device", "drive_id"]).drop_duplicates(["Drive", "seconds"])
        found = found.sort_values(["Drive", "seconds"], kind="stable", ignore_index=True)
        if self._hold:
            self.lake.hold(version, "a model was trained on it")
        return Rows(found, self.lake.place.table(MAIN), version)
