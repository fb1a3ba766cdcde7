"""The heavy libraries of this room, imported where they are needed, with a word on how to get a missing one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from iotedge_lab.errors import EnvironmentProblem

_PACKAGES = {"sklearn": "scikit-learn", "xgboost": "'xgboost-cpu<3'"}


def library(name: str) -> Any:
    """The module `name`. Raises EnvironmentProblem that says which package brings it."""
    try:
        return import_module(name)
    except ImportError as error:
        package = _PACKAGES.get(name.partition(".")[0], name.partition(".")[0])
        raise EnvironmentProblem(
            f"Training needs {package} here, and it cannot be imported ({error}): pip install {package}; the extra "
            "'train' has all that training needs."
        ) from error
