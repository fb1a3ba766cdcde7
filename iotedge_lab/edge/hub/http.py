"""HTTPS onto the edge hub: direct methods called by modules, MQTT over WebSocket, and metrics.

POST /twins/{device}[/modules/{module}]/methods    as `IoTHubModuleClient.invoke_method` calls it
GET  /$iothub/websocket                            MQTT over WebSocket
GET  /metrics                                      Prometheus text (learn.microsoft.com, IoT Edge, built-in metrics)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from iotedge_lab.broker.http import BODY_LIMIT, CLOCK, answer_errors, check_version, json_object
from iotedge_lab.broker.methods import Call
from iotedge_lab.edge.hub.front import EdgeFront
from iotedge_lab.edge.hub.hub import EdgeHub
from iotedge_lab.edge.hub.identities import SYSTEM_MODULES
from iotedge_lab.errors import AccessDenied, Unauthorized
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.serve.websocket import serve
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from collections.abc import Callable

HUB = web.AppKey("edge_hub", EdgeHub)
_CALLER = "x-ms-edge-moduleId"


def make_app(hub: EdgeHub, metrics: Callable[[], str]) -> web.Application:
    """The aiohttp application of an edge hub. `metrics()` gives the text of `/metrics`."""

    async def shown(_: web.Request) -> web.Response:
        return web.Response(text=metrics(), content_type="text/plain", charset="utf-8")

    app = web.Application(middlewares=[answer_errors], client_max_size=BODY_LIMIT)
    app[HUB] = hub
    app[CLOCK] = hub.clock
    app.add_routes(
        [
            web.post("/twins/{device}/methods", _invoke),
            web.post("/twins/{device}/modules/{module}/methods", _invoke),
            web.get("/$iothub/websocket", _websocket),
            web.get("/metrics", shown),
        ]
    )
    return app


async def _invoke(request: web.Request) -> web.Response:
    hub = request.app[HUB]
    _check_caller(request, hub)
    check_version(request)
    call = Call.read(await json_object(request))
    hub.counters.method_calls += 1
    status, payload = await hub.methods.invoke(
        request.match_info["device"], request.match_info.get("module", ""), call
    )
    return web.json_response({"status": status, "payload": payload})


def _check_caller(request: web.Request, hub: EdgeHub) -> None:
    """Only modules of this edge may call, each as itself; raises `Unauthorized`."""
    token = request.headers.get("Authorization")
    if not token:
        raise AccessDenied("the request has no Authorization header with a SharedAccessSignature.")
    parsed = sas.parse(token)
    host, _, path = parsed.resource_decoded.rpartition("://")[2].partition("/")
    parts = path.strip("/").split("/")
    known = None
    if len(parts) == 4 and (parts[0], parts[2]) == ("devices", "modules"):
        known = hub.identities.find(parts[1], parts[3])
    if (
        known is None
        or known.device != hub.settings.device
        or known.module in SYSTEM_MODULES
        or not hub.identities.speaks_of_us(host.partition(":")[0])
    ):
        raise Unauthorized(
            f"the token speaks for {parsed.resource_decoded!r}, which is no module of this edge."
        )
    named = request.headers.get(_CALLER)
    if named and named not in (known.module, f"{known.device}/{known.module}"):
        raise Unauthorized(f"{_CALLER} is {named!r}, and the token is that of {known.module!r}.")
    hub.identities.check(parsed, host, known)


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    return await serve(request, "mqtt", lambda: EdgeFront(request.app[HUB], _info(request)))


def _info(request: web.Request) -> ConnectionInfo:
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    local = transport.get_extra_info("sockname") if transport else None
    return ConnectionInfo((peer or ("", 0))[:2], (local or ("", 0))[:2], request.secure)
