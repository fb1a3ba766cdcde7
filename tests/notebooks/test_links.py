"""Every link, image and notebook that README and notebooks refer to is there, and so is every heading they aim at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import nbformat
import pytest

from iotedge_lab.progress import SERIES
from notebooks.source.make.source import NOTEBOOKS

if TYPE_CHECKING:
    from pathlib import Path

ROOT = NOTEBOOKS.parent
LINK = re.compile(r"!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "data").rglob("README.md")),
    *sorted(NOTEBOOKS.glob("*.ipynb")),
]


def text_of(page: Path) -> str:
    if page.suffix != ".ipynb":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def links(text: str) -> list[tuple[str, str, bool]]:
    """Text, target and whether it is an image, of each link; a badge is an image in a link and counts as both."""
    found = []
    for match in LINK.finditer(FENCE.sub("", text)):
        found.append((match["text"], match["target"], match[0].startswith("!")))
        found += links(match["text"])
    return found


def anchors(text: str) -> set[str]:
    """GitHub's names of the headings."""
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = text_of(page)
    for words, target, image in links(text):
        if re.match(r"https?://", target):
            continue  # nothing here asks the network; what it leads to is named in the text
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} ({words!r})"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(text_of(file)), target
        if image:
            assert len(words.split()) >= 5, f"{target}: the alternative text is to say what it shows"


def test_links_were_found() -> None:
    """A search that finds nothing proves nothing."""
    assert sum(len(links(text_of(page))) for page in PAGES) > 30
    assert len(links("[![a b](c)](d)")) == 2


def test_the_readme_tells_the_series_as_it_is() -> None:
    """Title, promise and minutes of each notebook, in the table of the front page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for each in SERIES:
        row = (
            f"| [{each.number} {each.title}](notebooks/{each.name}.ipynb) | {each.promise} | {each.minutes} |"
        )
        assert row in readme
