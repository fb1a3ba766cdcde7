"""HTTPS onto file upload: a device asks for a URL, and reports how the upload ended.

Stands for the REST calls "Create File Upload Sas Uri" and "Update File Upload Status" (learn.microsoft.com,
rest/api/iothub/device), which all device SDKs make, those for MQTT and AMQP too:

    POST /devices/{device}/files                 {"blobName": "a/b.jpg"}
    POST /devices/{device}/files/notifications   {"correlationId": "...", "isSuccess": true,
                                                  "statusCode": 200, "statusDescription": "..."}

`/lab/file-upload` is the lab's own: GET and PUT the options that on Azure belong to the hub's resource, for the policy
iothubowner (`file_settings`). Modules have no file upload on Azure either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.file_settings import FileSettings
from iotedge_lab.hub.http_common import authorised, authorised_device
from iotedge_lab.hub.storage_client import StorageClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.hub.hub import Hub

STORAGE = web.AppKey("storage", StorageClient)


def prepare(app: web.Application, hub: Hub) -> None:
    """Give the application what these calls need."""
    client = StorageClient(hub.settings.folder / "certificates" / "lab-ca.pem", hub.clock)
    app[STORAGE] = client

    async def close(_: web.Application) -> None:
        await client.close()

    app.on_cleanup.append(close)


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.post("/devices/{device}/files", _begin),
        web.post("/devices/{device}/files/notifications", _end),
        web.get("/lab/file-upload", _options),
        web.put("/lab/file-upload", _put_options),
    ]


async def _begin(request: web.Request) -> web.Response:
    hub, admission = authorised_device(request)
    name = (await json_object(request)).get("blobName")
    if not isinstance(name, str):
        raise ArgumentInvalid("blobName is missing, or no text.")
    hub.identities.heard(admission.identity.device, "")
    return web.json_response(hub.files.begin(admission.identity.device, name))


async def _end(request: web.Request) -> web.Response:
    hub, admission = authorised_device(request)
    body = await json_object(request)
    correlation_id, success = body.get("correlationId"), body.get("isSuccess")
    if not isinstance(correlation_id, str) or not correlation_id:
        raise ArgumentInvalid("correlationId is missing, or no text.")
    if not isinstance(success, bool):
        raise ArgumentInvalid("isSuccess is missing, or not true or false.")
    _check_status(body)
    hub.identities.heard(admission.identity.device, "")
    upload = hub.files.find(admission.identity.device, correlation_id)
    found = None
    if success:
        found = await request.app[STORAGE].find(hub.files.account(), upload.container, upload.blob)
        if found is None:
            raise ArgumentInvalid(
                f"the upload is reported as a success, and there is no blob {upload.blob!r} in the container "
                f"{upload.container!r}. Upload it, then report it; or report that it failed."
            )
    hub.files.end(upload, found)
    return web.Response(status=204)


def _check_status(body: Mapping[str, Any]) -> None:
    code, description = body.get("statusCode"), body.get("statusDescription")
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        raise ArgumentInvalid("statusCode is a whole number.")
    if description is not None and not isinstance(description, str):
        raise ArgumentInvalid("statusDescription is a text.")


# -- the lab's own -------------------------------------------------------------------------------------


def _owner(request: web.Request) -> Hub:
    return authorised(
        request, Right.REGISTRY_READ | Right.REGISTRY_WRITE | Right.SERVICE_CONNECT | Right.DEVICE_CONNECT
    )


async def _options(request: web.Request) -> web.Response:
    return web.json_response(_owner(request).files.settings.to_json())


async def _put_options(request: web.Request) -> web.Response:
    hub = _owner(request)
    hub.files.configure(FileSettings.from_json(await json_object(request)))
    return web.json_response(hub.files.settings.to_json())
