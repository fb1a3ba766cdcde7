"""HTTPS onto device-to-cloud messages.

Stands for the REST call "Send Device Event" (learn.microsoft.com, rest/api/iothub/device), which documents the
headers `iothub-app-*` alone. The others, and the batch, are what Azure's C, Java, Node and .NET device SDKs write:

    iothub-messageid, iothub-correlationid, iothub-userid, iothub-contenttype, iothub-contentencoding
    iothub-creation-time-utc (or without the dashes), iothub-interface-id (of security messages)
    Content-Type, Content-Encoding: the same as the last two, where these are missing
    Content-Type: application/vnd.microsoft.iothub.json: a batch,
        [{"body": base64, "base64Encoded": true, "properties": {"iothub-app-x": "1", "iothub-messageid": ..}}]

A batch is stored whole or not at all, and 204 is answered when the messages are durable. In the log they are
what an MQTT device would have sent. A device that speaks HTTPS alone shows as disconnected, as on Azure.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from iotedge_lab.broker.http import json_body
from iotedge_lab.errors import ArgumentInvalid, MessageTooLarge
from iotedge_lab.hub.events import MQTT_PUBLISHES
from iotedge_lab.hub.http_common import authorised_device
from iotedge_lab.hub.log import Source
from iotedge_lab.wire.mqtt.encode import encode_publish
from iotedge_lab.wire.topics import telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iotedge_lab.errors import StoreUnavailable
    from iotedge_lab.hub.identities import Identity

MESSAGE_LIMIT: Final = 256 * 1024  # of a message, and of a batch
BATCH_LIMIT: Final = 500  # messages
BATCH: Final = "application/vnd.microsoft.iothub.json"
_TOPIC_LIMIT: Final = 65_535  # bytes; the log keeps properties in an MQTT topic
_APP: Final = "iothub-app-"
_SYSTEM: Final = {
    "iothub-messageid": "message-id",
    "iothub-correlationid": "correlation-id",
    "iothub-userid": "user-id",
    "iothub-contenttype": "content-type",
    "iothub-contentencoding": "content-encoding",
    "iothub-creationtimeutc": "iothub-creation-time-utc",
    "iothub-creation-time-utc": "iothub-creation-time-utc",
    "iothub-interface-id": "iothub-interface-id",
}
# What HTTP clients say when nobody told them: no statement about the message.
_NO_TYPE: Final = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
_COMPRESSIONS: Final = frozenset({"gzip", "deflate", "br", "zstd", "identity"})  # HTTP's own, undone by it


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.post("/devices/{device}/messages/events", _send),
        web.post("/devices/{device}/modules/{module}/messages/events", _send),
    ]


async def _send(request: web.Request) -> web.Response:
    hub, admission = authorised_device(request)
    identity = admission.identity
    if request.content_type == BATCH:
        entries = await _entries(request)
        packets = [_packet(identity, *_read(entry, number)) for number, entry in enumerate(entries)]
        if sum(map(len, packets)) > MESSAGE_LIMIT:
            raise _too_large("the batch")
    else:
        packets = [await _single(request, identity)]
    durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: StoreUnavailable | None) -> None:
        if durable.done():  # the client has gone
            return
        if error is None:
            durable.set_result(None)
        else:
            durable.set_exception(error)

    source = hub.log.source_id(
        Source(identity.device, identity.module, identity.generation_id, admission.auth_method)
    )
    partition = hub.log.partition_of(identity.device)
    hub.log.append(partition, source, b"".join(packets), len(packets), done, form=MQTT_PUBLISHES)
    await durable
    hub.counters.messages += len(packets)
    hub.identities.heard(identity.device, identity.module)
    return web.Response(status=204)


# -- one message ---------------------------------------------------------------------------------------


async def _single(request: web.Request, identity: Identity) -> bytes:
    system, properties = _split(request.headers.items())
    kind = request.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() not in _NO_TYPE:
        system.setdefault("content-type", kind)
    encoding = request.headers.get("Content-Encoding", "")
    if encoding and encoding.lower() not in _COMPRESSIONS:
        system.setdefault("content-encoding", encoding)
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large("the message") from error
    return _packet(identity, body, system, properties)


# -- a batch -------------------------------------------------------------------------------------------


async def _entries(request: web.Request) -> list[Any]:
    entries = await json_body(request)
    if not isinstance(entries, list) or not 0 < len(entries) <= BATCH_LIMIT:
        raise ArgumentInvalid(f"a batch is a JSON list of 1 to {BATCH_LIMIT} messages.")
    return entries


def _read(entry: Any, number: int) -> tuple[bytes, dict[str, str], dict[str, str]]:
    body = entry.get("body") if isinstance(entry, dict) else None
    if not isinstance(body, str):
        raise ArgumentInvalid(f"message {number} of the batch is no object with a text 'body'.")
    if entry.get("base64Encoded", True):  # Node and Java leave it out and mean base64
        try:
            data = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ArgumentInvalid(
                f"the body of message {number} is not base64; for plain text say base64Encoded: false."
            ) from error
    else:
        data = body.encode("utf-8", "surrogatepass")
    given = entry.get("properties") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ArgumentInvalid(f"the properties of message {number} are an object of texts.")
    return data, *_split(given.items())


# -- both ----------------------------------------------------------------------------------------------


def _split(items: Iterable[tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """System and application properties among headers."""
    system, properties = {}, {}
    for name, value in items:
        lower = name.lower()
        if lower in _SYSTEM:
            system[_SYSTEM[lower]] = value
        elif lower.startswith(_APP) and len(name) > len(_APP):
            properties[name[len(_APP) :]] = value
    return system, properties


def _packet(identity: Identity, body: bytes, system: dict[str, str], properties: dict[str, str]) -> bytes:
    try:
        topic = telemetry_topic(identity.device, identity.module or None, system, properties).encode()
    except UnicodeEncodeError as error:
        raise ArgumentInvalid("a property is not UTF-8.") from error
    said = sum(len(name) + len(value) for name, value in (*system.items(), *properties.items()))
    if len(body) + said > MESSAGE_LIMIT or len(topic) > _TOPIC_LIMIT:
        raise _too_large("a message")
    return encode_publish(topic, body, qos=0)


def _too_large(what: str) -> MessageTooLarge:
    return MessageTooLarge(
        f"{what}, with its properties, is over {MESSAGE_LIMIT} bytes (or its properties over {_TOPIC_LIMIT}); "
        "send less at once."
    )
