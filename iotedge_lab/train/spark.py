"""The trials of a search on Spark: FLAML sends each to an executor, on a cluster or on this machine.

Which Spark: the session that runs in this process (`SparkSession.builder ... getOrCreate()` before the
search, as a notebook on Databricks has it), else a new one, by default on this machine's cores. Needs an
environment of its own, as FLAML's Spark pins older pandas; the README says which.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.train.libraries import library

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.train.dataset import Dataset

    Tried = tuple[str, Mapping[str, Any], float, float]

INSTALL: Final = "pip install -e . -r tests/requirements-spark.txt"
# Each trial is a process of its own there; more than this many at once leave the search little to learn from.
MOST_AT_ONCE: Final = 4
_FLAMLS_OWN: Final = ("learner", "FLAML_sample_size")


def run(data: Dataset, settings: Mapping[str, Any]) -> list[Tried]:
    """Search with these settings of FLAML's; estimator, config, loss and seconds of each trial, in their order.

    Raises EnvironmentProblem where Spark or Java is missing or does not start.
    """
    _check()
    session = _session()
    at_once = max(1, min(MOST_AT_ONCE, int(session.sparkContext.defaultParallelism)))
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-search-") as folder:
        log = Path(folder) / "trials.jsonl"
        automl = library("flaml").AutoML()
        automl.fit(
            data.features, data.target, metric="rmse", use_spark=True, n_concurrent_trials=at_once,
            force_cancel=True, verbose=0, log_file_name=str(log), log_type="all", model_history=False,
            mlflow_logging=False, **settings,
        )  # fmt: skip
        return _tried(log)


def _check() -> None:
    missing = [name for name in ("pyspark", "joblibspark", "optuna") if find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"A search on Spark needs {', '.join(missing)}, which is not installed here. Make an environment of its "
            f"own, as FLAML's Spark pins older pandas: {INSTALL}; or search with engine='local'."
        )
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise EnvironmentProblem(
            "Spark needs Java, and there is none: install a JRE of version 17 (on Debian and Ubuntu: apt install "
            "openjdk-17-jre-headless), or search with engine='local'."
        )


def _session() -> Any:
    try:
        return library("pyspark.sql").SparkSession.builder.getOrCreate()
    except Exception as error:
        # py4j and pyspark raise errors of many classes here.
        raise EnvironmentProblem(
            f"Spark does not start ({type(error).__name__}: {str(error)[:200]}); see its log, or search with "
            "engine='local'."
        ) from error


def _tried(log: Path) -> list[Tried]:
    """FLAML's log of trials: one JSON object a line."""
    if not log.exists():
        return []
    tried: list[Tried] = []
    for text in log.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "learner" in line:
            config = line["config"]
            config = config.get("ml", config)  # a search on Spark nests the settings
            config = {name: value for name, value in config.items() if name not in _FLAMLS_OWN}
            tried.append(
                (str(line["learner"]), config, float(line["validation_loss"]), float(line["wall_clock_time"]))
            )
    return tried
