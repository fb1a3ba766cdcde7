"""One edge device in this process: identities that change under it, a hub that is odd, clocks, rivals."""

import asyncio
import logging
from dataclasses import replace

import pytest
from edge_stage import module
from hub_clients import some_key

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.runtime.rivals import Rivals
from iotedge_lab.edge.upstream import CloudRest
from iotedge_lab.errors import PortTaken, StateLocked
from iotedge_lab.wire.mqtt.packets import ConnackCode

ROUTE = {"up": "FROM /messages/* INTO $upstream"}


def sleeper(**changes):
    return module("sleeper:1", **changes)


def running(device, *names):
    """Whether these modules run."""
    found = device.supervisor.status()
    return all(name in found and found[name].status == "running" for name in names)


async def rekey(aboard, path, byte):
    """Another key for an identity; generation and all else stay."""
    found = await aboard.call("GET", path)
    keys = {"primaryKey": some_key(byte), "secondaryKey": some_key(byte + byte)}
    found["authentication"] = {"type": "sas", "symmetricKey": keys}
    await aboard.call("PUT", path, found, headers={"If-Match": "*"})


# -- identities that change -----------------------------------------------------------------------------


async def test_modules_that_the_cloud_has_made_without_keys(aboard):
    """On Azure `$edgeAgent`, `$edgeHub` and modules of a deployment have no keys: the runtime gives them some."""
    await aboard.register("keyless")
    for name in ("$edgeAgent", "$edgeHub", "a"):
        path = f"/devices/keyless/modules/{name}"
        body = {"deviceId": "keyless", "moduleId": name, "authentication": {"type": "none"}}
        if name != "a":
            body |= {"etag": (await aboard.call("GET", path))["etag"]}
        await aboard.call("PUT", path, body, headers={} if name == "a" else {"If-Match": "*"})
    device = await aboard.device("keyless")
    await aboard.deploy(device, {"a": sleeper()})
    await aboard.connected(device)
    await aboard.until(lambda: running(device, "a"))
    for name in ("$edgeAgent", "$edgeHub", "a"):
        auth = (await aboard.call("GET", f"/devices/keyless/modules/{name}"))["authentication"]
        assert auth["type"] == "sas"
        assert auth["symmetricKey"]["primaryKey"]


async def test_new_keys_of_the_runtime_and_its_devices(aboard):
    """The hub refuses the old ones, the scope is read again, and all is connected with the new ones."""
    device = await aboard.connected(await aboard.device("rekeyed"))
    await aboard.deploy(device, {}, ROUTE)
    leaf = await aboard.leaf(device, "rekeyed-leaf")
    await aboard.until(lambda: list(device.hub.router.table))
    assert (await asyncio.to_thread(leaf.connect)).code is ConnackCode.ACCEPTED
    for path in (
        "/devices/rekeyed/modules/$edgeAgent",
        "/devices/rekeyed/modules/$edgeHub",
        "/devices/rekeyed-leaf",
    ):
        await rekey(aboard, path, b"n")
    await device.offline()  # a connection that is there stays
    await asyncio.to_thread(leaf.send, b"kept")
    device.online()
    await aboard.until(lambda: device.is_connected)
    await aboard.until(lambda: not device.status()["waiting"], "the delivery")
    leaf.close()


async def test_a_module_whose_identity_is_made_anew(aboard):
    """Deleted at the hub, it gets another one, and its process is started with that."""
    device = await aboard.connected(await aboard.device("remade"))
    await aboard.deploy(device, {"a": sleeper(), "b": sleeper()}, ROUTE)
    await aboard.until(lambda: running(device, "a", "b"))
    before = {name: device.supervisor._lives[name].process_id() for name in "ab"}
    old = device.hub.identities.get("remade", "a").generation_id
    await aboard.call("DELETE", "/devices/remade/modules/a", headers={"If-Match": "*"})
    device.scope.look_again()
    await aboard.until(
        lambda: (found := device.hub.identities.find("remade", "a")) and found.generation_id != old
    )
    await aboard.until(
        lambda: running(device, "a") and device.supervisor._lives["a"].process_id() != before["a"]
    )
    assert device.supervisor._lives["b"].process_id() == before["b"]


