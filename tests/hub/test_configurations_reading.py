"""Configurations as they are read: ids, contents, target conditions, metrics, each with its documented error."""

import json

import pytest
from configuring import AGENT, BASE, HUB, base, device_content, layer, module_content

from iotedge_lab.broker.twin import SECTION_LIMIT, TEXT_LIMIT
from iotedge_lab.errors import (
    ArgumentInvalid,
    InvalidConfigurationContent,
    InvalidConfigurationCustomMetricsQuery,
    InvalidConfigurationTargetCondition,
)
from iotedge_lab.hub.configurations.configuration import MOST_METRICS, Configuration, Draft, query_faults
from iotedge_lab.hub.configurations.content import Content, Kind
from iotedge_lab.hub.configurations.target import Target
from iotedge_lab.hub.query.document import Collection

CONTENT = device_content(a=1)


def read(name="c", **body):
    return Draft.read(name, {"content": CONTENT} | body)


IDS = ["a", "0", "-", "a-b_c+d%e*f!g'h", "a" * 128]
NO_IDS = [
    "",
    "A",
    "a b",
    "a/b",
    "a.b",
    "a$",
    "ä",
    "a" * 129,
    "a\n",
    "$default",
    "a@b",
    "[[a]]",
    "x" * 100_000,
]


@pytest.mark.parametrize("name", IDS)
def test_ids(name):
    """Lower-case letters, digits and a few signs, 128 at most; the body may repeat it."""
    assert read(name).id == name
    assert read(name, id=name).id == name


@pytest.mark.parametrize("name", NO_IDS, ids=range(len(NO_IDS)))
def test_what_is_no_id(name):
    """400004."""
    with pytest.raises(ArgumentInvalid, match="is no id of a configuration") as caught:
        read(name)
    assert caught.value.code == 400004
    assert len(caught.value.message) < 400


def test_what_a_body_leaves_out():
    """Is empty, and what is the service's own is not looked at."""
    draft = read(
        systemMetrics={"results": 5}, etag=7, createdTimeUtc=[], lastUpdatedTimeUtc=None, unknown="x"
    )
    assert (draft.target, draft.priority, draft.labels, draft.metrics, draft.schema_version) == (
        "",
        0,
        {},
        {},
        None,
    )
    null = read(targetCondition=None, priority=None, labels=None, metrics=None, schemaVersion=None, id=None)
    assert null == draft
    assert draft.check().nobody


WRONG = [
    # what is wrong with a body, and a word of the refusal
    ({"id": "other"}, "the body's id is 'other'"),
    ({"id": 5}, "the body's id is 5"),
    ({"priority": -1}, "priority is a whole number from 0 to 2147483647, not -1"),
    ({"priority": 2**31}, "priority is a whole number"),
    ({"priority": 1.5}, "priority is a whole number"),
    ({"priority": "1"}, "priority is a whole number"),
    ({"priority": True}, "priority is a whole number"),
    ({"priority": 10**400}, "priority is a whole number"),
    ({"labels": []}, "labels is an object of texts"),
    ({"labels": {"a": 1}}, "labels is an object of texts"),
    ({"labels": {"a": None}}, "labels is an object of texts"),
    ({"labels": {"a": "\ud800"}}, "half a surrogate pair"),
    ({"targetCondition": 5}, "targetCondition is a text"),
    ({"targetCondition": "\udfff"}, "targetCondition is a text"),
    ({"schemaVersion": 1}, "schemaVersion is a text"),
    ({"metrics": []}, "metrics is an object"),
    ({"metrics": {"queries": ["select"]}}, "queries is an object of texts"),
    ({"metrics": {"queries": {"a": None}}}, "queries is an object of texts"),
]


@pytest.mark.parametrize(("body", "word"), WRONG, ids=range(len(WRONG)))
def test_bodies_that_are_wrong(body, word):
    """400004, and what is wrong."""
    with pytest.raises(ArgumentInvalid, match=word) as caught:
        read(**body)
    assert caught.value.code == 400004
    assert len(caught.value.message) < 400


# -- contents ------------------------------------------------------------------------------------------

