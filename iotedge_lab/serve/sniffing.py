"""Which protocol a connection speaks, by its first bytes, and what a handler is told about it.

    0x16      TLS record, handshake (RFC 8446, section 5.1)
    "AMQP"    AMQP 1.0 protocol header, with SASL and TLS ids alike (part 2, section 2.2)
    0x10      MQTT CONNECT (3.1.1, section 3.1.1)
    A-Z a-z   an HTTP/1.1 method (RFC 9112, section 3.1); WebSocket begins as one

Left out: HTTP/2 by prior knowledge reads as HTTP ("PRI") and is the HTTP handler's to refuse.
"""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    import ssl

#: The first byte of every TLS connection: record type "handshake".
TLS_HANDSHAKE: Final = 0x16
_MQTT_CONNECT: Final = 0x10
_AMQP: Final = b"AMQP"


class Kind(enum.Enum):
    """What the first bytes say."""

    AMQP = "amqp"
    MQTT = "mqtt"
    HTTP = "http"
    UNDECIDED = "undecided"  # the start of "AMQP", or of an HTTP method that begins like it
    UNKNOWN = "unknown"  # none of these: the connection is closed


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What is known of a connection when it is handed to its handler.

    `peer` and `local` are (address, port). `client_certificate` is DER, or None if the client sent none (or
    was not asked: `Authority.server_context`). `server_name` is the TLS server name indication, as sent.
    `client_chain` is that certificate and the issuers that the client sent with it, nothing of it checked.
    """

    peer: tuple[str, int]
    local: tuple[str, int]
    tls: bool
    client_certificate: bytes | None = None
    server_name: str | None = None
    client_chain: tuple[bytes, ...] = ()


#: Makes the protocol for one connection. The listener gives it the transport by `connection_made`, then the
#: bytes that were read for sniffing by `data_received`; from there on the two are alone with each other, and
#: `pause_writing`, `resume_writing`, `eof_received` and `connection_lost` come straight from the transport.
Handler = Callable[[ConnectionInfo], "asyncio.Protocol"]


@dataclass(frozen=True, slots=True)
class Handlers:
    """Who serves which protocol; a connection that speaks one with None is closed.

    aiohttp: `http=lambda info: runner.server()`, where `runner` is an `AppRunner` after `setup()`.
    """

    amqp: Handler | None = None
    mqtt: Handler | None = None
    http: Handler | None = None

    def of(self, kind: Kind) -> Handler | None:
        """The handler for `kind`, if there is one."""
        if kind is Kind.MQTT:
            return self.mqtt
        if kind is Kind.AMQP:
            return self.amqp
        return self.http if kind is Kind.HTTP else None


def sniff(start: bytes) -> Kind:
    """What `start`, the first bytes in clear text (one at least), begins."""
    first = start[0]
    if first == _MQTT_CONNECT:
        return Kind.MQTT
    if start.startswith(_AMQP):
        return Kind.AMQP
    if _AMQP.startswith(start):
        return Kind.UNDECIDED
    return Kind.HTTP if start[:1].isalpha() else Kind.UNKNOWN


class ServerNames:
    """Remembers which server name each TLS client asked for: the `ssl` module tells it only in a callback."""

    def __init__(self, before: Callable[..., int | None] | None) -> None:
        self._before = before
        self._names: weakref.WeakKeyDictionary[ssl.SSLObject, str] = weakref.WeakKeyDictionary()

    @classmethod
    def on(cls, context: ssl.SSLContext) -> ServerNames:
        """The one of `context`, set if there is none yet; a callback set before still decides."""
        present = context.sni_callback
        if isinstance(present, cls):
            return present
        made = cls(present)
        context.sni_callback = made
        return made

    def __call__(self, tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        """Called by OpenSSL with the client's first message; None lets the handshake go on."""
        if name:
            self._names[tls] = name
        return self._before(tls, name, context) if self._before is not None else None

    def pop(self, tls: ssl.SSLObject) -> str | None:
        """The name, once."""
        return self._names.pop(tls, None)
