"""A twin at the edge: read, reported to and told of while the hub is there, away, slow, or says no."""

import asyncio
import json

import pytest
from edge_yard import EDGE, registered

from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.hub import twins
from iotedge_lab.edge.hub.copy import combined, merged
from iotedge_lab.edge.hub.requests import AT_ONCE
from iotedge_lab.errors import ArgumentInvalid, StoreUnavailable, Unauthorized


@pytest.fixture(params=["module", "leaf"])
async def both(request, yard):
    """A connected client of either kind, and its link, which is not connected yet."""
    yard.scope("a", "leaf:leaf")
    client = await (yard.module("a") if request.param == "module" else yard.leaf("leaf"))
    return client, yard.link(client.device, client.module)


@pytest.fixture
async def a(yard):
    """A connected module whose link is up, and its link."""
    yard.scope("a")
    client = await yard.module("a")
    link = yard.link(EDGE, "a")
    link.up()
    await yard.settle()
    return client, link


# -- online ---------------------------------------------------------------------------------------------


async def test_online(both, yard):
    """The twin is the hub's, reports go there at once, and desired patches come as the hub sends them."""
    client, link = both
    link.cloud["desired"]["x"] = 1
    link.up()
    assert await client.twin() == {"desired": {"$version": 1, "x": 1}, "reported": {"$version": 1}}
    assert await client.report({"speed": 3}) == 204
    assert link.cloud["reported"] == {"$version": 2, "speed": 3}
    assert link.listens_desired
    link.desire({"x": 2, "y": {"z": 1}})
    link.desire({"x": None})
    await client.next("$iothub/twin/PATCH/properties/desired/", 2)
    assert client.patches() == [{"x": 2, "y": {"z": 1}, "$version": 2}, {"x": None, "$version": 3}]
    assert (await client.twin())["desired"] == {"$version": 3, "y": {"z": 1}}


async def test_a_new_module_waits_for_its_link(both):
    """The first read is answered by the hub, though the link is only just being made."""
    client, link = both
    asking = asyncio.ensure_future(client.twin())
    reporting = asyncio.ensure_future(client.report({"a": 1}))
    await asyncio.sleep(0.01)
    assert not asking.done()
    link.up()
    assert (await asking)["desired"] == {"$version": 1}
    assert await reporting == 204
    assert link.cloud["reported"]["a"] == 1


async def test_never_read_and_away(both, yard):
    """A twin that was never read is 503 as long as the hub is away; reports are kept."""
    client, link = both
    link.down()
    status, body, _ = await client.ask("$iothub/twin/GET/")
    assert status == 503
    assert "never read" in body["message"]
    assert await client.report({"a": 1, "b": {"c": 1}}) == 204
    assert await client.report({"a": None, "b": {"d": 2}}) == 204
    link.cloud["reported"] |= {"a": 0, "b": {"c": 0, "e": 3}}
    link.up()
    await yard.until(lambda: link.cloud["reported"]["$version"] == 2)
    assert link.cloud["reported"] == {"$version": 2, "b": {"c": 1, "d": 2, "e": 3}}
    assert (await client.twin())["reported"] == link.cloud["reported"]


async def test_what_the_hub_refuses(a):
    """Its no is the client's, and nothing is kept of it."""
    client, link = a
    link.refuses = ArgumentInvalid("too deep, says the hub.")
    status, body, _ = await client.ask("$iothub/twin/PATCH/properties/reported/", b'{"a": 1}')
    assert status == 400
    assert "says the hub" in body["message"]
    link.refuses = None
    assert (await client.twin())["reported"] == {"$version": 1}


BAD = {
    "no JSON": b"{",
    "no object": b"[1]",
    "a dot in a name": b'{"a.b": 1}',
    "too much": json.dumps({"a": ["x" * 4000] * 9}).encode(),
}


@pytest.mark.parametrize("name", BAD)
async def test_patches_that_are_none(name, a):
    """They are 400 and do not reach the hub."""
    client, link = a
    status, _, _ = await client.ask("$iothub/twin/PATCH/properties/reported/", BAD[name])
    assert status == 400
    assert {} not in link.asked


# -- offline --------------------------------------------------------------------------------------------


async def test_offline_reports_arrive_after(both, yard):
    """What is reported offline is read back at once, outlives a kill, and reaches the hub when the link returns."""
    client, link = both
    link.cloud["reported"] |= {"speed": 1, "old": True}
    link.up()
    await client.twin()
    link.down()
    assert await client.report({"speed": 2}) == 204
    assert await client.report({"speed": 3, "old": None, "deep": {"er": [1]}}) == 204
    assert (await client.twin())["reported"] == {"$version": 3, "speed": 3, "deep": {"er": [1]}}
    await yard.restart()
    yard.hub.settle_twins()  # though the client is away
    link = yard.link(client.device, client.module)
    link.up()
    await yard.until(lambda: not yard.hub.kept_twins.pending())
    assert link.cloud["reported"] == {"$version": 2, "speed": 3, "deep": {"er": [1]}}
    await yard.tick(5)
    assert link.closed  # nobody needs it any more


