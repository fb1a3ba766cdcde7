"""HTTPS onto queries over the twins.

Stands for "Query - Get Twins" (learn.microsoft.com, rest/api/iothub/service/query), api-version 2021-04-12: POST
`/devices/query` with `{"query": "SELECT ..."}`. `x-ms-max-item-count` asks for a page of that size; as documented,
another one is used where it is not acceptable (over 100, or no number). The answer's `x-ms-item-type` is `Twin` for
`SELECT *`, `DeviceJob` for that of devices.jobs, else `Raw`; its `x-ms-continuation`, if there is one, sent with the
same query brings the next page.

Needs ServiceConnect ("access to cloud service-facing communication", which running queries belongs to).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.errors import ArgumentInvalid, ArgumentNull
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.http_common import authorised
from iotedge_lab.hub.query.queries import MOST

if TYPE_CHECKING:
    from collections.abc import Mapping


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [web.post("/devices/query", _query)]


async def _query(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    text = _text(await json_object(request))
    size = _size(request.headers.get("x-ms-max-item-count", ""))
    page = await hub.queries.page(text, size, request.headers.get("x-ms-continuation"))
    headers = {"x-ms-item-type": page.kind}
    if page.continuation:
        headers["x-ms-continuation"] = page.continuation
    return web.json_response(page.items, headers=headers)


def _text(body: Mapping[str, Any]) -> str:
    text = body.get("query")
    if text is None:
        raise ArgumentNull('the body has no query; it is {"query": "SELECT * FROM devices"}.')
    if not isinstance(text, str):
        raise ArgumentInvalid("query is a text.")
    return text


def _size(asked: str) -> int:
    if asked.isascii() and asked.isdigit() and len(asked) < 10 and int(asked) > 0:
        return int(asked)
    return MOST
