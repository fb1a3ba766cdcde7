"""What the tests of the link to the hub share: a hub in its own process, one of a test's own making, and both loops."""

import asyncio
import contextlib
import itertools
import ssl

import pytest
from fake_cloud import FakeCloud
from upstream_house import House

from iotedge_lab.clock import SystemClock
from iotedge_lab.lab import Lab
from iotedge_lab.serve.certificates import Authority

_numbers = itertools.count(1)


def pytest_asyncio_loop_factories(config, item):
    """Both loops where uvloop installs, for the tests with a hub of their own making; else asyncio's."""
    factories = {"asyncio": asyncio.SelectorEventLoop}
    if "fake" in item.fixturenames:
        with contextlib.suppress(ImportError):
            import uvloop

            factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def _no_proxy_or_trust_from_outside(monkeypatch):
    """No variable of the user's decides how a hub is reached."""
    for name in ("https_proxy", "mqtt_proxy", "no_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """One authority for all tests."""
    return Authority.open(tmp_path_factory.mktemp("state") / "certificates", SystemClock())


@pytest.fixture(scope="session")
def client_tls(authority):
    """Settings of a client that trusts it, and checks as strictly as Python 3.13 does."""
    context = ssl.create_default_context(cadata=authority.ca_pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.fixture
async def fake(authority, client_tls):
    """See `FakeCloud`; every connection to it is closed at the end."""
    made = FakeCloud(authority, client_tls)
    await made.start()
    yield made
    await made.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running hub that the tests of one file share."""
    with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
        yield opened


@pytest.fixture
async def house(lab):
    """An edge device of its own on `lab`; its links and REST calls are closed at the end."""
    made = House(lab, f"edge-{next(_numbers)}")
    yield made
    await made.close()


@pytest.fixture
async def own_house(tmp_path):
    """The same on a hub of the test's own, which it may kill."""
    with Lab.open(tmp_path / "state", ephemeral=True) as opened:
        made = House(opened, "edge")
        yield made
        await made.close()
