"""A video as a notebook shows it: a player that is linked to the file, so that the notebook stays small.

    video.folder()                                 # where a notebook's videos lie: videos/ beside it
    video.player(path, "A minute of road.")        # plays what lies there

JupyterLab serves what lies in the notebook's folder or below it, and nothing else. So videos go into `videos/` there,
which git is told to pass over. A browser plays VP8 in WebM, and H.264; not mp4v, which OpenCV writes as well.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

NAME: Final = "videos"

# As OpenCV names what it finds in a file: VP8 and VP9, AV1, H.264.
_PLAYED: Final = frozenset({"VP80", "VP90", "AV01", "avc1", "h264", "H264", "x264"})
_WIDEST: Final = 640


@dataclass(frozen=True, slots=True)
class Player:
    """A player linked to a file; the value of a cell. Its text form says what the video shows."""

    alt: str
    source: str
    width: int
    height: int
    poster: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"<Player: {self.alt} ({self.source})>"

    def _repr_html_(self) -> str:
        link = quote(self.source)
        data = base64.b64encode(self.poster).decode("ascii")
        label = html.escape(self.alt)
        return (
            f'<figure style="margin:0"><video controls loop muted playsinline preload="metadata" '
            f'width="{self.width}" height="{self.height}" aria-label="{label}" '
            f'poster="data:image/jpeg;base64,{data}" src="{link}" style="max-width:100%;height:auto"></video>'
            f'<figcaption style="font-size:90%">{label} '
            f'<a href="{link}">{html.escape(self.source)}</a>: there once this cell has run.</figcaption></figure>'
        )


def folder(name: str = NAME, *, beside: Path | None = None) -> Path:
    """The folder for a notebook's videos, made if need be; git passes over what is in it.

    `beside`: the notebook's folder; by itself the working folder, which is where a notebook's kernel runs.
    """
    made = (beside or Path.cwd()) / name
    made.mkdir(parents=True, exist_ok=True)
    (made / ".gitignore").write_text("*\n", encoding="utf-8")
    return made


def player(path: str | os.PathLike[str], alt: str, *, beside: Path | None = None) -> Player:
    """A player for a video that lies in the notebook's folder or below; `alt` says what is to be seen.

    Raises `UsageError` where JupyterLab could not serve the file, or a browser not play it, and `DataError` for a
    file that is missing or no video.
    """
    here = (beside or Path.cwd()).resolve()
    source = Path(path).resolve()
    if not alt.strip():
        raise UsageError("a video without words; say in a sentence what it shows")
    if not source.is_relative_to(here):
        raise UsageError(
            f"{source.name} lies outside the notebook's folder, and JupyterLab serves nothing from there; "
            "write it into video.folder(), or copy it there"
        )
    first, codec = _opened(source)
    if codec not in _PLAYED:
        raise UsageError(
            f"{source.name} is coded as {codec or 'something unknown'}, which no browser plays; write it with "
            'codec_name="vp8" as a .webm file'
        )
    height, width = first.shape[:2]
    shown = min(width, _WIDEST)
    return Player(
        alt.strip(),
        source.relative_to(here).as_posix(),
        shown,
        max(1, round(height * shown / width)),
        _poster(first),
    )


def _opened(source: Path) -> tuple[NDArray[np.uint8], str]:
    """The first frame, and how the file is coded. Raises `DataError`."""
    from iotedge_lab.camera.codecs import cv2, open_reader
    from iotedge_lab.camera.video import read_video

    first = next(read_video(source)).image
    reader = open_reader(source)
    try:
        code = int(reader.get(cv2.CAP_PROP_FOURCC))
    finally:
        reader.release()
    return first, code.to_bytes(4, "little", signed=False).decode("ascii", "replace").strip("\x00 ")


def _poster(first: Any) -> bytes:
    """The picture that stands there until the video is played: small, since it lies in the notebook."""
    from iotedge_lab.show.frames import frame

    return frame(first, "poster", width=400).jpeg
