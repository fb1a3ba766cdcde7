"""HTTPS onto what belongs to the hub's resource on Azure: its certificates, and which of its own events it tells.

The lab's own calls, for the policy iothubowner (all four rights):

    GET, PUT, DELETE /lab/certificates[/{name}]   the authorities that devices' certificates may come from; the
                                                  body of PUT is PEM, or JSON {"certificate": PEM}
    GET, PUT         /lab/settings                {"twinChangeEvents": true, "deviceLifecycleEvents": ...,
                                                  "deviceConnectionStateEvents": ...}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.http_common import authorised

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.get("/lab/certificates", _list),
        web.get("/lab/certificates/{name}", _get),
        web.put("/lab/certificates/{name}", _put),
        web.delete("/lab/certificates/{name}", _delete),
        web.get("/lab/settings", _settings),
        web.put("/lab/settings", _put_settings),
    ]


def _owner(request: web.Request) -> Hub:
    return authorised(
        request,
        Right.REGISTRY_READ | Right.REGISTRY_WRITE | Right.SERVICE_CONNECT | Right.DEVICE_CONNECT,
    )


async def _list(request: web.Request) -> web.Response:
    hub = _owner(request)
    return web.json_response({"value": [each.to_json() for each in hub.certificates.authorities()]})


async def _get(request: web.Request) -> web.Response:
    found = _owner(request).certificates.find(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return web.json_response(found.to_json())


async def _put(request: web.Request) -> web.Response:
    hub = _owner(request)
    if request.content_type == "application/json":
        pem = (await json_object(request)).get("certificate")
    else:
        pem = (await request.read()).decode("ascii", "replace")
    if not isinstance(pem, str):
        raise ArgumentInvalid('the body is a certificate in PEM, or JSON {"certificate": PEM}.')
    return web.json_response(hub.certificates.register(request.match_info["name"], pem).to_json())


async def _delete(request: web.Request) -> web.Response:
    found = _owner(request).certificates.delete(request.match_info["name"])
    return web.Response(status=204 if found else 404)


async def _settings(request: web.Request) -> web.Response:
    return web.json_response(_owner(request).notices.settings.to_json())


async def _put_settings(request: web.Request) -> web.Response:
    hub = _owner(request)
    return web.json_response(hub.notices.change(await json_object(request)).to_json())
