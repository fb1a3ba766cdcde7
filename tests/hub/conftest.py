"""A hub in this process, and one in its own that the tests of a file share."""

import itertools

import pytest
from house import House
from hub_clients import Consumer, RawDevice, dial, partition_of

from iotedge_lab.lab import Lab
from iotedge_lab.rest import quote


@pytest.fixture
def house(tmp_path):
    """A hub in this process with a clock that stands still."""
    made = House(tmp_path)
    yield made
    made.turns.run()
    made.hub.close()


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


@pytest.fixture
def registry(lab):
    """The vendor's registry manager."""
    from azure.iot.hub import IoTHubRegistryManager

    return IoTHubRegistryManager.from_connection_string(lab.service_connection_string)


_numbers = itertools.count(1)


@pytest.fixture
def device(lab):
    """The id of a fresh device."""
    name = f"device-{next(_numbers)}"
    lab.rest().call("PUT", f"/devices/{quote(name)}", {"deviceId": name})
    return name


@pytest.fixture
def sdk(lab):
    """`sdk(device, module)`: the vendor's synchronous client, not connected yet; shut down after the test."""
    from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient

    made = []

    def make(device, module=None, *, connection_string=None, **options):
        kind = IoTHubModuleClient if module else IoTHubDeviceClient
        string = connection_string or lab.device_connection_string(device, module)
        made.append(kind.create_from_connection_string(string, **options))
        return made[-1]

    yield make
    for client in made:
        client.shutdown()


@pytest.fixture
def raw(lab):
    """`raw(device, ...)`: a connected `RawDevice`; closed at the end of the test."""
    made = []

    def connect(device, module=None, **options):
        one = RawDevice(lab, device, module, **options)
        made.append(one)
        return one.__enter__()

    yield connect
    for one in made:
        one.close()


@pytest.fixture
def consume(lab):
    """`consume(...)`: a `Consumer`; closed at the end of the test."""
    made = []

    def start(**options):
        made.append(Consumer(lab, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture(name="partition_of")
def _partition_of(lab):
    return lambda device: partition_of(lab, device)


@pytest.fixture(name="dial")
def _dial(lab):
    """`dial(port, tls=...)`: a bare socket to the hub; closed at the end of the test."""
    made = []

    def connect(port, *, tls=False, timeout=30.0):
        made.append(dial(lab, port, tls=tls, timeout=timeout))
        return made[-1]

    yield connect
    for one in made:
        one.close()
