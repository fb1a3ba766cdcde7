"""What `AmqpConnection.receive` tells the application, in the order in which it came about.

Promises: each LinkAttached or LinkConfirmed is followed by exactly one LinkDetached, each SessionBegun by
exactly one SessionEnded (links first), and nothing follows ConnectionClosed or Violation; both also
when the application reports a lost connection with `connection_lost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.wire.amqp.link import Link
    from iotedge_lab.wire.amqp.performatives import Error
    from iotedge_lab.wire.amqp.receiver import ReceiverLink
    from iotedge_lab.wire.amqp.sender import SenderLink
    from iotedge_lab.wire.amqp.session import Session
    from iotedge_lab.wire.amqp.types import Symbol


@dataclass(frozen=True, slots=True)
class SaslMechanisms:
    """Client: the server offers these; answer with `conn.sasl_init`."""

    mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaslInit:
    """Server: the client chose a mechanism that was offered; answer with `conn.sasl_outcome`."""

    mechanism: str
    initial_response: bytes | None
    hostname: str | None


@dataclass(frozen=True, slots=True)
class SaslChallenge:
    """Client: the server asks; answer with `conn.sasl_response`."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class SaslResponse:
    """Server: the answer to `conn.sasl_challenge`."""

    response: bytes


@dataclass(frozen=True, slots=True)
class SaslOutcome:
    """Client: the server's verdict, 0 is success (part 5, 5.3.3.6); AMQP goes on by itself then."""

    code: int


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """Both sides have opened; what the peer said. `sasl_mechanism` is None where it skipped SASL.

    `idle_timeout_ms`: the peer closes when it hears nothing for so long; call `conn.heartbeat` in time.
    """

    container_id: str
    hostname: str | None
    idle_timeout_ms: int | None
    max_frame_size: int
    channel_max: int
    properties: Mapping[Any, Any]
    sasl_mechanism: str | None


@dataclass(frozen=True, slots=True)
class SessionBegun:
    """A session is mapped: one that the peer began, or our own that it answered."""

    session: Session


@dataclass(frozen=True, slots=True)
class LinkAttached:
    """The peer attaches a link; answer with `link.accept` or `link.refuse`."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkConfirmed:
    """The peer answered our own attach. A refusal has no terminus of its side, and LinkDetached follows."""

    link: Link


@dataclass(frozen=True, slots=True)
class CreditGranted:
    """The receiver updated our sender's credit (messages). On `drain`: send what is there, then `drained`."""

    link: SenderLink
    credit: int
    drain: bool


@dataclass(frozen=True, slots=True)
class LinkDrained:
    """The sender has used up or given back the credit after our `drain`."""

    link: ReceiverLink


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole delivery; where not `settled`, answer with `link.settle(delivery_id, ...)`."""

    link: ReceiverLink
    delivery_id: int
    delivery_tag: bytes
    payload: bytes
    message_format: int
    settled: bool


@dataclass(frozen=True, slots=True)
class DeliverySettled:
    """The receiver told the state of a message of ours. Not `settled`: it may still change."""

    link: SenderLink
    delivery_id: int
    delivery_tag: bytes
    state: Any
    settled: bool


@dataclass(frozen=True, slots=True)
class LinkDetached:
    """A link is gone: the peer detached it (answered already), confirmed ours, or what held it ended."""

    link: Link
    closed: bool
    error: Error | None


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is gone, `error` is what either side gave as the reason."""

    session: Session
    error: Error | None


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The connection is closed: write what `data_to_send` gives, then close the socket."""

    error: Error | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An empty frame: the peer lives."""


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the protocol: write what `data_to_send` gives, then close the socket."""

    condition: Symbol
    reason: str


Event: TypeAlias = (
    SaslMechanisms
    | SaslInit
    | SaslChallenge
    | SaslResponse
    | SaslOutcome
    | ConnectionOpened
    | SessionBegun
    | LinkAttached
    | LinkConfirmed
    | CreditGranted
    | LinkDrained
    | MessageReceived
    | DeliverySettled
    | LinkDetached
    | SessionEnded
    | ConnectionClosed
    | Heartbeat
    | Violation
)
