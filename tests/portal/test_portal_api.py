"""The portal's calls, over a real hub and an edge device, with a device of the SDK's at the other end."""

import asyncio
import json
import os
import threading
from urllib.parse import quote

import aiohttp
import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from yarl import URL

from iotedge_lab import Lab
from iotedge_lab.errors import HubNotRunning
from iotedge_lab.hub.state import STATE_VARIABLE, StateFolder
from iotedge_lab.portal.__main__ import attach
from iotedge_lab.portal.listening import Listening, before
from iotedge_lab.portal.sending import DEPTH
from iotedge_lab.portal.server import Portal, events_client
from iotedge_lab.portal.source import MASK, PAGE, Source, deployed, runtime_response
from tests.portal.conftest import TOKEN


@pytest.fixture
def registered(lab):
    """A function that registers devices; the hub starts empty."""
    lab.reset()

    def register(*names, **more):
        for name in names:
            lab.rest().call("PUT", f"/devices/{name}", {"deviceId": name, **more})

    return register


@pytest.fixture
def device(lab, registered):
    """`car`, connected; it answers methods with what they were given, and keeps its messages."""
    registered("car")
    client = IoTHubDeviceClient.create_from_connection_string(
        lab.device_connection_string("car"), server_verification_cert=lab.ca_file.read_text()
    )
    client.arrived, client.came = [], threading.Event()

    def on_message(message):
        client.arrived.append(message)
        client.came.set()

    client.on_message_received = on_message
    client.on_method_request_received = lambda call: client.send_method_response(
        MethodResponse.create_from_method_request(call, 200, {"given": call.payload})
    )
    client.connect()
    yield client
    client.shutdown()


async def read(response, status=200):
    async with response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_devices_come_a_page_at_a_time(page, lab, registered):
    """A hundred and more devices: pages of fifty, each device once; a search finds parts of ids."""
    registered("edge-1", capabilities={"iotEdge": True})
    lab.rest().call("POST", "/devices", [{"id": f"d-{n:03}", "importMode": "create"} for n in range(100)])
    lab.rest().call(
        "POST", "/devices", [{"id": f"d-{n:03}", "importMode": "create"} for n in range(100, 120)]
    )
    found, following = [], ""
    for _ in range(10):
        answer = await read(await page.get("/api/devices", params={"next": following}))
        assert len(answer["items"]) <= PAGE
        found += [each["deviceId"] for each in answer["items"]]
        following = answer["next"]
        if not following:
            break
    assert sorted(found) == sorted(["edge-1", *(f"d-{n:03}" for n in range(120))])
    answer = await read(await page.get("/api/devices", params={"search": "11"}))
    assert [each["deviceId"] for each in answer["items"]] == ["d-011", *(f"d-{n}" for n in range(110, 120))]


@pytest.mark.parametrize("search", ["x' OR deviceId != '", "a b", "x" * 129, "\n", '"'])
async def test_a_search_is_no_query(page, registered, search):
    registered("car")
    answer = await read(await page.get("/api/devices", params={"search": search}), 400)
    assert "device id" in answer["message"]


async def test_a_device_comes_without_its_keys(page, lab, registered):
    registered("car")
    lab.rest().call("PUT", "/devices/car/modules/m", {"deviceId": "car", "moduleId": "m"})
    keys = lab.rest().call("GET", "/devices/car")["authentication"]["symmetricKey"]
    async with page.get("/api/devices/car") as response:
        text = await response.text()
    assert MASK in text
    assert not any(key in text for key in keys.values())
    answer = json.loads(text)
    assert [each["moduleId"] for each in answer["modules"]] == ["m"]
    assert answer["twin"]["deviceId"] == "car"
    assert "deployed" not in answer


async def test_an_id_is_named_whatever_is_in_it(page, registered):
    """Also as the page writes it, with ~ for %: behind JupyterLab `car%3Fx` would arrive as `car`."""
    registered("car")
    lab_id = "car?x%41'(d)=@$!*,:"
    await read(await page.post("/api/devices", json={"deviceId": lab_id}), 201)
    for path in (quote(lab_id, safe=""), quote(lab_id, safe="").replace("%", "~")):
        answer = await read(await page.get(URL(f"/api/devices/{path}", encoded=True)))
        assert answer["identity"]["deviceId"] == lab_id


async def test_what_is_missing_is_404_in_the_hubs_words(page, registered):
    registered()
    answer = await read(await page.get("/api/devices/nobody"), 404)
    assert answer["error"] == "DeviceNotFound"
    await read(await page.post("/api/devices/nobody/messages", json={"text": "x"}), 404)


