"""Pictures of a drive (speed over time, engine speed over road speed, the route) and of messages' arrival.

A drive comes as a frame in the columns of the car's data, under the file's headers or under the short names
that a message carries; a user's own car.csv is as good as ours. Arrivals come as times. Each function gives
back a `Picture` whose alt text says what was found, in numbers taken from the data. Units are the data's (see
`iotedge_lab.car.rows.COLUMNS`).
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from iotedge_lab.car.rows import COLUMNS
from iotedge_lab.errors import DataError
from iotedge_lab.show.picture import Picture, figure, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pandas import DataFrame, Series

AT_SPEED_MPH = 12
"""Above this speed no converter slips and no gear is first, so a held gear lies on its line."""

NEAR = 0.03
"""How far from a gear's line a row may lie to count as on it."""

STANDING_MPH = 0.5
"""Below this speed a car counts as standing: a speed sensor's noise is smaller."""


_NAMES = {column.header: column.name for column in COLUMNS}


def _read(frame: DataFrame, *names: str) -> DataFrame:
    """The frame with the short names of the columns, which a message has; `names` must be among them."""
    short = frame.rename(columns=_NAMES)
    missing = [name for name in names if name not in short.columns]
    if missing:
        raise DataError(
            f"the frame lacks the columns {missing}; read the file with iotedge_lab.car.drives.load, "
            "which checks for all eleven"
        )
    if short.empty:
        raise DataError("the frame has no rows, so there is nothing to draw; was the file empty?")
    return short


def speed_over_time(frame: DataFrame, *, title: str = "") -> Picture:
    """Speed in mph over seconds since the drive began; without a title, it says how much of it the car stands still.

    Raises `DataError` if rows or columns are missing.
    """
    drive = _read(frame, "seconds", "speed")
    seconds, speed = drive["seconds"], drive["speed"]
    standing = (speed < STANDING_MPH).mean()
    with figure() as drawn:
        axes = drawn.subplots()
        axes.plot(seconds, speed, linewidth=1.4)
        axes.fill_between(seconds, speed, alpha=0.15)
        axes.set(xlabel="time (s)", ylabel="speed (mph)", ylim=(0, None))
        axes.set_title(
            title or f"The car stands still in {standing:.0%} of the rows", fontsize=9.5, loc="left"
        )
        axes.margins(x=0)
        return picture(
            drawn,
            f"Line: speed over time, {len(frame)} rows over {seconds.max() - seconds.min():.0f} seconds. "
            f"The mean is {speed.mean():.0f} mph, the highest {speed.max():.0f} mph; "
            f"the car stands still in {standing:.0%} of the rows.",
        )


def rpm_over_speed(frame: DataFrame, *, rpm_per_mph: Sequence[float] = ()) -> Picture:
    """Engine speed over road speed, a dot a row; a gear that is held shows as a line through the origin.

    `rpm_per_mph`, the ratio of each gear, draws these lines where they are known, and the title says how many
    of the rows at speed lie on them. Raises `DataError`.
    """
    drive = _read(frame, "speed", "engine_rpm")
    speed, rpm = drive["speed"], drive["engine_rpm"]
    found = [f"Dots: engine speed over road speed, {len(frame)} rows, up to {rpm.max():.0f} revolutions/min."]
    idle = rpm[speed < STANDING_MPH]
    if not idle.empty:
        found.append(f"At rest the engine turns at about {idle.median():.0f} a minute.")
    with figure(height=3.8) as drawn:
        axes = drawn.subplots()
        top_speed, top_rpm = max(float(speed.max()), 1.0) * 1.05, max(float(rpm.max()), 1.0) * 1.08
        for gear, ratio in enumerate(rpm_per_mph, start=1):
            end = min(top_speed, top_rpm / ratio)
            axes.plot([0, end], [0, end * ratio], color="0.6", linewidth=0.8, zorder=1)
            axes.annotate(str(gear), (end, end * ratio), color="0.35", fontsize=8, ha="left", va="bottom")
        axes.scatter(speed, rpm, s=5, alpha=0.5, linewidths=0, zorder=2)
        axes.set(xlabel="speed (mph)", ylabel="engine speed (1/min)", xlim=(0, top_speed), ylim=(0, top_rpm))
        if rpm_per_mph:
            share = _share_on_lines(speed, rpm, rpm_per_mph)
            finding = (
                f"{share:.0%} of the rows above {AT_SPEED_MPH} mph lie within {NEAR:.0%} of a gear's line"
            )
            axes.set_title(finding, fontsize=9.5, loc="left", pad=14)
            found.append(f"Grey lines through the origin mark {len(rpm_per_mph)} gears; {finding}.")
        return picture(drawn, " ".join(found))


