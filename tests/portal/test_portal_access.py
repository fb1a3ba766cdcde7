"""Who may use the portal, and what its pages may do."""

import re
from types import SimpleNamespace

import aiohttp
import pytest

from iotedge_lab.errors import PortTaken
from iotedge_lab.portal.jupyter import setup
from iotedge_lab.portal.server import STATIC, Portal
from tests.portal.conftest import TOKEN


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Lab-Portal": "1"}, 401),
        ({"X-Lab-Portal": "1", "Authorization": "Bearer wrong"}, 401),
        ({"X-Lab-Portal": "1", "Authorization": "Bearer t0ken\u00e9".encode().decode("latin-1")}, 401),
        # What a form of another site sends with JupyterLab's cookie: the token is added on the way.
        ({"Authorization": f"Bearer {TOKEN}"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "X-Lab-Portal": "1", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "X-Lab-Portal": "1", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Authorization": f"Bearer {TOKEN}", "X-Lab-Portal": "1"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/api/devices", "/api/edges"])
async def test_calls_need_the_token_and_the_pages_mark(portal, headers, status, path):
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{portal.port}", headers=headers) as session,
        session.get(path) as response,
    ):
        assert response.status == status
        body = await response.json()
    if status != 200:
        assert set(body) == {"error", "message"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8080", 200),  # a port that ssh forwards
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("rebound.example", 421),
        ("127.0.0.1.rebound.example:80", 421),
        ("localhost.rebound.example", 421),
        ("", 421),
    ],
)
async def test_a_name_that_was_led_to_this_machine_is_not_answered(portal, lab, host, status):
    """DNS rebinding: another site's name resolves to 127.0.0.1, so its page and ours would be of one origin."""
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}", "X-Lab-Portal": "1"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in ("/", "/api/edges"):
            async with session.get(f"http://127.0.0.1:{portal.port}{path}") as response:
                assert response.status == status
    async with (
        Portal(lab, lambda: lab, TOKEN, any_host=True) as behind_jupyterlab,
        aiohttp.ClientSession(headers={"Host": "hub.example.org"}) as session,
        session.get(f"http://127.0.0.1:{behind_jupyterlab.port}/") as response,
    ):
        assert response.status == 200


async def test_a_call_that_there_is_not_is_refused_before_it_is_404(portal):
    """Nobody learns which calls there are."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{portal.port}") as session:
        assert (await session.get("/api/nothing")).status == 401
        assert (await session.post("/api/devices/car/messages", json={"text": "x"})).status == 401


async def test_pages_run_only_their_own_scripts(portal):
    """Every file of the page is served, with the headers that keep injected markup dead."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{portal.port}") as session:
        files = ["/", *(f"/static/{file.name}" for file in STATIC.iterdir())]
        assert len(files) > 8
        for file in files:
            async with session.get(file) as response:
                assert response.status == 200
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'self'" in policy
                assert "require-trusted-types-for 'script'" in policy
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert response.headers["X-Content-Type-Options"] == "nosniff"
        for outside in ("/static/../api.py", "/static/%2e%2e/api.py", "/static/"):
            assert (await session.get(outside)).status in (403, 404)


def test_the_page_never_reads_text_as_html():
    """No script of the page has a way to make markup from what a device sent."""
    scripts = list(STATIC.glob("*.js"))
    assert len(scripts) >= 12
    for script in scripts:
        text = script.read_text()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert way not in text, f"{script.name}: {way}"
        addresses = set(re.findall(r"https?://[^\s\"'`]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, script.name  # the name of SVG's elements


async def test_the_link_keeps_the_token_out_of_what_is_sent(portal):
    address, _, fragment = portal.link.partition("#")
    assert address == f"http://127.0.0.1:{portal.port}/"
    assert fragment == f"token={TOKEN}"


async def test_a_taken_port_says_so(portal, lab):
    with pytest.raises(PortTaken, match="--port"):
        async with Portal(lab, lambda: lab, TOKEN, portal.port):
            pass


def test_jupyters_token_is_new_each_time_and_not_on_the_command_line():
    first, second = setup(), setup()
    token = first["environment"]["IOTEDGE_LAB_PORTAL_TOKEN"]
    assert token != second["environment"]["IOTEDGE_LAB_PORTAL_TOKEN"]
    assert token not in " ".join(first["command"])
    assert first["request_headers_override"] == {"Authorization": f"Bearer {token}"}
    assert first["launcher_entry"]["icon_path"].endswith(".svg")


def test_only_what_a_person_does_keeps_an_idle_jupyter_server_alive():
    """An open page asks every few seconds; a server that is culled when idle (Binder's) must not live by that."""
    counts = setup()["update_last_activity"]
    request = SimpleNamespace(request=SimpleNamespace(method="GET"))
    assert counts(request) is False
    request.request.method = "PATCH"
    assert counts(request) is True
