"""The camera filter's last picture, live: the frame in which something was told last, with its boxes.

    view = camera_view.watch(folder)    # the module's folder of pictures: `last.jpg` and one for each of the newest
    view                                # the widget
    view.now()                          # its plain-call twin: the picture as it is now

Pictures never leave the device as telemetry; this looks into the device's own folder, as a person beside it would.
"""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from iotedge_lab.errors import DataError
from iotedge_lab.show.pane import Image, PicturePane
from iotedge_lab.show.polled import EVERY, PolledView, counted, local_time

if TYPE_CHECKING:
    import os

LAST: Final = "last.jpg"
WIDTH: Final = 640
"""CSS pixels that a picture is wide at the most."""

_SENT: Final = 960  # pixels: a wider frame is shrunk before it goes to the browser, and into a notebook
_QUALITY: Final = 85
_NOTHING: Final = "Nothing has been told yet, so there is no picture."


@dataclass(frozen=True, slots=True)
class Shown:
    """A JPEG with its alternative text."""

    content: bytes
    alt: str
    size: tuple[int, int] = (WIDTH, WIDTH * 9 // 16)
    """CSS pixels, width and height"""

    def __repr__(self) -> str:
        return f"Shown({self.alt})"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.content).decode()
        return (
            f"<figure style='margin:0'><img alt='{html.escape(self.alt, quote=True)}' "
            f"src='data:image/jpeg;base64,{data}' style='max-width:{WIDTH}px;width:100%'></figure>"
        )


class CameraView(PolledView[Image]):
    """A view onto a folder of pictures; see `PolledView`. `pictures` counts how many different ones it has shown."""

    css: ClassVar[str] = "iotedge-camera"

    def __init__(self, folder: Path, *, name: str, every: float = EVERY) -> None:
        super().__init__(PicturePane(_NOTHING), name=name, every=every)
        self._folder = folder
        self._state: tuple[int, int] | None = None
        self.pictures = 0

    def now(self) -> Shown:
        """The last picture. Raises `DataError` where there is none yet."""
        return picture(self._folder)

    def _look(self) -> Image | None:
        try:
            found = (self._folder / LAST).stat()
        except FileNotFoundError:
            return None
        state = (found.st_mtime_ns, found.st_size)
        if state == self._state:
            return None
        shown = picture(self._folder)
        self._state = state
        self.pictures += 1
        return Image(shown.content, shown.alt, *shown.size, kind="jpeg")

    def _report(self) -> str:
        if self._state is None:
            return ""
        return f"{counted(self.pictures, 'pictures')}, the last of {local_time(self._state[0] / 1e9)}."


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
    fitted, size = _fitted(content)
    return Shown(
        fitted,
        f"The camera's frame in which an event{told} was told last, with boxes round what was found",
        size,
    )


def _fitted(content: bytes) -> tuple[bytes, tuple[int, int]]:
    """A JPEG no wider than is of use, and how large it is to be shown. Raises `DataError` for what is none."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(content)) as found:
            width, height = found.size
            if width > _SENT:
                made = io.BytesIO()
                found.resize((_SENT, max(1, round(height * _SENT / width)))).save(
                    made, "JPEG", quality=_QUALITY
                )
                content = made.getvalue()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{LAST} is no picture: {error}. The filter writes it anew with the next event."
        ) from error
    shown = min(width, WIDTH)
    return content, (shown, max(1, round(height * shown / width)))


def watch(folder: str | os.PathLike[str], *, name: str = "camera", every: float = EVERY) -> CameraView:
    """A view that watches a folder of pictures from now on; see `CameraView`."""
    return CameraView(Path(folder), name=name, every=every).start()
