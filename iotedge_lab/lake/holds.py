"""Versions that are held: a model's lineage names one, and upkeep must not take its files away.

A small Delta table of its own, `held`, so that whoever trains may write to it, wherever the lake is. A version that was
held once is so for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.lake import libraries

if TYPE_CHECKING:
    from iotedge_lab.lake.place import LakePlace

NAME: Final = "held"


def hold(place: LakePlace, table: str, version: int, reason: str, now: float) -> None:
    """Hold a version; again does nothing. `now`: s since 1970. Raises `EnvironmentProblem`."""
    if version in held(place, table):
        return
    deltalake = libraries.delta()
    from arro3.core import Array, DataType, Field, RecordBatch, Schema

    columns: list[tuple[str, Any, Any]] = [
        ("table", DataType.utf8(), table),
        ("version", DataType.int64(), version),
        ("reason", DataType.utf8(), reason),
        ("since", DataType.timestamp("us", tz="UTC"), int(now * 1e6)),
    ]
    schema = Schema([Field(name, kind, nullable=True) for name, kind, _ in columns])
    arrays = [
        Array([value], type=DataType.int64()).cast(kind) if name == "since" else Array([value], type=kind)
        for name, kind, value in columns
    ]
    try:
        deltalake.write_deltalake(
            place.table(NAME),
            RecordBatch.from_arrays(arrays, schema=schema),
            mode="append",
            storage_options=dict(place.options) or None,
        )
    except Exception as error:
        raise libraries.failed(f"holding version {version} of {table}", error) from error


def held(place: LakePlace, table: str) -> set[int]:
    """The versions of a table that are held. Raises `EnvironmentProblem`."""
    deltalake = libraries.delta()
    options = dict(place.options) or None
    uri = place.table(NAME)
    try:
        if not deltalake.DeltaTable.is_deltatable(uri, options):
            return set()
        found = deltalake.DeltaTable(uri, storage_options=options)
        # The extremes of each file are in the table's log, and each file has one row: no file need be read.
        actions = found.get_add_actions(flatten=True)
        names = actions.column("min.table").to_pylist()
        versions = actions.column("min.version").to_pylist()
    except Exception as error:
        raise libraries.failed(f"reading {uri}", error) from error
    return {int(version) for name, version in zip(names, versions, strict=True) if name == table}
