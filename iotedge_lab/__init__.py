"""IoT Edge Lab: a local IoT Hub for the official Azure IoT SDKs, and the workbooks that teach with it.

The names that a notebook uses are imported lazily (PEP 562), so that an edge module, which needs few of
them, loads neither pandas nor matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iotedge_lab.lab import Lab as Lab

__version__ = "0.1.0"

_HOMES = {"Lab": "iotedge_lab.lab"}

__all__ = ["Lab", "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'iotedge_lab' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
