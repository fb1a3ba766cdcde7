"""A notebook in JupyterLab in a real browser, run to its end as an attendee would run it.

The kernel, the widgets' and outputs' rendering and the front end's own "Run All" are the real ones. The
browser can reach nothing but this machine, so what passes here works offline.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest

from notebooks.source.make.source import METADATA, NOTEBOOKS, sources
from tests.browser.conftest import ARTIFACTS, NEEDED, TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, ViewportSize

RUN_SECONDS = 150
VIEW: ViewportSize = {"width": 1000, "height": 900}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(RUN_SECONDS + 90), NEEDED]

RUN_ALL = """(milliseconds) => Promise.race([
    jupyterapp.commands.execute('notebook:run-all-cells'),
    new Promise(resolve => setTimeout(() => resolve('TIMEOUT'), milliseconds))])"""

STATE = """() => [...jupyterapp.shell.currentWidget.content.model.cells]
    .map(cell => cell.toJSON()).filter(cell => cell.cell_type === 'code').map(cell => ({
        count: cell.execution_count,
        hidden: cell.metadata.jupyter?.source_hidden ?? false,
        tags: cell.metadata.tags ?? [],
        errors: cell.outputs.filter(output => output.output_type === 'error').map(output => output.evalue),
        text: cell.outputs.map(output => output.data?.['text/plain'] ?? '').join(''),
    }))"""

GROW = """() => { const outer = document.querySelector('.jp-WindowedPanel-outer');
    return innerHeight - outer.clientHeight + outer.scrollHeight }"""

PICTURES = """() => [...document.querySelectorAll('.jp-OutputArea-output img')]
    .map(image => ({alt: image.alt, width: image.naturalWidth}))"""


def _open(page: Page, url: str, notebook: str) -> None:
    page.goto(f"{url}/lab/workspaces/test/tree/{notebook}?token={TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("() => jupyterapp.restored")
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )


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


TO_PICTURE = """(number) => { const image = document.querySelectorAll('.jp-OutputArea-output img')[number];
    const outer = document.querySelector('.jp-WindowedPanel-outer');
    outer.scrollTop += image.getBoundingClientRect().top - outer.getBoundingClientRect().top - 95 }"""


def _readme_picture(page: Page) -> None:
    """JupyterLab on the first plots, as the README shows it: copy artifacts/lab.png to notebooks/images/."""
    from PIL import Image

    page.set_viewport_size({"width": 1400, "height": 1000})
    side = page.locator(".jp-LabShell .lm-SplitPanel-handle:visible").first.bounding_box()
    assert side is not None
    x, y = side["x"] + side["width"] / 2, side["y"] + side["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y, steps=5)  # else the file browser shortens the notebooks' names
    page.mouse.up()
    for _ in range(2):  # what comes into view takes its true height, so the first aim may be off
        page.evaluate(TO_PICTURE, 0)
        page.wait_for_timeout(500)
    with Image.open(io.BytesIO(page.screenshot())) as full:
        small = full.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    ARTIFACTS.mkdir(exist_ok=True)
    small.save(ARTIFACTS / "lab.png", optimize=True)


@pytest.mark.parametrize("notebook", [source.stem for source in sources()])
def test_the_notebook_runs_to_its_end_in_the_browser(
    jupyterlab: str, browser: Browser, notebook: str
) -> None:
    """Run All succeeds with open exercises, solutions stay collapsed, pictures are drawn with alt text.

    And JupyterLab, as `iotedge-lab lab` starts it, lays no question about its news over the notebook.
    """
    page = browser.new_page(viewport=VIEW)
    _open(page, jupyterlab, f"{notebook}.ipynb")
    succeeded = page.evaluate(RUN_ALL, RUN_SECONDS * 1000)
    cells = page.evaluate(STATE)
    if notebook.startswith("03"):
        _readme_picture(page)
    _screenshot(page, notebook)

    assert [error for cell in cells for error in cell["errors"]] == []
    assert succeeded is True
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))

    solutions = [cell for cell in cells if "exercise-solution" in cell["tags"]]
    assert solutions
    assert all(cell["hidden"] and cell["text"].startswith("OK") for cell in solutions)
    assert page.locator(".jp-CodeCell.jp-mod-noInput, .jp-CodeCell .jp-Placeholder").count() >= len(solutions)

    assert page.locator(".Toastify__toast").all_inner_texts() == []
    pictures = page.evaluate(PICTURES)
    stored = (NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8")
    assert bool(pictures) == ("<img" in stored)
    assert [picture for picture in pictures if not picture["alt"] or not picture["width"]] == []


LIVE = """\
import queue
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from iotedge_lab.car import drives
from iotedge_lab.show import live

arrived = queue.Queue()
view = live.watch(arrived)
view
# ---
def put(row):
    arrived.put(SimpleNamespace(sequence_number=1, offset="1", enqueued_time=datetime.now(UTC), properties={},
        system_properties={b"iothub-connection-device-id": b"car-1"}, body=[row.to_json().encode()]))

for row in drives.resample(drives.rows(drives.car_csv()), hz=1):
    if row.seconds < 30:
        put(row)
view.wait_for(30)
# ---
before, view = view, live.watch(arrived)
view
# ---
[thread.name for thread in threading.enumerate() if thread.name.startswith("live view")]"""

RUN_LAST = """() => { const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = notebook.widgets.length - 1;
    return jupyterapp.commands.execute('notebook:run-cell') }"""


def _live_notebook(folder: Path) -> None:
    import nbformat

    cells = [nbformat.v4.new_code_cell(cell) for cell in LIVE.split("\n# ---\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), folder / "live.ipynb")


def _texts(page: Page) -> list[str]:
    return [cell["text"] for cell in page.evaluate(STATE)]


def test_the_live_view_moves_stops_and_leaves_no_thread(
    jupyterlab: str, browser: Browser, tmp_path: Path
) -> None:
    """The panel is redrawn as rows come, another view takes the first one's place, a click stops that one."""
    from playwright.sync_api import expect

    _live_notebook(tmp_path / "copy" / "notebooks")
    page = browser.new_page(viewport=VIEW)
    _open(page, jupyterlab, "live.ipynb")
    assert page.evaluate(RUN_ALL, RUN_SECONDS * 1000) is True
    first, second = page.locator(".iotedge-live").nth(0), page.locator(".iotedge-live").nth(1)

    expect(first).to_contain_text("30 rows from everybody. Stopped.", timeout=30_000)
    expect(first.locator("img")).to_have_attribute(
        "alt", re.compile(r"^Panel: 34 mph, .*over the last 30 rows")
    )
    assert page.evaluate("() => document.querySelector('.iotedge-live img').naturalWidth") > 0
    expect(first.get_by_role("button", name="Stop")).to_be_disabled()
    assert _texts(page)[-1] == "['live view live']"

    second.get_by_role("button", name="Stop").click()
    expect(second).to_contain_text("Stopped.", timeout=30_000)
    page.evaluate(RUN_LAST)
    expect(page.locator(".jp-OutputArea-output").last).to_have_text("[]", timeout=30_000)
