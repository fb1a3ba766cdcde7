"""AMQP onto cloud-to-device messages: `/messages/devicebound` takes them, `/messages/serviceBound/feedback` tells.

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
    MessageLockLost,
    MessageTooLarge,
    ProtocolViolation,
    ServiceError,
    StoreUnavailable,
    UsageError,
)
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.command_message import ACK_PROPERTY, SYSTEM_NAMES, Draft
from iotedge_lab.hub.feedback import CONTENT_TYPE
from iotedge_lab.hub.names import HUB_NAME
from iotedge_lab.wire.amqp import conditions
from iotedge_lab.wire.amqp.link import SND_SETTLED
from iotedge_lab.wire.amqp.message import Message, decode_message, encode_message
from iotedge_lab.wire.amqp.performatives import ACCEPTED, Accepted, Error, Header, Properties, Rejected
from iotedge_lab.wire.amqp.types import Symbol, Timestamp

if TYPE_CHECKING:
    from iotedge_lab.hub.amqp_front import AmqpFront
    from iotedge_lab.hub.feedback import FeedbackMessage
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.wire.amqp.events import DeliverySettled, MessageReceived
    from iotedge_lab.wire.amqp.link import Link

log = logging.getLogger(__name__)

DEVICEBOUND: Final = "messages/devicebound"
FEEDBACK: Final = "messages/servicebound/feedback"
FILE_NOTICES: Final = "messages/servicebound/filenotifications"
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


# -- feedback ------------------------------------------------------------------------------------------


class FeedbackLink:
    """A service that reads feedback. Accepted is completed; rejected is dropped; released comes again."""

    path = FEEDBACK

    def __init__(self, front: AmqpFront, link: Any) -> None:
        self._front = front
        self._link = link
        self._held: dict[int, str] = {}  # delivery id to lock
        self._deaf = front.hub.commands.feedback.listen(self.pump)
        self._closed = False

    def attach(self) -> None:
        """Take the link; what waits is sent as credit comes."""
        self._link.context = self
        self._link.accept()

    def pump(self) -> None:
        """Send what waits, as far as credit and socket allow."""
        try:
            self._send()
        except StoreUnavailable as error:
            log.warning("feedback could not be locked, and waits: %s", error)
        self._front.flush()

    def _send(self) -> None:
        link = self._link
        while not self._closed and self._front.writable and link.attached and link.credit > 0:
            message = self._front.hub.commands.feedback.take()
            if message is None:
                break
            settled = link.snd_settle_mode == SND_SETTLED
            tag = uuid.UUID(message.lock).bytes  # the .NET SDK reads the lock from the tag, as a GUID
            number = link.send(_encode(message), settled=settled, delivery_tag=tag)
            if settled:
                self._front.hub.commands.feedback.complete(message.lock)
            else:
                self._held[number] = message.lock

    def settled(self, event: DeliverySettled) -> None:
        """The service told the outcome of a message."""
        lock = self._held.pop(event.delivery_id, None) if event.settled else None
        if lock is None:
            return
        feedback = self._front.hub.commands.feedback
        try:
            if isinstance(event.state, Accepted | Rejected):
                feedback.complete(lock)
            else:
                feedback.abandon(lock)
        except (MessageLockLost, StoreUnavailable) as error:
            log.info("feedback could not be settled: %s", error)  # it comes again when its lock ends

    def end(self, condition: str, description: str) -> None:
        """Detach the link with an error."""
        self.close()
        self._link.detach(error=Error(Symbol(condition), description))
        self._front.flush()

    def close(self) -> None:
        """The link is gone: what it had not settled may be taken by others. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._deaf()
        held, self._held = self._held, {}
        for lock in held.values():
            try:
                self._front.hub.commands.feedback.abandon(lock)
            except (MessageLockLost, StoreUnavailable) as error:
                log.info("feedback could not be given back: %s", error)


def _encode(message: FeedbackMessage) -> bytes:
    return encode_message(
        Message(
            header=Header(delivery_count=message.deliveries),
            annotations={
                "iothub-enqueuedtime": Timestamp(message.enqueued),
                "iothub-sequencenumber": message.seq,
                "iothub-deliverycount": message.deliveries,
            },
            properties=Properties(
                message_id=message.message_id,
                user_id=HUB_NAME.encode(),
                content_type=Symbol(CONTENT_TYPE),
                absolute_expiry_time=Timestamp(message.expires),
            ),
            data=(message.body,),
        )
    )
