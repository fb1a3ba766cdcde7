"""The live view: a widget that shows a car's panel as its messages arrive.

    view = live.watch(arrived)      # a queue.Queue into which a consumer puts events
    view                            # the widget
    view.panel()                    # its plain-call twin: the panel as it is now
    view.stop()

One thread takes events from the queue and redraws, a few times a second at the most. It prints nothing: what it cannot
read it counts. Only one view of a name watches at a time: running its cell again stops the one before. It ends by
`stop`, by its button, and with the kernel.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

from iotedge_lab.cli.event_text import ShownEvent
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show.panel import KEPT, Panel, Shown, panel, read

if TYPE_CHECKING:
    from azure.eventhub import EventData

    Events = queue.Queue[EventData]

EVERY: Final = 0.25
"""Seconds between two drawings, at least."""

_PATIENCE: Final = 0.1  # s until a view sees that it was stopped
_TEXT_MIME: Final = "text/plain"


class LiveView:
    """A view onto a queue of events. `shown` counts rows, `unread` events that are no row of a car."""

    _watching: ClassVar[dict[str, LiveView]] = {}

    def __init__(self, events: Events, *, sender: str = "", name: str = "live", every: float = EVERY) -> None:
        """`sender`: show this device's or module's alone. `every`: seconds between two drawings."""
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        self.shown = 0
        self.unread = 0
        self._events = events
        self._sender = sender
        self._name = name
        self._every = every
        self._rows: deque[Shown] = deque(maxlen=KEPT)
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._picture = ipywidgets.HTML("<p>waiting for the first row</p>")
        self._words = ipywidgets.Label("")
        self._button = ipywidgets.Button(description="Stop", tooltip="Stop watching; the car drives on")
        self._button.on_click(lambda _: self._stopping.set())
        self._box = ipywidgets.VBox([self._picture, ipywidgets.HBox([self._button, self._words])])
        self._box.add_class("iotedge-live")
        self._thread = threading.Thread(target=self._watch, name=f"live view {name}", daemon=True)

    def start(self) -> LiveView:
        """Watch; the view of the same name that does so already is stopped."""
        before = self._watching.pop(self._name, None)
        if before is not None:
            before.stop()
        self._watching[self._name] = self
        self._thread.start()
        return self

    @property
    def watching(self) -> bool:
        """Whether it watches."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop watching, and wait until its thread has ended. Again does nothing."""
        self._stopping.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._watching.get(self._name) is self:
            del self._watching[self._name]

    def wait_for(self, rows: int, *, timeout: float = 60.0) -> int:
        """Wait until so many rows were shown; how many it were. Raises `UsageError` where they do not come."""
        with self._news:
            if not self._news.wait_for(lambda: self.shown >= rows or not self.watching, timeout) or (
                self.shown < rows
            ):
                raise UsageError(
                    f"{self.shown} of {rows} rows were shown in {timeout:g} s; does the car send, and is "
                    "edge.status() connected? A view that was stopped shows nothing more."
                )
            return self.shown

    def panel(self) -> Panel:
        """The panel as it is now, as a picture that stays. Raises `DataError` before the first row."""
        with self._news:
            return panel(list(self._rows))

    # -- its thread ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        drawn = -self._every
        fresh = False
        while not self._stopping.is_set():
            try:
                event = self._events.get(timeout=_PATIENCE)
            except queue.Empty:
                pass
            else:
                fresh = self._take(event) or fresh
            if fresh and time.monotonic() - drawn >= self._every:
                self._draw()
                drawn, fresh = time.monotonic(), False
        if fresh:
            self._draw()
        self._button.disabled = True
        self._words.value += " Stopped."
        with self._news:
            self._news.notify_all()

    def _take(self, event: EventData) -> bool:
        """Keep the row of an event; whether it was one of the sender's."""
        seen = ShownEvent.of("", event)
        if self._sender and seen.sender != self._sender:
            return False
        try:
            row = read(seen.body.decode("utf-8", "replace"), seen.properties)
        except DataError:
            self.unread += 1
            return False
        with self._news:
            self._rows.append(row)
            self.shown += 1
            self._news.notify_all()
        return True

    def _draw(self) -> None:
        self._picture.value = self.panel()._repr_html_()
        self._words.value = f"{self.shown} rows from {self._sender or 'everybody'}."

    # -- shown ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"LiveView({self._sender or 'everybody'})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; where there is none, its name, which is the same at each run."""
        found = self._box._repr_mimebundle_(**options)
        bundle = found[0] if isinstance(found, tuple) else found
        return {**(bundle or {}), _TEXT_MIME: repr(self)}


def watch(events: Events, *, sender: str = "", name: str = "live", every: float = EVERY) -> LiveView:
    """A view that watches a queue of events from now on; see `LiveView`."""
    return LiveView(events, sender=sender, name=name, every=every).start()
