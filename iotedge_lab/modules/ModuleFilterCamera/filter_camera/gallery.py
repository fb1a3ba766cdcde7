"""Pictures for a person to see, on the device's own disk, with all that was found in them.

`last.jpg` is the last frame in which something was told; beside it lies one frame for each of the newest events.

Made on the sending thread and not while frames are looked at: a JPEG takes as long as a tenth of the detector's look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.camera.pictures import Pictures, annotated
from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.camera.looking import Picture


class Gallery:
    """The folder. `problem` says why the last picture could not be written, None where it could."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._pictures = Pictures(folder, keep)
        self.problem: str | None = None

    def hang(self, label: str, picture: Picture, plate: str = "") -> None:
        """The frame in which an event of that label was seen best."""
        boxes = [(f"{each.label} {each.score:.2f}", each.box) for each in picture.found]
        drawn = annotated(picture.image, boxes, picture.scale, note=plate)
        try:
            self._pictures.add(label, drawn)
            self._pictures.show(drawn)
        except EnvironmentProblem as error:
            self.problem = str(error)
        else:
            self.problem = None
