"""From one deployment to the next: only what differs is done."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import CAR, car, module

from iotedge_lab.edge.manifest import ModuleChanges, RouteChanges, diff, diff_routes, load


def agent(**modules):
    return load(car(modules=modules, routes={})).agent


CASES = [
    # before (None: nothing deployed), after, changes
    (None, {}, ModuleChanges()),
    (None, {"A": module(), "B": module(status="stopped")}, ModuleChanges(start=("A",), add=("B",))),
    ({"A": module()}, {"A": module()}, ModuleChanges()),
    ({"A": module()}, {}, ModuleChanges(remove=("A",))),
    ({"A": module()}, {"A": module(), "B": module()}, ModuleChanges(start=("B",))),
    ({"A": module()}, {"A": module(status="stopped")}, ModuleChanges(stop=("A",))),
    ({"A": module(status="stopped")}, {"A": module()}, ModuleChanges(start=("A",))),
    (
        {"A": module()},
        {"A": module(image="modulea:2.0")},
        ModuleChanges(restart=("A",), reasons={"A": ("image",)}),
    ),
    (
        {"A": module()},
        {"A": module(version="1.1")},
        ModuleChanges(restart=("A",), reasons={"A": ("version",)}),
    ),
    (
        {"A": module(env={"X": {"value": "1"}, "Y": {"value": "1"}})},
        {"A": module(env={"X": {"value": "2"}, "Z": {"value": "1"}})},
        ModuleChanges(restart=("A",), reasons={"A": ("env X", "env Y", "env Z")}),
    ),
    (  # the same variable from another place is no change
        {"A": module(env={"X": {"value": "1"}})},
        {"A": module(createOptions={"Env": ["X=1"]})},
        ModuleChanges(),
    ),
    (
        {"A": module()},
        {"A": module(createOptions={"HostConfig": {"Binds": ["/tmp:/app/x"]}, "Cmd": "go"})},
        ModuleChanges(restart=("A",), reasons={"A": ("createOptions mounts", "createOptions command")}),
    ),
    (  # what has no meaning here changes nothing here
        {"A": module()},
        {"A": module(createOptions={"HostConfig": {"Privileged": True}})},
        ModuleChanges(),
    ),
    (
        {"A": module()},
        {"A": module(restartPolicy="never", startupOrder=2)},
        ModuleChanges(update=("A",), reasons={"A": ("restart_policy", "startup_order")}),
    ),
    (
        {"A": module(status="stopped")},
        {"A": module(status="stopped", image="b")},
        ModuleChanges(update=("A",), reasons={"A": ("image",)}),
    ),
    (
        {"A": module()},
        {"A": module(status="stopped", image="b")},
        ModuleChanges(stop=("A",), reasons={"A": ("image",)}),
    ),
    (  # in the order of startup, and stopping the other way round
        {
            "W": module(startupOrder=1),
            "V": module(),
            "S": module(startupOrder=5),
            "T": module(startupOrder=4),
        },
        {
            "B": module(startupOrder=2),
            "A": module(startupOrder=3),
            "C": module(startupOrder=0),
            "S": module(startupOrder=5, status="stopped"),
            "T": module(startupOrder=4, status="stopped"),
        },
        ModuleChanges(start=("C", "B", "A"), stop=("S", "T"), remove=("V", "W")),
    ),
]


@pytest.mark.parametrize(("before", "after", "changes"), CASES, ids=range(len(CASES)))
def test_changes(before, after, changes):
    """The changes from one deployment to another are those of the table."""
    found = diff(None if before is None else agent(**before), agent(**after))
    assert found == changes
    assert found.nothing is (changes == ModuleChanges())
    assert diff(agent(**after), agent(**after)).nothing


def test_routes():
    """Routes are new, gone or changed by text, priority or time to live."""
    old = load(CAR).hub
    routes = dict(CAR["modulesContent"]["$edgeHub"]["properties.desired"]["routes"])
    assert diff_routes(old, load(CAR).hub) == RouteChanges()
    assert diff_routes(None, old).added == tuple(routes)
    routes["new"] = "FROM /* INTO $upstream"
    routes["ModuleFilterCarToIoTHub"] = "FROM /messages/* INTO $upstream"
    del routes["ModuleSimulatorCarToFilter"]
    changed = load(car(routes=routes, storeAndForwardConfiguration={"timeToLiveSecs": 60})).hub
    found = diff_routes(old, changed)
    assert found == RouteChanges(
        ("new",), ("ModuleSimulatorCarToFilter",), ("ModuleFilterCarToIoTHub",), time_to_live=True
    )
    assert not found.nothing


SOME = st.dictionaries(
    st.sampled_from("ABCDE"),
    st.builds(
        lambda status, image, order: module(status=status, image=image, startupOrder=order),
        st.sampled_from(["running", "stopped"]),
        st.sampled_from(["a:1", "a:2"]),
        st.integers(0, 3),
    ),
)


@settings(max_examples=60, deadline=None)
@given(SOME, SOME)
def test_doing_the_changes_leads_there(before, after):
    """Whoever does what the changes say has the new deployment running, and touched nothing else."""
    old, new = agent(**before), agent(**after)
    changes = diff(old, new)
    groups = [changes.start, changes.restart, changes.stop, changes.remove, changes.update, changes.add]
    named = [name for group in groups for name in group]
    assert len(named) == len(set(named))
    assert all(old.modules.get(name) != new.modules.get(name) for name in named)
    # What runs, by name, with the image it was started from.
    running = {name: spec.image for name, spec in old.modules.items() if spec.status == "running"}
    for name in (*changes.stop, *changes.remove, *changes.restart):
        running.pop(name, None)
    running.update({name: new.modules[name].image for name in (*changes.restart, *changes.start)})
    assert running == {name: spec.image for name, spec in new.modules.items() if spec.status == "running"}
