"""A version on its way to the fleet: with the vendor's SDKs on both sides, over a hub and its storage account."""

import json

import pytest
from fake_filter import Traffic
from onnx_models import made

from iotedge_lab.errors import UsageError
from iotedge_lab.registry.version import CHAMPION
from iotedge_lab.rollout.compare import Rule
from iotedge_lab.rollout.plan import Plan
from iotedge_lab.rollout.problems import RolloutProblem

QUICK = Plan(
    canary=0.34,
    rule=Rule(block_seconds=4.0, least_blocks=6, most_blocks=40, least_rows=2),
    canary_rows=10,
    arrival=60.0,
    comparing=60.0,
)
WORSE, GOOD, BEST = made(6.0), made(3.0), made(0.5)  # mph off, where a car's speed is 0.01 times its rpm


def versions(edges):
    return [each.serving for each in edges]


def test_the_first_version(service, registry, name, fleet):
    """Given to all edges at once, it is fetched, checked and served; the twin holds neither URL nor signature."""
    edges = fleet(2)
    states = service.serve(registry.register(name, GOOD))
    assert versions(edges) == ["1", "1"]
    assert [(each.model.version, each.status, each.connected) for each in states] == [
        ("1", "serving", True)
    ] * 2
    assert [each.wanted.blob for each in states] == [f"models/{name}/1/model.onnx"] * 2
    twin = json.dumps(service.cloud._registry.get_module_twin(edges[0].device, "ModuleFilterCar").as_dict())
    assert "sig=" not in twin
    assert "http" not in twin
    assert registry.champion(name).version == "1"
    assert {each.result for each in service.answers} == {"given"}


def test_better_on_live_rows(service, registry, name, fleet):
    """Shadow, canary, fleet: the champion is replaced once the rows have spoken, and the registry says so."""
    edges = fleet(3)
    service.serve(registry.register(name, GOOD))
    told = []
    with Traffic(edges):
        outcome = service.roll_out(registry.register(name, BEST), QUICK, on_step=told.append)
    assert outcome.promoted, outcome.steps
    assert versions(edges) == ["2", "2", "2"]
    assert tuple(told) == outcome.steps
    stages = [each.stage for each in told]
    assert stages == sorted(stages, key=["published", "shadow", "canary", "fleet", "promoted"].index)
    verdict = outcome.verdict
    assert verdict.finding == "better"
    assert verdict.challenger_error == pytest.approx(0.5, abs=0.01)
    assert verdict.champion_error == pytest.approx(3.0, abs=0.01)
    assert verdict.high < 0
    assert [each.ring for each in service.edges()].count("canary") == 1
    assert (registry.champion(name).version, registry.challenger(name)) == ("2", None)
    configurations = service.cloud.configurations("models-")
    assert [each.id.rpartition("_")[2][:2] for each in configurations] == ["2-"]
    frame = service.errors.frame()
    assert set(frame.version) == {"1", "2"}
    assert frame[frame.version == "2"].error.mean() == pytest.approx(0.5, abs=0.01)


def test_worse_on_live_rows(service, registry, name, fleet):
    """It is found worse in the shadow, where it never answered a row; the champion stays."""
    edges = fleet(2)
    service.serve(registry.register(name, GOOD))
    with Traffic(edges):
        outcome = service.roll_out(registry.register(name, WORSE), QUICK)
    assert not outcome.promoted
    assert "not better than" in outcome.reason
    assert outcome.verdict.finding == "worse"
    assert versions(edges) == ["1", "1"]
    assert set(service.errors.frame().version) == {"1"}
    states = service.edges()
    assert [each.wanted_challenger for each in states] == [None, None]
    assert registry.get(name, 2).fate == "rejected"
    assert registry.champion(name).version == "1"


def test_no_rows_no_verdict(service, registry, name, fleet):
    """Where nothing drives, nothing is proved: the champion stays."""
    (edge,) = fleet(1)
    service.serve(registry.register(name, GOOD))
    plan = Plan(canary=1.0, rule=QUICK.rule, comparing=0.3)
    outcome = service.roll_out(registry.register(name, BEST), plan)
    assert (outcome.promoted, edge.serving) == (False, "1")
    assert "no verdict within 0.3 s" in outcome.reason


