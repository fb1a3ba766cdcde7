"""An edge device, live: its modules, its routes and what waits, with a switch that cuts it off from the hub.

    view = edge_view.watch(lab.edge("car-edge"))
    view                    # the widget
    view.now()              # its plain-call twin

What its columns mean: the table of Azure's portal, and the built-in metrics of edgeHub (queue length). A route counts
the messages that it has taken since the runtime began; what waits is counted by where it goes, since routes to the same
place share its queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from iotedge_lab.show.grid import BAD, GOOD, MIDDLE, Grid, Grids
from iotedge_lab.show.pane import TablePane
from iotedge_lab.show.polled import EVERY, PolledView, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.edges import Edge, EdgeStatus

_UPSTREAM: Final = "$upstream"
_MARKS: Final = {"running": GOOD, "stopped": MIDDLE, "backoff": BAD, "failed": BAD, "unhealthy": BAD}
OFFLINE, ONLINE = "Take offline", "Bring online"


class EdgeView(PolledView[str]):
    """A view onto an edge device; see `PolledView`. Its switch does what `edge.offline()` and `online()` do."""

    css: ClassVar[str] = "iotedge-edge"

    def __init__(self, edge: Edge, *, name: str, every: float = EVERY) -> None:
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        super().__init__(TablePane("Looking at the device ..."), name=name, every=every)
        self._edge = edge
        self._status: EdgeStatus | None = None
        self._switch = ipywidgets.Button(
            description=OFFLINE, tooltip="Cut the link to the hub, or let it come back"
        )
        self._switch.on_click(lambda _: self._asked())
        self._buttons.children = (self._switch, *self._buttons.children)

    @property
    def online(self) -> bool:
        """Whether the device may reach the hub, as last seen."""
        return self._status is None or self._status.online

    @property
    def waiting(self) -> int:
        """How many messages wait, as last seen."""
        return 0 if self._status is None else self._status.waiting

    def now(self) -> Grids:
        """The device as it is now, as tables that stay."""
        return table(self._edge.status())

    def _asked(self) -> None:
        self._switch.disabled = True  # until it is done
        self._orders.put(self._turned)

    def _turned(self) -> None:
        """In the view's thread: the runtime answers when the sockets are closed."""
        try:
            if self.online:
                self._edge.offline()
            else:
                self._edge.online()
        finally:
            self._switch.disabled = False

    def _controls(self) -> Sequence[Any]:
        return (self._switch, self._button)

    def _look(self) -> str:
        self._status = self._edge.status()
        return table(self._status)._repr_html_()

    def _changed(self) -> None:
        self._switch.description = OFFLINE if self.online else ONLINE


def table(status: EdgeStatus) -> Grids:
    """A device's modules with their state, then its routes with what they took and what waits where they lead."""
    raw = status.raw
    modules = [(name, state, code) for name, _, _, _, state, code in status.rows]
    waits: dict[str, int] = {}
    for queue in raw["queues"]:
        waits[queue["endpoint"]] = waits.get(queue["endpoint"], 0) + int(queue["length"])
    took = raw.get("routed") or {}
    routes = []
    for name, text in raw["routes"].items():
        target = text.rpartition(" INTO ")[2].strip()
        endpoint = target if target == _UPSTREAM else target.partition('"')[2].rpartition('"')[0]
        length = waits.get(endpoint, waits.get(target, 0))
        routes.append((name, endpoint or target, f"{took.get(name, 0):,}", f"{length:,}"))
    grids = [
        Grid(
            ("module", "status", "exit code"), modules, "Modules", frozenset({"exit code"}), "status", _MARKS
        )
    ]
    if routes:
        head = ("route", "into", "messages", "waiting there")
        grids.append(Grid(head, routes, "Routes", frozenset(head[2:])))
    return Grids(_note(status), tuple(grids))


def _note(status: EdgeStatus) -> str:
    why = f" ({status.raw['trouble']})" if status.raw.get("trouble") else ""
    link = (
        "connected to the hub" if status.connected else f"not connected{why}" if status.online else "cut off"
    )
    received = counted(int(status.raw["received"]), "messages")
    return f"{status.raw['device']}: {link}, {status.waiting:,} waiting, {received} received"


def watch(edge: Edge, *, name: str = "", every: float = EVERY) -> EdgeView:
    """A view that watches an edge device from now on; see `EdgeView`."""
    return EdgeView(edge, name=name or f"edge {edge.device_id}", every=every).start()
