"""The composite types of AMQP 1.0 as frozen dataclasses: performatives, termini, outcomes, SASL frames.

Part 2, section 2.7; part 3, sections 3.2, 3.4 and 3.5; part 5, section 5.3.3. How they are written and read
is in composite.py, whose table has a row for each class here. Sizes are bytes, times milliseconds, ids serial
numbers of 32 bits. Defaults are the specification's.

Left out: transactions (part 4); their states and targets come through as `Described`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.wire.amqp.types import Symbol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.wire.amqp.types import Described

UINT_MAX: Final = 0xFFFFFFFF
DELIVERY_TAG_LIMIT: Final = 32  # bytes of a delivery tag (2.8.7)


@dataclass(frozen=True, slots=True)
class Error:
    """Why something was closed or rejected (2.8.14)."""

    condition: str
    description: str | None = None
    info: Mapping[Any, Any] | None = None


# Delivery states and outcomes (3.4)


@dataclass(frozen=True, slots=True)
class Received:
    """How far a delivery has come; not terminal (3.4.1)."""

    section_number: int
    section_offset: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver has taken the message over (3.4.2)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The message is invalid and will not be taken (3.4.3)."""

    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The message was not processed and may be delivered again (3.4.4)."""


@dataclass(frozen=True, slots=True)
class Modified:
    """The message was not processed and may be delivered again, changed (3.4.5)."""

    delivery_failed: bool | None = None
    undeliverable_here: bool | None = None
    message_annotations: Mapping[Any, Any] | None = None


ACCEPTED: Final = Accepted()
RELEASED: Final = Released()


# Termini (3.5)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a link takes messages from (3.5.3). `filter` maps names to described values."""

    address: Any = None
    durable: int = 0
    expiry_policy: str = Symbol("session-end")
    timeout: int = 0
    dynamic: bool = False
    dynamic_node_properties: Mapping[Any, Any] | None = None
    distribution_mode: str | None = None
    filter: Mapping[Any, Any] | None = None
    default_outcome: Any = None
    outcomes: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link puts messages (3.5.4)."""

    address: Any = None
    durable: int = 0
    expiry_policy: str = Symbol("session-end")
    timeout: int = 0
    dynamic: bool = False
    dynamic_node_properties: Mapping[Any, Any] | None = None
    capabilities: tuple[str, ...] | None = None


# Performatives (2.7)


@dataclass(frozen=True, slots=True)
class Open:
    """Negotiate the connection (2.7.1)."""

    container_id: str
    hostname: str | None = None
    max_frame_size: int = UINT_MAX
    channel_max: int = 65535
    idle_time_out: int | None = None
    outgoing_locales: tuple[str, ...] | None = None
    incoming_locales: tuple[str, ...] | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a session on a channel (2.7.2); `remote_channel` is set in the answer to a peer's Begin."""

    remote_channel: int | None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int = UINT_MAX
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """Attach a link to a session (2.7.3). `role` is that of who sends it: True is receiver."""

    name: str
    handle: int
    role: bool
    snd_settle_mode: int = 2
    rcv_settle_mode: int = 0
    source: Source | Described | None = None
    target: Target | Described | None = None
    unsettled: Mapping[Any, Any] | None = None
    incomplete_unsettled: bool = False
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: tuple[str, ...] | None = None
    desired_capabilities: tuple[str, ...] | None = None
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Update the state of a session, and of a link where `handle` is set (2.7.4)."""

    next_incoming_id: int | None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool = False
    echo: bool = False
    properties: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A message or a part of one; the payload follows in the frame (2.7.5)."""

    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool = False
    rcv_settle_mode: int | None = None
    state: Any = None
    resume: bool = False
    aborted: bool = False
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class Disposition:
    """The state of deliveries `first` to `last` (2.7.6). `role` True: of those that its sender received."""

    role: bool
    first: int
    last: int | None = None
    settled: bool = False
    state: Any = None
    batchable: bool = False


@dataclass(frozen=True, slots=True)
class Detach:
    """Detach a link, for good where `closed` (2.7.7)."""

    handle: int
    closed: bool = False
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class End:
    """End the session (2.7.8)."""

    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection (2.7.9)."""

    error: Error | None = None


# SASL (part 5, 5.3.3)


@dataclass(frozen=True, slots=True)
class SaslMechanismsFrame:
    """The mechanisms that the server offers (5.3.3.1)."""

    sasl_server_mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaslInitFrame:
    """The mechanism that the client chose (5.3.3.2)."""

    mechanism: str
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class SaslChallengeFrame:
    """A challenge of the server (5.3.3.3)."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class SaslResponseFrame:
    """The client's answer to a challenge (5.3.3.4)."""

    response: bytes


@dataclass(frozen=True, slots=True)
class SaslOutcomeFrame:
    """How it went (5.3.3.5); the codes are those of 5.3.3.6, 0 is success."""

    code: int
    additional_data: bytes | None = None


# Message sections that are lists (3.2.1, 3.2.4)


@dataclass(frozen=True, slots=True)
class Header:
    """Transport details of a message (3.2.1); `ttl` in milliseconds."""

    durable: bool = False
    priority: int = 4
    ttl: int | None = None
    first_acquirer: bool = False
    delivery_count: int = 0


@dataclass(frozen=True, slots=True)
class Properties:
    """The standard properties of a message (3.2.4). Times are milliseconds since 1970.

    Ids are str, bytes, uuid.UUID or ULong (a plain int is written as ulong).
    """

    message_id: Any = None
    user_id: bytes | None = None
    to: Any = None
    subject: str | None = None
    reply_to: Any = None
    correlation_id: Any = None
    content_type: str | None = None
    content_encoding: str | None = None
    absolute_expiry_time: int | None = None
    creation_time: int | None = None
    group_id: str | None = None
    group_sequence: int | None = None
    reply_to_group_id: str | None = None
