"""What the module is told: each setting by a desired property of its twin, or by an environment variable.

    folder         FILTER_FOLDER          the videos' folder, stream by default; relative to the module's folder
    classes        FILTER_CLASSES         what is looked for: Car, Vehicle, Person and Bicycle by default; a list
    threshold      FILTER_THRESHOLD       the least score that is told: a number for all, or an object by class
                                          {"Car": 0.5}; classes that it leaves out have the detector's own
    region         FILTER_REGION          [left, top, right, bottom] as shares of the frame: only what has its centre
                                          there is told; [0, 0, 1, 1] by default
    motion         FILTER_MOTION          the share of the picture that has to change before the detector looks,
                                          0.0005 by default; 0: it looks at every frame
    gap            FILTER_GAP             s without a sighting after which a thing has gone, 1 by default
    leastFrames    FILTER_LEAST_FRAMES    in how many frames a thing has to be seen to be told, 3 by default
    tell           FILTER_TELL            end, the default: an event is told once, when it is over; both: when it has
                                          begun, too (the property `state` says which)
    keepUp         FILTER_KEEP_UP         true, the default: frames are left out and counted where the machine is
                                          slower than the video; false: each one is looked at
    plates         FILTER_PLATES          true: number plates are read (needs rapidocr); false by default
    pictures       FILTER_PICTURES        where pictures for a person are kept, stream/detections by default
    keep           FILTER_KEEP            how many of the newest events have one there, 20 by default
    reportSeconds  FILTER_REPORT_SECONDS  how often counters are reported, 10 by default

The detector's file is the one that `iotedge-lab models fetch` brought; IOTEDGE_LAB_MODELS names another folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from iotedge_lab.camera.detector import LABELS, ROAD_CLASSES, THRESHOLDS
from iotedge_lab.camera.events import GAP, LEAST_FRAMES
from iotedge_lab.camera.looking import WHOLE
from iotedge_lab.camera.motion import LEAST
from iotedge_lab.car.device.settings import (
    Setting,
    Table,
    flag,
    names,
    number,
    one_of,
    structure,
    text,
    whole,
)

CLASSES: Final = LABELS[1:]
TELLS: Final = ("end", "both")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; see the table above."""

    folder: str = "stream"
    classes: tuple[str, ...] = ROAD_CLASSES
    threshold: float | Mapping[str, float] | None = None
    region: tuple[float, ...] = WHOLE
    motion: float = LEAST
    gap: float = GAP
    least_frames: int = LEAST_FRAMES
    tell: str = "end"
    keep_up: bool = True
    plates: bool = False
    pictures: str = "stream/detections"
    keep: int = 20
    report_seconds: float = 10.0

    @property
    def thresholds(self) -> dict[str, float]:
        """The least score by class, of all classes that the detector has thresholds for or that are wanted."""
        own = {name: THRESHOLDS.get(name, 0.5) for name in (*THRESHOLDS, *self.classes)}
        if self.threshold is None:
            return own
        if isinstance(self.threshold, Mapping):
            return own | dict(self.threshold)
        return dict.fromkeys(own, self.threshold)


def _threshold(value: object) -> float | dict[str, float]:
    score = number(0.01, 1.0)
    found = structure(value)
    if not isinstance(found, Mapping):
        return score(found)
    if not found or any(name not in CLASSES for name in found):
        raise ValueError(f"a number from 0.01 to 1, or such numbers by some of {', '.join(CLASSES)}")
    return {name: score(each) for name, each in found.items()}


def _region(value: object) -> tuple[float, ...]:
    found = structure(value)
    if (
        not isinstance(found, list)
        or len(found) != 4
        or any(isinstance(each, bool) or not isinstance(each, int | float) for each in found)
        or not all(math.isfinite(each) for each in found)
        or not (0.0 <= found[0] < found[2] <= 1.0 and 0.0 <= found[1] < found[3] <= 1.0)
    ):
        raise ValueError("[left, top, right, bottom] as shares of the frame, such as [0, 0.5, 1, 1],")
    return tuple(float(each) for each in found)


TABLE: Final = Table(
    Settings,
    (
        Setting("folder", "folder", "FILTER_FOLDER", text()),
        Setting("classes", "classes", "FILTER_CLASSES", names(CLASSES)),
        Setting("threshold", "threshold", "FILTER_THRESHOLD", _threshold),
        Setting("region", "region", "FILTER_REGION", _region),
        Setting("motion", "motion", "FILTER_MOTION", number(0.0, 1.0)),
        Setting("gap", "gap", "FILTER_GAP", number(0.01, 3600.0, " of seconds")),
        Setting("leastFrames", "least_frames", "FILTER_LEAST_FRAMES", whole(1, 1000)),
        Setting("tell", "tell", "FILTER_TELL", one_of(TELLS)),
        Setting("keepUp", "keep_up", "FILTER_KEEP_UP", flag),
        Setting("plates", "plates", "FILTER_PLATES", flag),
        Setting("pictures", "pictures", "FILTER_PICTURES", text()),
        Setting("keep", "keep", "FILTER_KEEP", whole(0, 10_000)),
        Setting("reportSeconds", "report_seconds", "FILTER_REPORT_SECONDS", number(0.1, 86_400.0)),
    ),
)
