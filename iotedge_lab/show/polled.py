"""Live views onto a state: a widget, and a thread that looks now and then and redraws what has changed.

    view = edge_view.watch(edge)
    view                    # the widget
    view.now()              # its plain-call twin: what it shows, as a table that stays
    view.stop()

The thread prints nothing, says in the view why it cannot look, and redraws only when what it has seen differs, so that
nothing flickers. Only one view of a name watches at a time: running its cell again stops the one before. It ends by
`stop`, by its button, and with the kernel.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from html import escape
from typing import TYPE_CHECKING, ClassVar, Final

from iotedge_lab.errors import LabError, UsageError
from iotedge_lab.show.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVERY: Final = 0.5
"""Seconds between two looks."""


class PolledView(Watching):
    """A view onto a state that is asked for. `looks` counts how often it was seen, `trouble` why it was not."""

    stops: ClassVar[str] = "Stop watching; nothing else stops"

    def __init__(self, *, name: str, every: float = EVERY) -> None:
        super().__init__("<p>looking ...</p>", name=name, every=every)
        self.looks = 0
        self.trouble = ""
        self._seen = threading.Condition()
        self._hurry = threading.Event()
        # Else a widget's table has neither padding nor lines.
        self._picture.add_class("jp-RenderedHTMLCommon")
        self._buttons.layout.flex_flow = "row wrap"  # words that have no room beside the button come below it

    @abstractmethod
    def _look(self) -> str:
        """What is to be shown now, as HTML. Raises `LabError` where it cannot be seen."""

    def _changed(self) -> None:
        """Called in the thread after each look; a view with more widgets brings them up to date here."""

    def wait_until(self, fact: Callable[[], bool], *, timeout: float = 60.0) -> None:
        """Wait until a fact about the view holds, asked after each look. Raises `UsageError` where it does not."""
        with self._seen:
            if not self._seen.wait_for(fact, timeout):
                raise UsageError(f"not in {timeout:g} s; {self.trouble or 'the view shows how it is now'}.")

    def _end(self) -> None:
        super()._end()
        self._hurry.set()

    def _look_now(self) -> None:
        """Look without waiting for the next turn."""
        self._hurry.set()

    def _watch(self) -> None:
        shown = None
        while not self._stopping.is_set():
            self._hurry.clear()
            try:
                found, self.trouble = self._look(), ""
            except (LabError, OSError) as error:
                found, self.trouble = shown or "", str(error)
            if found != shown:
                self._picture.value = shown = found
            self._changed()
            if self._words.value != self.trouble:
                self._words.value = self.trouble
            with self._seen:
                self.looks += 1
                self._seen.notify_all()
            self._hurry.wait(self._every)
        self._button.disabled = True
        self._words.value = f"{self.trouble} Stopped.".strip()
        with self._seen:
            self._seen.notify_all()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name})"


class Table:
    """Rows under a head, as text and as HTML; cells are texts and are escaped."""

    def __init__(self, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], note: str = "") -> None:
        self.head = head
        self.rows = rows
        self.note = note

    def __repr__(self) -> str:
        every = [self.head, *self.rows]
        widths = [max(len(row[at]) for row in every) for at in range(len(self.head))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in every]
        return "\n".join([*lines, self.note] if self.note else lines)

    def _repr_html_(self) -> str:
        def cells(kind: str, row: tuple[str, ...]) -> str:
            made = "".join(f"<{kind} style='text-align:left'>{escape(cell)}</{kind}>" for cell in row)
            return f"<tr>{made}</tr>"

        body = "".join(cells("td", row) for row in self.rows)
        note = f"<caption>{escape(self.note)}</caption>" if self.note else ""
        return f"<table style='margin:0'>{note}<thead>{cells('th', self.head)}</thead><tbody>{body}</tbody></table>"
