"""One car of a fleet: an identity, a drive, a session, and the connections that it takes.

A row that is due is sent if the car has a connection and not too much is in flight; else the drive waits at
this row, so that none is skipped. What was not acknowledged when a connection broke is sent again on the
next, with DUP and in order, and the hub keeps it once (MQTT 3.1.1, 4.4).

IoT Hub: "Control access by shared access signatures": a token ends, and over MQTT it is renewed by
connecting again.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.fleet.status import CarSummary
from iotedge_lab.serve.mqtt_link import MqttLink, Refused, in_words
from iotedge_lab.wire import sas
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.packets import Event, PubAcks, Publish, PublishRun
from iotedge_lab.wire.topics import username

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.clock import Clock
    from iotedge_lab.fleet.latency import Latencies
    from iotedge_lab.fleet.plan import Login, Plan
    from iotedge_lab.fleet.replay import Trip

KEEP_ALIVE: Final = 60  # s, as the SDKs have it
_PING_AFTER: Final = 30.0  # s of writing nothing
_SILENCE: Final = 30.0  # s without a word from a hub that owes one
_CONNECT_SECONDS: Final = 15.0  # from the first packet to CONNACK
_SHUTDOWN_SECONDS: Final = 2.0  # for the end of TLS
_FIRST_DELAY: Final = 0.25  # s before a lost connection is made again; doubles up to
_LONGEST_DELAY: Final = 3.0
_REFUSED_DELAY: Final = 15.0
_STEADY: Final = 5.0  # s that a connection must hold for the delay to begin anew
_RENEWAL: Final = (
    0.75,
    0.15,
)  # share of a token's life after which it is renewed, and by how much cars differ
_DRAIN_SECONDS: Final = 3.0  # for what is in flight before a renewal


@dataclass(frozen=True, slots=True)
class Way:
    """How a process's cars reach the hub. `hostname` goes into tokens and user names, as the SDKs have it."""

    hostname: str
    port: int
    context: ssl.SSLContext
    gate: asyncio.Semaphore
    clock: Clock
    latencies: Latencies


