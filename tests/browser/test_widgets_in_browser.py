"""The live widgets in JupyterLab in a real browser: each moves, a click on it reacts, and no thread is left.

One notebook in one kernel, whose cells the tests run; hub, edge device, consumer and search are real.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser import axe, contrast
from tests.browser.conftest import ARTIFACTS, NEEDED
from tests.browser.notebook_page import (
    BETWEEN,
    cells,
    open_lab,
    run_cell,
    show_notebook,
    value,
    write_notebook,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

    from tests.browser.conftest import JupyterServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240), NEEDED]

PATIENCE: Final = 60_000  # ms

CELLS: Final = {
    "begin": """\
import json, queue, threading
from datetime import UTC, datetime
from types import SimpleNamespace

views = []

def event(body, **properties):
    return SimpleNamespace(sequence_number=1, offset="1", enqueued_time=datetime.now(UTC), properties=properties,
        system_properties={b"iothub-connection-device-id": b"car-1"}, body=[body.encode()])
""",
    "watching": """\
"".join("+" if getattr(each, "searching", getattr(each, "watching", None)) else "-" for each in views)""",
    "threads": """\
sorted(each.name for each in threading.enumerate() if each.name.startswith(("live view", "search")))""",
    # -- the panel of a car
    "panel": """\
from iotedge_lab.car import drives
from iotedge_lab.show import live

rows = [row for row in drives.resample(drives.rows(drives.car_csv()), hz=1) if row.seconds < 40]
driven = queue.Queue()
views.append(live.watch(driven))
views[-1]""",
    "panel, first rows": """\
for row in rows[:30]:
    driven.put(event(row.to_json()))
views[-1].wait_for(30)""",
    "panel, further rows": """\
for row in rows[30:]:
    driven.put(event(row.to_json()))""",
    "panel, once more": "views[-1]",
    # -- predictions
    "prediction": """\
from iotedge_lab.show import prediction

predicted = queue.Queue()
views.append(prediction.watch(predicted))
views[-1]""",
    "prediction, rows": """\
for second in range(13):
    body = {"seconds": second, "predicted": 30 + second, "actual": 32, "low": 20, "high": 60, "modelVersion": "1"}
    predicted.put(event(json.dumps(body), messageType="prediction"))
predicted.put(event("no prediction", messageType="prediction"))""",
    # -- what a hub has
    "lab": """\
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.hub import IoTHubRegistryManager
from iotedge_lab import Lab

lab = Lab.open()
lab.activate()
lab.reset()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
for name in ("car-1", "car-2", "car-10"):
    registry.create_device_with_sas(name, None, None, "enabled")
for name in ("edge-1", "edge-2"):
    registry.create_device_with_sas(name, None, None, "enabled", iot_edge=True)
registry.create_module_with_sas("edge-2", "ModuleFilterCar", "", None, None)
edge = lab.edge("edge-1")
edge.wait_until_connected()
None""",
    "edge": """\
from iotedge_lab.show import edge_view

views.append(edge_view.watch(edge))
views[-1]""",
    "edge, asked": "edge.status().online, views[-1].now().note",
    "fleet": """\
from iotedge_lab.show import fleet_view

arrived = queue.Queue()
views.append(fleet_view.watch(lab, arrived))
views[-1]""",
    "fleet, drives": """\
consumer = EventHubConsumerClient.from_connection_string(
    lab.events_connection_string, "$Default", eventhub_name=lab.events_name)
receiver = threading.Thread(target=consumer.receive, args=(lambda partition, event: arrived.put(event),),
    kwargs={"starting_position": "-1"}, daemon=True)
receiver.start()
car = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string("car-2"), **lab.client_options)
car.connect()
car.send_message("<b>30</b> mph")""",
    "fleet, ends": """\
car.shutdown()
consumer.close()
receiver.join()""",
    "rollout": """\
from iotedge_lab.rollout.cloud import Cloud
from iotedge_lab.show import rollout_view

views.append(rollout_view.watch(Cloud(lab.service_connection_string)))
views[-1]""",
    "rollout, serves": """\
module = IoTHubModuleClient.create_from_connection_string(lab.device_connection_string("edge-2", "ModuleFilterCar"))
module.connect()
module.patch_twin_reported_properties({"model": {"version": "7", "sha256": "a" * 64, "status": "serving"}})""",
    "rollout, ends": "module.shutdown()",
    # -- the camera
    "camera": """\
