"""lab: the command line that becomes JupyterLab."""

import json
import os
import sys
from pathlib import Path

import pytest

from iotedge_lab.cli import workbooks, workspace
from iotedge_lab.errors import UsageError


@pytest.fixture
def repository(tmp_path):
    """A folder with workbooks."""
    (tmp_path / "clone" / "notebooks").mkdir(parents=True)
    (tmp_path / "clone" / "notebooks" / "00_start_here.ipynb").write_text("{}")
    return tmp_path / "clone"


def test_it_becomes_jupyterlab(hub, state, cli, repository, monkeypatch):
    """On the workbooks' folder, with the hub's variables, and the person's arguments last."""
    became = {}

    def execve(path, command, environment):
        became.update(path=path, command=command, environment=environment)

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(workbooks, "find_spec", lambda _name: object())
    monkeypatch.setattr(workbooks, "_is_root", lambda: False)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
    monkeypatch.setenv("JUPYTERLAB_WORKSPACES_DIR", str(repository / "workspaces"))
    monkeypatch.chdir(repository)
    result = cli("lab", *state, "--no-browser", "--port", "9999")
    assert result.exit_code == 0, result.output
    assert became["path"] == sys.executable
    root = f"--ServerApp.root_dir={repository / 'notebooks'}"
    page = f"--LabApp.default_url={workspace.PAGE}"
    assert became["command"] == [
        *(sys.executable, "-m", "jupyterlab", root, page),
        *("--no-browser", "--port", "9999"),
    ]
    assert hub.env().items() <= became["environment"].items()
    assert became["environment"]["IOTEDGE_LAB_STATE"] == str(hub.state_dir)
    mine, ours = became["environment"]["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert mine == "/mine"
    page = json.loads((Path(ours) / "labconfig" / "page_config.json").read_text())
    assert page == {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    assert hub.status()["hub"]


@pytest.mark.parametrize(("given", "times"), [((), 1), (("--allow-root",), 1)])
def test_root_needs_a_flag(given, times):
    """Containers run as root, and JupyterLab refuses that without being told."""
    assert workbooks.jupyter_command(Path("n"), given, root=True).count("--allow-root") == times
    assert "--allow-root" not in workbooks.jupyter_command(Path("n"), (), root=False)


def test_workbooks_are_found_here_and_one_level_up(repository):
    """From the repository and from its notebooks folder."""
    assert workbooks.find_notebooks(repository) == repository / "notebooks"
    assert workbooks.find_notebooks(repository / "notebooks") == repository / "notebooks"


def test_without_workbooks_it_says_where_it_looked(tmp_path, monkeypatch):
    """And what to do; an empty notebooks/ folder does not count."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(
        workbooks, "__file__", str(tmp_path / "site" / "iotedge_lab" / "cli" / "workbooks.py")
    )
    with pytest.raises(UsageError, match=r"no \*\.ipynb in .*clone of the repository"):
        workbooks.find_notebooks(tmp_path)


def test_without_jupyterlab_it_says_how_to_get_it(cli, repository, monkeypatch, tmp_path):
    """Before a hub is started for nothing."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(workbooks, "find_spec", lambda _name: None)
    result = cli("lab")
    assert result.exit_code == 1
    assert "pip install 'iotedge-lab[workbook]'" in result.stderr
    assert json.loads(cli("status", "--json").stdout)["running"] is False


def test_where_jupyter_cannot_write_it_says_so_before_a_hub_is_started(cli, repository, monkeypatch):
    """A home that belongs to somebody else, as a service's user has it."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(workbooks, "find_spec", lambda _name: object())
    (repository / "file").write_text("")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(repository / "file" / "below"))
    result = cli("lab")
    assert result.exit_code == 1
    assert "file/below, which cannot be written" in result.stderr
    assert "Set HOME" in result.stderr
    assert json.loads(cli("status", "--json").stdout)["running"] is False


def test_the_workspace_is_offered_once_and_then_left_to_its_owner(tmp_path):
    """A first notebook and the portal side by side; what a person changes stays; a broken one is made anew."""
    assert workspace.offer("notebooks", tmp_path) == "/lab/workspaces/iotedge-lab"
    (file,) = tmp_path.iterdir()
    made = json.loads(file.read_text())
    opened, portal = (area["widgets"][0] for area in _dock(made)["children"])
    assert made["data"][opened]["data"]["path"] == "notebooks/00_start_here.ipynb"
    assert made["data"][portal]["data"]["url"] == "/iotedge-lab/"
    _dock(made)["sizes"] = [0.5, 0.5]
    file.write_text(json.dumps(made))
    workspace.offer("notebooks", tmp_path)
    assert _dock(json.loads(file.read_text()))["sizes"] == [0.5, 0.5]
    file.write_text("{")
    workspace.offer("", tmp_path)
    assert "notebook:00_start_here.ipynb" in json.loads(file.read_text())["data"]


def _dock(made):
    return made["data"]["layout-restorer:data"]["main"]["dock"]


def test_a_folder_of_workspaces_that_cannot_be_written_is_only_said(repository, monkeypatch, capsys):
    monkeypatch.setenv("JUPYTERLAB_WORKSPACES_DIR", str(repository / "file" / "below"))
    (repository / "file").write_text("")
    assert workbooks._page(repository / "notebooks") is None
    assert "without its workspace" in capsys.readouterr().err
