"""What the module sees with: the looker, the detector when there is one, the plate reader when it is wanted.

Without the detector's file the module goes by motion only, says so, and looks for the file again before each video.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.camera.detector import Detector
from iotedge_lab.camera.looking import Looker
from iotedge_lab.camera.model import model_path
from iotedge_lab.camera.plates import PlateReader
from iotedge_lab.errors import DataError, LabError

if TYPE_CHECKING:
    from filter_camera.settings import Settings

LOOK_AGAIN: Final = 1.0  # s at least between two attempts to load the detector

log = logging.getLogger("ModuleFilterCamera")


class Sight:
    """Used by the thread that looks."""

    def __init__(self, settings: Settings) -> None:
        self.detector: Detector | None = None
        self.plates: PlateReader | None = None
        self.problem: str | None = None
        self.looker = Looker(None)
        self._settings = settings
        self._reason: str | None = None
        self._status = "missing"
        self._tried: tuple[object, float] = None, -LOOK_AGAIN
        self._changed = True
        self.set(settings)

    def set(self, settings: Settings) -> None:
        """Other settings, from the next frame on."""
        self._settings = settings
        looker = self.looker
        looker.set_region(settings.region)
        looker.set_motion(settings.motion)
        looker.set_events(settings.gap, settings.least_frames)
        looker.keep_up = settings.keep_up
        if self.detector is not None:
            self.detector.classes = settings.classes
            self.detector.set_threshold(settings.thresholds)
        self._set_plates()
        looker.cut_out = self.plates is not None

    def _set_plates(self) -> None:
        if not self._settings.plates:
            self.plates = self.problem = None
        elif self.plates is None:
            try:
                self.plates = PlateReader()
                self.problem = None
            except LabError as error:
                self.problem = str(error)

    def look_for_detector(self) -> None:
        """Load the detector, where it was not there and its file has come or changed."""
        if self.detector is not None:
            return
        path = model_path()
        try:
            facts = path.stat()
            state: object = facts.st_mtime_ns, facts.st_size
        except OSError:
            state = None
        now = time.monotonic()
        before, tried = self._tried
        if tried > 0.0 and (state == before or now - tried < LOOK_AGAIN):
            return
        self._tried = state, now
        try:
            detector = Detector(classes=self._settings.classes)
            detector.set_threshold(self._settings.thresholds)
        except LabError as error:
            status = "unusable" if isinstance(error, DataError) else "missing"
            self._say(status, str(error))
            return
        self.detector = self.looker.detector = detector
        self._say("ready", None)

    def _say(self, status: str, reason: str | None) -> None:
        if (status, reason) != (self._status, self._reason):
            self._changed = True
            if reason is None:
                log.info("The detector is loaded")
            else:
                log.warning("Motion only: %s", reason)
        self._status, self._reason = status, reason

    def changed(self) -> bool:
        """Whether the detector's status is another one than at the last call."""
        was, self._changed = self._changed, False
        return was

    def told(self) -> dict[str, Any]:
        """The detector, for the report: status ready, missing or unusable, what is gone by, and why."""
        told: dict[str, Any] = {
            "status": self._status,
            "by": "motion" if self.detector is None else "detector",
            "reason": self._reason,
            "plates": self.plates is not None,
        }
        if self.detector is not None:
            told["thresholds"] = {name: round(score, 3) for name, score in self.detector.thresholds.items()}
        return told
