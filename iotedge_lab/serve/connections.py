"""The two states of an accepted connection: pending, until a handler has it, and open from then on.

What a listener needs to remember of each, and no more: with a thousand devices connected every byte counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Pending(asyncio.Protocol):
    """A connection that no handler has yet, and the protocol of its transport for that while.

    `peer` is (address, port), `since` when it was accepted (loop time, s). `received` is called with it when
    bytes in clear text have come, which `start` holds from the first on; `lost` when it ended meanwhile, with
    the reason if there is one.
    `ended` says that the listener is done with it: handed over or closed.
    """

    __slots__ = (
        "ended",
        "lost",
        "peer",
        "received",
        "since",
        "sock",
        "start",
        "started",
        "task",
        "tls",
        "transport",
        "watched",
    )

    def __init__(
        self,
        sock: socket.socket,
        peer: tuple[str, int],
        since: float,
        received: Callable[[Pending], None],
        lost: Callable[[Pending, Exception | None], None],
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.since = since
        self.received = received
        self.lost = lost
        self.start = b""
        self.tls = False
        self.watched = False  # the loop waits for its first byte
        self.started = False  # `task` runs: the socket belongs to a transport
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """In clear text at once, under TLS after the handshake."""
        self.transport = cast("asyncio.Transport", transport)
        if self.ended:  # dropped while the loop was making the transport
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Gather the start, a few bytes at most: the listener decides at each step."""
        self.start += data
        self.received(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer left, or the transport was closed by us."""
        self.lost(self, exc)


class OpenConnections:
    """What was handed over and is not closed yet, kept without keeping it alive.

    The loop keeps a transport and its socket as long as the connection lives, then closes the socket.
    """

    def __init__(self) -> None:
        self._transports: weakref.WeakKeyDictionary[socket.socket, Callable[[], asyncio.Transport | None]]
        self._transports = weakref.WeakKeyDictionary()

    def add(self, sock: socket.socket, transport: asyncio.Transport) -> None:
        """Remember the transport that was made of `sock`."""
        try:
            self._transports[sock] = weakref.ref(transport)
        except TypeError:
            # uvloop's TLS transport cannot be referred to weakly; it lets go of its socket at the end (that
            # of asyncio does not), and the entry goes with the socket.
            self._transports[sock] = lambda: transport

    def __len__(self) -> int:
        return sum(sock.fileno() != -1 for sock in self._transports)

    def abort(self) -> None:
        """Cut them all."""
        for refer in list(self._transports.values()):
            transport = refer()
            if transport is not None:
                with contextlib.suppress(
                    AttributeError
                ):  # asyncio's to Python 3.11.2, where it has ended already
                    transport.abort()
