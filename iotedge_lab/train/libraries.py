"""The heavy libraries of this room, imported where they are needed, with a word on how to get a missing one."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final

from iotedge_lab.errors import EnvironmentProblem

_PACKAGES = {"sklearn": "scikit-learn", "xgboost": "'xgboost-cpu<3'"}

#: MLflow 3.17 reports its use to its makers, and says what it does, unless these are set before it is first loaded; and
#: FLAML loads it where it is installed.
MLFLOW_SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def quieten_mlflow() -> None:
    """Set them, where a person has not."""
    for variable, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(variable, value)


def library(name: str) -> Any:
    """The module `name`. Raises EnvironmentProblem that says which package brings it."""
    quieten_mlflow()
    try:
        return import_module(name)
    except ImportError as error:
        package = _PACKAGES.get(name.partition(".")[0], name.partition(".")[0])
        raise EnvironmentProblem(
            f"Training needs {package} here, and it cannot be imported ({error}): pip install {package}; the extra "
            "'train' has all that training needs."
        ) from error
