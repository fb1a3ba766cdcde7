"""A model on the edge: one live row in, one speed out, and what it does with other files."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from iotedge_lab.car.predictor import Predictor
from iotedge_lab.errors import DataError
from iotedge_lab.train import export
from iotedge_lab.train.evaluate import Intervals


@pytest.fixture(scope="module")
def exported(found, learned, unseen, tmp_path_factory):
    intervals = Intervals.of(unseen.target, found.predict(unseen.features))
    path = tmp_path_factory.mktemp("models") / "speed.onnx"
    return export.export(found, path, learned, unseen, intervals=intervals).path


def changed(path, change):
    proto = onnx.load(path)
    change(proto)
    return proto.SerializeToString()


def test_live_rows_are_predicted_as_in_training(exported, found, recordings, unseen):
    """Row by row, the edge predicts what the original predicts for that row of the data set."""
    predictor = Predictor(exported)
    live = {row.seconds: predictor.predict(row) for row in recordings["d5"]}
    part = unseen.take(unseen.drives == 5)
    expected = found.predict(part.features)
    np.testing.assert_allclose([live[seconds].speed for seconds in part.seconds], expected, atol=2e-3)
    assert not any(live[seconds].warmup for seconds in part.seconds)
    assert live[0.0].warmup
    assert repr(predictor) == f"Predictor({found.estimator}, 24 features)"


def test_a_prediction_tells_how_far_off_it_may_be(exported, recordings, found, unseen):
    """Each prediction has a lower and an upper end, those that the evaluation gave it, and none below zero."""
    predictor = Predictor(exported)
    intervals = Intervals.of(unseen.target, found.predict(unseen.features))
    for row in recordings["d4"][::10]:
        each = predictor.predict(row)
        low, high = intervals.around(np.array([each.speed]))
        assert (each.low, each.high) == (pytest.approx(low[0]), pytest.approx(high[0]))
        assert 0.0 <= each.low <= each.high
        assert each.low <= max(0.0, each.speed) <= each.high


def test_a_duplicate_has_no_prediction(exported, recordings):
    """A row that was there before gives None; one without finite numbers raises, and the next is served."""
    predictor = Predictor(exported.read_bytes())
    first, second = recordings["d4"][:2]
    assert predictor.predict(first) is not None
    assert predictor.predict(first) is None
    with pytest.raises(DataError, match="no finite number"):
        predictor.predict(replace(second, engine_rpm=float("nan")))
    assert predictor.predict(second) is not None


def test_one_model_for_two_cars(exported, recordings):
    """Rows of another car by turns do not disturb those of the first; the session is one."""
    alone, first = Predictor(exported), Predictor(exported)
    second = first.for_another_car()
    for one, other in zip(recordings["d4"][:200], recordings["d5"][:200], strict=True):
        expected = alone.predict(one)
        assert first.predict(one) == expected
        second.predict(other)
    assert (first.features.starts, second.features.starts) == (1, 1)
    assert not second.predict(recordings["d5"][200]).warmup


def test_a_model_without_intervals(found, learned, unseen, recordings, tmp_path):
    """Intervals are left out where the model has none."""
    predictor = Predictor(export.export(found, tmp_path / "x.onnx", learned, unseen).path)
    each = predictor.predict(recordings["d4"][0])
    assert (each.low, each.high) == (None, None)


def test_files_that_are_no_such_model_are_refused(exported, tmp_path):
    """A missing file, another one, and a model without what the edge must know are told apart."""
    with pytest.raises(DataError, match="cannot be read: No such file"):
        Predictor(tmp_path / "none.onnx")
    for content in (b"", b"not a model", exported.read_bytes()[:-1000]):
        with pytest.raises(DataError, match="no model that onnxruntime can run"):
            Predictor(content)

    def no_recipe(proto):
        (place,) = [at for at, each in enumerate(proto.metadata_props) if each.key == "recipe"]
        del proto.metadata_props[place]

    def other_recipe(proto):
        for each in proto.metadata_props:
            if each.key == "recipe":
                each.value = '{"inputs":["engine_rpm"],"lags":[],"means":[],"gap":2}'

    def no_json(proto):
        proto.metadata_props[0].value = "{"

    def no_intervals(proto):
        for each in proto.metadata_props:
            if each.key == "intervals":
                each.value = '{"edges":[1.0],"widths":[2.0]}'

    for change, message in (
        (no_recipe, "does not say which features"),
        (other_recipe, "its recipe makes 1 features"),
        (no_json, "metadata that are not of this lab"),
        (no_intervals, "do not fit each other"),
    ):
        with pytest.raises(DataError, match=message):
            Predictor(changed(exported, change))


def test_the_edge_loads_nothing_of_training(exported):
    """Predicting needs numpy and onnxruntime; pandas, scikit-learn and the trainers stay out."""
    code = (
        "import sys; from iotedge_lab.car import drives; from iotedge_lab.car.predictor import Predictor; "
        f"Predictor({str(exported)!r}).predict(next(drives.rows(drives.car_csv()))); "
        "heavy = {'pandas', 'sklearn', 'scipy', 'flaml', 'lightgbm', 'xgboost', 'onnx', 'iotedge_lab.train'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