async def test_a_twin_is_changed_and_not_over_another_change(page, registered):
    registered("car")
    twin = (await read(await page.get("/api/devices/car")))["twin"]
    patch = {"tags": {"ring": "canary"}, "properties": {"desired": {"rate": 2, "gone": 1}}}
    changed = await read(
        await page.patch("/api/devices/car/twin", json={"patch": patch, "etag": twin["etag"]})
    )
    assert changed["tags"] == {"ring": "canary"}
    assert changed["properties"]["desired"]["rate"] == 2
    # The page still shows the twin of before: it may not write over what it has not seen.
    await read(await page.patch("/api/devices/car/twin", json={"patch": patch, "etag": twin["etag"]}), 412)
    again = {"patch": {"properties": {"desired": {"gone": None}}}, "etag": changed["etag"]}
    assert (
        "gone"
        not in (await read(await page.patch("/api/devices/car/twin", json=again)))["properties"]["desired"]
    )


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"patch": []}', b'{"patch": {"properties2": {}}}', b"\xff"])
async def test_a_patch_that_is_none_changes_nothing(page, registered, body):
    registered("car")
    answer = await read(await page.patch("/api/devices/car/twin", data=body), 400)
    assert answer["message"]
    assert (await read(await page.get("/api/devices/car")))["twin"]["version"] == 2


async def test_a_method_is_answered_by_the_device(page, device):
    call = {"methodName": "status", "payload": {"a": [1, None, "<b>"]}}
    answer = await read(await page.post("/api/devices/car/method", json=call))
    assert answer == {"status": 200, "payload": {"given": {"a": [1, None, "<b>"]}}}
    await read(await page.post("/api/devices/car/method", json={"payload": 1}), 400)


async def test_a_method_of_a_device_that_is_not_there_is_404(page, registered):
    registered("van")
    answer = await read(await page.post("/api/devices/van/method", json={"methodName": "status"}), 404)
    assert answer["error"] == "DeviceNotOnline"
    for wait in (4, 301, "x"):
        call = {"methodName": "status", "responseTimeoutInSeconds": wait}
        assert (
            "5 to 300" in (await read(await page.post("/api/devices/van/method", json=call), 400))["message"]
        )


async def test_a_message_reaches_the_device(page, device):
    pytest.importorskip("uamqp")
    body = {"text": "hello <b>", "properties": {"n": "1"}}
    assert (await read(await page.post("/api/devices/car/messages", json=body)))["waiting"] in (0, 1)
    assert await asyncio.to_thread(device.came.wait, 60)
    (message,) = device.arrived
    assert message.data == b"hello <b>"
    assert message.custom_properties == {"n": "1"}
    await read(await page.post("/api/devices/car/messages", json={"text": 1}), 400)


async def test_a_message_that_is_not_taken_says_why(page, lab, registered):
    """A full queue, which can be purged, and a message that is too large: the SDK says only that it was not sent."""
    pytest.importorskip("uamqp")
    registered("van")
    from azure.iot.hub import IoTHubRegistryManager

    sending = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
    try:
        for _ in range(DEPTH):
            await asyncio.to_thread(sending.send_c2d_message, "van", "x")
    finally:
        sending.amqp_svc_client.disconnect_sync()
    full = await read(await page.post("/api/devices/van/messages", json={"text": "x"}), 403)
    assert full["error"] == "DeviceMaximumQueueDepthExceeded"
    assert "purge" in full["message"]
    assert (await read(await page.delete("/api/devices/van/messages")))["totalMessagesPurged"] == DEPTH
    assert (await read(await page.post("/api/devices/van/messages", json={"text": "x"})))["waiting"] == 1
    large = await read(await page.post("/api/devices/van/messages", json={"text": "x" * 65_537}), 413)
    assert "65,536" in large["message"]


async def test_a_device_is_registered_disabled_and_deleted(page, lab, registered):
    """With keys of its own, which the page does not see; a second one of its id is refused."""
    registered()
    body = {"deviceId": "edge 1".replace(" ", "-"), "edge": True}
    made = await read(await page.post("/api/devices", json=body), 201)
    assert made["capabilities"]["iotEdge"] is True
    assert MASK in made["authentication"]["symmetricKey"].values()
    assert "edge-1" in lab.device_connection_string("edge-1")
    assert (await read(await page.post("/api/devices", json=body), 409))["error"] == "DeviceAlreadyExists"
    await read(await page.post("/api/devices", json={"deviceId": "a b"}), 400)
    await read(await page.post("/api/devices", json={"deviceId": ""}), 400)
    keys = lab.rest().call("GET", "/devices/edge-1")["authentication"]["symmetricKey"]
    changed = await read(await page.put("/api/devices/edge-1/status", json={"status": "disabled"}))
    assert changed["status"] == "disabled"
    assert lab.rest().call("GET", "/devices/edge-1")["authentication"]["symmetricKey"] == keys
    await read(await page.put("/api/devices/edge-1/status", json={"status": "ill"}), 400)
    for show, found in (("disabled", ["edge-1"]), ("edge", ["edge-1"]), ("connected", []), ("", ["edge-1"])):
        answer = await read(await page.get("/api/devices", params={"show": show}))
        assert [each["deviceId"] for each in answer["items"]] == found
        assert answer["total"] == len(found)
    await read(await page.get("/api/devices", params={"show": "ill"}), 400)
    async with page.delete("/api/devices/edge-1") as response:
        assert response.status == 204
    await read(await page.delete("/api/devices/edge-1"), 404)


