"""A pytest plugin: the fixture `iothub` gives each test an IoT Hub of its own.

    def test_a_device_sends(iothub):
        registry = IoTHubRegistryManager.from_connection_string(iothub.service_connection_string)
        ...

Installed with the package, there is nothing to import. A hub takes about a second to start and ends with its
test, whatever becomes of the test run; each has an address of its own, so tests may run side by side under
pytest-xdist. The environment variables by which the SDKs trust it are set for the length of the test.

Where `IOTHUB_CONNECTION_STRING` names a hub on Azure, the fixture gives that one instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.lab import Lab


@pytest.fixture
def iothub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A fresh, running IoT Hub; see `iotedge_lab.Lab` for what it offers."""
    from iotedge_lab.lab import Lab

    with Lab.open(tmp_path_factory.mktemp("iothub"), ephemeral=True) as lab:
        yield lab.activate()
