"""From the source of a notebook to its cells: what an exercise block becomes, and what is refused."""

from __future__ import annotations

import nbformat
import pytest

from notebooks.source.make.source import SourceError, build, take_apart

BLOCK = '''\
def double(number):
    """Twice a number."""
    # >>> solution
    # stub: answer = ...  # hint: an asterisk
    answer = 2 * number
    # <<< solution
    return answer

# >>> check
check_double(double)
'''


def test_one_block_becomes_stub_check_and_solution() -> None:
    """The learner sees the stub's lines where the solution stands; signature and check are the same text."""
    parts = take_apart("double", BLOCK)
    assert parts.stub.splitlines() == [
        "def double(number):",
        '    """Twice a number."""',
        "    answer = ...  # hint: an asterisk",
        "    return answer",
    ]
    assert parts.solution == parts.stub.replace("...  # hint: an asterisk", "2 * number")
    assert parts.check == "check_double(double)"


def test_without_stub_lines_the_learner_sees_dots() -> None:
    """A solution without `# stub:` lines leaves an ellipsis in its place, at its indentation."""
    block = BLOCK.replace("    # stub: answer = ...  # hint: an asterisk\n", "").replace(
        "    return answer\n", ""
    )
    assert take_apart("double", block).stub.splitlines()[-1] == "    ...  # your code"


def test_a_block_may_leave_several_places_open() -> None:
    """Two marked regions give two places to fill in."""
    parts = take_apart(
        "x",
        "# >>> solution\na = 1\n# <<< solution\nb = 2\n"
        "# >>> solution\nc = 3\n# <<< solution\n# >>> check\nf()",
    )
    assert parts.stub == "...  # your code\nb = 2\n...  # your code"
    assert parts.solution == "a = 1\nb = 2\nc = 3"


def test_the_three_cells_follow_each_other_and_the_solution_is_collapsed(toy_source: str) -> None:
    """Stub, check, solution with the same check; the solution's input is hidden and it carries its tag."""
    cells = build(toy_source).cells
    index = next(i for i, cell in enumerate(cells) if "exercise" in cell.metadata.get("tags", []))
    stub, check, solution = cells[index : index + 3]
    assert check.metadata.tags == ["exercise-check"]
    assert solution.metadata.tags == ["exercise-solution"]
    assert solution.metadata.jupyter.source_hidden is True
    assert solution.source.endswith(check.source)
    assert "2 * number" in solution.source
    assert "2 * number" not in stub.source + check.source


BAD = [
    ("no check", BLOCK.replace("# >>> check\n", ""), "before its check"),
    ("two checks", BLOCK + "# >>> check\n", "2 found"),
    ("empty check", BLOCK.replace("check_double(double)\n", ""), "its check is empty"),
    ("never closed", BLOCK.replace("    # <<< solution\n", ""), "never closed"),
    ("nothing open", BLOCK.replace("    # >>> solution\n", ""), "with nothing open"),
    (
        "opened twice",
        BLOCK.replace("    answer = 2", "    # >>> solution\n    answer = 2"),
        "inside a solution",
    ),
    ("no solution", "x = 1\n# >>> check\nf()", "nothing is left to the learner"),
    (
        "stub line outside",
        BLOCK.replace("    return answer", "    # stub: no\n    return answer"),
        "left over",
    ),
    (
        "misspelt mark",
        BLOCK.replace("    return answer", "    # >>> Solution\n    return answer"),
        "left over",
    ),
]


@pytest.mark.parametrize(("block", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_broken_block_is_refused_with_what_is_wrong(block: str, words: str) -> None:
    """Each way to get a block wrong is named, with the exercise."""
    with pytest.raises(SourceError, match=words) as caught:
        take_apart("double", block)
    assert "'double'" in str(caught.value)


def test_a_mark_outside_an_exercise_is_refused() -> None:
    """A solution can never stand open in a notebook because its cell's marker was forgotten."""
    with pytest.raises(SourceError, match='add exercise="name"'):
        build("# %%\n# >>> solution\nx = 1\n# <<< solution\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no cell"),
        ('# %% colour="red"\nx = 1\n', "colour"),
        ('# %% [markdown] exercise="x"\n# text\n', "not a code"),
    ],
)
def test_a_source_that_makes_no_notebook_is_refused(text: str, words: str) -> None:
    """An empty source, an unknown key and an exercise in Markdown are refused."""
    with pytest.raises(SourceError, match=words):
        build(text)


def test_comments_that_look_like_commands_stay_comments() -> None:
    """A comment such as "# echo" is not taken for a shell command and uncommented."""
    source = "# %%\n# echo what came\n# ls of parts\n# %time is not measured\nx = 1\n"
    assert build(source).cells[0].source == source.partition("\n")[2].strip()


def test_tags_reach_the_cell() -> None:
    """`tags=[...]` on a marker become the cell's tags."""
    assert build('# %% tags=["nbval-ignore-output"]\nx = 1\n').cells[0].metadata.tags == [
        "nbval-ignore-output"
    ]


def test_ids_depend_on_the_cell_alone(toy_source: str) -> None:
    """A cell put in front changes no other cell's id, and equal cells still have ids of their own."""
    before = [cell.id for cell in build(toy_source).cells]
    after = [cell.id for cell in build("# %%\n0\n\n" + toy_source).cells]
    assert after[1:] == before
    twins = build("# %%\nx\n# %%\nx\n").cells
    assert len({cell.id for cell in twins}) == 2


def test_what_is_built_is_a_valid_notebook(toy_source: str) -> None:
    """The notebook passes nbformat's schema and names the kernel python3."""
    notebook = build(toy_source)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
