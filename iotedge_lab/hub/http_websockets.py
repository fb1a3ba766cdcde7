"""MQTT and AMQP over WebSocket, on the HTTPS port and on 443.

`/$iothub/websocket` speaks what the client's subprotocol asks for: `mqtt`, or `AMQPWSB10` as the service SDKs for
Node and .NET do. `/$servicebus/websocket/` speaks AMQP. Who may connect is decided inside, as over plain TLS.
"""

from __future__ import annotations

from aiohttp import web

from iotedge_lab.hub.amqp_front import AmqpFront
from iotedge_lab.hub.http_common import HUB
from iotedge_lab.hub.mqtt_front import MqttFront
from iotedge_lab.serve.client_certificates import certificates_of
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.serve.websocket import serve

_MQTT, _AMQP = "mqtt", "AMQPWSB10"


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.get("/$iothub/websocket", _either),
        web.get("/$servicebus/websocket", _amqp),
        web.get("/$servicebus/websocket/", _amqp),
    ]


async def _either(request: web.Request) -> web.WebSocketResponse:
    asked = ",".join(request.headers.getall("Sec-WebSocket-Protocol", [])).replace(" ", "").split(",")
    if next((name for name in asked if name in (_MQTT, _AMQP)), _MQTT) == _AMQP:
        return await _amqp(request)
    return await serve(request, _MQTT, lambda: MqttFront(request.app[HUB], _info(request)))


async def _amqp(request: web.Request) -> web.WebSocketResponse:
    return await serve(request, _AMQP, lambda: AmqpFront(request.app[HUB], _info(request)))


def _info(request: web.Request) -> ConnectionInfo:
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    local = transport.get_extra_info("sockname") if transport else None
    chain = certificates_of(transport)
    return ConnectionInfo(
        peer=(peer or ("", 0))[:2],
        local=(local or ("", 0))[:2],
        tls=request.secure,
        client_certificate=chain[0] if chain else None,
        server_name=None,
        client_chain=chain,
    )
