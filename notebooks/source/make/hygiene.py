"""The rules that a stored notebook keeps, each a function that tells what it looked at and what is wrong.

A rule that looked at nothing proves nothing, so a `Finding` carries how many things it saw; the tests demand
that every rule has seen some over the series.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from notebooks.source.make.execute import WIDGET_VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 300_000
MAX_CODE_LINES = 25
MAX_MEDIAN_CODE_LINES = 4
MAX_LINE = 92  # characters; more do not fit beside JupyterLab's file browser
MAX_WORDS_BETWEEN = 60
MAX_OUTPUT_LINES = 60
MAX_OUTPUT_CHARACTERS = 8_000
MIN_ALT_WORDS = 6

STDERR_TAG = "stderr-expected"
"""A cell that is meant to write to stderr says so by this tag."""

_PICTURE_DATA = re.compile(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=\s]+")

# What must never be committed, by name. The value has to look like one: the bare word in prose is fine.
_SECRETS = {
    "a shared access key": re.compile(r"SharedAccessKey\s*=\s*[A-Za-z0-9+/]{8,}", re.IGNORECASE),
    "a SAS token": re.compile(r"SharedAccessSignature\s+s[a-z]+=\S{8,}", re.IGNORECASE),
    "a signature": re.compile(r"\bsig=[A-Za-z0-9%+/]{8,}", re.IGNORECASE),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a 256-bit key in base64": re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])"),
    "a 512-bit key in base64": re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==(?![A-Za-z0-9+/=])"),
}
_HOMES = re.compile(r"(?:/home|/Users|/root|/tmp|/work|C:\\Users)[/\\][\w.-]+")
_FENCE = re.compile(r"```.*?```", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_AMERICAN = re.compile(
    r"\b(?:colors?|colored|coloring|behavior\w*|centers?|centered|neighbor\w*|favor\w*|honor\w*|labor|gray\w*|catalogs?|"
    r"analyz\w+|cancel(?:ed|ing)|label(?:ed|ing)|model(?:ed|ing|er)|travel(?:ed|ing|er)|signal(?:ed|ing)|fulfills?|"
    r"(?:kilo|centi|milli)?meters? (?:long|wide|high|away|per)|artifacts?|defense|dialogs?|skeptic\w*)\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Finding:
    """What a rule saw (`seen` things) and what is wrong with it, a sentence each."""

    seen: int = 0
    complaints: list[str] = field(default_factory=list)

    def expect(self, holds: bool, complaint: str) -> None:
        """Count one thing looked at; note the complaint unless it holds."""
        self.seen += 1
        if not holds:
            self.complaints.append(complaint)


Rule = Callable[[NotebookNode, "Path"], Finding]


def code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """The code cells with their numbers, as their execution counts should be."""
    return list(enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1))


def tags_of(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def texts_of(output: NotebookNode) -> Iterator[str]:
    """All text in an output, of a stream, an error or any text MIME type."""
    if "text" in output:
        yield output["text"]
    for kind, data in output.get("data", {}).items():
        if isinstance(data, str) and (kind.startswith("text/") or kind.endswith("+xml")):
            yield data
    yield from output.get("traceback", [])


def counts_run_from_one(notebook: NotebookNode, _path: Path) -> Finding:
    """One clean execution from top to bottom: the counts are 1 to n."""
    finding = Finding()
    for number, cell in code_cells(notebook):
        finding.expect(
            cell.execution_count == number,
            f"code cell {number} carries the count {cell.execution_count}; run `make notebooks`",
        )
    return finding


def no_error_is_stored(notebook: NotebookNode, _path: Path) -> Finding:
    """No output is a traceback, unless the cell is tagged raises-exception."""
    finding = Finding()
    for number, cell in code_cells(notebook):
        failed = any(output.output_type == "error" for output in cell.outputs)
        finding.expect(
            not failed or "raises-exception" in tags_of(cell), f"code cell {number} stores an error"
        )
    return finding


def no_stray_stderr(notebook: NotebookNode, _path: Path) -> Finding:
    """Nothing on stderr without the tag that announces it."""
    finding = Finding()
    for number, cell in code_cells(notebook):
        noise = "".join(output["text"] for output in cell.outputs if output.get("name") == "stderr")
        finding.expect(
            not noise or STDERR_TAG in tags_of(cell),
            f"code cell {number} writes to stderr; quieten it or tag it {STDERR_TAG}:\n{noise.strip()}",
        )
    return finding


class _Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")


def pictures_have_alt_text(notebook: NotebookNode, _path: Path) -> Finding:
    """Each picture is an HTML img whose alt text is a sentence: JupyterLab drops the alt of a bare PNG."""
    finding = Finding()
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            parser = _Images()
            parser.feed(data.get("text/html", ""))
            for alt in parser.alts:
                finding.expect(
                    len(alt.split()) >= MIN_ALT_WORDS,
                    f"code cell {number}: the alt text {alt!r} is shorter than {MIN_ALT_WORDS} words",
                )
            bare = [kind for kind in data if kind.startswith("image/")]
            if bare:
                finding.expect(
                    False, f"code cell {number}: a bare {bare[0]}; show it through iotedge_lab.show"
                )
    return finding


def cells_are_short(notebook: NotebookNode, _path: Path) -> Finding:
    """At most 25 lines a cell and 92 characters a line; the median of the open cells is at most 4 lines."""
    finding = Finding()
    lengths = []
    for number, cell in code_cells(notebook):
        length = len(cell.source.splitlines())
        finding.expect(
            length <= MAX_CODE_LINES, f"code cell {number} has {length} lines (at most {MAX_CODE_LINES})"
        )
        longest = max((len(line) for line in cell.source.splitlines()), default=0)
        finding.expect(longest <= MAX_LINE, f"code cell {number} has a line of {longest} characters")
        if not cell.metadata.get("jupyter", {}).get("source_hidden"):
            lengths.append(length)
    if lengths:
        median = statistics.median(lengths)
        finding.expect(median <= MAX_MEDIAN_CODE_LINES, f"the median code cell has {median} lines")
    return finding


def prose_is_short(notebook: NotebookNode, _path: Path) -> Finding:
    """At most 60 words between two code cells; the opening and the closing may be longer.

    Commands in a fence are looked up, not read: they do not count, and are at most as wide as code.
    """
    finding = Finding()
    words, begun, number = 0, False, 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for fence in _FENCE.findall(cell.source):
                longest = max(len(line) for line in fence.splitlines())
                finding.expect(longest <= MAX_LINE, f"a fenced line has {longest} characters")
            prose = _LINK.sub("link", _FENCE.sub("", cell.source))
            words += len(re.sub(r"[#>*`|-]", " ", prose).split())
            continue
        number += 1
        if begun and words:
            finding.expect(
                words <= MAX_WORDS_BETWEEN,
                f"{words} words of prose before code cell {number} (at most {MAX_WORDS_BETWEEN})",
            )
        words, begun = 0, True
    return finding


def _bullets(text: str, heading: str) -> int:
    """How many bullets follow a heading such as "You will"."""
    match = re.search(rf"\*\*{heading}\*\*.*?\n((?:\s*[-*] .*\n?(?:  .*\n?)*)+)", text + "\n")
    return len(re.findall(r"^\s*[-*] ", match[1], re.MULTILINE)) if match else 0


def american(text: str) -> list[str]:
    """The words of a Markdown text that are spelt the American way; code is left out, its words are not ours."""
    return _AMERICAN.findall(_INLINE_CODE.sub("", _LINK.sub("link", _FENCE.sub("", text))))


def spells_british(notebook: NotebookNode, _path: Path) -> Finding:
    """Prose and alt texts are in British English, as the whole series is."""
    finding = Finding()
    for number, cell in enumerate(notebook.cells, start=1):
        texts = [cell.source] if cell.cell_type == "markdown" else []
        for output in cell.get("outputs", []):
            parser = _Images()
            parser.feed(output.get("data", {}).get("text/html", ""))
            texts += parser.alts
        for text in texts:
            found = american(text)
            finding.expect(not found, f"cell {number} spells {', '.join(found)} the American way")
    return finding


def opens_with_a_promise(notebook: NotebookNode, _path: Path) -> Finding:
    """Title, promise, "You will" (3-5 bullets), "Before you start", minutes, works offline."""
    first = notebook.cells[0]
    text = first.source if first.cell_type == "markdown" else ""
    finding = Finding()
    finding.expect(bool(re.match(r"# \S", text)), "the first cell does not open with '# Title'")
    finding.expect(
        3 <= _bullets(text, "You will") <= 5,
        f"{_bullets(text, 'You will')} bullets under **You will** (3 to 5)",
    )
    finding.expect("**Before you start**" in text, "no **Before you start** in the first cell")
    finding.expect(bool(re.search(r"\b\d+ minutes\b", text)), "the first cell does not say how many minutes")
    finding.expect(
        bool(re.search(r"[Ww]orks offline: (yes|no)", text)), "no 'Works offline: yes' in the first cell"
    )
    return finding


def closes_by_mirroring(notebook: NotebookNode, path: Path) -> Finding:
    """As many bullets under "You have now" as under "You will", then **Next**; each link leads somewhere.

    What **Next** names is a link, or "to come" in words. A link stays in the notebooks' folder: JupyterLab
    opens nothing outside it.
    """
    last, first = notebook.cells[-1], notebook.cells[0]
    text = last.source if last.cell_type == "markdown" else ""
    finding = Finding()
    promised, kept = _bullets(first.source, "You will"), _bullets(text, "You have now")
    finding.expect(kept == promised > 0, f"**You have now** has {kept} bullets, **You will** {promised}")
    next_one = re.search(r"\*\*Next\*\*.*?(\]\(|to come)", text, re.DOTALL)
    finding.expect(next_one is not None, "no **Next** with a link, or what is to come, in the last cell")
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for link in _LINK.finditer(cell.source):
            target = link["target"].partition("#")[0]
            if target and "://" not in target:
                finding.expect((path.parent / target).exists(), f"the link {target} leads nowhere")
                finding.expect(".." not in target, f"the link {target} leads out of JupyterLab's folder")
    return finding


def stays_small(notebook: NotebookNode, _path: Path) -> Finding:
    """Under 300 KB, and no output of more than 60 lines."""
    finding = Finding()
    size = len(nbformat.writes(notebook).encode())
    finding.expect(size < MAX_BYTES, f"{size / 1000:.0f} KB (under {MAX_BYTES // 1000})")
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            for text in texts_of(output):
                bare = _PICTURE_DATA.sub("", text)
                lines = 0 if "<table" in bare else len(bare.splitlines())  # a table's lines are its markup's
                finding.expect(
                    lines <= MAX_OUTPUT_LINES and len(bare) <= MAX_OUTPUT_CHARACTERS,
                    f"code cell {number} puts out {lines} lines, {len(bare)} characters; show less of it",
                )
    return finding


def tells_no_secret(notebook: NotebookNode, _path: Path) -> Finding:
    """No key, token or signature, and no path of the maker's machine, in sources and outputs."""
    finding = Finding()
    for number, cell in enumerate(notebook.cells, start=1):
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts += list(texts_of(output))
            # Every other MIME type too, by its JSON.
            texts += [
                str(d) for k, d in output.get("data", {}).items() if not k.startswith(("text/", "image/"))
            ]
        for text in texts:
            bare = _PICTURE_DATA.sub("", text)
            for name, pattern in _SECRETS.items():
                finding.expect(not pattern.search(bare), f"cell {number} shows {name}")
            home = _HOMES.search(bare)
            finding.expect(
                home is None, f"cell {number} names a folder of one machine: {home[0] if home else ''}"
            )
    return finding


