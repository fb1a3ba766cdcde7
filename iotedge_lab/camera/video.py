"""Frames to video files and back, as the camera of the series' third part does it.

There ffmpeg made a video from still pictures (`-framerate 1`, 30 frames a second out, padded to even sizes), into a
folder that modules share, again every 60 seconds. Here a file is written under a name that begins with a dot and
renamed when it is whole: a reader of the folder never sees half a file. The reader follows the folder, gives each
frame with its time, and goes on to the next file where one is cut short or is no video, which it tells.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.codecs import VIDEO_SUFFIXES, codec, cv2, open_encoder, open_reader
from iotedge_lab.clock import SystemClock
from iotedge_lab.errors import DataError, EnvironmentProblem, UsageError

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from iotedge_lab.clock import Clock

    Frame = NDArray[np.uint8]

FPS: Final = 30.0  # of the files, as the blog's
RATE: Final = 1.0  # frames a second that come in there
EVERY: Final = 60.0  # s between two videos there
LOOK_EVERY: Final = 0.5  # s between two looks into a folder

State = tuple[int, int, int]
"""Of a file: when it was changed (ns), how long it is, and which it is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video that was written."""

    path: Path
    frames: int
    """in the file; repeated ones count"""
    seconds: float
    width: int
    height: int
    size: int
    """bytes"""


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame that was read; `number` counts from 0, `seconds` from the video's begin."""

    path: Path
    number: int
    seconds: float
    image: Frame


def write_video(
    frames: Iterable[Frame],
    path: str | os.PathLike[str],
    *,
    rate: float = RATE,
    fps: float = FPS,
    codec_name: str = "mp4v",
) -> VideoFile:
    """A video of the frames, of which `rate` are shown a second; the file has `fps`, with frames repeated or left out.

    The first frame gives the size, padded to even numbers; others are fitted into it. Raises UsageError for no
    frames, another kind of array, a rate or a suffix that makes no sense, EnvironmentProblem where the file cannot
    be written. What was at `path` before stays until the new file is whole.
    """
    chosen, target = codec(codec_name), Path(path)
    if not (0.0 < rate <= 1000.0 and 0.0 < fps <= 240.0):
        raise UsageError(
            f"A video has more than 0 frames a second, and at most 240, not {rate:g} at {fps:g}."
        )
    if target.suffix.lower() != chosen.suffix:
        raise UsageError(
            f"A video in {chosen.name} is a {chosen.suffix} file; name it {target.stem}{chosen.suffix}."
        )
    part = target.with_name(f".{target.stem}.part{chosen.suffix}")
    encoder = None
    written, width, height = 0, 0, 0
    try:
        try:
            for number, each in enumerate(frames):
                _check(each, number)
                if encoder is None:
                    height, width = (size + size % 2 for size in each.shape[:2])
                    encoder = open_encoder(chosen, part, (width, height), fps)
                laid = fitted(each, width, height)
                # Frame n is shown until (n + 1) / rate: as many of the file's frames as end by then.
                until = math.floor((number + 1) * fps / rate + 1e-6)
                for _ in range(until - written):
                    encoder.write(laid)
                written = max(written, until)
            if encoder is not None and written == 0:
                encoder.write(laid)
                written = 1
        finally:
            if encoder is not None:
                encoder.close()
        if encoder is None:
            raise UsageError("A video needs one frame at least, and there was none.")
        _check_written(part, written)
        part.replace(target)
        size = target.stat().st_size
    except OSError as error:
        raise EnvironmentProblem(
            f"{target} cannot be written: {error.strerror}. Make room, or name another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder any more
            part.unlink(missing_ok=True)
    return VideoFile(target, written, written / fps, width, height, size)


def fitted(frame: Frame, width: int, height: int) -> Frame:
    """The frame on a picture of that size: as it is where it lacks a pixel at most, else shrunk or enlarged."""
    rows, columns = frame.shape[:2]
    if (columns, rows) == (width, height):
        return frame
    if not (0 <= width - columns <= 1 and 0 <= height - rows <= 1):
        scale = min(width / columns, height / rows)
        shape = (max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale))))
        frame = cv2.resize(frame, shape, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)
        rows, columns = frame.shape[:2]
    laid: Frame = np.zeros((height, width, 3), np.uint8)
    laid[:rows, :columns] = frame
    return laid


