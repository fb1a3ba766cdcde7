"""A rollout, live: which edge serves which version, and how each is about the next.

view = rollout_view.watch(service)
view                    # the widget
view.now()              # its plain-call twin: `show.rollout.edges`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from iotedge_lab.show.grid import BAD, GOOD, MIDDLE, Grid, Grids
from iotedge_lab.show.pane import TablePane
from iotedge_lab.show.polled import EVERY, PolledView
from iotedge_lab.show.rollout import BUNDLED, edge_lines, edges, served

if TYPE_CHECKING:
    from iotedge_lab.rollout.service import Service
    from iotedge_lab.show.tables import Table

_NONE: Final = "No edge has the module yet, so there is none to roll out to."
_MARKS: Final = {
    "serving": GOOD,
    "asking": MIDDLE,
    "fetching": MIDDLE,
    "checking": MIDDLE,
    "waiting": MIDDLE,
    "refused": BAD,
    "offline": BAD,
}


class RolloutView(PolledView[str]):
    """A view onto a fleet's models; see `PolledView`. `versions`: how many edges serve each, as last seen."""

    css: ClassVar[str] = "iotedge-rollout"

    def __init__(self, service: Service, *, name: str, every: float = EVERY) -> None:
        super().__init__(TablePane("Looking at the edges ..."), name=name, every=every)
        self._service = service
        self.versions: dict[str, int] = {}

    def now(self) -> Table:
        """The fleet as it is now, as a table that stays."""
        return edges(self._service.edges())

    def _look(self) -> str:
        states = self._service.edges()
        counts: dict[str, int] = {}
        for each in states:
            version = "" if each.model is None else each.model.version
            counts[version] = counts.get(version, 0) + 1
        self.versions = counts
        head, lines = edge_lines(states)
        grid = Grid(head, lines, marked="status", marks=_MARKS)
        if not states:
            return Grids(_NONE, ())._repr_html_()
        how = served(states) if any(each.wanted for each in states) else "Nothing has been rolled out yet."
        return Grids(f"{how} {self._shares()}".strip(), (grid,))._repr_html_()

    def _shares(self) -> str:
        """How many edges answer by which version."""
        names = sorted(self.versions.items())
        told = [f"{count} by {f'version {version}' if version else BUNDLED}" for version, count in names]
        return f"Rows are answered {', '.join(told)}." if told else ""


def watch(service: Service, *, name: str = "rollout", every: float | None = None) -> RolloutView:
    """A view that watches a fleet's models from now on; see `RolloutView`.

    every: seconds between two looks; by itself a half, and on Azure what its limit of queries allows.
    """
    if every is None:
        every = max(EVERY, getattr(service, "poll", EVERY))
    return RolloutView(service, name=name, every=every).start()
