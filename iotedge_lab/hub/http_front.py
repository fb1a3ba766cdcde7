"""HTTPS onto the hub: the service's REST API, and the lab's own few calls.

Stands for the IoT Hub REST API, api-version 2021-04-12 (learn.microsoft.com, rest/api/iothub/service). A
call of it that this hub does not serve answers 501 with a word, never a guess. Errors have the service's
shape: a status, the header `iothub-errorcode`, and `{"Message": "ErrorCode:...", "ExceptionMessage": ...}`.

The lab's own calls, under `/lab/`, are what `Lab` and the terminal use: health, status, reset, consumer groups.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from iotedge_lab import __version__
from iotedge_lab.errors import (
    ArgumentInvalid,
    LabError,
    MessageTooLarge,
    NotImplementedHere,
    ServiceError,
    Unauthorized,
)
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.hub import EVENTS_NAME, Hub

if TYPE_CHECKING:
    from iotedge_lab.hub.identities import Identity

log = logging.getLogger(__name__)

HUB = web.AppKey("hub", Hub)
_BODY_LIMIT = 1024 * 1024
_MOST_DEVICES = 1000
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(hub: Hub) -> web.Application:
    """The aiohttp application of a hub."""
    app = web.Application(middlewares=[_answer_errors], client_max_size=_BODY_LIMIT)
    app[HUB] = hub
    app.add_routes(
        [
            web.get("/lab/health", _health),
            web.get("/lab/status", _status),
            web.post("/lab/reset", _reset),
            web.get("/lab/consumer-groups", _groups),
            web.put("/lab/consumer-groups/{group}", _put_group),
            web.delete("/lab/consumer-groups/{group}", _delete_group),
            web.get("/devices", _list_devices),
            web.get("/devices/{device}", _get_identity),
            web.put("/devices/{device}", _put_identity),
            web.delete("/devices/{device}", _delete_identity),
            web.get("/devices/{device}/modules", _list_modules),
            web.get("/devices/{device}/modules/{module}", _get_identity),
            web.put("/devices/{device}/modules/{module}", _put_identity),
            web.delete("/devices/{device}/modules/{module}", _delete_identity),
            web.get("/statistics/devices", _device_statistics),
            web.get("/statistics/service", _service_statistics),
            web.route("*", "/{rest:.*}", _not_served),
        ]
    )
    return app


# -- identities ----------------------------------------------------------------------------------------


async def _list_devices(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_READ)
    text = request.query.get("top", str(_MOST_DEVICES))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_DEVICES:
        raise ArgumentInvalid(f"top is a number from 1 to {_MOST_DEVICES}, not {text[:20]!r}.")
    return web.json_response([hub.identities.to_json(device) for device in hub.identities.devices(int(text))])


async def _list_modules(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_READ)
    modules = hub.identities.modules(request.match_info["device"])
    return web.json_response([hub.identities.to_json(module) for module in modules])


async def _get_identity(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_READ)
    return _shown(hub, hub.identities.get(*_named(request)))


async def _put_identity(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_WRITE)
    device, module = _named(request)
    body = await _json_object(request)
    identity, new = hub.identities.put(device, module, body, request.headers.get("If-Match"))
    if not identity.enabled:
        hub.sessions.drop(device, module or None, "its identity was disabled")
    return _shown(hub, identity, status=201 if new and module else 200)


async def _delete_identity(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_WRITE)
    device, module = _named(request)
    hub.identities.delete(device, module, request.headers.get("If-Match"))
    hub.sessions.drop(device, module or None, "its identity was deleted")
    return web.Response(status=204)


def _named(request: web.Request) -> tuple[str, str]:
    return request.match_info["device"], request.match_info.get("module", "")


def _shown(hub: Hub, identity: Identity, *, status: int = 200) -> web.Response:
    headers = {"ETag": f'"{identity.etag}"'}
    return web.json_response(hub.identities.to_json(identity), status=status, headers=headers)


# -- statistics ----------------------------------------------------------------------------------------


async def _device_statistics(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_READ)
    total, enabled, disabled = hub.identities.count()
    return web.json_response(
        {"totalDeviceCount": total, "enabledDeviceCount": enabled, "disabledDeviceCount": disabled}
    )


async def _service_statistics(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.REGISTRY_READ)
    return web.json_response({"connectedDeviceCount": hub.identities.connected_devices()})


# -- the lab's own calls -------------------------------------------------------------------------------


async def _health(request: web.Request) -> web.Response:
    hub = request.app[HUB]
    return web.json_response({"hub": hub.id, "version": __version__})


async def _status(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.SERVICE_CONNECT)
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
    hub = _authorised(request, Right.REGISTRY_WRITE | Right.SERVICE_CONNECT)
    hub.reset()
    return web.Response(status=204)


async def _groups(request: web.Request) -> web.Response:
    return web.json_response(_authorised(request, Right.SERVICE_CONNECT).consumer_groups())


async def _put_group(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.SERVICE_CONNECT)
    hub.create_consumer_group(request.match_info["group"])
    return web.Response(status=204)


async def _delete_group(request: web.Request) -> web.Response:
    hub = _authorised(request, Right.SERVICE_CONNECT)
    return web.Response(status=204 if hub.delete_consumer_group(request.match_info["group"]) else 404)


async def _not_served(request: web.Request) -> web.Response:
    _authorised(request, Right(0))
    raise NotImplementedHere(
        f"{request.method} {request.path} is not served by this hub. README, 'Differences from Azure', lists "
        "what is; the same call works against a hub on Azure."
    )


# -- what every call shares ----------------------------------------------------------------------------


def _authorised(request: web.Request, right: Right) -> Hub:
    """The hub, if the request's token grants `right` and its api-version is one; raises otherwise."""
    hub = request.app[HUB]
    token = request.headers.get("Authorization")
    if not token:
        raise Unauthorized("the request has no Authorization header with a SharedAccessSignature.")
    hub.access.require(token, right)
    if not request.path.startswith("/lab/") and not _VERSION.fullmatch(request.query.get("api-version", "")):
        raise ArgumentInvalid(
            "the query needs api-version=YYYY-MM-DD, for example 2021-04-12; "
            f"it has {request.query.get('api-version', 'none')[:40]!r}."
        )
    return hub


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except web.HTTPRequestEntityTooLarge as error:
        raise MessageTooLarge(f"the body is over {_BODY_LIMIT} bytes.") from error
    except (ValueError, RecursionError) as error:
        raise ArgumentInvalid(f"the body is not JSON: {str(error)[:120]}.") from error
    if not isinstance(body, dict):
        raise ArgumentInvalid(f"the body is a JSON {type(body).__name__}, and an object is needed.")
    return body


@web.middleware
async def _answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServiceError as error:
        return _refusal(request, error.status, error.code, error.name, error.message)
    except web.HTTPException as error:
        return _refusal(
            request, error.status, error.status * 1000, error.reason.replace(" ", ""), error.reason
        )
    except LabError as error:
        log.exception("%s %s", request.method, request.path)
        return _refusal(request, 500, 500001, "ServerError", str(error))


def _refusal(request: web.Request, status: int, code: int, name: str, message: str) -> web.Response:
    hub = request.app[HUB]
    tracking = f"Tracking ID:{hub.clock.new_id().replace('-', '')}-TimeStamp:{hub.clock.now():.3f}"
    inner = json.dumps({"errorCode": code, "trackingId": tracking, "message": message})
    return web.json_response(
        {"Message": f"ErrorCode:{name};{message}", "ExceptionMessage": f"{tracking};{inner}"},
        status=status,
        headers={"iothub-errorcode": name},
    )
