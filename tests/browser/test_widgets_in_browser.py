"""The live widgets in JupyterLab in a real browser: each moves, a click on it reacts, and no thread is left.

A small notebook for each kind, all in one JupyterLab with one lab: hub, edge device and search are real.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser import contrast
from tests.browser.conftest import ARTIFACTS, NEEDED
from tests.browser.notebook_page import (
    cells,
    close_notebook,
    open_lab,
    run_all,
    run_cell,
    show_notebook,
    value,
    write_notebook,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page

    from tests.browser.conftest import JupyterServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240), NEEDED]

PATIENCE = 60_000  # ms
SECONDS = 120.0

# The last two cells of each notebook: which views watch, oldest first, and which threads there are.
WATCHING = """\
[each.searching if hasattr(each, "searching") else each.watching for each in views]
# ---
sorted(each.name for each in threading.enumerate() if each.name.startswith(("live view", "search")))
"""
ONES_WATCHING, THREADS = -2, -1

EVENTS = """\
import json
import queue
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

views = []
arrived = queue.Queue()

def put(body, **properties):
    arrived.put(SimpleNamespace(sequence_number=1, offset="1", enqueued_time=datetime.now(UTC), properties=properties,
        system_properties={b"iothub-connection-device-id": b"car-1"}, body=[body.encode()]))
"""


@pytest.fixture(scope="module")
def opened(jupyter_server: JupyterServer, chromium: Browser) -> Page:
    """JupyterLab, opened once: its page takes longer to load than most of the notebooks here to run."""
    page = chromium.new_page(viewport={"width": 1000, "height": 900})
    open_lab(page, jupyter_server.url)
    return page


@pytest.fixture
def shown(jupyter_server: JupyterServer, opened: Page) -> Iterator[Callable[[str, str], Page]]:
    """Call it with a name and a text: the page with that notebook, all of whose cells have run."""
    names: list[str] = []

    def show(name: str, text: str) -> Page:
        names.append(name)
        ARTIFACTS.mkdir(exist_ok=True)
        write_notebook(jupyter_server.notebooks / f"{name}.ipynb", f"{text.strip()}\n# ---\n{WATCHING}")
        show_notebook(opened, f"{name}.ipynb")
        assert run_all(opened, SECONDS) is True, [cell["errors"] for cell in cells(opened)]
        return opened

    yield show
    for name in names:
        opened.screenshot(path=ARTIFACTS / f"widget-{name}.png")
        close_notebook(opened)
    jupyter_server.end_kernels()


def run_again(page: Page, index: int, css: str) -> Locator:
    """Run a view's cell again: the one before has stopped then, the new one watches. The new one."""
    assert value(page, ONES_WATCHING) == "[True]"
    assert run_cell(page, index) is True
    assert value(page, ONES_WATCHING) == "[False, True]"
    return page.locator(css).last


def assert_readable(page: Page, name: str) -> None:
    """On both of JupyterLab's themes; the dark one is kept as a picture."""
    for theme in contrast.THEMES:
        contrast.show_theme(page, theme)
        assert contrast.too_low(page) == {}, theme
        if theme == contrast.THEMES[0]:
            page.screenshot(path=ARTIFACTS / f"widget-{name}-dark.png")


def stop(page: Page, widget: Locator, word: str = "Stop") -> None:
    """Click its button: it says so, and its thread has ended."""
    from playwright.sync_api import expect

    widget.get_by_role("button", name=word, exact=True).click()
    expect(widget).to_contain_text("Stopped.", timeout=PATIENCE)
    expect(widget.get_by_role("button", name=word, exact=True)).to_be_disabled()
    assert value(page, THREADS) == "[]"


LIVE = f"""{EVENTS}
from iotedge_lab.car import drives
from iotedge_lab.show import live
# ---
views.append(live.watch(arrived))
views[-1]
# ---
for row in drives.resample(drives.rows(drives.car_csv()), hz=1):
    if row.seconds < 30:
        put(row.to_json())
views[-1].wait_for(30)
"""


def test_the_panel_of_a_car(shown: Callable[[str, str], Page]) -> None:
    """It is redrawn as rows come, with alt text."""
    from playwright.sync_api import expect

    page = shown("panel", LIVE)
    widget = page.locator(".iotedge-live")
    expect(widget).to_contain_text("30 rows from everybody.", timeout=PATIENCE)
    expect(widget.locator("img")).to_have_attribute(
        "alt", re.compile(r"^Panel: 34 mph, .*over the last 30 rows"), timeout=PATIENCE
    )
    assert page.evaluate("() => document.querySelector('.iotedge-live img').naturalWidth") > 0
    assert_readable(page, "panel")
    stop(page, run_again(page, 1, ".iotedge-live"))


PREDICTION = f"""{EVENTS}
from iotedge_lab.show import prediction

def predict(second):
    body = {{"seconds": second, "predicted": 30 + second, "actual": 32, "low": 20, "high": 60, "modelVersion": "1"}}
    put(json.dumps(body), messageType="prediction")
# ---
views.append(prediction.watch(arrived))
views[-1]
# ---
for second in range(12):
    predict(second)
put("no prediction", messageType="prediction")
views[-1].wait_for(12)
# ---
predict(12)
"""


