"""What several configurations make of one twin: priority, ties, merging, layers, and what is taken back."""

import copy

import pytest
from configuring import AGENT, HUB, base, device_content, layer
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.broker.twin import new_section, patch_section
from iotedge_lab.hub.configurations.composing import Composed, configure, deploy, patch_to
from iotedge_lab.hub.configurations.configuration import Configuration
from iotedge_lab.hub.configurations.content import Content
from iotedge_lab.hub.configurations.target import Target

WHOLE = "properties.desired"


def several(*contents):
    """Configurations `c0`, `c1`, ... made one after another, of (priority, content)."""
    made = []
    for number, (priority, body) in enumerate(contents):
        content = Content.read(body)
        target = Target.read("*", content.kind)
        made.append(Configuration(f"c{number}", number, 1, 0.0, 0.0, content, target, priority, {}, {}, None))
    return made


MERGED = [
    # contents with their priority, which of them are Applied, and what the twin is told
    ([(0, device_content(a=1))], "0", {"a": 1}),
    ([(0, device_content(a=1)), (0, device_content(b=2))], "01", {"a": 1, "b": 2}),
    ([(5, device_content(a=1)), (0, device_content(a=2))], "0", {"a": 1}),  # the higher priority wins
    ([(0, device_content(a=1)), (5, device_content(a=2))], "1", {"a": 2}),
    ([(0, device_content(a=1)), (0, device_content(a=2))], "1", {"a": 2}),  # then the later
    ([(1, device_content(a=1, b=1)), (0, device_content(a=2, c=2))], "01", {"a": 1, "b": 1, "c": 2}),
    ([(0, device_content(a__b=1)), (0, device_content(a__c=2))], "01", {"a": {"b": 1, "c": 2}}),
    ([(0, device_content(a__b=1)), (1, device_content(a={"c": 2}))], "1", {"a": {"c": 2}}),  # covers what is below
    ([(1, device_content(a__b=1)), (0, device_content(a={"c": 2}))], "01", {"a": {"b": 1, "c": 2}}),
    ([(1, device_content(a__b=1)), (0, device_content(a=5))], "0", {"a": {"b": 1}}),
    ([(1, device_content(a__b=1)), (0, device_content(a={"b": 2}))], "0", {"a": {"b": 1}}),
    ([(1, device_content(a__b=1)), (0, device_content(a={}))], "01", {"a": {"b": 1}}),
    ([(1, device_content(a__b__c=1)), (0, device_content(a__b={"c": 2, "d": 3}))], "01",
     {"a": {"b": {"c": 1, "d": 3}}}),
    ([(1, device_content(a__b=1)), (1, device_content(a__c=1)), (0, device_content(a={"b": 2, "c": 2}))], "01",
     {"a": {"b": 1, "c": 1}}),
    ([(0, device_content(a=1)), (1, device_content(a=None))], "1", {"a": None}),
    ([(0, device_content(a=1)), (1, {"deviceContent": {WHOLE: {"b": 1}}})], "1", ({"b": 1},)),
    ([(1, device_content(a=1)), (0, {"deviceContent": {WHOLE: {"b": 1}}})], "01", ({"a": 1, "b": 1},)),
    ([(0, {"deviceContent": {WHOLE: {"a": 1}}}), (1, {"deviceContent": {WHOLE: {}}})], "1", ({},)),
    ([(2, device_content(a=1)), (1, device_content(a=2)), (0, device_content(a=3))], "0", {"a": 1}),
    ([(2, device_content(a=1)), (1, device_content(b=2)), (0, device_content(a=3, b=3))], "01", {"a": 1, "b": 2}),
    (
        [(0, {"deviceContent": {"properties.desired.a": {"x": 1}, "properties.desired.a.y": 2}})],
        "0", {"a": {"x": 1, "y": 2}},
    ),
    ([(0, device_content(a=[1, 2])), (1, device_content(a=[3]))], "1", {"a": [3]}),
]  # fmt: skip


