"""The picture of the error over time, and the table of edges: what they say is what the data say."""

import math
from datetime import timedelta

import pandas as pd
import pytest
from predictions import BEGIN, prediction

from iotedge_lab.errors import DataError
from iotedge_lab.registry.version import Lineage, Version
from iotedge_lab.rollout.live import LiveErrors
from iotedge_lab.rollout.release import EdgeState, Pending, Release, Running
from iotedge_lab.show import rollout


def errors(kept=100_000):
    """A model that grows old, and the one that takes its place."""
    live = LiveErrors(kept)
    for second in range(600):
        live.add(prediction(float(second), 2.0 if second < 300 else 6.0, warmup=second < 10))
    for second in range(600, 900):
        live.add(prediction(float(second), -1.5, version="2"))
    return live


def test_the_latest_errors():
    """The mean of so many, without the warm-up; of one version, or of all; none is told as none."""
    live = errors()
    assert live.recent(200) == (1.5, 200)
    assert live.recent(400) == (pytest.approx((300 * 1.5 + 100 * 6.0) / 400), 400)
    assert live.recent(1_000, "1") == (pytest.approx((290 * 2.0 + 300 * 6.0) / 590), 590)
    mean, count = live.recent(5, "9")
    assert math.isnan(mean)
    assert count == 0


def test_the_error_over_time():
    """One line a version; the alt text says how each went, without the warm-up."""
    picture = rollout.error_over_time(errors().frame(), reference=1.9, title="The fleet")
    assert picture.png.startswith(b"\x89PNG")
    assert "over 14.8 minutes, 890 rows" in picture.alt
    assert "Version 1: from 2.0 to 6.0 mph." in picture.alt
    assert "Version 2: at 1.5 mph." in picture.alt
    assert "A grey line at 1.9 mph" in picture.alt
    assert len(picture.png) < 60_000


def test_rows_in_any_order_and_a_single_one():
    """Late rows are put where they belong; one row makes a picture too."""
    frame = errors().frame()
    shuffled = frame.sample(frac=1.0, random_state=1)
    assert (
        rollout.error_over_time(shuffled).alt.partition("rows")[0]
        == rollout.error_over_time(frame).alt.partition("rows")[0]
    )
    assert "1 rows" in rollout.error_over_time(frame.iloc[[100]]).alt


def test_what_cannot_be_drawn():
    """No rows, other columns, rows of the warm-up only."""
    with pytest.raises(DataError, match="no prediction yet"):
        rollout.error_over_time(LiveErrors().frame())
    with pytest.raises(DataError, match="lacks the columns"):
        rollout.error_over_time(pd.DataFrame({"time": [BEGIN]}))
    with pytest.raises(DataError, match="no prediction yet"):
        rollout.error_over_time(errors().frame().head(5))


def test_only_the_latest_are_kept():
    """The record is bounded."""
    frame = errors(kept=100).frame()
    assert len(frame) == 100
    assert frame["time"].iloc[0] == BEGIN + timedelta(seconds=800)


def test_the_table_of_edges():
    """Which version answers where, and why one does not."""
    one = Release("car-speed", "2", "a" * 64, 10, "models/car-speed/2/model.onnx")
    serving = Running("2", "a" * 64, "2026-03-02T08:00:00+00:00")
    old = Running("1", "b" * 64, "")
    states = [
        EdgeState("edge-1", "ModuleFilterCar", connected=True, ring="canary", wanted=one, model=serving),
        EdgeState("edge-2", "ModuleFilterCar", connected=True, wanted=one, model=old, challenger=serving),
        EdgeState("edge-3", "ModuleFilterCar", connected=False, wanted=one, model=old),
    ]
    table = rollout.edges(states)
    assert table.note == "1 of 3 edges serve what they are to serve."
    assert list(table.shown["version"]) == ["2", "1", "1"]
    assert list(table.shown["status"]) == ["serving", "waiting", "offline (waiting)"]
    assert list(table.shown["beside it"]) == ["-", "2", "-"]
    assert "refused because" not in table.shown.columns
    refusing = EdgeState(
        "edge-4",
        "ModuleFilterCar",
        connected=True,
        wanted=one,
        pending=Pending("2", "refused", "its SHA-256 is another"),
    )
    table = rollout.edges([refusing])
    assert table.shown.iloc[0].tolist() == [
        "edge-4",
        "-",
        "the bundled file",
        "refused",
        "-",
        "its SHA-256 is another",
    ]


def test_the_table_of_versions():
    """Each with its table's version, its fate and the whole reason; and which one is the champion."""
    told = {"name": "car-speed", "sha256": "a" * 64, "size": 10, "created": BEGIN, "run_id": "r"}
    reason = "0.51 mph against 5.31, a difference of -4.80 (-8.58 to -1.03) over 14 blocks of 20 s"
    known = [
        Version(
            **told,
            version="1",
            aliases=("champion",),
            lineage=Lineage("t", 23),
            fate="promoted",
            reason=reason,
        ),
        Version(**told, version="2"),
    ]
    table = rollout.versions(known)
    assert table.note == "Version 1 is the champion."
    assert table.shown.to_numpy().tolist() == [
        ["1", "version 23", "promoted", reason],
        ["2", "not told", "none yet", "-"],
    ]
    assert reason in table._repr_html_()
    assert rollout.versions(known[1:]).note == "None of them serves."