def test_predictions(shown: Callable[[str, str], Page]) -> None:
    """The chart grows as they come; what cannot be read leaves it as it is."""
    from playwright.sync_api import expect

    page = shown("prediction", PREDICTION)
    widget = page.locator(".iotedge-prediction")
    expect(widget).to_contain_text("13 predictions from everybody.", timeout=PATIENCE)
    expect(widget.locator("img")).to_have_attribute(
        "alt", re.compile(r"over 13 rows, 0 to 12 seconds"), timeout=PATIENCE
    )
    assert_readable(page, "prediction")
    widget = run_again(page, 1, ".iotedge-prediction")
    expect(widget).to_contain_text("waiting for the first of the predictions")
    assert run_cell(page, 3) is True
    expect(widget).to_contain_text("1 predictions", timeout=PATIENCE)
    stop(page, widget)


EDGE = """\
import threading
from azure.iot.hub import IoTHubRegistryManager
from iotedge_lab import Lab
from iotedge_lab.show import edge_view

views = []
lab = Lab.open()
lab.activate()
lab.reset()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
registry.create_device_with_sas("edge-1", None, None, "enabled", iot_edge=True)
edge = lab.edge("edge-1")
edge.wait_until_connected()
# ---
views.append(edge_view.watch(edge))
views[-1]
# ---
edge.status().online
# ---
views[-1].now()
"""


def test_an_edge_device_and_its_switch(shown: Callable[[str, str], Page]) -> None:
    """A click cuts a real edge device off, its own status says so too, another click lets it come back."""
    from playwright.sync_api import expect

    page = shown("edge", EDGE)
    widget = page.locator(".iotedge-edge")
    expect(widget).to_contain_text("edge-1: connected to the hub", timeout=PATIENCE)
    widget.get_by_role("button", name="Take offline").click()
    expect(widget).to_contain_text("edge-1: cut off", timeout=PATIENCE)
    expect(widget.get_by_role("button", name="Bring online")).to_be_enabled(timeout=PATIENCE)
    assert value(page, 2) == "False"
    assert "edge-1: cut off" in value(page, 3)
    assert_readable(page, "edge")
    widget = run_again(page, 1, ".iotedge-edge")
    widget.get_by_role("button", name="Bring online").click()
    expect(widget).to_contain_text("edge-1: connected to the hub", timeout=PATIENCE)
    expect(widget.get_by_role("button", name="Take offline")).to_be_enabled(timeout=PATIENCE)
    assert value(page, 2) == "True"
    stop(page, widget)


FLEET = """\
import queue
import threading
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient
from azure.iot.hub import IoTHubRegistryManager
from iotedge_lab import Lab
from iotedge_lab.show import fleet_view

views = []
lab = Lab.open()
lab.activate()
lab.reset()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
for name in ("car-1", "car-2"):
    registry.create_device_with_sas(name, None, None, "enabled")
# ---
arrived = queue.Queue()
consumer = EventHubConsumerClient.from_connection_string(
    lab.events_connection_string, "$Default", eventhub_name=lab.events_name)
receiver = threading.Thread(target=consumer.receive, args=(lambda partition, event: arrived.put(event),),
    kwargs={"starting_position": "-1"}, daemon=True)
receiver.start()
# ---
views.append(fleet_view.watch(lab, arrived))
views[-1]
# ---
car = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string("car-1"), **lab.client_options)
car.connect()
car.send_message("<b>30</b> mph")
"""


def test_a_fleet(shown: Callable[[str, str], Page]) -> None:
    """The hub's devices, who sent last first; what one said is shown as text."""
    from playwright.sync_api import expect

    page = shown("fleet", FLEET)
    widget = page.locator(".iotedge-fleet")
    expect(widget).to_contain_text("2 devices, 1 connected", timeout=PATIENCE)
    first, second = (widget.locator("tbody tr").nth(number) for number in (0, 1))
    expect(first).to_contain_text("<b>30</b> mph", timeout=PATIENCE)
    expect(first).to_contain_text("car-1Connected")
    expect(second).to_contain_text("car-2Disconnected")
    assert widget.locator("b").count() == 0
    assert_readable(page, "fleet")
    stop(page, run_again(page, 2, ".iotedge-fleet"))


SEARCH = """\
import threading
import numpy as np
from iotedge_lab.car.features import PLAIN
from iotedge_lab.show import searching
from iotedge_lab.train.dataset import Dataset

views = []
rng = np.random.default_rng(0)
speed = rng.uniform(5, 60, 200)
features = np.column_stack([rng.uniform(0, 40, 200), speed * 35, rng.normal(0, 0.1, 200)]).astype(np.float32)
drive = np.arange(200) // 50
data = Dataset(features, speed, drive, tuple("abcd"), drive, np.arange(200.0), np.full(200, 7), PLAIN, PLAIN.names,
    PLAIN.units)
# ---
views.append(searching.start(data, budget=600, estimators=["lgbm"]))
views[-1]
# ---
"not yet" if views[-1].searching else views[-1].result().cancelled
"""