@pytest.mark.parametrize(("contents", "applied", "told"), MERGED, ids=range(len(MERGED)))
def test_automatic_configurations(contents, applied, told):
    """They are merged path by path; one of which nothing is left is Targeted."""
    configurations = several(*contents)
    before = copy.deepcopy([one.content.given for one in configurations])
    statuses, composed = configure(configurations)
    assert {name for name, status in statuses.items() if status == "Applied"} == {f"c{at}" for at in applied}
    assert set(statuses) == {one.id for one in configurations}
    expected = Composed(told[0], whole=True) if isinstance(told, tuple) else Composed(told, whole=False)
    assert composed == expected
    assert configure(configurations[::-1]) == ({**statuses}, composed)  # whatever order they come in
    assert [one.content.given for one in configurations] == before


def told(deployment):
    """Module to what it is told, as a whole in a tuple."""
    return {
        name: (composed.desired,) if composed.whole else composed.desired
        for name, composed in deployment.modules.items()
    }


EMPTY = {AGENT: ({"modules": {}},), HUB: ({"routes": {}},)}
DEPLOYED = [
    # deployments with their priority, which of them are Applied, and what the modules are told
    ([(0, base())], "0", EMPTY),
    ([(0, base(m={}))], "0", EMPTY | {"m": {}}),
    ([(0, base(old={})), (5, base(new={WHOLE: {"a": 1}}))], "1", EMPTY | {"new": ({"a": 1},)}),
    ([(5, base(old={})), (0, base(new={}))], "0", EMPTY | {"old": {}}),
    ([(5, base(old={})), (5, base(new={}))], "1", EMPTY | {"new": {}}),
    (
        [(0, base()), (1, layer(modules__x={"image": "x"}))], "01",
        EMPTY | {AGENT: ({"modules": {"x": {"image": "x"}}},)},
    ),
    ([(1, base()), (1, layer(modules__x={}))], "0", EMPTY),  # a layer lies on top by a higher priority
    ([(1, base()), (0, layer(modules__x={}))], "0", EMPTY),
    (
        [(0, base()), (2, layer(modules__x={"v": 2})), (1, layer(modules__x={"v": 1}, modules__y={}))], "012",
        EMPTY | {AGENT: ({"modules": {"x": {"v": 2}, "y": {}}},)},
    ),
    (
        [(0, base(m={WHOLE: {"a": 1}})), (1, layer({"m": {f"{WHOLE}.b": 2}}))], "01",
        EMPTY | {AGENT: ({"modules": {"layer": {}}},), "m": ({"a": 1, "b": 2},)},
    ),
    (
        [(0, base(m={WHOLE: {"a": 1}})), (1, layer({"m": {WHOLE: {"b": 2}}}))], "01",
        EMPTY | {AGENT: ({"modules": {"layer": {}}},), "m": ({"b": 2},)},
    ),
    (
        [(0, base()), (1, layer({HUB: {f"{WHOLE}.routes.up": "FROM /* INTO $upstream"}, "m": {}}))], "01",
        {AGENT: ({"modules": {"layer": {}}},), HUB: ({"routes": {"up": "FROM /* INTO $upstream"}},), "m": {}},
    ),
    # A layer between two bases: the base above it wins, and it lies below that.
    ([(0, base()), (1, layer(modules__x={})), (2, base(m={}))], "2", EMPTY | {"m": {}}),
]  # fmt: skip


@pytest.mark.parametrize(("contents", "applied", "modules"), DEPLOYED, ids=range(len(DEPLOYED)))
def test_deployments(contents, applied, modules):
    """One base applies, and the layers above it; all others are Targeted."""
    configurations = several(*contents)
    deployment = deploy(configurations)
    found = [name for name, status in sorted(deployment.statuses.items()) if status == "Applied"]
    assert found == [f"c{at}" for at in applied]
    assert told(deployment) == modules
    assert told(deploy(configurations[::-1])) == modules


