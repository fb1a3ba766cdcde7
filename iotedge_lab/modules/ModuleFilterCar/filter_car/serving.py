"""Champion and challenger on live rows. For one thread, which also swaps them: between two rows, never within one.

Each car has its own window of rows, as features look some seconds back. A model that takes over gets the rows of the
last minute first, so that it need not warm up anew.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from filter_car.model import Model
    from filter_car.rows import Arrival
    from iotedge_lab.car.predictor import Prediction, Predictor
    from iotedge_lab.car.rows import CarRow

Slot = Literal["model", "challenger"]

CARS: Final = 64  # whose rows are remembered; the one that was silent for longest is forgotten
KEPT: Final = 60.0  # s of a car's rows that a new model gets
MOST_KEPT: Final = 1000
RECENT: Final = 600  # rows over which errors are averaged

log = logging.getLogger("ModuleFilterCar")


@dataclass(slots=True)
class Record:
    """How a model has done since it took over; the error is the absolute one, mph, over the last `RECENT` rows."""

    rows: int = 0
    failures: int = 0
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, error: float) -> None:
        """One more row."""
        self.rows += 1
        self.errors.append(abs(error))

    @property
    def mean(self) -> float | None:
        """The mean of the errors; None before the first row that was no warm-up."""
        errors = list(self.errors)
        return sum(errors) / len(errors) if errors else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a row, and by whom."""

    arrival: Arrival
    prediction: Prediction
    version: str
    challenger: Prediction | None = None
    challenger_version: str = ""

    @property
    def error(self) -> float:
        """Predicted less actual, mph."""
        return self.prediction.speed - self.arrival.row.speed


class _Car:
    """A car's latest rows, and each model's predictor with them."""

    __slots__ = ("predictors", "rows")

    def __init__(self) -> None:
        self.rows: deque[CarRow] = deque(maxlen=MOST_KEPT)
        self.predictors: dict[Slot, Predictor] = {}

    def take(self, slot: Slot, model: Model | None) -> None:
        if model is None:
            self.predictors.pop(slot, None)
            return
        predictor = model.predictor.for_another_car()
        for row in self.rows:
            predictor.features.push(row)
        self.predictors[slot] = predictor

    def keep(self, row: CarRow) -> None:
        self.rows.append(row)
        newest = row.seconds
        # A recording that starts again leaves rows with later seconds behind: they are out of the window too.
        while abs(newest - self.rows[0].seconds) > KEPT:
            self.rows.popleft()


class Serving:
    """The models that serve. `duplicates`: rows that were there before; they are answered once."""

    def __init__(self, model: Model) -> None:
        self.models: dict[Slot, Model] = {"model": model}
        self.records: dict[Slot, Record] = {"model": Record()}
        self.duplicates = 0
        self.swaps = 0
        self._cars: OrderedDict[tuple[str, str], _Car] = OrderedDict()

    def put(self, slot: Slot, model: Model | None) -> None:
        """From the next row on; None takes a challenger away."""
        for car in self._cars.values():
            car.take(slot, model)
        if model is None:
            self.models.pop(slot, None)
            self.records.pop(slot, None)
        else:
            self.models[slot] = model
            self.records[slot] = Record()
        self.swaps += 1

    def answer(self, arrival: Arrival) -> Answer | None:
        """What there is to say of a row; None for one that was there before.

        Raises DataError where the model has no finite number for it.
        """
        car = self._cars.get(arrival.car)
        if car is None:
            car = self._cars[arrival.car] = _Car()
            for slot, model in self.models.items():
                car.take(slot, model)
            if len(self._cars) > CARS:
                self._cars.popitem(last=False)
        else:
            self._cars.move_to_end(arrival.car)
        row = arrival.row
        champion = self._of("model", lambda: car.predictors["model"].predict(row))
        if champion is None:
            self.duplicates += 1
            return None
        car.keep(row)
        self._judge("model", champion, row)
        version = self.models["model"].version
        if "challenger" not in car.predictors:
            return Answer(arrival, champion, version)
        try:
            beside = self._of("challenger", lambda: car.predictors["challenger"].predict(row))
        except DataError:  # counted; the champion's answer does not wait for it
            beside = None
        if beside is not None:
            self._judge("challenger", beside, row)
        return Answer(arrival, champion, version, beside, self.models["challenger"].version)

    def _of(self, slot: Slot, predict: Callable[[], Prediction | None]) -> Prediction | None:
        try:
            found = predict()
        except Exception as error:  # the runtime's errors share no class
            raise self._failure(slot, str(error)) from error
        if found is not None and not math.isfinite(found.speed):
            raise self._failure(slot, f"it predicts {found.speed}")
        return found

    def _failure(self, slot: Slot, reason: str) -> DataError:
        record = self.records[slot]
        record.failures += 1
        if record.failures == 1:
            log.error("The %s %s fails on a row: %s", slot, self.models[slot].version, reason[:200])
        return DataError(
            f"The {slot} {self.models[slot].version} has no prediction for the row ({reason[:200]})."
        )

    def _judge(self, slot: Slot, prediction: Prediction, row: CarRow) -> None:
        record = self.records[slot]
        if prediction.warmup:
            record.rows += 1
        else:
            record.add(prediction.speed - row.speed)