def test_a_search(shown: Callable[[str, str], Page]) -> None:
    """It tells how far it is; a click ends it long before its time, and the best so far is kept."""
    from playwright.sync_api import expect

    page = shown("search", SEARCH)
    expect(page.locator(".iotedge-search")).to_contain_text(
        re.compile(r"[1-9]\d* trials?, best"), timeout=PATIENCE
    )
    widget = run_again(page, 1, ".iotedge-search")
    expect(widget).to_contain_text(re.compile(r"[1-9]\d* trials?, best"), timeout=PATIENCE)
    expect(widget.locator("img")).to_have_attribute("alt", re.compile(r"^Dots: the error of \d+ trial"))
    assert_readable(page, "search")
    widget.get_by_role("button", name="That is enough").click()
    expect(widget).to_contain_text("Cancelled: ", timeout=PATIENCE)
    expect(widget.get_by_role("button", name="That is enough")).to_be_disabled()
    assert value(page, THREADS) == "[]"
    assert value(page, ONES_WATCHING) == "[False, False]"
    assert value(page, 2) == "True"


ROLLOUT = """\
import threading
from azure.iot.device import IoTHubModuleClient
from azure.iot.hub import IoTHubRegistryManager
from iotedge_lab import Lab
from iotedge_lab.rollout.cloud import Cloud
from iotedge_lab.show import rollout_view

views = []
lab = Lab.open()
lab.activate()
lab.reset()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
registry.create_device_with_sas("car-1", None, None, "enabled", iot_edge=True)
registry.create_module_with_sas("car-1", "ModuleFilterCar", "", None, None)
cloud = Cloud(lab.service_connection_string)
# ---
views.append(rollout_view.watch(cloud))
views[-1]
# ---
module = IoTHubModuleClient.create_from_connection_string(lab.device_connection_string("car-1", "ModuleFilterCar"))
module.connect()
# ---
module.patch_twin_reported_properties({"model": {"version": "7", "sha256": "a" * 64, "status": "serving"}})
"""


def test_a_rollout(shown: Callable[[str, str], Page]) -> None:
    """A module reports the version that it serves, and the view says so."""
    from playwright.sync_api import expect

    page = shown("rollout", ROLLOUT)
    widget = page.locator(".iotedge-rollout")
    row = widget.locator("tbody tr").first
    expect(row).to_contain_text("car-1", timeout=PATIENCE)
    expect(row.locator("td").nth(2)).to_have_text("7", timeout=PATIENCE)
    expect(row.locator("td").nth(3)).to_have_text("serving")
    assert_readable(page, "rollout")
    stop(page, run_again(page, 1, ".iotedge-rollout"))


CAMERA = """\
import tempfile
import threading
from pathlib import Path
import numpy as np
from iotedge_lab.camera.pictures import Pictures
from iotedge_lab.show import camera_view

views = []
folder = tempfile.TemporaryDirectory()
pictures = Pictures(Path(folder.name), 4)
# ---
views.append(camera_view.watch(folder.name))
views[-1]
# ---
pictures.add("Car", np.full((36, 64, 3), 200, np.uint8))
pictures.show(np.full((36, 64, 3), 200, np.uint8))
"""


def test_a_camera(shown: Callable[[str, str], Page]) -> None:
    """The last picture comes into view, and says of what it is."""
    from playwright.sync_api import expect

    page = shown("camera", CAMERA)
    expect(page.locator(".iotedge-camera img")).to_have_attribute(
        "alt", re.compile(r"an event of Car was told last"), timeout=PATIENCE
    )
    page.wait_for_function(
        "() => document.querySelector('.iotedge-camera img').naturalWidth === 64", timeout=PATIENCE
    )
    stop(page, run_again(page, 1, ".iotedge-camera"))


VIDEO = """\
import threading
import numpy as np
from iotedge_lab.camera.video import write_video
from iotedge_lab.show import video

views = []
frames = (np.full((240, 320, 3), 5 * number, np.uint8) for number in range(50))
made = write_video(frames, video.folder() / "grey.webm", rate=25, fps=25, codec_name="vp8")
# ---
video.player(made.path, "Two seconds of grey that becomes lighter.")
"""


def test_a_video(shown: Callable[[str, str], Page]) -> None:
    """JupyterLab serves the file and the browser plays it at a click."""
    page = shown("video", VIDEO)
    player = page.locator(".jp-OutputArea-output video")
    assert player.get_attribute("aria-label") == "Two seconds of grey that becomes lighter."
    page.wait_for_function("() => document.querySelector('video').readyState > 0", timeout=PATIENCE)
    player.click()
    page.wait_for_function("() => document.querySelector('video').currentTime > 0", timeout=PATIENCE)
