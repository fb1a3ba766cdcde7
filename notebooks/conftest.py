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
    for name in ("IOTHUB_CONNECTION_STRING", "EVENTHUB_CONNECTION_STRING", "AZURE_STORAGE_CONNECTION_STRING"):
        os.environ.pop(name, None)
    config.option.nbval_sanitize_with = str(SANITIZE)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before a notebook's kernel starts: a fresh hub, as the notebook had when its outputs were stored.

    On one hub for all, a log's numbers would go on from notebook to notebook.
    """
    folder = item.config.stash.get(_FOLDER, None)
    if folder is None or item.path.suffix != ".ipynb":
        return
    before, state = Path(os.environ["IOTEDGE_LAB_STATE"]), folder / item.path.stem
    if before != state:
        stop_lab(before)
        os.environ["IOTEDGE_LAB_STATE"] = str(state)
        start_lab_apart(state)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the last notebook's hub, and take all state away."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        stop_lab(Path(os.environ["IOTEDGE_LAB_STATE"]))
        shutil.rmtree(folder, ignore_errors=True)
