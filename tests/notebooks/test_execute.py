"""Running a notebook: stable outputs, an environment of its own, nothing stored that should not be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from notebooks.source.make import command as maker
from notebooks.source.make import hygiene
from notebooks.source.make.execute import (
    WIDGET_VIEW,
    clean,
    execute,
    isolated_environment,
    isolated_lab,
    same_but_for_noise,
)
from notebooks.source.make.source import build

if TYPE_CHECKING:
    from pathlib import Path

# The kernel's client leaves sockets to the collector at its end.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def test_two_runs_differ_in_noise_alone(tmp_path: Path, toy_source: str) -> None:
    """Two executions, with a time and a picture, are equal but for what nbval is told to hide."""
    with isolated_lab(tmp_path) as environment:
        first = execute(build(toy_source), environment, cwd=tmp_path)
        second = execute(build(toy_source), environment, cwd=tmp_path)
    assert hygiene.complaints(first, tmp_path / "toy.ipynb") == []
    assert first.cells[1].outputs != second.cells[1].outputs, (
        "the toy prints the time, so its runs must differ"
    )
    assert same_but_for_noise(first, second)
    second.cells[1].outputs[0].text += "and more\n"
    assert not same_but_for_noise(first, second)


def test_a_warning_in_a_cell_is_an_error(tmp_path: Path) -> None:
    """A notebook that warns is not stored: its kernel turns warnings into errors."""
    warns = build("# %%\nimport warnings\n\nwarnings.warn('old', DeprecationWarning)\n")
    with isolated_lab(tmp_path) as environment, pytest.raises(CellExecutionError, match="DeprecationWarning"):
        execute(warns, environment, cwd=tmp_path)


def test_the_kernel_never_meets_the_callers_hub(tmp_path: Path) -> None:
    """Connection strings of the caller's are dropped, and state and settings lie in the given folder."""
    base = {
        "IOTHUB_CONNECTION_STRING": "HostName=real",
        "EVENTHUB_CONNECTION_STRING": "Endpoint=real",
        "HOME": "/h",
    }
    environment = isolated_environment(tmp_path, base)
    assert not set(base) - {"HOME"} & set(environment)
    assert environment["HOME"] == "/h"
    assert environment["IOTEDGE_LAB_STATE"].startswith(str(tmp_path))


def test_widget_views_and_kernel_versions_are_not_kept(toy: nbformat.NotebookNode) -> None:
    """Cleaning drops widget views, with an output that is nothing else, and the kernel's version."""
    toy.metadata["widgets"] = {"state": {}}
    toy.metadata["language_info"]["version"] = "3.11.7"
    cell = next(cell for cell in toy.cells if cell.cell_type == "code")
    cell.metadata["execution"] = {"iopub.status.busy": "now"}
    cell.outputs = [
        nbformat.v4.new_output("display_data", data={WIDGET_VIEW: {"model_id": "1"}}),
        nbformat.v4.new_output(
            "display_data", data={WIDGET_VIEW: {"model_id": "2"}, "text/plain": "IntSlider()"}
        ),
    ]
    clean(toy)
    assert [output.data for output in cell.outputs] == [{"text/plain": "IntSlider()"}]
    assert "widgets" not in toy.metadata
    assert "version" not in toy.metadata.language_info
    assert "execution" not in cell.metadata


def test_the_command_stores_checks_and_finds_drift(
    tmp_path: Path, toy_source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make` stores a notebook, leaves an unchanged one alone, and --check names a cell that was edited."""
    toy_source = re.sub(
        r"# %%\nimport pandas.*?\n(?=# %%)", "", toy_source, flags=re.DOTALL
    )  # no picture: faster
    source = tmp_path / "source" / "07_toy.py"
    source.parent.mkdir()
    source.write_text(toy_source)
    target = tmp_path / "07_toy.ipynb"
    monkeypatch.setattr(maker, "sources", lambda: [source])

    assert maker.main(["--check"]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert maker.main([]) == 0
    stored = target.read_text()
    assert maker.main(["07"]) == 0
    assert "unchanged" in capsys.readouterr().err
    assert target.read_text() == stored
    assert maker.main(["--check"]) == 0

    source.write_text(toy_source.replace("import os", "import os, sys"))
    assert maker.main(["--check"]) == 1
    assert "cell 2 is not the source's" in capsys.readouterr().err
    source.write_text(toy_source.replace("print(", "print('SharedAccessKey=abcdefghij',"))
    assert maker.main([]) == 1
    assert "a shared access key" in capsys.readouterr().err
    assert target.read_text() == stored, "a notebook with complaints is not stored"
    source.write_text(toy_source.replace("print(", "raise ValueError("))
    assert maker.main([]) == 1
    assert "ValueError" in capsys.readouterr().err
    assert maker.main(["99"]) == 1
    assert "there are: 07_toy" in capsys.readouterr().err
