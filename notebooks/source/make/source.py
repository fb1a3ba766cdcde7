"""From a source in percent format to the cells of a notebook, exercises spelled out.

A code cell whose marker carries `exercise="name"` is an exercise. It is written once:

    # %% exercise="to_message"
    def to_message(row):
        \"\"\"One row as a message.\"\"\"
        # >>> solution
        # stub: message = ...
        message = Message(json.dumps(row))
        # <<< solution
        return message

    # >>> check
    exercise.check_to_message(to_message)

and becomes three cells:

* the stub: between the solution's marks the learner sees the `# stub: ` lines, or `...` where there are none;
* the check, as it stands; it answers "Not yet: ..." to the stub and never raises, so that Run All works;
* the solution and the same check again, collapsed (`jupyter.source_hidden`); it runs with all the others.

Signature, docstring and check are the same text in all three, so exercise and solution cannot drift apart.
The task stands in the Markdown cell before the block. `tags=["..."]` on a marker become the cell's tags.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupytext
import nbformat
from nbformat import NotebookNode

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOTEBOOKS = Path(__file__).resolve().parents[2]
"""The folder in which the notebooks lie, and in which their kernels run."""

SOURCES = NOTEBOOKS / "source"

# What a notebook says of its kernel. The kernel's exact version is left out: it is the reader's, not ours.
METADATA: dict[str, Any] = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}

# comment_magics off: else jupytext takes a comment such as "# echo ..." for a command and uncomments it.
_FORMAT = {"extension": ".py", "format_name": "percent", "comment_magics": False}

# What jupytext notes about a source's blank lines and markers; nothing of it belongs in a notebook.
_JUPYTEXTS_OWN = frozenset({"lines_to_next_cell", "lines_to_end_of_cell_marker", "cell_marker"})

_BEGIN = re.compile(r"^(?P<indent> *)# >>> solution$")
_END = re.compile(r"^ *# <<< solution$")
_STUB = re.compile(r"^ *# stub: ?(?P<text>.*)$")
_CHECK = re.compile(r"^# >>> check$")
_MARKS = re.compile(r"^\s*# (?:(?:>>>|<<<)|stub:)", re.MULTILINE)


class SourceError(UsageError):
    """A source that cannot be made into a notebook; the message names file, block and remedy."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """One exercise block, taken apart."""

    name: str
    stub: str
    check: str
    solution: str


def sources(folder: Path = SOURCES) -> list[Path]:
    """The sources in the order of the series."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def notebook_of(source: Path) -> Path:
    """Where the notebook of a source lies: one folder up, the same name."""
    return source.parent.parent / f"{source.stem}.ipynb"


def take_apart(name: str, block: str) -> Exercise:
    """Split an exercise block into stub, check and solution. Raises `SourceError` where a part is missing."""
    lines = block.strip("\n").splitlines()
    marks = [number for number, line in enumerate(lines) if _CHECK.match(line)]
    if len(marks) != 1:
        raise SourceError(
            f"exercise {name!r}: write one line '# >>> check' before its check ({len(marks)} found)"
        )
    task, check = lines[: marks[0]], lines[marks[0] + 1 :]

    stub: list[str] = []
    solution: list[str] = []
    region: list[str] | None = None  # the stub's lines of the region that is open
    indent = ""
    regions = 0
    for line in task:
        if begin := _BEGIN.match(line):
            if region is not None:
                raise SourceError(
                    f"exercise {name!r}: '# >>> solution' inside a solution; close the first one"
                )
            region, indent, regions = [], begin["indent"], regions + 1
        elif _END.match(line):
            if region is None:
                raise SourceError(f"exercise {name!r}: '# <<< solution' with nothing open")
            stub += region or [f"{indent}...  # your code"]
            region = None
        elif region is not None and (hint := _STUB.match(line)):
            region.append(f"{indent}{hint['text']}".rstrip())
        else:
            solution.append(line)
            if region is None:
                stub.append(line)
    if region is not None:
        raise SourceError(f"exercise {name!r}: a '# >>> solution' is never closed; add '# <<< solution'")
    if not regions:
        raise SourceError(f"exercise {name!r}: nothing is left to the learner; mark it with '# >>> solution'")
    parts = Exercise(
        name=name,
        stub="\n".join(stub).strip(),
        check="\n".join(check).strip(),
        solution="\n".join(solution).strip(),
    )
    if not parts.check:
        raise SourceError(f"exercise {name!r}: its check is empty")
    if any(_MARKS.search(part) for part in (parts.stub, parts.check, parts.solution)):
        raise SourceError(
            f"exercise {name!r}: a mark is left over; see the block's grammar in make/source.py"
        )
    return parts


def _exercise_cells(parts: Exercise) -> Iterator[NotebookNode]:
    mark = {"iotedge_lab": {"exercise": parts.name}}
    yield nbformat.v4.new_code_cell(parts.stub, metadata={"tags": ["exercise"], **mark})
    yield nbformat.v4.new_code_cell(parts.check, metadata={"tags": ["exercise-check"], **mark})
    yield nbformat.v4.new_code_cell(
        f"# One solution; run it and go on\n{parts.solution}\n\n\n{parts.check}",
        metadata={"tags": ["exercise-solution"], "jupyter": {"source_hidden": True}, **mark},
    )


def _plain_cell(cell: NotebookNode) -> NotebookNode:
    metadata = {key: value for key, value in cell.metadata.items() if key not in _JUPYTEXTS_OWN}
    unknown = sorted(set(metadata) - {"tags"})
    if unknown:
        raise SourceError(f'a cell\'s marker carries {unknown}; known are tags=[...] and exercise="..."')
    if cell.cell_type == "code" and _MARKS.search(cell.source):
        raise SourceError("a solution's mark outside an exercise; add exercise=\"name\" to its cell's marker")
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}[cell.cell_type]
    made: NotebookNode = make(cell.source.strip("\n"), metadata=metadata)
    return made


def _with_ids(cells: Iterable[NotebookNode]) -> Iterator[NotebookNode]:
    """Ids that depend on what the cell says alone, so that an inserted cell changes no other's."""
    taken: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:10]
        taken[digest] = taken.get(digest, 0) + 1
        cell["id"] = digest if taken[digest] == 1 else f"{digest}-{taken[digest]}"
        yield cell


def build(text: str) -> NotebookNode:
    """The notebook of a source's text, unexecuted. Raises `SourceError`."""
    cells: list[NotebookNode] = []
    for cell in jupytext.reads(text, fmt=_FORMAT).cells:
        name = cell.metadata.pop("exercise", None)
        if name is None:
            if cell.source.strip():
                cells.append(_plain_cell(cell))
        elif cell.cell_type != "code":
            raise SourceError(f"exercise {name!r} is not a code cell")
        else:
            cells += _exercise_cells(take_apart(str(name), cell.source))
    if not cells:
        raise SourceError("no cell; a source is in jupytext's percent format, '# %%' before each cell")
    notebook: NotebookNode = nbformat.v4.new_notebook(cells=list(_with_ids(cells)), metadata=METADATA)
    nbformat.validate(notebook)
    return notebook


def build_file(path: Path) -> NotebookNode:
    """`build` for a file; its errors name the file."""
    try:
        return build(path.read_text(encoding="utf-8"))
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from error
