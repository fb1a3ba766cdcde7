"""What a learner has solved: noted, kept, shown."""

import json
import os

import pytest

from iotedge_lab import progress
from iotedge_lab.errors import UsageError
from iotedge_lab.show.exercises import start_here


def solve(cell, name, monkeypatch, state):
    """Run a cell's text as a kernel does, with its source where a traceback would look for it."""
    import linecache

    monkeypatch.setenv("IOTEDGE_LAB_STATE", str(state))
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    found = {}
    exec(compile(cell, name, "exec"), {"exercise": start_here, "get_ipython": None}, found)
    return found["verdict"]


OWN = "def greeting(name):\n    return f'Hi {name}'\nverdict = exercise.check_greeting(greeting)\n"


def test_ones_own_solution_is_noted_and_a_folded_one_as_that(monkeypatch, tmp_path):
    """The own one counts from then on, whatever is run later."""
    assert repr(solve("verdict = exercise.check_greeting(...)", "cell-0", monkeypatch, tmp_path)).startswith(
        "Not yet"
    )
    assert progress.read(tmp_path).solved == {}
    solve("# One solution; run it and go on\n" + OWN, "cell-1", monkeypatch, tmp_path)
    assert progress.read(tmp_path).solved == {"start_here.greeting": "solution"}
    solve(OWN, "cell-2", monkeypatch, tmp_path)
    assert progress.read(tmp_path).solved == {"start_here.greeting": "you"}
    solve("# One solution; run it and go on\n" + OWN, "cell-3", monkeypatch, tmp_path)
    assert progress.read(tmp_path).solved == {"start_here.greeting": "you"}
    assert progress.read(tmp_path).own == 1
    progress.forget(tmp_path)
    assert progress.read(tmp_path).own == 0


def test_outside_a_notebook_nothing_is_noted(monkeypatch, tmp_path):
    """A script that calls a check, or a test of one, is no learner."""
    monkeypatch.setenv("IOTEDGE_LAB_STATE", str(tmp_path))
    assert start_here.check_greeting(lambda name: f"Hello {name}")
    assert list(tmp_path.iterdir()) == []


def test_the_table_and_the_certificate(tmp_path):
    names = [name for each in progress.SERIES for name in each.exercises]
    assert len(set(names)) == len(names) > 20
    for name in names[:4]:
        progress.note(tmp_path, name, "you")
    progress.note(tmp_path, names[4], "solution")
    found = progress.read(tmp_path)
    assert "00 Start here" in repr(found)
    assert "1 of 1 solved" in repr(found)
    assert "1 by the folded solution" in repr(found)
    assert found._repr_html_().count("<tr>") == 1 + len(progress.SERIES)
    certificate = found.certificate("<Ada>")
    assert f"4 of {len(names)} exercises solved, 2 of" in repr(certificate)
    assert "&lt;Ada&gt;" in certificate._repr_html_()
    assert "<Ada>" not in certificate._repr_html_()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"solved": []}', '{"solved": {"x.y": "you"}}', '{"solved": {"start_here.greeting": 3}}'],
)
def test_a_damaged_file_is_an_empty_one_and_is_written_anew(tmp_path, content):
    (tmp_path / progress.FILE).write_text(content)
    assert progress.read(tmp_path).solved == {}
    progress.note(tmp_path, "start_here.greeting", "you")
    assert progress.read(tmp_path).own == 1
    assert json.loads((tmp_path / progress.FILE).read_text())["solved"] == {"start_here.greeting": "you"}


def test_an_exercise_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UsageError, match="SERIES"):
        progress.note(tmp_path, "nothing.at_all", "you")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights of folders are POSIX's")
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    progress.note(tmp_path / "file" / "state", "start_here.greeting", "you")
    assert "is not noted" in caplog.text
