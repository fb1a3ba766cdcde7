"""A lab whose storage the tests of this folder share, and the vendor's clients of it."""

import contextlib
import itertools

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from iotedge_lab.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A running hub; none of these tests may stop it."""
    with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _trust(request, monkeypatch, _no_hub_from_outside):
    """The variables by which the SDK trusts `lab`, where a test asks for it."""
    if "lab" in request.fixturenames:
        lab = request.getfixturevalue("lab")
        for name, value in lab.env().items():
            monkeypatch.setenv(name, value)
        # The lab's authority alone: each client reads the file anew, and with certifi's roots that takes 50 ms.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(lab.state_dir / "certificates" / "lab-ca.pem"))


@pytest.fixture(scope="session")
def service(lab):
    """The vendor's client; small pieces, and no second try, so that what the server says is what is seen."""
    with BlobServiceClient.from_connection_string(
        lab.storage_connection_string,
        retry_total=0,
        max_single_put_size=256 * 1024,
        max_block_size=128 * 1024,
        connection_verify=str(lab.state_dir / "certificates" / "lab-ca.pem"),
    ) as client:
        yield client


_numbers = itertools.count(1)


@pytest.fixture
def container(service):
    """A fresh container's client; deleted after the test."""
    made = service.create_container(f"test-{next(_numbers)}")
    yield made
    with contextlib.suppress(ResourceNotFoundError):
        made.delete_container()


@pytest.fixture(scope="session")
def key(lab):
    """The account's key."""
    return lab.storage_connection_string.split("AccountKey=")[1].split(";")[0]
