"""What a drive looks like in numbers, beside the same numbers of the recording that the blog series replays.

The recording itself has no licence and is not shipped; its statistics are, and the generated drives are held
to them. `python -m iotedge_lab.car.make_data --statistics` writes the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from iotedge_lab.car.powertrain import RPM_PER_MPH
from iotedge_lab.car.rows import NUMBERS, CarRow
from iotedge_lab.car.units import MPS_PER_MPH, G
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = NDArray[np.float64]

HZ: Final = 10  # rows a second that these statistics suppose
STOPPED: Final = 1.0  # mph below which the car counts as standing

RECORDING: Final[Mapping[str, float]] = {
    "speed mean (mph)": 20.1,
    "speed deviation (mph)": 16.4,
    "speed 5 % quantile (mph)": 0.1,
    "speed median (mph)": 22.8,
    "speed 95 % quantile (mph)": 45.0,
    "speed autocorrelation, 1 s": 0.99,
    "speed autocorrelation, 5 s": 0.86,
    "speed autocorrelation, 20 s": 0.08,
    "throttle mean (%)": 9.7,
    "throttle deviation (%)": 11.4,
    "throttle 95 % quantile (%)": 33.0,
    "rpm mean": 1225.0,
    "rpm deviation": 470.0,
    "rpm median": 1235.0,
    "rpm 95 % quantile": 2093.0,
    "rpm median when standing": 665.0,
    "acceleration deviation (g)": 0.085,
    "acceleration 5 % quantile (g)": -0.17,
    "acceleration 95 % quantile (g)": 0.15,
    "acceleration autocorrelation, 1 s": 0.92,
    "acceleration autocorrelation, 5 s": 0.42,
    "lateral deviation (g)": 0.059,
    "steering deviation (degrees)": 24.0,
    "share of time standing": 0.26,
    "share of time with throttle up to 1 %": 0.29,
    "steady rows within 3 % of a gear line": 0.955,
    "correlation speed, throttle": 0.18,
    "correlation speed, rpm": 0.68,
    "correlation throttle, rpm": 0.62,
    "correlation throttle, acceleration": 0.74,
    "correlation steering, lateral": -0.45,
    "correlation speed's slope, acceleration": 0.885,
}
"""The statistics of the real drive, at 10 Hz."""


def describe(drives: Sequence[Sequence[CarRow]]) -> dict[str, float]:
    """The statistics of `RECORDING`, of these drives together; each a sequence of rows at 10 Hz.

    Raises UsageError for drives shorter than 30 s.
    """
    if not drives or min(len(rows) for rows in drives) < 30 * HZ:
        raise UsageError(
            f"These statistics need drives of at least 30 s at {HZ} rows a second; give longer ones."
        )
    parts = [
        {name: np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in NUMBERS}
        for rows in drives
    ]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in NUMBERS}
    speed, throttle, rpm = whole["speed"], whole["throttle_position"], whole["engine_rpm"]
    pull, side, wheel = whole["acceleration_gs"], whole["lateral_gs"], whole["steering_angle"]
    standing = speed < STOPPED
    slope = np.concatenate([_slope(part["speed"]) for part in parts]) * MPS_PER_MPH / G

    def autocorrelation(name: str, seconds: int) -> float:
        return _autocorrelation([part[name] for part in parts], seconds * HZ)

    values = (
        speed.mean(), speed.std(), *np.quantile(speed, (0.05, 0.5, 0.95)),
        autocorrelation("speed", 1), autocorrelation("speed", 5), autocorrelation("speed", 20),
        throttle.mean(), throttle.std(), np.quantile(throttle, 0.95),
        rpm.mean(), rpm.std(), *np.quantile(rpm, (0.5, 0.95)), np.median(rpm[standing]) if standing.any() else np.nan,
        pull.std(), *np.quantile(pull, (0.05, 0.95)),
        autocorrelation("acceleration_gs", 1), autocorrelation("acceleration_gs", 5),
        side.std(), wheel.std(), standing.mean(), (throttle <= 1.0).mean(),
        np.mean(np.concatenate([_on_gear_line(part) for part in parts])),
        _correlation(speed, throttle), _correlation(speed, rpm), _correlation(throttle, rpm),
        _correlation(throttle, pull), _correlation(wheel, side), _correlation(slope, pull),
    )  # fmt: skip
    return {name: float(value) for name, value in zip(RECORDING, values, strict=True)}


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of statistics: the recording first, then each of `columns` by its title."""
    titles = ["recording", *columns]
    lines = [f"| statistic | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, value in RECORDING.items():
        cells = [_shown(value), *(_shown(each[name]) for each in columns.values())]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 5 else 3 if abs(value) < 0.1 else 2
    return f"{value:.{decimals}f}"


def _correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def _slope(speed: Array) -> Array:
    """The change of speed per second, over a second each."""
    half = HZ // 2
    ends = np.concatenate([np.full(half, speed[0]), speed, np.full(half, speed[-1])])
    slope: Array = (ends[2 * half :] - ends[: -2 * half]) * (HZ / (2 * half))
    return slope


def _autocorrelation(parts: Sequence[Array], lag: int) -> float:
    mean = np.concatenate(parts).mean()
    products = np.concatenate([(part[:-lag] - mean) * (part[lag:] - mean) for part in parts])
    return float(products.mean() / np.concatenate(parts).var())


def _on_gear_line(part: Mapping[str, Array]) -> NDArray[np.bool_]:
    """For each steady row above 12 mph: whether rpm and speed agree with a gear within 3 %.

    Steady: the rpm change by less than 3 % a second, so that no gear is being changed.
    """
    speed, rpm = part["speed"], part["engine_rpm"]
    steady = (np.abs(_slope(rpm)) < 0.03 * rpm) & (speed > 12.0)
    lines = np.array(RPM_PER_MPH)
    off = np.abs(rpm[steady, None] / (speed[steady, None] * lines) - 1.0)
    near: NDArray[np.bool_] = off.min(axis=1) < 0.03
    return near
