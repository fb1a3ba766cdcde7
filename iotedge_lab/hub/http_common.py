"""What every REST call shares: who asks, what version, the body, the shape of a refusal.

Errors have the service's shape: a status, the header `iothub-errorcode`, and
`{"Message": "ErrorCode:...", "ExceptionMessage": ...}`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from iotedge_lab.broker import strict_json
from iotedge_lab.errors import ArgumentInvalid, LabError, MessageTooLarge, ServiceError, Unauthorized
from iotedge_lab.hub.hub import Hub
from iotedge_lab.hub.identities import EDGE_MODULES
from iotedge_lab.serve.client_certificates import certificates_of
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from iotedge_lab.hub.access import Right
    from iotedge_lab.hub.devices import Admission

log = logging.getLogger(__name__)

HUB = web.AppKey("hub", Hub)
BODY_LIMIT = 1024 * 1024
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def authorised(request: web.Request, right: Right) -> Hub:
    """The hub, if the request's token grants `right` and its api-version is one; raises otherwise."""
    hub = request.app[HUB]
    token = request.headers.get("Authorization")
    if not token:
        raise Unauthorized("the request has no Authorization header with a SharedAccessSignature.")
    hub.access.require(token, right, request.path)
    _check_version(request)
    return hub


def authorised_device(request: web.Request) -> tuple[Hub, Admission]:
    """The hub, and the device or module of the path, if the request's token is its own (or of DeviceConnect).

    Without a token the certificate of its TLS connection counts. Raises `Unauthorized` (401002) with the
    reason, `ArgumentInvalid` for the api-version.
    """
    hub = request.app[HUB]
    device, module = named(request)
    admission = _admitted(request, device, module)
    _check_version(request)
    return hub, admission


def authorised_owner(request: web.Request, right: Right) -> Hub:
    """`authorised`, or by the token (or certificate) of the edge device of the path.

    An edge device looks after its own modules: its own token and those of $edgeAgent and $edgeHub open what
    lies under `/devices/{it}/modules` and its twins. Raises as `authorised` does.
    """
    hub = request.app[HUB]
    device = request.match_info["device"]
    token = request.headers.get("Authorization")
    module: str | None = ""
    if token:
        parsed = sas.parse(token)
        module = None if parsed.key_name else _signer(parsed.resource_decoded, device)
    elif not certificates_of(request.transport):
        module = None
    if module is None:
        return authorised(request, right)
    owner = _admitted(request, device, module).identity
    if not (owner if not module else hub.identities.get(device)).iot_edge:
        raise Unauthorized(
            f"device {device!r} is no edge device: only those may look after their modules by themselves. Use "
            "a token of a shared access policy."
        )
    _check_version(request)
    return hub


def _signer(resource: str, device: str) -> str | None:
    """The module ('' for the device) for which a token speaks, if it may speak for the edge device."""
    path = resource.rpartition("://")[2].partition("/")[2]
    for module in ("", *EDGE_MODULES):
        if path == f"devices/{device}" + (f"/modules/{module}" if module else ""):
            return module
    return None


def _admitted(request: web.Request, device: str, module: str) -> Admission:
    token = request.headers.get("Authorization")
    if token:
        # The name for which it is signed must be one of the hub's; the Host header may be that of a proxy.
        host = sas.parse(token).resource_decoded.rpartition("://")[2].partition("/")[0]
        return request.app[HUB].devices.admit(host, device, module, token)
    sent = certificates_of(request.transport)
    if not sent:
        raise Unauthorized(
            "the request has no Authorization header with a SharedAccessSignature, and its TLS connection "
            "no client certificate."
        )
    return request.app[HUB].devices.admit(request.host, device, module, None, sent)


def _check_version(request: web.Request) -> None:
    if not request.path.startswith("/lab/") and not _VERSION.fullmatch(request.query.get("api-version", "")):
        raise ArgumentInvalid(
            "the query needs api-version=YYYY-MM-DD, for example 2021-04-12; "
            f"it has {request.query.get('api-version', 'none')[:40]!r}."
        )


def named(request: web.Request) -> tuple[str, str]:
    """Device id and module id ('' for none) of the path."""
    return request.match_info["device"], request.match_info.get("module", "")


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
    hub = request.app[HUB]
    tracking = f"Tracking ID:{hub.clock.new_id().replace('-', '')}-TimeStamp:{hub.clock.now():.3f}"
    inner = json.dumps({"errorCode": code, "trackingId": tracking, "message": message})
    return web.json_response(
        {"Message": f"ErrorCode:{name};{message}", "ExceptionMessage": f"{tracking};{inner}"},
        status=status,
        headers={"iothub-errorcode": name},
    )
