"""The loop: notice that the model has grown old, train on the new rows, register, roll out; and again.

    loop = Loop(service, registry, source)
    with loop.watching():
        turn = loop.wait(stop).turn()          # or loop.run(turns=1)

A false alarm costs a training, and no more: the challenger still has to be better on live rows. Where there are not
rows enough yet, or the challenger was no better, the loop waits for further rows before it tries again.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import DataError, ExportRefused, UsageError
from iotedge_lab.registry.version import Lineage
from iotedge_lab.rollout.drift import Detector, Drift, Reference, Watch
from iotedge_lab.rollout.learn import Learned, learn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import pandas as pd

    from iotedge_lab.registry.registry import Registry
    from iotedge_lab.registry.version import Version
    from iotedge_lab.rollout.messages import Prediction
    from iotedge_lab.rollout.plan import Outcome, Plan, Step
    from iotedge_lab.rollout.service import Service

_LOOK: Final = 0.2  # s between two looks at the detector
_PATIENCE: Final = 30.0  # s before another training, where the last one led to nothing


@dataclass(frozen=True, slots=True)
class Rows:
    """What to learn from, and where it lies."""

    frame: pd.DataFrame = field(repr=False)
    """the columns of a car.csv by their headers or short names, and `Drive`"""
    table: str = ""
    table_version: int | None = None


class Source(Protocol):
    """Gives the rows of cars that reached the cloud since a moment; None: all there are."""

    def __call__(self, since: datetime | None) -> Rows:
        """Raises `DataError` where there are none."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop."""

    drift: Drift | None
    """what set it off; None for a turn that was asked for"""
    result: Literal["promoted", "rolled back", "not enough rows", "no model"]
    reason: str
    learned: Learned | None = None
    version: Version | None = None
    outcome: Outcome | None = None

    @property
    def promoted(self) -> bool:
        """Whether the fleet has a new model."""
        return self.result == "promoted"


class Loop:
    """Watches the champion, and replaces it when it has grown old. For one thread at a time."""

    def __init__(
        self,
        service: Service,
        registry: Registry,
        source: Source,
        *,
        name: str = "car-speed",
        plan: Plan | None = None,
        watch: Watch | None = None,
        train: Callable[[pd.DataFrame], Learned] = learn,
        patience: float = _PATIENCE,
        clock: Clock | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        """source: where the new rows come from, such as the lake. train: what makes a model of them.

        patience: seconds before another training, where the last one led to nothing.
        """
        self._service = service
        self._registry = registry
        self._source = source
        self._name = name
        self._plan = plan
        self._watch = watch or Watch()
        self._train = train
        self._patience = patience
        self._clock = clock or SystemClock()
        self._on_step = on_step
        self._detector: Detector | None = None
        self._since: datetime | None = None  # when a drift began that no promotion has ended

    @property
    def detector(self) -> Detector | None:
        """What watches the champion now; None while nothing is watched."""
        return self._detector

    @contextmanager
    def watching(self) -> Iterator[Loop]:
        """Watch the champion's live error while this lasts. Raises `UsageError` for a champion without a reference."""
        self._renew()
        try:
            with self._service.follow(self._hear):
                yield self
        finally:
            self._detector = None

    def _hear(self, prediction: Prediction) -> None:
        detector = self._detector
        if detector is not None:
            detector.add(prediction)

    def _renew(self) -> None:
        """Watch the champion as it is now."""
        champion = self._registry.champion(self._name)
        if champion is None:
            raise UsageError(
                f"{self._name!r} has no champion to watch: register a version and give it to the fleet (service.serve)."
            )
        reference = Reference.from_metrics(champion.metrics)
        if reference is None:
            raise UsageError(
                f"{champion!r} was registered without the error on drives held out, so there is nothing to compare its "
                "live error with: register it with metrics=learned.reference.to_metrics()."
            )
        self._detector = Detector(champion.version, reference, self._watch)

    def wait(self, seconds: float | None = None, stop: threading.Event | None = None) -> Drift | None:
        """Wait until the live error has risen; None after `seconds`, or once `stop` is set. Needs `watching`."""
        stop = stop or threading.Event()
        begun = self._clock.monotonic()
        while True:
            if self._detector is None:
                raise UsageError("Nothing is watched: call this inside `with loop.watching():`.")
            drift = self._detector.check()
            if drift is not None or stop.is_set():
                return drift
            if seconds is not None and self._clock.monotonic() - begun > seconds:
                return None
            stop.wait(_LOOK)

    def turn(self, drift: Drift | None = None, stop: threading.Event | None = None) -> Turn:
        """Train on the rows since the drift began, register, roll out. Without a drift: on all rows there are.

        Raises `RolloutProblem`, `RegistryProblem` and what the source raises; too few rows are no error but a result.
        """
        if drift is not None:
            self._since = drift.since if self._since is None else min(self._since, drift.since)
        try:
            rows = self._source(None if drift is None else self._since)
            learned = self._train(rows.frame)
        except DataError as error:
            return self._done(Turn(drift, "not enough rows", str(error)))
        except ExportRefused as error:
            return self._done(Turn(drift, "no model", str(error)))
        version = self.register(learned, rows)
        outcome = self._service.roll_out(version, self._plan, on_step=self._on_step, stop=stop)
        version = self._registry.get(self._name, version.version)
        return self._done(Turn(drift, outcome.result, outcome.reason, learned, version, outcome))

    def register(self, learned: Learned, rows: Rows) -> Version:
        """A model that was trained, as the next version: with its reference, and the table that it was trained on."""
        return self._registry.register(
            self._name,
            learned.content,
            metrics=learned.reference.to_metrics(),
            lineage=Lineage(rows.table, rows.table_version),
        )

    def _done(self, turn: Turn) -> Turn:
        if self._detector is not None:
            if turn.promoted:
                self._since = None
                self._renew()
            else:
                self._detector.forget()
        return turn

    def run(
        self,
        turns: int | None = None,
        stop: threading.Event | None = None,
        on_turn: Callable[[Turn], None] | None = None,
    ) -> list[Turn]:
        """Watch, and turn at each alarm, until so many models were promoted or `stop` is set. The turns made."""
        stop = stop or threading.Event()
        made: list[Turn] = []
        with self.watching():
            while not stop.is_set():
                drift = self.wait(stop=stop)
                if drift is None or stop.is_set():
                    break
                made.append(self.turn(drift, stop))
                if on_turn is not None:
                    on_turn(made[-1])
                if turns is not None and sum(each.promoted for each in made) >= turns:
                    break
                if not made[-1].promoted:
                    stop.wait(self._patience)
        return made
