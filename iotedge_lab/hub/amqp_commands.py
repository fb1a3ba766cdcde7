"""AMQP onto cloud-to-device messages: `/messages/devicebound` takes them. How they ended is told by `amqp_queues`.

Stands for "Use AMQP protocol to communicate with IoT Hub", service client (learn.microsoft.com, IoT Hub,
iot-hub-amqp-support). A message is accepted when it is durable; a refusal is the outcome `rejected`, with the
conditions that the service SDKs know:

    no such device                              amqp:not-found
    50 messages wait                            amqp:resource-limit-exceeded   (403004)
    over 64 KB                                  amqp:link:message-size-exceeded
    a property or `to` that cannot be           amqp:invalid-field
    no message at all                           amqp:decode-error
    the store cannot take it now                amqp:internal-error            (SDKs try again)
"""

from __future__ import annotations

import logging
import re
import uuid
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    LabError,
    MaximumQueueDepthExceeded,
    MessageTooLarge,
    ProtocolViolation,
    ServiceError,
    StoreUnavailable,
    UsageError,
)
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.command_message import ACK_PROPERTY, SYSTEM_NAMES, Draft
from iotedge_lab.wire.amqp import conditions
from iotedge_lab.wire.amqp.message import Message, decode_message
from iotedge_lab.wire.amqp.performatives import ACCEPTED, Error, Properties, Rejected

if TYPE_CHECKING:
    from iotedge_lab.hub.amqp_front import AmqpFront
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.wire.amqp.events import MessageReceived
    from iotedge_lab.wire.amqp.link import Link
    from iotedge_lab.wire.amqp.types import Symbol

log = logging.getLogger(__name__)

DEVICEBOUND: Final = "messages/devicebound"
_CREDIT = 100
_TO = re.compile(r"/?devices/(?P<device>[^/]+)/messages/devicebound/?", re.IGNORECASE)
_TO_MODULE = re.compile(r"/?devices/[^/]+/modules/.*", re.IGNORECASE)
_CONDITIONS: dict[type[LabError], Symbol] = {
    DeviceNotFound: conditions.NOT_FOUND,
    MaximumQueueDepthExceeded: conditions.RESOURCE_LIMIT_EXCEEDED,
    MessageTooLarge: conditions.MESSAGE_SIZE_EXCEEDED,
    ArgumentInvalid: conditions.INVALID_FIELD,
    ProtocolViolation: conditions.DECODE_ERROR,
    StoreUnavailable: conditions.INTERNAL_ERROR,
}


def path_of(address: str) -> str:
    """The path of a link's address in lower case; `amqps://{host}/` may stand before it."""
    path = address.partition("://")[2].partition("/")[2] if "://" in address else address
    return path.strip("/").lower()


# -- messages to devices -------------------------------------------------------------------------------


class CommandTarget:
    """A service's link to `/messages/devicebound`."""

    def __init__(self, front: AmqpFront) -> None:
        self._front = front

    def attach(self, link: Link) -> None:
        """Take the link, with credit for good."""
        link.context = self
        link.accept()
        link.grant(_CREDIT, top_up=True)  # type: ignore[attr-defined] # the peer sends: a ReceiverLink

    def receive(self, event: MessageReceived) -> None:
        """Enqueue one message; its outcome is told when it is durable, or at once if it cannot be."""

        def done(error: LabError | None) -> None:
            if error is not None:
                log.info("a cloud-to-device message was refused: %s", error)
            event.link.settle(event.delivery_id, ACCEPTED if error is None else Rejected(told(error)))
            self._front.flush()

        if not self._front.granted(Right.SERVICE_CONNECT, DEVICEBOUND):
            event.link.detach(
                error=Error(conditions.UNAUTHORIZED_ACCESS, "the token has expired; put a new one")
            )
            return
        try:
            draft = read_draft(self._front.hub, decode_message(event.payload))
            self._front.hub.commands.send(draft, done)
        except (ServiceError, ProtocolViolation) as error:
            done(error)


def told(error: LabError) -> Error:
    """An error as the service SDKs read it: condition, and in the description the name that REST gives."""
    kind = next((known for known in type(error).__mro__ if known in _CONDITIONS), None)
    condition = _CONDITIONS[kind] if kind else conditions.INTERNAL_ERROR
    if isinstance(error, ServiceError):
        return Error(condition, f"ErrorCode:{error.name};{error.message} ({error.code})")
    return Error(condition, str(error))


def read_draft(hub: Hub, message: Message) -> Draft:
    """The message of a service. Raises `ArgumentInvalid` naming what is wrong."""
    given = message.properties or Properties()
    system = {}
    for name in SYSTEM_NAMES:
        text = _text(name, getattr(given, name.replace("-", "_")))
        if text is not None:
            system[name] = text
    properties = {}
    for name, value in (message.application_properties or {}).items():
        if not isinstance(name, str):
            raise ArgumentInvalid(f"an application property is named {str(name)[:40]!r}; names are texts.")
        properties[str(name)] = _property(name, value)
    ack = properties.pop(ACK_PROPERTY, None) if ACK_PROPERTY in properties else None
    if ACK_PROPERTY in (message.application_properties or {}) and ack is None:
        raise ArgumentInvalid(
            f"{ACK_PROPERTY} is null; leave it out, or give none, positive, negative or full."
        )
    expiry = given.absolute_expiry_time
    return Draft(
        _device_of(hub, given.to),
        _body(message),
        system,
        properties,
        ack,
        None if expiry is None else int(expiry),
    )


def _body(message: Message) -> bytes:
    try:
        return message.body
    except UsageError:
        raise ArgumentInvalid(
            "the body is a sequence or a value that is no text; send it as bytes."
        ) from None


def _device_of(hub: Hub, to: Any) -> str:
    if not isinstance(to, str):
        raise ArgumentInvalid(
            "the message has no `to`; give /devices/{device id}/messages/devicebound in its properties."
        )
    match = _TO.fullmatch(to)
    if match is None:
        if _TO_MODULE.fullmatch(to):
            raise ArgumentInvalid(
                "messages go to devices, not to modules; call a direct method of the module, or change its twin."
            )
        raise ArgumentInvalid(f"`to` is {to[:120]!r}; it reads /devices/{{device id}}/messages/devicebound.")
    # Some SDKs percent-encode the id and azure-iot-hub does not, and an id may itself hold '%'.
    raw = match["device"]
    return raw if "%" not in raw or hub.identities.find(raw) is not None else unquote(raw)


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ArgumentInvalid(f"{name} is bytes that are no UTF-8 text.") from None
    if isinstance(value, str | int | uuid.UUID) and not isinstance(value, bool):
        return str(value)
    raise ArgumentInvalid(f"{name} is a {type(value).__name__}, and a text is needed.")


def _property(name: str, value: Any) -> str | None:
    """IoT Hub's application properties are texts; simple values become them, as other SDKs write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    if isinstance(value, int | float | uuid.UUID):
        return str(value)
    raise ArgumentInvalid(f"the property {name[:60]!r} is a {type(value).__name__}, and a text is needed.")
