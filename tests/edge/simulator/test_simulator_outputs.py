"""What the module has sent: kept in order, bounded, and waited for without polling."""

import asyncio

import pytest

from iotedge_lab.edge.simulator import outputs as subject
from iotedge_lab.edge.simulator.outputs import Output, Outputs


def add(outputs, *bodies):
    for body in bodies:
        outputs.add("output1", 1_700_000_000.0, body, {}, {})


async def test_in_order_by_number():
    """From any number on, in pages."""
    outputs = Outputs()
    add(outputs, b"a", b"b", b"c")
    assert [(each.number, each.body) for each in outputs.after(0, 9)] == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert [each.body for each in outputs.after(1, 1)] == [b"b"]
    assert outputs.after(3, 9) == []
    assert outputs.last == 3


async def test_waiting_ends_with_what_is_waited_for():
    """One that waits for two is woken by the second."""
    outputs = Outputs()
    waiting = asyncio.ensure_future(outputs.wait(0, 2, 60.0))
    await asyncio.sleep(0)
    add(outputs, b"a")
    await asyncio.sleep(0)
    assert not waiting.done()
    add(outputs, b"b")
    await asyncio.wait_for(waiting, 30)


async def test_waiting_ends_in_time():
    """Nothing is raised where nothing comes."""
    await Outputs().wait(0, 1, 0.01)


async def test_the_oldest_go_first(monkeypatch):
    """There are never more than so many, nor so many bytes; numbers go on."""
    monkeypatch.setattr(subject, "MOST", 3)
    monkeypatch.setattr(subject, "MOST_BYTES", 10)
    outputs = Outputs()
    add(outputs, b"1", b"2", b"3", b"4")
    assert [each.number for each in outputs.after(0, 9)] == [2, 3, 4]
    add(outputs, b"123456789")
    assert [each.number for each in outputs.after(0, 9)] == [4, 5]
    add(outputs, b"x" * 100)
    assert [each.number for each in outputs.after(0, 9)] == [6]


CASES = [
    (b'"hello"', '"hello"', "hello"),
    (b'{"a": 1}', '{"a": 1}', {"a": 1}),
    (b"plain", "plain", "plain"),
    (b"\xff\x00", "/wA=", b"\xff\x00"),
    ("Zürich".encode(), "Zürich", "Zürich"),
]


@pytest.mark.parametrize(("body", "text", "data"), CASES)
def test_an_output_as_it_is_shown(body, text, data):
    """As text for a person, as JSON where it is JSON; and whole through the control API."""
    made = Output(7, 1_700_000_000.0, "output1", body, {"b": "2", "a": None}, {"message-id": "m"})
    assert (made.text, made.data) == (text, data)
    assert Output.from_json(made.to_json()) == made
    assert made.line().endswith(f" output1: {text}  (a, b=2)")
    assert repr(made) == f"Output(output1: {text}, {{'b': '2', 'a': None}})"
