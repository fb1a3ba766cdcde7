"""Frames for a video: the next stretch of the road that the car drives, or a folder of one's own frames.

The road is filmed stretch by stretch: video n shows the n-th one of the drive, and after the last the first again. So
a module that is restarted goes on where it was, and whoever knows seed, weather and times can render the same frames
with their ground truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from iotedge_lab.camera.frames import FrameFolder
from iotedge_lab.camera.scene import Scene
from iotedge_lab.car import drives

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from simulator_camera.settings import Settings

    Frame = NDArray[np.uint8]


class Film(Protocol):
    """Where frames come from."""

    def frames(self, number: int, settings: Settings) -> Iterator[Frame]:
        """Those of the video of that number, from 1 on."""
        ...

    def about(self) -> dict[str, Any]:
        """What a message says of the frames that were last given."""
        ...


def open_film(settings: Settings, base: Path) -> Film:
    """The film of these settings; paths are relative to `base`. Raises DataError, UsageError, EnvironmentProblem."""
    if settings.road:
        return Road(settings, base)
    return Folder(FrameFolder(base / settings.frames))


class Road:
    """The rendered road. Takes a second or two to be made."""

    def __init__(self, settings: Settings, base: Path) -> None:
        rows = list(drives.rows(base / settings.drive))
        self._scene = Scene(
            rows,
            seed=settings.seed,
            weather=settings.weather,  # type: ignore[arg-type] # one of them: the table has checked it
            width=settings.width,
            height=settings.height,
            empty=settings.empty,
        )
        self._drive = Path(settings.drive).name
        self._about: dict[str, Any] = {}

    def frames(self, number: int, settings: Settings) -> Iterator[Frame]:
        """The stretch of that number."""
        whole = self._scene.seconds
        stretches = max(1, math.floor(whole / settings.longest))
        begin = (number - 1) % stretches * settings.longest
        self._about = {
            "drive": self._drive,
            "seed": settings.seed,
            "weather": settings.weather,
            "begin": round(begin, 3),
            "end": round(min(whole, begin + settings.longest), 3),
        }
        for picture in self._scene.frames(settings.rate_in, begin, settings.longest):
            yield picture.image

    def about(self) -> dict[str, Any]:
        """Which drive, and what of it: from `begin` to `end`, in the drive's seconds."""
        return dict(self._about)


@dataclass(slots=True)
class Folder:
    """A folder of frames: all of them for each video, or as many as its longest time holds."""

    folder: FrameFolder
    _count: int = field(default=0, init=False)

    def frames(self, number: int, settings: Settings) -> Iterator[Frame]:  # noqa: ARG002 - as every film's
        """All that are pictures."""
        self.folder.broken.clear()
        self._count = 0
        for each in islice(self.folder.frames(), max(1, math.floor(settings.longest * settings.rate_in))):
            self._count += 1
            yield each.image

    def about(self) -> dict[str, Any]:
        """How many pictures there were, and how many files were none."""
        return {"pictures": self._count, "broken": len(self.folder.broken)}
