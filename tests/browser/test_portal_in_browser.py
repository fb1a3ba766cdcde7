"""The portal in a real browser: what it shows, what a click does, and that what devices send stays text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse

from iotedge_lab import Lab
from tests.browser import axe, contrast
from tests.browser.conftest import ARTIFACTS, NEEDED, TOKEN
from tests.browser.notebook_page import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from iotedge_lab.edges import Edge
    from tests.browser.conftest import JupyterServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180), NEEDED]

MARKUP = "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>"
DEVICES = 1000
PATIENCE = 60_000
_OTHERS = ("#/edges", "#/deployments", "#/messages", "#/devices/nobody")


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
    """The portal's page, just opened; an error of its scripts, or one that its policy has stopped, fails the test.

    What the server refuses is an answer that the page shows; Chromium writes it into the console as well.
    """
    page = browser.new_page(viewport={"width": 1250, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(link)
    page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    yield page
    refused = "Failed to load resource: the server responded with a status of"
    assert [each for each in complaints if not each.startswith(refused)] == []


def go(page: Page, view: str) -> None:
    page.get_by_role("navigation", name="Views").get_by_role("link", name=view, exact=True).click()
    page.get_by_role("heading", level=1).wait_for(timeout=PATIENCE)


def open_device(page: Page, device: str, part: str = "") -> None:
    page.goto(f"{page.url.partition('#')[0]}#/devices/{device}/{part}")
    page.get_by_role("heading", level=1, name=device).wait_for(timeout=PATIENCE)


def picture(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"portal-{name}.png")


def test_a_message_is_shown_as_text_a_moment_after_it_was_sent(
    page: Page, device: IoTHubDeviceClient
) -> None:
    """Its properties too; markup in them is neither run nor drawn. A page that is opened later has it as well.

    A message that a person has opened stays open while others come.
    """
    from playwright.sync_api import expect

    go(page, "Messages")
    page.get_by_text("0 messages since").wait_for(timeout=PATIENCE)
    message = Message(json.dumps({"note": MARKUP}))
    message.custom_properties["level"] = "<b>high</b>"
    device.send_message(message)
    shown = page.get_by_role("listitem").filter(has_text="car-0001")
    shown.wait_for(timeout=PATIENCE)
    shown.locator("summary").click()
    expect(shown.locator("pre")).to_contain_text("<script>")
    expect(shown.locator(".chip")).to_have_text("level=<b>high</b>")
    assert page.locator("main img, main script, main b").count() == 0
    assert page.title() == "Messages - IoT Edge Lab"
    device.send_message("another")
    expect(shown).to_have_count(2, timeout=PATIENCE)
    expect(shown.nth(1).locator("pre")).to_be_visible()
    page.get_by_label("Show only").fill("anoth")
    expect(shown).to_have_count(1)
    picture(page, "messages")

    page.get_by_label("Show only").fill("")
    page.get_by_role("button", name="Pause").click()
    device.send_message("while paused")
    expect(page.get_by_role("button", name="Go on (1 new)")).to_be_visible(timeout=PATIENCE)
    expect(shown).to_have_count(2)
    page.get_by_role("button", name="Go on").click()
    expect(shown).to_have_count(3)

    with page.context.expect_page() as opened:  # as by a middle click: the first tab gives it the token
        page.evaluate("() => { open('#/devices/car-0001/telemetry', '_blank', 'noopener') }")
    later = opened.value
    expect(later.get_by_role("listitem").filter(has_text="while paused")).to_have_count(1, timeout=PATIENCE)


def test_a_thousand_devices_come_in_pages_and_one_is_found(page: Page, lab: Lab) -> None:
    """One is registered, found, deleted and gone; the focus follows to where a person is led."""
    from playwright.sync_api import expect

    go(page, "Devices")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50, timeout=PATIENCE)
    expect(page.get_by_text("1\u201350 of 1,000")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(rows.first).to_contain_text("car-0050", timeout=PATIENCE)
    expect(page.get_by_text("51\u2013100 of 1,000")).to_be_visible()
    page.get_by_role("button", name="Previous").click()
    expect(rows.first).to_contain_text("car-0000", timeout=PATIENCE)
    page.get_by_role("searchbox").fill("0777")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1, timeout=PATIENCE)
    page.get_by_label("Show").select_option("edge")
    page.get_by_text("No device is like that.").wait_for(timeout=PATIENCE)
    picture(page, "devices")

    page.get_by_text("New device").click()
    expect(page.get_by_label("Device id")).to_be_focused()
    page.keyboard.type("new-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused(timeout=PATIENCE)
    expect(page.get_by_role("heading", level=1)).to_have_text("new-1")
    delete = page.get_by_role("button", name="Delete")
    delete.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(delete).to_be_focused()
    assert lab.rest().call("GET", "/devices/new-1")["deviceId"] == "new-1"
    delete.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Devices", timeout=PATIENCE)
    open_missing = page.url.partition("#")[0] + "#/devices/new-1"
    page.goto(open_missing)
    page.get_by_text("There is no device new-1").wait_for(timeout=PATIENCE)


def test_a_twin_is_edited(page: Page, lab: Lab) -> None:
    """What is saved is in the hub, what is taken out is gone from it; nothing is written over what was not seen.

    Markup in a tag stays text; what is no JSON is said, with its place, and not sent.
    """
    from playwright.sync_api import expect

    open_device(page, "car-0002", "twin")
    twin = page.get_by_label("JSON", exact=True)
    twin.wait_for(timeout=PATIENCE)
    twin.fill("{\n  oops")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("is not JSON")).to_contain_text("line 2", timeout=PATIENCE)
    expect(twin).to_be_focused()
    twin.fill(json.dumps({"tags": {"note": MARKUP}, "properties": {"desired": {"rate": 5, "gone": 1}}}))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved as version")).to_be_visible(timeout=PATIENCE)
    found = lab.rest().call("GET", "/twins/car-0002")
    assert found["tags"] == {"note": MARKUP}
    assert found["properties"]["desired"]["rate"] == 5

    # What is changed elsewhere is shown, unless a person is editing: then they are asked.
    lab.rest().call("PATCH", "/twins/car-0002", {"properties": {"desired": {"rate": 6}}})
    expect(twin).to_have_value(re.compile('"rate": 6'), timeout=PATIENCE)
    twin.fill(json.dumps({"tags": {"note": MARKUP}, "properties": {"desired": {"rate": 7}}}))
    lab.rest().call("PATCH", "/twins/car-0002", {"properties": {"desired": {"other": True}}})
    expect(page.get_by_text("changed by somebody else")).to_be_visible(timeout=PATIENCE)
    assert '"rate": 7' in twin.input_value()
    picture(page, "twin")
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.get_by_text("Saved as version")).to_be_visible(timeout=PATIENCE)
    desired = lab.rest().call("GET", "/twins/car-0002")["properties"]["desired"]
    assert {name: value for name, value in desired.items() if name[0] != "$"} == {"rate": 7}

    go(page, "Devices")
    expect(page.locator("tbody tr").nth(2)).to_contain_text("<script>", timeout=PATIENCE)
    assert page.locator("main img, main script").count() == 0


def test_a_device_is_called_and_written_to(page: Page, lab: Lab, device: IoTHubDeviceClient) -> None:
    """Its answer and its status; why there is none where it is not there; a message with properties."""
    from playwright.sync_api import expect

    device.on_method_request_received = lambda call: device.send_method_response(
        MethodResponse.create_from_method_request(call, 202, {"given": call.payload, "<b>": MARKUP})
    )
    open_device(page, "car-0001", "method")
    page.get_by_label("Method", exact=True).fill("start")
    page.get_by_label("Payload").fill("[1")
    page.get_by_role("button", name="Call the method").click()
    expect(page.get_by_text("is not JSON")).to_be_visible(timeout=PATIENCE)
    page.get_by_label("Payload").fill("[1]")
    page.get_by_role("button", name="Call the method").click()
    answer = page.get_by_role("region", name="Answer")
    answer.wait_for(timeout=PATIENCE)
    expect(page.get_by_text("Status 202")).to_be_visible()
    assert "<script>" in answer.inner_text()

    open_device(page, "car-0003", "method")
    page.get_by_label("Method", exact=True).fill("start")
    page.get_by_role("button", name="Call the method").click()
    expect(page.get_by_text("car-0003 is not connected")).to_be_visible(timeout=PATIENCE)

    pytest.importorskip("uamqp")
    open_device(page, "car-0003", "message")
    page.get_by_label("Text").fill("hello <b>")
    page.get_by_role("button", name="Add a property").click()
    expect(page.get_by_label("Name of a property")).to_be_focused()
    page.keyboard.type("n")
    page.get_by_label("Its value").fill("1")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("It waits until car-0003 receives.")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("1 message of 50 wait")).to_be_visible()
    page.get_by_role("button", name="Purge the queue").click()
    page.get_by_role("dialog").get_by_role("button", name="Purge").click()
    expect(page.get_by_text("1 message taken away")).to_be_visible(timeout=PATIENCE)


def test_what_happens_meanwhile_is_said(page: Page, lab: Lab) -> None:
    """A device that is deleted while it is shown; a hub that stops, and is started from the page."""
    from playwright.sync_api import expect

    lab.rest().call("PUT", "/devices/short-lived", {"deviceId": "short-lived"})
    open_device(page, "short-lived", "twin")
    lab.rest().call("DELETE", "/devices/short-lived", headers={"If-Match": "*"})
    expect(page.get_by_text("short-lived has been deleted meanwhile")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Delete")).to_be_disabled()

    go(page, "Devices")
    expect(page.locator("tbody tr")).to_have_count(50, timeout=PATIENCE)
    lab.stop()
    try:
        expect(page.locator("#banner")).to_contain_text("The hub does not answer", timeout=PATIENCE)
        expect(page.get_by_text("Shown as it was at")).to_be_visible(timeout=PATIENCE)
        picture(page, "without-hub")
        page.get_by_role("button", name="Start the hub").click()
        expect(page.locator("#banner")).to_be_empty(timeout=PATIENCE)
        expect(page.locator("tbody tr")).to_have_count(50, timeout=PATIENCE)
        expect(page.get_by_text("Shown as it was at")).to_have_count(0)
        go(page, "Messages")
        lab.start()  # finds it
        with_key = {"server_verification_cert": lab.ca_file.read_text()}
        client = IoTHubDeviceClient.create_from_connection_string(
            lab.device_connection_string("car-0004"), **with_key
        )
        client.connect()
        client.send_message("after the restart")
        client.shutdown()
        expect(page.get_by_text("after the restart")).to_be_visible(timeout=PATIENCE)
        # JupyterLab's page in place of an answer: the person has been logged out there.
        page.route("**/api/overview", lambda route: route.fulfill(content_type="text/html", body="<p>Log in"))
        expect(page.locator("#banner")).to_contain_text("log in there again", timeout=PATIENCE)
    finally:
        lab.stop()  # the one that the portal started, and that would outlive this test
        lab.start()


def test_ten_thousand_messages_leave_the_page_as_large_as_two_thousand(page: Page) -> None:
    """The list, what it is made of and the memory, after a collection, stay as they are."""
    from playwright.sync_api import expect

    def stream(first: int, count: int) -> str:
        events = [
            {"partition": "0", "sequence": n, "time": f"2026-01-01T00:{n // 6000:02}:{n % 6000 / 100:06.3f}+00:00",
             "device": f"car-{n % 1000:04}", "module": "", "source": "Telemetry", "properties": {"n": str(n)},
             "system": {}, "body": json.dumps({"n": n, "text": "x" * 200}), "bytes": 220, "encoding": "utf-8"}
            for n in range(first, first + count)
        ]  # fmt: skip
        parts = [events[at : at + 200] for at in range(0, count, 200)]
        told = {"skipped": 0, "trouble": "", "earlier": False, "place": "x-1"}
        return "".join(f"data: {json.dumps(told | {'events': part})}\n\n" for part in parts)

    served = [stream(0, 2_000), stream(2_000, 10_000)]
    page.route(
        "**/api/events*",
        lambda route: route.fulfill(content_type="text/event-stream", body=served.pop(0) if served else ""),
    )
    memory = page.context.new_cdp_session(page)
    memory.send("Performance.enable")

    def measured() -> dict[str, float]:
        memory.send("HeapProfiler.collectGarbage")
        return {each["name"]: each["value"] for each in memory.send("Performance.getMetrics")["metrics"]}

    later = served.pop()
    page.reload()
    go(page, "Messages")
    expect(page.get_by_text("2,000 messages since")).to_be_visible(timeout=PATIENCE)
    before = measured()
    served.append(later)
    expect(page.get_by_text("12,000 messages since")).to_be_visible(timeout=PATIENCE)
    after = measured()
    expect(page.locator(".events > li")).to_have_count(200)
    expect(page.locator(".events > li").first).to_contain_text("11999")
    assert after["Nodes"] < before["Nodes"] * 1.2
    assert after["JSEventListeners"] < before["JSEventListeners"] * 1.2
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 3e6


def test_without_the_token_nothing_is_shown(browser: Browser, link: str) -> None:
    """The page says how to come by it, and takes it: the whole link, or the token."""
    page = browser.new_page()
    page.goto(link.partition("#")[0])
    page.get_by_text("iotedge-lab portal").wait_for(timeout=PATIENCE)
    assert page.get_by_role("alert").count() >= 1
    assert "car-" not in page.content()
    page.get_by_label("Or paste the link").fill(link)
    page.get_by_role("button", name="Open").click()
    page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    assert "token" not in page.url


def test_another_sites_page_cannot_frame_it(browser: Browser, link: str) -> None:
    """localhost is another origin than 127.0.0.1, though both are this machine. No address that it sends names it."""
    asked: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                asked.append(self.headers.get("Referer", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<title>other</title><iframe src="{link}"></iframe>'.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        other = f"http://localhost:{server.server_port}/"
        page = browser.new_page()
        refused: list[str] = []
        page.on("console", lambda said: refused.append(said.text))
        page.goto(other)
        page.wait_for_function("() => document.querySelector('iframe')")
        page.wait_for_load_state("networkidle")
        assert any("frame-ancestors" in each for each in refused), refused
        assert page.frames[1].locator("main").count() == 0
        page.goto(link)
        page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
        page.evaluate("other => { location.href = other }", other)
        page.wait_for_url(other)
        server.shutdown()
    assert asked
    assert not any(asked)


def violations(page: Page, checker: str) -> list[tuple[str, str]]:
    """What axe finds on the page as it is, by WCAG 2.0 to 2.2, levels A and AA."""
    page.evaluate(checker)
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in page.evaluate(axe.CHECK, axe.RULES)]


@pytest.fixture
def checker(tmp_path: Path) -> str:
    found = axe.script(tmp_path)
    if found is None:
        pytest.skip("axe-core comes by npm, and there is no npm here (or it reaches no registry)")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser: Browser, link: str, checker: str, scheme: str) -> None:
    """On each view, in both colour schemes, as wide as beside a notebook; nothing is cut off there."""
    page = browser.new_page(  # the checker is a script from outside
        color_scheme=scheme, bypass_csp=True, viewport={"width": 600, "height": 900}
    )
    page.goto(link)
    page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    found = {}
    parts = ("", "/twin", "/method", "/message", "/telemetry")
    for view in ("#/", "#/devices", *(f"#/devices/car-0001{part}" for part in parts), *_OTHERS):
        page.goto(f"{page.url.partition('#')[0]}{view}")
        page.locator("main .card:visible").first.wait_for(timeout=PATIENCE)
        found[view] = violations(page, checker)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 600, view
    assert not any(found.values()), found


COLUMNS = ["Name", "Type", "Specified in deployment", "Reported by device", "Runtime status", "Exit code"]


@pytest.fixture
def edge(lab: Lab) -> Iterator[Edge]:
    """An edge device with a module that runs, and one that is to be stopped; beside it one without a deployment."""
    system = {
        name: {"type": "docker", "status": "running", "restartPolicy": "always", "settings": {"image": name}}
        for name in ("edgeAgent", "edgeHub")
    }
    modules = {
        name: {
            "type": "docker",
            "version": "1.0",
            "status": status,
            "restartPolicy": "always",
            "settings": {"image": "localhost:5000/echomodule:0.0.1-amd64"},
        }
        for name, status in (("EchoModule", "running"), ("Resting", "stopped"))
    }
    runtime = {"type": "docker", "settings": {}}
    hub = {
        "schemaVersion": "1.1",
        "routes": {"up": "FROM /messages/* INTO $upstream"},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
    }
    agent = {"schemaVersion": "1.1", "runtime": runtime, "systemModules": system, "modules": modules}
    content = {"$edgeAgent": {"properties.desired": agent}, "$edgeHub": {"properties.desired": hub}}
    lab.rest().call("PUT", "/devices/car-edge", {"deviceId": "car-edge", "capabilities": {"iotEdge": True}})
    lab.rest().call("POST", "/devices/car-edge/applyConfigurationContent", {"modulesContent": content})
    lab.rest().call("PUT", "/devices/bare-edge", {"deviceId": "bare-edge", "capabilities": {"iotEdge": True}})
    bare, edge = lab.edge("bare-edge"), lab.edge("car-edge")
    edge.wait_until_running("EchoModule")
    yield edge
    for each in (edge, bare):
        each.stop()
        lab.rest().call("DELETE", f"/devices/{each.device_id}", headers={"If-Match": "*"})


def test_an_edge_device_is_shown_as_azures_portal_shows_it(
    browser: Browser, link: str, edge: Edge, checker: str
) -> None:
    """Its modules with their states, a module's log, its switch with what waits meanwhile, its routes and queues."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": 700, "height": 900}, bypass_csp=True)
    page.goto(link)
    page.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    open_device(page, "car-edge")
    table = page.get_by_role("table", name="Modules of car-edge")
    expect(table.get_by_role("columnheader")).to_have_text([*COLUMNS, "Log"], timeout=PATIENCE)
    row = table.get_by_role("row").filter(has_text="EchoModule")
    expect(row).to_contain_text("running", timeout=PATIENCE)
    expect(row.get_by_role("cell").nth(1)).to_have_text("IoT Edge Module")
    expect(row.get_by_role("cell").nth(2)).to_have_text("Yes")
    expect(row.get_by_role("cell").nth(3)).to_have_text("Yes", timeout=PATIENCE)
    expect(table.get_by_role("row").filter(has_text="Resting")).to_contain_text("stopped")
    expect(page.get_by_text("Runtime response")).to_contain_text("200", timeout=PATIENCE)
    assert violations(page, checker) == []
    picture(page, "edge-device")

    go(page, "Edge devices")
    bare = page.locator(".card").filter(has_text="bare-edge")
    expect(bare).to_contain_text("417 Nothing was deployed", timeout=PATIENCE)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 700
    card = page.locator(".card").filter(has_text="INTO $upstream")
    expect(card).to_contain_text("FROM /messages/* INTO $upstream", timeout=PATIENCE)
    expect(card).to_contain_text("connected to the hub", timeout=PATIENCE)
    card.get_by_role("button", name="Take offline").click()
    expect(card).to_contain_text("cut off from the hub", timeout=PATIENCE)
    assert edge.status().online is False
    assert violations(page, checker) == []
    card.get_by_role("button", name="Bring online").click()
    expect(card).to_contain_text("connected to the hub", timeout=PATIENCE)
    card.get_by_role("button", name="Log of EchoModule").click()
    expect(page.get_by_role("log")).not_to_have_text(re.compile("Reading"), timeout=PATIENCE)
    assert violations(page, checker) == []
    picture(page, "log")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Log of EchoModule")).to_be_focused()


