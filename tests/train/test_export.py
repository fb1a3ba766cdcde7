"""The export: an ONNX file that is the original's twin, with all in it that its user must know."""

import hashlib
import json
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import pytest

from iotedge_lab.car import drives as shelf
from iotedge_lab.car.features import PLAIN, RECIPE
from iotedge_lab.car.predictor import open_session
from iotedge_lab.errors import ExportRefused, UsageError
from iotedge_lab.train import automl, dataset, export
from iotedge_lab.train.evaluate import BASELINES, Intervals, score


def test_each_estimator_has_its_twin(found, learned, unseen, tmp_path):
    """Whatever the search may find converts, and predicts the same to 1e-3 on rows that it has not seen."""
    made = export.export(found, tmp_path / "speed.onnx", learned, unseen)
    assert made.difference <= 1e-3
    assert (made.rows, made.size) == (len(unseen), made.path.stat().st_size)
    session = onnxruntime.InferenceSession(made.path)
    (ours,) = session.run(["speed"], {"features": unseen.features})
    np.testing.assert_allclose(ours[:, 0], found.predict(unseen.features), atol=1e-3)
    onnx.checker.check_model(onnx.load(made.path), full_check=True)
    assert "KiB, off by" in repr(made)
    assert [each.name for each in tmp_path.iterdir()] == ["speed.onnx"]


def test_all_that_a_user_must_know_is_inside(found, learned, unseen, tmp_path):
    """Features, units, recipe, hash of the data, metrics, intervals, settings and versions are JSON texts."""
    predicted = found.predict(unseen.features)
    made = export.export(
        found,
        tmp_path / "speed.onnx",
        learned,
        unseen,
        metrics={"unseen drives": score(unseen.target, predicted)},
        intervals=Intervals.of(unseen.target, predicted),
    )
    inside = {each.key: json.loads(each.value) for each in onnx.load(made.path).metadata_props}
    assert inside == json.loads(json.dumps(made.metadata))
    assert inside["features"] == list(RECIPE.names)
    assert inside["units"] == list(RECIPE.units)
    assert (inside["target"], inside["target_unit"]) == ("speed", "mph")
    assert inside["recipe"] == RECIPE.to_dict()
    assert inside["data_sha256"] == learned.sha256
    assert inside["metrics"]["unseen drives"]["rows"] == len(unseen)
    assert inside["intervals"]["level"] == 0.9
    assert inside["versions"]["onnx"] == version("onnx")
    assert (inside["estimator"], inside["config"], inside["search_rmse"]) == (
        found.estimator,
        found.config,
        4.2,
    )


