"""A hub with its storage account, a registry and a listener, which all tests here share; a service, and edges."""

import gc
import itertools
import time
import warnings

import pytest
from fake_filter import MODULE, FakeFilter

from iotedge_lab.lab import Lab
from iotedge_lab.registry.registry import Registry
from iotedge_lab.rollout.listener import Listener
from iotedge_lab.rollout.service import Service

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A running hub."""
    with Lab.open(tmp_path_factory.mktemp("rollout") / "state", ephemeral=True) as opened:
        yield opened
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _trust(request, monkeypatch, _no_hub_from_outside):
    """The variables by which the SDKs find and trust `lab`, where a test asks for it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if "lab" in request.fixturenames:
        for name, value in request.getfixturevalue("lab").env().items():
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _leftovers(request):
    """What the vendors' clients leave behind is collected where it was made."""
    yield
    if "lab" in request.fixturenames:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"unclosed <(socket\.socket|ssl\.SSLSocket)", ResourceWarning)
            gc.collect()
        gc.freeze()  # what is left is not looked at again after each test: with MLflow and FLAML that takes a second


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """One database for all tests here; each has a model of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Registry.open(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def name():
    """A model of the test's own."""
    return f"car-speed-{next(_numbers)}"


@pytest.fixture
def device(name):
    """The id of an edge of the test's own, beside those of `fleet`."""
    return f"car-edge-{next(_numbers)}"


@pytest.fixture(scope="session")
def ears(lab):
    """A listener for all tests here, as one takes a second to open and to close; `ears[0]` hears it.

    It hears its own test's edges only: what those of an earlier test sent may still be on its way.
    """
    hearing = [None]

    def heard_by(take):
        def hear(message):
            service = hearing[0]
            if service is not None and _number(message.sender.device) > _number(service.name):
                take(service, message)

        return hear

    with Listener(
        lab.events_connection_string,
        on_prediction=heard_by(lambda service, each: service._heard(each)),
        on_request=heard_by(lambda service, each: service._answering.ask(each)),
    ):
        yield hearing


def _number(name):
    """That of "edge-7" or "car-speed-7"."""
    return int(name.rpartition("-")[2])


@pytest.fixture
def service(lab, registry, name, ears):
    """The service for that model; it hears by `ears`."""
    made = Service(
        lab.service_connection_string,
        lab.events_connection_string,
        lab.storage_connection_string,
        registry,
        name=name,
        ca_file=lab.ca_file,
        poll=0.05,
    )
    ears[0] = made
    yield made
    ears[0] = None
    made.close()


@pytest.fixture
def fleet(lab):
    """`fleet(count, ...)`: edges with the fake module, connected; alone at the hub, and gone after the test."""
    made, devices = [], []

    def make(count=1, *, connect=True, **options):
        names = [f"edge-{next(_numbers)}" for _ in range(count)]
        for device in names:
            lab.rest().call(
                "PUT", f"/devices/{device}", {"deviceId": device, "capabilities": {"iotEdge": True}}
            )
            lab.rest().call(
                "PUT", f"/devices/{device}/modules/{MODULE}", {"deviceId": device, "moduleId": MODULE}
            )
            devices.append(device)
        return [start(device, **options) for device in names] if connect else names

    def start(device, **options):
        made.append(FakeFilter(lab, device, **options))
        return made[-1]

    make.start = start
    yield make
    for one in made:
        one.close()
    for configuration in lab.rest().call("GET", "/configurations"):
        lab.rest().call("DELETE", f"/configurations/{configuration['id']}")
    for device in devices:
        lab.rest().call("DELETE", f"/devices/{device}")


@pytest.fixture
def until():
    """`until(condition)`: look again and again until it holds; fails after a while."""

    def wait(condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.02)
        return found

    return wait
