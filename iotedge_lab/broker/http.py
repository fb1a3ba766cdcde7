"""What every REST call of hub and edge hub shares: the body, the api-version, the shape of a refusal.

Errors have the service's shape: a status, the header `iothub-errorcode`, and
`{"Message": "ErrorCode:...", "ExceptionMessage": ...}`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from iotedge_lab.broker import strict_json
from iotedge_lab.clock import Clock
from iotedge_lab.errors import (
    ArgumentInvalid,
    InvalidProtocolVersion,
    LabError,
    MessageTooLarge,
    ServiceError,
)

log = logging.getLogger(__name__)

CLOCK = web.AppKey("clock", Clock)
BODY_LIMIT = 1024 * 1024
# What IoT Hub's data plane has had, for services, devices and the edge runtime.
VERSIONS: Final = (
    "2015-08-15-preview",
    "2016-02-03",
    "2016-09-30-preview",
    "2016-11-14",
    "2017-06-30",
    "2017-11-08-preview",
    "2018-03-01-preview",
    "2018-04-01",
    "2018-06-30",
    "2018-08-30-preview",
    "2019-03-30",
    "2019-07-01-preview",
    "2019-10-01",
    "2020-03-01",
    "2020-03-13",
    "2020-05-01",
    "2020-05-31-preview",
    "2020-06-30-preview",
    "2020-09-30",
    "2020-09-30-preview",
    "2021-04-12",
)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def check_version(request: web.Request) -> None:
    """Raise `InvalidProtocolVersion` (400001) unless the query has an api-version of IoT Hub's."""
    if request.query.get("api-version") not in VERSIONS:
        raise InvalidProtocolVersion(
            f"the query needs an api-version of IoT Hub's, for example {VERSIONS[-1]}; "
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