def _share_on_lines(speed: Series, rpm: Series, rpm_per_mph: Sequence[float]) -> float:
    """The share of rows at speed whose ratio of rpm to mph is a gear's, but for `NEAR`; 0 if there are none."""
    at_speed = speed > AT_SPEED_MPH
    ratio = rpm[at_speed] / speed[at_speed]
    near = [(ratio / gear - 1).abs() < NEAR for gear in rpm_per_mph]
    return float(sum(near).clip(upper=1).mean()) if at_speed.any() else 0.0


def route_map(frame: DataFrame) -> Picture:
    """The route in degrees, north up, true to scale, coloured by speed. Raises `DataError`."""
    drive = _read(frame, "latitude", "longitude", "distance", "speed")
    latitude, longitude, speed = drive["latitude"], drive["longitude"], drive["speed"]
    miles = drive["distance"].max() - drive["distance"].min()
    with figure(width=5.4, height=4.4) as drawn:
        axes = drawn.subplots()
        dots = axes.scatter(longitude, latitude, c=speed, s=8, cmap="viridis", linewidths=0)
        axes.plot(longitude.iloc[0], latitude.iloc[0], "o", color="black", fillstyle="none", label="start")
        axes.plot(longitude.iloc[-1], latitude.iloc[-1], "x", color="black", label="end")
        # A degree of longitude is shorter than one of latitude by the cosine of the latitude.
        axes.set_aspect(1 / math.cos(math.radians(float(latitude.mean()))), adjustable="datalim")
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.tick_params(axis="x", rotation=30)
        axes.set(xlabel="longitude (degrees)", ylabel="latitude (degrees)")
        axes.legend(loc="best")
        drawn.colorbar(dots, ax=axes, label="speed (mph)")
        return picture(
            drawn,
            f"Map: the route of the drive, {miles:.1f} miles, coloured by speed from {speed.min():.0f} "
            f"to {speed.max():.0f} mph, with a circle at its start and a cross at its end.",
        )


def arrivals(times: Sequence[datetime]) -> Picture:
    """The messages' numbers over the seconds since the first: the steeper, the closer together they came.

    Raises `DataError` for fewer than four times: a change of pace needs two gaps on each side.
    """
    if len(times) < 4:
        raise DataError(f"{len(times)} messages show no pace; wait until at least 4 have arrived")
    ordered = sorted(times)
    seconds = [(time - ordered[0]).total_seconds() for time in ordered]
    gaps = [later - earlier for earlier, later in pairwise(seconds)]
    few = max(1, len(gaps) // 6)
    first, last = median(gaps[:few]), median(gaps[-few:])
    found = "they come at an even pace"
    if first > 2 * last:
        found = "at the end they come more than twice as fast as at the start"
    elif last > 2 * first:
        found = "at the end they come more than twice as slowly as at the start"
    with figure() as drawn:
        axes = drawn.subplots()
        numbers = range(1, len(seconds) + 1)
        axes.plot(seconds, numbers, linewidth=0.8, alpha=0.5)
        axes.scatter(seconds, numbers, s=22, zorder=2)
        axes.set(xlabel="time since the first message (s)", ylabel="messages (number)", ylim=(0, None))
        axes.set_title(found[0].upper() + found[1:], fontsize=9.5, loc="left")
        return picture(drawn, f"Dots: {len(seconds)} messages over time; {found}.")