class Car:
    """A simulated car. `messages` gives topic and body of one row after another, without end."""

    def __init__(
        self, login: Login, trip: Trip, messages: Iterator[tuple[bytes, bytes]], plan: Plan, way: Way
    ) -> None:
        self._login = login
        self._trip = trip
        self._messages = messages
        self._way = way
        self._token_seconds = plan.token_seconds
        self._most = plan.most_in_flight
        self._client = MqttClient(
            login.device,
            username(way.hostname, login.device, client_type="iotedge-lab-fleet"),
            clean_session=False,
            keep_alive=KEEP_ALIVE,
        )
        self._link: MqttLink | None = None
        self._sent_at: dict[int, float] = {}  # packet id to the time of its first write
        self._renew_at = self._renewing_since = 0.0
        self._renewed = False
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self.tried = asyncio.Event()
        """set after the first attempt to connect, however it went"""
        self.sent = self.acknowledged = self.held = 0
        self.connections = self.renewals = 0
        self.refusal = ""
        """why the hub does not let it in, '' where it does"""
        self.trouble = ""
        """why it has no connection, '' where it has one"""

    def __repr__(self) -> str:
        return f"<Car {self._login.device!r} on {self._trip.drive}, {self.sent:,} sent>"

    @property
    def connected(self) -> bool:
        """Whether the hub has let it in, and it is still there."""
        return self._link is not None

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self._sent_at)

    @property
    def reconnects(self) -> int:
        """Connections made again after one was lost."""
        return max(0, self.connections - 1 - self.renewals)

    def summary(self) -> CarSummary:
        """What became of it."""
        return CarSummary(
            self._login.device,
            self._trip.drive,
            self._trip.offset,
            self.sent,
            self.acknowledged,
            self.refusal,
            self.trouble,
        )

    # -- driving ---------------------------------------------------------------------------------------

    def beat(self) -> None:
        """The next row is due: send it, or hold it."""
        link = self._link
        if link is None or link.full or self._renewing_since or len(self._sent_at) >= self._most:
            self.held += 1
            return
        topic, body = next(self._messages)
        packet_id, data = self._client.publish(topic, body)
        self._sent_at[packet_id] = self._way.clock.monotonic()
        self.sent += 1
        link.write(data)

    def _received(self, link: MqttLink, event: Event, now: float) -> None:
        match event:
            case PubAcks():
                self._acknowledged(event.packet_ids, now)
            case PublishRun():  # for subscriptions that another client of this device has left behind
                link.write(event.acks)
            case Publish():
                if event.qos == 1:
                    link.write(encode_puback(event.packet_id))
            case _:  # CONNACK is awaited; PINGRESP: being heard is all that it is for
                pass

    def _acknowledged(self, packet_ids: tuple[int, ...], now: float) -> None:
        for packet_id in packet_ids:
            began = self._sent_at.pop(packet_id, None)
            if began is not None:
                self.acknowledged += 1
                self._way.latencies.add(now - began)
        if not self._sent_at:
            self._idle.set()

    async def drained(self) -> None:
        """Until all that is in flight is acknowledged, or the connection is lost."""
        self._idle.clear()
        if self._sent_at and self._link is not None:
            await self._idle.wait()

    def tick(self) -> None:
        """Now and then: the keep-alive, a hub that has fallen silent, and the token's end."""
        link = self._link
        if link is None:
            return
        now = self._way.clock.monotonic()
        if now >= self._renew_at or self._renewing_since:
            self._renew(link, now)
        elif now - link.heard > _SILENCE and (self._sent_at or link.wrote > link.heard):
            link.drop(f"nothing was heard from the hub for {_SILENCE:g} s")
        elif now - link.wrote > _PING_AFTER:
            link.write(self._client.ping())

    def _renew(self, link: MqttLink, now: float) -> None:
        """Send no more; when all is acknowledged, leave, to come again with a new token.

        After a DISCONNECT the hub no longer knows a message that is sent again, so with something in flight
        the connection is dropped without one.
        """
        self._renewing_since = self._renewing_since or now
        if not self._sent_at:
            self._renewed = True
            link.leave()
        elif now - self._renewing_since > _DRAIN_SECONDS:
            self._renewed = True
            link.drop("its token was due for renewal")

    # -- connecting ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until `leave`."""
        delay = _FIRST_DELAY
        while not self._ending.is_set():
            pause = delay * (0.5 + 0.5 * self._chance())
            try:
                link = await self._connect()
            except Refused as error:
                self.refusal = self.trouble = str(error)
                pause = _REFUSED_DELAY * (0.5 + 0.5 * self._chance())
            except ssl.SSLCertVerificationError as error:
                self.refusal = self.trouble = (
                    f"the hub's certificate is not trusted ({error.verify_message}); 'iotedge-lab doctor' says more"
                )
                pause = _REFUSED_DELAY
            except OSError as error:  # TimeoutError, ConnectionError, ssl.SSLError and name errors are ones
                if not self._ending.is_set():
                    self.trouble = in_words(error)
                delay = min(delay * 2, _LONGEST_DELAY)
            else:
                began = self._way.clock.monotonic()
                self.tried.set()
                if self._ending.is_set():  # told to leave while it was let in
                    link.leave()
                await link.ended
                self._link = None
                self._idle.set()
                if not self._ending.is_set():
                    self.trouble = link.fault or "the hub closed the connection"
                if self._renewed:
                    self._renewed, self._renewing_since = False, 0.0
                    self.renewals += 1
                    continue
                self._renewing_since = 0.0
                if self._way.clock.monotonic() - began >= _STEADY:
                    delay = _FIRST_DELAY
                else:  # two that share an identity throw each other out: not for ever at full speed
                    delay = min(delay * 2, _LONGEST_DELAY)
            self.tried.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)

    async def _connect(self) -> MqttLink:
        """A link that the hub has admitted. Raises Refused, OSError."""
        way = self._way
        loop = asyncio.get_running_loop()
        link = MqttLink(self._client, way.clock, lambda event, now: self._received(link, event, now))
        async with way.gate:
            if self._ending.is_set():
                raise ConnectionError("the fleet has ended")
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await loop.create_connection(
                        lambda: link,
                        way.hostname,
                        way.port,
                        ssl=way.context,
                        ssl_handshake_timeout=_CONNECT_SECONDS,
                        ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
                    )
                    link.write(self._client.connect(self._token()))
                    await link.admitted
            except BaseException:
                link.drop("it was not admitted")
                raise
        link.write(self._client.resend())
        first, spread = _RENEWAL
        self._renew_at = way.clock.monotonic() + self._token_seconds * (first + spread * self._chance())
        self.refusal = self.trouble = ""
        self.connections += 1
        self._link = link
        return link

    def _token(self) -> str:
        resource = f"{self._way.hostname}/devices/{self._login.device}"
        return sas.build(resource, self._login.key, math.ceil(self._way.clock.now() + self._token_seconds))

    def _chance(self) -> float:
        return int.from_bytes(self._way.clock.token(4), "big") / 2**32

    def leave(self) -> None:
        """End for good: DISCONNECT where there is a connection. `run` returns soon after."""
        self._ending.set()
        if self._link is not None:
            self._link.leave()

    def cut(self) -> None:
        """End at once: a hub that does not close its side is not waited for."""
        self._ending.set()
        if self._link is not None:
            self._link.drop("the fleet has ended")