import tempfile
from pathlib import Path
import numpy as np
from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.pictures import Pictures, annotated
from iotedge_lab.show import camera_view

folder = tempfile.TemporaryDirectory()
pictures = Pictures(Path(folder.name), 4)
views.append(camera_view.watch(folder.name))
views[-1]""",
    "camera, sees": """\
boxes = [("Car 0.91", Box(100, 60, 240, 160))]
pictures.add("Car", annotated(np.full((240, 320, 3), 90, np.uint8), boxes))
pictures.show(annotated(np.full((240, 320, 3), 90, np.uint8), boxes))""",
    # -- the search
    "data": """\
import numpy as np
from iotedge_lab.car.features import PLAIN
from iotedge_lab.show import searching
from iotedge_lab.train.dataset import Dataset

rng = np.random.default_rng(0)
speed = rng.uniform(5, 60, 200)
features = np.column_stack([rng.uniform(0, 40, 200), speed * 35, rng.normal(0, 0.1, 200)]).astype(np.float32)
drive = np.arange(200) // 50
data = Dataset(features, speed, drive, tuple("abcd"), drive, np.arange(200.0), np.full(200, 7), PLAIN, PLAIN.names,
    PLAIN.units)""",
    "search": """\
views.append(searching.start(data, budget=600, estimators=["lgbm"]))
views[-1]""",
    "search, result": "views[-1].result().cancelled",
    # -- a video, which is no widget
    "video": """\
import numpy as np
from iotedge_lab.camera.video import write_video
from iotedge_lab.show import video

frames = (np.full((240, 320, 3), 5 * number, np.uint8) for number in range(50))
made = write_video(frames, video.folder() / "grey.webm", rate=25, fps=25, codec_name="vp8")
video.player(made.path, "Two seconds of grey that becomes lighter.")""",
}  # fmt: skip

_AXE: Final = """async rules => { const found = {passes: 0, violations: []};
    for (const area of document.querySelectorAll('.jp-OutputArea-output')) {
        const all = await axe.run(area, {runOnly: rules});
        found.passes += all.passes.length;
        found.violations.push(...all.violations.map(each => [each.id, each.nodes.map(node => node.html)])) }
    return found }"""


@dataclass(frozen=True, slots=True)
class Notebook:
    """The notebook, open in a page."""

    page: Page

    def run(self, *names: str) -> None:
        """Run these cells."""
        for name in names:
            index = list(CELLS).index(name)
            assert run_cell(self.page, index) is True, (name, cells(self.page)[index]["errors"])

    def value(self, name: str) -> str:
        """Run a cell; the plain text of its value."""
        return value(self.page, list(CELLS).index(name))

    def widget(self, css: str) -> Locator:
        """The widgets of a class."""
        return self.page.locator(f".iotedge-{css}")

    def again(self, name: str) -> None:
        """Run a view's cell again: the one before has stopped then, the new one watches."""
        before = self.value("watching").strip("'")
        assert before.endswith("+")
        self.run(name)
        assert self.value("watching") == f"'{before[:-1]}-+'"

    def stop(self, css: str, word: str = "Stop") -> None:
        """Click its button: it says so, and its thread has ended."""
        from playwright.sync_api import expect

        widget = self.widget(css).first
        button = widget.get_by_role("button", name=word, exact=True)
        button.click()
        expect(button).to_be_disabled(timeout=PATIENCE)
        expect(widget).to_contain_text(re.compile(r"Stopped\.|Cancelled: "), timeout=PATIENCE)
        assert self.value("threads") == "[]"

    def keep(self, css: str) -> None:
        """Keep the picture's element, to see later whether it is the same."""
        self.page.evaluate("css => { window.kept = document.querySelector(css) }", f".iotedge-{css} img")

    def is_kept(self) -> bool:
        """Whether the element of `keep` is still the one in the page, with something in it."""
        found: bool = self.page.evaluate("() => window.kept.isConnected && window.kept.naturalWidth > 0")
        return found


