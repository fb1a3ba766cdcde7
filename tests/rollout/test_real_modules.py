"""The same with the real modules: ModuleSimulatorCar and ModuleFilterCar under the lab's edge runtime."""

import json
from pathlib import Path

import pytest
from onnx_models import made

import iotedge_lab
from iotedge_lab.edge.manifest import load
from iotedge_lab.rollout.compare import Rule
from iotedge_lab.rollout.plan import Plan

TEMPLATE = Path(iotedge_lab.__file__).parent / "modules" / "ModuleFilterCar" / "deployment.template.json"
FAR, NEAR, NEARER = made(300.0), made(100.0), made(50.0)  # mph off by about so much
PLAN = Plan(
    canary=1.0,
    rule=Rule(block_seconds=4.0, least_blocks=6, most_blocks=60, least_rows=5),
    canary_rows=50,
    arrival=90.0,
    comparing=90.0,
)


@pytest.fixture
def edge(lab, device):
    """An edge device with both modules, its car driving ten times as fast as time."""
    told = load(json.loads(TEMPLATE.read_text(encoding="utf-8"))).content["modulesContent"]
    told["ModuleSimulatorCar"]["properties.desired"]["rate"] = 100
    told["ModuleFilterCar"]["properties.desired"] = {"reportSeconds": 0.5}
    lab.rest().call("PUT", f"/devices/{device}", {"deviceId": device, "capabilities": {"iotEdge": True}})
    lab.rest().call("POST", f"/devices/{device}/applyConfigurationContent", {"modulesContent": told})
    made_edge = lab.edge(device)
    made_edge.wait_until_running("ModuleSimulatorCar", "ModuleFilterCar", timeout=90.0)
    yield made_edge
    made_edge.stop()
    made_edge.close()
    for configuration in lab.rest().call("GET", "/configurations"):
        lab.rest().call("DELETE", f"/configurations/{configuration['id']}")
    lab.rest().call("DELETE", f"/devices/{device}")


def test_from_the_registry_to_an_edge(service, registry, name, edge, until):
    """Served, compared and promoted; a model without numbers refused; an edge that was offline gets the next one."""
    service.serve(registry.register(name, FAR), seconds=90.0)
    told = []
    outcome = service.roll_out(registry.register(name, NEAR), PLAN, on_step=told.append)
    assert outcome.promoted, outcome.steps
    assert outcome.verdict.champion_error > outcome.verdict.challenger_error + 150.0
    (state,) = service.edges()
    assert (state.model.version, state.status, state.ring) == ("2", "serving", "canary")

    outcome = service.roll_out(registry.register(name, made(nan=True)), PLAN)
    assert not outcome.promoted
    assert "refuses it" in outcome.reason
    assert "no finite number" in outcome.reason
    (state,) = service.edges()
    assert (state.model.version, state.wanted.version, state.wanted_challenger) == ("2", "2", None)
    assert registry.champion(name).version == "2"
    assert registry.get(name, 3).fate == "rejected"

    edge.offline()
    until(lambda: not service.edges()[0].connected)
    fourth = registry.register(name, NEARER)
    (state,) = service.serve(fourth)  # for those that are there: nobody
    assert (state.model.version, state.wanted.version, state.status) == ("2", "4", "offline (waiting)")
    edge.online()
    state = until(
        lambda: [each for each in service.edges() if each.model and each.model.version == "4"], 120.0
    )[0]
    assert state.model.sha256 == fourth.sha256
    frame = service.errors.frame()
    assert until(lambda: "4" in set(service.errors.frame().version))
    means = frame[~frame.warmup].groupby("version").error.mean()
    assert means["1"] > means["2"] + 150.0
    assert "sig=" not in edge.logs("ModuleFilterCar", 1000)
