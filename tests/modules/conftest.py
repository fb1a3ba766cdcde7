"""What the modules' tests share: the module's package, as `python main.py` finds it, and no settings from outside."""

import os
import sys
from pathlib import Path

import pytest

import iotedge_lab

FOLDER = Path(iotedge_lab.__file__).parent / "modules" / "ModuleSimulatorCar"
sys.path.insert(0, str(FOLDER))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in os.environ:
        if name.startswith(("CAR_", "IOTEDGE_", "EdgeHub", "EdgeModule")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder():
    """The module's folder."""
    return FOLDER


@pytest.fixture
def private(tmp_path):
    """A folder of the user's alone, for a bus."""
    tmp_path.chmod(0o700)
    return tmp_path
