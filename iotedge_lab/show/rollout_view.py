"""A rollout, live: which edge serves which version, and how each is about the next.

view = rollout_view.watch(service)
view                    # the widget
view.now()              # its plain-call twin: `show.rollout.edges`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from iotedge_lab.show.polled import EVERY, PolledView
from iotedge_lab.show.rollout import edges

if TYPE_CHECKING:
    from iotedge_lab.rollout.service import Service
    from iotedge_lab.show.tables import Table


class RolloutView(PolledView):
    """A view onto a fleet's models; see `PolledView`. `versions`: how many edges serve each, as last seen."""

    css: ClassVar[str] = "iotedge-rollout"

    def __init__(self, service: Service, *, name: str, every: float = EVERY) -> None:
        super().__init__(name=name, every=every)
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
        return str(edges(states)._repr_html_())


def watch(service: Service, *, name: str = "rollout", every: float = EVERY) -> RolloutView:
    """A view that watches a fleet's models from now on; see `RolloutView`."""
    return RolloutView(service, name=name, every=every).start()
