"""Configurations that cannot be applied, hubs that stop in the middle, very many of them; and what the metrics say."""

import logging

import pytest
from configuring import (
    AGENT,
    HUB,
    base,
    delete,
    desired,
    device_content,
    layer,
    module_content,
    put,
    statuses,
    tag,
)

from iotedge_lab.broker.twin import SECTION_LIMIT, TEXT_LIMIT
from iotedge_lab.hub.identities import MODULES_PER_DEVICE

EDGE = {"capabilities": {"iotEdge": True}}
WHOLE = "properties.desired"


@pytest.fixture
def car(house):
    """A device with a tag, and one without."""
    house.register("car")
    house.register("other")
    house.hub.twins.patch("car", "", {"tags": {"kind": "car"}}, None)
    return "car"


@pytest.fixture
def edge(house):
    """An edge device."""
    house.register("edge", **EDGE)
    return "edge"


def turn(house):
    """One turn of the loop."""
    waiting, house.turns.waiting = house.turns.waiting, []
    for callback in waiting:
        callback()


def report(house, device, values, module=""):
    house.hub.twins.report(device, module, values)
    house.turns.run()


# -- what cannot be ------------------------------------------------------------------------------------


def test_a_twin_that_would_be_too_large(house, car, caplog):
    """Stays as it is, its configurations Targeted; it is logged once, and the others go on."""
    full = {f"k{n:02}": "x" * TEXT_LIMIT for n in range(SECTION_LIMIT // TEXT_LIMIT - 1)}
    house.hub.twins.patch(car, "", {"properties": {"desired": full}}, None)
    with caplog.at_level(logging.WARNING):
        put(house, "big", device_content(a="x" * TEXT_LIMIT, b="y" * TEXT_LIMIT))
        tag(house, car, x=1)
        house.hub.rollout.all_anew()
        house.turns.run()
    assert desired(house, car) == full
    assert statuses(house, car) == {"big": "Targeted"}
    assert statuses(house, "other") == {"big": "Applied"}
    assert len([record for record in caplog.records if "cannot be applied" in record.getMessage()]) == 1
    house.hub.twins.put(car, "", {"properties": {"desired": {}}}, None)
    house.turns.run()
    assert statuses(house, car) == {"big": "Applied"}


def test_more_modules_than_a_device_may_have(house, edge, caplog):
    """The deployment is Targeted and what was deployed before stays, whole."""
    put(house, "old", base(old={WHOLE: {"v": 1}}))
    for number in range(MODULES_PER_DEVICE - 1):
        house.register(edge, f"m{number}")
    with caplog.at_level(logging.WARNING):
        put(house, "new", base(one={}, two={}), priority=1)
    assert statuses(house, edge, AGENT) == {"old": "Targeted", "new": "Targeted"}
    assert house.hub.identities.find(edge, "one") is None
    assert desired(house, edge, "old") == {"v": 1}
    assert "no room" in caplog.text
    for number in range(2):
        house.hub.identities.delete(edge, f"m{number}", None)
    house.turns.run()
    assert statuses(house, edge, AGENT) == {"old": "Targeted", "new": "Applied"}


def test_layers_that_together_are_too_large(house, edge, caplog):
    """What each may be by itself, together it may not: none of it is deployed."""
    put(house, "base", base())
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            text = {f"{WHOLE}.l{number}": {f"k{n}": "x" * TEXT_LIMIT for n in range(3)}}
            put(house, f"layer{number}", layer({HUB: text}), priority=number + 1)
    assert set(statuses(house, edge, AGENT).values()) == {"Targeted"}
    assert "cannot be applied" in caplog.text
    delete(house, "layer2")
    assert statuses(house, edge, AGENT) == {"base": "Applied", "layer0": "Applied", "layer1": "Applied"}


def test_one_kind_that_cannot_be_applied(house, edge, caplog):
    """Is no hindrance to the other in the same twin."""
    big = {f"k{number}": "x" * TEXT_LIMIT for number in range(6)}
    put(house, "d", base(m={WHOLE: {"a": 1}}))
    put(house, "small", module_content(b=1), "FROM devices.modules WHERE moduleId = '$edgeAgent'")
    put(house, "layer", layer({HUB: {f"{WHOLE}.more": big}, "m": {f"{WHOLE}.x": big}}), priority=1)
    assert statuses(house, edge, AGENT) == {"d": "Applied", "small": "Applied", "layer": "Applied"}
    put(house, "other", layer({"m": {f"{WHOLE}.y": big}}), priority=2)
    assert statuses(house, edge, AGENT) == {
        "d": "Targeted",
        "small": "Applied",
        "layer": "Targeted",
        "other": "Targeted",
    }
    assert "the twin of m: it would come to" in caplog.text
    delete(house, "other")
    for name in ("x", "y"):
        content = module_content(**{name: big})
        put(house, name, content, "FROM devices.modules WHERE moduleId = '$edgeAgent'", priority=1)
    deployed = {"d": "Applied", "layer": "Applied"}
    assert statuses(house, edge, AGENT) == deployed | dict.fromkeys(("small", "x", "y"), "Targeted")
    assert desired(house, edge, AGENT)["b"] == 1
    assert desired(house, edge, AGENT)["x"] == big  # as it was
    assert "the twin of $edgeAgent: it would come to" in caplog.text
    delete(house, "y")
    assert statuses(house, edge, AGENT) == deployed | dict.fromkeys(("small", "x"), "Applied")


def test_a_store_that_takes_no_write(house, edge, monkeypatch, caplog):
    """Nothing changes and nobody is told; it is tried again, and then all is done."""
    write = house.hub.twins.write

    def full(db, change):
        db.execute("INSERT INTO no_such_table VALUES (1)")
        write(db, change)

    monkeypatch.setattr(house.hub.twins, "write", full)
    with caplog.at_level(logging.WARNING):
        put(house, "d", base(m={}))
        house.hub.rollout.tick()
        house.turns.run()
    assert "wait" in caplog.text
    assert house.hub.identities.find(edge, "m") is None
    assert house.hub.rollout.busy
    monkeypatch.undo()
    house.hub.rollout.tick()
    house.turns.run()
    assert statuses(house, edge, AGENT) == {"d": "Applied"}
    assert not house.hub.rollout.busy


def test_a_fault_with_one_device(house, car, monkeypatch, caplog):
    """Is logged, and the others get theirs."""
    plan = house.hub.rollout._plan

    def faulty(device, *others):
        if device == car:
            raise ZeroDivisionError
        return plan(device, *others)

    monkeypatch.setattr(house.hub.rollout, "_plan", faulty)
    put(house, "c", device_content(a=1))
    assert "configurations of car" in caplog.text
    assert (desired(house, car), desired(house, "other")) == ({}, {"a": 1})


# -- restarts, many, reset -----------------------------------------------------------------------------


def test_a_restart_in_the_middle(house):
    """What was not done yet is done after it; what was, is known."""
    for number in range(60):
        house.register(f"d{number:02}")
    house.turns.run()
    put(house, "first", device_content(a=1))
    house.hub.configurations.delete("first", None)
    while desired(house, "d00"):
        turn(house)
    assert desired(house, "d59") == {"a": 1}
    house.restart()
    house.turns.run()
    assert all(desired(house, f"d{number:02}") == {} for number in range(60))
    assert house.hub.store.db.execute("SELECT COUNT(*) FROM assignment").fetchone() == (0,)


def test_what_is_kept(house, car):
    """Configurations, their etags and what they have set survive a restart."""
    put(
        house,
        "c",
        device_content(a=1),
        "tags.kind = 'car'",
        labels={"l": "ü"},
        metrics={"queries": {"m": "SELECT * FROM devices"}},
    )
    put(house, "c", device_content(a=1), "tags.kind = 'car'", priority=7, update=True, schemaVersion="1.0")
    before = house.hub.configurations.get("c")
    house.restart()
    house.turns.run()
    assert house.hub.configurations.get("c") == before
    assert (before.version, before.priority, before.schema_version) == (2, 7, "1.0")
    assert statuses(house, car) == {"c": "Applied"}
    assert house.hub.twins.get(car, "")[1].desired.version == 2
    tag(house, car, kind="bike")
    assert desired(house, car) == {}


def test_what_was_not_committed(house, car):
    """A device that was not looked at before the hub was killed is looked at after it."""
    put(house, "c", device_content(a=1), "tags.kind = 'car'")
    house.hub.twins.patch("other", "", {"tags": {"kind": "car"}}, None)
    house.restart()
    house.turns.run()
    assert desired(house, "other") == {"a": 1}


def test_changes_while_it_goes_round(house):
    """Another configuration, a deletion and new devices in the middle of a round are all heeded."""
    for number in range(80):
        house.register(f"d{number:02}")
    house.turns.run()
    for name, value in (("one", 1), ("two", 2)):
        put(house, name, device_content(a=value), priority=value, wait=False)
        while not desired(house, "d00"):
            turn(house)
        house.register(f"later-{name}")
    house.hub.identities.delete("d79", "", None)
    house.turns.run()
    for identity in ("d00", "d40", "d78", "later-one", "later-two"):
        assert desired(house, identity) == {"a": 2}


def test_many_conditions(house, car):
    """A hundred configurations, with long conditions, are asked at once."""
    long = " OR ".join(f"tags.t{number} = 'x{number}'" for number in range(100))
    for number in range(100):
        target = f"tags.kind = 'car' OR {long}" if number % 2 else f"tags.n{number} = 1"
        put(house, f"c{number:02}", device_content(**{f"p{number}": 1}), target, wait=False)
    house.turns.run()
    assert desired(house, car) == {f"p{number}": 1 for number in range(1, 100, 2)}
    tag(house, car, n0=1, kind=None)
    assert desired(house, car) == {"p0": 1}


def test_reset(house, car, edge):
    """Takes configurations with it."""
    put(house, "c", device_content(a=1))
    put(house, "d", base(m={}))
    house.hub.reset()
    house.turns.run()
    assert house.hub.configurations.all() == []
    assert house.hub.store.db.execute("SELECT COUNT(*) FROM assignment").fetchone() == (0,)
    house.register(car)
    house.turns.run()
    assert (desired(house, car), statuses(house, car)) == ({}, {})
    put(house, "c", device_content(a=2))
    assert desired(house, car) == {"a": 2}


def test_a_closed_hub_does_nothing(house, car):
    """What is still waiting when a hub stops is done when it starts again."""
    put(house, "c", device_content(a=1), wait=False)
    waiting = list(house.turns.waiting)
    house.hub.close()
    for callback in waiting:
        callback()
    house.start()
    house.turns.run()
    assert desired(house, car) == {"a": 1}


async def test_metrics(house, car, edge):
    """Counts as they are now; of a deployment also what the edge devices say of it."""
    one = put(house, "c", device_content(a=1), "tags.kind = 'car'", priority=1)
    hidden = put(house, "h", device_content(a=2))
    none = put(house, "n", device_content(a=2), "")
    deployment = put(house, "d", base(m={}))
    hub = house.hub
    system = await hub.metrics.system([one, hidden, none, deployment])
    assert system["c"] == {"targetedCount": 1, "appliedCount": 1}
    assert system["h"] == {"targetedCount": 3, "appliedCount": 2}
    assert system["n"] == {"targetedCount": 0, "appliedCount": 0}
    counts = {"targetedCount": 1, "appliedCount": 1, "reportedSuccessfulCount": 0, "reportedFailedCount": 0}
    assert system["d"] == counts
    for code, good, bad in ((200, 1, 0), (400, 0, 1)):
        report(house, edge, {"lastDesiredVersion": 2, "lastDesiredStatus": {"code": code}}, AGENT)
        counts |= {"reportedSuccessfulCount": good, "reportedFailedCount": bad}
        assert (await hub.metrics.system([deployment]))["d"] == counts
    report(house, edge, {"lastDesiredVersion": 1, "lastDesiredStatus": {"code": 200}}, AGENT)
    counts |= {"reportedSuccessfulCount": 0, "reportedFailedCount": 0}  # that is of an earlier one
    assert (await hub.metrics.system([deployment]))["d"] == counts
    for each in (one, hidden, none, deployment):  # the queries that are shown count the same
        counted = (await hub.metrics.system([each]))[each.id]
        for name, query in each.system_queries.items():
            assert (await hub.queries.count(query) if query else 0) == counted[name]


async def test_custom_metrics(house, car):
    """Each is the number of rows of its query; one that has no answer is left out."""
    queries = {
        "cars": "SELECT deviceId FROM devices WHERE tags.kind = 'car'",
        "applied": "SELECT * FROM devices WHERE configurations.[[c]].status = 'Applied'",
        "kinds": "SELECT tags.kind, COUNT() AS n FROM devices GROUP BY tags.kind",
        "top": "SELECT TOP 1 * FROM devices",
    }
    one = put(house, "c", device_content(a=1), metrics={"queries": queries})
    assert await house.hub.metrics.custom([one]) == {"c": {"cars": 1, "applied": 2, "kinds": 2, "top": 1}}
    house.hub.queries.close()
