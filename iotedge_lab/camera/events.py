"""De-duplication: boxes of many frames become events, one for each thing that was seen, with a first and a last time.

A box belongs to the event whose box, moved on as it moved before, it overlaps most, or lies close to where it is
small. A car and a vehicle may be one thing, as the detector is of two minds about some: they make one event, with the
label that it had more often and more surely. Who is not seen for a while has gone, and makes a new event when it
comes again. A box of a moment, in fewer than three frames, is no event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.camera.boxes import Box
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from iotedge_lab.camera.detector import Detection

GAP: Final = 1.0  # s without a sighting after which a thing has gone
LEAST_FRAMES: Final = 3  # sightings that make an event: fewer let boxes of a moment through
SAME: Final = 0.2  # overlap (intersection over union) from which on two frames' boxes are one thing
ONE: Final = 0.45  # overlap in one frame from which on a car and a vehicle are one thing
CLOSE: Final = 0.6  # of a box's mean side: how far its centre may be from where it is expected, for the same
GROWTH: Final = 1.8  # how much larger or smaller a side of the same thing may be then
FOLLOW: Final = 0.5  # how fast the speed of a box is believed, 0 to 1
MOTION: Final = "Motion"  # a label without a shape: as long as anything moves it is one event
FAMILIES: Final[Mapping[str, str]] = {"Vehicle": "Car"}


@dataclass(slots=True)
class Event:
    """One thing, seen from `first` to `last` (s from the video's begin)."""

    number: int
    """counts the events of a video from 1, in the order in which they began"""
    label: str
    score: float
    """the best one, with the box of that frame and its time"""
    box: Box
    time: float
    first: float
    last: float
    frames: int = 1
    """in which it was seen, those included in which nothing moved"""
    picture: Any = None
    """what `update` was given with that frame"""
    large: Any = None
    """its own picture where it was largest, if `update` was told how to cut it out"""
    area: float = 0.0
    """of its largest box"""

    @property
    def seconds(self) -> float:
        """How long it was there."""
        return self.last - self.first


@dataclass(slots=True)
class _Track:
    event: Event
    box: Box
    seen: float
    family: str
    confirmed: bool = False
    sure: dict[str, float] = field(default_factory=dict)
    speed: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def expected(self, seconds: float) -> Box:
        after = min(seconds - self.seen, GAP)
        left, top, right, bottom = (
            edge + speed * after for edge, speed in zip(_edges(self.box), self.speed, strict=True)
        )
        return Box(left, top, right, bottom) if right > left and bottom > top else self.box


@dataclass(frozen=True, slots=True)
class News:
    """What a frame changed: events that have become sure, and events that are over."""

    began: list[Event] = field(default_factory=list)
    ended: list[Event] = field(default_factory=list)


class Events:
    """The events of one video after another. Raises UsageError for a gap or a number of frames that makes no sense."""

    def __init__(self, gap: float = GAP, least_frames: int = LEAST_FRAMES) -> None:
        if gap <= 0.0 or least_frames < 1:
            raise UsageError(
                f"An event needs a gap above 0 s and at least 1 frame, not {gap} and {least_frames}."
            )
        self.gap, self.least_frames = gap, least_frames
        self._tracks: list[_Track] = []
        self._count = 0
        self._looked = 0.0  # when somebody looked, or nothing had moved since

    @property
    def open(self) -> list[Event]:
        """Those that are sure and not over."""
        return [each.event for each in self._tracks if each.confirmed]

    def update(
        self,
        seconds: float,
        detections: Iterable[Detection],
        picture: Any = None,
        cut: Callable[[Box], Any] = lambda _: None,
    ) -> News:
        """A frame that was looked at. `picture` is kept with the event whose best frame this is.

        `cut` gives a thing's own picture, which is kept of the frame in which the thing is largest.
        """
        self._looked = seconds
        free = merged(detections)
        pairs = []
        for number, track in enumerate(self._tracks):
            expected = track.expected(seconds)
            for place, detection in enumerate(free):
                if FAMILIES.get(detection.label, detection.label) == track.family:
                    likeness = 1.0 if track.family == MOTION else like(expected, detection.box)
                    if likeness > 0.0:
                        pairs.append((likeness, number, place))
        taken: set[int] = set()
        used: set[int] = set()
        for _, number, place in sorted(pairs, reverse=True):
            if number not in taken and place not in used:
                taken.add(number)
                used.add(place)
                self._see(self._tracks[number], free[place], seconds, picture, cut)
        for place, detection in enumerate(free):
            if place not in used:
                self._begin(detection, seconds, picture, cut)
        return self._news(seconds)

    def hold(self, seconds: float) -> News:
        """A frame in which nothing moved: what was in the last one that was looked at is there still."""
        before, self._looked = self._looked, seconds
        for track in self._tracks:
            if track.seen == before:
                track.seen = track.event.last = seconds
                track.event.frames += 1
                track.speed = (0.0, 0.0, 0.0, 0.0)
        return self._news(seconds)

    def close(self) -> News:
        """The video is at its end: so is all that was still there. Numbers begin anew."""
        ended = [each.event for each in self._tracks if each.confirmed]
        self._tracks, self._count = [], 0
        return News(ended=ended)

    def _begin(self, detection: Detection, seconds: float, picture: Any, cut: Callable[[Box], Any]) -> None:
        self._count += 1
        event = Event(
            self._count, detection.label, detection.score, detection.box, seconds, seconds, seconds,
            picture=picture, large=cut(detection.box), area=detection.box.area,
        )  # fmt: skip
        family = FAMILIES.get(detection.label, detection.label)
        self._tracks.append(
            _Track(event, detection.box, seconds, family, sure={detection.label: detection.score})
        )

    @staticmethod
    def _see(
        track: _Track, detection: Detection, seconds: float, picture: Any, cut: Callable[[Box], Any]
    ) -> None:
        event, after = track.event, seconds - track.seen
        if after > 0.0:
            moved = zip(_edges(detection.box), _edges(track.box), track.speed, strict=True)
            left, top, right, bottom = (
                speed + FOLLOW * ((now - before) / after - speed) for now, before, speed in moved
            )
            track.speed = (left, top, right, bottom)
        track.box, track.seen = detection.box, seconds
        track.sure[detection.label] = track.sure.get(detection.label, 0.0) + detection.score
        event.label = max(track.sure, key=lambda name: track.sure[name])
        event.last = seconds
        event.frames += 1
        if detection.score > event.score:
            event.score, event.box, event.time, event.picture = (
                detection.score,
                detection.box,
                seconds,
                picture,
            )
        if detection.box.area > event.area:
            event.area, event.large = detection.box.area, cut(detection.box)

    def _news(self, seconds: float) -> News:
        news = News()
        staying = []
        for track in self._tracks:
            if not track.confirmed and track.event.frames >= self.least_frames:
                track.confirmed = True
                news.began.append(track.event)
            if seconds - track.seen <= self.gap:
                staying.append(track)
            elif track.confirmed:
                news.ended.append(track.event)
        self._tracks = staying
        return news


def merged(detections: Iterable[Detection]) -> list[Detection]:
    """One frame's detections, the surest first, without those that are another label of a thing already there."""
    kept: list[Detection] = []
    for each in sorted(detections, key=lambda one: -one.score):
        family = FAMILIES.get(each.label, each.label)
        if not any(
            FAMILIES.get(other.label, other.label) == family and other.box.overlap(each.box) > ONE
            for other in kept
        ):
            kept.append(each)
    return kept


def like(expected: Box, found: Box) -> float:
    """How much a box is the one that is expected: 0 not at all, else their overlap, and more where that is enough."""
    overlap = expected.overlap(found)
    if overlap >= SAME:
        return 1.0 + overlap
    side = (expected.width + expected.height + found.width + found.height) / 4.0
    if side <= 0.0:
        return 0.0
    across = abs(expected.left + expected.right - found.left - found.right) / 2.0
    down = abs(expected.top + expected.bottom - found.top - found.bottom) / 2.0
    sizes = ((expected.width, found.width), (expected.height, found.height))
    if any(max(pair) > GROWTH * max(min(pair), 1.0) for pair in sizes):
        return 0.0
    return max(0.0, 1.0 - math.hypot(across, down) / (CLOSE * side))


def _edges(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom
