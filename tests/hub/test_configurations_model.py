"""Whatever is done to devices and configurations, in the end each twin is as if all of it had come at once."""

import pytest
from configuring import AGENT, base, delete, desired, device_content, layer, put, statuses, tag
from house import House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotedge_lab.hub.configurations.composing import configure, deploy
from iotedge_lab.hub.configurations.content import Kind

DEVICES = ("a", "b", "edge")
CONTENTS = [
    device_content(x=1),
    device_content(x=2, y__z=2),
    device_content(y={"z": 3, "w": 3}),
    device_content(y__w=4, v={}),
    device_content(y=5),
    {"deviceContent": {"properties.desired": {"x": 6, "u": {"t": 6}}}},
    base(m={"properties.desired": {"a": 1}}),
    base(n={}),
    layer({"m": {"properties.desired.b": 2}}, modules__m=2),
    layer(modules__m=3, modules__n__o=3),
]
TARGETS = [
    "*",
    "",
    "tags.t = 1",
    "tags.t != 1",
    "NOT tags.t = 2",
    "properties.reported.r = 1",
    "deviceId IN ['a', 'edge']",
]

NUMBER, PRIORITY = st.integers(0, 4), st.integers(0, 3)

first = st.lists(
    st.tuples(st.sampled_from(CONTENTS), st.sampled_from(TARGETS), PRIORITY), min_size=1, max_size=5
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NUMBER, st.sampled_from(CONTENTS), st.sampled_from(TARGETS), PRIORITY),
        st.tuples(st.just("update"), NUMBER, st.sampled_from(TARGETS), PRIORITY),
        st.tuples(st.just("delete"), NUMBER),
        st.tuples(st.just("tag"), st.sampled_from(DEVICES), st.sampled_from([1, 2, None])),
        st.tuples(st.just("report"), st.sampled_from(DEVICES), st.sampled_from([1, 2])),
        st.tuples(st.just("away"), st.sampled_from(DEVICES)),
        st.tuples(st.just("turn")),
        st.tuples(st.just("restart")),
    ),
    min_size=1,
    max_size=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A hub that is emptied before each example."""
    house = House(tmp_path_factory.mktemp("model"))
    yield house
    house.hub.close()


def register(house, device):
    house.register(device, capabilities={"iotEdge": device == "edge"})


def take(house, step):
    """One step; what cannot be is left out. Only some steps wait for what they bring about."""
    what, *told = step
    known = {one.id for one in house.hub.configurations.all()}
    if what == "put":
        number, content, target, priority = told
        if f"c{number}" not in known:
            put(house, f"c{number}", content, target, priority, wait=False)
    elif what == "update":
        number, target, priority = told
        if f"c{number}" in known:
            given_content = house.hub.configurations.get(f"c{number}").content.given
            put(house, f"c{number}", given_content, target, priority, update=True, wait=False)
    elif what == "delete":
        if f"c{told[0]}" in known:
            delete(house, f"c{told[0]}")
    elif what == "tag":
        tag(house, told[0], t=told[1])
    elif what == "report":
        house.hub.twins.report(told[0], "", {"r": told[1]})
    elif what == "away":
        house.hub.identities.delete(told[0], "", None)
        register(house, told[0])
    elif what == "turn":
        house.turns.run()
    elif what == "restart":
        house.turns.run()
        house.restart()


def meets(target, twin):
    """Whether a condition of those above is true of a twin."""
    tagged, reported = twin.tags.get("t"), twin.reported.values.get("r")
    return {
        "*": True, "": False, "tags.t = 1": tagged == 1, "tags.t != 1": tagged == 2,
        "NOT tags.t = 2": tagged == 1, "properties.reported.r = 1": reported == 1,
        "deviceId IN ['a', 'edge']": twin.device != "b",
    }[target]  # fmt: skip


def bare(values):
    """Without objects that hold nothing: whether such a one is left is no matter."""
    if not isinstance(values, dict):
        return values
    made = {name: bare(value) for name, value in values.items()}
    return {name: value for name, value in made.items() if value != {}}


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=first, steps=steps)
def test_in_the_end(shared, first, steps):
    """Statuses and desired properties are those of the configurations that there are, and of nothing that has been."""
    house = shared
    house.hub.reset()
    for device in DEVICES:
        register(house, device)
    for number, (content, target, priority) in enumerate(first):
        take(house, ("put", number, content, target, priority))
    house.turns.run()
    for step in steps:
        take(house, step)
    house.turns.run()
    for device in DEVICES:
        twin = house.hub.twins.get(device, "")[1]
        matched = [one for one in house.hub.configurations.all() if meets(one.target.text, twin)]
        told, composed = configure([one for one in matched if one.content.kind is Kind.DEVICE])
        assert statuses(house, device) == told
        assert bare(desired(house, device)) == bare(composed.desired if composed else {})
        if device != "edge":
            continue
        deployment = deploy([one for one in matched if one.content.kind is Kind.EDGE])
        assert statuses(house, device, AGENT) == deployment.statuses
        for module, one in (deployment.modules or {}).items():
            if one.whole:
                assert bare(desired(house, device, module)) == bare(one.desired)
            elif one.desired:
                assert desired(house, device, module).items() >= one.desired.items()
