"""The camera: how fast the road is rendered, encoded and looked at, and how good the detector is on it.

`python -m benchmarks camera`. Everything runs on one core: OpenCV has one thread, the detector has one by itself.
Quality is measured on drives and scenes whose seeds were never used while the scene was built: those of `SEEDS`, in all
three weathers, frames spread evenly over each drive; how boxes are judged stands in `iotedge_lab/camera/scoring.py`.
"""

from __future__ import annotations

import time
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from benchmarks.setting import Row
from iotedge_lab.camera.detector import Detector
from iotedge_lab.camera.scene import WEATHERS, Scene
from iotedge_lab.camera.scoring import Tally
from iotedge_lab.camera.video import write_video
from iotedge_lab.car import drives
from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting
    from iotedge_lab.car.rows import CarRow

NAME = "camera"
TITLE = "The camera, 640 x 360, one core"
LEAST_FPS = 24.0
BUDGET_MS = 1000.0 / LEAST_FPS
SEEDS = ((47_301, "city"), (47_302, "suburban"), (47_303, "city"), (47_304, "highway"), (47_305, "suburban"))
DRIVE_SECONDS = 260.0
BEGIN = 20.0
MOST_FALSE = 0.1


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Speeds, then quality; without the detector (`iotedge-lab models fetch`) the first two alone."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        results = [*_rendered(setting, say), _encoded(setting)]
        try:
            detector = Detector()
        except EnvironmentProblem as error:
            say(str(error))
            return results
        return [*results, *_looked_at(setting, detector), *_quality(setting, detector, say)]
    finally:
        cv2.setNumThreads(threads)


@lru_cache(maxsize=len(SEEDS))
def drive_rows(seed: int, kind: Any, seconds: float) -> list[CarRow]:
    """A drive that was never driven while the scene was built."""
    return record(simulate(seed, kind, seconds), datetime.fromisoformat("2026-03-02 08:00:00"))


def _shipped(weather: Any) -> Scene:
    """A shipped drive that goes through a city from `BEGIN` on, for the speeds."""
    return Scene(list(drives.rows(drives.drive_path("city-02"))), seed=SEEDS[0][0], weather=weather)


def _scene(setting: Setting, number: int, weather: Any) -> Scene:
    seed, kind = SEEDS[number]
    return Scene(drive_rows(seed, kind, 60.0 if setting.quick else DRIVE_SECONDS), seed=seed, weather=weather)


def _rendered(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Frames a second of the core's own time over a stretch of a drive, all that is painted once included."""
    rows = []
    seconds = setting.count(40, 1)
    for weather in WEATHERS:
        begin = time.perf_counter()
        scene = _shipped(weather)
        made = time.perf_counter() - begin
        begin, before = time.process_time(), time.perf_counter()
        longest, count = 0.0, 0
        for _ in scene.frames(LEAST_FPS, BEGIN, seconds):
            now = time.perf_counter()
            longest, before, count = max(longest, now - before), now, count + 1
        rate = count / (time.process_time() - begin)
        say(
            f"{weather}: {rate:.0f} frames/s, the longest {longest * 1000:.0f} ms, {made:.1f} s before the first"
        )
        note = f"longest frame {longest * 1000:.0f} ms, {made:.1f} s before the first"
        rows.append(
            Row(
                f"Rendered, {weather}",
                rate,
                "frames/s",
                target=f">= {LEAST_FPS:g}",
                met=rate >= LEAST_FPS,
                note=note,
            )
        )
    return rows


def _encoded(setting: Setting) -> Row:
    frames = [each.image for each in _shipped("daylight").frames(24.0, BEGIN, setting.count(6, 1))]
    begin = time.perf_counter()
    video = write_video(frames, setting.folder / "camera.mp4", rate=24.0, fps=24.0)
    taken = time.perf_counter() - begin
    note = f"{video.size / video.frames / 1024:.0f} KiB a frame"
    return Row("Encoded, mp4v", video.frames / taken, "frames/s", note=note)


def _looked_at(setting: Setting, detector: Detector) -> list[Row]:
    """What a look costs, over frames of the three weathers."""
    frames = []
    for weather in WEATHERS:
        frames += [each.image for each in _shipped(weather).frames(1.0, BEGIN, setting.count(40, 2))]
    detector.detect(frames[0])
    taken = []
    for frame in frames:
        begin = time.perf_counter()
        detector.detect(frame)
        taken.append((time.perf_counter() - begin) * 1000.0)
    middle, last = float(np.percentile(taken, 50)), float(np.percentile(taken, 99))
    return [
        Row("Detector, p50", middle, "ms", note=f"{len(taken)} frames"),
        Row("Detector, p99", last, "ms", target=f"<= {BUDGET_MS:.1f} ms", met=last <= BUDGET_MS),
    ]


def _quality(setting: Setting, detector: Detector, say: Callable[[str], None]) -> list[Row]:
    frames = setting.count(100, 4)
    whole = Tally()
    for weather in WEATHERS:
        part = Tally()
        for number in range(setting.count(len(SEEDS), 1)):
            scene = _scene(setting, number, weather)
            for each in range(frames):
                picture = scene.frame((each + 0.5) / frames * scene.seconds)
                found = detector.detect(picture.image)
                part.add(found, picture.truth)
                whole.add(found, picture.truth)
        say(f"{weather}: {_words(part)}")
    rows = []
    for what, label, least, most, target in (
        ("Recall, cars over 60 px", "car", 60.0, np.inf, 0.95),
        ("Recall, cars of 30 to 60 px", "car", 30.0, 60.0, 0.75),
        ("Recall, people over 16 px wide", "person", 16.0, np.inf, 0.0),
        ("Recall, bicycles over 16 px wide", "bicycle", 16.0, np.inf, 0.0),
        ("Recall, vans, buses, trucks over 30 px", "vehicle", 30.0, np.inf, 0.0),
    ):
        found, asked = whole.recall(label, least, most)
        share = found / asked if asked else 0.0
        note = f"{found} of {asked}"
        if target:
            rows.append(Row(what, share, "", target=f">= {target:g}", met=share >= target, note=note))
        else:
            rows.append(Row(what, share, "", note=note))
    false = whole.false_per_frame
    rows.append(
        Row(
            "False boxes a frame",
            false,
            "",
            target=f"<= {MOST_FALSE:g}",
            met=false <= MOST_FALSE,
            note=f"{len(whole.false)} in {whole.frames:,} frames; precision {whole.precision:.3f}",
        )
    )
    return rows


def _words(tally: Tally) -> str:
    parts = []
    for what, least, most in (("over 60 px", 60.0, np.inf), ("30 to 60 px", 30.0, 60.0)):
        found, asked = tally.recall("car", least, most)
        parts.append(f"cars {what} {found}/{asked}")
    return f"{', '.join(parts)}, {tally.false_per_frame:.3f} false boxes a frame"