def test_layers_without_a_base():
    """Change nothing: they are Targeted, and nothing is said of the modules."""
    deployment = deploy(several((0, layer()), (5, layer({"m": {}}))))
    assert deployment.modules is None
    assert deployment.statuses == {"c0": "Targeted", "c1": "Targeted"}
    assert deploy([]).modules is None


# -- the way there -------------------------------------------------------------------------------------

PATCHES = [
    # the twin, what configurations have set, what they set now; the twin then
    ({}, None, {"a": 1}, {"a": 1}),
    ({"a": 1}, {"a": 1}, None, {}),
    ({"a": 1, "own": 2}, {"a": 1}, None, {"own": 2}),
    ({"a": 1}, {"a": 1}, {"b": 2}, {"b": 2}),
    ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, None, {}),  # an object that it has made goes too
    ({"a": {"b": 1, "own": 2}}, {"a": {"b": 1}}, None, {"a": {"own": 2}}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"c": 3}}),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ({"a": 5}, {"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ({"a": 7}, {"a": {"b": 1}}, None, {}),  # somebody has put another value in its place
    ({"a": {"x": 1}}, {"a": 5}, None, {}),
    ({}, {"a": 1, "b": {"c": 2}}, None, {}),  # it is gone already
    ({"b": {}}, {"b": {"c": 2}}, None, {}),
    ({"own": 1}, {"a": None}, None, {"own": 1}),
    ({"a": 1, "own": 1}, None, {"a": None}, {"own": 1}),
    ({"a": {"b": {"c": 1}, "own": {"d": 2}}}, {"a": {"b": {"c": 1}}}, {"e": 1}, {"a": {"own": {"d": 2}}, "e": 1}),
    ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ({"a": [1, 2]}, {"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
]  # fmt: skip


def patched(values, patch):
    section = patch_section(new_section("2000-01-01T00:00:00Z"), values, "2000-01-01T00:00:00Z")
    return patch_section(section, patch, "2000-01-01T00:00:00Z").values


def _composed(desired):
    return None if desired is None else Composed(desired, whole=False)


@pytest.mark.parametrize(("current", "before", "after", "then"), PATCHES, ids=range(len(PATCHES)))
def test_patches(current, before, after, then):
    """What is set no more is taken back; what somebody else has set beside it stays."""
    untouched = copy.deepcopy((current, before, after))
    assert patched(current, patch_to(current, _composed(before), _composed(after))) == then
    assert (current, before, after) == untouched


values = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def _leaves(tree, path=()):
    """Path to value of all that is no object, and of empty ones."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    return {leaf: value for name in tree for leaf, value in _leaves(tree[name], (*path, name)).items()}


@settings(max_examples=300, deadline=None)
@given(before=objects, after=objects)
def test_patches_of_anything(before, after):
    """From nothing but what was set, exactly what is set now is left."""
    then = patched(before, patch_to(before, _composed(before), _composed(after)))
    values_left = {path: value for path, value in _leaves(then).items() if not isinstance(value, dict)}
    assert values_left == {
        path: value for path, value in _leaves(after).items() if not isinstance(value, dict)
    }


@settings(max_examples=200, deadline=None)
@given(own=objects, setting=objects)
def test_what_was_there_comes_to_no_harm(own, setting):
    """A configuration that comes and goes leaves what it did not set."""
    there = patched(own, patch_to(own, None, _composed(setting)))
    then = patched(there, patch_to(there, _composed(setting), None))
    kept = {
        path: value for path, value in _leaves(own).items()
        if path and not isinstance(value, dict) and not _touched(setting, path)
    }  # fmt: skip
    left = _leaves(then)
    assert {path: left.get(path) for path in kept} == kept


def _touched(setting, path):
    """Whether a setting sets a path, or something above or below it."""
    for name in path:
        if not isinstance(setting, dict):
            return True
        if name not in setting:
            return False
        setting = setting[name]
    return True
