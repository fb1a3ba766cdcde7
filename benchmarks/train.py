"""A model of the car's speed, from its training to its use on the edge: `python -m benchmarks train`.

Learned from the drives in data/, judged on drives of seeds that neither they nor any choice made here have seen. The
training is what a notebook's cell does: data set, search, intervals from whole drives held out, export to ONNX with its
check. The single row is timed through onnxruntime and through flaml.AutoML by turns.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.setting import Row
from iotedge_lab.car.features import batch
from iotedge_lab.car.predictor import INPUT, Predictor, open_session
from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate
from iotedge_lab.train import automl, dataset, evaluate, export
from iotedge_lab.train.notes import TrainWarning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.setting import Setting
    from iotedge_lab.car.rows import CarRow

NAME = "train"
TITLE = "A model of the car's speed, trained and on the edge"
SEARCH = 30.0  # s
LEAST_R2, LEAST_GAIN = 0.85, 25.0
MOST_MICROSECONDS, LEAST_TIMES = 50.0, 30.0
LEAST_ROWS = 5_000
MOST_SECONDS = 45.0
UNSEEN = 20_260  # the first seed; the shipped drives have 1300 to 1313 and 80


def unseen(count: int, seconds: float) -> dict[str, list[CarRow]]:
    kinds: Any = ("city", "suburban", "highway")
    start = datetime.fromisoformat("2026-03-02 08:00:00")
    return {
        f"{kinds[n % 3]}-{UNSEEN + n}": record(simulate(UNSEEN + n, kinds[n % 3], seconds), start)
        for n in range(count)
    }


def trained(budget: float, path: Path) -> tuple[automl.Found, dataset.Dataset, export.Exported, float]:
    """What the training cell does, and how long it took."""
    begin = time.perf_counter()
    data = dataset.shipped()
    found = automl.search(data, budget, seed=1)
    held = evaluate.compare(data, {"AutoML": found.refit}, ["drive"])
    made = export.export(
        found,
        path,
        data,
        data,
        metrics={"whole drives held out": held.score("drive", "AutoML")},
        intervals=evaluate.Intervals.of(held.actual("drive"), held.predicted["drive", "AutoML"]),
    )
    return found, data, made, time.perf_counter() - begin


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@dataclass(frozen=True)
class SingleRow:
    """Microseconds for one row, ours and theirs, and how many times faster ours is: the median of the rounds' own."""

    ours: float
    slowest: float
    theirs: float
    times: float


def single_row(found: automl.Found, made: export.Exported, rows: Any, rounds: int, calls: int) -> SingleRow:
    """In each round so many calls of ours, then as many of theirs, each with another row."""
    session = open_session(made.path.read_bytes())
    singles = [row[None, :] for row in rows[: rounds * calls]]
    ours, theirs, ratios = [], [], []
    for turn in range(rounds):
        part = singles[turn * calls : (turn + 1) * calls]
        here = [timed(lambda row=row: session.run(None, {INPUT: row})) for row in part]
        there = [timed(lambda row=row: found.automl.predict(row)) for row in part]
        ours += here
        theirs += there
        ratios.append(median(there) / median(here))
    slowest = sorted(ours)[int(len(ours) * 0.99)]
    return SingleRow(median(ours) * 1e6, slowest * 1e6, median(theirs) * 1e6, median(ratios))


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Train, judge on unseen drives, and time the use (a quick run searches 1.5 s and judges three short drives)."""
    warnings.simplefilter("ignore", TrainWarning)  # of a quick run's few trials
    budget = SEARCH if not setting.quick else 1.5
    drives = unseen(setting.count(12, 3), setting.count(480, 60))
    found, data, made, seconds = trained(budget, setting.folder / "speed.onnx")
    say(f"{found!r}, {made!r} in {seconds:.1f} s")
    test = dataset.build(drives, every=None)
    slow = dataset.build({name: each[::10] for name, each in drives.items()}, every=None)
    at_1_hz = evaluate.score(slow.target, found.predict(slow.features))
    learned = evaluate.score(test.target, found.predict(test.features))
    line = evaluate.score(test.target, evaluate.linear(data).predict(test.features))
    gain = 100.0 * (1.0 - learned.rmse / line.rmse)
    say(f"on unseen drives {learned}, linear {line}")
    steady = single_row(found, made, test.features, setting.count(60, 5), 50)
    turns = single_row(found, made, test.features, setting.count(3000, 100), 1)
    rows = [row for each in drives.values() for row in each][: setting.count(20_000, 1_000)]
    predictor = Predictor(made.path)
    begin = time.perf_counter()
    for row in rows:
        predictor.predict(row)
    rate = len(rows) / (time.perf_counter() - begin)
    whole = next(iter(drives.values()))
    import numpy as np

    times_of = np.array([row.seconds for row in whole])
    inputs = np.array([[getattr(row, name) for name in data.recipe.inputs] for row in whole])
    begin = time.perf_counter()
    batch(times_of, inputs)
    together = len(whole) / (time.perf_counter() - begin)
    judged = f"{learned.rows:,} rows of {len(drives)} drives of unseen seeds"
    return [
        Row(
            "Unseen drives: R2 of the model found",
            learned.r2,
            "",
            target=f">= {LEAST_R2:g}",
            met=learned.r2 >= LEAST_R2,
            note=f"{judged}; the linear model {line.r2:.2f}; {found.estimator}, {len(found.trials)} trials",
        ),
        Row(
            "Unseen drives: RMSE below the linear model's",
            gain,
            "%",
            target=f">= {LEAST_GAIN:g} %",
            met=gain >= LEAST_GAIN,
            note=f"{learned.rmse:.2f} and {line.rmse:.2f} mph; MAE {learned.mae:.2f} and {line.mae:.2f} mph",
        ),
        Row(
            "Unseen drives at 1 Hz: R2 of the same model", at_1_hz.r2, "", note=f"{at_1_hz.rmse:.2f} mph RMSE"
        ),
        Row(
            "Single row through onnxruntime, p50",
            steady.ours,
            "us",
            target=f"<= {MOST_MICROSECONDS:g} us",
            met=steady.ours <= MOST_MICROSECONDS,
            note=f"p99 {steady.slowest:.0f} us; {made.size / 1024:.0f} KiB, off by {made.difference:.0e} mph at most",
        ),
        Row(
            "Single row: onnxruntime before automl.predict",
            steady.times,
            "times",
            target=f">= {LEAST_TIMES:g} times",
            met=steady.times >= LEAST_TIMES,
            note=f"automl.predict takes {steady.theirs:.0f} us; rounds of 50 calls by turns",
        ),
        Row(
            "The same, call by call by turns",
            turns.times,
            "times",
            note=f"each finds the caches as the other left them: {turns.ours:.0f} and {turns.theirs:.0f} us",
        ),
        Row(
            "Features and prediction, row by row",
            rate,
            "rows/s",
            target=f">= {LEAST_ROWS:,} rows/s",
            met=rate >= LEAST_ROWS,
        ),
        Row("Features of a whole drive at once", together, "rows/s"),
        Row(
            "The training cell",
            seconds,
            "s",
            target=f"<= {MOST_SECONDS:g} s",
            met=seconds <= MOST_SECONDS,
            note=f"data set, {budget:g} s of search, whole drives held out, export and its check",
        ),
    ]
