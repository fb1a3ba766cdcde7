"""One connection of an MQTT client: the bytes between its session and a socket.

Shared by the fleet's cars and the edge runtime's upstream. A link belongs to one connection and dies with it;
the session (`wire.mqtt.client.MqttClient`) and whoever owns it go on.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Final, cast

from iotedge_lab.errors import LabError
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, Event, Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.wire.mqtt.client import MqttClient

_SOON: Final = 64 * 1024  # bytes that are gathered in one turn of the loop before they are written


class Refused(LabError):
    """The server answered CONNECT with a code that says no. The message says why, as far as a hub tells."""

    def __init__(self, code: ConnackCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


_REASONS: Final = {
    ConnackCode.UNACCEPTABLE_PROTOCOL: "the hub does not speak MQTT 3.1.1",
    ConnackCode.IDENTIFIER_REJECTED: "the hub rejects the device id",
    ConnackCode.BAD_USERNAME_OR_PASSWORD: "user name or token are malformed",
    ConnackCode.NOT_AUTHORIZED: (
        "not authorised: its key is another one, or the device is disabled or deleted at the hub"
    ),
}


def in_words(error: OSError) -> str:
    """Why a connection could not be made, in a few words without addresses, so that many clients say the same."""
    if isinstance(error, TimeoutError):
        return "the hub does not answer"
    if isinstance(error, socket.gaierror):
        return "the hub's name is not found"
    if isinstance(error, ConnectionRefusedError) or "onnect call failed" in str(error):
        return "no hub listens there (connection refused)"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "no more files may be opened; raise the limit with 'ulimit -n'"
    return error.strerror or str(error) or type(error).__name__


class MqttLink(asyncio.Protocol):
    """A connection. `admitted` is done when the hub has said yes (or fails with why not), `ended` at its end.

    `received` is called with each event that the server sends from its accepting CONNACK on, and with the monotonic
    time at which it came; `resumed` when a socket that was `full` takes data again.
    """

    def __init__(
        self,
        client: MqttClient,
        clock: Clock,
        received: Callable[[Event, float], None],
        resumed: Callable[[], None] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._client = client
        self._clock = clock
        self._received = received
        self._resumed = resumed
        self._transport: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self.admitted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.full = False
        """whether the socket takes no more for now"""
        self.wrote = self.heard = clock.monotonic()
        self._left = False
        self.fault = ""
        """why it was given up, where that was this side's doing"""

    @property
    def over(self) -> bool:
        """Whether nothing can be written any more: it has ended, or is about to."""
        return self._left or bool(self.fault) or self.ended.done()

    # -- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is agreed on."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the hub."""
        if self.fault:  # given up: its session may be on another connection already
            return
        now = self.heard = self._clock.monotonic()
        for event in self._client.receive(data):
            match event:
                case ConnAck():
                    self._answered(event, now)
                case Violation():
                    self.drop(f"the hub broke MQTT: {event.reason} [{event.spec}]")
                case _:
                    self._received(event, now)

    def _answered(self, answer: ConnAck, now: float) -> None:
        if self.admitted.done():
            return
        if answer.code is ConnackCode.ACCEPTED:
            self.admitted.set_result(None)
            self._received(answer, now)
        elif answer.code is ConnackCode.SERVER_UNAVAILABLE:
            self._not_admitted(ConnectionError("the hub is not available now"))
        else:
            self._not_admitted(Refused(answer.code, _REASONS[answer.code]))

    def _not_admitted(self, error: Exception) -> None:
        self.admitted.set_exception(error)
        self.admitted.exception()  # whoever waited for it may be gone

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self._gathered.clear()
        if not self.admitted.done():
            reason = self.fault or (str(error) if error else "the hub closed the connection")
            self._not_admitted(ConnectionError(reason))
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        """The hub does not read."""
        self.full = True

    def resume_writing(self) -> None:
        """It reads again."""
        self.full = False
        if self._resumed is not None:
            self._resumed()

    # -- writing ---------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """To the hub, unless the connection has ended."""
        if self._gathered:
            self._flush()
        self._write(data)

    def write_soon(self, data: bytes) -> None:
        """`write` at the end of this turn of the loop, with all else that is given meanwhile, in its order.

        Many small messages so become few TLS records and few calls of the kernel.
        """
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size >= _SOON:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_size = 0
        self._write(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data and not self._left:
            self._transport.write(data)
            self.wrote = self._clock.monotonic()

    # -- ending ----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """DISCONNECT, and close; a second call does nothing."""
        if self._transport is not None and not self._left:
            self._flush()
            self._left = True
            self._transport.write(self._client.disconnect())
            self._transport.close()

    def drop(self, reason: str) -> None:
        """Give the connection up at once, without a word: to the hub, the session goes on."""
        self.fault = self.fault or reason
        if self._transport is not None:
            self._transport.abort()
