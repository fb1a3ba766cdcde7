"""Where a live view draws: a picture that is exchanged in place, or a table, and the words below it.

What is drawn again and again stays the same element in the page. A picture's bytes are exchanged, and the browser keeps
the old one in view until the new one is ready, so that nothing flickers; its words (for a screen reader, and as a
tooltip) change with it. A table is exchanged only when it differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, Self, TypeVar

Kind = Literal["svg+xml", "jpeg"]
T = TypeVar("T")


class Drawn(Protocol):
    """A picture in SVG with its words; `Panel` and `Chart` are."""

    width: ClassVar[int]
    height: ClassVar[int]

    @property
    def alt(self) -> str:
        """A sentence that stands for it."""
        ...

    @property
    def svg(self) -> str:
        """The picture."""
        ...


_LINES: Final = "line-height:1.4;white-space:normal;overflow-wrap:anywhere"


@dataclass(frozen=True, slots=True)
class Image:
    """What a picture pane shows: the picture's bytes, a sentence that stands for it, and its size in CSS pixels."""

    content: bytes
    alt: str
    width: int
    height: int
    kind: Kind = "svg+xml"

    @classmethod
    def of(cls, drawn: Drawn) -> Self:
        """A panel's or a chart's."""
        return cls(drawn.svg.encode(), drawn.alt, drawn.width, drawn.height)


class Pane(ABC, Generic[T]):
    """A place to draw in. `widget` is what the page shows; `shown` what was drawn last, None before the first."""

    widget: Any

    def __init__(self) -> None:
        self.shown: T | None = None

    def draw(self, what: T) -> None:
        """Show it from now on; nothing where it is shown already."""
        if what != self.shown:
            self._draw(what)
            self.shown = what

    @abstractmethod
    def _draw(self, what: T) -> None:
        """Exchange what the page shows."""

    @abstractmethod
    def say(self, words: str) -> None:
        """Words in place of what there is not yet to draw."""


class PicturePane(Pane[Image]):
    """One `<img>` for all pictures: only its bytes and its title change."""

    def __init__(self, first: str) -> None:
        """`first`: words until there is a picture."""
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        super().__init__()
        self._first = ipywidgets.HTML(_words(first))
        self._image = _titled_image()(format="svg+xml")
        self._image.layout.display = "none"
        self._image.layout.margin = "0"
        self._image.layout.align_self = "flex-start"  # else the box makes it as wide as itself
        self.widget = ipywidgets.VBox([self._first, self._image])

    def _draw(self, what: Image) -> None:
        with self._image.hold_sync():  # one message
            self._image.format = what.kind
            self._image.width = str(what.width)
            self._image.height = str(what.height)
            self._image.tooltip = what.alt
            self._image.value = what.content
        if self.shown is None:
            self._first.layout.display = "none"
            self._image.layout.display = None

    def say(self, words: str) -> None:
        """Words in place of the first picture."""
        said = _words(words)
        if self.shown is None and self._first.value != said:
            self._first.value = said


@cache
def _titled_image() -> Any:
    """An image that can have a title: the page gives one only to widgets whose description is there and empty."""
    import ipywidgets
    import traitlets

    class TitledImage(ipywidgets.Image):  # type: ignore[misc] # it has no types
        description = traitlets.Unicode("").tag(sync=True)

    return TitledImage


class TablePane(Pane[str]):
    """HTML of our own making, mostly a table."""

    def __init__(self, first: str) -> None:
        """`first`: words until there is a table."""
        import ipywidgets

        super().__init__()
        self.widget = ipywidgets.HTML(_words(first))
        # Else a widget's table has neither padding nor lines.
        self.widget.add_class("jp-RenderedHTMLCommon")

    def _draw(self, what: str) -> None:
        self.widget.value = what

    def say(self, words: str) -> None:
        """Words in place of the first table."""
        said = _words(words)
        if self.shown is None and self.widget.value != said:
            self.widget.value = said


class Words:
    """The line below: how far it is, and what is wrong. A screen reader is told of what is wrong at once."""

    def __init__(self) -> None:
        import ipywidgets

        self.widget = ipywidgets.HTML("")
        self.widget.layout.flex = "1 1 20em"  # what has no room beside the buttons comes below them
        self.text = ""

    def say(self, text: str, trouble: str = "") -> None:
        """Show this, trouble first; nothing where it is shown already."""
        said = " ".join(filter(None, (trouble, text)))
        if said == self.text:
            return
        self.text = said
        alert = f"<span role='alert'>⚠ {escape(trouble)}</span> " if trouble else ""
        self.widget.value = f"<div style='{_LINES}'>{alert}{escape(text)}</div>" if said else ""


def _words(text: str) -> str:
    return f"<p style='margin:0;{_LINES}'>{escape(text)}</p>"
