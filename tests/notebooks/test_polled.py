"""The live views onto an edge device and a fleet: what they show, their switch, and that no thread is left."""

from __future__ import annotations

import queue
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
    shown = edge_view.table(FakeEdge().status())
    text = repr(shown)
    assert "$edgeHub" in text
    assert shown.rows[-2:] == [
        ("route up", "", "", "$upstream", "5"),
        ("route over", "", "", 'BrokeredEndpoint("/modules/F/inputs/i")', "1"),
    ]
    assert text.endswith("car-edge: connected to the hub, 0 waiting, 7 received")
    assert "<b>Car</b>" not in shown._repr_html_()
    assert "&lt;b&gt;Car&lt;/b&gt;" in shown._repr_html_()


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


def test_a_runtime_that_is_gone_is_said_in_the_view_and_no_thread_dies() -> None:
    edge = FakeEdge()
    view = edge_view.watch(edge, every=0.01)  # type: ignore[arg-type]
    view.wait_until(lambda: view.looks > 0)
    before, edge.gone = view._picture.value, True
    view.wait_until(lambda: "does not answer" in view.trouble)
    assert view._picture.value == before
    edge.gone = False
    view.wait_until(lambda: not view.trouble)
    with pytest.raises(UsageError, match=r"not in 0\.05 s"):
        view.wait_until(lambda: False, timeout=0.05)
    again = edge_view.watch(edge, every=0.01)  # type: ignore[arg-type]
    assert not view.watching
    again.stop()
    assert again._words.value == "Stopped."
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


def test_a_fleet_is_shown_with_who_sent_last_first(iothub: Any) -> None:
    """Devices come from the hub, rates and last values from the events; of many the rest is counted."""
    made = [{"id": f"car-{n:02}", "importMode": "create"} for n in range(25)]
    iothub.rest().call("POST", "/devices", made)
    events: queue.Queue[Any] = queue.Queue()
    view = fleet_view.watch(iothub, events, every=0.01)
    for number in range(3):
        events.put(_event("car-07", b'{"speed": %d}' % number))
    events.put(_event("car-20", b"\xff<script>"))
    view.wait_until(lambda: view.heard == 4)
    view.stop()
    shown = view.now()
    assert shown.note == "25 devices, 0 connected, 5 not shown"
    assert {row[0] for row in shown.rows[:2]} == {"car-07", "car-20"}
    seven = next(row for row in shown.rows if row[0] == "car-07")
    assert seven[1] == "Disconnected"
    assert seven[3:] == ("3", '{"speed": 2}')
    assert "<script>" not in shown._repr_html_()
