"""What pytest needs to run the notebooks under nbval: `pytest --nbval --nbval-current-env notebooks`.

The kernels get a lab of their own and settings of their own, warnings are errors in them, and what two runs
may differ in stands in tests/notebooks/sanitize.cfg. Without --nbval this file does nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for runs against an installed wheel

from notebooks.source.make.execute import (
    SANITIZE,
    isolated_environment,
    start_lab_apart,
    stop_lab,
)

_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the kernels, which inherit this process's environment, a lab of their own."""
    if not config.getoption("nbval", default=False):
        return
    folder = Path(tempfile.mkdtemp(prefix="nbval-"))
    config.stash[_FOLDER] = folder
    os.environ.update(isolated_environment(folder))
    for name in ("IOTHUB_CONNECTION_STRING", "EVENTHUB_CONNECTION_STRING"):
        os.environ.pop(name, None)
    config.option.nbval_sanitize_with = str(SANITIZE)
    start_lab_apart(Path(os.environ["IOTEDGE_LAB_STATE"]))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the hub that the last notebook left running, and take its state away."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        stop_lab(Path(os.environ["IOTEDGE_LAB_STATE"]))
        shutil.rmtree(folder, ignore_errors=True)
