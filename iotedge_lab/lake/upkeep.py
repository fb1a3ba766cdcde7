"""Upkeep of the tables: many small files become a few large ones, and what is too old to be of use is removed.

A batch a second is a file a second for each device. Once a partition (a day of a device) has so many small ones, they
are written together (`optimize compact`, no z-order: the rows are in the order of their numbers already). That changes
no row and takes no version away. Two steps, so that large files are not written anew each time: files below 1 MB into
such of about 1 MB, and now and then those into such of 64 MB.

It is also a file a second in the table's log, and each commit lists them all. So the log keeps the newest few thousand
versions, and those that are held (`holds`), as a checkpoint each; then the data files that no kept version needs are
removed (`vacuum`). Delta's own clean-up of the log is switched off: it knows days, and nothing of held versions.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.lake import holds, libraries
from iotedge_lab.lake.place import KEPT
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
SLACK: Final = 500  # versions beyond those that are kept, before the log is cut
_LOG_FILE: Final = re.compile(r"(\d{20})\..+")


@dataclass(frozen=True, slots=True)
class Done:
    """What one round did, in files."""

    written: int = 0
    replaced: int = 0
    removed: int = 0


class Upkeep:
    """Of one lake. `tend` blocks: it is for a thread of its own."""

    def __init__(
        self, place: LakePlace, *, keep_versions: int = KEPT, now: Callable[[], float] = time.time
    ) -> None:
        self._place = place
        self._keep = keep_versions
        self._now = now
        self._begins: dict[str, int] = {}  # by table: the version that its log was cut at

    def tend(self) -> Done:
        """Whatever is due, table by table. What fails is tried again the next time, and said in the log."""
        total = Done()
        for table in TABLES:
            try:
                done = self.compact(table.name)
                removed = self.trim(table.name)
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
        small, middle = _crowds(found)
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

    def trim(self, table: str, *, slack: int = SLACK) -> int:
        """Cut the log behind the versions that are kept, and remove the files that none of them needs; how many."""
        found = self._open(table)
        limit = int(found.version()) - self._keep
        if limit - self._begins.get(table, 0) < slack:
            return 0
        names = self._log_files(table)
        checkpoints = {
            version for version, each in names.items() if any(".checkpoint" in name for name in each)
        }
        # The log begins with a checkpoint: what comes after it can be read, each version of it.
        cut = max((version for version in checkpoints if version <= limit), default=0)
        if cut <= self._begins.get(table, 0):
            return 0
        held = self._with_checkpoints(table, cut, checkpoints)
        for version in sorted(names):
            if version < cut and version not in held:
                self._delete(table, names[version])
        self._begins[table] = cut
        return self._vacuum(table, [cut, *sorted(held)])

    def _with_checkpoints(self, table: str, cut: int, checkpoints: set[int]) -> set[int]:
        """The held versions before `cut`, each with a checkpoint of its own, so that it needs no log before it."""
        held = {version for version in holds.held(self._place, table) if version < cut}
        made = False
        for version in sorted(held - checkpoints):
            try:
                self._open(table, version).create_checkpoint()
            except Exception as error:  # noqa: BLE001 - it was held too late
                log.warning("version %d of %s is held, and gone: %s", version, table, libraries.told(error))
                held.discard(version)
            else:
                made = True
        if made:
            # The last checkpoint that is made is where readers begin: it must be that of the newest version again.
            self._open(table).create_checkpoint()
        return held

    def _vacuum(self, table: str, kept: list[int]) -> int:
        """Remove the files that no version from the first of `kept` on needs, nor any of the others."""
        begin = self._open(table, kept[0]).get_add_actions(flatten=True)
        if not begin.num_rows:
            return 0
        # What was written later is younger than this; what that version has is kept by its number.
        youngest = max(begin.column("modification_time").to_pylist())
        hours = (self._now() - youngest / 1000) / 3600
        return len(
            self._open(table).vacuum(
                retention_hours=math.ceil(max(0.0, hours)),
                dry_run=False,
                enforce_retention_duration=False,
                full=True,  # also what a process that was killed had begun to write
                keep_versions=kept,
            )
        )

    def _log_files(self, table: str) -> dict[int, list[str]]:
        """The files of a table's log by version."""
        folder = self._place.folder
        if folder is not None:
            names = [each.name for each in (folder / table / "_delta_log").iterdir()]
        else:
            # deltalake lists a store for pyarrow alone; a folder needs none of it, and its 40 MB.
            selector = import_module("pyarrow.fs").FileSelector("_delta_log")
            files = self._files(table).get_file_info_selector(selector)
            names = [each.base_name for each in files]
        found: dict[int, list[str]] = {}
        for name in names:
            match = _LOG_FILE.fullmatch(name)
            if match is not None:
                found.setdefault(int(match[1]), []).append(name)
        return found

    def _delete(self, table: str, names: list[str]) -> None:
        folder = self._place.folder
        for name in names:
            if folder is not None:
                (folder / table / "_delta_log" / name).unlink(missing_ok=True)
            else:
                self._files(table).delete_file(f"_delta_log/{name}")

    def _files(self, table: str) -> Any:
        from deltalake.fs import DeltaStorageHandler

        return DeltaStorageHandler(self._place.table(table), dict(self._place.options))

    def _open(self, table: str, version: int | None = None) -> Any:
        return libraries.delta().DeltaTable(
            self._place.table(table), version=version, storage_options=dict(self._place.options) or None
        )


def _crowds(table: Any) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
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