async def test_a_change_that_was_undone(a):
    """Offline back to what the hub has: nothing is sent."""
    client, link = a
    await client.report({"a": 1})
    link.down()
    await client.report({"a": 2})
    await client.report({"a": 1})
    link.asked.clear()
    link.up()
    await client.twin()
    assert [each for each in link.asked if each != "twin"] == []
    assert link.cloud["reported"] == {"$version": 2, "a": 1}


async def test_an_answer_that_was_lost(a, yard):
    """A report that the hub has taken and not acknowledged, undone offline, is undone at the hub as well."""
    client, link = a
    await client.report({"a": 1})

    async def report(patch):
        await type(link).report(link, patch)
        raise UpstreamAway("the connection ended.")

    link.report = report
    assert await client.report({"a": 2, "b": 1}) == 204
    del link.report
    link.down()
    assert await client.report({"a": 1, "b": None}) == 204
    link.up()
    await yard.until(lambda: not link.cloud["reported"].get("b"))
    assert {key: link.cloud["reported"].get(key) for key in "ab"} == {"a": 1, "b": None}


async def test_a_kept_report_that_the_hub_refuses(a, caplog):
    """It is dropped with a word, what follows it goes through, and the copy is the hub's again."""
    client, link = a
    link.down()
    await client.report({"bad": 1})
    link.refuses = ArgumentInvalid("no.")
    link.up()
    await client.twin()
    link.refuses = None
    assert "is dropped: the hub refuses it" in caplog.text
    assert (await client.twin())["reported"] == {"$version": 1}
    assert await client.report({"good": 1}) == 204
    assert link.cloud["reported"] == {"$version": 2, "good": 1}


async def test_a_kept_report_and_a_hub_that_says_something_else(a, yard):
    """Any other refusal keeps it, and it is tried again."""
    client, link = a
    link.down()
    await client.report({"a": 1})
    link.refuses = Unauthorized("who are you?")
    link.up()
    await client.twin()
    assert yard.hub.kept_twins.pending() == [(EDGE, "a")]
    link.refuses = None
    await yard.tick(12)
    assert link.cloud["reported"] == {"$version": 2, "a": 1}
    assert yard.hub.kept_twins.pending() == []


async def test_a_silent_hub(a, monkeypatch, yard):
    """Who is not answered in time is served from the copy, and what it reports is kept and sent later."""
    monkeypatch.setattr(twins, "PATIENCE", 0.05)
    client, link = a
    await client.twin()
    link.silent = True
    assert (await client.twin())["desired"] == {"$version": 1}
    assert await client.report({"a": 1}) == 204
    assert await client.report({"b": 1}) == 204
    link.silent = False
    await yard.tick(11)
    assert link.cloud["reported"] == {"$version": 2, "a": 1, "b": 1}


async def test_a_hub_that_answers_wrongly(a):
    """A refusal of the twin itself leaves the client with the copy."""
    client, link = a
    await client.twin()

    async def twin():
        raise Unauthorized("not you.")

    link.twin = twin
    assert (await client.twin())["desired"] == {"$version": 1}


async def test_a_full_disk(a, yard, monkeypatch):
    """A report that can neither reach the hub nor be stored is 503, and is not part of the twin."""
    client, link = a
    await client.twin()
    link.down()

    def full(*arguments):
        arguments[-1](StoreUnavailable("the disk is full."))

    monkeypatch.setattr(yard.hub.kept_twins, "save_soon", full)
    assert await client.report({"a": 1}) == 503
    assert (await client.twin())["reported"] == {"$version": 1}


# -- what was missed ------------------------------------------------------------------------------------


async def test_desired_changes_while_the_edge_was_offline(both):
    """The client is told what differs, with nulls for what is gone, when the link is back."""
    client, link = both
    link.cloud["desired"] |= {"x": 1, "gone": True, "deep": {"a": 1, "b": 2}}
    link.up()
    await client.twin()
    link.down()
    link.desire({"x": 2, "gone": None})
    link.desire({"deep": {"b": 3}})
    assert client.patches() == []
    link.up()
    await client.next("$iothub/twin/PATCH/properties/desired/")
    assert client.patches() == [{"x": 2, "gone": None, "deep": {"b": 3}, "$version": 3}]


@pytest.mark.parametrize("link_stays", [True, False])
async def test_desired_changes_while_the_client_was_away(link_stays, a, yard):
    """A client that comes back without reading its twin, as the SDK does after a cut, is told what it missed."""
    client, link = a
    await client.twin()
    client.drop()
    await yard.settle()
    assert not link.listens_desired
    if link_stays:
        link.listens_desired = True  # the hub has sent it before it was asked to stop
        link.desire({"x": 1})
        link.listens_desired = False
        await yard.settle()
    else:
        link.desire({"x": 1})
        await yard.tick(4)
        assert link.closed
    link.desire({"y": 1})
    again = yard.client(EDGE, "a").connect()
    if not link_stays:
        yard.link(EDGE, "a").up()
    await again.next("$iothub/twin/PATCH/properties/desired/")
    await yard.settle()
    assert again.patches() == [{"x": 1, "y": 1, "$version": 3}]


