"""HTTPS onto device scopes: what the edge runtime asks to verify, offline, the tokens of those behind it.

The documents name two of the calls ("Device - Get Devices And Modules In Scope"); all four are those that the
open-source edgeHub makes (Azure/iotedge, DeviceScopeApiClient and NestedDeviceScopeApiClient):

    GET  /devices/{edge}/modules/$edgeHub/devicesAndModulesInDeviceScope?deviceCount=&continuationToken=
    GET  /devices/{edge}/modules/$edgeHub/deviceAndModuleInDeviceScope?targetDeviceId=&targetModuleId=
    POST /devices/{edge}/modules/$edgeHub/devicesAndModulesInTargetDeviceScope
         {"pageSize", "continuationLink", "authChain": "target;...;edge"}
    POST /devices/{edge}/modules/$edgeHub/getDeviceAndModuleOnBehalfOf
         {"targetDeviceId", "targetModuleId", "authChain"}

Each answers `{"devices": [..], "modules": [..], "continuationLink": .. or null}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.errors import ArgumentInvalid, Unauthorized
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.http_common import authorised_owner
from iotedge_lab.hub.scopes import Members, is_below, member, members, page_size

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.identities import Identity

_BASE = "/devices/{device}/modules/{module}"


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.get(f"{_BASE}/devicesAndModulesInDeviceScope", _in_scope),
        web.get(f"{_BASE}/deviceAndModuleInDeviceScope", _one_in_scope),
        web.post(f"{_BASE}/devicesAndModulesInTargetDeviceScope", _in_target_scope),
        web.post(f"{_BASE}/getDeviceAndModuleOnBehalfOf", _on_behalf_of),
    ]


async def _in_scope(request: web.Request) -> web.Response:
    hub, edge = _edge(request)
    size = page_size(request.query.get("deviceCount") or None)
    page = members(hub.identities, edge, size, request.query.get("continuationToken", ""))
    link = None
    if page.following:
        query = {
            "deviceCount": size,
            "continuationToken": page.following,
            "api-version": request.query["api-version"],
        }
        link = f"{request.rel_url.raw_path}?{urlencode(query)}"
    return web.json_response(page.to_json(hub.identities, link))


async def _one_in_scope(request: web.Request) -> web.Response:
    hub, edge = _edge(request)
    found = member(
        hub.identities,
        edge,
        _named(request.query.get("targetDeviceId")),
        request.query.get("targetModuleId", ""),
    )
    return _shown(hub, found)


async def _in_target_scope(request: web.Request) -> web.Response:
    hub, edge = _edge(request)
    body = await json_object(request)
    chain = body.get("authChain")
    first = chain.split(";")[0].partition("/")[0] if isinstance(chain, str) else ""
    target = hub.identities.get(first) if first else edge
    if not (target.iot_edge and is_below(hub.identities, target, edge)):
        raise Unauthorized(f"{target.device!r} is no edge device in the scope of {edge.device!r}.")
    mark = body.get("continuationLink") or ""
    if not isinstance(mark, str):
        raise ArgumentInvalid("continuationLink is a text.")
    return _shown(hub, members(hub.identities, target, page_size(body.get("pageSize")), mark))


async def _on_behalf_of(request: web.Request) -> web.Response:
    hub, edge = _edge(request)
    body = await json_object(request)
    module = body.get("targetModuleId") or ""
    if not isinstance(module, str):
        raise ArgumentInvalid("targetModuleId is a text.")
    return _shown(hub, member(hub.identities, edge, _named(body.get("targetDeviceId")), module))


def _edge(request: web.Request) -> tuple[Hub, Identity]:
    """The hub and the edge device of the path, whose token (or a registry reader's) the request has."""
    hub = authorised_owner(request, Right.REGISTRY_READ)
    device, module = request.match_info["device"], request.match_info["module"]
    edge = hub.identities.get(device)
    hub.identities.get(device, module)
    if not edge.iot_edge:
        raise ArgumentInvalid(f"device {device!r} is no edge device and has no scope of its own.")
    return hub, edge


def _named(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ArgumentInvalid("targetDeviceId is missing.")
    return value


def _shown(hub: Hub, page: Members) -> web.Response:
    return web.json_response(page.to_json(hub.identities))
