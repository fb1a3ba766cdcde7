"""What the simulator's tests share: one hub, and one simulator for a module."""

import os

import pytest

from iotedge_lab.lab import Lab


@pytest.fixture(scope="package", autouse=True)
def _no_proxy_or_trust_from_outside():
    """No variable of the user's decides how a hub is reached."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name == "SSL_CERT_FILE":
                patch.delenv(name)
        yield


@pytest.fixture(scope="package")
def lab(tmp_path_factory, _no_proxy_or_trust_from_outside):
    """A running hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("IOTHUB_CONNECTION_STRING", raising=False)
        with Lab.open(tmp_path_factory.mktemp("simulator") / "state", ephemeral=True) as opened:
            yield opened