def _check(frame: Any, number: int) -> None:
    shape: tuple[int, ...] = getattr(frame, "shape", ())
    if len(shape) != 3 or shape[2] != 3 or frame.dtype != np.uint8 or 0 in shape:
        raise UsageError(
            f"Frame {number} is no picture: rows x columns x 3 bytes (BGR) are needed, "
            f"not {getattr(frame, 'dtype', type(frame).__name__)} {shape}."
        )


def _check_written(path: Path, frames: int) -> None:
    """OpenCV says nothing of a full disk: so the file is opened, and asked for its frames."""
    reader = open_reader(path)
    try:
        there = max(0, round(reader.get(cv2.CAP_PROP_FRAME_COUNT))) if reader.isOpened() else 0
    finally:
        reader.release()
    if there < frames - 1:  # WebM rounds its length to milliseconds
        raise EnvironmentProblem(
            f"The video was not written whole ({there} of {frames} frames). Is the disk full? Then make room."
        )


class Recorder:
    """Writes a video into a folder, again and again; the newest `keep` of them stay, as far as they fit `most_bytes`.

    frames: makes the frames anew for each video. The files are called PREFIX-000001, -000002, ... and go on from
    those that are there, in whatever codec these are. Raises EnvironmentProblem where the folder cannot be made.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        frames: Callable[[], Iterable[Frame]],
        *,
        prefix: str = "video",
        keep: int = 5,
        most_bytes: float = math.inf,
        rate: float = RATE,
        fps: float = FPS,
        codec_name: str = "mp4v",
        clock: Clock | None = None,
    ) -> None:
        if keep < 1:
            raise UsageError(f"At least one video is kept, not {keep}.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", prefix):
            raise UsageError(f"A prefix is made of letters, digits, '_', '.' and '-', not {prefix!r}.")
        self.folder = Path(folder)
        self._frames, self._keep, self._rate, self._fps = frames, keep, rate, fps
        self._most_bytes = most_bytes
        self._codec = codec(codec_name)
        suffixes = "|".join(re.escape(each) for each in VIDEO_SUFFIXES)
        self._pattern = re.compile(rf"{re.escape(prefix)}-(\d{{6,}})(?:{suffixes})")
        self._half = re.compile(rf"\.{re.escape(prefix)}-\d{{6,}}\.part(?:{suffixes})")
        self._prefix = prefix
        self._clock = clock or SystemClock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(
                f"The videos' folder {self.folder} cannot be used: {error.strerror}. Name another one."
            ) from error

    def _mine(self) -> list[tuple[int, Path]]:
        """The videos of this name, by number."""
        try:
            listed = list(self.folder.iterdir())
        except OSError:  # gone meanwhile: `write_video` says what to do
            return []
        return sorted(
            (int(found[1]), each) for each in listed if (found := self._pattern.fullmatch(each.name))
        )

    def next_number(self) -> int:
        """The number of the next video."""
        mine = self._mine()
        return mine[-1][0] + 1 if mine else 1

    def path(self, number: int) -> Path:
        """The path of the video of that number."""
        return self.folder / f"{self._prefix}-{number:06d}{self._codec.suffix}"

    def sweep(self) -> None:
        """Remove what a recorder that was killed left half written. Not while another one of this prefix writes."""
        with contextlib.suppress(OSError):
            for each in self.folder.iterdir():
                if self._half.fullmatch(each.name):
                    each.unlink(missing_ok=True)

    def record(self) -> VideoFile:
        """One more video. Raises as `write_video` does."""
        path = self.path(self.next_number())
        video = write_video(self._frames(), path, rate=self._rate, fps=self._fps, codec_name=self._codec.name)
        self.trim()
        return video

    def trim(self) -> None:
        """Remove what is too much, the oldest first; the newest one always stays."""
        room = self._most_bytes
        for place, (_, path) in enumerate(reversed(self._mine())):
            with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove: nothing to be done
                room -= path.stat().st_size
                if place >= self._keep or (place > 0 and room < 0):
                    path.unlink()

    def run(
        self, stop: threading.Event, every: float = EVERY, told: Callable[[VideoFile], None] = lambda _: None
    ) -> None:
        """A video every so many seconds, from begin to begin, until `stop`; one that takes longer is followed at once.

        Where the machine does not let one be written (a full disk), that is logged, and the next one is tried.
        """
        self.sweep()
        due = self._clock.monotonic()
        while not stop.is_set():
            try:
                told(self.record())
            except EnvironmentProblem as error:
                log.warning("no video this time: %s", error)
            due = max(due + every, self._clock.monotonic())
            stop.wait(max(0.0, due - self._clock.monotonic()))


def read_video(path: str | os.PathLike[str]) -> Iterator[VideoFrame]:
    """Each frame of a video with its time.

    Raises DataError, at the first frame, for a file that is missing, no video or unreadable, and after the last
    one that could be read for a file that is cut short.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(
            f"The video {source} does not exist; check the path (the working folder is {Path.cwd()})."
        )
    reader = open_reader(source)
    try:
        if not reader.isOpened():
            raise DataError(f"{source.name} is no video, or was cut short before its end was written.")
        promised = reader.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = reader.get(cv2.CAP_PROP_FPS)
        fps = fps if 0.0 < fps < 1000.0 else FPS
        number, before = 0, -1.0
        while True:
            good, image = reader.read()
            if not good:
                break
            seconds = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if not seconds > before:  # some files carry no times
                seconds = number / fps
            before = seconds
            yield VideoFrame(source, number, seconds, image)
            number += 1
    finally:
        reader.release()
    if number == 0:
        raise DataError(f"{source.name} has no frame that can be read; it is damaged or cut short.")
    if number < promised - 1:
        raise DataError(
            f"{source.name} is cut short or damaged: {number} of {promised:.0f} frames could be read."
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be read, or not to its end, and why."""

    path: Path
    reason: str


class FolderReader:
    """Reads the videos in a folder, the oldest first, and then each one that comes or is replaced.

    What begins with a dot is still being written, and what does not end like a video is none: neither is looked
    at. A file that cannot be opened is looked at again when it has changed, so that a writer that does not rename
    is waited for; it is told as a `Problem` when it has stayed the same for a whole look.
    """

    def __init__(
        self, folder: str | os.PathLike[str], told: Callable[[Problem], None] = lambda _: None
    ) -> None:
        self.folder = Path(folder)
        self.problems = 0
        self._told = told
        self._done: dict[str, State] = {}
        self._waiting: dict[str, State] = {}

    @property
    def done(self) -> dict[str, State]:
        """The files that were read, or have begun to be, by name, each with the state that it was in."""
        return dict(self._done)

    def remember(self, done: Mapping[str, State]) -> None:
        """These were read before, as `done` told it then."""
        self._done.update(done)

    def forget(self, name: str | None = None) -> None:
        """Read that file again, or all of them."""
        if name is None:
            self._done.clear()
        else:
            self._done.pop(name, None)

    def poll(self) -> Iterator[VideoFrame]:
        """The frames of all that is new now. A folder that is not there (yet) has nothing new."""
        for path, state in self._new():
            name = path.name
            first = None
            try:
                for frame in read_video(path):
                    first = first or frame
                    # Before the frame is given away: who stops in the middle does not get the file again.
                    self._done[name] = state
                    yield frame
            except DataError as error:
                if first is None and self._waiting.get(name) != state:
                    self._waiting[name] = state  # perhaps somebody still writes to it
                    continue
                self._done[name] = state
                self.problems += 1
                log.warning("%s", error)
                self._told(Problem(path, str(error)))
            self._waiting.pop(name, None)

    def follow(self, stop: threading.Event, look_every: float = LOOK_EVERY) -> Iterator[VideoFrame]:
        """The frames of what is there and of what comes, until `stop` is set."""
        while not stop.is_set():
            for frame in self.poll():
                yield frame
                if stop.is_set():
                    return
            stop.wait(look_every)

    def _new(self) -> list[tuple[Path, State]]:
        """Files that have not been read in the state that they are in, the oldest first."""
        found = []
        there = set()
        try:
            listed = list(self.folder.iterdir())
        except OSError:
            return []
        for path in listed:
            if path.name.startswith(".") or path.suffix.lower() not in VIDEO_SUFFIXES:
                continue
            try:
                facts = path.stat()
            except OSError:  # gone meanwhile
                continue
            there.add(path.name)
            state = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if self._done.get(path.name) != state:
                found.append((path, state))
        for known in (self._done, self._waiting):
            for name in set(known) - there:  # nothing is kept in mind of what is gone
                del known[name]
        return sorted(found, key=lambda each: (each[1][0], each[0].name))