def test_an_edge_that_was_away(service, registry, name, fleet, until):
    """Offline while all goes on, it fetches the version when it comes back, and again serves it from its disk."""
    here = fleet(2)
    (away,) = fleet(1, connect=False)
    service.serve(registry.register(name, GOOD))
    with Traffic(here):
        outcome = service.roll_out(registry.register(name, BEST), QUICK)
    assert outcome.promoted
    assert outcome.waiting == (away,)
    disk = {}
    back = fleet.start(away, files=disk)
    until(lambda: back.serving == "2")
    assert len(back.requests) >= 1
    back.close()
    again = fleet.start(away, files=disk)
    assert (again.serving, again.requests) == ("2", [])
    until(lambda: all(each.status == "serving" for each in service.edges() if each.connected))


def test_one_edge_refuses_in_the_fleet(service, registry, name, fleet):
    """A model that passed on the canary and crashes elsewhere is taken back everywhere."""
    edges = fleet(3)
    service.serve(registry.register(name, GOOD))
    second = registry.register(name, BEST)
    release = service.publish(second)
    chosen = service.targets.choose(service.edges(), 0.34, release)
    for edge in edges:
        if edge.device not in chosen:
            edge.crash_on.add("2")
    with Traffic(edges):
        outcome = service.roll_out(second, QUICK)
    assert not outcome.promoted
    assert "refuses it: the process that tried it ended with -11" in outcome.reason
    assert versions(edges) == ["1", "1", "1"]
    assert registry.champion(name).version == "1"
    assert [each.wanted.version for each in service.edges()] == ["1", "1", "1"]


def test_without_a_champion_back_to_the_bundled_file(service, registry, name, fleet, until):
    """The first rollout of all may fail too: then no twin names a model any more."""
    edges = fleet(2, crash_on={"1"})
    outcome = service.roll_out(registry.register(name, GOOD), QUICK)
    assert (outcome.result, versions(edges)) == ("rolled back", ["0", "0"])
    assert [each.wanted for each in service.edges()] == [None, None]
    assert service.cloud.configurations("models-") == []
    until(lambda: all(each.pending is None for each in service.edges()))


def test_a_second_try_after_a_refusal(service, registry, name, fleet):
    """A refusal that was reported before does not count against another try."""
    edges = fleet(2, crash_on={"1"})
    first = registry.register(name, GOOD)
    assert not service.roll_out(first, QUICK).promoted
    for edge in edges:
        edge.crash_on.clear()
    with Traffic(edges):
        assert service.roll_out(first, QUICK).promoted
    assert registry.champion(name).version == "1"


def test_given_by_hand_and_refused(service, registry, name, fleet):
    """`serve` takes a version back that an edge refuses, and the champion stays."""
    edges = fleet(2)
    service.serve(registry.register(name, GOOD))
    edges[0].crash_on.add("2")
    with pytest.raises(RolloutProblem, match=r"refuses .* ended with -11"):
        service.serve(registry.register(name, BEST))
    assert registry.champion(name).version == "1"
    states = service.edges()
    assert [each.wanted.version for each in states] == ["1", "1"]


def test_stopped_half_way(service, registry, name, fleet):
    """A stop takes back what was begun."""
    import threading

    (edge,) = fleet(1)
    service.serve(registry.register(name, GOOD))
    stop = threading.Event()

    def stop_in_the_shadow(step):
        if step.stage == "shadow":
            stop.set()

    plan = Plan(canary=1.0, rule=QUICK.rule)
    outcome = service.roll_out(registry.register(name, BEST), plan, on_step=stop_in_the_shadow, stop=stop)
    assert (outcome.result, outcome.reason, edge.serving) == ("rolled back", "it was stopped", "1")


def test_an_error_half_way(service, registry, name, fleet):
    """Whatever a step's listener raises, no edge is left with a version that nobody watches."""
    fleet(1)
    service.serve(registry.register(name, GOOD))

    def fail(step):
        if step.stage == "shadow":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        service.roll_out(registry.register(name, BEST), Plan(canary=1.0), on_step=fail)
    (state,) = service.edges()
    assert (state.wanted.version, state.wanted_challenger) == ("1", None)
    assert registry.get(name, CHAMPION).version == "1"


def test_what_cannot_be_rolled_out(service, registry, name, fleet):
    """No edges, another model, the champion once more: refused with a word, and nothing is left behind."""
    version = registry.register(name, GOOD)
    with pytest.raises(UsageError, match="No edge of this hub has the module"):
        service.roll_out(version)
    other = registry.register(f"{name}-other", GOOD)
    with pytest.raises(UsageError, match="is another model"):
        service.roll_out(other)
    fleet(1)
    service.serve(version)
    with pytest.raises(UsageError, match="is the champion already"):
        service.roll_out(version)
