"""The live view: a widget that shows a car's panel as its messages arrive.

    view = live.watch(arrived)      # a queue.Queue into which a consumer puts events
    view                            # the widget
    view.panel()                    # its plain-call twin: the panel as it is now
    view.stop()

How it watches: `iotedge_lab.show.event_view`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from iotedge_lab.show.event_view import EVERY, EventView
from iotedge_lab.show.panel import KEPT, Panel, Shown, panel, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.event_text import ShownEvent
    from iotedge_lab.show.event_view import Events


class LiveView(EventView[Shown]):
    """A view onto a queue of events. `shown` counts rows, `unread` events that are no row of a car."""

    noun: ClassVar[str] = "rows"
    kept: ClassVar[int] = KEPT
    css: ClassVar[str] = "iotedge-live"

    def panel(self) -> Panel:
        """The panel as it is now, as a picture that stays. Raises `DataError` before the first row."""
        return panel(self._now())

    def _read(self, event: ShownEvent) -> Shown:
        return read(event.body.decode("utf-8", "replace"), event.properties)

    def _draw_items(self, items: Sequence[Shown]) -> Panel:
        return panel(items)


def watch(events: Events, *, sender: str = "", name: str = "live", every: float = EVERY) -> LiveView:
    """A view that watches a queue of events from now on; see `LiveView`."""
    return LiveView(events, sender=sender, name=name, every=every).start()
