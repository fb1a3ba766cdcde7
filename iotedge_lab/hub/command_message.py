"""A cloud-to-device message: what a service may ask for, and what is delivered.

Stands for "Create and read IoT Hub messages" (learn.microsoft.com, IoT Hub, iot-hub-devguide-messages-construct:
system properties of C2D messages, message size) and "Understand cloud-to-device messaging"
(iot-hub-devguide-messages-c2d: iothub-ack, expiry). Knows no protocol: the fronts make a `Draft`, `Draft.check`
holds the rules that are the same for each.

The documents allow in names *and* values of properties only letters, digits and a few signs. Names are held to
that here (they become HTTP headers); values may be any printable text, as the service takes them too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import ArgumentInvalid, MessageTooLarge
from iotedge_lab.hub.identities import iso
from iotedge_lab.wire.topics import cloud_message_topic

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_LIMIT: Final = 64 * 1024
ACK_PROPERTY: Final = "iothub-ack"
TOPIC_LIMIT: Final = 65_535  # MQTT 3.1.1, 1.5.3
MESSAGE_ID_LIMIT: Final = 128
SYSTEM_NAMES: Final = ("message-id", "correlation-id", "user-id", "content-type", "content-encoding")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']*")
_PROPERTY_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_EARLIEST_EXPIRY_MS = 100_000_000_000  # March 1973: what lies before was meant in seconds


class Ack(StrEnum):
    """What feedback the sender asks for (`iothub-ack`)."""

    NONE = "none"
    POSITIVE = "positive"  # when the message is completed
    NEGATIVE = "negative"  # when it expires, is rejected, purged or delivered too often
    FULL = "full"  # both


class Outcome(StrEnum):
    """How a message ended: the statusCode of its feedback."""

    SUCCESS = "Success"
    EXPIRED = "Expired"
    DELIVERY_COUNT_EXCEEDED = "DeliveryCountExceeded"
    REJECTED = "Rejected"
    PURGED = "Purged"


def wants_feedback(ack: Ack, outcome: Outcome) -> bool:
    """Whether a sender that asked for `ack` is told of `outcome`."""
    if ack is Ack.FULL:
        return True
    return ack is (Ack.POSITIVE if outcome is Outcome.SUCCESS else Ack.NEGATIVE)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as the service sends it. `system` is keyed by `SYSTEM_NAMES`; `expiry` in ms since 1970.

    `ack` is the value of the application property `iothub-ack`, None where the sender gave none.
    """

    device: str
    body: bytes
    system: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)
    ack: str | None = None
    expiry: int | None = None

    def check(self) -> None:
        """Raise `ArgumentInvalid` (400004) naming the property, or `MessageTooLarge` (413001)."""
        if self.ack is not None and self.ack not in tuple(Ack):
            raise ArgumentInvalid(f"{ACK_PROPERTY} is {self.ack[:40]!r}; it is one of {', '.join(Ack)}.")
        for name, value in self.system.items():
            _check_text(name, value)
        message_id = self.system.get("message-id", "")
        if len(message_id) > MESSAGE_ID_LIMIT or not _MESSAGE_ID.fullmatch(message_id):
            raise ArgumentInvalid(
                f"message-id is {message_id[:60]!r}; it is a text of at most {MESSAGE_ID_LIMIT} letters, digits "
                "and - : . + % _ # * ? ! ( ) , = @ ; $ '"
            )
        if self.expiry is not None and self.expiry < _EARLIEST_EXPIRY_MS:
            raise ArgumentInvalid(
                f"absolute-expiry-time is {self.expiry} ms since 1970, which is long ago. Give milliseconds, "
                "not seconds: int((time.time() + 60) * 1000)."
            )
        for name, text in self.properties.items():
            _check_name(name)
            if text is not None:
                _check_text(f"property {name!r}", text)
        if self.size > MESSAGE_LIMIT:
            raise MessageTooLarge(
                f"the message has {self.size} bytes (body, system properties, property names and values), and "
                f"{MESSAGE_LIMIT} (64 KB) is the most a cloud-to-device message may have."
            )
        length = len(self.topic())
        if length > TOPIC_LIMIT:
            raise MessageTooLarge(
                f"its properties make an MQTT topic of {length} bytes, and {TOPIC_LIMIT} is the most; put what "
                "is long into the body."
            )

    @property
    def size(self) -> int:
        """Bytes, as IoT Hub measures them: the body, values of system properties, names and values of others."""
        texts = [*self.system.values(), self.ack or ""]
        texts += [text for name, value in self.properties.items() for text in (name, value or "")]
        return len(self.body) + sum(len(text.encode()) for text in texts)

    def topic(self) -> str:
        """Where an MQTT device receives it: every property is in the topic, percent-encoded (so ASCII)."""
        system = dict(self.system)
        if self.expiry is not None:
            system["absolute-expiry-time"] = iso(self.expiry / 1000)
        properties = dict(self.properties)
        if self.ack is not None:
            properties[ACK_PROPERTY] = self.ack
        return cloud_message_topic(self.device, system, properties)


@dataclass(frozen=True, slots=True)
class Command:
    """A message in a device's queue. `enqueued` in ms since 1970; `deliveries`: how many have failed so far.

    `seq` rises with each message of the hub, so also within a device's queue.
    """

    seq: int
    enqueued: int
    deliveries: int
    draft: Draft


def _check_text(name: str, text: str) -> None:
    if not text.isprintable():
        wrong = next(letter for letter in text if not letter.isprintable())
        raise ArgumentInvalid(f"{name} holds the unprintable character {wrong!r}; leave it out.")


def _check_name(name: str) -> None:
    if not _PROPERTY_NAME.fullmatch(name):
        raise ArgumentInvalid(
            f"a property is named {name[:60]!r}; a name is letters, digits and ! # $ % & ' * + - . ^ _ ` | ~"
        )
    if name.startswith("$."):
        raise ArgumentInvalid(f"a property is named {name[:60]!r}; names with '$.' are the hub's own.")
