"""Features of rows: what they are made of, and that batch and live rows give the same."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.car import drives
from iotedge_lab.car.features import INPUTS, PLAIN, RECIPE, LiveFeatures, Recipe, batch
from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import DataError, UsageError

ROW = CarRow("t", 0.0, 30.0, -97.0, 0.0, 10.0, 0.0, 10.0, 1000.0, 0.0, 0.0)
SMALL = Recipe(inputs=("engine_rpm",), lags=(1.0,), means=(2.0,))


def arrays(rows, recipe=RECIPE):
    return (
        np.array([row.seconds for row in rows]),
        np.array([[getattr(row, name) for name in recipe.inputs] for row in rows]).reshape(len(rows), -1),
    )


def at(seconds, rpm):
    return replace(ROW, seconds=float(seconds), engine_rpm=float(rpm))


def live(rows, recipe=RECIPE):
    features = LiveFeatures(recipe)
    return [features.push(row) for row in rows]


@pytest.fixture(scope="module")
def city():
    return list(drives.rows(drives.drive_path("city-01")))[:1500]


def test_names_and_units_stand_in_the_order_of_the_features():
    """Inputs first, then lags, then means; each feature has a unit."""
    recipe = Recipe(inputs=("throttle_position", "engine_rpm"), lags=(2.0,), means=(0.5,))
    assert recipe.names == (
        "throttle_position",
        "engine_rpm",
        "throttle_position, 2 s ago",
        "engine_rpm, 2 s ago",
        "throttle_position, mean of 0.5 s",
        "engine_rpm, mean of 0.5 s",
    )
    assert recipe.units == ("%", "1/min") * 3
    assert len(RECIPE.names) == len(RECIPE.units) == 24
    assert (RECIPE.window, PLAIN.window, PLAIN.names) == (10.0, 0.0, INPUTS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"inputs": ("speed",)}, "it is the target"),
        ({"inputs": ("engine_rpm", "distance")}, "its change is the speed"),
        ({"inputs": ("latitude",)}, "its change is the speed"),
        ({"inputs": ("seconds",)}, "place in the recording"),
        ({"inputs": ("boost",)}, "no such column"),
        ({"inputs": ()}, "at least one"),
        ({"inputs": ("engine_rpm", "engine_rpm")}, "none twice"),
        ({"lags": (-1.0,)}, "what lies ahead is not known"),
        ({"lags": (0.0,)}, "looks back above 0"),
        ({"lags": (1.0, 1.0)}, "each once"),
        ({"means": (601.0,)}, "to 600 s"),
        ({"means": (float("nan"),)}, "looks back"),
        ({"gap": 0.0}, "`gap` lies above 0"),
    ],
)
def test_a_recipe_that_leaks_or_makes_no_sense_is_refused(wrong, message):
    """What holds the target or the future cannot be a feature, and the refusal says why."""
    with pytest.raises(UsageError, match=message):
        Recipe(**wrong)


def test_a_recipe_travels_as_metadata():
    """A recipe reads back from its dictionary; a damaged one is told."""
    recipe = Recipe(inputs=("lateral_gs",), lags=(0.5,), means=(), gap=1.5)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    for wrong in (None, {}, {**recipe.to_dict(), "lags": ["x"]}, {**recipe.to_dict(), "inputs": ["speed"]}):
        with pytest.raises(DataError, match="export the model again"):
            Recipe.from_dict(wrong)


def test_lags_and_means_by_hand():
    """Rows at 0, 1, 2, 3 s with rpm 0, 10, 40, 40: a lag is a point, a mean an area over its span."""
    rows = [at(s, rpm) for s, rpm in ((0, 0), (1, 10), (2, 40), (3.5, 40))]
    # At 3.5 s the mean covers 1.5 to 3.5 s: half a second from 25 to 40, then 40.
    expected = [[0, 0, 0], [10, 0, 5], [40, 10, 15], [40, 40, (0.5 * 32.5 + 1.5 * 40) / 2]]
    found = live(rows, SMALL)
    assert [each.values for each in found] == [pytest.approx(line) for line in expected]
    assert [each.warmup for each in found] == [True, True, False, False]
    assert [each.anew for each in found] == [True, False, False, False]


@pytest.mark.parametrize("recipe", [RECIPE, PLAIN, SMALL, Recipe(lags=(0.05, 7.3), means=(0.13,))])
@pytest.mark.parametrize("beat", ["10 Hz", "1 Hz", "merged"])
def test_batch_and_live_features_agree(city, recipe, beat):
    """Whole drives at once or row by row: the same features to 1e-6, the same warm-up."""
    rows = {"10 Hz": city, "1 Hz": city[::10], "merged": list(drives.rows(drives.car_csv()))[:2500]}[beat]
    whole = batch(*arrays(rows, recipe), recipe)
    single = live(rows, recipe)
    assert len(whole.kept) == len(rows)
    np.testing.assert_allclose(whole.features, [each.values for each in single], rtol=0, atol=1e-6)
    assert whole.warmup.tolist() == [each.warmup for each in single]
    assert whole.warmup.sum() < len(rows) / 2


def test_the_beat_hardly_changes_the_features(city):
    """A drive at 1 Hz gives nearly what it gives at 10 Hz: one model serves both."""
    fast, slow = batch(*arrays(city)).features[::10], batch(*arrays(city[::10])).features
    spread = fast.std(axis=0)
    assert (np.abs(fast - slow).mean(axis=0) < 0.2 * spread).all()


def test_nothing_of_the_future_goes_in(city):
    """What comes later changes no feature of a row; nor does what is left out altogether."""
    seconds, inputs = arrays(city)
    changed = inputs.copy()
    changed[700:] += 50.0
    whole = batch(seconds, inputs).features
    np.testing.assert_array_equal(batch(seconds, changed).features[:700], whole[:700])
    np.testing.assert_allclose(batch(seconds[:700], inputs[:700]).features, whole[:700], atol=1e-9)


def test_nothing_of_the_target_goes_in(city):
    """Other speeds, distances and places in the rows give the same features."""
    other = [
        replace(row, speed=99.0, distance=7.0, latitude=0.0, longitude=0.0, time="") for row in city[:300]
    ]
    assert live(other) == live(city[:300])


def test_only_the_rows_own_seconds_count():
    """Rows of 0.1 s are in their warm-up until the tenth second of the car, however they arrive."""
    found = live([at(n / 10, n) for n in range(150)])
    assert [each.warmup for each in found].index(False) == 100


def test_a_recording_that_begins_again_starts_anew(city):
    """The second round of a replay gives what the first gave."""
    features = LiveFeatures()
    rounds = [[features.push(row) for row in city[:400]] for _ in range(2)]
    assert rounds[0] == rounds[1]
    assert (features.starts, features.duplicates) == (2, 0)


def test_a_short_recording_is_always_in_its_warm_up():
    """A replay of 5 s never fills a window of 10 s, and no row of it is taken for a duplicate."""
    features = LiveFeatures()
    found = [features.push(at(n % 50 / 10, n % 50)) for n in range(500)]
    assert None not in found
    assert all(each.warmup for each in found)
    assert features.starts == 10


@pytest.mark.parametrize(("gap", "starts"), [(2.0, 1), (2.1, 2), (3600.0, 2)])
def test_a_gap_of_more_than_two_seconds_starts_anew(gap, starts):
    """Up to 2 s without a row are bridged by a straight line; more is another drive."""
    features = LiveFeatures(SMALL)
    features.push(at(0, 0))
    found = features.push(at(gap, 40))
    assert features.starts == starts
    assert found.values == pytest.approx([40, 20, 20] if starts == 1 else [40, 40, 40])


def test_another_drive_starts_anew():
    """A row of another drive begins a window of its own, though its time would fit."""
    features = LiveFeatures(SMALL)
    features.push(at(0, 0), "a")
    assert not features.push(at(1, 10), "a").anew
    assert features.push(at(2, 20), "b").anew


def test_duplicates_are_dropped(city):
    """A row sent twice, at once or as part of a block sent again, changes nothing and is counted."""
    features = LiveFeatures()
    sent = [*city[:300], city[299], *city[280:320]]
    found = [features.push(row) for row in sent]
    assert found[300] is None
    assert found[301:321] == [None] * 20
    assert [each for each in found if each] == live(city[:320])
    assert features.duplicates == 21


def test_two_rows_of_one_moment_count_as_one():
    """A second row of a moment is dropped, whatever it says."""
    features = LiveFeatures(SMALL)
    features.push(at(0, 0))
    assert features.push(at(0, 99)) is None


@pytest.mark.parametrize("bad", [{"seconds": float("nan")}, {"engine_rpm": float("inf")}])
def test_a_row_without_finite_numbers_is_refused_and_the_rest_goes_on(bad):
    """Such a row raises DataError; the next one is served as if it had never been."""
    features = LiveFeatures(SMALL)
    features.push(at(0, 0))
    with pytest.raises(DataError, match="no finite number"):
        features.push(replace(at(1, 5), **bad))
    assert features.push(at(2, 40)).values == pytest.approx([40, 20, 20])


def test_memory_and_sums_stay_bounded():
    """A day of driving keeps some hundred rows, and its sums do not lose digits."""
    features = LiveFeatures(Recipe(inputs=("engine_rpm",), lags=(), means=(1.0,)))
    for n in range(30_000):
        found = features.push(at(1e6 + n / 10, 2000 + n % 2))
    assert found.values[1] == pytest.approx(2000.5, abs=1e-6)
    assert len(features._past.times) < 600


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.1, 0.1, 1.0, 1.0, 2.0, 2.5, 0.0, -0.1, -1.0, -100.0]), st.integers(0, 3)
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, seen=st.lists(st.sampled_from(["a", "a", "a", "b"]), min_size=60, max_size=60))
def test_batch_and_live_agree_on_whatever_comes(steps, seen):
    """Duplicates, wraps, gaps, steps back and other drives: both keep the same rows and say the same of them."""
    clock, rows = 0.0, []
    for step, rpm in steps:
        clock = round(max(0.0, clock + step), 3)
        rows.append(at(clock, rpm))
    names = seen[: len(rows)]
    recipe = Recipe(inputs=("engine_rpm",), lags=(0.3, 1.0), means=(0.7, 3.0))
    whole = batch(*arrays(rows, recipe), recipe, names)
    features = LiveFeatures(recipe)
    single = [features.push(row, name) for row, name in zip(rows, names, strict=True)]
    assert whole.kept.tolist() == [index for index, each in enumerate(single) if each is not None]
    kept = [each for each in single if each is not None]
    np.testing.assert_allclose(whole.features, [each.values for each in kept], rtol=0, atol=1e-6)
    assert whole.warmup.tolist() == [each.warmup for each in kept]
    assert np.diff(whole.segment, prepend=-1).astype(bool).tolist() == [each.anew for each in kept]


def test_arrays_that_do_not_fit_are_refused():
    """Wrong shapes and gaps in the numbers are told before anything is computed."""
    seconds, inputs = arrays([at(0, 1), at(1, 2)], SMALL)
    with pytest.raises(UsageError, match=r"shape \(2, 1\)"):
        batch(seconds, np.zeros((2, 3)), SMALL)
    with pytest.raises(UsageError, match="2 rows and 1 names"):
        batch(seconds, inputs, SMALL, ["a"])
    with pytest.raises(DataError, match="no finite numbers"):
        batch(seconds, inputs * np.nan, SMALL)


def test_live_features_load_neither_numpy_nor_pandas():
    """What an edge module needs stays light."""
    code = (
        "import sys; from iotedge_lab.car import drives; from iotedge_lab.car.features import LiveFeatures; "
        "LiveFeatures().push(next(drives.rows(drives.car_csv()))); "
        "print(sorted({'numpy', 'pandas', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
