"""A lab with an edge device that runs in a process of its own, which the tests of a file share."""

import pytest
from edge_aboard import Aboard
from edge_stage import Events, Stage

from iotedge_lab.lab import Lab


@pytest.fixture(autouse=True)
def _no_proxy_from_outside(monkeypatch):
    """No variable of the user's decides how a hub or an edge is reached."""
    for name in ("https_proxy", "mqtt_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running hub that the tests of one file share."""
    with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _trust(request, monkeypatch, _no_hub_from_outside):
    """The variables by which the SDKs find and trust `lab`, where a test asks for it."""
    if "lab" in request.fixturenames:
        for name, value in request.getfixturevalue("lab").env().items():
            monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def stage(lab):
    """An edge device whose runtime the tests of one file share."""
    return Stage(lab, "edge").start()


@pytest.fixture(scope="module")
def events(lab):
    """What arrived at the hub, and arrives."""
    made = Events(lab)
    yield made
    made.close()


@pytest.fixture
async def aboard(lab, tmp_path):
    """See `Aboard`; what runs is closed at the end."""
    made = Aboard(lab, tmp_path)
    yield made
    await made.close()
