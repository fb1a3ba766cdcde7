"""The live views onto an edge device and a fleet: what they show, their switch, and that no thread is left."""

from __future__ import annotations

import queue
import re
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from iotedge_lab.edges import EdgeStatus
from iotedge_lab.errors import HubNotRunning, UsageError
from iotedge_lab.show import edge_view, fleet_view

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeEdge:
    """What a view needs of an edge device."""

    device_id = "car-edge"

    def __init__(self) -> None:
        self.raw: dict[str, Any] = {
            "device": "car-edge",
            "online": True,
            "connected": True,
            "trouble": "",
            "routed": {"up": 1200},
            "received": 7,
            "waiting": 0,
            "modules": [
                {
                    "name": "<b>Car</b>",
                    "type": "IoT Edge Module",
                    "specified": True,
                    "runtimeStatus": "running",
                    "exitCode": 0,
                }
            ],
            "routes": {
                "up": "FROM /messages/* INTO $upstream",
                "over": 'FROM /messages/* INTO BrokeredEndpoint("/modules/F/inputs/i")',
            },
            "queues": [
                {"endpoint": "$upstream", "length": 2},
                {"endpoint": "$upstream", "length": 3},
                {"endpoint": "/modules/F/inputs/i", "length": 1},
            ],
        }
        self.gone = False

    def status(self) -> EdgeStatus:
        if self.gone:
            raise HubNotRunning("the runtime does not answer. Start it.")
        return EdgeStatus(dict(self.raw))

    def offline(self) -> None:
        self.raw |= {"online": False, "connected": False, "waiting": 4}

    def online(self) -> None:
        self.raw |= {"online": True, "connected": True, "waiting": 0}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for view in list(edge_view.EdgeView._watching.values()):
        view.stop()
    assert [each.name for each in threading.enumerate() if each.name.startswith("live view")] == []


def test_an_edge_device_is_shown_with_its_modules_its_routes_and_what_waits() -> None:
    """Two tables: a route has what it took, and what waits where it leads; texts are escaped, words have a dot."""
    shown = edge_view.table(FakeEdge().status())
    modules, routes = shown.grids
    assert [row[0] for row in modules.rows] == ["$edgeAgent", "$edgeHub", "<b>Car</b>"]
    assert list(routes.rows) == [("up", "$upstream", "1,200", "5"), ("over", "/modules/F/inputs/i", "0", "1")]
    assert repr(shown) == (
        "car-edge: connected to the hub, 0 waiting, 7 messages received\n\n"
        "Modules\n"
        "module      status   exit code\n"
        "$edgeAgent  running          0\n"
        "$edgeHub    running          0\n"
        "<b>Car</b>  running          0\n\n"
        "Routes\n"
        "route  into                 messages  waiting there\n"
        "up     $upstream               1,200              5\n"
        "over   /modules/F/inputs/i         0              1"
    )
    page = shown._repr_html_()
    assert "<b>Car</b>" not in page
    assert "&lt;b&gt;Car&lt;/b&gt;" in page
    assert "<th scope='col'" in page
    assert page.count("aria-hidden='true'") == 3


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"online": False, "connected": False}, "cut off"),
        ({"connected": False, "trouble": "refused"}, "not connected (refused)"),
        ({"connected": False}, "not connected"),
    ],
)
def test_a_device_without_its_hub_says_why(how: dict[str, Any], said: str) -> None:
    """Cut off by hand is told from a hub that does not take it."""
    edge = FakeEdge()
    edge.raw |= how
    assert edge_view.table(edge.status()).note == f"car-edge: {said}, 0 waiting, 7 messages received"


def test_the_switch_cuts_the_device_off_and_lets_it_come_back() -> None:
    """By a click, as a person does; the view follows, and its words on the button too."""
    edge = FakeEdge()
    view = edge_view.watch(edge, every=0.01)  # type: ignore[arg-type]
    view.wait_until(lambda: view.looks > 0)
    view._switch.click()
    view.wait_until(
        lambda: not view.online and view.waiting == 4 and view._switch.description == "Bring online"
    )
    assert "cut off" in repr(view.now())
    view._switch.click()
    view.wait_until(lambda: view.online and view._switch.description == "Take offline")
    view._button.click()
    view._thread.join(30)
    assert not view.watching


def test_a_click_that_fails_is_said_and_the_switch_can_be_used_again() -> None:
    """The handler has put it on the queue; the view's own thread did it."""
    edge = FakeEdge()
    view = edge_view.watch(edge, every=0.01)  # type: ignore[arg-type]
    view.wait_until(lambda: view.looks > 0)
    threads: list[str] = []

    def failing() -> None:
        threads.append(threading.current_thread().name)
        raise HubNotRunning("the runtime has gone")

    edge.offline = failing  # type: ignore[method-assign]
    said: list[str] = []
    view._words.widget.observe(lambda change: said.append(change.new), "value")
    view._switch.click()
    view.wait_until(lambda: any("the runtime has gone" in each for each in said))
    view.wait_until(lambda: not view.trouble and not view._switch.disabled)
    assert threads == ["live view edge car-edge"]


