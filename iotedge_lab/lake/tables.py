"""Writing: one batch into all tables, exactly once, however often the process dies.

Each commit carries a Delta application transaction a partition: the application id is `{log}/{partition}`, the version
the last sequence number that the table has seen ("Transaction identifiers", Delta protocol). It is in the same atomic
commit as the rows, so the table is its own checkpoint: after a crash the rows that a table has are left out for it, and
only for it.

A batch goes into the tables one after another, telemetry last, and into telemetry even without a row: what telemetry
has seen is in all tables. There reading starts again.

Two processes that write to one lake: each holds the tables as it has seen them, and a commit with an application id
that another one has moved meanwhile is refused (`ConcurrentTransaction`). So one of them stops, and no row is there
twice.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import StateLocked, UsageError
from iotedge_lab.lake import libraries
from iotedge_lab.lake.schema import BY_NAME, LOG, MAIN, PARTITION, PARTITION_BY, SEQUENCE, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from iotedge_lab.lake.place import LakePlace
    from iotedge_lab.lake.schema import Table
    from iotedge_lab.lake.sorting import Row

log = logging.getLogger(__name__)

_WAITS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""s before an object store that failed is asked again"""
_NOTHING: Final = -2  # less than -1, which is what an empty partition is said to have come to
_CHECKPOINT: Final = "100"
_TOMBSTONES: Final = "interval 2 hours"  # of removed files in checkpoints, that would grow by them
_STATS: Final = "partition,sequence,enqueued,drive_id"


@dataclass(slots=True)
class Batch:
    """Rows by table, and which messages they are: by application id the first and the last sequence number."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)

    def add(self, application: str, sequence: int, table: str, row: Row) -> None:
        """One message."""
        self.first.setdefault(application, sequence)
        self.last[application] = sequence
        rows = self.rows.get(table)
        if rows is None:
            rows = self.rows[table] = []
        rows.append(row)

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows.values())


def application_id(log_id: str, partition: int | str) -> str:
    """The application id of a partition of a log."""
    return f"{log_id}/{partition}"


class Writer:
    """A table as its one writer has it."""

    def __init__(self, table: Table, place: LakePlace, sleep: Callable[[float], None]) -> None:
        self.table = table
        self._place = place
        self._uri = place.table(table.name)
        self._sleep = sleep
        self._waits = () if place.folder is not None else _WAITS
        self._delta = self._open()
        self._schema = self._delta.schema().to_arrow()
        self._seen: dict[str, int | None] = {}
        self.rows = count_rows(self._delta)

    @property
    def version(self) -> int:
        """The version that this writer saw last."""
        return int(self._delta.version())

    def _open(self) -> Any:
        deltalake = libraries.delta()
        schema = deltalake.Schema(
            [
                deltalake.Field(
                    each.name,
                    deltalake.schema.PrimitiveType(each.kind),
                    nullable=each.nullable,
                    metadata={"comment": each.meaning},
                )
                for each in self.table.fields
            ]
        )
        options = dict(self._place.options) or None
        try:
            made = deltalake.DeltaTable.create(
                self._uri,
                schema,
                mode="ignore",
                partition_by=list(PARTITION_BY),
                name=self.table.name,
                description=self.table.meaning,
                configuration={
                    "delta.appendOnly": "false",  # compaction removes files, not rows
                    "delta.checkpointInterval": _CHECKPOINT,
                    "delta.enableExpiredLogCleanup": "false",  # `upkeep` cuts the log, and knows what is held
                    "delta.deletedFileRetentionDuration": _TOMBSTONES,
                    "delta.dataSkippingStatsColumns": _STATS,
                },
                storage_options=options,
            )
        except Exception as error:
            raise libraries.failed(f"opening the table {self._uri}", error) from error
        self._check(made)
        return made

    def _check(self, found: Any) -> None:
        """Refuse a table of another shape. Raises `UsageError`."""
        known = {each.name: each.kind for each in self.table.fields}
        there = {each.name: str(getattr(each.type, "type", each.type)) for each in found.schema().fields}
        wrong = [f"{name} is missing" for name in known if name not in there]
        wrong += [f"{name} is unknown" for name in there if name not in known]
        wrong += [
            f"{name} is {there[name]} and not {kind}"
            for name, kind in known.items()
            if there.get(name, kind) != kind
        ]
        partitions = tuple(found.metadata().partition_columns)
        if partitions != PARTITION_BY:
            wrong.append(
                f"it is partitioned by {', '.join(partitions) or 'nothing'}, not {', '.join(PARTITION_BY)}"
            )
        if wrong:
            raise UsageError(
                f"The table {self._uri} has another shape than the lab's {self.table.name!r}: {'; '.join(wrong[:5])}. "
                "Another program made it, or another version of the lab: name another lake, or move that table away."
            )

    def seen(self, application: str) -> int | None:
        """The last sequence number of that partition that the table has seen, or None."""
        if application not in self._seen:
            self._seen[application] = self._delta.transaction_version(application)
        return self._seen[application]

    def _after(self, application: str) -> int:
        seen = self.seen(application)
        return _NOTHING if seen is None else seen

    def write(self, rows: Sequence[Row], batch: Batch) -> int:
        """Those of the rows that the table does not have, in one commit; how many these were.

        Raises `StateLocked` where another capture has written to the table, `EnvironmentProblem` where it fails.
        """
        if any(self._after(name) >= first for name, first in batch.first.items()):
            # The batch was cut off before: what of it this table has is left out.
            rows = [
                row for row in rows if row[SEQUENCE] > self._after(application_id(row[LOG], row[PARTITION]))
            ]
        wanted = {name: last for name, last in batch.last.items() if last > self._after(name)}
        if wanted:
            self._commit(to_arrow(rows, self.table, self._schema), wanted)
            self._seen.update(wanted)
        self.rows += len(rows)
        return len(rows)

    def _commit(self, data: Any, wanted: Mapping[str, int]) -> None:
        deltalake = libraries.delta()
        properties = deltalake.CommitProperties(
            app_transactions=[deltalake.Transaction(name, last) for name, last in wanted.items()]
        )
        for wait in (*self._waits, None):
            try:
                deltalake.write_deltalake(self._delta, data, mode="append", commit_properties=properties)
            except Exception as error:  # what it raises is of many kinds, by store
                if self._happened(wanted, error):
                    return
                if wait is None or libraries.is_no_room(error):
                    raise libraries.failed(f"writing to the table {self._uri}", error) from error
                log.warning("writing to %s failed, again in %g s: %s", self._uri, wait, libraries.told(error))
                self._sleep(wait)
            else:
                return

    def _happened(self, wanted: Mapping[str, int], error: Exception) -> bool:
        """After a failure, look: True if the commit is there after all; raises `StateLocked` if it is another's."""
        refused = isinstance(error, libraries.delta().exceptions.CommitFailedError)
        try:
            now = libraries.delta().DeltaTable(self._uri, storage_options=dict(self._place.options) or None)
            there = {name: now.transaction_version(name) for name in wanted}
        except Exception as again:  # noqa: BLE001 - then the first failure is what there is to say
            log.warning("%s cannot be read after a failure: %s", self._uri, libraries.told(again))
            return False
        if all(there[name] == self.seen(name) for name in wanted):
            self._delta = now
            return False
        if refused or there != dict(wanted):
            raise StateLocked(
                f"Another capture writes to the table {self._uri}. This one stops, and no row is there twice; stop the "
                "other one, or name another lake."
            ) from error
        self._delta = now
        return True


