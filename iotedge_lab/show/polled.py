"""Live views onto a state: a widget, and a thread that looks now and then and redraws what has changed.

    view = edge_view.watch(edge)
    view                    # the widget
    view.now()              # its plain-call twin: what it shows, as a table that stays
    view.stop()

The thread prints nothing, says in the view why it cannot look, goes on looking, and redraws only when what it has seen
differs, so that nothing flickers. What else holds of live views: `iotedge_lab.show.watching`.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import UsageError
from iotedge_lab.show.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.show.pane import Pane

EVERY: Final = 0.5
"""Seconds between two looks."""

T = TypeVar("T")


class PolledView(Watching, Generic[T]):
    """A view onto a state that is asked for. `looks` counts how often it was seen, `trouble` why it was not."""

    stops: ClassVar[str] = "Stop watching; nothing else stops"

    def __init__(self, pane: Pane[T], *, name: str, every: float = EVERY, clock: Clock | None = None) -> None:
        super().__init__(pane, name=name, every=every)
        self.looks = 0
        self._clock = clock or SystemClock()
        self._seen = threading.Condition()
        self._when = 0.0  # of the last look that saw something

    @abstractmethod
    def _look(self) -> T | None:
        """What is to be shown now; None where there is nothing yet. Raises `LabError` where it cannot be seen."""

    def _changed(self) -> None:
        """Called in the thread after each look; a view with more widgets brings them up to date here."""

    def _report(self) -> str:
        """A line on how it is, below what is drawn."""
        return ""

    def wait_until(self, fact: Callable[[], bool], *, timeout: float = 60.0) -> None:
        """Wait until a fact about the view holds, asked after each look. Raises `UsageError` where it does not."""
        with self._seen:
            if not self._seen.wait_for(fact, timeout):
                raise UsageError(f"not in {timeout:g} s; {self.trouble or 'the view shows how it is now'}.")

    # -- its thread ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        found = self._look()
        if found is not None:
            self._pane.draw(found)
        self._changed()
        self.trouble = ""
        self._when = self._clock.now()
        self._tell()
        with self._seen:
            self.looks += 1
            self._seen.notify_all()
        self._obey(self._every)

    def _tell(self) -> None:
        parts = [] if self.trouble else [self._report()]
        if self.trouble and self.looks:
            parts.append(f"Shown is how it was at {local_time(self._when)}.")
        if self._stopping.is_set():
            parts.append(self._farewell)
        elif self.trouble:
            parts.append("It looks again by itself.")
        self._words.say(" ".join(filter(None, parts)), self.trouble)

    def _wake(self) -> None:
        with self._seen:
            self._seen.notify_all()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name})"


def local_time(when: float) -> str:
    """17:59:27, as the clock on this machine's wall has it. `when`: seconds since 1970, UTC."""
    return f"{datetime.fromtimestamp(when).astimezone():%H:%M:%S}"


def counted(number: int, noun: str) -> str:
    """1 row, 2 rows, 1,000 rows. `noun`: the plural, with an s."""
    return f"{number:,} {noun.removesuffix('s') if number == 1 else noun}"
