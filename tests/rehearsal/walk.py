"""The way of somebody who clicks the badge: its page in Chromium, then every notebook, one after another.

Tabs and kernels are left open, as a learner leaves them. The browser is the learner's own machine: it is not counted.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.browser.notebook_page import cells, run_all, show_notebook
from tests.rehearsal.image import ROOT
from tests.rehearsal.session import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.rehearsal.memory import Watch
    from tests.rehearsal.session import Session

FIRST: Final = "notebooks/00_start_here.ipynb"
PATIENCE: Final = 120_000
_PLACES: Final = """path => { const found = {};
    for (const widget of jupyterapp.shell.widgets('main')) {
        const box = widget.node.getBoundingClientRect();
        if (box.width) found[widget.context?.path ?? widget.title.label] = box.x;
    }
    return found }"""


def badge_page() -> str:
    """The page that the README's badge opens, as its urlpath says."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"mybinder\.org/v2/\S+\?urlpath=([^)\s]+)\)", text)
    if match is None:
        raise LookupError("the README has no badge of Binder's with a urlpath")
    return match[1]


def open_badge(page: Page, session: Session) -> float:
    """Open it and wait for both halves; the seconds it took. Raises AssertionError if it is not as it should be."""
    begun = time.monotonic()
    page.goto(f"{session.page}/{badge_page()}?token={TOKEN}", timeout=PATIENCE)
    page.wait_for_function("() => window.jupyterapp", timeout=PATIENCE)
    page.evaluate("() => jupyterapp.restored")
    page.locator(".jp-NotebookPanel:visible").wait_for(timeout=PATIENCE)
    portal = page.frame_locator("iframe").get_by_role("heading", name="Overview")
    portal.wait_for(timeout=PATIENCE)
    took = time.monotonic() - begun
    places = page.evaluate(_PLACES)
    assert sorted(places, key=places.get) == [FIRST, "IoT Edge Lab"], places
    return took


def click_tile(page: Page) -> None:
    """Open the portal by its tile in the launcher too."""
    before = page.locator("iframe").count()
    page.evaluate("() => jupyterapp.commands.execute('launcher:create')")
    page.locator(".jp-LauncherCard:visible", has_text="IoT Edge Lab").click()
    page.wait_for_function("before => document.querySelectorAll('iframe').length >= before", arg=before)
    page.frame_locator("iframe >> visible=true").first.get_by_role("heading", name="Overview").wait_for(
        timeout=PATIENCE
    )


@dataclass(frozen=True, slots=True)
class Ran:
    """A notebook's run: its seconds, and the errors of its cells (none is good)."""

    notebook: str
    seconds: float
    errors: list[str]


def run_notebooks(page: Page, session: Session, watch: Watch, names: list[str]) -> Iterator[Ran]:
    """Run all cells of each, one notebook after another; `names` without a suffix."""
    for name in names:
        watch.doing = name
        show_notebook(page, f"notebooks/{name}.ipynb")
        watch.kernels = session.kernels()
        begun = time.monotonic()
        finished = run_all(page, 900)
        took = time.monotonic() - begun
        errors = [error for cell in cells(page) for error in cell["errors"]]
        if finished is not True:
            errors.append(f"Run All answered {finished}")
        yield Ran(name, took, errors)
