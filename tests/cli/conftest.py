"""Fixtures of the terminal's tests: a runner in a clean environment, and one hub that they share."""

import os

import pytest
from click.testing import CliRunner

from iotedge_lab.cli import main
from iotedge_lab.lab import Lab


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """Neither the user's state folder nor their variables reach a test."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in (
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("IOTEDGE_LAB_STATE", str(tmp_path / "default-state"))


@pytest.fixture
def cli(clean):
    """Run a command line: `cli("device", "list")`."""
    runner = CliRunner()

    def run(*words, **more):
        return runner.invoke(main, list(words), **more)

    return run


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """A running hub, as a `Lab`."""
    with Lab.open(tmp_path_factory.mktemp("cli") / "state", ephemeral=True) as lab:
        yield lab


@pytest.fixture
def state(hub):
    """`--state` of that hub, as words of a command line."""
    return ("--state", str(hub.state_dir))
