"""Where messages are posted to the module: plain HTTP on loopback, as the testing utility serves it.

    POST /api/v1/messages    {"inputName": "input1", "data": "hello world"}    202 {"message": "accepted"}

Stands for src/server.js of Azure/iot-edge-testing-utility; also `properties`, `messageId`, `correlationId` and
`userId`. What is wrong with a request is answered with 400, where the utility says 500. A web page that a person
happens to visit cannot post: it may not send JSON here without asking, and gets no leave; and a foreign Host name is
refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from iotedge_lab.edge.simulator.messages import MESSAGES_PATH, read_posted
from iotedge_lab.errors import LabError, StoreUnavailable, UsageError
from iotedge_lab.serve.addresses import is_loopback

if TYPE_CHECKING:
    from iotedge_lab.edge.simulator.single import SingleModule

log = logging.getLogger(__name__)

_BODY_LIMIT: Final = 2 * 1024 * 1024  # JSON of a message of 256 KB, every character of it escaped


def messages_app(simulation: SingleModule) -> web.Application:
    """The aiohttp application over a simulation that has started."""

    async def accept(request: web.Request) -> web.Response:
        try:
            _check(request)
            await simulation.post(read_posted(await request.read(), simulation.run.inputs))
        except web.HTTPRequestEntityTooLarge:
            return _refused(413, f"The request body is over {_BODY_LIMIT} bytes.")
        except StoreUnavailable as error:
            return _refused(503, str(error))
        except LabError as error:
            return _refused(400, str(error))
        return web.json_response({"message": "accepted"}, status=202)

    async def nothing(request: web.Request) -> web.Response:
        return _refused(404, f"I don't have that: POST {MESSAGES_PATH} is all there is, not {request.path}.")

    app = web.Application(client_max_size=_BODY_LIMIT)
    app.add_routes([web.post(MESSAGES_PATH, accept), web.route("*", "/{rest:.*}", nothing)])
    return app


def _check(request: web.Request) -> None:
    host = request.host.rpartition("]")[0].lstrip("[") if request.host.startswith("[") else request.host
    if not is_loopback(host.partition(":")[0] if host.count(":") < 2 else host):
        raise UsageError(f"The Host header is {request.host!r}; post to http://localhost.")
    if request.content_type != "application/json":
        raise UsageError(
            f"The Content-Type is {request.content_type!r}; post with the header 'Content-Type: application/json'."
        )


def _refused(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)
