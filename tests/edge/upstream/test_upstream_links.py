"""The links of one edge device: one an identity, few that connect at a time, and all closed together."""

import asyncio
from dataclasses import replace

import pytest
from fake_cloud import KEY
from upstream_house import QUICK, WAIT, Recorder, Sent

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.upstream import CloudIdentity, Links
from iotedge_lab.errors import UsageError
from iotedge_lab.wire.mqtt.packets import Connect, Disconnect


async def test_one_link_an_identity(house):
    """It is found by its name; a second one is refused; one that was closed may be opened anew."""
    links, identity = house.links, await house.module("ModuleA")
    first, second = Recorder(), Recorder()
    links.open(house.identity, first)
    link = links.open(identity, second)
    assert links.get(house.device, "ModuleA") is link
    assert links.get(house.device).identity == house.identity
    assert links.get(house.device, "ModuleB") is None
    with pytest.raises(UsageError, match="has a link to the hub already"):
        links.open(identity, second)
    await first.next("connected")
    await second.next("connected")
    assert (len(links), links.connected) == (2, 2)
    assert {each.identity.name for each in links} == {house.device, f"{house.device}/ModuleA"}
    assert await links.close(house.device, "ModuleA") == 0
    assert await links.close(house.device, "ModuleA") == 0
    assert links.get(house.device, "ModuleA") is None
    links.open(identity, second)
    await second.next("connected", 2)


async def test_all_are_closed_in_order(house):
    """What is in flight has its time, each says goodbye, and no link is opened afterwards."""
    identities = [house.identity, *[await house.module(f"M{number}") for number in range(5)]]
    recorders = [Recorder() for _ in identities]
    opened = [house.links.open(*each) for each in zip(identities, recorders, strict=True)]
    sent = [Sent(*each) for each in zip(opened, recorders, strict=True)]
    for each, recorder in zip(sent, recorders, strict=True):
        await recorder.next("connected")
        await each.up_to(20)
    assert await house.links.close_all() == 0
    assert [each.done for each in sent] == [list(range(20))] * len(sent)
    assert [recorder.of("disconnected") for recorder in recorders] == [[("its link was closed",)]] * len(sent)
    assert len(house.links) == 0
    assert await house.links.close_all() == 0
    with pytest.raises(UsageError, match="were closed"):
        house.links.open(house.identity, Recorder())


async def test_few_connect_at_a_time(fake):
    """The others wait for their turn, and get it, though those before them are not let in."""
    links = Links(fake.cloud, SystemClock(), fake.gate, patience=QUICK, at_once=2)
    recorders = [Recorder() for _ in range(6)]
    for number, recorder in enumerate(recorders):
        links.open(CloudIdentity("edge", f"m{number}", KEY), recorder)
    try:
        first = [await fake.peer() for _ in range(2)]
        assert {(await peer.next(Connect)).client_id for peer in first} == {"edge/m0", "edge/m1"}
        assert fake.peers.empty()
        for peer in first:
            peer.cut()  # they come again, later
        connected = set()
        while len(connected) < 6:
            peer = await fake.peer()
            connected.add((await peer.accept()).client_id)
        async with asyncio.timeout(WAIT):
            for recorder in recorders:
                await recorder.next("connected")
        assert links.connected == 6
    finally:
        await links.close_all(at_once=True)


async def test_all_are_closed_at_once(fake):
    """Without a word, whatever is in flight; how much that was is told."""
    links = Links(fake.cloud, SystemClock(), fake.gate, patience=replace(QUICK, drain=3600.0))
    recorders = [Recorder() for _ in range(3)]
    peers = []
    for number, recorder in enumerate(recorders):
        link = links.open(CloudIdentity("edge", f"m{number}", KEY), recorder)
        peers.append(await fake.peer())
        await peers[-1].accept()
        await recorder.next("connected")
        await Sent(link, recorder).up_to(number)
    assert repr(links) == "<Links 3 of 3 connected to localhost>"
    assert await links.close_all(at_once=True) == 0 + 1 + 2
    for peer in peers:
        while (event := await peer.event()) is not None:
            assert not isinstance(event, Disconnect)
