"""How good a model is, for the eye: a table of splits, and pictures of its errors.

Takes what `iotedge_lab.train.evaluate` and `iotedge_lab.car` give. Each picture is a `Picture` whose alt text says what
was found, in numbers taken from the data. Speeds are in mph.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.car.features import INPUTS
from iotedge_lab.car.rows import COLUMNS
from iotedge_lab.errors import DataError
from iotedge_lab.show.picture import Picture, figure, picture
from iotedge_lab.train.evaluate import per_gear, score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

    from iotedge_lab.train.evaluate import Comparison, Intervals
    from iotedge_lab.train.splits import Split

    Array = NDArray[np.float64]

_HEADERS: Final = {
    "random": "rows by lot",
    "time": "the end of each drive",
    "group": "groups held out",
    "drive": "whole drives held out",
}
_MOST_DOTS: Final = 3000
_AXIS: Final = {column.name: f"{column.header} ({column.unit})" for column in COLUMNS}


@dataclass(frozen=True, slots=True)
class Splits:
    """Models down, splits across; in each cell the R2, and the RMSE in mph below it. `note` is the finding."""

    models: tuple[str, ...]
    headers: tuple[str, ...]
    cells: tuple[tuple[tuple[float, float], ...], ...] = field(repr=False)
    note: str = ""

    def __repr__(self) -> str:
        width = max(map(len, self.models))
        rows = [
            self.headers,
            *([_r2(r2) + f", {rmse:.1f} mph" for r2, rmse in cells] for cells in self.cells),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for model, row in zip(("", *self.models), rows, strict=True):
            padded = [text.rjust(wide) for text, wide in zip(row, widths, strict=True)]
            lines.append(f"{model.ljust(width)}  {'  '.join(padded)}")
        return "\n".join([*lines, self.note] if self.note else lines)

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{escape(header)}</th>' for header in ("", *self.headers))
        rows = []
        for model, cells in zip(self.models, self.cells, strict=True):
            texts = (f"<td><b>{_r2(r2)}</b><br>{rmse:.1f} mph</td>" for r2, rmse in cells)
            rows.append(
                f'<tr><th scope="row" style="text-align:left">{escape(model)}</th>{"".join(texts)}</tr>'
            )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        return table + (f"<p>{escape(self.note)}</p>" if self.note else "")


def _r2(value: float) -> str:
    """With two decimals; never -0.00."""
    return f"R2 {round(value, 2) + 0.0:.2f}"


def table(compared: Comparison, *, models: Sequence[str] = (), splits: Sequence[Split] = ()) -> Splits:
    """The comparison as a table, of all models and splits unless some are named.

    Where leak detector, random split and an honest one are among them, the note below says whether the random split
    leaks. Raises `UsageError` for a model or a split that was not compared.
    """
    shown, ways = tuple(models) or compared.models, tuple(splits) or compared.splits
    cells = []
    for model in shown:
        found = [compared.score(split, model) for split in ways]
        cells.append(tuple((each.r2, each.rmse) for each in found))
    note = compared.leak() if "1-nearest neighbour" in shown and {"random"} < set(ways) else ""
    return Splits(shown, tuple(_words(compared, ways)), tuple(cells), note)


def _words(compared: Comparison, ways: Sequence[Split]) -> list[str]:
    """What each split does, in words."""
    one = {"time": "the end of the drive", "group": "blocks of time held out"}
    known = _HEADERS | (one if compared.data.drive_count == 1 else {})
    return [known[split] for split in ways]


def by_split(compared: Comparison, *, splits: Sequence[Split] = (), models: Sequence[str] = ()) -> Picture:
    """R2 of each model by each split, as bars. Below 0, worse than the mean, a bar ends at the axis."""
    names = [name for name in (models or compared.models) if name != "mean"]
    ways = tuple(splits) or compared.splits
    if not names:
        raise DataError("predicting the mean is 0 by definition; compare a model with it")
    with figure(height=3.2) as drawn:
        axes = drawn.subplots()
        width, words = 0.8 / len(ways), []
        for number, (split, header) in enumerate(zip(ways, _words(compared, ways), strict=True)):
            found = [compared.score(split, name).r2 for name in names]
            at = np.arange(len(names)) + (number - (len(ways) - 1) / 2) * width
            bars = axes.bar(at, np.maximum(found, 0.0), width * 0.92, label=header)
            axes.bar_label(bars, [f"{value:.2f}" for value in found], fontsize=8, padding=2)
            words.append(
                f"{header}: " + ", ".join(f"{n} {value:.2f}" for n, value in zip(names, found, strict=True))
            )
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="R2 (1 is perfect)", ylim=(0, 1.12))
        axes.grid(axis="x", visible=False)
        drawn.legend(loc="outside upper left", ncols=len(ways))
        return picture(drawn, f"Bars: R2 by split. {'; '.join(words)}.")


def inputs(frame: DataFrame) -> Picture:
    """The speed over each of the three inputs, a dot a row. Raises `DataError` where a column is missing."""
    short = frame.rename(columns={column.header: column.name for column in COLUMNS})
    missing = [name for name in (*INPUTS, "speed") if name not in short.columns]
    if missing or short.empty:
        raise DataError(
            f"the frame lacks {', '.join(missing) or 'rows'}; read it with iotedge_lab.car.drives.load"
        )
    with figure(height=2.7) as drawn:
        places = drawn.subplots(1, len(INPUTS), sharey=True)
        words = []
        for axes, name in zip(places, INPUTS, strict=True):
            axes.scatter(short[name], short["speed"], s=4, alpha=0.35, linewidths=0)
            axes.set_xlabel(_AXIS[name].replace(" Position", ""))
            words.append(f"{_AXIS[name].partition(' (')[0].lower()} {short[name].corr(short['speed']):.2f}")
        places[0].set_ylabel("speed (mph)")
        return picture(
            drawn,
            f"Dots: speed over throttle, engine speed and acceleration, {len(frame)} rows. Their correlations with "
            f"the speed are: {', '.join(words)}. None of the three fixes the speed by itself.",
        )


def residuals(actual: Array, predicted: Array, intervals: Intervals | None = None) -> Picture:
    """Predicted over actual speed, and beside it what the prediction is off by. With intervals, their width too."""
    found = score(actual, predicted)
    off = predicted - actual
    step = max(1, len(actual) // _MOST_DOTS)
    with figure(height=3.2) as drawn:
        left, right = drawn.subplots(1, 2)
        top = float(max(actual.max(), predicted.max(), 1.0)) * 1.03
        left.scatter(actual[::step], predicted[::step], s=4, alpha=0.35, linewidths=0)
        left.plot([0, top], [0, top], color="0.35", linewidth=0.9)
        left.set(xlabel="actual speed (mph)", ylabel="predicted speed (mph)", xlim=(0, top), ylim=(0, top))
        right.scatter(predicted[::step], off[::step], s=4, alpha=0.35, linewidths=0)
        right.axhline(0, color="0.35", linewidth=0.9)
        right.set(xlabel="predicted speed (mph)", ylabel="predicted - actual (mph)", xlim=(0, top))
        words = (
            f"Dots: predicted over actual speed, and what it is off by, {len(actual)} rows; R2 {found.r2:.2f}, off by "
            f"{found.mae:.1f} mph on average."
        )
        if intervals is not None:
            at = np.linspace(0, top, 200)
            low, high = intervals.around(at)
            right.plot(at, high - at, color="C1", linewidth=1.2, linestyle="--")
            right.plot(at, low - at, color="C1", linewidth=1.2, linestyle="--")
            words += (
                f" The dashed lines are the interval that was to hold {intervals.level:.0%} of the rows and holds "
                f"{intervals.coverage(actual, predicted):.0%} of these."
            )
        return picture(drawn, words)


def gears(gear: NDArray[np.int64], actual: Array, predicted: Array) -> Picture:
    """The mean absolute error and the mean error, gear by gear; gear 0 is standing."""
    found = per_gear(gear, actual, predicted)
    with figure(height=2.9) as drawn:
        axes = drawn.subplots()
        at = np.arange(len(found))
        axes.bar(at - 0.2, found["MAE (mph)"], 0.38, label="mean size of the error")
        axes.bar(at + 0.2, found["mean residual (mph)"], 0.38, label="mean error: above 0 is too fast")
        axes.axhline(0, color="0.35", linewidth=0.9)
        axes.set_xticks(at, ["standing" if number == 0 else f"{number}" for number in found["gear"]])
        axes.set(xlabel="gear", ylabel="error (mph)")
        axes.grid(axis="x", visible=False)
        axes.legend(loc="best")
        worst = found.loc[found["MAE (mph)"].idxmax()]
        each = ", ".join(
            f"{'standing' if line['gear'] == 0 else int(line['gear'])} {line['MAE (mph)']:.1f}"
            for _, line in found.iterrows()
        )
        name = "while standing" if worst["gear"] == 0 else f"in gear {int(worst['gear'])}"
        return picture(
            drawn,
            f"Bars: the mean absolute error gear by gear, in mph: {each}. It is largest {name}.",
        )


def over_time(seconds: Array, actual: Array, predicted: Array, intervals: Intervals | None = None) -> Picture:
    """Predicted and actual speed over the seconds of one drive, with the interval where there is one."""
    found = score(actual, predicted)
    with figure() as drawn:
        axes = drawn.subplots()
        words = (
            f"Lines: actual and predicted speed over {seconds.max() - seconds.min():.0f} seconds of a drive, "
        )
        if intervals is not None:
            low, high = intervals.around(predicted)
            axes.fill_between(seconds, low, high, alpha=0.2, linewidth=0, label="interval")
        axes.plot(seconds, predicted, linewidth=1.2, color="C0", label="predicted")
        axes.plot(seconds, actual, linewidth=1.2, color="C1", linestyle="--", label="actual")
        axes.set(xlabel="time (s)", ylabel="speed (mph)", ylim=(0, None))
        axes.margins(x=0)
        drawn.legend(loc="outside upper left", ncols=3)
        words += f"R2 {found.r2:.2f}, off by {found.mae:.1f} mph on average."
        if intervals is not None:
            inside = intervals.coverage(actual, predicted)
            words += f" The actual speed lies within the interval in {inside:.0%} of the rows."
        return picture(drawn, words)
