"""The whole loop: a fleet changes cars, the error rises, the loop notices, trains, rolls out, and the error falls."""

import threading

import pandas as pd
import pytest
from onnx_models import made
from predictions import prediction

from iotedge_lab.car.cars import OTHER, RECORDED
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.rollout.compare import Rule
from iotedge_lab.rollout.drift import Reference, Watch
from iotedge_lab.rollout.learn import learn
from iotedge_lab.rollout.loop import Loop, Rows
from iotedge_lab.rollout.plan import Plan

KINDS = ("city", "suburban", "highway")
PLAN = Plan(
    canary=0.5,
    rule=Rule(block_seconds=10.0, least_blocks=6, most_blocks=60, least_rows=3),
    canary_rows=20,
    comparing=60.0,
)
WATCH = Watch(window=6, sigmas=3.0, block_seconds=10.0, least_rows=3)


def drives(car, seeds, seconds=150.0):
    """Drives of a car by name, thinned to 2 rows a second."""
    return {f"{car.name}-{n}": car.drive(n, KINDS[n % 3], seconds)[::5] for n in seeds}


def frame(made_of):
    """As the lake gives them."""
    return pd.concat(
        [pd.DataFrame([row.to_dict() for row in rows]).assign(Drive=name) for name, rows in made_of.items()],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def learned():
    """A model of the recorded car."""
    return learn(frame(drives(RECORDED, range(8100, 8108))), budget=0.5)


class Cars(threading.Thread):
    """Each edge drives its car's drives, behind the warm-up of each, until it is told to end."""

    def __init__(self, edges, car, seeds):
        super().__init__(daemon=True)
        self._edges, self._drives, self.end = edges, drives(car, seeds), threading.Event()

    def run(self):
        names = list(self._drives)
        lap = 0
        while not self.end.is_set():
            for name in names:
                for row in self._drives[name]:
                    for number, edge in enumerate(self._edges):
                        if self.end.wait(0.002):
                            return
                        edge.drive([row], f"{name}-{number}-{lap}")
            lap += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.join(30)


def test_a_model_that_was_learned(learned):
    """What it is worth stands in the file, and in the reference: on drives that it has not seen."""
    assert learned.score.mae < 8.0
    assert learned.score.r2 > 0.7
    assert learned.reference.mean == pytest.approx(learned.score.mae, rel=0.3)
    assert learned.reference.drives >= 1
    from iotedge_lab.car.predictor import Predictor

    told = Predictor(learned.content).metadata
    assert told["metrics"]["drives held out"]["mae"] == pytest.approx(learned.score.mae)
    assert told["intervals"]["level"] == 0.9


def test_the_whole_loop(service, registry, fleet, learned, until):
    """Quiet with the car that it knows; with the other one: noticed, trained, better on the canary, promoted."""
    edges, name = fleet(2), service.name
    other = frame(drives(OTHER, range(8200, 8210)))
    asked, steps = [], []

    def source(since):
        asked.append(since)
        return Rows(other, "lake/telemetry", 7)

    loop = Loop(
        service, registry, source, name=name, plan=PLAN, watch=WATCH,
        train=lambda rows: learn(rows, budget=0.5), on_step=steps.append,
    )  # fmt: skip
    first = loop.register(learned, Rows(other, "lake/telemetry", 3))
    service.serve(first)
    with loop.watching():
        with Cars(edges, RECORDED, range(8300, 8303)):
            until(lambda: loop.detector.blocks >= WATCH.window)
        quiet = loop.detector.check()
        with Cars(edges, OTHER, range(8400, 8406)):
            drift = loop.wait(60.0)
            assert drift is not None, (loop.detector.error, learned.reference)
            turn = loop.turn(drift)
            assert turn.promoted, turn
            assert loop.detector.version == "2"
            until(lambda: loop.detector.blocks >= 3)
            after = loop.detector.error
    assert quiet is None
    assert drift.error > 1.15 * learned.reference.mean
    assert after < drift.error
    assert asked == [drift.since]
    champion = registry.champion(name)
    assert (champion.version, champion.lineage.table, champion.lineage.table_version) == (
        "2",
        "lake/telemetry",
        7,
    )
    assert Reference.from_metrics(champion.metrics) == turn.learned.reference
    assert turn.outcome.verdict.finding == "better"
    assert [edge.serving for edge in edges] == ["2", "2"]
    assert {each.stage for each in steps} == {"published", "shadow", "canary", "fleet", "promoted"}


class Nobody:
    """A service that nobody listens to: the loop's own rules are tested without a hub."""

    def __init__(self, registry, promote):
        self.registry, self.promote, self.rolled = registry, promote, []
        self.take = None

    def follow(self, take):
        import contextlib

        self.take = take
        return contextlib.nullcontext()

    def roll_out(self, version, plan, *, on_step, stop):
        from types import SimpleNamespace

        self.rolled.append(version.version)
        if self.promote:
            self.registry.promote(version)
        return SimpleNamespace(result="promoted" if self.promote else "rolled back", reason="said so")


def loop_over(registry, name, *, promote=True, source=None, train=None):
    service = Nobody(registry, promote)
    reference = Reference(1.0, 0.1, 0.1, 50, 3)
    champion = registry.promote(registry.register(name, made(1.0), metrics=reference.to_metrics()))
    from types import SimpleNamespace

    given = SimpleNamespace(content=made(2.0), reference=reference)
    loop = Loop(
        service, registry, source or (lambda since: Rows(pd.DataFrame())), name=name,
        watch=Watch(window=3), train=train or (lambda rows: given), patience=0.01,
    )  # fmt: skip
    return loop, service, champion


def hot(service, begin=0.0, version="1"):
    """Rows of a model that errs five times as much as it should."""
    for second in range(100):
        service.take(prediction(begin + second, 5.0, version=version))


def test_turn_after_turn(registry, name):
    """`run` turns until so many models were promoted; the detector then watches the new champion."""
    loop, service, _ = loop_over(registry, name)
    turns = []

    def heat(turn):
        turns.append(turn)
        hot(service, version=str(len(turns) + 1))

    with loop.watching():
        hot(service)
        first = loop.turn(loop.wait(5.0))
        assert (first.promoted, loop.detector.version, loop.detector.blocks) == (True, "2", 0)
        hot(service)  # the old version's rows no longer count
        assert loop.detector.blocks == 0
        hot(service, version="2")
        assert loop.wait(5.0).version == "2"
    assert loop.detector is None
    with pytest.raises(UsageError, match="inside `with loop"):
        loop.wait(0.1)


def test_run_ends_when_it_should(registry, name):
    """After a promotion, or when it is stopped; a false alarm costs a training only."""
    loop, service, _ = loop_over(registry, name, promote=False)
    stop = threading.Event()
    seen = []

    def on_turn(turn):
        seen.append(turn.result)
        if len(seen) == 2:
            service.promote = True
        hot(service)

    def source(since):
        return Rows(pd.DataFrame())

    loop._source = source
    feeder = threading.Timer(0.2, lambda: hot(service))
    feeder.start()
    turns = loop.run(1, stop, on_turn)
    feeder.join()
    assert [each.result for each in turns] == seen == ["rolled back", "rolled back", "promoted"]
    assert registry.champion(name).version == "4"
    stop.set()
    assert loop.run(1, stop) == []


def test_not_enough_rows_yet(registry, name):
    """It waits for more, and remembers since when the drift has been there."""
    told = []

    def source(since):
        told.append(since)
        if len(told) < 2:
            raise DataError("no rows yet")
        return Rows(pd.DataFrame())

    loop, service, _ = loop_over(registry, name, source=source)
    with loop.watching():
        hot(service)
        drift = loop.wait(5.0)
        turn = loop.turn(drift)
        assert (turn.result, turn.reason, service.rolled) == ("not enough rows", "no rows yet", [])
        hot(service, 1000.0)
        later = loop.wait(5.0)
        assert later.since > drift.since
        assert loop.turn(later).promoted
    assert told == [drift.since, drift.since]


def test_a_turn_that_was_asked_for(registry, name):
    """Without a drift all rows are taken."""
    told = []
    loop, *_ = loop_over(registry, name, source=lambda since: told.append(since) or Rows(pd.DataFrame()))
    assert loop.turn().promoted
    assert told == [None]


def test_champions_that_cannot_be_watched(registry, name):
    """None, and one without a reference."""
    loop = Loop(Nobody(registry, True), registry, lambda since: Rows(pd.DataFrame()), name=name)
    with pytest.raises(UsageError, match="has no champion to watch"), loop.watching():
        pass
    registry.promote(registry.register(name, made()))
    with pytest.raises(UsageError, match="without the error on drives held out"), loop.watching():
        pass


def test_too_few_rows_to_learn_from():
    """Told of as the data set tells it."""
    with pytest.raises(DataError):
        learn(frame(drives(OTHER, [8500], 10.0))[:20], budget=0.5)


def test_remnants_of_the_car_before_are_left_out():
    """An alarm looks back to before it: seconds of the other car are neither learned from nor held out to judge by."""
    whole = drives(OTHER, range(8500, 8503))
    remnants = drives(RECORDED, range(8100, 8104), 25.0)
    found = learn(frame({**remnants, **whole}), budget=0.3)
    assert found.reference.drives == 1
    assert found.rows == learn(frame(whole), budget=0.3).rows


def test_too_few_rows_to_judge_by():
    """Not an error that ends the loop, but rows to wait for."""
    with pytest.raises(DataError, match="3 at least"):
        learn(frame(drives(OTHER, range(8500, 8503), 38.0)), budget=0.3)
