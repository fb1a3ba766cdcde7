"""A portal over a hub of its own, in this process, and a client that has its token."""

from __future__ import annotations

import aiohttp
import pytest
import pytest_asyncio

from iotedge_lab import Lab
from iotedge_lab.portal.server import Portal

TOKEN = "t0ken"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab.open(tmp_path_factory.mktemp("portal"), ephemeral=True) as lab:
        yield lab.activate()


@pytest_asyncio.fixture
async def portal(lab):
    async with Portal(lab, lambda: lab, TOKEN) as serving:
        yield serving


@pytest_asyncio.fixture
async def page(portal):
    """What the portal's own page may do."""
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Lab-Portal": "1"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{portal.port}", headers=headers) as session:
        yield session