async def test_a_connection_string_that_is_out_of_date(aboard):
    """The status says what to check, and nothing that runs is stopped; the right one connects again."""
    device = await aboard.connected(await aboard.device("outdated"))
    await aboard.deploy(device, {"a": sleeper()}, ROUTE)
    await aboard.until(lambda: running(device, "a"))
    await rekey(aboard, "/devices/outdated", b"x")
    device._rest._http._token_until = 0.0  # its token would do for some time
    device._rest._http._token = ""
    device.scope.look_again()
    await aboard.until(lambda: "does not accept the token" in device.scope.trouble)
    assert running(device, "a")
    await device.close()
    again = await aboard.device("outdated", settings=await aboard.settings("outdated"))
    await aboard.connected(again)
    await aboard.until(lambda: running(again, "a"))


async def test_a_device_that_was_deleted_and_made_again(aboard):
    """With the connection string of before it is refused and says so; with the new one it begins with the new twin."""
    device = await aboard.connected(await aboard.device("phoenix"))
    await aboard.deploy(device, {"a": sleeper()}, ROUTE)
    await aboard.until(lambda: running(device, "a"))
    await aboard.call("DELETE", "/devices/phoenix", headers={"If-Match": "*"})
    await aboard.until(lambda: not device.is_connected)
    await aboard.register("phoenix")
    await aboard.until(lambda: "connection string" in device.status()["trouble"])
    assert running(device, "a")
    await device.close()
    again = await aboard.device("phoenix", settings=await aboard.settings("phoenix"))
    await aboard.connected(again)
    await aboard.until(lambda: again.status()["desiredStatus"]["code"] == 417)
    await aboard.until(lambda: running(again, "a"))
    await aboard.deploy(again, {"b": sleeper()}, ROUTE)  # the same version as the deployment of before
    await aboard.until(lambda: running(again, "b") and not running(again, "a"))
    found = await aboard.until(lambda: _reported(aboard, again, "$edgeAgent", "b"))
    assert set(found["modules"]) == {"b"}


async def _reported(aboard, device, module, name):
    found = (await aboard.twin(device, module))["properties"]["reported"]
    return found if found.get("modules", {}).get(name, {}).get("runtimeStatus") == "running" else None


async def test_an_identity_goes_when_its_messages_are_gone(aboard, monkeypatch):
    """A module that is removed while its messages wait keeps its identity until the hub has them.

    What waits for its own inputs then goes with it.
    """
    device = await aboard.connected(await aboard.device("leaving"))
    to_a = 'FROM /messages/modules/b/* INTO BrokeredEndpoint("/modules/a/inputs/in")'
    await aboard.deploy(device, {"a": sleeper()}, {**ROUTE, "to-a": to_a})
    await aboard.until(lambda: len(list(device.hub.router.table)) == 2)
    await aboard.until(lambda: running(device, "a"))
    held = asyncio.Event()
    member = device.hub.member("leaving", "a")
    real = member.send
    monkeypatch.setattr(member, "send", lambda parcel, done: held.is_set() and real(parcel, done))
    for name in (b"a", b"b"):
        topic = b"devices/leaving/modules/%s/messages/events/" % name
        device.hub.route(device.hub.router.telemetry(topic, b"last words"))
    await aboard.deploy(device, {"b": sleeper()}, ROUTE)
    await aboard.until(lambda: running(device, "b") and not running(device, "a"))
    device.agent.tick()
    await asyncio.sleep(0.1)
    assert device.hub.identities.find("leaving", "a") is not None
    await aboard.until(lambda: device.status()["waiting"] == 2, "the delivery of what b is to have sent")
    held.set()
    await aboard.until(lambda: device.hub.identities.find("leaving", "a") is None)
    await aboard.until(lambda: not device.status()["waiting"])
    assert device.hub.pumps.purged["removed"] == 1


# -- a hub that is odd ----------------------------------------------------------------------------------


async def test_a_hub_that_was_never_reached(aboard, caplog):
    """A device that starts without its hub serves, says why, does not spin, and comes up when the hub is there."""
    await aboard.register("early")
    settings = await aboard.settings("early")
    device = await aboard.device("early", settings=replace(settings, https_port=1))
    await aboard.until(lambda: device.scope.trouble)
    assert "cannot be asked over HTTPS" in device.status()["trouble"]
    assert device.status()["modules"] == []
    await asyncio.sleep(1)
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) <= 1
    device._rest._http._cloud = replace(device.cloud, https_port=settings.https_port)
    device.scope.look_again()
    await aboard.connected(device)


