"""The fourteen control packets of MQTT 3.1.1, as values.

Spec: OASIS "MQTT Version 3.1.1", 29 October 2014; section numbers and [MQTT-x.y.z-n] labels are its own.

Beside the packets stand four things that a reader may hand out in their place:

- `PublishRun`: many QoS 1 PUBLISHes that came one after another, kept as the bytes that they were.
- `PubAcks`: many PUBACKs that came one after another.
- `ConnectRefused`: a CONNECT that is well formed and must be answered with a refusing CONNACK.
- `Violation`: the peer broke the spec; its connection is to be closed without an answer.

Leaves out: MQTT 5 (its CONNECT is a `ConnectRefused`) and MQTT 3.1, whose protocol name is "MQIsdp".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

SPEC = "MQTT 3.1.1"

MAX_REMAINING_LENGTH = 268_435_455  # four length bytes of seven bits each, section 2.2.3
MAX_PACKET_ID = 65_535


class PacketType(IntEnum):
    """The upper four bits of a packet's first byte, section 2.2.1. 0 and 15 are reserved."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ConnackCode(IntEnum):
    """What a CONNACK says, section 3.2.2.3."""

    ACCEPTED = 0
    """The connection is open."""
    UNACCEPTABLE_PROTOCOL = 1
    """The protocol level is not 4 (an MQTT 5 or bridge client)."""
    IDENTIFIER_REJECTED = 2
    """The client id is correct UTF-8 and still not allowed, such as an empty one that wants a session."""
    SERVER_UNAVAILABLE = 3
    """The connection works and the service does not; come again later."""
    BAD_USERNAME_OR_PASSWORD = 4
    """User name or password are malformed."""
    NOT_AUTHORIZED = 5
    """Well formed and refused: the device SDK turns this one into a CredentialError."""


SUBSCRIBE_FAILED = 0x80
"""The return code in a SUBACK for a filter that was not granted, section 3.9.3."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes when the client goes without DISCONNECT, section 3.1.2.5."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """Section 3.1. `keep_alive` is in seconds, 0 for none; the password never shows in a repr."""

    client_id: str
    clean_session: bool = True
    keep_alive: int = 60
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None


@dataclass(frozen=True, slots=True)
class ConnAck:
    """Section 3.2."""

    code: ConnackCode = ConnackCode.ACCEPTED
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Section 3.3. `packet_id` is 0 at QoS 0, where the packet carries none."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class PublishRun:
    """Consecutive PUBLISHes with QoS 1, DUP 0, RETAIN 0: one value for as many as came in one read.

    `raw` is their bytes as they came; `iter_publishes` reads them again. `acks` is the PUBACK for each, in
    order, ready to be written once the messages are safe. `topics` has the topic wherever it differs from the
    one before, so that a check of rights looks at each topic once. `largest` is the greatest Remaining
    Length among them, in bytes: above every payload by the topic and four bytes.
    """

    raw: bytes = field(repr=False)
    count: int
    acks: bytes = field(repr=False)
    topics: tuple[bytes, ...]
    largest: int


@dataclass(frozen=True, slots=True)
class PubAck:
    """Section 3.4: the answer to a PUBLISH of QoS 1."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PubAcks:
    """Consecutive PUBACKs, in the order in which they came."""

    packet_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PubRec:
    """Section 3.5: QoS 2, received."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PubRel:
    """Section 3.6: QoS 2, released."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PubComp:
    """Section 3.7: QoS 2, complete."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Section 3.8. `filters` are pairs of topic filter and requested QoS, at least one."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SubAck:
    """Section 3.9. One code a filter: the granted QoS, or `SUBSCRIBE_FAILED`."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Section 3.10. At least one filter."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """Section 3.11."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PingReq:
    """Section 3.12."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """Section 3.13."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Section 3.14: the client leaves on purpose, and its will with it."""


@dataclass(frozen=True, slots=True)
class ConnectRefused:
    """A CONNECT that must be answered with CONNACK `code` and a closed connection; nothing follows it."""

    code: ConnackCode
    reason: str
    spec: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the spec in the section named; close its connection. Nothing follows it."""

    reason: str
    spec: str


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
)
"""One control packet, as `encode` takes it."""

Event = Packet | PublishRun | PubAcks | ConnectRefused | Violation
"""Whatever a reader, a server or a client hands out."""
