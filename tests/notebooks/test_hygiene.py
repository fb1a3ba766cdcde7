"""Each rule of the notebooks lets the toy pass and catches its violation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from notebooks.source.make import hygiene
from notebooks.source.make.execute import WIDGET_VIEW
from notebooks.source.make.source import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbformat import NotebookNode

HERE = Path(__file__)
KEY = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="


def _code(notebook: NotebookNode, index: int) -> NotebookNode:
    return [cell for cell in notebook.cells if cell.cell_type == "code"][index]


def _say(text: str, name: str = "stdout") -> Callable[[NotebookNode], None]:
    def spoil(notebook: NotebookNode) -> None:
        _code(notebook, 0).outputs = [nbformat.v4.new_output("stream", name=name, text=text)]

    return spoil


def _show(data: dict[str, str]) -> Callable[[NotebookNode], None]:
    def spoil(notebook: NotebookNode) -> None:
        _code(notebook, 1).outputs = [nbformat.v4.new_output("display_data", data=data)]

    return spoil


def _count(notebook: NotebookNode) -> None:
    _code(notebook, 1).execution_count = 7


def _error(notebook: NotebookNode) -> None:
    _code(notebook, 0).outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=["E"])]


def _long_cell(notebook: NotebookNode) -> None:
    _code(notebook, 0).source = "x = 1\n" * 26


def _wide_cell(notebook: NotebookNode) -> None:
    _code(notebook, 0).source = "x" * 93


def _long_cells(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = "x = 1\n" * 7


def _wordy(notebook: NotebookNode) -> None:
    task = next(cell for cell in notebook.cells if "Exercise" in cell.source)
    task.source += " word" * 60


def _wide_fence(notebook: NotebookNode) -> None:
    task = next(cell for cell in notebook.cells if "Exercise" in cell.source)
    task.source += "\n```bash\n" + "x" * 93 + "\n```"


def _first(old: str, new: str) -> Callable[[NotebookNode], None]:
    def spoil(notebook: NotebookNode) -> None:
        assert old in notebook.cells[0].source
        notebook.cells[0].source = notebook.cells[0].source.replace(old, new)

    return spoil


def _last(old: str, new: str) -> Callable[[NotebookNode], None]:
    def spoil(notebook: NotebookNode) -> None:
        assert old in notebook.cells[-1].source
        notebook.cells[-1].source = notebook.cells[-1].source.replace(old, new)

    return spoil


def _heavy(notebook: NotebookNode) -> None:
    image = f'<img alt="A picture that is far too heavy." src="data:image/png;base64,{"A" * 300_000}">'
    _code(notebook, 1).outputs[0].data["text/html"] = image


def _widgets(notebook: NotebookNode) -> None:
    notebook.metadata["widgets"] = {}


def _kernel(notebook: NotebookNode) -> None:
    notebook.metadata["kernelspec"]["name"] = "my-env"


def _no_solution(notebook: NotebookNode) -> None:
    notebook.cells = [c for c in notebook.cells if c.metadata.get("tags") != ["exercise-solution"]]


def _no_task(notebook: NotebookNode) -> None:
    notebook.cells = [c for c in notebook.cells if not (c.cell_type == "markdown" and "Exercise" in c.source)]


def _open_solution(notebook: NotebookNode) -> None:
    _code(notebook, -1).metadata["jupyter"] = {}


def _verdict(index: int, text: str) -> Callable[[NotebookNode], None]:
    def spoil(notebook: NotebookNode) -> None:
        _code(notebook, index).outputs[0].data["text/plain"] = text

    return spoil


CASES: list[tuple[hygiene.Rule, Callable[[NotebookNode], None], str]] = [
    (hygiene.counts_run_from_one, _count, "carries the count 7"),
    (hygiene.no_error_is_stored, _error, "stores an error"),
    (hygiene.no_stray_stderr, _say("careful\n", "stderr"), "writes to stderr"),
    (hygiene.pictures_have_alt_text, _show({"text/html": "<p><img src='x'></p>"}), "the alt text ''"),
    (hygiene.pictures_have_alt_text, _show({"text/html": "<img alt='a plot'>"}), "'a plot'"),
    (hygiene.pictures_have_alt_text, _show({"image/png": "AAAA"}), "a bare image/png"),
    (hygiene.pictures_have_alt_text, _show({"image/svg+xml": "<svg/>"}), "a bare image/svg"),
    (hygiene.cells_are_short, _long_cell, "has 26 lines"),
    (hygiene.cells_are_short, _wide_cell, "a line of 93 characters"),
    (hygiene.cells_are_short, _long_cells, "the median code cell has 7"),
    (hygiene.prose_is_short, _wordy, "words of prose before code cell 3"),
    (hygiene.prose_is_short, _wide_fence, "a fenced line has 93"),
    (hygiene.spells_british, _first("A toy", "A gray toy"), "spells gray"),
    (hygiene.spells_british, _show({"text/html": "<img alt='All colors of it.'>"}), "spells colors"),
    (hygiene.opens_with_a_promise, _first("# A toy", "A toy"), "# Title"),
    (hygiene.opens_with_a_promise, _first("**You will**", "You may"), "0 bullets"),
    (hygiene.opens_with_a_promise, _first("- say a word\n- see a picture\n", ""), "1 bullets"),
    (hygiene.opens_with_a_promise, _first("**Before you start**", "Before"), "Before you start"),
    (hygiene.opens_with_a_promise, _first("5 minutes", "a while"), "how many minutes"),
    (hygiene.opens_with_a_promise, _first("Works offline: yes", ""), "Works offline"),
    (hygiene.closes_by_mirroring, _last("- said a word\n", ""), "has 2 bullets"),
    (hygiene.closes_by_mirroring, _last("**Next**", "Later"), "no **Next**"),
    (hygiene.closes_by_mirroring, _last("https://example.org/", "99_nowhere.ipynb"), "leads nowhere"),
    (hygiene.closes_by_mirroring, _last("[a place](https://example.org/)", "some day"), "no **Next**"),
    (hygiene.closes_by_mirroring, _last("https://example.org/", "../../README.md"), "out of JupyterLab"),
    (hygiene.stays_small, _heavy, "under 300"),
    (hygiene.stays_small, _say("line\n" * 61), "61 lines"),
    (hygiene.stays_small, _say("x" * 8001), "8001 characters"),
    (hygiene.tells_no_secret, _say(f"HostName=h;SharedAccessKey={KEY}"), "a shared access key"),
    (hygiene.tells_no_secret, _say("SharedAccessSignature sr=localhost%2Fdevices"), "a SAS token"),
    (hygiene.tells_no_secret, _say("...&sig=abc%2Bdefghij&se=1"), "a signature"),
    (hygiene.tells_no_secret, _say("-----BEGIN EC PRIVATE KEY-----"), "a private key"),
    (hygiene.tells_no_secret, _say(f"primary: {KEY}"), "a 256-bit key"),
    (hygiene.tells_no_secret, _say("k=" + "A" * 86 + "=="), "a 512-bit key"),
    (hygiene.tells_no_secret, _show({"application/json": {"key": KEY}}), "a 256-bit key"),
    (hygiene.tells_no_secret, _say("/home/ada/lab"), "/home/ada"),
    (hygiene.stores_no_widget_state, _widgets, "metadata.widgets"),
    (hygiene.stores_no_widget_state, _kernel, "python3"),
    (hygiene.stores_no_widget_state, _show({WIDGET_VIEW: "{}"}), "a widget view"),
    (hygiene.exercises_are_whole, _no_solution, "do not follow each other"),
    (hygiene.exercises_are_whole, _no_task, "says the task"),
    (hygiene.exercises_are_whole, _open_solution, "not collapsed"),
    (hygiene.exercises_are_whole, _verdict(3, "OK: fine"), "to the stub"),
    (hygiene.exercises_are_whole, _verdict(4, "Wrong: no"), "to the solution"),
]


def test_the_front_page_is_in_british_english() -> None:
    """As the notebooks are; what is code in it is not looked at."""
    assert hygiene.american("a `color` and\n```\ngray\n```\n[the center](center.md) behaviour") == []
    readme = (HERE.parents[2] / "README.md").read_text(encoding="utf-8")
    assert len(readme) > 10_000
    assert hygiene.american(readme) == []


def test_the_cases_cover_every_rule() -> None:
    """No rule is left without a notebook that breaks it."""
    assert {rule for rule, _, _ in CASES} == set(hygiene.RULES)


@pytest.mark.parametrize("rule", hygiene.RULES, ids=lambda rule: rule.__name__)
def test_a_clean_notebook_passes_and_is_looked_at(rule: hygiene.Rule, toy: NotebookNode) -> None:
    """The toy gives no rule a reason to complain, and each rule finds something to look at in it."""
    finding = rule(toy, HERE)
    assert finding.complaints == []
    assert finding.seen > 0


@pytest.mark.parametrize(
    ("rule", "spoil", "words"), CASES, ids=[f"{rule.__name__}-{words}" for rule, _, words in CASES]
)
def test_a_violation_is_caught(
    rule: hygiene.Rule, spoil: Callable[[NotebookNode], None], words: str, toy: NotebookNode
) -> None:
    """A notebook that breaks one rule is complained about in words that name the fault."""
    spoil(toy)
    assert any(words in complaint for complaint in rule(toy, HERE).complaints)


def test_a_command_in_a_fence_is_no_prose(toy: NotebookNode) -> None:
    """Commands are looked up, not read: their words do not count."""
    task = next(cell for cell in toy.cells if "Exercise" in cell.source)
    task.source += "\n> ```bash\n" + "> az iot hub show --name HUB\n" * 20 + "> ```\n"
    assert hygiene.prose_is_short(toy, HERE).complaints == []


def test_what_is_to_come_needs_no_link(toy: NotebookNode) -> None:
    """A notebook that is not written yet is named in words, without a dead link."""
    _last("[a place](https://example.org/)", "08, which is to come")(toy)
    assert hygiene.closes_by_mirroring(toy, HERE).complaints == []


def test_tagged_cells_may_raise_and_write_to_stderr(toy: NotebookNode) -> None:
    """The tags raises-exception and stderr-expected lift their rule."""
    _error(toy)
    _code(toy, 0).metadata["tags"] = ["raises-exception"]
    assert hygiene.no_error_is_stored(toy, HERE).complaints == []
    _say("careful\n", "stderr")(toy)
    _code(toy, 0).metadata["tags"] = [hygiene.STDERR_TAG]
    assert hygiene.no_stray_stderr(toy, HERE).complaints == []


def test_base64_of_a_picture_is_no_secret(toy: NotebookNode) -> None:
    """The bytes of a picture may contain what looks like a key."""
    picture = f'<img alt="Line: one two three four." src="data:image/png;base64,{KEY}">'
    _show({"text/html": picture})(toy)
    assert hygiene.tells_no_secret(toy, HERE).complaints == []


def test_drift_between_source_and_notebook_is_found(toy_source: str, toy: NotebookNode) -> None:
    """An edited, an added and a retagged cell are told from what the source builds; outputs do not count."""
    built = build(toy_source)
    assert hygiene.drift(built, toy) == []
    toy.cells[2].source += "\n# edited in JupyterLab"
    assert "cell 3" in hygiene.drift(built, toy)[0]
    toy.cells = toy.cells[:-1]
    assert "cells are stored" in hygiene.drift(built, toy)[0]
