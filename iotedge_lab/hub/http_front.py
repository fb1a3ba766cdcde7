"""HTTPS onto the hub: the service's REST API, and the lab's own few calls.

Stands for the IoT Hub REST API, api-version 2021-04-12 (learn.microsoft.com, rest/api/iothub/service). A
call of it that this hub does not serve answers 501 with a word, never a guess.
The lab's own calls, under `/lab/`, are what `Lab` and the terminal use: health, status, reset, consumer groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from iotedge_lab import __version__
from iotedge_lab.broker.http import BODY_LIMIT, CLOCK, answer_errors, json_body, json_object
from iotedge_lab.errors import ArgumentInvalid, NotImplementedHere
from iotedge_lab.hub import (
    http_commands,
    http_configurations,
    http_files,
    http_jobs,
    http_queries,
    http_scopes,
    http_settings,
    http_telemetry,
    http_twins,
    http_websockets,
)
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.bulk import Bulk
from iotedge_lab.hub.http_common import HUB, authorised, authorised_owner, authorised_somehow, named
from iotedge_lab.hub.http_server import in_time, prepare
from iotedge_lab.hub.names import EVENTS_NAME

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.identities import Identity

_MOST_DEVICES = 1000


def make_app(hub: Hub) -> web.Application:
    """The aiohttp application of a hub."""
    app = web.Application(middlewares=[answer_errors, in_time], client_max_size=BODY_LIMIT)
    prepare(app)
    http_files.prepare(app, hub)
    app[HUB] = hub
    app[CLOCK] = hub.clock
    app.add_routes(
        [
            web.get("/lab/health", _health),
            web.get("/lab/status", _status),
            web.post("/lab/reset", _reset),
            web.get("/lab/consumer-groups", _groups),
            web.put("/lab/consumer-groups/{group}", _put_group),
            web.delete("/lab/consumer-groups/{group}", _delete_group),
            web.get("/devices", _list_devices),
            web.get("/devices/", _list_devices),  # as the SDK for Node asks
            web.post("/devices", _bulk),
            web.get("/devices/{device}", _get_identity),
            web.put("/devices/{device}", _put_identity),
            web.delete("/devices/{device}", _delete_identity),
            web.get("/devices/{device}/modules", _list_modules),
            web.get("/devices/{device}/modules/{module}", _get_identity),
            web.put("/devices/{device}/modules/{module}", _put_identity),
            web.delete("/devices/{device}/modules/{module}", _delete_identity),
            *http_twins.routes(),
            *http_commands.routes(),
            *http_telemetry.routes(),
            *http_scopes.routes(),
            *http_configurations.routes(),
            *http_jobs.routes(),
            *http_queries.routes(),
            *http_files.routes(),
            *http_settings.routes(),
            *http_websockets.routes(),
            web.get("/statistics/devices", _device_statistics),
            web.get("/statistics/service", _service_statistics),
            web.route("*", "/{rest:.*}", _not_served),
        ]
    )
    return app


# -- identities ----------------------------------------------------------------------------------------


async def _list_devices(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    text = request.query.get("top", str(_MOST_DEVICES))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MOST_DEVICES:
        raise ArgumentInvalid(f"top is a number from 1 to {_MOST_DEVICES}, not {text[:20]!r}.")
    return web.json_response([hub.identities.to_json(device) for device in hub.identities.devices(int(text))])


async def _bulk(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_WRITE)
    entries = await json_body(request)
    bulk = Bulk(
        hub.identities, hub.twins, lambda device, module, why: hub.sessions.drop(device, module or None, why)
    )
    result = bulk.run(entries)
    return web.json_response(result, status=200 if result["isSuccessful"] else 400)


def _registry(request: web.Request, right: Right) -> Hub:
    """Devices are for those with a policy; modules for their edge device too."""
    return (authorised_owner if "module" in request.match_info else authorised)(request, right)


async def _list_modules(request: web.Request) -> web.Response:
    hub = authorised_owner(request, Right.REGISTRY_READ)
    modules = hub.identities.modules(request.match_info["device"])
    return web.json_response([hub.identities.to_json(module) for module in modules])


async def _get_identity(request: web.Request) -> web.Response:
    hub = _registry(request, Right.REGISTRY_READ)
    return _shown(hub, hub.identities.get(*named(request)))


async def _put_identity(request: web.Request) -> web.Response:
    hub = _registry(request, Right.REGISTRY_WRITE)
    device, module = named(request)
    body = await json_object(request)
    identity, new = hub.identities.put(device, module, body, request.headers.get("If-Match"))
    if not identity.enabled:
        hub.sessions.drop(device, module or None, "its identity was disabled")
    return _shown(hub, identity, status=201 if new and module else 200)


async def _delete_identity(request: web.Request) -> web.Response:
    hub = _registry(request, Right.REGISTRY_WRITE)
    device, module = named(request)
    hub.identities.delete(device, module, request.headers.get("If-Match"))
    hub.sessions.drop(device, module or None, "its identity was deleted")
    return web.Response(status=204)


def _shown(hub: Hub, identity: Identity, *, status: int = 200) -> web.Response:
    headers = {"ETag": f'"{identity.etag}"'}
    return web.json_response(hub.identities.to_json(identity), status=status, headers=headers)


# -- statistics ----------------------------------------------------------------------------------------


async def _device_statistics(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    total, enabled, disabled = hub.identities.count()
    return web.json_response(
        {"totalDeviceCount": total, "enabledDeviceCount": enabled, "disabledDeviceCount": disabled}
    )


async def _service_statistics(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    return web.json_response({"connectedDeviceCount": hub.identities.connected_devices()})


# -- the lab's own calls -------------------------------------------------------------------------------


async def _health(request: web.Request) -> web.Response:
    hub = request.app[HUB]
    return web.json_response({"hub": hub.id, "version": __version__})


async def _status(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    partitions = []
    for number in range(hub.log.partitions):
        info = hub.log.info(number)
        partitions.append({"id": number, "first": info.begin_seq, "last": info.last_seq})
    total, _, disabled = hub.identities.count()
    return web.json_response(
        {
            "hub": hub.id,
            "version": __version__,
            "log": hub.log.id,
            "started": hub.started,
            "devices": total,
            "disabled": disabled,
            "connected": len(hub.sessions),
            "messages": sum(part["last"] - part["first"] + 1 for part in partitions),
            "partitions": partitions,
            "consumerGroups": hub.consumer_groups(),
            "events": EVENTS_NAME,
        }
    )


async def _reset(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_WRITE | Right.SERVICE_CONNECT)
    hub.reset()
    return web.Response(status=204)


async def _groups(request: web.Request) -> web.Response:
    return web.json_response(authorised(request, Right.SERVICE_CONNECT).consumer_groups())


async def _put_group(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    hub.create_consumer_group(request.match_info["group"])
    return web.Response(status=204)


async def _delete_group(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    if not hub.delete_consumer_group(request.match_info["group"]):
        raise web.HTTPNotFound(reason="there is no consumer group of that name")
    return web.Response(status=204)


async def _not_served(request: web.Request) -> web.Response:
    authorised_somehow(request)
    raise NotImplementedHere(
        f"{request.method} {request.path} is not served by this hub. README, 'Differences from Azure', lists "
        "what is; the same call works against a hub on Azure."
    )