class Tables:
    """All tables of a lake, as their one writer has them."""

    def __init__(self, place: LakePlace, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Open them, made where they are not there. Raises `UsageError`, `EnvironmentProblem`."""
        self.place = place
        self._writers = {each.name: Writer(each, place, sleep) for each in TABLES}

    def seen(self, application: str) -> int | None:
        """The last sequence number of a partition that is in the tables, with all before it; None: none is."""
        return self._writers[MAIN].seen(application)

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        return {name: writer.rows for name, writer in self._writers.items()}

    def versions(self) -> dict[str, int]:
        """The version of each table."""
        return {name: writer.version for name, writer in self._writers.items()}

    def write(self, batch: Batch) -> dict[str, int]:
        """A batch, into every table; how many rows each got. Raises as `Writer.write`."""
        written = {}
        for name, writer in self._writers.items():  # in the order of TABLES: the main one is last
            rows = batch.rows.get(name, ())
            if rows or name == MAIN:
                written[name] = writer.write(rows, batch)
        return written


def to_arrow(rows: Sequence[Row], table: Table, schema: Any) -> Any:
    """Rows as an Arrow record batch (arro3, which deltalake brings: pyarrow would cost 40 MB)."""
    from arro3.core import Array, DataType, RecordBatch

    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(table.fields)
    through = {"date": DataType.int32(), "timestamp": DataType.int64()}  # what arro3 makes dates and times of
    arrays = []
    for column, kind, values in zip(table.fields, schema, columns, strict=True):
        number = through.get(column.kind)
        if number is None:
            arrays.append(Array(values, type=kind.type))
        else:
            arrays.append(Array(values, type=number).cast(kind.type))
    return RecordBatch.from_arrays(arrays, schema=schema)


def count_rows(table: Any) -> int:
    """The rows of a table, by its log alone."""
    actions = table.get_add_actions(flatten=True)
    if not actions.num_rows:
        return 0
    return sum(int(each or 0) for each in actions.column("num_records").to_pylist())


def refuse_unknown(name: str) -> Table:
    """The table of that name. Raises `UsageError` where there is none."""
    found = BY_NAME.get(name)
    if found is None:
        raise UsageError(f"There is no table {name!r} in a lake; there are {', '.join(sorted(BY_NAME))}.")
    return found
