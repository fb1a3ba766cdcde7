"""One connection of one car: the bytes between its MQTT session and a socket.

A link belongs to one connection and dies with it; the car and its session (`car.Car`, `MqttClient`) go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from iotedge_lab.errors import LabError
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.packets import (
    ConnAck,
    ConnackCode,
    PubAcks,
    Publish,
    PublishRun,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.wire.mqtt.client import MqttClient


class Refused(LabError):
    """The hub answered CONNECT with a code that says no. The message says why, as far as a hub tells."""


_REASONS = {
    ConnackCode.UNACCEPTABLE_PROTOCOL: "the hub does not speak MQTT 3.1.1",
    ConnackCode.IDENTIFIER_REJECTED: "the hub rejects the device id",
    ConnackCode.BAD_USERNAME_OR_PASSWORD: "user name or token are malformed",
    ConnackCode.NOT_AUTHORIZED: (
        "not authorised: its key is another one, or the device is disabled or deleted at the hub"
    ),
}


class Link(asyncio.Protocol):
    """A connection. `admitted` is done when the hub has said yes (or fails with why not), `ended` at its end.

    `acknowledged` is called with packet ids and the monotonic time at which they came.
    """

    def __init__(
        self, client: MqttClient, clock: Clock, acknowledged: Callable[[tuple[int, ...], float], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._clock = clock
        self._acknowledged = acknowledged
        self._transport: asyncio.Transport | None = None
        self.admitted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.full = False
        """whether the socket takes no more for now"""
        self.wrote = self.heard = clock.monotonic()
        self._left = False
        self.fault = ""
        """why it was given up, where that was this side's doing"""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is agreed on."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes from the hub."""
        now = self.heard = self._clock.monotonic()
        for event in self._client.receive(data):
            match event:
                case PubAcks():
                    self._acknowledged(event.packet_ids, now)
                case ConnAck():
                    self._answered(event)
                case PublishRun():  # for subscriptions that another client of this device has left behind
                    self.write(event.acks)
                case Publish():
                    if event.qos == 1:
                        self.write(encode_puback(event.packet_id))
                case Violation():
                    self.drop(f"the hub broke MQTT: {event.reason} [{event.spec}]")
                case _:  # PINGRESP: being heard is all that it is for
                    pass

    def _answered(self, answer: ConnAck) -> None:
        if self.admitted.done():
            return
        if answer.code is ConnackCode.ACCEPTED:
            self.admitted.set_result(None)
        elif answer.code is ConnackCode.SERVER_UNAVAILABLE:
            self.admitted.set_exception(ConnectionError("the hub is not available now"))
        else:
            self.admitted.set_exception(Refused(_REASONS[answer.code]))

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        if not self.admitted.done():
            reason = self.fault or (str(error) if error else "the hub closed the connection")
            self.admitted.set_exception(ConnectionError(reason))
            self.admitted.exception()  # whoever waited for it may be gone
        if not self.ended.done():
            self.ended.set_result(None)

    def pause_writing(self) -> None:
        """The hub does not read."""
        self.full = True

    def resume_writing(self) -> None:
        """It reads again."""
        self.full = False

    def write(self, data: bytes) -> None:
        """To the hub, unless the connection has ended."""
        if self._transport is not None and data and not self._left:
            self._transport.write(data)
            self.wrote = self._clock.monotonic()

    def leave(self) -> None:
        """DISCONNECT, and close; a second call does nothing."""
        if self._transport is not None and not self._left:
            self._left = True
            self._transport.write(self._client.disconnect())
            self._transport.close()

    def drop(self, reason: str) -> None:
        """Give the connection up at once, without a word: to the hub, the session goes on."""
        self.fault = self.fault or reason
        if self._transport is not None:
            self._transport.abort()
