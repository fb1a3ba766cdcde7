"""What the tests of training share: a small data set of generated drives, and one short search over it."""

import warnings
from datetime import datetime

import pytest

from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.train import automl, dataset
from iotedge_lab.train.notes import TrainWarning

START = datetime.fromisoformat("2026-03-02 08:00:00")

# One small model of each estimator: settings as a search finds them.
CONFIGS = {
    "lgbm": {"n_estimators": 40, "num_leaves": 20, "learning_rate": 0.15, "min_child_samples": 5},
    "extra_tree": {"n_estimators": 10, "max_features": 0.9, "max_leaves": 60},
    "xgboost": {"n_estimators": 25, "max_leaves": 20, "learning_rate": 0.2},
}


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("IOTEDGE_LAB_DATA", raising=False)


@pytest.fixture(scope="session")
def recordings():
    """Six drives of three minutes, by name: rows at 10 Hz."""
    kinds = ("city", "suburban", "highway")
    return {f"d{n}": record(simulate(4100 + n, kinds[n % 3], 180.0), START) for n in range(6)}


@pytest.fixture(scope="session")
def drives(recordings):
    return dataset.build(recordings)


@pytest.fixture(scope="session")
def learned(drives):
    """The first four drives."""
    return drives.take(drives.drives < 4)


@pytest.fixture(scope="session")
def unseen(drives):
    """The last two drives."""
    return drives.take(drives.drives >= 4)


@pytest.fixture(scope="session")
def searched(learned):
    """What a search of 1.5 s found, and the trials that it reported."""
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainWarning)  # that so short a search had few trials
        found = automl.search(learned, 1.5, on_trial=told.append)
    return found, told


@pytest.fixture(scope="session", params=sorted(CONFIGS))
def found(request, learned):
    """A model of each estimator, trained without a search."""
    config = CONFIGS[request.param]
    model, around = automl._train(request.param, config, learned, seed=0)
    return automl.Found(model, around, request.param, config, 4.2, (), 1.0, False, 0, ())