def stores_no_widget_state(notebook: NotebookNode, _path: Path) -> Finding:
    """Widget ids are random: neither state nor views are stored; and the kernel is named python3."""
    finding = Finding()
    finding.expect("widgets" not in notebook.metadata, "metadata.widgets is stored")
    finding.expect(
        notebook.metadata.get("kernelspec", {}).get("name") == "python3", "the kernel is not named python3"
    )
    for number, cell in code_cells(notebook):
        finding.expect(
            not any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs),
            f"code cell {number} stores a widget view",
        )
    return finding


def exercises_are_whole(notebook: NotebookNode, _path: Path) -> Finding:
    """Task, stub, check ("Not yet"), collapsed solution ("OK"): in this order, for each exercise."""
    finding = Finding()
    cells = notebook.cells
    for index, cell in enumerate(cells):
        if "exercise" not in tags_of(cell):
            continue
        name = cell.metadata["iotedge_lab"]["exercise"]
        task = cells[index - 1] if index else None
        finding.expect(
            task is not None and task.cell_type == "markdown" and "Exercise" in task.source,
            f"exercise {name}: no Markdown cell with 'Exercise' before it says the task",
        )
        following = [tags_of(other) for other in cells[index + 1 : index + 3]]
        whole = following == [["exercise-check"], ["exercise-solution"]]
        finding.expect(whole, f"exercise {name}: stub, check and solution do not follow each other")
        if not whole:
            continue
        check, solution = cells[index + 1 : index + 3]
        hidden = solution.metadata.get("jupyter", {}).get("source_hidden", False)
        finding.expect(hidden, f"exercise {name}: its solution is not collapsed")
        finding.expect(
            _said(check).startswith("Not yet"),
            f"exercise {name}: its check says {_said(check)!r} to the stub",
        )
        finding.expect(
            _said(solution).startswith("OK"),
            f"exercise {name}: its check says {_said(solution)!r} to the solution",
        )
    return finding


