"""Pictures for a person to see: boxes drawn on frames, and a folder that keeps the newest few of them.

What is sent upstream has no picture. On the device's own disk lies the last frame in which something was found,
`last.jpg`, and one frame for each of the newest events; older ones are removed.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.camera.boxes import scaled
from iotedge_lab.camera.libraries import library
from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from iotedge_lab.camera.boxes import Box

    Frame = NDArray[np.uint8]

cv2 = library("cv2")

LAST: Final = "last.jpg"
QUALITY: Final = 85
COLOURS: Final = {
    "Car": (0, 180, 255),
    "Vehicle": (255, 160, 60),
    "Person": (120, 230, 60),
    "Bicycle": (230, 110, 230),
}  # BGR
OTHER: Final = (235, 235, 235)
_KEPT: Final = re.compile(r"event-(\d{6,})-[A-Za-z_]+\.jpg")


def annotated(image: Frame, boxes: Iterable[tuple[str, Box]], scale: float = 1.0, note: str = "") -> Frame:
    """A copy of the frame with boxes and words on it, and a note in its corner; boxes are multiplied by `scale`."""
    drawn: Frame = image.copy()
    width = drawn.shape[1]
    thick = max(1, round(width / 640 * 1.5))
    size = max(0.4, width / 640 * 0.42)
    for words, box in boxes:
        left, top, right, bottom = scaled(box, scale).rounded()
        colour = COLOURS.get(words.partition(" ")[0], OTHER)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, thick, cv2.LINE_AA)
        (wide, high), base = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        foot = top - base if top - base - high > 0 else top + high + base
        begin = max(0, min(left, width - wide))
        cv2.rectangle(drawn, (begin, foot - high - 2), (begin + wide + 2, foot + base), colour, -1)
        cv2.putText(
            drawn, words, (begin + 1, foot), cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA
        )
    if note:
        (_, high), base = cv2.getTextSize(note, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        place = (4, high + base)
        cv2.putText(drawn, note, place, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 3, cv2.LINE_AA)
        cv2.putText(drawn, note, place, cv2.FONT_HERSHEY_SIMPLEX, size, OTHER, 1, cv2.LINE_AA)
    return drawn


class Pictures:
    """The folder. `keep`: how many events' frames stay; 0 keeps `last.jpg` alone."""

    def __init__(self, folder: str | os.PathLike[str], keep: int) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def show(self, image: Frame) -> Path:
        """The frame is the last one now. Raises EnvironmentProblem."""
        return self._write(self.folder / LAST, image)

    def add(self, label: str, image: Frame) -> Path | None:
        """A frame for an event; the path, or None where none are kept. Raises EnvironmentProblem."""
        kept = self._kept()
        number = kept[-1][0] + 1 if kept else 1
        path = self.folder / f"event-{number:06d}-{re.sub(r'[^A-Za-z]+', '_', label) or '_'}.jpg"
        added = [(number, self._write(path, image))] if self.keep else []
        whole = [*kept, *added]
        for _, old in whole[: max(0, len(whole) - self.keep)]:
            old.unlink(missing_ok=True)
        return path if self.keep else None

    def _kept(self) -> list[tuple[int, Path]]:
        try:
            listed = list(self.folder.iterdir())
        except OSError:
            return []
        return sorted((int(found[1]), each) for each in listed if (found := _KEPT.fullmatch(each.name)))

    def _write(self, path: Path, image: Any) -> Path:
        good, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
        assert good, "OpenCV writes JPEG"
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data.tobytes())
            part.replace(path)
        except OSError as error:
            _remove(part)
            raise EnvironmentProblem(
                f"The picture {path} cannot be written: {error.strerror}. Make room, or name another folder."
            ) from error
        return path


def _remove(part: Path) -> None:
    """Remove what was half written, if that can be."""
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
