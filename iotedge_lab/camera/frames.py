"""A folder of frames of one's own, in place of the rendered road: PNG or JPEG, any size, odd ones too.

Frames come in the order in which a person counts their names (2 before 10). A file that is cut short or is no
picture is told by its name and left out; the others are read.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.libraries import library
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

cv2 = library("cv2")

SUFFIXES: Final = (".png", ".jpg", ".jpeg")
MOST_BYTES: Final = 100_000_000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NamedFrame:
    """One picture: where it came from, and its pixels in OpenCV's order BGR."""

    path: Path
    image: NDArray[np.uint8]


@dataclass(slots=True)
class FrameFolder:
    """The pictures in a folder. `broken` fills, while they are read, with what is wrong with each file left out.

    Raises DataError for a folder that is not there or has no PNG and no JPEG in it.
    """

    path: Path
    broken: dict[str, str] = field(default_factory=dict)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.broken = {}
        self.files()

    def files(self) -> list[Path]:
        """The files that should be pictures, in order; what begins with a dot is not looked at."""
        try:
            names = [each for each in self.path.iterdir() if each.suffix.lower() in SUFFIXES]
        except FileNotFoundError as error:
            raise DataError(
                f"The folder {self.path} does not exist; check the path (the working folder is {Path.cwd()})."
            ) from error
        except NotADirectoryError as error:
            raise DataError(f"{self.path} is a file; name the folder that the frames are in.") from error
        except OSError as error:
            raise DataError(f"The folder {self.path} cannot be read: {error.strerror}.") from error
        found = sorted((each for each in names if not each.name.startswith(".")), key=_counted)
        if not found:
            raise DataError(
                f"The folder {self.path} has no frames: no file in it ends in {', '.join(SUFFIXES)}."
            )
        return found

    def frames(self) -> Iterator[NamedFrame]:
        """Each picture in order. Raises DataError at the end if not one of the files was a picture."""
        good = 0
        for path in self.files():
            try:
                image = read_picture(path)
            except DataError as error:
                self.broken[path.name] = str(error)
                log.warning("left out: %s", error)
                continue
            good += 1
            yield NamedFrame(path, image)
        if not good:
            names = ", ".join(list(self.broken)[:3])
            raise DataError(
                f"Not one file in {self.path} is a picture ({names} ...); export the frames again."
            )


def read_picture(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """A PNG or JPEG as rows x columns x 3 bytes (BGR); grey, 16 bits and alpha become that too.

    Raises DataError, with the file's name, for what is missing, cut short or no picture.
    """
    source = Path(path)
    try:
        if source.stat().st_size > MOST_BYTES:
            raise DataError(
                f"{source.name} has more than {MOST_BYTES // 1_000_000} MB: make the picture smaller."
            )
        data = source.read_bytes()
    except OSError as error:
        raise DataError(f"{source.name} cannot be read: {error.strerror}.") from error
    if not data:
        raise DataError(f"{source.name} is empty; export the frame again.")
    if data.startswith(_PNG):
        whole = b"IEND" in data[-32:]
    elif data.startswith(_JPEG):
        whole = b"\xff\xd9" in data[-4096:]  # some cameras write notes behind the end
    else:
        raise DataError(f"{source.name} is no PNG and no JPEG, whatever its name says; convert it.")
    if not whole:
        raise DataError(f"{source.name} is cut short; copy or export it again.")
    image: Any = None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DataError(f"{source.name} cannot be decoded ({error.err}); export it again.") from error
    if image is None:
        raise DataError(f"{source.name} cannot be decoded; export it again.")
    decoded: NDArray[np.uint8] = image
    return decoded


def _counted(path: Path) -> list[tuple[int, int, str]]:
    """A key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(1, int(each), "") if each.isdecimal() else (0, 0, each) for each in parts]
