"""AMQP onto the queues for services: `/messages/serviceBound/feedback` and `/messages/serviceBound/filenotifications`.

Stands for "Use AMQP protocol to communicate with IoT Hub", service client (learn.microsoft.com, IoT Hub,
iot-hub-amqp-support). Accepted is completed; rejected is dropped; released or modified comes again.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import MessageLockLost, StoreUnavailable
from iotedge_lab.hub.names import HUB_NAME
from iotedge_lab.wire.amqp.link import SND_SETTLED
from iotedge_lab.wire.amqp.message import Message, encode_message
from iotedge_lab.wire.amqp.performatives import Accepted, Error, Header, Properties, Rejected
from iotedge_lab.wire.amqp.types import Symbol, Timestamp

if TYPE_CHECKING:
    from iotedge_lab.hub.amqp_front import AmqpFront
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.service_queue import QueuedMessage, ServiceQueue
    from iotedge_lab.wire.amqp.events import DeliverySettled

log = logging.getLogger(__name__)

FEEDBACK: Final = "messages/servicebound/feedback"
FILE_NOTICES: Final = "messages/servicebound/filenotifications"
QUEUES: Final = (FEEDBACK, FILE_NOTICES)


def queue_at(hub: Hub, path: str) -> ServiceQueue:
    """The queue of a path, one of `QUEUES`."""
    return hub.commands.feedback if path == FEEDBACK else hub.files.notices


class QueueLink:
    """A service's link that reads a queue."""

    def __init__(self, front: AmqpFront, link: Any, path: str) -> None:
        self.path = path
        self._front = front
        self._link = link
        self._queue = queue_at(front.hub, path)
        self._held: dict[int, str] = {}  # delivery id to lock
        self._deaf = self._queue.listen(self.pump)
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
            log.warning("a %s could not be locked, and waits: %s", self._queue.what, error)
        self._front.flush()

    def _send(self) -> None:
        link = self._link
        while not self._closed and self._front.writable and link.attached and link.credit > 0:
            message = self._queue.take()
            if message is None:
                break
            settled = link.snd_settle_mode == SND_SETTLED
            tag = uuid.UUID(message.lock).bytes  # the .NET SDK reads the lock from the tag, as a GUID
            number = link.send(_encode(message, self._queue.content_type), settled=settled, delivery_tag=tag)
            if settled:
                self._queue.complete(message.lock)
            else:
                self._held[number] = message.lock

    def settled(self, event: DeliverySettled) -> None:
        """The service told the outcome of a message."""
        lock = self._held.pop(event.delivery_id, None) if event.settled else None
        if lock is None:
            return
        try:
            if isinstance(event.state, Accepted | Rejected):
                self._queue.complete(lock)
            else:
                self._queue.abandon(lock)
        except (MessageLockLost, StoreUnavailable) as error:
            log.info(
                "a %s could not be settled: %s", self._queue.what, error
            )  # it comes again when its lock ends

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
                self._queue.abandon(lock)
            except (MessageLockLost, StoreUnavailable) as error:
                log.info("a %s could not be given back: %s", self._queue.what, error)


def _encode(message: QueuedMessage, content_type: str) -> bytes:
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
                content_type=Symbol(content_type),
                absolute_expiry_time=Timestamp(message.expires),
            ),
            data=(message.body,),
        )
    )
