"""The video codecs that are really here: tried by writing a few frames, not taken from a list.

OpenCV's wheels write MPEG-4 Part 2 (mp4v), Motion JPEG and VP8; they read H.264 and do not write it. The blog's
videos are H.264: PyAV writes it, where it is installed (`pip install av`; not a dependency). Of these a browser plays
VP8 and H.264.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from iotedge_lab.camera.libraries import library
from iotedge_lab.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# FFmpeg's own lines about every odd file would go to the terminal past all logging. Read when it is first used.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2 = library("cv2")


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to write a video."""

    name: str
    suffix: str
    fourcc: str
    """empty: not by OpenCV but by PyAV"""
    browser: bool
    """whether browsers play it"""


CODECS: Final[Mapping[str, Codec]] = {
    each.name: each
    for each in (
        Codec("mp4v", ".mp4", "mp4v", browser=False),
        Codec("mjpg", ".avi", "MJPG", browser=False),
        Codec("vp8", ".webm", "VP80", browser=True),
        Codec("h264", ".mp4", "", browser=True),
    )
}
VIDEO_SUFFIXES: Final = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v")


class Encoder(Protocol):
    """Takes frames of one even size, one after another."""

    def write(self, frame: Any) -> None:
        """One frame."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


def codec(name: str) -> Codec:
    """The codec of that name. Raises UsageError where there is none."""
    if name not in CODECS:
        raise UsageError(f"There is no codec {name!r}; take one of {', '.join(CODECS)}.")
    return CODECS[name]


def open_encoder(chosen: Codec, path: Path, size: tuple[int, int], fps: float) -> Encoder:
    """An encoder into that file; `size` is width, height. Raises EnvironmentProblem where it cannot be had."""
    return _PyAv(path, size, fps) if not chosen.fourcc else _OpenCv(chosen, path, size, fps)


def open_reader(path: Path) -> Any:
    """OpenCV's reader of that file, opened or not; what it thinks of the file is not for the terminal."""
    with _unlogged():
        return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)


@lru_cache(maxsize=1)
def working_codecs() -> tuple[str, ...]:
    """The names of the codecs that write here what can be read again, tried once."""
    found = []
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-codec-") as folder:
        for chosen in CODECS.values():
            if not chosen.fourcc and find_spec("av") is None:
                continue
            if _works(chosen, Path(folder) / f"{chosen.name}{chosen.suffix}"):
                found.append(chosen.name)
    return tuple(found)


def _works(chosen: Codec, path: Path) -> bool:
    try:
        encoder = open_encoder(chosen, path, (64, 48), 30.0)
        for shade in (40, 120, 200):
            encoder.write(np.full((48, 64, 3), shade, np.uint8))
        encoder.close()
    except EnvironmentProblem:
        return False
    reader = open_reader(path)
    try:
        return bool(reader.isOpened() and reader.read()[0])
    finally:
        reader.release()


class _OpenCv:
    def __init__(self, chosen: Codec, path: Path, size: tuple[int, int], fps: float) -> None:
        fourcc = cv2.VideoWriter_fourcc(*chosen.fourcc)
        with _quiet():  # the folder may be read-only, too
            self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, size)
        if not self._writer.isOpened():
            raise EnvironmentProblem(
                f"A video cannot be written as {chosen.name} to {path.parent}: the folder cannot be written to, or "
                "this OpenCV lacks the codec (working_codecs() says which it has)."
            )

    def write(self, frame: Any) -> None:
        with _unlogged():  # a full disk is found, and said, when the file is looked at
            self._writer.write(frame)

    def close(self) -> None:
        with _unlogged():
            self._writer.release()


class _PyAv:
    """H.264 with the blog's pixel format, yuv420p."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        from fractions import Fraction

        self._av = library("av")
        try:
            self._file = self._av.open(str(path), "w")
            self._stream = self._file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            raise EnvironmentProblem(
                f"A video cannot be written as h264 to {path.parent}: {error}."
            ) from error
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1

    def write(self, frame: Any) -> None:
        for packet in self._stream.encode(self._av.VideoFrame.from_ndarray(frame, format="bgr24")):
            self._file.mux(packet)

    def close(self) -> None:
        for packet in self._stream.encode():
            self._file.mux(packet)
        self._file.close()


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """OpenCV's own log turned off for a moment: it goes to the terminal, past all logging."""
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Standard error turned away for a moment: OpenCV writes a line there for VP8 that no setting stops."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    try:
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
