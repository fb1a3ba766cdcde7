"""Who asks: what every REST call of the hub shares. Bodies and refusals are in `broker/http`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import web

from iotedge_lab.broker.http import check_version
from iotedge_lab.errors import AccessDenied, Unauthorized
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.hub import Hub
from iotedge_lab.hub.identities import EDGE_MODULES
from iotedge_lab.hub.scopes import member
from iotedge_lab.serve.client_certificates import certificates_of
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from iotedge_lab.hub.devices import Admission

HUB = web.AppKey("hub", Hub)
_IDENTITY = re.compile(r"devices/([^/]+)(?:/modules/([^/]+))?")


def authorised(request: web.Request, right: Right) -> Hub:
    """The hub, if the request's token grants `right` and its api-version is one; raises otherwise."""
    hub = request.app[HUB]
    token = request.headers.get("Authorization")
    if not token:
        raise AccessDenied("the request has no Authorization header with a SharedAccessSignature.")
    hub.access.require(token, right, request.path)
    _check_version(request)
    return hub


def authorised_device(request: web.Request) -> tuple[Hub, Admission]:
    """The hub, and the device or module of the path, if the request's token is its own (or of DeviceConnect).

    Without a token the certificate of its TLS connection counts. Raises `Unauthorized` (401002, 401003) with the
    reason, `InvalidProtocolVersion` for the api-version.
    """
    hub = request.app[HUB]
    device, module = named(request)
    admission = admitted(request, device, module)
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
    owner = admitted(request, device, module).identity
    if not (owner if not module else hub.identities.get(device)).iot_edge:
        raise AccessDenied(
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


def authorised_caller(request: web.Request) -> Hub:
    """The hub, if a service asks, or a module of an edge device on behalf of that device's scope.

    For the identity of the path: a module may call methods of its own device, of the modules beside it, and of
    what lies in its device's scope; all else is 404001 to it. The SDK names the module in the header
    `x-ms-edge-moduleId` as well; it must be the one that the token speaks for, and a module with a certificate is
    known by it alone.
    """
    hub = request.app[HUB]
    named_as = request.headers.get("x-ms-edge-moduleId")
    token = request.headers.get("Authorization")
    who = _speaker(token) if token else tuple((named_as or "").split("/"))
    if who is None or len(who) != 2:
        return authorised(request, Right.SERVICE_CONNECT)
    edge, module = who
    if named_as is not None and named_as != f"{edge}/{module}":
        raise Unauthorized(f"x-ms-edge-moduleId is {named_as[:140]!r}, and the token is of {edge}/{module}.")
    admitted(request, edge, module)
    owner = hub.identities.get(edge)
    if not owner.iot_edge:
        raise AccessDenied(f"device {edge!r} is no edge device: its modules call no methods.")
    member(hub.identities, owner, request.match_info["device"], "")
    _check_version(request)
    return hub


def authorised_somehow(request: web.Request) -> Hub:
    """The hub, if any policy asks, or any device or module that is let in; for calls that it does not serve."""
    token = request.headers.get("Authorization")
    if token:
        who = _speaker(token)
    else:
        own = _IDENTITY.match(request.path.removeprefix("/")) if certificates_of(request.transport) else None
        who = None if own is None else (own[1], own[2] or "")
    if who is None:
        return authorised(request, Right(0))
    admitted(request, who[0], who[1] if len(who) > 1 else "")
    _check_version(request)
    return request.app[HUB]


def _speaker(token: str) -> tuple[str, ...] | None:
    """(device,) or (device, module) for whom a token without a policy speaks, else None."""
    parsed = sas.parse(token)
    if parsed.key_name:
        return None
    match = _IDENTITY.fullmatch(parsed.resource_decoded.rpartition("://")[2].partition("/")[2])
    return None if match is None else tuple(part for part in match.groups() if part is not None)


def admitted(request: web.Request, device: str, module: str) -> Admission:
    """Let an identity in by the request's token or certificate; raises as `authorised_device` does."""
    token = request.headers.get("Authorization")
    if token:
        # The name for which it is signed must be one of the hub's; the Host header may be that of a proxy.
        host = sas.parse(token).resource_decoded.rpartition("://")[2].partition("/")[0]
        return request.app[HUB].devices.admit(host, device, module, token)
    sent = certificates_of(request.transport)
    if not sent:
        raise AccessDenied(
            "the request has no Authorization header with a SharedAccessSignature, and its TLS connection "
            "no client certificate."
        )
    return request.app[HUB].devices.admit(request.host, device, module, None, sent)


def _check_version(request: web.Request) -> None:
    if not request.path.startswith("/lab/"):
        check_version(request)


def named(request: web.Request) -> tuple[str, str]:
    """Device id and module id ('' for none) of the path."""
    return request.match_info["device"], request.match_info.get("module", "")
