"""The notebooks as they are committed: equal to their sources, and clean by every rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest

from notebooks.source.make import hygiene
from notebooks.source.make.source import NOTEBOOKS, build_file, notebook_of, sources

if TYPE_CHECKING:
    from pathlib import Path


def test_each_notebook_has_a_source_and_each_source_a_notebook() -> None:
    """Nothing lies among the notebooks that no source makes, and no source was left unmade."""
    assert sources()
    assert sorted(NOTEBOOKS.glob("*.ipynb")) == [notebook_of(source) for source in sources()]


def test_the_notebook_is_what_its_source_builds(source: Path) -> None:
    """All cells are the source's: text, order, ids and tags."""
    assert hygiene.drift(build_file(source), nbformat.read(notebook_of(source), as_version=4)) == []


@pytest.mark.parametrize("rule", hygiene.RULES, ids=lambda rule: rule.__name__)
def test_the_notebook_keeps_the_rule(source: Path, rule: hygiene.Rule) -> None:
    """The stored notebook gives the rule no reason to complain."""
    path = notebook_of(source)
    assert rule(nbformat.read(path, as_version=4), path).complaints == []


@pytest.mark.parametrize("rule", hygiene.RULES, ids=lambda rule: rule.__name__)
def test_the_rule_has_something_to_look_at(rule: hygiene.Rule) -> None:
    """Over the whole series each rule sees something; one that sees nothing would pass for ever."""
    paths = [notebook_of(source) for source in sources()]
    assert sum(rule(nbformat.read(path, as_version=4), path).seen for path in paths) > 0
