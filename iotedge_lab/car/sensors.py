"""What the car's sensors and its logger make of a drive: noise, delay, quantisation, and the merged rows.

Two loggers. `record` writes a clean 10 Hz grid, every sensor read at every row. `record_merged` writes what
the recording has: each sensor is polled about once a second at a time of its own; the logger puts a row at
each of those times besides its 10 Hz grid and fills all columns by straight lines between the polls. Rows
then lie from 55 us to 0.1 s apart, and each is all but foretold by its neighbours. Leaves out: drop-outs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iotedge_lab.car.chance import Chance
from iotedge_lab.car.route import STEP
from iotedge_lab.car.rows import COLUMNS, NUMBERS, CarRow
from iotedge_lab.car.units import EARTH_RADIUS, METRES_PER_MILE, MPS_PER_MPH, G
from iotedge_lab.car.vehicle import DT, Motion

Array = NDArray[np.float64]

GRID: Final = 0.1  # s between the rows of the grid
GRID_PHASE: Final = 0.000700  # s; a merged recording's grid does not fall on whole tenths
CLOSEST: Final = 55e-6  # s; polls closer to another row than this share it
POLL: Final = 1.08  # s between two readings of one value over the diagnostic bus
FIX: Final = 1.0  # s between two positions of the satellite receiver, and readings of the motion sensor

DECIMALS: Final = {column.name: column.decimals for column in COLUMNS}


@dataclass(frozen=True, slots=True)
class Signals:
    """What the sensors say at each step of the simulation, before any logger: arrays of one length."""

    time: Array
    values: dict[str, Array]


def measure(motion: Motion) -> Signals:
    """Each sensor's signal, in the logger's units, with its own noise and delay."""
    chance = Chance(motion.seed, 3)
    count = len(motion.time)
    speed = np.array(motion.speed) / MPS_PER_MPH
    moving = np.minimum(1.0, speed / 5.0)
    metre = np.array(motion.metre)
    road = motion.route
    shake = np.array(chance.wander(count, 0.15 / DT)) * moving
    wheels = np.array(chance.wander(count, 1.5 / DT)) * moving
    pull = _delayed(np.array(motion.acceleration) / G + np.array(motion.grade), 0.35)
    camber = _along(road.camber, metre)
    # A body that rolls outwards lets gravity add to what the motion sensor feels sideways.
    side = _delayed(-np.array(motion.lateral) / G * 1.05, 0.25) + camber
    drift = [np.array(chance.wander(count, 90.0 / DT)) * moving for _ in range(2)]
    metres_to_degrees = math.degrees(1.0 / EARTH_RADIUS)
    north = _along(road.latitude, metre)
    east = _along(road.longitude, metre)
    shrink = 1.0 / math.cos(math.radians(road.latitude[0]))
    values = {
        "latitude": north + 1.0 * metres_to_degrees * _delayed(drift[0], 4.0),
        "longitude": east + 1.0 * metres_to_degrees * shrink * _delayed(drift[1], 4.0),
        "distance": metre / METRES_PER_MILE,
        "speed": np.maximum(0.0, speed + 0.04 * wheels),
        "steering_angle": np.array(motion.steering) + chance.uniform(-0.8, 0.8),
        "throttle_position": np.array(motion.throttle),
        "engine_rpm": np.array(motion.rpm) + 5.0 * np.array(chance.wander(count, 0.4 / DT)),
        "lateral_gs": side + 0.014 * shake + chance.uniform(-0.006, 0.006),
        "acceleration_gs": pull
        + 0.012 * np.array(chance.wander(count, 0.2 / DT)) * moving
        + chance.uniform(-0.006, 0.006),
    }
    return Signals(np.array(motion.time), values)


def record(motion: Motion, start: datetime) -> list[CarRow]:
    """The drive on a clean 10 Hz grid, from 0 s on; `start` is the wall clock at the first row."""
    signals = measure(motion)
    every = round(GRID / DT)
    columns = {name: values[::every] for name, values in signals.values.items()}
    return _rows(signals.time[::every], columns, start)


def record_merged(motion: Motion, start: datetime) -> list[CarRow]:
    """The drive as a logger writes it that merges slow sensors into one table (see the module's text)."""
    signals = measure(motion)
    chance = Chance(motion.seed, 4)
    end = float(signals.time[-1])
    grid = np.round(np.arange(0.0, end - GRID_PHASE, GRID) + GRID_PHASE, 6)
    fixes = _polls(end, FIX, 0.0065, 0.012, chance)
    polls = {
        "speed": _polls(end, POLL, 0.10, 0.03, chance),
        "engine_rpm": _polls(end, POLL, 0.46, 0.03, chance),
        "throttle_position": _polls(end, POLL, 0.82, 0.03, chance),
    }
    columns = {}
    times = _merged(grid, [fixes, *polls.values()])
    for name, values in signals.values.items():
        knots = polls.get(name, fixes)
        columns[name] = _line(times, knots, _on_the_bus(name, _line(knots, signals.time, values)))
    return _rows(times, columns, start)


def _on_the_bus(name: str, values: Array) -> Array:
    """The steps in which the diagnostic bus carries a value: about 1 km/h, whole per cent, whole rpm."""
    step = {"speed": 0.625, "throttle_position": 1.0, "engine_rpm": 1.0}.get(name)
    if step is None:
        return values
    return np.asarray(np.floor(values / step + 0.5) * step, dtype=np.float64)


def _polls(end: float, period: float, phase: float, jitter: float, chance: Chance) -> Array:
    """The times at which one sensor is read: evenly but for a jitter (s), in whole microseconds."""
    count = int((end - phase) / period)
    times = [phase + n * period + jitter * u for n, u in enumerate(chance.uniforms(count))]
    return np.round(np.array(times), 6)


def _merged(grid: Array, polls: list[Array]) -> Array:
    """Grid and polls within the grid's span in one order; what lies too close to the row before is dropped."""
    kept: list[float] = []
    on_grid = set(grid.tolist())
    within = [each[(each > grid[0]) & (each < grid[-1])] for each in polls]
    for time in np.unique(np.concatenate([grid, *within])).tolist():
        if kept and time - kept[-1] < CLOSEST - 1e-9:
            if time not in on_grid:
                continue
            kept.pop()
        kept.append(time)
    return np.array(kept)


def _line(at: Array, knots: Array, values: Array) -> Array:
    """Straight lines between the knots, flat beyond the ends; plain steps that IEEE 754 rounds alike."""
    right = np.clip(np.searchsorted(knots, at, side="right"), 1, len(knots) - 1)
    left = right - 1
    share = np.clip((at - knots[left]) / (knots[right] - knots[left]), 0.0, 1.0)
    line: Array = values[left] + (values[right] - values[left]) * share
    return line


def _along(road: list[float], metre: Array) -> Array:
    """A property of the route at these metres, by straight lines."""
    points = np.arange(len(road), dtype=np.float64) * STEP
    return _line(metre, points, np.array(road))


def _delayed(values: Array, lag: float) -> Array:
    """A first-order delay of `lag` seconds."""
    share = DT / (lag + DT)
    state = float(values[0])
    path = []
    for value in values.tolist():
        state += (value - state) * share
        path.append(state)
    return np.array(path)


def _rows(time: Array, columns: dict[str, Array], start: datetime) -> list[CarRow]:
    """Rounded rows; adding 0.0 turns a rounded -0.0 into 0.0."""
    columns = {"seconds": time, **columns}
    rounded = [np.round(columns[name], DECIMALS[name]) + 0.0 for name in NUMBERS]
    clock = [start + timedelta(microseconds=round(each * 1e6)) for each in time.tolist()]
    table = zip(*(each.tolist() for each in rounded), strict=True)
    return [
        CarRow(moment.isoformat(" ", "microseconds"), *numbers)
        for moment, numbers in zip(clock, table, strict=True)
    ]