CONTENTS = [
    (device_content(a=1), Kind.DEVICE, False),
    (device_content(a__b={"c": [1, None]}), Kind.DEVICE, False),
    ({"deviceContent": {"properties.desired": {"a": 1}}}, Kind.DEVICE, False),
    (module_content(a=1), Kind.MODULE, False),
    (base(), Kind.EDGE, False),
    (base(m={}), Kind.EDGE, False),
    (layer(), Kind.EDGE, True),
    ({"modulesContent": {AGENT: {}}}, Kind.EDGE, True),
    (layer(modules={"m": {"properties.desired": {"a": 1}}}), Kind.EDGE, True),
    ({"modulesContent": BASE, "deviceContent": {}, "moduleContent": None}, Kind.EDGE, False),
]


@pytest.mark.parametrize(("given", "kind", "layered"), CONTENTS, ids=range(len(CONTENTS)))
def test_contents(given, kind, layered):
    """One kind; a deployment with a whole $edgeAgent is a base, another one a layer."""
    content = Content.read(given)
    assert (content.kind, content.layered) == (kind, layered)
    assert content.same(Content.read(json.loads(json.dumps(given))))


NO_CONTENTS = [
    (None, "content is missing"),
    ([], "content is missing"),
    ("x", "content is missing"),
    ({}, "it has none"),
    ({"deviceContent": {}}, "it has none"),
    ({"deviceContent": None}, "it has none"),
    ({"content": CONTENT}, "it has none"),
    (device_content(a=1) | module_content(a=1), "it has deviceContent and moduleContent"),
    (device_content(a=1) | base(), "deviceContent and modulesContent"),
    (
        device_content(a=1) | module_content(a=1) | base(),
        "deviceContent and moduleContent and modulesContent",
    ),
    ({"deviceContent": []}, "JSON object"),
    ({"deviceContent": 5}, "JSON object"),
    ({"deviceContent": {"tags.a": 1}}, "cannot be set"),
    ({"deviceContent": {"properties.reported.a": 1}}, "cannot be set"),
    ({"deviceContent": {"properties": {"desired": {}}}}, "cannot be set"),
    ({"moduleContent": {"m": {"properties.desired": {}}}}, "cannot be set"),
    ({"modulesContent": {HUB: {}}}, r"no \$edgeAgent"),
    ({"modulesContent": {AGENT: None}}, "JSON object"),
    ({"modulesContent": BASE | {"a/b": {}}}, "module id"),
    ({"modulesContent": BASE | {f"m{n}": {} for n in range(51)}}, "51 modules"),
    (device_content(a="x" * (TEXT_LIMIT + 1)), "deviceContent"),
    (
        device_content(**{f"a{n}": "x" * TEXT_LIMIT for n in range(SECTION_LIMIT // TEXT_LIMIT + 1)}),
        "deviceContent",
    ),
    ({"deviceContent": {"properties.desired.$a": 1}}, "deviceContent"),
    ({"deviceContent": {"properties.desired.a b": 1}}, "deviceContent"),
    ({"deviceContent": {"properties.desired": {"a.b": 1}}}, "deviceContent"),
    ({"deviceContent": {"properties.desired.a.b.c.d.e.f.g.h.i.j": {"k": 1}}}, "deviceContent"),
    ({"modulesContent": BASE | {"m": {"properties.desired.$a": 1}}}, "modulesContent, m"),
    (device_content(a=2**63), "deviceContent"),
]


@pytest.mark.parametrize(("given", "word"), NO_CONTENTS, ids=range(len(NO_CONTENTS)))
def test_what_is_no_content(given, word):
    """400402, and which part of it."""
    with pytest.raises(InvalidConfigurationContent, match=word) as caught:
        read(content=given)
    assert (caught.value.status, caught.value.code) == (400, 400402)
    assert len(caught.value.message) < 700


def test_the_same_content():
    """The order of names is no difference; a type is one, and what is left out too."""
    one = Content.read(device_content(a={"x": 1, "y": [1, 2]}, b=2))
    assert one.same(Content.read(device_content(b=2, a={"y": [1, 2], "x": 1})))
    for other in (
        {"a": {"x": 1, "y": [2, 1]}, "b": 2},
        {"a": {"x": 1, "y": [1, 2]}},
        {"a": {"x": True, "y": [1, 2]}, "b": 2},
    ):
        assert not one.same(Content.read(device_content(**other)))


# -- target conditions ---------------------------------------------------------------------------------

TARGETS = [
    # a condition of devices, and whether it looks at reported properties
    ("*", False),
    (" * ", False),
    ("tags.a = 'x'", False),
    ("deviceId = 'a'", False),
    ("DeviceId IN ['a', 'b']", False),
    ("devices.tags.a = 1", False),
    ("tags.a = 1 AND NOT tags.b.c = 2 OR properties.reported.d > 5", True),
    ("IS_DEFINED(properties.reported.lastDesiredStatus)", True),
    ("STARTSWITH(deviceId, 'a')", False),
    ("tags.[[from]] = 1", False),
    ("true", False),
    ("fromage = 1 OR true", None),
    ("properties.reported.$metadata.a.$lastUpdated > '2'", True),
]


@pytest.mark.parametrize(("text", "reported"), TARGETS, ids=range(len(TARGETS)))
def test_target_conditions(text, reported):
    """Over tags, reported properties and the device's id."""
    if reported is None:
        with pytest.raises(InvalidConfigurationTargetCondition):
            Target.read(text, Kind.DEVICE)
        return
    for kind in (Kind.DEVICE, Kind.EDGE):
        target = Target.read(text, kind)
        assert (target.of, target.reported, target.nobody) == (Collection.DEVICES, reported, False)


NO_TARGETS = [
    # a condition of devices, its column, a word
    ("tags.a =", 9, "ends too early"),
    ("tags.a = 1 AND", 15, "ends too early"),
    ('tags.a = "x"', 10, "no double quotes"),
    ("tags.a == 1", 9, "one '='"),
    ("properties.desired.a = 1", 1, "not at 'properties.desired.a'"),
    ("tags.a = 1 AND status = 'enabled'", 16, "not at 'status'"),
    ("NOT (connectionState = 'Connected')", 6, "not at 'connectionState'"),
    ("tags.a IN ['x'] AND IS_DEFINED(properties)", 32, "not at 'properties'"),
    ("moduleId = 'm'", 1, "not at 'moduleId'"),
    ("configurations.[[c]].status = 'Applied'", 1, "not at 'configurations.c.status'"),
    ("capabilities.iotEdge = true", 1, "not at 'capabilities.iotEdge'"),
    ("a = 1", 1, "not at 'a'"),
    ("SELECT * FROM devices", 1, "would follow WHERE"),
    ("from devices where tags.a = 1", 1, "would follow WHERE"),
    ("FROM devices.modules WHERE moduleId = 'm'", 1, "would follow WHERE"),
    ("* OR true", 1, "cannot stand here"),
    ("tags.a LIKE 'x'", 8, "no LIKE"),
    ("nonsense(tags.a)", 1, "no function NONSENSE"),
    ("IS_DEFINED(1)", 1, "IS_DEFINED takes a property"),
    ("COUNT() > 1", 1, "no function COUNT"),
    ("x" * 9000, 8193, "at most 8192"),
    ("(" * 8000, 8001, "ends too early"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "word"), NO_TARGETS, ids=range(len(NO_TARGETS)))
def test_what_is_no_target_condition(text, column, word):
    """400401 with the place, for a configuration and for an edge deployment."""
    for content in (CONTENT, base()):
        with pytest.raises(
            InvalidConfigurationTargetCondition, match="the target condition is invalid"
        ) as caught:
            read(content=content, targetCondition=text).check()
        assert caught.value.code == 400401
        assert f"line 1, column {column}: " in caught.value.message
        assert word in caught.value.message


MODULE_TARGETS = [
    ("*", None),
    ("", None),
    ("FROM devices.modules", None),
    ("from devices.modules where moduleId = 'm' and tags.a = 1 and deviceId != 'x'", None),
    ("FROM devices.modules WHERE devices.modules.tags.a = 1", None),
    ("FROM devices.modules WHERE properties.reported.a = 1", None),
    ("moduleId = 'm'", "begins with FROM devices.modules"),
    ("FROM devices WHERE deviceId = 'a'", "is FROM devices.modules"),
    ("FROM devices.jobs", "is FROM devices.modules"),
    ("FROM devices.modules WHERE", "ends too early"),
    ("FROM devices.modules WHERE properties.desired.a = 1", "not at"),
    ("SELECT * FROM devices.modules", "begins with FROM"),
    ("FROM devices.modules GROUP BY tags.a", "cannot stand here"),
]


@pytest.mark.parametrize(("text", "word"), MODULE_TARGETS, ids=range(len(MODULE_TARGETS)))
def test_target_conditions_of_modules(text, word):
    """They begin with FROM devices.modules."""
    draft = read(content=module_content(a=1), targetCondition=text)
    if word is None:
        assert draft.check().of is Collection.MODULES
        return
    with pytest.raises(InvalidConfigurationTargetCondition, match=word):
        draft.check()


# -- metrics -------------------------------------------------------------------------------------------


def test_custom_metrics():
    """Each is any query; there are five at most."""
    queries = {
        f"m{number}": f"SELECT deviceId FROM devices WHERE tags.a = {number}"
        for number in range(MOST_METRICS)
    }
    draft = read(metrics={"queries": queries, "results": {"ignored": 5}})
    draft.check()
    assert draft.metrics == queries
    with pytest.raises(
        InvalidConfigurationCustomMetricsQuery, match="has 6 queries, and 5 are the most"
    ) as caught:
        read(metrics={"queries": queries | {"more": "SELECT * FROM devices"}})
    assert caught.value.code == 400404


@pytest.mark.parametrize(("query", "word"), [
    ("", "column 1"), ("SELECT", "ends too early"), ("SELECT * FROM device", "no collection"),
    ("SELECT deviceId FROM devices.jobs", "devices.jobs"), ("tags.a = 1", "cannot stand here"), ("x" * 10_000, "8192"),
])  # fmt: skip
def test_custom_metrics_that_cannot_be_read(query, word):
    """400404 with the metric's name."""
    with pytest.raises(InvalidConfigurationCustomMetricsQuery, match=word) as caught:
        read(metrics={"queries": {"good": "SELECT * FROM devices", "bad": query}}).check()
    assert caught.value.code == 400404
    assert caught.value.message.startswith("metrics.queries, 'bad': ")


def made(content, target):
    draft = Draft.read("c", {"content": content, "targetCondition": target})
    return Configuration("c", 1, 1, 0.0, 0.0, draft.content, draft.check(), 0, {}, {}, None)


SYSTEM = [
    (CONTENT, "*", "select deviceId from devices"),
    (CONTENT, "", ""),
    (CONTENT, "tags.a = 1 or tags.b = 2", "select deviceId from devices where tags.a = 1 or tags.b = 2"),
    (module_content(a=1), "*", "select deviceId, moduleId from devices.modules"),
    (
        module_content(a=1), "FROM devices.modules WHERE moduleId = 'm'",
        "select deviceId, moduleId FROM devices.modules WHERE moduleId = 'm'",
    ),
    (base(), "*", "select deviceId from devices where capabilities.iotEdge = true"),
    (
        base(), "tags.a = 1 or tags.b = 2",
        "select deviceId from devices where capabilities.iotEdge = true and (tags.a = 1 or tags.b = 2)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "target", "query"), SYSTEM, ids=range(len(SYSTEM)))
def test_queries_of_system_metrics(content, target, query):
    """They are queries that the hub itself can answer."""
    queries = made(content, target).system_queries
    assert queries["targetedCount"] == query
    kept = {name: one for name, one in queries.items() if one}
    assert query_faults({"customMetricQueries": kept}) == {}
    edge = {"reportedSuccessfulCount", "reportedFailedCount"}
    assert set(queries) == {"targetedCount", "appliedCount"} | (
        edge if "modulesContent" in content else set()
    )


# -- testQueries ---------------------------------------------------------------------------------------


def test_faults_of_queries():
    """Each condition and metric that cannot be read is named, and only those."""
    assert query_faults({}) == {}
    assert (
        query_faults({"targetCondition": "tags.a = 1", "customMetricQueries": {"m": "SELECT * FROM devices"}})
        == {}
    )
    assert query_faults({"targetCondition": "FROM devices.modules WHERE moduleId = 'm'"}) == {}
    assert query_faults({"targetCondition": ""}) == {}
    answer = query_faults(
        {"targetCondition": "tags.a =", "customMetricQueries": {"good": "SELECT * FROM devices", "bad": "x"}}
    )
    assert "column 9" in answer["targetConditionError"]
    assert list(answer["customMetricQueryErrors"]) == ["bad"]
    assert "column 1" in answer["customMetricQueryErrors"]["bad"]
    assert "needs no test" in query_faults({"targetCondition": "*"})["targetConditionError"]
    for body in ({"targetCondition": 5}, {"customMetricQueries": []}, {"customMetricQueries": {"a": 1}}):
        with pytest.raises(ArgumentInvalid):
            query_faults(body)
