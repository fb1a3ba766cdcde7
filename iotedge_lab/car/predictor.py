"""A trained model on the edge: one session for its lifetime, one live row in, one speed out.

Stands for what the series' filter module does with its model, but that the model is loaded once, not for each
message. All that is needed beside the row is inside the ONNX file: which features, in which order, and how
far off a prediction may be. Needs onnxruntime and numpy; neither pandas nor anything of training.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.features import LiveFeatures, Recipe
from iotedge_lab.errors import DataError, EnvironmentProblem

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from iotedge_lab.car.rows import CarRow

INPUT: Final = "features"
OUTPUT: Final = "speed"
_OUTPUTS: Final = (OUTPUT,)
REMEDY: Final = "export it with iotedge_lab.train.export"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one row; mph. `low` and `high` are None where the model carries no intervals."""

    speed: float
    warmup: bool
    """True until the features' window is full: such a prediction is worth less"""
    low: float | None = None
    high: float | None = None


class Predictor:
    """A model with the features of the rows so far; for one car, and one thread at a time.

    Raises DataError for a file that is no model of this kind, EnvironmentProblem without onnxruntime.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes) -> None:
        data, name = (model, "The model") if isinstance(model, bytes) else (_read(Path(model)), str(model))
        self._session = open_session(data, name)
        self.metadata = _metadata(self._session, name)
        self.recipe = Recipe.from_dict(self.metadata.get("recipe"))
        taken = {each.name: each.shape[-1] for each in self._session.get_inputs()}
        if taken != {INPUT: len(self.recipe.names)}:
            raise DataError(
                f"{name} takes {taken}, and its recipe makes {len(self.recipe.names)} features: it cannot run on live "
                f"rows; {REMEDY}."
            )
        self.features = LiveFeatures(self.recipe)
        self._edges, self._widths = _intervals(self.metadata.get("intervals"))
        self._buffer = import_module("numpy").empty((1, len(self.recipe.names)), dtype="float32")
        self._run = self._session.run

    def __repr__(self) -> str:
        return f"Predictor({self.metadata.get('estimator')}, {len(self.recipe.names)} features)"

    def for_another_car(self) -> Predictor:
        """The same model for a second car: the session is shared, which any thread may run, and the rows are not."""
        other = copy(self)
        other.features = LiveFeatures(self.recipe)
        other._buffer = self._buffer.copy()  # noqa: SLF001 - one of this class's own
        return other

    def predict(self, row: CarRow, drive: str = "") -> Prediction | None:
        """The speed of this row, or None for a row that was there before.

        Raises DataError for a row with a value that is no finite number; the rows before it are kept.
        """
        live = self.features.push(row, drive)
        if live is None:
            return None
        self._buffer[0] = live.values
        speed = float(self._run(_OUTPUTS, {INPUT: self._buffer})[0][0, 0])
        if not self._widths:
            return Prediction(speed, live.warmup)
        width = self._widths[bisect_right(self._edges, speed)]
        return Prediction(speed, live.warmup, max(0.0, speed - width), max(0.0, speed) + width)


def open_session(data: bytes, name: str = "The model") -> Any:
    """An onnxruntime session of one thread: for one row, more would only wait for each other."""
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise EnvironmentProblem(
            f"Models run by onnxruntime, and it cannot be imported ({error}): pip install onnxruntime."
        ) from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # Its errors share no class of their own.
        if type(error).__module__.startswith("onnxruntime"):
            raise DataError(
                f"{name} is no model that onnxruntime can run ({str(error)[:200]}); {REMEDY}."
            ) from error
        raise


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"The model {path} cannot be read: {error.strerror}; check the path.") from error


def _metadata(session: Any, name: str) -> Mapping[str, Any]:
    """What `train.export` wrote into the file: JSON texts by name."""
    found: dict[str, str] = session.get_modelmeta().custom_metadata_map
    try:
        metadata = {key: json.loads(value) for key, value in found.items()}
    except ValueError as error:
        raise DataError(f"{name} has metadata that are not of this lab ({error}); {REMEDY}.") from error
    if "recipe" not in metadata:
        raise DataError(f"{name} does not say which features it takes; {REMEDY}.")
    return metadata


def _intervals(told: Any) -> tuple[list[float], list[float]]:
    if told is None:
        return [], []
    try:
        edges, widths = [float(each) for each in told["edges"]], [float(each) for each in told["widths"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The model's intervals are not readable ({error}); export the model again."
        ) from error
    if len(widths) != len(edges) + 1 or not all(map(math.isfinite, [*edges, *widths])):
        raise DataError("The model's intervals do not fit each other; export the model again.")
    return edges, widths
