"""The README's pictures, taken from JupyterLab as it is: artifacts/lab.png and artifacts/live.gif.

Copy them to notebooks/images/ when what they show has changed (`pytest -m soak tests/browser/test_readme_pictures.py`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import ARTIFACTS, NEEDED
from tests.browser.notebook_page import cells, open_workspace, run_all, show_notebook, write_notebook

if TYPE_CHECKING:
    from PIL.Image import Image
    from playwright.sync_api import Browser, Page, ViewportSize

    from tests.browser.conftest import JupyterServer

pytestmark = [pytest.mark.browser, pytest.mark.soak, pytest.mark.timeout(400), NEEDED]

VIEW: ViewportSize = {"width": 1500, "height": 844}
SMALL = (1000, 563)
PATIENCE = 90_000  # ms
MS_A_FRAME = 700
LONGEST = 450_000  # bytes of the moving picture

LIVE = """\
import json, queue, threading
from azure.eventhub import EventHubConsumerClient
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import ConfigurationContent
from iotedge_lab import Lab
from iotedge_lab.edge.manifest import load
from iotedge_lab.show.code import MODULES
from iotedge_lab.show import edge_view, live

lab = Lab.open()
lab.activate()
lab.reset()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
registry.create_device_with_sas("car-edge", None, None, "enabled", iot_edge=True)
manifest = load((MODULES / "ModuleSimulatorCar" / "deployment.template.json").read_text()).content["modulesContent"]
manifest["ModuleSimulatorCar"]["properties.desired"] = {"rate": 3, "resample": True, "format": "json"}
IoTHubConfigurationManager.from_connection_string(lab.service_connection_string).apply_configuration_on_edge_device(
    "car-edge", ConfigurationContent(modules_content=manifest))
edge = lab.edge("car-edge")
edge.wait_until_running("ModuleSimulatorCar")
arrived = queue.Queue()
watcher = EventHubConsumerClient.from_connection_string(
    lab.events_connection_string, consumer_group="$Default", eventhub_name=lab.events_name)
threading.Thread(target=watcher.receive, args=(lambda partition, event: arrived.put(event),),
    kwargs={"starting_position": "@latest", "prefetch": 10}, daemon=True).start()
# ---
live.watch(arrived, sender="car-edge/ModuleSimulatorCar")
# ---
edge_view.watch(edge)
"""


def _picture(page: Page) -> Image:
    from PIL import Image

    with Image.open(io.BytesIO(page.screenshot())) as full:
        return full.convert("RGB").resize(SMALL, Image.Resampling.LANCZOS)


def _save_moving(frames: list[Image], name: str) -> None:
    """One palette for all frames, from a strip of them; what is equal to the one before is shown longer instead."""
    from PIL import Image

    strip = Image.new("RGB", (SMALL[0], SMALL[1] * len(frames)))
    for number, frame in enumerate(frames):
        strip.paste(frame, (0, SMALL[1] * number))
    palette = strip.quantize(96, method=Image.Quantize.FASTOCTREE)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(
        ARTIFACTS / name, save_all=True, append_images=others, duration=MS_A_FRAME, loop=0, optimize=True
    )


def test_pictures(jupyter_server: JupyterServer, browser: Browser) -> None:
    """Both are made, and the moving one moves and is not too large."""
    from PIL import Image
    from playwright.sync_api import expect

    ARTIFACTS.mkdir(exist_ok=True)
    page = browser.new_page(viewport=VIEW)
    portal = open_workspace(page, jupyter_server.url)
    page.wait_for_timeout(2000)
    _picture(page).quantize(128, dither=Image.Dither.NONE).save(ARTIFACTS / "lab.png", optimize=True)

    write_notebook(jupyter_server.notebooks / "live.ipynb", LIVE)
    page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
    show_notebook(page, "live.ipynb")
    assert run_all(page, 120) is True, [cell["errors"] for cell in cells(page)]
    page.evaluate("() => jupyterapp.commands.execute('notebook:hide-all-cell-code')")
    portal.get_by_role("link", name="Messages", exact=True).click()
    shown = page.locator(".iotedge-edge")
    expect(shown).to_contain_text("ModuleSimulatorCar", timeout=PATIENCE)
    frames: list[Image] = []

    def watch(count: int) -> None:
        for _ in range(count):
            page.wait_for_timeout(MS_A_FRAME)
            frames.append(_picture(page))

    watch(8)
    shown.get_by_role("button", name="Take offline").click()
    expect(shown).to_contain_text("cut off", timeout=PATIENCE)
    watch(10)
    shown.get_by_role("button", name="Bring online").click()
    expect(shown).to_contain_text("connected to the hub", timeout=PATIENCE)
    watch(10)
    kept = [frame for number, frame in enumerate(frames) if not number or frame != frames[number - 1]]
    assert len(kept) > 10
    _save_moving(kept, "live.gif")
    assert (ARTIFACTS / "live.gif").stat().st_size < LONGEST
