"""What a model sees of a car: the latest values, what they were some seconds ago, their means over some seconds.

Training computes features for whole drives (`batch`), an edge module for one live row at a time
(`LiveFeatures`); both follow the same rules, written once here, and agree to 1e-6. Everything goes by the
row's own `Seconds`, never by arrival or count: between two rows a value is a straight line, a lag is a point
of that line, a mean its average over time. So 10 Hz, 1 Hz and a logger's merged rows give the same kind of
numbers. Nothing of the future and nothing of the target goes in. Imports nothing heavy: `batch` alone needs
numpy.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from iotedge_lab.car.rows import COLUMNS
from iotedge_lab.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from iotedge_lab.car.rows import CarRow

TARGET: Final = "speed"
INPUTS: Final = ("throttle_position", "engine_rpm", "acceleration_gs")
"""The three columns from which the series predicts the speed."""
USABLE: Final = (*INPUTS, "steering_angle", "lateral_gs")
"""The columns that features may be made of."""

LONGEST: Final = 600.0  # s that a feature may look back; a module keeps that many seconds of rows

_UNITS: Final = {column.name: column.unit for column in COLUMNS}
_WHY_NOT: Final = {
    "speed": "it is the target: with its past, 'as fast as a moment ago' is all that a model learns",
    "distance": "its change is the speed itself",
    "latitude": "its change is the speed, and it tells the place in the recording",
    "longitude": "its change is the speed, and it tells the place in the recording",
    "seconds": "it tells the place in the recording, which no other drive shares",
    "time": "it tells the place in the recording, which no other drive shares",
}

Step = Literal["next", "anew", "duplicate"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which features there are, in their order: the inputs as they are, then their lags, then their means."""

    inputs: tuple[str, ...] = INPUTS
    lags: tuple[float, ...] = (1.0, 2.0, 5.0)
    """seconds ago"""
    means: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    """seconds over which to take the mean, up to now"""
    gap: float = 2.0
    """s without a row after which everything starts anew"""

    def __post_init__(self) -> None:
        for name in self.inputs:
            if name not in USABLE:
                why = _WHY_NOT.get(name, "the car has no such column")
                raise UsageError(f"{name!r} cannot be an input: {why}. Take some of {', '.join(USABLE)}.")
        if not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise UsageError(f"Name at least one input, and none twice: {', '.join(USABLE)}.")
        for kind, spans in (("lag", self.lags), ("mean", self.means)):
            if len(set(spans)) < len(spans) or not all(0.0 < span <= LONGEST for span in spans):
                raise UsageError(
                    f"A {kind} looks back above 0 to {LONGEST:g} s, each once, not {spans}: "
                    "what lies ahead is not known when the row arrives."
                )
        if not 0.0 < self.gap <= LONGEST:
            raise UsageError(f"`gap` lies above 0 and up to {LONGEST:g} s, not at {self.gap}.")

    @property
    def window(self) -> float:
        """How many seconds of rows the features need; before that they are in their warm-up."""
        return max((*self.lags, *self.means), default=0.0)

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names: `engine_rpm`, `engine_rpm, 2 s ago`, `engine_rpm, mean of 5 s`."""
        return (
            *self.inputs,
            *(f"{name}, {span:g} s ago" for span in self.lags for name in self.inputs),
            *(f"{name}, mean of {span:g} s" for span in self.means for name in self.inputs),
        )

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each feature."""
        return tuple(_UNITS[name] for name in self.inputs) * (1 + len(self.lags) + len(self.means))

    def to_dict(self) -> dict[str, Any]:
        """For a model's metadata; `from_dict` reads it."""
        return {
            "inputs": list(self.inputs),
            "lags": list(self.lags),
            "means": list(self.means),
            "gap": self.gap,
        }

    @classmethod
    def from_dict(cls, values: Any) -> Recipe:
        """The recipe in a model's metadata. Raises DataError where it is none."""
        try:
            return cls(
                tuple(str(each) for each in values["inputs"]),
                tuple(float(each) for each in values["lags"]),
                tuple(float(each) for each in values["means"]),
                float(values["gap"]),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DataError(
                f"The model's recipe for its features is not readable ({error}); export the model again."
            ) from error


RECIPE: Final = Recipe()
"""What the lab trains with: three inputs, their values 1, 2 and 5 s ago, their means over 1 to 10 s."""
PLAIN: Final = Recipe(lags=(), means=())
"""The three inputs alone, as the series' model had them."""


@dataclass(slots=True)
class _Past:
    """The rows since the last start: times, values and each value's integral over time up to there."""

    times: list[float] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    integrals: list[tuple[float, ...]] = field(default_factory=list)
    origin: float = 0.0
    drive: str = ""

    def step(self, recipe: Recipe, seconds: float, values: tuple[float, ...], drive: str) -> Step:
        """What a row is to those before it.

        A row that steps back is either the first of a recording that begins again, or one that arrived
        before and was sent once more (at least once is all that a hub promises): the latter is the same as a
        row still in the window, and not the one that the recording begins with.
        """
        if not self.times or drive != self.drive:
            return "anew"
        last = self.times[-1]
        if seconds > last:
            return "next" if seconds - last <= recipe.gap + 1e-9 else "anew"
        if seconds == last:
            return "duplicate"
        if seconds != self.origin and last - seconds <= max(recipe.window, recipe.gap):
            at = bisect_left(self.times, seconds)
            if self.times[at] == seconds and self.values[at] == values:
                return "duplicate"
        return "anew"

    def start(self, seconds: float, values: tuple[float, ...], drive: str) -> None:
        """Forget all and begin with this row."""
        self.times, self.values = [seconds], [values]
        self.integrals = [(0.0,) * len(values)]
        self.origin, self.drive = seconds, drive

    def add(self, seconds: float, values: tuple[float, ...]) -> None:
        """Go on with this row."""
        half = 0.5 * (seconds - self.times[-1])
        self.integrals.append(
            tuple(
                [
                    total + half * (before + now)
                    for total, before, now in zip(self.integrals[-1], self.values[-1], values, strict=True)
                ]
            )
        )
        self.times.append(seconds)
        self.values.append(values)

    def forget(self, count: int) -> None:
        """Drop the oldest rows, and let the integrals start at the oldest that is left, lest they grow."""
        base = self.integrals[count]
        del self.times[:count], self.values[:count], self.integrals[:count]
        self.integrals = [tuple([a - b for a, b in zip(each, base, strict=True)]) for each in self.integrals]


@dataclass(frozen=True, slots=True)
class Live:
    """The features of one live row, in the order of `Recipe.names`."""

    values: list[float]
    warmup: bool
    """True until the recipe's window is full: lags and means then reach back to the first row only"""
    anew: bool
    """True for the first row after a start, a wrap, a new drive or a gap"""


class LiveFeatures:
    """Features of rows that arrive one at a time; bounded in memory by the recipe's window.

    `duplicates` counts rows that were dropped, `starts` how often the window was begun anew.
    """

    _SPARE: Final = 256  # rows kept beyond the window, so that old ones are dropped in one go

    def __init__(self, recipe: Recipe = RECIPE) -> None:
        self.recipe = recipe
        self.duplicates = 0
        self.starts = 0
        self._past = _Past()
        self._width = len(recipe.inputs)
        self._count = self._width * (1 + len(recipe.lags) + len(recipe.means))
        self._spans = self._places()
        self._at = [0] * len(self._spans)  # for each span, the last row that is no younger than it
        self._keep = max(recipe.window, recipe.gap)
        self._oldest = 0  # the last row that lies before everything that may still be asked for

    def push(self, row: CarRow, drive: str = "") -> Live | None:
        """The features of this row, or None for one that was there before.

        `drive` names the drive where that is known: another name starts anew. Raises DataError for a row
        with a value that is no finite number; the rows before it are kept.
        """
        values = tuple([getattr(row, name) for name in self.recipe.inputs])
        return self.push_values(row.seconds, values, drive)

    def push_values(self, seconds: float, values: tuple[float, ...], drive: str = "") -> Live | None:
        """`push` for the recipe's inputs in their order, without a row around them."""
        if not (math.isfinite(seconds) and all(map(math.isfinite, values))):
            raise DataError(
                f"The row at {seconds} s holds no finite number in one of {', '.join(self.recipe.inputs)}; drop it."
            )
        past = self._past
        step = past.step(self.recipe, seconds, values, drive)
        if step == "duplicate":
            self.duplicates += 1
            return None
        if step == "anew":
            past.start(seconds, values, drive)
            self.starts += 1
            self._at = [0] * len(self._spans)
            self._oldest = 0
            count = self._count // self._width
            return Live(list(values) * count, warmup=self.recipe.window > 0.0, anew=True)
        past.add(seconds, values)
        features = self._looked_back(seconds, values)
        warmup = seconds - past.origin < self.recipe.window - 1e-6
        self._trim(seconds)
        return Live(features, warmup, anew=False)

    def _places(self) -> list[tuple[float, int | None, int | None]]:
        """Each span once, with where its lags and its means begin among the features; None where it has none."""
        lags, means = self.recipe.lags, self.recipe.means

        def place(spans: tuple[float, ...], span: float, before: int) -> int | None:
            return self._width * (before + spans.index(span)) if span in spans else None

        return [
            (span, place(lags, span, 1), place(means, span, 1 + len(lags)))
            for span in dict.fromkeys((*lags, *means))
        ]

    def _looked_back(self, seconds: float, values: tuple[float, ...]) -> list[float]:
        """The features of the newest row, which has been added. Each row pays for it: written out, not divided up."""
        past, width, marks = self._past, self._width, self._at
        times, rows, integrals = past.times, past.values, past.integrals
        first, totals = times[0], integrals[-1]
        features = [*values, *([0.0] * (self._count - width))]
        for number, (span, lag, mean) in enumerate(self._spans):
            moment = seconds - span
            if moment <= first:
                if lag is not None:
                    features[lag : lag + width] = rows[0]
                if mean is not None:
                    length = seconds - first
                    features[mean : mean + width] = [total / length for total in totals]
                continue
            at = marks[number]
            while times[at + 1] <= moment:  # ends: the newest row is younger than any moment asked for
                at += 1
            marks[number] = at
            begin, row = times[at], rows[at]
            share = (moment - begin) / (times[at + 1] - begin)
            # On the straight line between that row and the next.
            then = [one + (other - one) * share for one, other in zip(row, rows[at + 1], strict=True)]
            if lag is not None:
                features[lag : lag + width] = then
            if mean is not None:
                part = 0.5 * (moment - begin)
                features[mean : mean + width] = [
                    (total - before - part * (one + other)) / span
                    for total, before, one, other in zip(totals, integrals[at], row, then, strict=True)
                ]
        return features

    def _trim(self, seconds: float) -> None:
        past = self._past
        while past.times[self._oldest + 1] < seconds - self._keep:
            self._oldest += 1
        if self._oldest > self._SPARE:
            past.forget(self._oldest)
            self._at = [max(0, at - self._oldest) for at in self._at]
            self._oldest = 0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Features of many rows: arrays of one length, one entry for each row that was no duplicate."""

    features: NDArray[np.float64]
    """rows by features, in the order of `Recipe.names`"""
    kept: NDArray[np.int64]
    """which of the given rows these are"""
    warmup: NDArray[np.bool_]
    segment: NDArray[np.int64]
    """counts up wherever the window was begun anew"""
    window: float
    """s that the features look back"""


def batch(
    seconds: NDArray[np.float64],
    inputs: NDArray[np.float64],
    recipe: Recipe = RECIPE,
    drives: Sequence[str] | None = None,
) -> Batch:
    """The features of rows in the order in which they were recorded, as `LiveFeatures` gives them one by one.

    inputs: rows by `recipe.inputs`; drives: each row's drive. Raises UsageError for arrays that do not fit
    each other, DataError for values that are no finite numbers.
    """
    import numpy as np

    if seconds.ndim != 1 or inputs.shape != (len(seconds), len(recipe.inputs)):
        raise UsageError(
            f"For {len(seconds)} rows, give inputs of shape ({len(seconds)}, {len(recipe.inputs)}), not {inputs.shape}."
        )
    if drives is not None and len(drives) != len(seconds):
        raise UsageError(f"There are {len(seconds)} rows and {len(drives)} names of drives; give one each.")
    if not (np.isfinite(seconds).all() and np.isfinite(inputs).all()):
        raise DataError("Some values are no finite numbers; leave those rows out, or fill them.")
    kept, starts = _sorted_out(seconds, inputs, recipe, drives)
    count = len(recipe.inputs) * (1 + len(recipe.lags) + len(recipe.means))
    values = np.empty((len(kept), count))
    warmup = np.zeros(len(kept), dtype=np.bool_)
    segment = np.zeros(len(kept), dtype=np.int64)
    for number, (begin, end) in enumerate(zip(starts, [*starts[1:], len(kept)], strict=True)):
        times = seconds[kept[begin:end]]
        values[begin:end] = _segment(times, inputs[kept[begin:end]], recipe)
        warmup[begin:end] = times - times[0] < recipe.window - 1e-6
        segment[begin:end] = number
    return Batch(values, kept, warmup, segment, recipe.window)


def _sorted_out(
    seconds: NDArray[np.float64],
    inputs: NDArray[np.float64],
    recipe: Recipe,
    drives: Sequence[str] | None,
) -> tuple[NDArray[np.int64], list[int]]:
    """The rows that are no duplicates, and which of those begin anew."""
    import numpy as np

    past = _Past()
    kept: list[int] = []
    starts: list[int] = []
    names = [""] * len(seconds) if drives is None else [str(each) for each in drives]
    rows = zip(seconds.tolist(), map(tuple, inputs.tolist()), names, strict=True)
    for index, (moment, values, drive) in enumerate(rows):
        step = past.step(recipe, moment, values, drive)
        if step == "duplicate":
            continue
        if step == "anew":
            starts.append(len(kept))
            past.start(moment, values, drive)
        else:
            past.times.append(moment)  # the integrals are worked out in one go below
            past.values.append(values)
        kept.append(index)
    return np.array(kept, dtype=np.int64), starts


def _segment(times: NDArray[np.float64], inputs: NDArray[np.float64], recipe: Recipe) -> NDArray[np.float64]:
    """The features of rows without a break between them."""
    import numpy as np

    if len(times) == 1:
        return np.tile(inputs, (1, 1 + len(recipe.lags) + len(recipe.means)))
    steps = np.diff(times)[:, None]
    integral = np.zeros_like(inputs)
    np.cumsum(0.5 * steps * (inputs[1:] + inputs[:-1]), axis=0, out=integral[1:])

    def line(moments: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        at = np.clip(np.searchsorted(times, moments, side="right") - 1, 0, len(times) - 2)
        share = ((moments - times[at]) / (times[at + 1] - times[at]))[:, None]
        return at, inputs[at] + (inputs[at + 1] - inputs[at]) * share

    parts = [inputs, *(line(np.maximum(times - span, times[0]))[1] for span in recipe.lags)]
    for span in recipe.means:
        moments = np.maximum(times - span, times[0])
        at, there = line(moments)
        before = integral[at] + 0.5 * (moments - times[at])[:, None] * (inputs[at] + there)
        length = times - moments
        length[0] = 1.0
        mean = (integral - before) / length[:, None]
        mean[0] = inputs[0]
        parts.append(mean)
    return np.hstack(parts)
