"""HTTPS onto the storage account: one route that leads each request to its call, and answers in Azure's form.

Every answer has `x-ms-request-id`, `x-ms-version` and `Date`; `x-ms-client-request-id` is sent back. A refusal has its
code in `x-ms-error-code` and in an XML body. `/lab/health` is the lab's own: it says that the server lives.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from iotedge_lab import __version__
from iotedge_lab.blobs import documents, http_containers, http_reading, http_writing
from iotedge_lab.blobs import operations as ops
from iotedge_lab.blobs.errors import BlobError, disk_trouble
from iotedge_lab.blobs.http_common import ACCOUNT, LATEST, Call, open_call
from iotedge_lab.errors import LabError, StoreUnavailable

if TYPE_CHECKING:
    from iotedge_lab.blobs.http_common import Account

log = logging.getLogger(__name__)

_Handler = Callable[[Call], Awaitable[web.StreamResponse]]
_CALLS: Final[dict[ops.Operation, _Handler]] = {
    ops.LIST_CONTAINERS: http_containers.list_containers,
    ops.SERVICE_PROPERTIES: http_containers.service_properties,
    **dict.fromkeys(ops.ACCOUNT_INFORMATION.values(), http_containers.account_information),
    ops.CREATE_CONTAINER: http_containers.create,
    ops.CONTAINER_PROPERTIES: http_containers.properties,
    ops.SET_CONTAINER_METADATA: http_containers.set_metadata,
    ops.CONTAINER_ACL: http_containers.get_policies,
    ops.SET_CONTAINER_ACL: http_containers.set_policies,
    ops.DELETE_CONTAINER: http_containers.delete,
    ops.LIST_BLOBS: http_containers.list_blobs,
    ops.PUT_BLOB: http_writing.put,
    ops.COPY_BLOB: http_writing.copy,
    ops.PUT_BLOCK: http_writing.put_block,
    ops.PUT_BLOCK_LIST: http_writing.put_block_list,
    ops.BLOCK_LIST: http_reading.block_list,
    ops.GET_BLOB: http_reading.get,
    ops.BLOB_PROPERTIES: http_reading.properties,
    ops.SET_PROPERTIES: http_writing.set_properties,
    ops.SET_METADATA: http_writing.set_metadata,
    ops.DELETE_BLOB: http_writing.delete,
}


def make_app(account: Account) -> web.Application:
    """The aiohttp application of an account."""
    app = web.Application()
    app[ACCOUNT] = account
    app.on_response_prepare.append(_stamp)
    app.add_routes([web.get("/lab/health", _health), web.route("*", "/{rest:.*}", _serve)])
    return app


async def _health(request: web.Request) -> web.Response:
    account = request.app[ACCOUNT]
    return web.json_response({"account": account.name, "version": __version__} | account.catalogue.totals())


async def _serve(request: web.Request) -> web.StreamResponse:
    try:
        call = open_call(request)
        return await _CALLS[call.operation](call)
    except BlobError as error:
        if error.status == 503:
            log.warning("%s %s: %s", request.method, request.path, error.message)
        return _refusal(request, error)
    except StoreUnavailable as error:
        log.warning("%s %s: %s", request.method, request.path, error)
        return _refusal(request, disk_trouble(error))
    except ConnectionError as lost:
        log.info("%s %s: the client went away (%s)", request.method, request.path, lost)
        raise
    except Exception as error:
        log.exception("%s %s", request.method, request.path)
        told = str(error) if isinstance(error, LabError) else "a fault of the server; its log says more."
        return _refusal(
            request, BlobError(500, "InternalError", f"The server encountered an internal error: {told}")
        )


def _refusal(request: web.Request, error: BlobError) -> web.Response:
    clock = request.app[ACCOUNT].clock
    headers = {"x-ms-error-code": error.code}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'SharedKey realm="iotedge-lab"'
    if error.status == 416 and "ContentRange" in error.details:
        headers["Content-Range"] = error.details["ContentRange"]
    if error.status == 304 or request.method == "HEAD":
        return web.Response(status=error.status, headers=headers)
    request_id = clock.new_id()
    headers["x-ms-request-id"] = request_id
    told = f"{error.message}\nRequestId:{request_id}\nTime:{documents.http_date(clock.now())}"
    body = documents.error(error.code, told, error.details)
    return web.Response(status=error.status, body=body, headers=headers | {"Content-Type": "application/xml"})


async def _stamp(request: web.Request, answer: web.StreamResponse) -> None:
    """The headers that every answer has."""
    clock = request.app[ACCOUNT].clock
    answer.headers.setdefault("x-ms-request-id", clock.new_id())
    asked = request.headers.get("x-ms-version")
    answer.headers.setdefault("x-ms-version", asked if asked and len(asked) < 20 else LATEST)
    answer.headers.setdefault("Server", "iotedge-lab")
    named = request.headers.get("x-ms-client-request-id", "")
    if named and len(named) <= 1024 and named.isprintable():
        answer.headers["x-ms-client-request-id"] = named
