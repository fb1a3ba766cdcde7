"""The portal in a real browser: what it shows, what a click does, and that what devices send stays text."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from azure.iot.device import IoTHubDeviceClient, Message

from iotedge_lab import Lab
from tests.browser import axe
from tests.browser.conftest import ARTIFACTS, NEEDED, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180), NEEDED]

MARKUP = "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>"
DEVICES = 1000
PATIENCE = 60_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A hub with a thousand devices."""
    with Lab.open(tmp_path_factory.mktemp("portal"), ephemeral=True) as lab:
        for first in range(0, DEVICES, 100):
            named = [{"id": f"car-{n:04}", "importMode": "create"} for n in range(first, first + 100)]
            lab.rest().call("POST", "/devices", named)
        yield lab


@pytest.fixture(scope="module")
def link(lab: Lab) -> Iterator[str]:
    """What `iotedge-lab portal` prints."""
    command = [sys.executable, "-m", "iotedge_lab", "portal", "--no-browser", "--state", str(lab.state_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture
def device(lab: Lab) -> Iterator[IoTHubDeviceClient]:
    client = IoTHubDeviceClient.create_from_connection_string(
        lab.device_connection_string("car-0001"), server_verification_cert=lab.ca_file.read_text()
    )
    client.connect()
    yield client
    client.shutdown()


@pytest.fixture
def page(browser: Browser, link: str) -> Iterator[Page]:
    """The portal's page, just opened; an error of its scripts, or one that its policy has stopped, fails the test."""
    page = browser.new_page(viewport={"width": 1250, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(link)
    page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    yield page
    assert complaints == []


def go(page: Page, view: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=view, exact=True).click()
    page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE)


def test_a_message_is_shown_as_text_a_moment_after_it_was_sent(
    page: Page, device: IoTHubDeviceClient
) -> None:
    """Its properties too; markup in them is neither run nor drawn."""
    go(page, "Messages")
    page.get_by_text("0 messages since").wait_for(timeout=PATIENCE)
    message = Message(json.dumps({"note": MARKUP}))
    message.custom_properties["level"] = "<b>high</b>"
    device.send_message(message)
    shown = page.get_by_role("listitem").filter(has_text="car-0001")
    shown.wait_for(timeout=PATIENCE)
    assert "<script>" in shown.inner_text()
    assert "level=<b>high</b>" in shown.inner_text()
    assert page.locator("main img, main script, main b").count() == 0
    assert page.title() == "Messages - IoT Edge Lab"
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "portal-messages.png")


def test_a_thousand_devices_come_in_pages_and_one_is_found(page: Page) -> None:
    from playwright.sync_api import expect

    go(page, "Devices")
    expect(page.locator("tbody tr")).to_have_count(50, timeout=PATIENCE)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("tbody tr").first).to_contain_text("car-0050", timeout=PATIENCE)
    page.get_by_role("button", name="Previous").click()
    expect(page.locator("tbody tr").first).to_contain_text("car-0000", timeout=PATIENCE)
    page.get_by_role("searchbox").fill("0777")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1, timeout=PATIENCE)
    page.get_by_role("link", name="car-0777").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("car-0777", timeout=PATIENCE)


def test_a_twin_is_edited(page: Page, lab: Lab) -> None:
    """What is saved is in the hub; markup in a tag stays text; what is no JSON is said and not sent."""
    from playwright.sync_api import expect

    page.goto(f"{page.url.partition('#')[0]}#/devices/car-0002")
    twin = page.get_by_label("Tags and desired properties")
    twin.wait_for(timeout=PATIENCE)
    twin.fill("{")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#toast")).to_contain_text("no JSON", timeout=PATIENCE)
    twin.fill(json.dumps({"tags": {"note": MARKUP}, "properties": {"desired": {"rate": 5}}}))
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#toast")).to_have_text("The twin is changed.", timeout=PATIENCE)
    found = lab.rest().call("GET", "/twins/car-0002")
    assert found["tags"] == {"note": MARKUP}
    assert found["properties"]["desired"]["rate"] == 5
    go(page, "Devices")
    expect(page.locator("tbody tr").nth(2)).to_contain_text("<script>", timeout=PATIENCE)
    assert page.locator("main img, main script").count() == 0


def test_without_the_token_nothing_is_shown(browser: Browser, link: str) -> None:
    page = browser.new_page()
    page.goto(link.partition("#")[0])
    page.get_by_text("iotedge-lab portal").wait_for(timeout=PATIENCE)
    assert page.get_by_role("alert").count() == 1
    assert "car-" not in page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser: Browser, link: str, tmp_path: Path, scheme: str) -> None:
    """WCAG 2.0 to 2.2, levels A and AA, on each view, in both colour schemes."""
    checker = axe.script(tmp_path)
    if checker is None:
        pytest.skip("axe-core comes by npm, and there is no npm here (or it reaches no registry)")
    page = browser.new_page(color_scheme=scheme, bypass_csp=True)  # the checker is a script from outside
    page.goto(link)
    page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    found = {}
    for view in ("#/", "#/devices", "#/devices/car-0001", "#/edges", "#/deployments", "#/messages"):
        page.goto(f"{page.url.partition('#')[0]}{view}")
        page.locator("main .card").first.wait_for(timeout=PATIENCE)
        page.evaluate(checker)
        violations = page.evaluate(axe.CHECK, axe.RULES)
        found[view] = [(each["id"], each["nodes"][0]["html"][:200]) for each in violations]
    assert not any(found.values()), found


def test_jupyterlab_has_a_tile_for_it_and_serves_it(jupyterlab: str, browser: Browser) -> None:
    """A click on the tile opens the portal inside JupyterLab, without a token in any link."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{jupyterlab}/lab/workspaces/portal?token={TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("() => jupyterapp.restored")
    page.evaluate("() => jupyterapp.commands.execute('launcher:create')")
    page.locator(".jp-LauncherCard", has_text="IoT Edge Lab").first.click()
    inside = page.frame_locator("iframe[src*='iotedge-lab']")
    inside.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    inside.get_by_text("local hub").wait_for(timeout=PATIENCE)
    page.screenshot(path=ARTIFACTS / "portal-in-jupyterlab.png")
    assert not any("token" in frame.url for frame in page.frames)


def test_make_lab_opens_the_first_notebook_beside_the_portal(jupyterlab: str, browser: Browser) -> None:
    """The address that `iotedge-lab lab` opens: 00 on the left with a kernel, the portal on the right."""
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.goto(f"{jupyterlab}/?token={TOKEN}")
    page.get_by_role("heading", name="00 Start here").first.wait_for(timeout=PATIENCE)
    inside = page.frame_locator("iframe[src*='iotedge-lab']")
    inside.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("() => jupyterapp.restored")
    left = page.get_by_role("heading", name="00 Start here").first.bounding_box()
    right = page.locator("iframe[src*='iotedge-lab']").bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]
    page.screenshot(path=ARTIFACTS / "lab-opened.png")