@pytest.fixture(scope="module")
def prefix() -> str:
    """JupyterLab's addresses as they are on Binder and on a JupyterHub."""
    return "/user/x-1"


def test_jupyterlab_has_a_tile_for_it_and_serves_it(jupyter_server: JupyterServer, browser: Browser) -> None:
    """A click on the tile opens the portal inside JupyterLab, without a token in any link.

    Messages come through Jupyter's proxy as they arrive, and the page is as dark as JupyterLab.
    """
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{jupyter_server.url}/lab/workspaces/portal?token={TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("() => jupyterapp.restored")
    page.evaluate("() => jupyterapp.commands.execute('launcher:create')")
    page.locator(".jp-LauncherCard", has_text="IoT Edge Lab").first.click()
    inside = page.frame_locator("iframe[src*='iotedge-lab']")
    inside.get_by_role("heading", name="Overview").wait_for(timeout=PATIENCE)
    inside.get_by_text("local hub").wait_for(timeout=PATIENCE)
    assert not any("token" in frame.url for frame in page.frames)

    with Lab.open(jupyter_server.state) as lab:
        lab.rest().call("PUT", "/devices/from-notebook", {"deviceId": "from-notebook"})
        client = IoTHubDeviceClient.create_from_connection_string(
            lab.device_connection_string("from-notebook"), server_verification_cert=lab.ca_file.read_text()
        )
        try:
            client.connect()
            for number in range(2):
                client.send_message(f"message {number}")
                inside.get_by_text(f"message {number}").wait_for(timeout=PATIENCE)
        finally:
            client.shutdown()
    contrast.show_theme(page, "JupyterLab Dark")
    inside.locator("html[data-theme='dark']").wait_for(timeout=PATIENCE)
    picture(page, "in-jupyterlab")


def test_make_lab_opens_the_first_notebook_beside_the_portal(jupyterlab: str, browser: Browser) -> None:
    """The address that `iotedge-lab lab` opens: 00 on the left with a kernel, the portal on the right."""
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    open_workspace(page, jupyterlab)
    left = page.get_by_role("heading", name="00 Start here").first.bounding_box()
    right = page.locator("iframe[src*='iotedge-lab']").bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]
    page.screenshot(path=ARTIFACTS / "lab-opened.png")
