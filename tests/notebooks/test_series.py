"""The series as the library tells it, held against the notebooks."""

import importlib
import re

import nbformat
import pytest

from iotedge_lab.progress import SERIES
from iotedge_lab.show import checks, outline
from notebooks.source.make.source import NOTEBOOKS

CHECKED = re.compile(r"\bcheck_(\w+)\(")
PRESENT = [each for each in SERIES if (NOTEBOOKS / f"{each.name}.ipynb").exists()]


def test_every_notebook_is_in_the_series():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == [each.name for each in PRESENT]
    assert len(PRESENT) >= 4


@pytest.mark.parametrize("notebook", PRESENT, ids=lambda each: each.name)
def test_its_exercises_title_and_minutes_are_those_of_the_notebook(notebook):
    cells = nbformat.read(NOTEBOOKS / f"{notebook.name}.ipynb", as_version=4).cells
    named = [
        CHECKED.search(cell.source)[1] for cell in cells if "exercise-check" in cell.metadata.get("tags", [])
    ]
    assert named == [name.partition(".")[2] for name in notebook.exercises]
    assert f"About {notebook.minutes} minutes" in " ".join(cells[0].source.split())
    assert cells[0].source.startswith(f"# {notebook.number} ")


def test_every_exercise_has_its_check():
    for name in (name for each in SERIES for name in each.exercises):
        module, _, exercise = name.partition(".")
        assert callable(
            getattr(importlib.import_module(f"iotedge_lab.show.exercises.{module}"), f"check_{exercise}")
        )


def test_the_outline_names_all_of_them():
    shown = outline.outline()
    for each in SERIES:
        assert each.title in repr(shown)
        assert f"{each.name}.ipynb" in shown._repr_html_()


def test_the_doctor_in_a_notebook(iothub):
    """A line for each thing examined; nothing stands in the way of a hub that runs, and no path is spelled out."""
    found = checks.checks(iothub)
    assert len(found.findings) > 5
    assert found.in_the_way == []
    assert repr(found).count("OK ") >= 5
    assert str(iothub.state_dir) not in "".join(each.said for each in found.findings if not each.fix)
    assert found._repr_html_().count("<tr>") == 1 + len(found.findings)
