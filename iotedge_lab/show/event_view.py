"""What the live views have in common: a widget, and a thread that takes events from a queue and redraws.

    view = live.watch(arrived)      # a queue.Queue into which a consumer puts events
    view                            # the widget
    view.panel()                    # its plain-call twin: what it shows now, as a picture that stays
    view.stop()

The thread redraws a few times a second at the most. It prints nothing: what it cannot read it counts. Two views onto
one queue would share its events; give each a queue of its own. What else holds: `iotedge_lab.show.watching`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from iotedge_lab.errors import UsageError
from iotedge_lab.event_text import ShownEvent
from iotedge_lab.show.pane import Image, PicturePane
from iotedge_lab.show.polled import counted
from iotedge_lab.show.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azure.eventhub import EventData

    from iotedge_lab.show.pane import Drawn

    Events = queue.Queue[EventData]

EVERY: Final = 0.25
"""Seconds between two drawings, at least."""

_PATIENCE: Final = 0.1  # s until a view sees that it was stopped

Item = TypeVar("Item")


class EventView(Watching, Generic[Item]):
    """A view onto a queue of events. `shown` counts what was shown, `unread` events that are nothing of the kind.

    A kind of view says what it shows: `noun` (such as "rows"), `kept` (how many of them), `_read` and `_draw_items`.
    """

    noun: ClassVar[str]
    kept: ClassVar[int]
    stops: ClassVar[str] = "Stop watching; the car drives on"

    def __init__(self, events: Events, *, sender: str = "", name: str = "live", every: float = EVERY) -> None:
        """`sender`: show this device's or module's alone. `every`: seconds between two drawings."""
        super().__init__(PicturePane(f"Waiting for the first of the {self.noun} ..."), name=name, every=every)
        self.shown = 0
        self.unread = 0
        self._events = events
        self._sender = sender
        self._items: deque[Item] = deque(maxlen=self.kept)
        self._news = threading.Condition()
        self._drawn = time.monotonic() - every
        self._fresh = False

    @abstractmethod
    def _read(self, event: ShownEvent) -> Item | None:
        """What an event is to the view; None if it is none of its own. Raises `DataError` if it cannot be read."""

    @abstractmethod
    def _draw_items(self, items: Sequence[Item]) -> Drawn:
        """The picture of what was kept. Raises `DataError` if there is nothing."""

    def wait_for(self, count: int, *, timeout: float = 60.0) -> int:
        """Wait until so many were shown; how many it were. Raises `UsageError` where they do not come."""
        with self._news:
            if not self._news.wait_for(lambda: self.shown >= count or not self.watching, timeout) or (
                self.shown < count
            ):
                raise UsageError(
                    f"{self.shown} of {count} {self.noun} were shown in {timeout:g} s; does the car send, and is "
                    "edge.status() connected? A view that was stopped shows nothing more."
                )
            return self.shown

    def _now(self) -> list[Item]:
        with self._news:
            return list(self._items)

    # -- its thread ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._obey(0)
        with contextlib.suppress(queue.Empty):
            self._fresh = self._take(self._events.get(timeout=_PATIENCE)) or self._fresh
        due = self._stopping.is_set() or time.monotonic() - self._drawn >= self._every
        if self._fresh and due:
            self._drawn, self._fresh = time.monotonic(), False
            self._pane.draw(Image.of(self._draw_items(self._now())))
            self.trouble = ""
            self._tell()

    def _take(self, event: EventData) -> bool:
        """Keep what an event is; whether it was one to show."""
        try:
            seen = ShownEvent.of("", event)
            if self._sender and seen.sender != self._sender:
                return False
            item = self._read(seen)
        except Exception:  # noqa: BLE001 - nothing that comes by a queue may end the view
            self.unread += 1
            return False
        if item is None:
            return False
        with self._news:
            self._items.append(item)
            self.shown += 1
            self._news.notify_all()
        return True

    def _tell(self) -> None:
        said = f"{counted(self.shown, self.noun)} from {self._sender or 'everybody'}." if self.shown else ""
        self._words.say(f"{said} {self._farewell}".strip() if self._stopping.is_set() else said, self.trouble)

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()

    # -- shown ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._sender or 'everybody'})"
