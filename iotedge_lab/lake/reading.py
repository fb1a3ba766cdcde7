"""Reading a lake: pandas frames, SQL by DuckDB, and each as it was at an earlier version.

    lake = Lake(lab.state_dir / "lake")           # or a URL, with storage options
    lake.frame("predictions", since=an_hour_ago)
    lake.sql("SELECT device, avg(speed) FROM telemetry GROUP BY device")
    lake.frame(version=17)                        # the telemetry that a model was trained on

Needs no capture to run, and disturbs none: a reader sees the last version that was complete when it looked. What the
columns mean is in `schema`. Other programs that read Delta (Spark, Databricks, Fabric, Polars) read the same tables.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import UsageError
from iotedge_lab.lake import holds, libraries
from iotedge_lab.lake.place import LakePlace
from iotedge_lab.lake.schema import BY_NAME, MAIN
from iotedge_lab.lake.tables import count_rows, refuse_unknown

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

__all__ = ["Lake"]

_ORDER: Final = ("enqueued", "log", "partition", "sequence")


class Lake:
    """The tables of one lake, read anew with every call."""

    def __init__(
        self,
        where: str | os.PathLike[str] | LakePlace,
        storage_options: Mapping[str, str] | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        """where: the lake's folder or URL. Nothing is looked at yet. Raises `UsageError` for what is neither."""
        self.place = where if isinstance(where, LakePlace) else LakePlace.of(where, storage_options)
        self._clock = clock or SystemClock()

    # -- tables and versions -------------------------------------------------------------------------------

    def tables(self) -> dict[str, int]:
        """The tables that are there, and the version of each."""
        return {name: int(self._open(name).version()) for name in sorted(BY_NAME) if self._is_there(name)}

    def version(self, table: str = MAIN) -> int:
        """The newest version of a table. Raises `UsageError` where it is not there."""
        return int(self._open(table).version())

    def version_at(self, when: datetime, table: str = MAIN) -> int:
        """The version that was the newest at a moment. Raises `UsageError` for a moment before the first one."""
        found = self._open(table)
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        try:
            found.load_as_version(moment)
            made = float(found.metadata().created_time) / 1000
        except Exception as error:
            raise libraries.failed(f"looking for a version of {table}", error) from error
        if moment.timestamp() < made:  # deltalake gives the first one then
            first = datetime.fromtimestamp(made, UTC)
            raise UsageError(
                f"{table} has no version of {moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: it was made at "
                f"{first:%Y-%m-%d %H:%M:%S} UTC."
            )
        return int(found.version())

    def history(self, table: str = MAIN, limit: int = 50) -> pd.DataFrame:
        """The newest versions of a table, the last one first: version, time (UTC), operation, rows that it added."""
        pd = _library("pandas")
        rows = [
            {
                "version": entry["version"],
                "time": pd.Timestamp(entry["timestamp"], unit="ms", tz="UTC"),
                "operation": entry["operation"],
                "rows": int((entry.get("operationMetrics") or {}).get("num_added_rows", 0)),
            }
            for entry in self._open(table).history(limit)
        ]
        return pd.DataFrame(rows, columns=["version", "time", "operation", "rows"])

    def count(self, table: str = MAIN, version: int | None = None) -> int:
        """How many rows a table has; from its log alone, no file is read."""
        return count_rows(self._open(table, version))

    def hold(self, version: int, reason: str, table: str = MAIN) -> None:
        """Keep the files of a version from being removed, as a model was trained on it. Again does nothing.

        Raises `UsageError` for a version that there is not (any more).
        """
        self._open(table, version)
        holds.hold(self.place, table, version, reason, self._clock.now())

    def held(self, table: str = MAIN) -> list[int]:
        """The versions of a table that are held."""
        refuse_unknown(table)
        return sorted(holds.held(self.place, table))

    # -- rows ----------------------------------------------------------------------------------------------

    def frame(
        self,
        table: str = MAIN,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        drives: Sequence[str] | None = None,
        devices: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pd.DataFrame:
        """Rows in the order in which they arrived; by default all of the newest version.

        drives, devices: these alone. since, until: arrived at the hub at or after the one and before the other (UTC
        where no zone is given). Raises `UsageError` for a table, a column or a version that is not there (any more).
        """
        arrow = _library("pyarrow.compute")
        known = refuse_unknown(table).names
        wanted = list(columns) if columns is not None else list(known)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UsageError(f"{table} has no column {', '.join(unknown)}; there are {', '.join(known)}.")
        conditions = []
        for column, values in (("drive_id", drives), ("device", devices)):
            if values is not None:
                text = _library("pyarrow").array(list(values), "string")  # an empty list would be of no type
                conditions.append(arrow.field(column).isin(text))
        for moment, after in ((since, True), (until, False)):
            if moment is not None:
                at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                day, enqueued = arrow.field("date"), arrow.field("enqueued")
                whole_day = at.astimezone(UTC).date()
                # By day too: then files of other days are not opened.
                conditions += (
                    [day >= whole_day, enqueued >= at] if after else [day <= whole_day, enqueued < at]
                )
        condition = None
        for each in conditions:
            condition = each if condition is None else condition & each
        dataset = self._dataset(table, version)
        read = list(dict.fromkeys([*wanted, *_ORDER]))
        try:
            found = dataset.to_table(columns=read, filter=condition)
        except OSError as error:
            raise self._gone(table, version, error) from error
        ordered = found.sort_by([(name, "ascending") for name in _ORDER])
        return ordered.select(wanted).to_pandas()

    def sql(self, query: str, *, versions: Mapping[str, int] | None = None) -> pd.DataFrame:
        """What DuckDB answers; the tables go by their names. versions: of tables that are to be read as they were.

            lake.sql("SELECT date_trunc('minute', enqueued) AS at, avg(abs(error)) FROM predictions GROUP BY 1")

        Times are UTC. Raises `UsageError` with DuckDB's words for a query that is wrong.
        """
        try:
            duckdb = import_module("duckdb")
        except ImportError as error:
            raise libraries.missing("duckdb", error) from error
        asked = dict(versions or {})
        for name in asked:
            refuse_unknown(name)
        there = [name for name in BY_NAME if self._is_there(name)]
        if not there:
            raise self._nothing(MAIN)
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name in there:
                connection.register(name, self._dataset(name, asked.get(name)))
            try:
                found = connection.sql(query)
                # A statement that answers nothing (SET, CREATE) gives None.
                return _library("pandas").DataFrame() if found is None else found.to_arrow_table().to_pandas()
            except OSError as error:
                raise self._gone("tables", None, error) from error
            except duckdb.Error as error:
                raise UsageError(f"DuckDB refuses the query: {error}") from error

    def drives(self, version: int | None = None) -> pd.DataFrame:
        """The drives in telemetry: drive_id, device, rows, first and last time of arrival."""
        frame = self.frame(version=version, columns=["drive_id", "device", "enqueued"])
        grouped = frame.groupby(["drive_id", "device"], dropna=False, sort=True)["enqueued"]
        return grouped.agg(rows="size", first="min", last="max").reset_index()

    # -- opening -------------------------------------------------------------------------------------------

    def _is_there(self, table: str) -> bool:
        options = dict(self.place.options) or None
        return bool(libraries.delta().DeltaTable.is_deltatable(self.place.table(table), options))

    def _open(self, table: str, version: int | None = None) -> Any:
        refuse_unknown(table)
        deltalake = libraries.delta()
        uri = self.place.table(table)
        options = dict(self.place.options) or None
        try:
            return deltalake.DeltaTable(uri, version=version, storage_options=options)
        except Exception as error:
            if version is None and isinstance(error, deltalake.exceptions.TableNotFoundError):
                raise self._nothing(table) from error
            if version is None:
                raise libraries.failed(f"opening the table {uri}", error) from error
            if not self._is_there(table):
                raise self._nothing(table) from error
            raise UsageError(
                f"{table} has no version {version}, or not any more: the newest is {self.version(table)}, and some "
                "thousand before it are kept (keep_versions), and what is held (hold)."
            ) from error

    def _nothing(self, table: str) -> UsageError:
        return UsageError(
            f"There is no table {table} in {self.place.uri}. Start a capture ('iotedge-lab capture start'), or look at "
            "where its status says that it writes."
        )

    def _dataset(self, table: str, version: int | None) -> Any:
        _library("pyarrow.dataset")
        return self._open(table, version).to_pyarrow_dataset()

    def _gone(self, table: str, version: int | None, error: OSError) -> UsageError:
        which = "An old version" if version is None else f"Version {version}"
        return UsageError(
            f"{which} of {table} cannot be read any more: its files were removed, as only the newest versions are "
            f"kept (keep_versions). Take a newer one, and hold() what must stay. {libraries.told(error)}"
        )

    def __repr__(self) -> str:
        return f"Lake({self.place.uri})"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{escape(name)}</td><td>{self.count(name):,} rows</td><td>version {version}</td>"
            f"<td>{escape(BY_NAME[name].meaning)}</td></tr>"
            for name, version in self.tables().items()
        )
        return f"<table><caption>{escape(self.place.uri)}</caption>{cells}</table>"


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise libraries.missing(name.partition(".")[0], error) from error
