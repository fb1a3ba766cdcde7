"""What the car's tests share: one made data set, and a few simulated drives."""

from pathlib import Path

import pytest

from iotedge_lab.car.make_data import make
from iotedge_lab.car.vehicle import simulate

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("IOTEDGE_LAB_DATA", raising=False)


@pytest.fixture(scope="session")
def shipped():
    return DATA


@pytest.fixture(scope="session")
def remade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    assert make(folder)
    return folder


@pytest.fixture(scope="session")
def motions():
    """A drive of each kind, ten minutes each."""
    return {kind: simulate(11, kind, 600.0) for kind in ("city", "suburban", "highway")}
