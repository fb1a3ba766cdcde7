"""A notebook in JupyterLab in a real browser, run to its end as an attendee would run it.

The kernel, the widgets' and outputs' rendering and the front end's own "Run All" are the real ones. The
browser can reach nothing but this machine, so what passes here works offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notebooks.source.make.source import NOTEBOOKS, sources
from tests.browser import contrast
from tests.browser.conftest import ARTIFACTS, NEEDED
from tests.browser.notebook_page import cells, open_notebook, run_all

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

RUN_SECONDS = 150
VIEW: ViewportSize = {"width": 1000, "height": 900}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(RUN_SECONDS + 90), NEEDED]

GROW = """() => { const outer = document.querySelector('.jp-WindowedPanel-outer');
    return innerHeight - outer.clientHeight + outer.scrollHeight }"""

PICTURES = """() => [...document.querySelectorAll('.jp-OutputArea-output img')]
    .map(image => ({alt: image.alt || image.title, width: image.naturalWidth}))"""


def _screenshot(page: Page, name: str) -> None:
    """The whole notebook in one picture: the view is made as high as its content first."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
    # Twice: heights of cells that were never in view are guesses, the first round brings all into view.
    for _ in range(2):
        page.set_viewport_size(VIEW)
        page.set_viewport_size({"width": VIEW["width"], "height": min(int(page.evaluate(GROW)), 16_000)})
        page.wait_for_timeout(500)
    page.evaluate("() => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0 }")
    page.wait_for_timeout(200)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


@pytest.mark.parametrize("notebook", [source.stem for source in sources()])
def test_the_notebook_runs_to_its_end_in_the_browser(
    jupyterlab: str, browser: Browser, notebook: str
) -> None:
    """Run All succeeds with open exercises, solutions stay collapsed, pictures are drawn with alt text.

    All that is written in outputs can be read on the dark theme and on the light one.

    And JupyterLab, as `iotedge-lab lab` starts it, lays no question about its news over the notebook.
    """
    page = browser.new_page(viewport=VIEW)
    open_notebook(page, jupyterlab, f"{notebook}.ipynb")
    succeeded = run_all(page, RUN_SECONDS)
    found = cells(page)
    _screenshot(page, notebook)
    too_low = {}
    for theme in contrast.THEMES:
        contrast.show_theme(page, theme)
        too_low |= contrast.too_low(page)

    assert [error for cell in found for error in cell["errors"]] == []
    assert succeeded is True
    assert [cell["count"] for cell in found] == list(range(1, len(found) + 1))

    solutions = [cell for cell in found if "exercise-solution" in cell["tags"]]
    assert solutions
    assert all(cell["hidden"] and cell["text"].startswith("OK") for cell in solutions)
    assert page.locator(".jp-CodeCell.jp-mod-noInput, .jp-CodeCell .jp-Placeholder").count() >= len(solutions)

    assert too_low == {}
    assert page.locator(".Toastify__toast").all_inner_texts() == []
    pictures = page.evaluate(PICTURES)
    stored = (NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8")
    assert bool(pictures) == ("<img" in stored)
    assert [picture for picture in pictures if not picture["alt"] or not picture["width"]] == []
