"""A hub that dies under the service, calls that are refused, and messages that are nonsense."""

import gc
import json
import threading
import warnings

import pytest
from fake_filter import MODULE, FakeFilter, row
from onnx_models import made

from iotedge_lab.errors import EnvironmentProblem, HubNotRunning
from iotedge_lab.lab import Lab
from iotedge_lab.registry.registry import Registry
from iotedge_lab.rollout.cloud import Cloud
from iotedge_lab.rollout.listener import Listener
from iotedge_lab.rollout.problems import RolloutProblem
from iotedge_lab.rollout.service import Service


@pytest.fixture
def forgetful():
    """azure-eventhub leaves the transports of dead connections as they are; they are collected here, in silence."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# What it left may also be collected while the test runs.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("forgetful")
def test_a_hub_that_dies_and_comes_back(tmp_path, monkeypatch, until):
    """The service goes on where it was: edges are answered, rows are heard once."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        for variable, value in lab.env().items():
            monkeypatch.setenv(variable, value)
        registry = Registry.open(tmp_path / "registry")
        for path, body in (
            ("/devices/edge", {"deviceId": "edge"}),
            (f"/devices/edge/modules/{MODULE}", {"deviceId": "edge", "moduleId": MODULE}),
        ):
            lab.rest().call("PUT", path, body)
        strings = (lab.service_connection_string, lab.events_connection_string, lab.storage_connection_string)
        with Service(*strings, registry, ca_file=lab.ca_file, poll=0.05) as service:
            edge = FakeFilter(lab, "edge")
            service.serve(registry.register("car-speed", made(1.0)))
            edge.drive([row(float(second)) for second in range(20)])
            until(lambda: len(service.errors) == 20)
            lab.crash()
            lab.start()
            until(lambda: edge._client.connected)
            service.serve(registry.register("car-speed", made(2.0)))
            assert edge.serving == "2"
            edge.drive([row(float(second)) for second in range(20, 40)])
            until(lambda: len(service.errors) >= 40)
            assert service.errors.frame().seconds.tolist() == [float(second) for second in range(40)]
            edge.close()


def test_an_endpoint_that_is_not_there():
    """It is told of when it is opened, not in a thread."""
    string = "Endpoint=sb://127.0.0.1:9;SharedAccessKeyName=n;SharedAccessKey=a2V5;EntityPath=e;UseDevelopmentEmulator=true"
    listener = Listener(string, on_prediction=print, on_request=print)
    before = set(threading.enumerate())
    with pytest.raises(HubNotRunning, match="The built-in endpoint cannot be read"):
        listener.start(1.0)
    for each in set(threading.enumerate()) - before:
        if each.name == "rollout-listener":
            each.join(60)
            assert not each.is_alive()


def test_nonsense_is_counted_and_passed_over(service, ears, lab, fleet, until):
    """Anybody at the hub may write to the endpoint: what cannot be read stops nothing."""
    (edge,) = fleet(1)
    edge._send({"modelVersion": "1"}, messageType="prediction")
    edge._send(["no object"], messageType="modelRequest")
    edge._send({"label": "car"}, messageType="detection")
    edge.drive([row(1.0)])
    until(lambda: len(service.errors) == 1)


def test_what_the_hub_refuses(lab):
    """Its words come through, and no key."""
    cloud = Cloud(lab.service_connection_string)
    with pytest.raises(RolloutProblem, match="cannot read the twin of nobody: ErrorCode:"):
        cloud.edge("nobody")
    with pytest.raises(RolloutProblem, match="cannot take the configuration Wrong"):
        cloud.configure("Wrong", {"properties.desired.model": 1}, "*", 1, {})
    cloud.forget("none-of-this-name")
    cloud.close()
    wrong = lab.service_connection_string.rpartition("SharedAccessKey=")[0] + "SharedAccessKey=a2V5"
    with pytest.raises(RolloutProblem, match="cannot list the edges") as caught:
        Cloud(wrong).edges()
    assert "a2V5" not in str(caught.value)


def test_a_hub_that_is_not_there():
    """It is told of, with what to look at."""
    cloud = Cloud("HostName=127.0.0.1:9;SharedAccessKeyName=n;SharedAccessKey=a2V5")
    cloud._registry.protocol.config.retry_policy.retries = 0
    with pytest.raises(
        RolloutProblem, match=r"cannot list the edges: it does not answer \(\[Errno \d+\] [^)(]+\)\. Is it up"
    ):
        cloud.edges()
    with pytest.raises(RolloutProblem, match="cannot call fetchModel of edge: it does not answer"):
        cloud.call("edge", "fetchModel", {})
    cloud.close()


def test_throttled_calls_are_made_again(lab, monkeypatch):
    """429 is waited out, some times; other refusals are not."""
    from types import SimpleNamespace

    from msrest.exceptions import HttpOperationError

    class Throttled(HttpOperationError):
        def __init__(self, status):
            self.response = SimpleNamespace(status_code=status, text=json.dumps({"Message": "too many"}))

    pauses, calls = [], []
    cloud = Cloud(lab.service_connection_string, pause=pauses.append)

    def list_them():
        calls.append(1)
        if len(calls) <= 2:
            raise Throttled(429)
        return []

    monkeypatch.setattr(cloud._configurations, "get_configurations", list_them)
    assert cloud.configurations("") == []
    assert pauses == [0.5, 2.0]
    calls.clear()
    monkeypatch.setattr(
        cloud._configurations, "get_configurations", lambda: calls.append(1) or _raise(Throttled(429))
    )
    with pytest.raises(RolloutProblem, match="too many"):
        cloud.configurations("")
    assert len(calls) == 5
    cloud.close()


def _raise(error):
    raise error


def test_a_configuration_is_made_once(lab):
    """The same again changes nothing; another content under its name replaces it."""
    cloud = Cloud(lab.service_connection_string)
    condition = f"FROM devices.modules WHERE moduleId = '{MODULE}' AND tags.ring = 'none'"
    told = {"properties.desired.model": {"version": "1"}}
    cloud.configure("models-once", told, condition, 3, {"version": "1"})
    (first,) = cloud.configurations("models-once")
    cloud.configure("models-once", told, condition, 3, {"version": "1"})
    (second,) = cloud.configurations("models-once")
    assert first.etag == second.etag
    cloud.configure("models-once", {"properties.desired.model": {"version": "2"}}, condition, 3, {})
    (third,) = cloud.configurations("models-once")
    assert third.content.module_content == {"properties.desired.model": {"version": "2"}}
    cloud.forget("models-once")
    assert cloud.configurations("models-once") == []
    cloud.close()


def test_without_the_sdk(monkeypatch):
    """Where uamqp has no wheel, it is said."""
    import sys

    monkeypatch.setitem(sys.modules, "azure.iot.hub", None)
    with pytest.raises(EnvironmentProblem, match="pip install azure-iot-hub six"):
        Cloud("HostName=h;SharedAccessKeyName=n;SharedAccessKey=a2V5")