async def test_what_arrives_is_delivered_to_the_page(page, device):
    """Text as it is, what is no text in base64, properties, who sent it."""
    sent = Message(b"\xff\x00")
    sent.custom_properties["level"] = "<script>"
    async with page.get("/api/events") as response:
        assert response.content_type == "text/event-stream"
        first = json.loads((await response.content.readline())[6:])  # the reader is there
        assert first["trouble"] == ""
        await asyncio.to_thread(device.send_message, "first")
        await asyncio.to_thread(device.send_message, sent)
        events = []
        async with asyncio.timeout(60):
            while len(events) < 2:
                line = (await response.content.readline()).decode()
                if line.startswith("data: "):
                    events += json.loads(line[6:])["events"]
    first, second = events
    assert (first["device"], first["body"], first["bytes"]) == ("car", "first", 5)
    # A page that is opened now has them too, and one that was there goes on where it was.
    async with page.get("/api/events") as response:
        earlier = json.loads((await response.content.readline())[6:])
    assert earlier["earlier"] is True
    assert [each["body"] for each in earlier["events"]][-2:] == ["first", "/wA="]
    async with page.get("/api/events", params={"place": earlier["place"]}) as response:
        onward = json.loads((await response.content.readline())[6:])
    assert (onward["events"], onward["earlier"], onward["skipped"]) == ([], False, 0)
    assert (second["body"], second["encoding"], second["properties"]) == (
        "/wA=",
        "base64",
        {"level": "<script>"},
    )


async def test_a_stream_ends_and_is_taken_up_where_it_was(lab, device):
    """Behind a proxy that does not pass on that a page has gone, no stream stays; and the page misses nothing."""
    listening = Listening(lambda: events_client(lab), life=0.5, beat=0.2)
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Lab-Portal": "1"}
    async with (
        Portal(lab, lambda: lab, TOKEN, listening=listening) as portal,
        aiohttp.ClientSession(f"http://127.0.0.1:{portal.port}", headers=headers) as page,
        asyncio.timeout(60),
    ):
        async with page.get("/api/events") as response:
            told = (await response.text()).split("\n\n")  # to its end
        assert len(told) >= 3
        place = json.loads(told[-2][6:])["place"]
        await asyncio.to_thread(device.send_message, "between")
        found = []
        while not found:
            async with page.get("/api/events", params={"place": place}) as response:
                for line in (await response.text()).strip().split("\n\n"):
                    delivery = json.loads(line[6:])
                    found += delivery["events"]
                    place = delivery["place"]
        assert [each["body"] for each in found] == ["between"]


def test_the_place_before_the_last_events_is_within_what_is_kept():
    def asked(first, last, count, *, empty=False):
        return before(
            {"is_empty": empty, "beginning_sequence_number": first, "last_enqueued_sequence_number": last},
            count,
        )

    assert asked(0, 500, 100) == 400  # exclusive: 401 to 500
    assert asked(450, 500, 100) == 449
    assert asked(0, 50, 100) == "-1"
    assert asked(0, -1, 100, empty=True) == "-1"


async def test_the_overview_has_the_hubs_numbers(page, registered, lab):
    registered("car", "van")
    answer = await read(await page.get("/api/overview"))
    assert answer["trouble"] == ""
    assert (answer["hostname"], answer["local"], answer["hub"]["devices"]) == (lab.hostname, True, 2)
    assert answer["edges"] == []
    assert (await read(await page.post("/api/edges/car/offline"), 400))["message"]


