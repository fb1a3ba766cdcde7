"""HTTPS onto cloud-to-device messages: a device receives and settles, a service reads feedback and purges.

Stands for the REST calls "Receive, Complete, Abandon Device Bound Notification" (learn.microsoft.com,
rest/api/iothub/device) and "Receive, Complete, Abandon Feedback Notification", "Purge Cloud To Device Message
Queue" (rest/api/iothub/service), api-version 2021-04-12. The headers are those that Azure's command line and its
C SDK read; the documents name none. Times in headers are in the form in which those tools show them.

`/lab/cloud-to-device` is the lab's own: GET and PUT the options that on Azure belong to the hub's resource.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.command_settings import CommandSettings, lock_seconds
from iotedge_lab.hub.feedback import CONTENT_TYPE
from iotedge_lab.hub.http_common import authorised, authorised_device
from iotedge_lab.hub.names import HUB_NAME

if TYPE_CHECKING:
    from iotedge_lab.hub.commands import Locked
    from iotedge_lab.hub.service_queue import QueuedMessage

# SDKs differ in how they write it.
_DEVICE_BOX = "/devices/{device}/messages/{box:(?i:deviceBound)}"
_FEEDBACK_BOX = "/messages/{box:(?i:serviceBound)}/feedback"


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.get(_DEVICE_BOX, _receive),
        web.delete(_DEVICE_BOX + "/{lock}", _settle),
        web.post(_DEVICE_BOX + "/{lock}/abandon", _abandon),
        web.get(_FEEDBACK_BOX, _receive_feedback),
        web.delete(_FEEDBACK_BOX + "/{lock}", _complete_feedback),
        web.post(_FEEDBACK_BOX + "/{lock}/abandon", _abandon_feedback),
        web.delete("/devices/{device}/commands", _purge),
        web.get("/lab/cloud-to-device", _options),
        web.put("/lab/cloud-to-device", _put_options),
    ]


# -- the device's side ---------------------------------------------------------------------------------


async def _receive(request: web.Request) -> web.Response:
    hub, admission = authorised_device(request)
    seconds = lock_seconds(request.headers.get("iothub-messagelocktimeout"), hub.commands.settings.lock)
    found = hub.commands.receive(admission.identity.device, seconds)
    if found is None:
        return web.Response(status=204)
    hub.identities.heard(admission.identity.device, "")
    return web.Response(body=found.command.draft.body, headers=_headers(found))


async def _settle(request: web.Request) -> web.Response:
    hub, admission = authorised_device(request)
    settle = hub.commands.reject if "reject" in request.query else hub.commands.complete
    settle(admission.identity.device, _lock(request))
    return web.Response(status=204)


async def _abandon(request: web.Request) -> web.Response:
    hub, admission = authorised_device(request)
    hub.commands.abandon(admission.identity.device, _lock(request))
    return web.Response(status=204)


def _headers(found: Locked) -> dict[str, str]:
    command = found.command
    draft = command.draft
    made = {
        "ETag": f'"{found.lock}"',
        "Content-Type": "application/octet-stream",
        "iothub-messageid": draft.system.get("message-id", ""),
        "iothub-correlationid": draft.system.get("correlation-id", ""),
        "iothub-userid": draft.system.get("user-id", ""),
        "iothub-to": f"/devices/{draft.device}/messages/deviceBound",
        "iothub-ack": draft.ack or "none",
        "iothub-expiry": _when(draft.expiry),
        "iothub-sequencenumber": str(command.seq),
        "iothub-deliverycount": str(command.deliveries),
        "iothub-enqueuedtime": _when(command.enqueued),
    }
    for name, header in (("content-type", "ContentType"), ("content-encoding", "ContentEncoding")):
        if name in draft.system:
            made[header] = draft.system[name]
    return made | {f"iothub-app-{name}": value or "" for name, value in draft.properties.items()}


# -- the service's side --------------------------------------------------------------------------------


async def _receive_feedback(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    message = hub.commands.feedback.take()
    if message is None:
        return web.Response(status=204)
    return web.Response(body=message.body, headers=_feedback_headers(message))


async def _complete_feedback(request: web.Request) -> web.Response:
    authorised(request, Right.SERVICE_CONNECT).commands.feedback.complete(_lock(request))
    return web.Response(status=204)


async def _abandon_feedback(request: web.Request) -> web.Response:
    authorised(request, Right.SERVICE_CONNECT).commands.feedback.abandon(_lock(request))
    return web.Response(status=204)


def _feedback_headers(message: QueuedMessage) -> dict[str, str]:
    return {
        "ETag": f'"{message.lock}"',
        "Content-Type": CONTENT_TYPE,
        "iothub-messageid": message.message_id,
        "iothub-userid": HUB_NAME,
        "iothub-expiry": _when(message.expires),
        "iothub-sequencenumber": str(message.seq),
        "iothub-deliverycount": str(message.deliveries),
        "iothub-enqueuedtime": _when(message.enqueued),
    }


async def _purge(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    device = request.match_info["device"]
    count = hub.commands.purge(device)
    return web.json_response({"totalMessagesPurged": count, "deviceId": device, "moduleId": None})


# -- the lab's own -------------------------------------------------------------------------------------


async def _options(request: web.Request) -> web.Response:
    return web.json_response(authorised(request, Right.SERVICE_CONNECT).commands.settings.to_json())


async def _put_options(request: web.Request) -> web.Response:
    hub = authorised(request, Right.SERVICE_CONNECT)
    hub.commands.configure(CommandSettings.from_json(await json_object(request)))
    return web.json_response(hub.commands.settings.to_json())


def _lock(request: web.Request) -> str:
    return request.match_info["lock"].strip('"')


def _when(milliseconds: int | None) -> str:
    """As .NET prints a time: 1/31/2026 4:05:06 PM, UTC; nothing for None."""
    if milliseconds is None:
        return ""
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {'AM' if at.hour < 12 else 'PM'}"
