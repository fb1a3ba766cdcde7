"""The lake as the loop's source: rows of cars since a moment, and the version of the table that they were read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.lake.reading import Lake
from iotedge_lab.rollout.loop import Rows
from iotedge_lab.train import from_lake

if TYPE_CHECKING:
    import os
    from datetime import datetime

    from iotedge_lab.lake.place import LakePlace


class LakeSource:
    """Give it to `Loop`. What was read is held, so that one can travel back to what a model learned from."""

    def __init__(self, lake: Lake | str | os.PathLike[str] | LakePlace) -> None:
        self.lake = lake if isinstance(lake, Lake) else Lake(lake)

    def __call__(self, since: datetime | None) -> Rows:
        """The rows that arrived since then, or all, as `train.from_lake.rows` gives them. Raises `DataError`."""
        found = from_lake.rows(self.lake, since=since, hold="a model was trained on it")
        return Rows(found.frame, found.table, found.table_version)
