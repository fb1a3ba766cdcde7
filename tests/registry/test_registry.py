"""The registry in a folder: what is registered is there again, whole, and its fate is written."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from onnx_models import METRICS, made
from sqlalchemy import create_engine

from iotedge_lab.car.features import RECIPE
from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.registry import commit as git
from iotedge_lab.registry import tracking
from iotedge_lab.registry.registry import FILE, Registry
from iotedge_lab.registry.tracking import RegistryProblem, shown
from iotedge_lab.registry.version import CHALLENGER, CHAMPION, Lineage

CAR = "car-speed"


@pytest.fixture(autouse=True)
def _no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(folder):
    """One for this file: to make a database takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Registry.open(folder)


def test_a_new_database_is_there_at_once_and_whole(registry, folder, tmp_path):
    """Nothing is left beside it, connections to it wait for the disk as ever, and it takes nobody's place."""
    assert [each.name for each in folder.iterdir() if each.name != "artifacts"] == ["mlflow.db"]
    again = tmp_path / "mlflow.db"
    tracking.make(again)
    with closing(sqlite3.connect(again)) as database:
        database.execute("DELETE FROM experiments")
        database.commit()
    before = again.read_bytes()
    tracking.make(again)
    assert again.read_bytes() == before
    with create_engine(f"sqlite:///{again}").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        connection.engine.dispose()


@pytest.fixture
def name(request):
    """A model of the test's own."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:48].strip("-")


def test_a_version_comes_back_whole(registry, name, capfd):
    """File, parameters, metrics, signature, table, commit: what went in comes out, and nothing is printed."""
    lineage = Lineage("abfss://lake/telemetry", 17, "", "c0ffee" + git.CHANGES)
    first = registry.register(name, made(1.0), metrics={"reference mae (mph)": 1.25}, lineage=lineage)
    assert (first.name, first.version, first.aliases, first.fate) == (name, "1", (), "")
    read = Registry.open(Path("unused"), registry.uri).get(name, 1)
    assert read == first
    assert registry.content(read) == made(1.0)
    assert read.size == len(made(1.0))
    assert read.lineage == Lineage("abfss://lake/telemetry", 17, "d" * 64, "c0ffee+changes")
    assert read.metrics["reference mae _mph_"] == 1.25
    held = {f"whole drives held out/{key}": value for key, value in METRICS["whole drives held out"].items()}
    assert {key: read.metrics[key] for key in held} == held
    assert (read.params["estimator"], read.params["config.bias"]) == ("by hand", "1.0")
    assert read.params["data_groups"] == "2: city-01, city-02"
    signature = registry.signature(read)
    assert [each.name for each in signature.inputs] == list(RECIPE.names)
    assert [each.unit for each in signature.inputs] == list(RECIPE.units)
    assert [(each.name, each.unit) for each in signature.outputs] == [("speed", "mph")]
    assert capfd.readouterr() == ("", "")


def test_the_commit_is_found_out(registry, name):
    """Where none is told, it is that of this package's repository, if it lies in one."""
    version = registry.register(name, made())
    assert version.lineage.commit == git.current()
    assert version.lineage.table_version is None
    assert version.lineage.data_sha256 == "d" * 64


def test_the_way_to_the_champion(registry, name):
    """A challenger is promoted, the next one is rejected: aliases and fates say so."""
    first, second, third = (registry.register(name, made(float(bias))) for bias in range(3))
    assert [each.version for each in (first, second, third)] == ["1", "2", "3"]
    assert registry.champion(name) is registry.challenger(name) is None
    registry.promote(first)
    assert registry.mark(second, CHALLENGER).aliases == (CHALLENGER,)
    second = registry.promote(second, "better by 1 mph")
    assert (second.aliases, second.fate, second.reason) == ((CHAMPION,), "promoted", "better by 1 mph")
    assert registry.challenger(name) is None
    registry.mark(third, CHALLENGER)
    third = registry.reject(third, "worse")
    assert (third.aliases, third.fate, third.reason) == ((), "rejected", "worse")
    assert registry.champion(name) == second
    assert [each.fate for each in registry.versions(name)] == ["promoted", "promoted", "rejected"]


def test_rejecting_one_leaves_another_challenger(registry, name):
    """The alias is taken from the version that is rejected only."""
    first, second = registry.register(name, made(1.0)), registry.register(name, made(2.0))
    registry.mark(second, CHALLENGER)
    registry.reject(first, "old")
    assert registry.challenger(name).version == second.version


