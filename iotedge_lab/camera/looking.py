"""The camera filter's chain, without a hub: a frame goes through motion, the detector and de-duplication.

    frame ─► motion? ─► detector ─► classes, threshold, region ─► events
               └ no: what was there is there still

It keeps up: a video of ten seconds is looked through in about ten seconds. Where the machine is too slow for that,
frames are left out and counted, each as it comes, until the video's own time is reached again.

Without a detector there is motion only. It cannot tell one thing from another, nor what moves from a camera that
drives, so it does not try: as long as anything moves within the region that is one event with the label Motion, with
a box around all that changed and the share of the region that did as its score.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from iotedge_lab.camera.detector import Detection
from iotedge_lab.camera.events import GAP, LEAST_FRAMES, MOTION, Event, Events, News
from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.motion import LEAST, Motion
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iotedge_lab.camera.boxes import Box
    from iotedge_lab.camera.detector import Detector
    from iotedge_lab.camera.motion import Change, Frame
    from iotedge_lab.camera.video import VideoFrame

BEHIND: Final = 0.25  # s that it may be behind the video before it leaves frames out
WIDEST: Final = 1280  # pixels: a picture that is kept with an event is shrunk to that
WHOLE: Final = (0.0, 0.0, 1.0, 1.0)


class Fate(Enum):
    """What became of a frame."""

    LOOKED = "looked"  # the detector ran, or without one: something moved
    STILL = "still"  # nothing moved since the last one that was looked at
    SKIPPED = "skipped"  # too late already: only decoded


@dataclass(frozen=True, slots=True)
class Look:
    """A frame, looked through."""

    fate: Fate
    found: list[Detection] = field(default_factory=list)
    began: list[Event] = field(default_factory=list)
    ended: list[Event] = field(default_factory=list)
    share: float = 0.0
    """of the picture that moved"""
    spent: dict[str, float] = field(default_factory=dict)
    """seconds for motion, detector and events"""


@dataclass(slots=True)
class Counts:
    """Frames by their fate."""

    frames: int = 0
    looked: int = 0
    still: int = 0
    skipped: int = 0

    def add(self, fate: Fate) -> None:
        """One more."""
        self.frames += 1
        setattr(self, fate.value, getattr(self, fate.value) + 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame that is kept with an event, shrunk where it is very large: `scale` is what boxes are multiplied by."""

    image: Frame
    scale: float
    found: Sequence[Detection]
    """all that was found in it"""


class Looker:
    """Looks through videos, frame by frame.

    detector: None for motion only; region: left, top, right and bottom as shares of the frame, within which the
    centre of a box lies; motion: the share of the picture that has to change, 0 to look at every frame; keep_up:
    False to look at all frames however long it takes. Raises UsageError for a region that has no inside.
    """

    def __init__(
        self,
        detector: Detector | None,
        *,
        region: Sequence[float] = WHOLE,
        motion: float = LEAST,
        gap: float = GAP,
        least_frames: int = LEAST_FRAMES,
        keep_up: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.detector = detector
        self.keep_up = keep_up
        self.cut_out = False
        """whether each event keeps the picture of its thing where it was largest"""
        self.counts = Counts()
        self._motion = Motion(motion)
        self._events = Events(gap, least_frames)
        self._clock = clock
        self._began = 0.0
        self._shift = 0.0
        self.set_region(region)

    def set_region(self, region: Sequence[float]) -> None:
        """Where the centres of boxes have to lie. Raises UsageError."""
        if len(region) != 4 or not (
            0.0 <= region[0] < region[2] <= 1.0 and 0.0 <= region[1] < region[3] <= 1.0
        ):
            raise UsageError(
                f"A region is left, top, right and bottom as shares of the frame, such as 0, 0.5, 1, 1; not {region}."
            )
        self.region = tuple(float(each) for each in region)

    def set_motion(self, least: float) -> None:
        """The share of the picture that has to change."""
        self._motion.least = least

    def set_events(self, gap: float, least_frames: int) -> None:
        """When a thing has gone, and how often it has to be seen."""
        self._events.gap, self._events.least_frames = gap, least_frames

    @property
    def open(self) -> list[Event]:
        """The events that are not over."""
        return self._events.open

    def look(self, frame: VideoFrame) -> Look:
        """One frame; `number` 0 begins a video (after `end`, where there was one before)."""
        now = self._clock()
        if frame.number == 0:
            self._began, self._shift = now, frame.seconds
            self._motion.forget()
        behind = now - self._began - (frame.seconds - self._shift)
        if self.keep_up and behind > BEHIND:
            self.counts.add(Fate.SKIPPED)
            return Look(Fate.SKIPPED)
        change = self._motion.compare(frame.image)
        moved = self._motion.moved(change)
        after_motion = self._clock()
        spent = {"motion": after_motion - now}
        found: list[Detection] = []
        if moved:
            self._motion.keep()
            found = self._found(frame, change)
        after_detector = self._clock()
        if moved:
            spent["detector"] = after_detector - after_motion
            picture = _picture(frame.image, found) if found else None
            news = (
                self._events.update(frame.seconds, found, picture, partial(_cut, frame.image))
                if self.cut_out
                else self._events.update(frame.seconds, found, picture)
            )
        elif self.detector is None:  # what does not move is not there, as far as motion can tell
            news = self._events.update(frame.seconds, [])
        else:
            news = self._events.hold(frame.seconds)
        spent["events"] = self._clock() - after_detector
        fate = Fate.LOOKED if moved else Fate.STILL
        self.counts.add(fate)
        return Look(fate, found, news.began, news.ended, change.share, spent)

    def end(self) -> News:
        """The video is at its end: what was still there is over."""
        self._motion.forget()
        return self._events.close()

    def _found(self, frame: VideoFrame, change: Change) -> list[Detection]:
        if self.detector is not None:
            found = self.detector.detect(frame.image)
        elif frame.number == 0:
            found = []  # there was nothing to compare it with
        else:
            moving = change.around(self.region)
            return [Detection(MOTION, moving[1], moving[0])] if moving is not None else []
        if self.region == WHOLE:
            return found
        height, width = frame.image.shape[:2]
        return [each for each in found if self._inside(each.box, width, height)]

    def _inside(self, box: Box, width: int, height: int) -> bool:
        across, down = (box.left + box.right) / 2.0 / width, (box.top + box.bottom) / 2.0 / height
        left, top, right, bottom = self.region
        return left <= across <= right and top <= down <= bottom


def _picture(image: Frame, found: Sequence[Detection]) -> Picture:
    width = image.shape[1]
    if width <= WIDEST:
        return Picture(image, 1.0, found)
    cv2 = library("cv2")
    scale = WIDEST / width
    size = (WIDEST, max(1, round(image.shape[0] * scale)))
    return Picture(cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale, found)


def _cut(image: Frame, box: Box) -> Frame:
    left, top, right, bottom = box.rounded()
    return image[max(0, top) : bottom, max(0, left) : right].copy()
