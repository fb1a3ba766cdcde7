"""Running a notebook: stable outputs, an environment of its own, nothing stored that should not be."""

from __future__ import annotations

import html
import re
from copy import deepcopy
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from notebooks.source.make import command as maker
from notebooks.source.make import hygiene
from notebooks.source.make.execute import (
    WIDGET_VIEW,
    at_localhost,
    clean,
    execute,
    hub_address,
    isolated_environment,
    isolated_lab,
    same_but_for_noise,
    sanitizer,
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


def test_the_makers_address_is_stored_as_localhost(toy: nbformat.NotebookNode) -> None:
    """Each text of an output names localhost in place of the hub's address, and no other number changes."""
    code = [cell for cell in toy.cells if cell.cell_type == "code"]
    code[0].outputs = [nbformat.v4.new_output("stream", text="at 127.0.0.1. Not 127.0.0.12, 0.127.0.0.1")]
    code[1].outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={
                "text/plain": "HostName=127.0.0.1;x",
                "text/html": "<td>127.0.0.1 (local)</td>",
                "image/png": "127.0.0.1",
            },
        )
    ]
    sources_before = [cell.source for cell in toy.cells]
    at_localhost(toy, "127.0.0.1")
    assert code[0].outputs[0].text == "at localhost. Not 127.0.0.12, 0.127.0.0.1"
    assert code[1].outputs[0].data == {
        "text/plain": "HostName=localhost;x",
        "text/html": "<td>localhost (local)</td>",
        "image/png": "127.0.0.1",
    }
    assert [cell.source for cell in toy.cells] == sources_before


def test_no_hub_has_no_address(tmp_path: Path) -> None:
    """A notebook that opened no lab leaves no state folder, and an empty folder names no hub."""
    assert hub_address(tmp_path / "none") is None
    assert hub_address(tmp_path) is None


def test_random_parts_of_an_identity_are_noise(toy: nbformat.NotebookNode) -> None:
    """Two runs differ in etag, generation id and device scope; a change of the rest is seen."""
    shown = '{{"etag": "{0}==", "generationId": "{1}", "deviceScope": "ms-azure-iot-edge://edge-1-{1}"}}'

    def stored(text: str) -> nbformat.NotebookNode:
        made = deepcopy(toy)
        made.cells[1].outputs = [nbformat.v4.new_output("display_data", data={"text/plain": text})]
        return made

    one, two = shown.format("MTIz", "71"), shown.format("OTk5OQ", "839")
    assert same_but_for_noise(stored(one), stored(two))
    assert not same_but_for_noise(stored(one), stored(two.replace("edge-1-", "edge-2-")))
    hidden = [one, two, html.escape(one), html.escape(two)]
    for pattern, replacement in sanitizer():  # as nbval does it, on the text itself
        hidden = [pattern.sub(replacement, text) for text in hidden]
    assert hidden[0] == hidden[1]
    assert hidden[2] == hidden[3]


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