@pytest.fixture(scope="module")
def notebook(jupyter_server: JupyterServer, chromium: Browser) -> Iterator[Notebook]:
    """JupyterLab with the notebook, and a kernel: its page takes longer to load than most of the cells to run."""
    ARTIFACTS.mkdir(exist_ok=True)
    # High enough for all outputs: JupyterLab takes what is out of view out of the page.
    page = chromium.new_page(viewport={"width": 1000, "height": 6000})
    open_lab(page, jupyter_server.url)
    write_notebook(jupyter_server.notebooks / "widgets.ipynb", BETWEEN.join(CELLS.values()))
    show_notebook(page, "widgets.ipynb")
    opened = Notebook(page)
    opened.run("begin")
    yield opened
    page.screenshot(path=ARTIFACTS / "widgets.png")
    page.close()
    jupyter_server.end_kernels()


@pytest.fixture(scope="module")
def lab(notebook: Notebook) -> Notebook:
    """The same with a lab, five devices and an edge device that runs."""
    notebook.run("lab")
    return notebook


def test_the_panel_of_a_car(notebook: Notebook) -> None:
    """It is redrawn as rows come, in the same element, with words for a screen reader; shown twice it is so in both."""
    from playwright.sync_api import expect

    notebook.run("panel", "panel, first rows", "panel, once more")
    both = notebook.widget("live")
    expect(both).to_have_count(2)
    for number in (0, 1):
        expect(both.nth(number)).to_contain_text("30 rows from everybody.", timeout=PATIENCE)
    one = both.first.get_by_role("img", name=re.compile(r"^Panel: 34 mph, .*over the last 30 rows"))
    expect(one).to_be_visible(timeout=PATIENCE)
    notebook.keep("live")
    notebook.run("panel, further rows")
    expect(both.first.get_by_role("img", name=re.compile(r"over the last 40 rows"))).to_be_visible(
        timeout=PATIENCE
    )
    assert notebook.is_kept()
    notebook.again("panel")
    expect(both.last).to_contain_text("Stopped: another view of this name watches now", timeout=PATIENCE)
    expect(both.first).to_contain_text("Waiting for the first of the rows")
    notebook.stop("live")


def test_predictions(notebook: Notebook) -> None:
    """The chart grows as they come; what cannot be read leaves it as it is."""
    from playwright.sync_api import expect

    notebook.run("prediction")
    widget = notebook.widget("prediction")
    expect(widget).to_contain_text("Waiting for the first of the predictions")
    notebook.again("prediction")
    notebook.run("prediction, rows")
    expect(widget).to_contain_text("13 predictions from everybody.", timeout=PATIENCE)
    expect(widget.get_by_role("img", name=re.compile(r"over 13 rows, 0 to 12 seconds"))).to_be_visible(
        timeout=PATIENCE
    )
    notebook.stop("prediction")


def test_an_edge_device_and_its_switch(lab: Notebook) -> None:
    """A click cuts a real edge device off, its own status says so too, another click lets it come back."""
    from playwright.sync_api import expect

    lab.run("edge")
    widget = lab.widget("edge")
    expect(widget).to_contain_text("edge-1: connected to the hub", timeout=PATIENCE)
    widget.get_by_role("button", name="Take offline").click()
    expect(widget).to_contain_text("edge-1: cut off", timeout=PATIENCE)
    expect(widget.get_by_role("button", name="Bring online")).to_be_enabled(timeout=PATIENCE)
    assert lab.value("edge, asked").startswith("(False, 'edge-1: cut off")
    lab.again("edge")
    widget.get_by_role("button", name="Bring online").click()
    expect(widget).to_contain_text("edge-1: connected to the hub", timeout=PATIENCE)
    expect(widget.get_by_role("button", name="Take offline")).to_be_enabled(timeout=PATIENCE)
    assert lab.value("edge, asked").startswith("(True,")
    lab.stop("edge")