async def test_a_hub_that_answers_wrongly(aboard, monkeypatch):
    """What is no answer of an IoT Hub changes nothing of what is known."""
    device = await aboard.connected(await aboard.device("wronged"))
    known = list(device.hub.identities)
    for answer in (b"<html>", {"devices": 1}, {"devices": [{"deviceId": 5}]}, [], None):

        async def call(*_, answer=answer, **__):
            return answer

        with monkeypatch.context() as patched:
            patched.setattr(device._rest._http, "call", call)
            assert not await device.scope._read()
        assert device.scope.trouble
        assert list(device.hub.identities) == known
    assert await device.scope._read()
    assert device.scope.trouble == ""


async def test_a_slow_answer_does_not_undo_a_new_identity(aboard, monkeypatch):
    """An answer for the scope that was on its way while a module's identity was made does not take it away."""
    device = await aboard.connected(await aboard.device("raced"))
    held, asked = asyncio.Event(), asyncio.Event()
    real = CloudRest.scope

    async def slowly(rest):
        found = await real(rest)
        asked.set()
        await held.wait()
        return found

    monkeypatch.setattr(CloudRest, "scope", slowly)
    device.scope.look_again()
    await asked.wait()
    making = asyncio.ensure_future(device.scope.make("fresh"))
    await asyncio.sleep(0.05)
    held.set()
    await making
    await aboard.until(lambda: device.scope.is_read)
    assert device.hub.identities.find("raced", "fresh") is not None


# -- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [10 * 86_400.0, -10 * 86_400.0])
async def test_a_clock_that_is_set(step, aboard):
    """What waits is neither lost nor out of order, the runtime goes on, and who has a fresh token is let in."""
    device = await aboard.connected(await aboard.device(f"clock{'f' if step > 0 else 'b'}"))
    await aboard.deploy(device, {"a": sleeper()}, ROUTE)
    leaf = await aboard.leaf(device, f"{device.id}-leaf")
    await aboard.until(lambda: running(device, "a"))
    await asyncio.to_thread(leaf.connect)
    await device.offline()
    await asyncio.to_thread(leaf.send, b"1", b"2")
    aboard.clock.shift = step
    await asyncio.sleep(1.2)  # a tick of housekeeping
    assert device.status()["waiting"] == 2
    assert running(device, "a")
    if step < 0:
        await asyncio.to_thread(leaf.send, b"3")
        aboard.clock.shift = 0.0
    leaf.close()
    device.online()
    aboard.clock.shift = 0.0  # the hub has the right time, and its tokens are made by it
    await aboard.until(lambda: not device.status()["waiting"], "the delivery")
    assert sum(each["expired"] for each in device.status()["queues"]) == 0


# -- one device, two runtimes ---------------------------------------------------------------------------


async def test_two_runtimes_on_one_folder(aboard):
    """The second is refused with a word, and the first goes on."""
    device = await aboard.connected(await aboard.device("single"))
    with pytest.raises(StateLocked, match="one device has one runtime"):
        await aboard.device("single")
    assert device.is_connected


async def test_two_runtimes_as_one_device(aboard):
    """Two machines with one connection string take turns, slowly, and say what is the matter."""
    slow = {"first_delay": 0.1, "longest_delay": 0.5, "steady": 3600.0}
    one = await aboard.connected(await aboard.device("twice", folder="one", patience=slow))
    two = await aboard.device("twice", folder="two", patience=slow)
    await aboard.until(lambda: "another edge runtime" in one.status()["trouble"])
    await aboard.until(lambda: "another edge runtime" in two.status()["trouble"])
    before = one.edge_agent.link.status().connections
    await asyncio.sleep(1)
    assert one.edge_agent.link.status().connections - before < 20
    await two.close()
    await aboard.until(lambda: one.is_connected)


def test_what_rivals_look_like():
    """Connections that the hub ends soon, again and again; not long ones, and none that this side ends."""
    clock = FakeClock()
    rivals = Rivals(clock)

    def connection(seconds, reason="the hub closed the connection"):
        rivals.connected()
        clock.advance(seconds)
        rivals.disconnected(reason)

    for _ in range(5):
        connection(1, "its token was renewed")
        connection(3600)
    assert rivals.words == ""
    for _ in range(4):
        connection(5)
    assert "stop one of them" in rivals.words
    clock.advance(301)
    assert rivals.words == ""


async def test_an_address_that_is_taken(aboard):
    """A gateway that was asked for and is not to be had: the device does not start, and says so."""
    first = await aboard.device("house", gateway=None)
    with pytest.raises(PortTaken, match=first.gateway.host):
        await aboard.device("other", gateway=first.gateway.host)
