"""An edge device, live: its modules, its routes and what waits, with a switch that cuts it off from the hub.

    view = edge_view.watch(lab.edge("car-edge"))
    view                    # the widget
    view.now()              # its plain-call twin

What its columns mean: the table of Azure's portal, and the built-in metrics of edgeHub (messages sent, queue length).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

from iotedge_lab.errors import LabError
from iotedge_lab.show.polled import EVERY, PolledView, Table

if TYPE_CHECKING:
    from iotedge_lab.edges import Edge, EdgeStatus


class EdgeView(PolledView):
    """A view onto an edge device; see `PolledView`. Its switch does what `edge.offline()` and `online()` do."""

    css: ClassVar[str] = "iotedge-edge"

    def __init__(self, edge: Edge, *, name: str, every: float = EVERY) -> None:
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        super().__init__(name=name, every=every)
        self._edge = edge
        self._status: EdgeStatus | None = None
        self._switch = ipywidgets.Button(
            description="Take offline", tooltip="Cut the link to the hub, or let it come back"
        )
        self._switch.on_click(lambda _: self._turn())
        self._buttons.children = (self._switch, *self._buttons.children)

    @property
    def online(self) -> bool:
        """Whether the device may reach the hub, as last seen."""
        return self._status is None or self._status.online

    @property
    def waiting(self) -> int:
        """How many messages wait, as last seen."""
        return 0 if self._status is None else self._status.waiting

    def now(self) -> Table:
        """The device as it is now, as a table that stays."""
        return table(self._edge.status())

    def _turn(self) -> None:
        """A handler may not wait in the kernel's thread: the runtime answers when the sockets are closed."""
        self._switch.disabled = True
        threading.Thread(target=self._turned, name=f"live view {self._name} switch", daemon=True).start()

    def _turned(self) -> None:
        try:
            if self.online:
                self._edge.offline()
            else:
                self._edge.online()
        except LabError as error:
            self._words.value = str(error)
        finally:
            self._switch.disabled = False
            self._look_now()

    def _look(self) -> str:
        self._status = self._edge.status()
        return table(self._status)._repr_html_()

    def _changed(self) -> None:
        word = "Take offline" if self.online else "Bring online"
        if self._switch.description != word:
            self._switch.description = word


def table(status: EdgeStatus) -> Table:
    """A device's modules with their state, then where messages go and how many wait for it."""
    rows = [(row[0], row[4], row[5], "", "") for row in status.rows]
    waits: dict[str, int] = {}
    for queue in status.raw["queues"]:
        waits[queue["endpoint"]] = waits.get(queue["endpoint"], 0) + int(queue["length"])
    for name, text in status.raw["routes"].items():
        target = text.rpartition(" INTO ")[2].strip()
        endpoint = target if target == "$upstream" else target.partition('"')[2].rpartition('"')[0]
        rows.append((f"route {name}", "", "", target, str(waits.get(endpoint, waits.get(target, 0)))))
    link = "connected to the hub" if status.connected else "cut off" if not status.online else "not connected"
    note = f"{status.raw['device']}: {link}, {status.waiting} waiting, {status.raw['received']} received"
    return Table(("name", "status", "exit code", "into", "waiting"), rows, note)


def watch(edge: Edge, *, name: str = "", every: float = EVERY) -> EdgeView:
    """A view that watches an edge device from now on; see `EdgeView`."""
    return EdgeView(edge, name=name or f"edge {edge.device_id}", every=every).start()
