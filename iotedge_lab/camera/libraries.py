"""The heavy libraries of this room, imported where they are needed, with a word on how to get a missing one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from iotedge_lab.errors import EnvironmentProblem

_PACKAGES = {
    "cv2": "opencv-python-headless",
    "onnxruntime": "onnxruntime",
    "av": "av",
    "rapidocr": "rapidocr",
}

_EXTRAS = {"av": "", "rapidocr": "; the extra 'plates' has all that reading plates needs"}


def library(name: str) -> Any:
    """The module `name`. Raises EnvironmentProblem that says which package brings it."""
    try:
        return import_module(name)
    except ImportError as error:
        package = _PACKAGES.get(name, name)
        extra = _EXTRAS.get(name, "; the extra 'camera' has all that the camera needs")
        raise EnvironmentProblem(
            f"The camera needs {package} here, and it cannot be imported ({error}): pip install {package}{extra}."
        ) from error
