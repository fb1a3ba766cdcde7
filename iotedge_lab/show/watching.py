"""A live view's frame: a widget with a picture, words and a button, and the thread that keeps it up to date.

What the thread does is its kinds' own: `event_view` takes events from a queue, `polled` asks for a state. Only one view
of a name watches at a time: running its cell again stops the one before. It ends by `stop`, by its button, and with the
kernel.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Self

_TEXT_MIME: Final = "text/plain"


class Watching(ABC):
    """The frame. A kind gives `css`, its class in the page, and `stops`, what its button says it does."""

    css: ClassVar[str]
    stops: ClassVar[str]

    _watching: ClassVar[dict[str, Watching]] = {}

    def __init__(self, first: str, *, name: str, every: float) -> None:
        """`first`: HTML that is shown until there is something. `every`: seconds between two drawings or looks."""
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        self._name = name
        self._every = every
        self._stopping = threading.Event()
        self._picture = ipywidgets.HTML(first)
        self._words = ipywidgets.Label("")
        self._button = ipywidgets.Button(description="Stop", tooltip=self.stops)
        self._button.on_click(lambda _: self._end())
        self._buttons = ipywidgets.HBox([self._button, self._words])
        self._box = ipywidgets.VBox([self._picture, self._buttons])
        self._box.add_class(self.css)
        self._thread = threading.Thread(target=self._watch, name=f"live view {name}", daemon=True)

    @abstractmethod
    def _watch(self) -> None:
        """What the thread does until `_stopping` is set."""

    def _end(self) -> None:
        """Have the thread end."""
        self._stopping.set()

    def start(self) -> Self:
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
        self._end()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._watching.get(self._name) is self:
            del self._watching[self._name]

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; where there is none, its name, which is the same at each run."""
        found = self._box._repr_mimebundle_(**options)
        bundle = found[0] if isinstance(found, tuple) else found
        return {**(bundle or {}), _TEXT_MIME: repr(self)}
