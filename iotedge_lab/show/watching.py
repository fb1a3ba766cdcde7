"""A live view's frame: a widget with a picture or table, words and buttons, and the thread that keeps it up to date.

What the thread does is its kinds' own: `event_view` takes events from a queue, `polled` asks for a state. What a click
asks for is put on a queue, and the thread does it: a handler never waits and never prints. Whatever goes wrong in the
thread is said in the view, which goes on. Only one view of a name watches at a time: running its cell again stops the
one before. It ends by `stop`, by its button, and with the kernel.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from iotedge_lab.errors import LabError
from iotedge_lab.show.pane import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iotedge_lab.show.pane import Pane

_TEXT_MIME: Final = "text/plain"
_BEFORE_SECONDS: Final = 5.0  # s that a view waits for the end of the one before
_LAST_SECONDS: Final = 2.0  # s that a kernel which ends waits for its views
STOPPED: Final = "Stopped."
REPLACED: Final = "Stopped: another view of this name watches now, as when a cell is run again."


class Watching(ABC):
    """The frame. A kind gives `css`, its class in the page, and `stops`, what its button says it does."""

    css: ClassVar[str]
    stops: ClassVar[str]

    _watching: ClassVar[dict[str, Watching]] = {}

    def __init__(self, pane: Pane[Any], *, name: str, every: float) -> None:
        """`pane`: where it draws. `every`: seconds between two drawings or looks."""
        import ipywidgets  # type: ignore[import-untyped] # it has no types

        self.trouble = ""
        self._name = name
        self._every = every
        self._stopping = threading.Event()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._farewell = STOPPED
        self._pane = pane
        self._words = Words()
        self._button = ipywidgets.Button(description="Stop", tooltip=self.stops)
        self._button.on_click(lambda _: self._end())
        self._buttons = ipywidgets.HBox([self._button, self._words.widget])
        self._buttons.layout.flex_flow = "row wrap"
        self._buttons.layout.align_items = "center"
        self._box = ipywidgets.VBox([pane.widget, self._buttons])
        self._box.add_class(self.css)
        self._thread = threading.Thread(target=self._run, name=f"live view {name}", daemon=True)

    @abstractmethod
    def _turn(self) -> None:
        """What the thread does again and again; it waits in it, for `_obey` or for news. May raise."""

    @abstractmethod
    def _tell(self) -> None:
        """Say in the words how it is now, `trouble` included."""

    @abstractmethod
    def _wake(self) -> None:
        """Wake whoever waits for something that the view has seen."""

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - a thread that died would print, and the view stand still
                self._stumbled(error)
                self._obey(self._every)
        for control in self._controls():
            control.disabled = True
        self._tell()
        self._wake()

    def _controls(self) -> Sequence[Any]:
        """What can be clicked, while it watches."""
        return (self._button,)

    def _stumbled(self, error: Exception) -> None:
        known = isinstance(error, LabError | OSError)
        self.trouble = str(error) if known and str(error) else f"{type(error).__name__}: {error}"
        self._tell()
        self._wake()

    def _obey(self, seconds: float) -> None:
        """Do what clicks have asked for; where there is nothing, wait so long for it."""
        try:
            order = self._orders.get(timeout=seconds) if seconds > 0 else self._orders.get_nowait()
        except queue.Empty:
            return
        order()

    def _end(self) -> None:
        """Have the thread end."""
        self._orders.put(self._stopping.set)

    def start(self) -> Self:
        """Watch; the view of the same name that does so already is stopped."""
        before = self._watching.pop(self._name, None)
        if before is not None:
            before._farewell = REPLACED  # noqa: SLF001 - of the same family
            before._end()  # noqa: SLF001
            # One that waits for an answer that does not come ends after it; a cell that is run again need not wait.
            before._thread.join(_BEFORE_SECONDS)  # noqa: SLF001
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


@atexit.register
def _end_all() -> None:
    """A kernel that ends: no thread may draw in what is being taken down."""
    views = list(Watching._watching.values())  # noqa: SLF001 - of this module
    for view in views:
        view._end()  # noqa: SLF001
    give_up = time.monotonic() + _LAST_SECONDS
    for view in views:
        view._thread.join(max(0.0, give_up - time.monotonic()))  # noqa: SLF001