async def test_a_patch_that_did_not_arrive(a, yard):
    """A patch that the client has not acknowledged when its connection ends is told once more, also after a kill."""
    client, link = a
    await client.twin()
    client.acknowledges = False
    link.desire({"x": 1})
    await client.next("$iothub/twin/PATCH/properties/desired/")
    client.drop()
    await yard.settle()
    again = yard.client(EDGE, "a")
    again.acknowledges = False
    again.connect()
    await again.next("$iothub/twin/PATCH/properties/desired/")
    assert again.patches() == [{"x": 1, "$version": 2}]
    await yard.restart()
    third = yard.client(EDGE, "a").connect()
    yard.link(EDGE, "a").up()
    await third.next("$iothub/twin/PATCH/properties/desired/")
    assert third.patches() == [{"x": 1, "$version": 2}]
    await yard.settle()  # it acknowledges
    third.drop()
    await yard.settle()
    fourth = yard.client(EDGE, "a").connect()
    await fourth.twin()
    assert fourth.patches() == []


async def test_a_client_that_never_read_its_twin(a):
    """It gets the patches that come, and is told nothing of what was before."""
    client, link = a
    link.listens_desired = False
    link.desire({"before": 1})
    link.listens_desired = True
    link.desire({"now": 1})
    await client.next("$iothub/twin/PATCH/properties/desired/")
    assert client.patches() == [{"now": 1, "$version": 3}]


async def test_patches_out_of_order_or_twice(a):
    """One that is known is passed over; where one is missing, the whole twin is read and the difference told."""
    client, link = a
    await client.twin()
    link.desire({"x": 1})
    link.listener.desired({"x": 1, "$version": 2})
    link.listens_desired = False
    link.desire({"y": 1})
    link.listens_desired = True
    link.desire({"z": 1})
    await client.next("$iothub/twin/PATCH/properties/desired/", 2)
    assert client.patches() == [{"x": 1, "$version": 2}, {"y": 1, "z": 1, "$version": 4}]


async def test_a_twin_with_an_older_version(a):
    """A hub that was restored from a backup: its twin counts, and the client is told of the difference."""
    client, link = a
    link.desire({"x": 1})
    await client.twin()
    link.down()
    link.cloud = {"desired": {"$version": 1, "w": 1}, "reported": {"$version": 1}}
    link.up()
    await client.next("$iothub/twin/PATCH/properties/desired/", 2)
    assert client.patches()[-1] == {"x": None, "w": 1, "$version": 1}


async def test_an_identity_made_anew(a, yard):
    """Its twin is another one: nothing of the old is told, read or reported."""
    client, link = a
    link.desire({"x": 1})
    await client.twin()
    link.down()
    await client.report({"old": 1})
    yard.hub.identities.save([registered(EDGE, "a", generation="g2")])
    await client.until(lambda: not client.open)
    await yard.settle()
    assert yard.hub.kept_twins.load(EDGE, "a") is None
    again = await yard.module("a")
    assert not again.connack.session_present
    link = yard.link(EDGE, "a")
    link.cloud = {"desired": {"$version": 1}, "reported": {"$version": 1}}
    link.up()
    assert await again.twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
    assert again.patches() == []


# -- limits ---------------------------------------------------------------------------------------------


async def test_a_flood_of_requests(a):
    """So many wait for their answers; more are answered 429, and none is forgotten."""
    client, link = a
    link.silent = True
    for number in range(AT_ONCE + 50):
        client.write(client.mqtt.publish(f"$iothub/twin/GET/?$rid={number}", b" ")[1])
    await client.next("$iothub/twin/res/429/", 50)
    assert len(client.of("$iothub/twin/res/429/")) == 50
    client.drop()


async def test_twin_changes_as_messages(a, yard):
    """A route from /twinChangeNotifications gets reports and desired changes."""
    yard.apply("FROM /twinChangeNotifications INTO $upstream")
    client, link = a
    await client.twin()
    await client.report({"a": 1})
    link.desire({"x": 1})
    await yard.until(lambda: len(link.sent) == 2)
    bodies = [json.loads(body)["properties"] for body in link.bodies()]
    assert bodies == [{"reported": {"a": 1, "$version": 2}}, {"desired": {"x": 1, "$version": 2}}]
    assert "opType=updateTwin" in link.sent[0][0]


COMBINED = [
    ({}, {"a": 1}, {"a": 1}),
    ({"a": 1}, {"a": None}, {"a": None}),
    ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ({"a": {"b": 1}}, {"a": {"c": None}}, {"a": {"b": 1, "c": None}}),
]


@pytest.mark.parametrize(("first", "second", "both_patches"), COMBINED)
def test_two_patches_as_one(first, second, both_patches):
    """Nulls stay; applied to what the first can be applied to, the one gives what the two give."""
    assert combined(first, second) == both_patches
    assert merged({"z": 1}, both_patches) == merged(merged({"z": 1}, first), second)
