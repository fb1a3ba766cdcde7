"""Offline at will: what is inside is cut, what comes is refused, and nothing else is disturbed."""

import asyncio

import pytest

from iotedge_lab.edge.errors import UpstreamOffline
from iotedge_lab.edge.upstream import Gate


async def forever():
    await asyncio.Event().wait()


async def test_a_gate_that_is_open_lets_work_through():
    """What the work gives or raises is what comes back."""

    async def fails():
        raise KeyError

    gate = Gate()
    assert gate.is_open
    assert await gate.run(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyError):
        await gate.run(fails())
    await gate.wait_clear()


async def test_a_gate_that_closes_cuts_what_is_inside():
    """Calls fail with a word, what is held is told once, and the gate says when nothing is left."""
    gate = Gate()
    told = []
    call = asyncio.create_task(gate.run(forever()))
    with gate.holding(lambda: told.append("cut")):
        await asyncio.sleep(0)
        assert repr(gate) == "<Gate open, 2 inside>"
        gate.close()
        assert told == ["cut"]
        with pytest.raises(UpstreamOffline, match="offline on purpose"):
            await call
        clear = asyncio.create_task(gate.wait_clear())
        await asyncio.sleep(0)
        assert not clear.done()
    await clear
    gate.close()
    assert told == ["cut"]


async def test_a_gate_that_is_closed_refuses():
    """At once, whatever comes; who waits for it to open is let in."""
    gate = Gate()
    assert gate.closings == 0
    gate.close()
    gate.close()
    await gate.wait_closing(0)
    assert gate.closings == 1
    with pytest.raises(UpstreamOffline):
        await gate.run(forever())
    with pytest.raises(UpstreamOffline), gate.holding(lambda: None):
        pass
    waiting = asyncio.create_task(gate.wait_open())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.open()
    await waiting
    assert await gate.run(asyncio.sleep(0, 1)) == 1


async def test_a_gate_that_closes_and_opens_at_once_cuts_all_the_same():
    """The call that was inside fails as offline, though the gate is open when it does."""
    gate = Gate()
    call = asyncio.create_task(gate.run(forever()))
    await asyncio.sleep(0)
    gate.close()
    gate.open()
    with pytest.raises(UpstreamOffline):
        await call


async def test_a_caller_who_gives_up_is_cancelled():
    """And not told that the device is offline, even if it goes so at the same moment."""
    gate = Gate()
    call = asyncio.create_task(gate.run(forever()))
    await asyncio.sleep(0)
    call.cancel()
    gate.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    await gate.wait_clear()


async def test_an_error_that_comes_of_the_cut_is_offline_too():
    """A library that makes an error of its own of it is not believed."""

    async def hides():
        try:
            await forever()
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    gate = Gate()
    call = asyncio.create_task(gate.run(hides()))
    await asyncio.sleep(0)
    gate.close()
    with pytest.raises(UpstreamOffline):
        await call
