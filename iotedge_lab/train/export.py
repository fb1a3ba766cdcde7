"""A fitted model as an ONNX file, checked against the original, with all in it that its user must know.

Stands for the series' step from the trained model to a file for the edge; there the file was the trainer's own
format, though ONNX was promised. The file's metadata (JSON texts by name) say which features it takes in
which order and unit, and how they are made; what it was trained with (a hash of the data, the estimator, its
settings, versions of the libraries) and what it is worth (metrics, intervals).
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.car.features import TARGET
from iotedge_lab.car.predictor import INPUT, OUTPUT, open_session
from iotedge_lab.errors import ExportRefused, UsageError
from iotedge_lab.train.libraries import library

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from iotedge_lab.train.automl import Found
    from iotedge_lab.train.dataset import Dataset
    from iotedge_lab.train.evaluate import Intervals, Score

__all__ = ["Exported", "export", "to_onnx"]

TOLERANCE: Final = 1e-3  # mph between the original and its ONNX twin
OPSET: Final = {"": 15, "ai.onnx.ml": 3}  # the newest that onnxmltools writes
_LIBRARIES: Final = (
    "flaml",
    "lightgbm",
    "xgboost-cpu",
    "scikit-learn",
    "onnx",
    "onnxmltools",
    "skl2onnx",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class Exported:
    """A written model."""

    path: Path
    size: int
    """bytes"""
    difference: float
    """mph: the largest between the original and the ONNX model, over the rows that it was checked on"""
    rows: int
    metadata: Mapping[str, Any]

    def __repr__(self) -> str:
        return (
            f"Exported({self.path.name!r}, {self.size / 1024:.0f} KiB, off by {self.difference:.0e} mph at most "
            f"in {self.rows} rows)"
        )


def export(
    found: Found,
    path: str | os.PathLike[str],
    data: Dataset,
    test: Dataset,
    *,
    metrics: Mapping[str, Score] | None = None,
    intervals: Intervals | None = None,
    max_bytes: int | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write the model of a search.

    data: what it was trained on; test: rows to check it on, best of drives that it has not seen. metrics: by
    a name that says on what ("whole drives held out"). Raises ExportRefused where the ONNX model differs by
    more than `tolerance` mph in any row, or exceeds `max_bytes`; then nothing is written, and what was at
    `path` stays.
    """
    target = Path(path)
    if not 0.0 < tolerance <= TOLERANCE:
        raise UsageError(f"`tolerance` lies above 0 and up to {TOLERANCE:g} mph, not at {tolerance}.")
    if data.names != test.names:
        raise UsageError(
            "The test rows have other features than those that were learned from; make both by one recipe."
        )
    proto = to_onnx(found.model, len(data.names))
    metadata = _metadata(found, data, metrics or {}, intervals)
    library("onnx.helper").set_model_props(proto, {key: _text(value) for key, value in metadata.items()})
    content: bytes = proto.SerializeToString(deterministic=True)
    difference = _difference(content, found, test.features)
    if not difference <= tolerance:
        raise ExportRefused(
            f"In {len(test)} rows the ONNX model differs from the original by up to {difference:.2g} mph, more than "
            f"{tolerance:g}: it is another model. Search again, without {found.estimator!r} among the estimators."
        )
    if max_bytes is not None and len(content) > max_bytes:
        raise ExportRefused(
            f"The ONNX model has {len(content):,} bytes, more than {max_bytes:,}; search again with max_bytes="
            f"{max_bytes // 2:,} or so."
        )
    _write(target, content)
    return Exported(target, len(content), difference, len(test), metadata)


def to_onnx(model: Any, features: int) -> Any:
    """A fitted estimator as an onnx.ModelProto: input `features` (float32, rows by features), output `speed`."""
    kind = type(model).__module__.partition(".")[0]
    types = library("onnxmltools.convert.common.data_types")
    options: dict[str, Any] = {
        "initial_types": [(INPUT, types.FloatTensorType([None, features]))],
        "target_opset": OPSET[""],
    }
    if kind == "lightgbm":
        proto = library("onnxmltools").convert_lightgbm(_single_precision(model.booster_), **options)
    elif kind == "xgboost":
        # The converter wants features by number; a copy keeps the original as it was.
        twin = type(model)()
        twin.load_model(model.get_booster().save_raw("ubj"))
        twin.get_booster().feature_names = None
        proto = library("onnxmltools").convert_xgboost(twin, **options)
    elif kind == "sklearn":
        types = library("skl2onnx.common.data_types")
        options["initial_types"] = [(INPUT, types.FloatTensorType([None, features]))]
        options["target_opset"] = OPSET
        proto = library("skl2onnx").convert_sklearn(model, **options)
    else:
        raise UsageError(
            f"A model of {type(model).__module__} cannot be converted; take one that a search found."
        )
    _rename_output(proto)
    proto.graph.name = OUTPUT  # the converters draw one by lot
    return proto


def _single_precision(booster: Any) -> Any:
    """The booster with thresholds that single precision holds, each rounded down.

    The features are single precision: x <= threshold then has the same answer before and after, and the ONNX
    model, which rounds thresholds to the nearest, sends every row down the same branches.
    """
    lines = []
    for line in booster.model_to_string().split("\n"):
        name, _, values = line.partition("=")
        if name == "threshold" and values:
            exact = np.array(values.split(" "), dtype=np.float64)
            lines.append("threshold=" + " ".join(map(repr, _floor(exact).tolist())))
        elif (
            name != "tree_sizes"
        ):  # the bytes of each tree, which have changed; without them trees are looked for
            lines.append(line)
    return library("lightgbm").Booster(model_str="\n".join(lines))


def _floor(exact: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest single-precision numbers that are no larger."""
    near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float64)


def _rename_output(proto: Any) -> None:
    (output,) = proto.graph.output
    for node in proto.graph.node:
        for at, name in enumerate(node.output):
            if name == output.name:
                node.output[at] = OUTPUT
    output.name = OUTPUT


def _difference(content: bytes, found: Found, features: NDArray[np.float32]) -> float:
    session = open_session(content)
    (ours,) = session.run([OUTPUT], {INPUT: features})
    difference = np.abs(ours.reshape(-1).astype(np.float64) - found.predict(features))
    return float(np.max(difference, initial=0.0))


def _metadata(
    found: Found, data: Dataset, metrics: Mapping[str, Score], intervals: Intervals | None
) -> dict[str, Any]:
    columns = data.recipe.names == data.names
    metadata: dict[str, Any] = {
        "features": list(data.names),
        "units": list(data.units),
        "target": TARGET,
        "target_unit": "mph",
        "data_sha256": data.sha256,
        "data_rows": len(data),
        "data_groups": list(data.group_names),
        "data_notes": list(data.notes),
        "estimator": found.estimator,
        "config": found.config,
        "seed": found.seed,
        "search_rmse": None if math.isnan(found.loss) else found.loss,
        "metrics": {name: each.to_dict() for name, each in metrics.items()},
        "versions": {"python": python_version(), **{name: _version(name) for name in _LIBRARIES}},
    }
    if columns:
        # A feature that was tried out by hand has no recipe: such a model runs on tables, not on live rows.
        metadata["recipe"] = data.recipe.to_dict()
    if intervals is not None:
        metadata["intervals"] = intervals.to_dict()
    return metadata


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _write(target: Path, content: bytes) -> None:
    """All or nothing: a module that loads the file meanwhile gets the old one or the new one."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(
            f"The model cannot be written to {target}: {error.strerror}; choose another path."
        ) from error