def test_what_is_not_there(registry, name):
    """Asked for, it is None or an error that says what there is."""
    assert registry.versions(name) == []
    assert registry.find(name, CHAMPION) is registry.find(name, 1) is None
    registry.register(name, made())
    with pytest.raises(UsageError, match=r"no version 'champion' of .* there are 1"):
        registry.get(name, CHAMPION)
    assert registry.find(name, 7) is None


@pytest.mark.parametrize("bad", ["", "Car", "a/b", "a b", "-a", "a-", "a" * 49, "../a"])
def test_names(registry, bad):
    """A name is a part of a path and of an id: others are refused."""
    with pytest.raises(UsageError, match="is no name for a model"):
        registry.register(bad, made())


def test_what_is_no_model(registry, name, tmp_path):
    """A file that could not run on an edge makes no version."""
    for content in (b"", b"not a model", made(metadata=False), made(width=7), made()[:-40]):
        with pytest.raises(DataError):
            registry.register(name, content)
    with pytest.raises(UsageError, match="cannot be read"):
        registry.register(name, tmp_path / "none.onnx")
    assert registry.versions(name) == []


def test_a_file_that_is_damaged_afterwards(registry, folder, name):
    """What comes out is what went in, or an error."""
    version = registry.register(name, made(3.0))
    (path,) = (folder / "artifacts" / name).rglob("model.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(RegistryProblem, match="is damaged"):
        registry.content(version)
    path.unlink()
    with pytest.raises(RegistryProblem, match=re.escape(f"cannot give {FILE}")):
        registry.content(version)


def test_times_are_the_clocks(folder, name, registry):
    """When a fate was decided stands in a tag, by the clock that was given."""
    clocked = Registry.open(folder, clock=FakeClock(1_800_000_000.0))
    version = clocked.register(name, made())
    clocked.promote(version)
    tags = registry._client.get_model_version(name, version.version).tags
    assert tags["decidedAt"] == "2027-01-15T08:00:00+00:00"


def test_a_version_that_somebody_else_made(registry, name):
    """One without our tags is refused with a word, not with a KeyError."""
    registry._client.create_registered_model(name)
    run = registry._client.create_run(registry._client.create_experiment(name))
    registry._client.create_model_version(name, "runs:/x/model", run.info.run_id)
    with pytest.raises(RegistryProblem, match="was not registered by this lab"):
        registry.get(name, 1)


def test_texts(registry, name):
    """What a notebook shows of it: short, with what matters."""
    version = registry.promote(registry.register(name, made(), lineage=Lineage("lake/telemetry", 3)))
    assert repr(version) == f"Version({name} 1, champion)"
    page = version._repr_html_()
    assert "lake/telemetry" in page
    assert "champion" in page
    assert "whole drives held out/mae" in page
    assert repr(registry).startswith("Registry(sqlite:///")
    assert shown("https://user:secret@mlflow.example/x") == "https://mlflow.example/x"


def test_folders_that_cannot_be(tmp_path):
    """A file where the folder should be, and a database that is none, are told of."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="choose another folder"):
        Registry.open(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mlflow.db").write_bytes(b"this is no database, though it is long enough" * 100)
    with pytest.raises(RegistryProblem, match="cannot be opened"):
        Registry.open(tmp_path / "other")


def test_a_commit_with_changes_and_none(tmp_path):
    """`+changes` follows the commit while files differ; no repository has none."""
    assert git.current(tmp_path) == ""
    run = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.com"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-q", "-m", "m"]):
        subprocess.run([*run, *command], check=True)
    clean = git.current(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "note").write_text("not tracked")
    assert git.current(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert git.current(tmp_path) == clean + git.CHANGES
    (tmp_path / "installed").mkdir()
    assert git.current(tmp_path / "installed") == ""


def test_lazy_and_silent(tmp_path):
    """The modules load no MLflow; with it no thread of telemetry runs, and nothing is printed."""
    code = (
        "import sys, threading\n"
        "import iotedge_lab.registry.registry as r\n"
        "assert not any(m.partition('.')[0] in ('mlflow', 'sqlalchemy', 'pandas') for m in sys.modules)\n"
        "r.module('mlflow.tracking')\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "from onnx_models import made\n"
        "registry = r.Registry.open(sys.argv[1])\n"
        "assert registry.content(registry.register('car', made())) == made()\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_CURRENT_TEST")}
    clean["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