def _said(cell: NotebookNode) -> str:
    """The plain text of a cell's last result: the verdict of a check."""
    results = [
        out["data"].get("text/plain", "") for out in cell.outputs if out.output_type == "execute_result"
    ]
    return results[-1] if results else ""


RULES: tuple[Rule, ...] = (
    counts_run_from_one,
    no_error_is_stored,
    no_stray_stderr,
    pictures_have_alt_text,
    cells_are_short,
    prose_is_short,
    spells_british,
    opens_with_a_promise,
    closes_by_mirroring,
    stays_small,
    tells_no_secret,
    stores_no_widget_state,
    exercises_are_whole,
)


def complaints(notebook: NotebookNode, path: Path) -> list[str]:
    """What all rules have to say against an executed notebook that lies (or will lie) at `path`."""
    return [complaint for rule in RULES for complaint in rule(notebook, path).complaints]


def drift(built: NotebookNode, stored: NotebookNode) -> list[str]:
    """Where a stored notebook is not what its source builds: cells' sources, ids, kinds and metadata."""

    def essence(notebook: NotebookNode) -> list[tuple[str, str, str, dict[str, object]]]:
        return [(cell.id, cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]

    wanted, found = essence(built), essence(stored)
    remedy = "edit the source, then run `make notebooks`"
    if len(wanted) != len(found):
        return [f"{len(found)} cells are stored, the source makes {len(wanted)}; {remedy}"]
    return [
        f"cell {number} is not the source's; {remedy}"
        for number, (one, other) in enumerate(zip(wanted, found, strict=True), start=1)
        if one != other
    ]