def test_a_fleet(lab: Notebook) -> None:
    """The hub's devices, in an order that a click changes; what one said is shown as text."""
    from playwright.sync_api import expect

    lab.run("fleet")
    widget = lab.widget("fleet")
    first = widget.locator("tbody tr").first
    expect(widget).to_contain_text("5 devices, 1 connected", timeout=PATIENCE)
    expect(first).to_contain_text("edge-1● Connected")  # by its edge hub
    lab.again("fleet")
    lab.run("fleet, drives")
    row = widget.locator("tbody tr", has_text="car-2")
    expect(row).to_contain_text("<b>30</b> mph", timeout=PATIENCE)
    expect(row).to_contain_text("● Connected", timeout=PATIENCE)
    assert widget.locator("b").count() == 0
    lab.run("fleet, ends")
    expect(row).to_contain_text("○ Disconnected", timeout=PATIENCE)
    expect(first).not_to_contain_text("car-2", timeout=PATIENCE)
    widget.get_by_label("Order").select_option("heard last first")
    expect(first).to_contain_text("car-2", timeout=PATIENCE)
    lab.stop("fleet")


def test_a_rollout(lab: Notebook) -> None:
    """A module reports the version that it serves, and the view says so."""
    from playwright.sync_api import expect

    lab.run("rollout")
    widget = lab.widget("rollout")
    row = widget.locator("tbody tr").first
    expect(row).to_contain_text("edge-2", timeout=PATIENCE)
    lab.again("rollout")
    lab.run("rollout, serves")
    expect(row.locator("td").nth(2)).to_have_text("7", timeout=PATIENCE)
    expect(row.locator("td").nth(3)).to_have_text("● serving", timeout=PATIENCE)
    expect(widget).to_contain_text("1 by version 7")
    lab.run("rollout, ends")
    lab.stop("rollout")


def test_a_camera(notebook: Notebook) -> None:
    """The last picture comes into view, and says of what it is."""
    from playwright.sync_api import expect

    notebook.run("camera")
    widget = notebook.widget("camera")
    expect(widget).to_contain_text("there is no picture")
    notebook.again("camera")
    notebook.run("camera, sees")
    expect(widget.get_by_role("img", name=re.compile(r"an event of Car was told last"))).to_be_visible(
        timeout=PATIENCE
    )
    notebook.page.wait_for_function(
        "() => document.querySelector('.iotedge-camera img').naturalWidth === 320", timeout=PATIENCE
    )
    expect(widget).to_contain_text(re.compile(r"pictures?, the last of \d\d:\d\d:\d\d\."))
    notebook.stop("camera")


def test_a_search(notebook: Notebook) -> None:
    """It tells how far it is; a click ends it long before its time, and the best so far is kept."""
    from playwright.sync_api import expect

    notebook.run("data", "search")
    widget = notebook.widget("search")
    told = re.compile(r"[1-9]\d* trials?, best")
    expect(widget).to_contain_text(told, timeout=PATIENCE)
    notebook.again("search")
    expect(widget).to_contain_text(told, timeout=PATIENCE)
    chart = widget.get_by_role("img", name=re.compile(r"^Dots: the error of \d+ trial"))
    expect(chart).to_be_visible(timeout=PATIENCE)
    notebook.stop("search", "That is enough")
    assert notebook.value("search, result") == "True"


def test_a_video(notebook: Notebook) -> None:
    """JupyterLab serves the file and the browser plays it, by keyboard too."""
    notebook.run("video")
    player = notebook.page.locator(".jp-OutputArea-output video")
    assert player.get_attribute("aria-label") == "Two seconds of grey that becomes lighter."
    notebook.page.wait_for_function("() => document.querySelector('video').readyState > 0", timeout=PATIENCE)
    player.focus()
    notebook.page.keyboard.press("Space")
    notebook.page.wait_for_function("() => document.querySelector('video').currentTime > 0", timeout=PATIENCE)


def test_all_of_them_can_be_read(notebook: Notebook) -> None:
    """On both of JupyterLab's themes; axe finds a name for each control and picture. Pictures of them are kept."""
    page = notebook.page
    shown = page.locator("[class*=iotedge-]")
    if not shown.count():  # this test alone
        notebook.run("panel", "prediction", "camera")
    for theme in contrast.THEMES:
        contrast.show_theme(page, theme)
        assert contrast.too_low(page) == {}, theme
        page.screenshot(path=ARTIFACTS / f"widgets-{theme.rpartition(' ')[2].lower()}.png")
    with tempfile.TemporaryDirectory() as folder:
        script = axe.script(Path(folder))
    if script is None:
        pytest.skip("axe is not there, and there is no npm to fetch it")
    page.evaluate(script)
    found = page.evaluate(_AXE, axe.RULES)
    assert found["violations"] == []
    assert found["passes"]
