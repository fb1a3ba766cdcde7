"""A notebook open in JupyterLab in a browser: opened, run, run again in one cell, and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat

from notebooks.source.make.source import METADATA
from tests.browser.conftest import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import FrameLocator, Page

BETWEEN = "\n# ---\n"
"""What stands between two cells in the text of a small notebook."""

_RUN_ALL = """(milliseconds) => Promise.race([
    jupyterapp.commands.execute('notebook:run-all-cells'),
    new Promise(resolve => setTimeout(() => resolve('TIMEOUT'), milliseconds))])"""

_RUN_CELL = """([index, milliseconds]) => { const notebook = jupyterapp.shell.currentWidget.content;
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    return Promise.race([
        jupyterapp.commands.execute('notebook:run-cell'),
        new Promise(resolve => setTimeout(() => resolve('TIMEOUT'), milliseconds))]) }"""

_IDLE = """path => { const shown = jupyterapp.shell.currentWidget;
    return shown?.context?.path === path && shown.sessionContext?.session?.kernel?.status === 'idle' }"""

_CELLS = """() => [...jupyterapp.shell.currentWidget.content.model.cells]
    .map(cell => cell.toJSON()).filter(cell => cell.cell_type === 'code').map(cell => ({
        count: cell.execution_count,
        hidden: cell.metadata.jupyter?.source_hidden ?? false,
        tags: cell.metadata.tags ?? [],
        errors: cell.outputs.filter(output => output.output_type === 'error').map(output => output.evalue),
        text: cell.outputs.map(output => output.data?.['text/plain'] ?? '').join(''),
    }))"""


def write_notebook(path: Path, text: str) -> None:
    """A notebook of code cells alone, which `BETWEEN` parts in the text."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in text.strip().split(BETWEEN)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), path)


def open_lab(page: Page, url: str, path: str = "") -> None:
    """JupyterLab in a workspace of its own that is empty; `path`: with what to open it, such as "/tree/x.ipynb"."""
    page.goto(f"{url}/lab/workspaces/test{path}?token={TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp", timeout=60_000)
    page.evaluate("() => jupyterapp.restored")


def open_workspace(page: Page, url: str) -> FrameLocator:
    """What `make lab` opens: 00 on the left with a kernel, the portal on the right, which this gives."""
    page.goto(f"{url}/?token={TOKEN}")
    page.get_by_role("heading", name="00 Start here").first.wait_for(timeout=60_000)
    portal = page.frame_locator("iframe[src*='iotedge-lab']")
    portal.get_by_role("heading", name="Overview").wait_for(timeout=60_000)
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("() => jupyterapp.restored")
    return portal


def open_notebook(page: Page, url: str, notebook: str) -> None:
    """JupyterLab with a notebook; its kernel can be asked for something then."""
    open_lab(page, url, f"/tree/{notebook}")
    page.wait_for_function(_IDLE, arg=notebook, timeout=60_000)


def show_notebook(page: Page, notebook: str) -> None:
    """The same within a JupyterLab that is open already."""
    asked = {"path": notebook, "factory": "Notebook"}
    page.evaluate("asked => { jupyterapp.commands.execute('docmanager:open', asked) }", asked)
    page.wait_for_function(_IDLE, arg=notebook, timeout=60_000)


def close_notebook(page: Page) -> None:
    """Close the notebook without saving it. Its kernel runs on, as it does when a person closes a tab."""
    page.evaluate("() => jupyterapp.shell.currentWidget.dispose()")


def run_all(page: Page, seconds: float) -> bool | str:
    """Whether all cells ran to their end without an error; "TIMEOUT" if they did not in so many seconds."""
    found: bool | str = page.evaluate(_RUN_ALL, seconds * 1000)
    return found


def run_cell(page: Page, index: int, seconds: float = 60.0) -> bool | str:
    """Run one cell again, -1 the last; what `run_all` says of all."""
    found: bool | str = page.evaluate(
        _RUN_CELL, [index if index >= 0 else len(cells(page)) + index, seconds * 1000]
    )
    return found


def cells(page: Page) -> list[dict[str, Any]]:
    """The code cells: `count`, `hidden`, `tags`, `errors` and `text` (the plain text of their values)."""
    found: list[dict[str, Any]] = page.evaluate(_CELLS)
    return found


def value(page: Page, index: int, seconds: float = 60.0) -> str:
    """Run one cell again; the plain text of its value."""
    assert run_cell(page, index, seconds) is True, cells(page)[index]["errors"]
    text: str = cells(page)[index]["text"]
    return text
