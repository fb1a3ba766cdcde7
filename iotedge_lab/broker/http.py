"""What every REST call of hub and edge hub shares: the body, the api-version, the shape of a refusal.

Errors have the service's shape: a status, the header `iothub-errorcode`, and
`{"Message": "ErrorCode:...", "ExceptionMessage": ...}`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from iotedge_lab.broker import strict_json
from iotedge_lab.clock import Clock
from iotedge_lab.errors import ArgumentInvalid, LabError, MessageTooLarge, ServiceError

log = logging.getLogger(__name__)

CLOCK = web.AppKey("clock", Clock)
BODY_LIMIT = 1024 * 1024
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def check_version(request: web.Request) -> None:
    """Raise `ArgumentInvalid` unless the query has an api-version."""
    if not _VERSION.fullmatch(request.query.get("api-version", "")):
        raise ArgumentInvalid(
            "the query needs api-version=YYYY-MM-DD, for example 2021-04-12; "
            f"it has {request.query.get('api-version', 'none')[:40]!r}."
        )


async def json_body(request: web.Request) -> Any:
    """The body as JSON; raises `ArgumentInvalid` or `MessageTooLarge`."""
    try:
        return strict_json.loads(await request.read())
    except web.HTTPRequestEntityTooLarge as error:
        raise MessageTooLarge(f"the body is over {BODY_LIMIT} bytes.") from error
    except (ValueError, RecursionError) as error:
        raise ArgumentInvalid(f"the body is not JSON: {str(error)[:120]}.") from error


async def json_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; raises as `json_body` does."""
    body = await json_body(request)
    if not isinstance(body, dict):
        raise ArgumentInvalid(f"the body is a JSON {type(body).__name__}, and an object is needed.")
    return body


@web.middleware
async def answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Errors of ours become the service's answers."""
    try:
        return await handler(request)
    except ServiceError as error:
        return _refusal(request, error.status, error.code, error.name, error.message)
    except web.HTTPException as error:
        return _refusal(
            request, error.status, error.status * 1000, error.reason.replace(" ", ""), error.reason
        )
    except RecursionError:  # Python reads JSON that it then cannot write again, or show in a message
        return _bad_body(request, "the body is nested too deeply.")
    except ConnectionError as lost:
        log.info("%s %s: the client went away (%s)", request.method, request.path, lost)
        return _bad_body(request, "the connection ended before the request had come.")
    except Exception as error:
        log.exception("%s %s", request.method, request.path)
        told = str(error) if isinstance(error, LabError) else "a fault of the hub; its log says more."
        return _refusal(request, 500, 500001, "ServerError", told)


def _bad_body(request: web.Request, why: str) -> web.Response:
    error = ArgumentInvalid(why)
    return _refusal(request, error.status, error.code, error.name, error.message)


def _refusal(request: web.Request, status: int, code: int, name: str, message: str) -> web.Response:
    clock = request.app[CLOCK]
    tracking = f"Tracking ID:{clock.new_id().replace('-', '')}-TimeStamp:{clock.now():.3f}"
    inner = json.dumps({"errorCode": code, "trackingId": tracking, "message": message})
    return web.json_response(
        {"Message": f"ErrorCode:{name};{message}", "ExceptionMessage": f"{tracking};{inner}"},
        status=status,
        headers={"iothub-errorcode": name},
    )
