"""The two nodes that answer requests: `$cbs` takes tokens, `$management` tells of the built-in endpoint.

Stands for "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide" (learn.microsoft.com, service-bus
messaging, service-bus-amqp-protocol-guide: claims-based authorization) and for the Event Hubs management
operations READ of `com.microsoft:eventhub` and `com.microsoft:partition`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ProtocolViolation, Unauthorized, UsageError
from iotedge_lab.hub.access import Right
from iotedge_lab.wire.amqp.message import ABSENT, Message, decode_message, encode_message
from iotedge_lab.wire.amqp.performatives import Accepted, Error, Properties, Rejected
from iotedge_lab.wire.amqp.types import Int, Symbol, Timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.hub.amqp_front import AmqpFront
    from iotedge_lab.wire.amqp.events import MessageReceived
    from iotedge_lab.wire.amqp.link import Link

CBS = "$cbs"
MANAGEMENT = "$management"
_REPLIES_KEPT = 100
_TOKENS_KEPT = 1000  # a connection; Event Hubs clients put one a link


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: an HTTP-like status, a word, a body (a map, or nothing)."""

    status: int
    description: str
    body: Any = None
    condition: str | None = None


class RequestNode:
    """A node that answers each request on the link that its reply-to names."""

    def __init__(self, address: str, answer: Callable[[Message], Reply]) -> None:
        self._address = address
        self._answer = answer
        self._replies: list[Any] = []  # the sender links of ours, in the order in which they came
        self._waiting: deque[tuple[Any, bytes]] = deque()

    def attach(self, link: Link, *, credit: int) -> None:
        """Accept a link of either direction."""
        link.context = self
        link.accept()
        if link.is_sender:
            self._replies.append(link)
        else:
            link.grant(credit, top_up=True)  # type: ignore[attr-defined] # not is_sender: a ReceiverLink

    def forget(self, link: Link) -> None:
        """A link is gone, and with it the replies that wait for its credit."""
        if link in self._replies:
            self._replies.remove(link)
        self._waiting = deque((to, data) for to, data in self._waiting if to is not link)

    def request(self, event: MessageReceived) -> None:
        """Answer one request."""
        try:
            message = decode_message(event.payload)
            reply = self._answer(message)
        except (ProtocolViolation, UsageError) as error:
            event.link.settle(event.delivery_id, Rejected(Error(Symbol("amqp:decode-error"), str(error))))
            return
        event.link.settle(event.delivery_id, Accepted())
        asked = message.properties or Properties()
        link = self._reply_link(asked.reply_to)
        if link is None or len(self._waiting) >= _REPLIES_KEPT:
            event.link.detach(error=Error(Symbol("amqp:not-found"), "there is no link to send the reply on"))
            return
        self._waiting.append((link, _encode(reply, asked)))
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send the replies for which there is credit."""
        later: deque[tuple[Any, bytes]] = deque()
        for link, data in self._waiting:
            if link.credit > 0:
                link.send(data)
            else:
                later.append((link, data))
        self._waiting = later

    def _reply_link(self, reply_to: Any) -> Any:
        for link in reversed(self._replies):
            if getattr(link.target, "address", None) == reply_to and reply_to is not None:
                return link
        return self._replies[-1] if self._replies else None


def _encode(reply: Reply, asked: Properties) -> bytes:
    # azure-eventhub sends a uuid as message-id and compares: the correlation-id keeps the type.
    correlation = asked.message_id if asked.message_id is not None else asked.correlation_id
    told = {"status-code": Int(reply.status), "status-description": reply.description}
    if reply.condition:
        told["error-condition"] = Symbol(reply.condition)
    return encode_message(
        Message(
            properties=Properties(correlation_id=correlation, to=asked.reply_to),
            application_properties=told,
            value=reply.body,
        )
    )


# -- $cbs ----------------------------------------------------------------------------------------------


def authorise(front: AmqpFront, message: Message) -> Reply:
    """put-token: 200 with what it grants noted on the connection, or 401 with the reason.

    A connection with too many tokens is told 403 (IoT Hub: 403005, IotHubMaxCbsTokenExceeded).
    """
    asked = message.application_properties or {}
    operation = asked.get("operation")
    if operation != "put-token":
        return Reply(
            400, f"operation is {operation!r}; $cbs knows put-token", condition="amqp:not-implemented"
        )
    token = message.value if message.value is not ABSENT else None
    if not isinstance(token, str):
        return Reply(400, "the body of put-token is the token as a text", condition="amqp:invalid-field")
    try:
        # Event Hubs clients sign with the key's text, IoT Hub clients with the bytes that it encodes.
        try:
            grant = front.hub.access.check(token, raw_key=True)
        except Unauthorized:
            grant = front.hub.access.check(token)
    except Unauthorized as error:
        front.hub.counters.refused += 1
        return Reply(401, error.message, condition="amqp:unauthorized-access")
    audience = str(asked.get("name", ""))[:1024]
    if audience not in front.tokens and len(front.tokens) >= _TOKENS_KEPT:
        return Reply(
            403,
            f"the connection has {_TOKENS_KEPT} tokens, the most it may have; put one for the hub as a whole",
            condition="amqp:resource-limit-exceeded",
        )
    front.tokens[audience] = grant
    return Reply(200, "OK")


# -- $management ---------------------------------------------------------------------------------------


def manage(front: AmqpFront, message: Message) -> Reply:
    """READ of the endpoint or of one partition."""
    hub = front.hub
    asked = message.application_properties or {}
    if not front.granted(Right.SERVICE_CONNECT, f"{hub.events_name}/{MANAGEMENT}"):
        return Reply(
            401,
            "put a token of 'service' or 'iothubowner' to $cbs first",
            condition="amqp:unauthorized-access",
        )
    name, kind = asked.get("name"), asked.get("type")
    if asked.get("operation") != "READ":
        return Reply(
            501, f"operation {asked.get('operation')!r} is not served", condition="amqp:not-implemented"
        )
    if not isinstance(name, str) or name.lower() != hub.events_name.lower():
        return Reply(
            404,
            f"there is no event hub {name!r}; this one is {hub.events_name!r}",
            condition="amqp:not-found",
        )
    if kind == "com.microsoft:eventhub":
        return Reply(
            200,
            "OK",
            {
                "name": hub.events_name,
                "type": kind,
                "created_at": Timestamp(int(hub.created * 1000)),
                "partition_count": Int(hub.log.partitions),
                "partition_ids": [str(number) for number in range(hub.log.partitions)],
                "georeplication_factor": Int(1),
            },
        )
    if kind == "com.microsoft:partition":
        return _partition(front, str(asked.get("partition", "")), kind)
    return Reply(404, f"type {kind!r} is not known", condition="amqp:not-found")


def _partition(front: AmqpFront, partition: str, kind: str) -> Reply:
    hub = front.hub
    if not (partition.isascii() and partition.isdigit() and int(partition[:9]) < hub.log.partitions):
        return Reply(404, f"there is no partition {partition[:20]!r}", condition="amqp:not-found")
    info = hub.log.info(int(partition))
    last = info.last_seq if info.last_seq >= 0 else -1
    return Reply(
        200,
        "OK",
        {
            "name": hub.events_name,
            "type": kind,
            "partition": partition,
            "begin_sequence_number": info.begin_seq if not info.is_empty else max(last, 0),
            "last_enqueued_sequence_number": last,
            "last_enqueued_offset": str(last),
            "last_enqueued_time_utc": Timestamp(info.last_enqueued),
            "is_partition_empty": info.is_empty,
        },
    )
