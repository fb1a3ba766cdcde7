"""The page's calls.

    GET   /api/overview                                   also while the hub does not answer
    POST  /api/hub/start                                  the local hub, again
    GET   /api/devices?search=&show=&next=                a page of devices
    POST  /api/devices                                    body: {"deviceId", "edge"}: registers one
    PUT   /api/devices/{device}/status                    body: {"status": "enabled" | "disabled"}
    DELETE /api/devices/{device}
    GET   /api/devices/{device}                           identity, twin, modules
    GET   /api/devices/{device}/modules/{module}/twin
    PATCH /api/devices/{device}[/modules/{module}]/twin   body: {"patch": {...}, "etag": "..."}
    POST  /api/devices/{device}[/modules/{module}]/method body: {"methodName", "payload", ...}
    POST  /api/devices/{device}/messages                  body: {"text", "properties"}: cloud to device
    DELETE /api/devices/{device}/messages                 those that wait
    GET   /api/configurations
    GET   /api/edges
    POST  /api/edges/{device}/{offline|online}
    GET   /api/edges/{device}/logs/{module}               text
    GET   /api/events                                     text/event-stream: deliveries (`listening`)

An id in a path may have `~` for each `%` of its escapes (`car~3Fx`): proxies decode those too soon.

Errors are `{"error", "message"}` with the status that the hub answered, or 400, 404, 409, 503.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, LabError, UsageError
from iotedge_lab.portal.access import Handler, answer_error, headers
from iotedge_lab.rest import RestError

if TYPE_CHECKING:
    from iotedge_lab.portal.listening import Listening
    from iotedge_lab.portal.source import Source

log = logging.getLogger(__name__)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What goes wrong, as the page shows it."""
    try:
        return await handler(request)
    except RestError as error:
        return answer_error(error.http_status, error.error or "HubRefused", str(error))
    except UsageError as error:
        return answer_error(400, type(error).__name__, str(error))
    except (HubNotRunning, EnvironmentProblem) as error:
        return answer_error(503, type(error).__name__, str(error))
    except LabError as error:
        return answer_error(409, type(error).__name__, str(error))
    except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception as error:
        log.exception("%s %s", request.method, request.path)
        return answer_error(500, "PortalFailed", f"a fault of the portal: {type(error).__name__}")


class Api:
    """The calls, over what the lab says (`source`) and what arrives (`listening`)."""

    def __init__(self, source: Source, listening: Listening) -> None:
        self._source = source
        self._listening = listening

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        device, module = "/api/devices/{device}", "/api/devices/{device}/modules/{module}"
        return [
            web.get("/api/overview", self._overview),
            web.post("/api/hub/start", self._start_hub),
            web.get("/api/devices", self._devices),
            web.post("/api/devices", self._create),
            web.get(device, self._device),
            web.put(f"{device}/status", self._status),
            web.delete(device, self._delete),
            web.get(f"{module}/twin", self._module_twin),
            web.patch(f"{device}/twin", self._patch),
            web.patch(f"{module}/twin", self._patch),
            web.post(f"{device}/method", self._method),
            web.post(f"{module}/method", self._method),
            web.post(f"{device}/messages", self._send),
            web.delete(f"{device}/messages", self._purge),
            web.get("/api/configurations", self._configurations),
            web.get("/api/edges", self._edges),
            web.post("/api/edges/{device}/{to:offline|online}", self._switch),
            web.get("/api/edges/{device}/logs/{module}", self._log),
            web.get("/api/events", self._events),
        ]

    async def _overview(self, _: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._source.overview))

    async def _start_hub(self, _: web.Request) -> web.Response:
        await asyncio.to_thread(self._source.start_hub)
        return web.Response(status=204)

    async def _create(self, request: web.Request) -> web.Response:
        body = await _json(request)
        device = body.get("deviceId")
        if not isinstance(device, str) or not device:
            raise UsageError('A device is an object with "deviceId" and, for an edge device, "edge": true.')
        made = await asyncio.to_thread(self._source.create, device, edge=body.get("edge") is True)
        return web.json_response(made, status=201)

    async def _status(self, request: web.Request) -> web.Response:
        named = _named(request, "device"), str((await _json(request)).get("status"))
        return web.json_response(await asyncio.to_thread(self._source.set_status, *named))

    async def _delete(self, request: web.Request) -> web.Response:
        await asyncio.to_thread(self._source.delete, _named(request, "device"))
        return web.Response(status=204)

    async def _devices(self, request: web.Request) -> web.Response:
        query = request.query
        asked = query.get("search", ""), query.get("show", ""), query.get("next") or None
        return web.json_response(await asyncio.to_thread(self._source.devices, *asked))

    async def _device(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._source.device, _named(request, "device")))

    async def _module_twin(self, request: web.Request) -> web.Response:
        named = _named(request, "device"), _named(request, "module")
        return web.json_response(await asyncio.to_thread(self._source.module_twin, *named))

    async def _patch(self, request: web.Request) -> web.Response:
        body = await _json(request)
        named = _named(request, "device"), _named(request, "module") or None
        etag = body.get("etag")
        found = await asyncio.to_thread(self._source.patch_twin, *named, body.get("patch"), etag)
        return web.json_response(found)

    async def _method(self, request: web.Request) -> web.Response:
        named = _named(request, "device"), _named(request, "module") or None
        body = await _json(request)
        return web.json_response(await asyncio.to_thread(self._source.call_method, *named, body))

    async def _send(self, request: web.Request) -> web.Response:
        body = await _json(request)
        text, properties = body.get("text"), body.get("properties") or {}
        if not isinstance(text, str) or not isinstance(properties, dict):
            raise UsageError('A message is an object with "text" and, if you like, "properties".')
        told = {str(name): str(value) for name, value in properties.items()}
        waiting = await asyncio.to_thread(self._source.send, _named(request, "device"), text, told)
        return web.json_response({"waiting": waiting})

    async def _purge(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._source.purge, _named(request, "device")))

    async def _configurations(self, _: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._source.configurations))

    async def _edges(self, _: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._source.edges))

    async def _switch(self, request: web.Request) -> web.Response:
        named = _named(request, "device"), request.match_info["to"]
        return web.json_response(await asyncio.to_thread(self._source.switch, *named))

    async def _log(self, request: web.Request) -> web.Response:
        named = _named(request, "device"), _named(request, "module")
        return web.Response(text=await asyncio.to_thread(self._source.log, *named))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers=headers()
            | {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        deliveries = self._listening.deliveries(request.query.get("place", ""))
        try:
            async for delivery in deliveries:
                await response.write(f"data: {json.dumps(delivery)}\n\n".encode())
        except ConnectionResetError:
            pass  # the page was closed
        finally:
            await deliveries.aclose()  # type: ignore[attr-defined]
        return response


def _named(request: web.Request, part: str) -> str:
    found = request.match_info.get(part, "")
    return unquote(found.replace("~", "%")) if "~" in found else found


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError as error:
        raise UsageError(f"The body is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise UsageError("The body is to be a JSON object.")
    return found
