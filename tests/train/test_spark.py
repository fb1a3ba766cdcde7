"""The same search on Spark: where it is not installed, what is missing is told; where it is, it finds a model."""

import shutil
import warnings
from importlib.util import find_spec

import pytest

from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.train import export, spark
from iotedge_lab.train.automl import search
from iotedge_lab.train.notes import TrainWarning

INSTALLED = all(find_spec(name) for name in ("pyspark", "joblibspark", "optuna"))


@pytest.mark.skipif(INSTALLED, reason="Spark is installed here")
def test_without_spark_the_error_says_what_to_install(learned):
    """The error names the packages that are missing and the way on."""
    with pytest.raises(EnvironmentProblem, match=r"needs .*pyspark.*requirements-spark\.txt.*engine='local'"):
        search(learned, 5.0, engine="spark")


def test_without_java_the_error_says_so(learned, monkeypatch):
    """Spark without Java is told before Spark is started."""
    monkeypatch.setattr(spark, "find_spec", lambda _name: True)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EnvironmentProblem, match="needs Java"):
        search(learned, 5.0, engine="spark")


def test_trials_are_read_from_flamls_log(tmp_path):
    """One JSON object a line; the settings may be nested, and FLAML's own are left out."""
    log = tmp_path / "log"
    assert spark._tried(log) == []
    log.write_text(
        '{"learner": "lgbm", "config": {"ml": {"n_estimators": 4, "learner": "lgbm"}}, "validation_loss": 5, '
        '"wall_clock_time": 1.5}\n'
        '{"learner": "xgboost", "config": {"max_leaves": 4, "FLAML_sample_size": 9}, "validation_loss": 4.5, '
        '"wall_clock_time": 2}\n{"curr_best_record_id": 1}\n'
    )
    assert spark._tried(log) == [
        ("lgbm", {"n_estimators": 4}, 5.0, 1.5),
        ("xgboost", {"max_leaves": 4}, 4.5, 2.0),
    ]


@pytest.mark.skipif(not INSTALLED, reason="Spark is not installed here (tests/requirements-spark.txt)")
@pytest.mark.filterwarnings("default")  # Spark's own, by the dozen
@pytest.mark.timeout(300)
def test_a_search_on_spark_finds_a_model(learned, unseen, tmp_path):
    """The same call on Spark of this machine: trials on executors, a model here, and its ONNX twin."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    try:
        told = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainWarning)
            found = search(learned, 30.0, engine="spark", on_trial=told.append)
        assert len(told) >= 3
        assert found.loss == min(trial.loss for trial in told)
        assert export.export(found, tmp_path / "x.onnx", learned, unseen).difference <= 1e-3
        settings = found.model.get_params()
        assert settings["n_estimators"] == found.config["n_estimators"]
    finally:
        session.stop()