async def test_an_edge_device_is_shown_and_cut_off(page, lab, registered):
    """The table of Azure's portal from $edgeAgent, the runtime's own, its switch and its log."""
    registered("edge", capabilities={"iotEdge": True})
    system = {
        name: {"type": "docker", "status": "running", "restartPolicy": "always", "settings": {"image": name}}
        for name in ("edgeAgent", "edgeHub")
    }
    agent = {"schemaVersion": "1.1", "systemModules": system, "modules": {}}
    agent["runtime"] = {"type": "docker", "settings": {}}
    hub = {"schemaVersion": "1.1", "routes": {}, "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}}
    content = {
        "modulesContent": {
            "$edgeAgent": {"properties.desired": agent},
            "$edgeHub": {"properties.desired": hub},
        }
    }
    lab.rest().call("POST", "/devices/edge/applyConfigurationContent", content)
    edge = lab.edge("edge")
    try:
        await asyncio.to_thread(edge.wait_until, lambda status: status.deployment == 200, "the deployment")
        (shown,) = await read(await page.get("/api/edges"))
        assert [row[0] for row in shown["rows"]] == ["$edgeAgent", "$edgeHub"]
        assert (await read(await page.post("/api/edges/edge/offline")))["online"] is False
        assert (await read(await page.post("/api/edges/edge/online")))["online"] is True
        async with page.get("/api/edges/edge/logs/edgeAgent") as response:
            assert response.status == 200
        await asyncio.to_thread(edge.wait_until_connected)
        found = await read(await page.get("/api/devices/edge"))
        assert (found["runtime"]["code"], found["runtime"]["current"]) == (200, True)
        assert {row["name"]: row["specified"] for row in found["deployed"]} == {
            "$edgeAgent": True,
            "$edgeHub": True,
        }
    finally:
        edge.stop()


async def test_deployments_come_in_the_order_of_their_priority(page, lab, registered):
    registered()
    for name, priority in (("low", 1), ("high", 9)):
        body = {"id": name, "content": {"deviceContent": {"properties.desired.x": {"a": priority}}},
                "targetCondition": "tags.x='y'", "priority": priority, "schemaVersion": "1.0"}  # fmt: skip
        lab.rest().call("PUT", f"/configurations/{name}", body)
    assert [each["id"] for each in await read(await page.get("/api/configurations"))] == ["high", "low"]


def test_a_module_that_is_only_reported_stays_in_the_table():
    """What runs and is wanted no more is shown as not specified, as Azure does."""
    properties = {
        "desired": {"modules": {"new": {"settings": {"image": "a"}}}},
        "reported": {
            "modules": {"old": {"runtimeStatus": "stopped", "exitCode": 3, "settings": {"image": "b"}}}
        },
    }
    rows = deployed(properties)
    assert [(r["name"], r["specified"], r["reported"], r["runtimeStatus"], r["exitCode"]) for r in rows] == [
        ("new", True, False, "", None),
        ("old", False, True, "stopped", 3),
    ]
    assert deployed({}) == []


def test_the_runtime_response_is_the_last_deployments():
    said = {"lastDesiredStatus": {"code": 400, "description": "no such image"}, "lastDesiredVersion": 3}
    found = runtime_response({"desired": {"$version": 4}, "reported": said})
    assert found == {"code": 400, "description": "no such image", "current": False}
    assert runtime_response({"desired": {"$version": 3}, "reported": said})["current"] is True
    assert runtime_response({})["code"] is None


async def test_a_hub_that_is_gone_is_said_and_started_again(page, lab, registered, portal):
    """It is not started behind a person's back. What was set in the environment for the SDKs stays set."""
    registered("car")
    trusted = os.environ["SSL_CERT_FILE"]
    lab.stop()
    try:
        answer = await read(await page.get("/api/overview"))
        assert (answer["hub"], answer["local"], answer["edges"]) == (None, True, [])
        assert "iotedge-lab up" in answer["trouble"]
        assert (await read(await page.get("/api/devices"), 503))["error"] == "HubNotRunning"
        assert not StateFolder(lab.state_dir).locked()
        async with page.post("/api/hub/start") as response:
            assert response.status == 204, await response.text()
    finally:
        lab.start()
    assert (await read(await page.get("/api/overview")))["hub"]["devices"] == 1
    assert os.environ["SSL_CERT_FILE"] == trusted


async def test_the_portal_finds_a_hub_that_was_started_elsewhere(lab, registered, monkeypatch):
    """As JupyterLab's portal does after `iotedge-lab down` and `up`; in between it starts none by itself."""
    registered("car")
    monkeypatch.setenv(STATE_VARIABLE, str(lab.state_dir))
    before = Lab.open(lab.state_dir)
    source = Source(before, attach)
    lab.stop()
    try:
        with pytest.raises(HubNotRunning, match="iotedge-lab up"):
            source.devices("")
        assert not StateFolder(lab.state_dir).locked()
    finally:
        lab.start()
    assert [each["deviceId"] for each in source.devices("")["items"]] == ["car"]
    assert os.environ["SSL_CERT_FILE"] == str(lab.ca_file)