def test_the_same_model_gives_the_same_file(found, learned, unseen, tmp_path):
    """Nothing of the moment or the place goes in: a registry can tell versions by their hash."""
    hashes = set()
    for name in ("a", "b"):
        made = export.export(found, tmp_path / name / "speed.onnx", learned, unseen)
        hashes.add(hashlib.sha256(made.path.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_a_model_that_differs_is_refused(found, learned, unseen, tmp_path):
    """Above 1e-3 mph in any row there is no export, and what was there before stays."""
    path = tmp_path / "speed.onnx"
    path.write_bytes(b"the old one")

    class Other:
        def predict(self, features):
            return found.model.predict(features) + np.eye(1, len(features), 7)[0] * 2e-3

    impostor = replace(found, model=Other())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "to_onnx", lambda _model, count, real=export.to_onnx: real(found.model, count))
        with pytest.raises(ExportRefused, match=r"differs from the original by up to 0\.002 mph"):
            export.export(impostor, path, learned, unseen)
    assert path.read_bytes() == b"the old one"


def test_a_model_that_is_too_large_is_refused(found, learned, unseen, tmp_path):
    """Over the size asked for nothing is written, and the message says how to search anew."""
    with pytest.raises(ExportRefused, match="search again with max_bytes=500"):
        export.export(found, tmp_path / "speed.onnx", learned, unseen, max_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_rows_on_a_threshold_take_the_same_branch():
    """LightGBM's thresholds are rounded down to single precision: rows that lie right on them change nothing.

    Rounded to the nearest, as the converter does by itself, such rows are sent the other way.
    """
    # Values whose middle, the threshold, has no place in single precision.
    low = np.float32(1000.0001)
    values = np.array([low, np.nextafter(low, np.float32(2000.0))], dtype=np.float32)
    features = np.tile(values, 200)[:, None]
    target = np.tile([0.0, 60.0], 200)
    import lightgbm

    model = lightgbm.LGBMRegressor(
        n_estimators=5, num_leaves=2, min_child_samples=1, learning_rate=0.9, verbose=-1
    )
    model.fit(features, target)
    original = model.predict(features)
    assert np.ptp(original) > 50
    session = open_session(export.to_onnx(model, 1).SerializeToString())
    (ours,) = session.run(["speed"], {"features": features})
    np.testing.assert_allclose(ours[:, 0], original, atol=1e-3)


@pytest.mark.parametrize("exact", [0.1, -0.1, 1 / 3, 1e-40, 16777217.0, 5.0, 0.0])
def test_thresholds_are_rounded_down(exact):
    """The largest single-precision number that is no larger."""
    (below,) = export._floor(np.array([exact]))
    assert below <= exact < float(np.nextafter(np.float32(below), np.float32(np.inf)))


def test_the_linear_model_converts_too(drives):
    """The series' own model is a scikit-learn pipeline, and converts."""
    plain = drives.columns(drives.names[:3])
    model = BASELINES["linear"](plain)
    session = open_session(export.to_onnx(model.pipeline, 3).SerializeToString())
    (ours,) = session.run(["speed"], {"features": plain.features})
    np.testing.assert_allclose(ours[:, 0], model.predict(plain.features), atol=1e-3)


def test_other_models_are_refused():
    """What no converter knows is told."""
    with pytest.raises(UsageError, match="cannot be converted"):
        export.to_onnx(object(), 3)


def test_what_does_not_fit_is_refused(found, learned, unseen, tmp_path):
    """Test rows by another recipe, a tolerance that is none, a path that cannot be written."""
    other = unseen.columns(unseen.names[:3])
    with pytest.raises(UsageError, match="by one recipe"):
        export.export(found, tmp_path / "x.onnx", learned, other)
    with pytest.raises(UsageError, match=r"up to 0\.001 mph"):
        export.export(found, tmp_path / "x.onnx", learned, unseen, tolerance=0.1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        export.export(found, tmp_path / "file" / "x.onnx", learned, unseen)


def test_a_feature_made_by_hand_has_no_recipe(learned, unseen, tmp_path):
    """Such a model is exported for tables; an edge module is not misled to run it."""
    more, test = (each.with_feature("x", each.features[:, 0]) for each in (learned, unseen))
    model, around = automl._train("lgbm", {"n_estimators": 4, "num_leaves": 4}, more, 0)
    found = automl.Found(model, around, "lgbm", {}, float("nan"), (), 1.0, False, 0, ())
    made = export.export(found, tmp_path / "x.onnx", more, test)
    assert "recipe" not in made.metadata
    assert made.metadata["search_rmse"] is None


def test_the_three_inputs_alone(recordings, tmp_path):
    """A model of the series' three inputs is exported like any other."""
    data = dataset.build(recordings, PLAIN)
    model, around = automl._train("xgboost", {"n_estimators": 5, "max_leaves": 8}, data, 0)
    found = automl.Found(model, around, "xgboost", {}, 1.0, (), 1.0, False, 0, ())
    made = export.export(found, tmp_path / "x.onnx", data, data)
    assert made.metadata["features"] == list(PLAIN.names)
    assert shelf.COLUMNS[7].name in made.metadata["features"]
