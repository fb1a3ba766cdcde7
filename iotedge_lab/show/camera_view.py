"""The camera filter's last picture, live: the frame in which something was told last, with its boxes.

    view = camera_view.watch(folder)    # the module's folder of pictures: `last.jpg` and one for each of the newest
    view                                # the widget
    view.now()                          # its plain-call twin: the picture as it is now

Pictures never leave the device as telemetry; this looks into the device's own folder, as a person beside it would.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from iotedge_lab.errors import DataError
from iotedge_lab.show.polled import EVERY, PolledView

if TYPE_CHECKING:
    import os

LAST: Final = "last.jpg"
_WIDTH: Final = 640


@dataclass(frozen=True, slots=True)
class Shown:
    """A JPEG with its alternative text."""

    content: bytes
    alt: str

    def __repr__(self) -> str:
        return f"Shown({self.alt})"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.content).decode()
        return (
            f"<figure style='margin:0'><img alt='{html.escape(self.alt, quote=True)}' "
            f"src='data:image/jpeg;base64,{data}' style='max-width:{_WIDTH}px;width:100%'></figure>"
        )


class CameraView(PolledView):
    """A view onto a folder of pictures; see `PolledView`. `pictures` counts how many different ones it has shown."""

    css: ClassVar[str] = "iotedge-camera"

    def __init__(self, folder: Path, *, name: str, every: float = EVERY) -> None:
        super().__init__(name=name, every=every)
        self._folder = folder
        self._seen_state: tuple[int, int] | None = None
        self._html = ""
        self.pictures = 0

    def now(self) -> Shown:
        """The last picture. Raises `DataError` where there is none yet."""
        return picture(self._folder)

    def _look(self) -> str:
        try:
            found = (self._folder / LAST).stat()
        except OSError:
            return "<p>nothing has been told yet, so there is no picture</p>"
        state = (found.st_mtime_ns, found.st_size)
        if state != self._seen_state:
            self._html = picture(self._folder)._repr_html_()
            self._seen_state = state
            self.pictures += 1
        return self._html


def picture(folder: Path) -> Shown:
    """The last picture of a folder, and what the newest event in it was. Raises `DataError` where there is none."""
    try:
        content = (folder / LAST).read_bytes()
    except OSError as error:
        raise DataError(
            f"There is no picture in {folder} yet: the filter writes {LAST} when it tells something."
        ) from error
    beside = sorted(
        (each for each in folder.glob("*.jpg") if each.name != LAST), key=lambda each: each.stat().st_mtime_ns
    )
    label = beside[-1].stem.rpartition("-")[2] if beside else ""
    told = f" of {label}" if label and not label.isdigit() else ""
    return Shown(
        content, f"The camera's frame in which an event{told} was told last, with boxes round what was found"
    )


def watch(folder: str | os.PathLike[str], *, name: str = "camera", every: float = EVERY) -> CameraView:
    """A view that watches a folder of pictures from now on; see `CameraView`."""
    return CameraView(Path(folder), name=name, every=every).start()
