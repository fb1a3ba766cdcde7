"""An hour of driving, and the reading of a recording: `python -m benchmarks drive`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks.setting import Row
from iotedge_lab.car import drives
from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting

NAME = "drive"
TITLE = "The car's physics, and its recordings"
MOST_SECONDS = 5.0
HOUR = 3600


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """What an hour at 10 Hz takes (a quick run drives a tenth of it), and how fast car.csv is read."""
    seconds = setting.count(HOUR, HOUR // 10)
    begin = time.perf_counter()
    motion = simulate(seed=1, kind="city", seconds=seconds)
    driven = time.perf_counter()
    rows = record(motion, datetime.fromisoformat("2026-03-02 08:00:00"))
    recorded = time.perf_counter()
    count = sum(1 for _ in drives.rows(drives.car_csv()))
    read = time.perf_counter() - recorded
    taken, share = recorded - begin, HOUR / seconds
    say(f"{len(rows):,} rows, {rows[-1].distance:g} miles in {taken:.2f} s")
    return [
        Row(
            "An hour of driving at 10 Hz",
            taken * share,
            "s",
            target=f"<= {MOST_SECONDS:g} s",
            met=taken * share <= MOST_SECONDS,
            note=f"{driven - begin:.2f} s to drive {seconds:,} s, {recorded - driven:.2f} s to record them",
        ),
        Row("car.csv, read and checked", count / read, "rows/s"),
    ]
