"""What the tests of the lake share: one hub, devices that are new each time, and captures of the tests' own."""

import itertools

import pytest

from iotedge_lab.capture import Capture
from iotedge_lab.car import drives
from iotedge_lab.lab import Lab


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """A running hub that no test stops or resets."""
    with Lab.open(tmp_path_factory.mktemp("lake") / "state", ephemeral=True) as lab:
        yield lab


@pytest.fixture
def lab(tmp_path):
    """A hub of the test's own."""
    with Lab.open(tmp_path / "hub", ephemeral=True) as opened:
        yield opened


_numbers = itertools.count()


@pytest.fixture
def device(hub):
    """Make a device that no other test has: `device()` is its name."""

    def make(lab=hub, name=None):
        made = name or f"car-{next(_numbers)}"
        lab.rest().call("PUT", f"/devices/{made}", {})
        return made

    return make


@pytest.fixture
def capture(tmp_path):
    """A capture that ends with the test."""
    with Capture(tmp_path / "capturing", ephemeral=True) as made:
        yield made


@pytest.fixture(scope="session")
def rows():
    """The first rows of the recording."""
    return list(itertools.islice(drives.rows(drives.car_csv()), 300))