def test_a_runtime_that_is_gone_is_said_in_the_view_and_no_thread_dies(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever it is; the table stays, and the view goes on as soon as it can."""
    edge = FakeEdge()
    view = edge_view.watch(edge, every=0.01)  # type: ignore[arg-type]
    view.wait_until(lambda: view.looks > 0)
    before, edge.gone = view._pane.widget.value, True
    view.wait_until(lambda: "does not answer" in view.trouble)
    assert view._pane.widget.value == before
    assert re.fullmatch(
        r"the runtime does not answer\. Start it\. Shown is how it was at \d\d:\d\d:\d\d\. It looks again by itself\.",
        view._words.text,
    )
    edge.gone = False
    view.wait_until(lambda: not view.trouble)
    edge.raw.pop("modules")
    view.wait_until(lambda: view.trouble == "KeyError: 'modules'")
    edge.raw = FakeEdge().raw
    view.wait_until(lambda: not view.trouble)
    assert view._words.text == ""
    with pytest.raises(UsageError, match=r"not in 0\.05 s"):
        view.wait_until(lambda: False, timeout=0.05)
    again = edge_view.watch(edge, every=0.01)  # type: ignore[arg-type]
    assert not view.watching
    again.stop()
    assert again._words.text == "Stopped."
    assert again._switch.disabled
    assert capfd.readouterr() == ("", "")
    assert repr(again) == "EdgeView(edge car-edge)"
    assert again._repr_mimebundle_()["text/plain"] == repr(again)


def _event(device: str, body: bytes) -> Any:
    return SimpleNamespace(
        sequence_number=1,
        offset="1",
        enqueued_time=datetime.now(UTC),
        properties={},
        system_properties={b"iothub-connection-device-id": device.encode()},
        body=[body],
    )


def test_a_fleet_is_shown_in_an_order_that_is_chosen(iothub: Any) -> None:
    """Devices come from the hub, rates and last values from the events; of many the rest is counted."""
    made = [{"id": f"car-{n}", "importMode": "create"} for n in range(25)]
    iothub.rest().call("POST", "/devices", made)
    events: queue.Queue[Any] = queue.Queue()
    view = fleet_view.watch(iothub, events, every=0.01)
    view.wait_until(lambda: "25 devices" in view._pane.widget.value)
    assert [row[0] for row in view.now().grids[0].rows] == [f"car-{n}" for n in range(20)]
    for number in range(3):
        events.put(_event("car-7", b'{"time": "now", "speed": %d.0, "alert": null}' % number))
    events.put("no event")
    events.put(_event("car-20", b"\xff<script>"))
    events.put(_event("car-20", b"<script>"))
    view.wait_until(lambda: view.heard == 5)
    view._orderly.value = "fastest first"
    view.wait_until(lambda: [row[0] for row in view.now().grids[0].rows[:2]] == ["car-7", "car-20"])
    view._orderly.value = "heard last first"
    view.wait_until(lambda: [row[0] for row in view.now().grids[0].rows[:3]] == ["car-20", "car-7", "car-0"])
    iothub.rest().call("DELETE", "/devices/car-24", headers={"If-Match": "*"})
    view.wait_until(lambda: "24 devices" in view._pane.widget.value)
    view.stop()
    shown = view.now()
    assert shown.note == "24 devices, 0 connected, 4 not shown"
    seven = next(row for row in shown.grids[0].rows if row[0] == "car-7")
    assert seven[1] == "Disconnected"
    assert seven[3:] == ("3", "speed 2, alert null")
    assert view.unread == 1
    assert "<script>" not in shown._repr_html_()
    assert view._orderly.disabled


def test_a_rate_is_of_the_last_seconds_by_the_hubs_time() -> None:
    """A backlog that is read at once is no rate of its own, and one who says nothing more has none after a while."""
    sender = fleet_view._Sender()
    for second in range(100):
        sender.take(1000.0 + second, arrived=7.0)
    assert [sender.rate(7.0 + silent) for silent in (0.0, 2.5, 4.5, 5.0, 100.0)] == [1.0, 0.6, 0.2, 0.0, 0.0]
    assert (sender.count, sender.heard, len(sender.times)) == (100, 1099.0, 6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"seconds": 1.0, "alert": true, "speed": 31.25}', "speed 31.25, alert true"),
        (b'{"time": "now"}', "time now"),
        (b"[1, 2]", "[1, 2]"),
        (b'"a text"', "a text"),
        ("fünf\nZeilen".encode(), "fünf Zeilen"),
        (b"\xff", "1 byte"),
        (b"\x00" * 1000, "1,000 bytes"),
        ("ü".encode() * 100, "ü" * 59 + "…"),
    ],
)
def test_a_last_value_is_a_short_line(body: bytes, words: str) -> None:
    """What leads nowhere in a short line is left out; no character is cut in two."""
    assert fleet_view.said(body) == words
