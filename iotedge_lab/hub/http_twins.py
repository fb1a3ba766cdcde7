"""HTTPS onto twins and direct methods.

Stands for the REST calls "Twins" and "Invoke Method" of IoT Hub, api-version 2021-04-12
(learn.microsoft.com, rest/api/iothub/service: devices, modules).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.broker.methods import Call
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.http_common import authorised, authorised_caller, authorised_owner, named

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.identities import Identity
    from iotedge_lab.hub.twins import Twin


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    made = []
    for path in ("/twins/{device}", "/twins/{device}/modules/{module}"):
        made += [
            web.get(path, _get),
            web.patch(path, _patch),
            web.put(path, _put),
            web.post(f"{path}/methods", _invoke),
        ]
    return made


async def _get(request: web.Request) -> web.Response:
    hub = authorised_owner(request, Right.SERVICE_CONNECT)
    return _shown(hub, *hub.twins.get(*named(request)))


async def _patch(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    body = await json_object(request)
    return _shown(hub, *hub.twins.patch(*named(request), body, request.headers.get("If-Match")))


async def _put(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    body = await json_object(request)
    return _shown(hub, *hub.twins.put(*named(request), body, request.headers.get("If-Match")))


async def _invoke(request: web.Request) -> web.Response:
    hub = authorised_caller(request)
    call = Call.read(await json_object(request))
    status, payload = await hub.methods.invoke(*named(request), call)
    return web.json_response({"status": status, "payload": payload})


def _shown(hub: Hub, identity: Identity, twin: Twin) -> web.Response:
    return web.json_response(hub.twins.to_json(identity, twin), headers={"ETag": f'"{twin.etag}"'})
