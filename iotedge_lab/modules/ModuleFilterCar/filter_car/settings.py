"""What the module is told: each setting by a desired property of its twin, or by an environment variable.

    threshold      FILTER_THRESHOLD       mph: only predictions that are further off are sent; unset by default
    everyNth       FILTER_EVERY_NTH       only each so manieth row of a drive is sent; unset by default
    reportSeconds  FILTER_REPORT_SECONDS  how often figures are reported, 10 by default

With neither threshold nor everyNth every prediction is sent; with both, what one of them lets through.

    model          a version of a model that is to serve (`release`); null: the file that the module came with
    challenger     another that predicts beside it; null: none

By variables alone: FILTER_MODEL, the file that the module comes with (model.onnx by default), and FILTER_FOLDER, where
models are kept over a restart (models by default; mount a volume there). Both are relative to the module's folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.device.settings import Setting, Table, number, text, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL_FILE: Final = "model.onnx"
MODELS: Final = ("model", "challenger")
"""The desired properties that name models."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; see the table above."""

    threshold: float | None = None
    every_nth: int | None = None
    report_seconds: float = 10.0
    model_file: str = MODEL_FILE
    folder: str = "models"


TABLE: Final = Table(
    Settings,
    (
        Setting("threshold", "threshold", "FILTER_THRESHOLD", number(0.0, 1000.0, " of miles an hour")),
        Setting("everyNth", "every_nth", "FILTER_EVERY_NTH", whole(1, 1_000_000)),
        Setting("reportSeconds", "report_seconds", "FILTER_REPORT_SECONDS", number(0.1, 86_400.0)),
    ),
)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings by their variables. Raises ValueError that names the variable."""
    places: dict[str, Any] = {}
    for field, variable in (("model_file", "FILTER_MODEL"), ("folder", "FILTER_FOLDER")):
        value = environment.get(variable)
        if value is not None:
            try:
                places[field] = text()(value)
            except ValueError as error:
                raise ValueError(f"{variable} is {value[:100]!r}; {error} belongs there.") from error
    return replace(TABLE.from_environment(environment), **places)
