"""Upkeep of the tables: many small files become a few large ones, and what no version needs any more is removed.

A batch a second is a file a second for each device. Once a partition (a day of a device) has so many small ones, they
are written together (`optimize compact`, no z-order: the rows are in the order of their numbers already). That changes
no row and takes no version away. `vacuum` does, after `keep_days`; held versions stay (`holds`).

Two steps, so that large files are not written anew each time: files below 1 MB into such of about 1 MB, and now and
then those into such of 64 MB.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.lake import holds, libraries
from iotedge_lab.lake.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.lake.place import LakePlace

log = logging.getLogger(__name__)

EVERY: Final = 20.0  # s between looks
SMALL: Final = 1_000_000  # bytes
LARGE: Final = 64_000_000
MOST_SMALL: Final = 30  # files of a partition
MOST_MIDDLE: Final = 20
AT_ONCE: Final = 50  # partitions in one commit
_VACUUM: Final = 3600.0  # s


@dataclass(frozen=True, slots=True)
class Done:
    """What one round did, in files."""

    written: int = 0
    replaced: int = 0
    removed: int = 0


class Upkeep:
    """Of one lake. `tend` blocks: it is for a thread of its own."""

    def __init__(
        self, place: LakePlace, *, keep_days: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._place = place
        self._keep_days = keep_days
        self._monotonic = monotonic
        self._vacuum_at = monotonic() + 60.0

    def tend(self) -> Done:
        """Whatever is due, table by table. What fails is tried again the next time, and said in the log."""
        total = Done()
        remove = self._monotonic() >= self._vacuum_at
        if remove:
            self._vacuum_at = self._monotonic() + _VACUUM
        for table in TABLES:
            try:
                done = self.compact(table.name)
                removed = self.vacuum(table.name) if remove else 0
            except Exception as error:  # noqa: BLE001 - rows are safe whatever becomes of this
                log.warning("upkeep of %s failed, it is tried again: %s", table.name, libraries.told(error))
                continue
            if done.replaced or removed:
                log.info(
                    "%s: %d files became %d, %d were removed",
                    table.name,
                    done.replaced,
                    done.written,
                    removed,
                )
            total = Done(
                total.written + done.written, total.replaced + done.replaced, total.removed + removed
            )
        return total

    def compact(self, table: str, *, most_small: int = MOST_SMALL, most_middle: int = MOST_MIDDLE) -> Done:
        """Write together the files of those partitions of a table that have too many."""
        found = self._open(table)
        small, middle = _files(found)
        written = replaced = 0
        for counts, most, size in ((small, most_small, SMALL), (middle, most_middle, LARGE)):
            crowded = [key for key, count in counts.most_common() if count > most]
            days: dict[str, list[str]] = {}
            for day, device in crowded:
                days.setdefault(day, []).append(device)
            for day, devices in days.items():
                for begin in range(0, len(devices), AT_ONCE):
                    told = found.optimize.compact(
                        partition_filters=[
                            ("date", "=", day),
                            ("device", "in", devices[begin : begin + AT_ONCE]),
                        ],
                        target_size=size,
                        max_concurrent_tasks=1,
                    )
                    written += int(told["numFilesAdded"])
                    replaced += int(told["numFilesRemoved"])
        return Done(written, replaced)

    def vacuum(self, table: str) -> int:
        """Remove the files that no version of the last `keep_days` needs, and none that is held; how many."""
        found = self._open(table)
        options: dict[str, Any] = {
            "retention_hours": round(self._keep_days * 24),
            "enforce_retention_duration": False,
            "keep_versions": sorted(holds.held(self._place, table)) or None,
            "full": True,  # also what a process that was killed had begun to write
        }
        # It writes two versions of its own, so it is asked first whether there is anything.
        if not found.vacuum(dry_run=True, **options):
            return 0
        return len(found.vacuum(dry_run=False, **options))

    def _open(self, table: str) -> Any:
        return libraries.delta().DeltaTable(
            self._place.table(table), storage_options=dict(self._place.options) or None
        )


def _files(table: Any) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """By partition (day, device): how many files are small, and how many of middle size."""
    small: Counter[tuple[str, str]] = Counter()
    middle: Counter[tuple[str, str]] = Counter()
    actions = table.get_add_actions(flatten=True)
    if not actions.num_rows:
        return small, middle
    columns = [
        actions.column(name).to_pylist() for name in ("partition.date", "partition.device", "size_bytes")
    ]
    for day, device, size in zip(*columns, strict=True):
        if size < SMALL * 0.9:
            small[str(day), str(device)] += 1
        elif size < LARGE * 0.9:
            middle[str(day), str(device)] += 1
    return small, middle
