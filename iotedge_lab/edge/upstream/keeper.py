"""Keeps one identity connected to the hub: connects, waits, connects again, renews the token, notices silence.

Azure: a SAS token ends, and over MQTT it is renewed by connecting again ("Communicate with an IoT hub using the MQTT
protocol"). A DISCONNECT has the hub forget which messages are in flight, so that it could not tell a double; it is
sent only when nothing is, and otherwise the connection is just dropped.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.errors import UpstreamOffline
from iotedge_lab.edge.upstream.dialing import connect
from iotedge_lab.errors import UsageError
from iotedge_lab.serve.mqtt_link import MqttLink, Refused, in_words
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.edge.upstream.patience import Patience
    from iotedge_lab.wire.mqtt.packets import Event

log = logging.getLogger(__name__)

_PACKET_LIMIT: Final = 512 * 1024  # nothing that a hub sends is longer than 256 KB and its topic
_GOODBYE_SECONDS: Final = 5.0  # for the end of a connection that was closed
_OFFLINE: Final = "this edge device is offline on purpose"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a keeper tells the owner of the connection, and asks of it."""

    admitted: Callable[[MqttLink, ConnAck], None]
    """the hub has said yes; what was in flight has been written again"""
    received: Callable[[Event], None]
    """something has come from the hub"""
    resumed: Callable[[], None]
    """a full socket takes data again"""
    lost: Callable[[str], None]
    """the connection has ended, and why"""
    failed: Callable[[], None]
    """an attempt to connect has failed"""
    refused: Callable[[str], None]
    """the hub does not let the identity in, for a reason that was not told before"""
    quiet: Callable[[], bool]
    """whether nothing is under way: a good moment for a new token"""


class Keeper:
    """One session and its connections. `link` is the present one, None while there is none."""

    def __init__(
        self,
        hooks: Hooks,
        cloud: Cloud,
        identity: CloudIdentity,
        clock: Clock,
        *,
        gate: Gate,
        patience: Patience,
        turns: asyncio.Semaphore,
    ) -> None:
        self.identity = identity
        self.cloud = cloud
        self.client = MqttClient(
            identity.name,
            identity.username(cloud.hostname),
            clean_session=False,
            keep_alive=patience.keep_alive,
            max_packet_size=_PACKET_LIMIT,
        )
        self.link: MqttLink | None = None
        self.closing = False
        self.returning = False
        """whether there is no connection only because the token is being renewed"""
        self.refusal = self.trouble = ""
        self.connections = self.renewals = 0
        self._hooks = hooks
        self._clock = clock
        self._gate = gate
        self._patience = patience
        self._turns = turns
        self._task: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._began = 0.0
        self._pinged: float | None = None
        self._renewing: float | None = None  # since when nothing new is taken, for the sake of a new token

    @property
    def connected(self) -> bool:
        """Whether the hub has let it in, and it is still there."""
        return self.link is not None and not self.link.over

    @property
    def why_not(self) -> str:
        """Why there is no connection, '' where there is one."""
        if self.connected:
            return ""
        if self.link is not None and self.link.fault:
            return self.link.fault
        return self.trouble or "it has not connected yet"

    @property
    def pausing(self) -> bool:
        """Whether the token is being renewed: what comes now has better wait for the next connection."""
        return (self.returning or self._renewing is not None) and not self.closing

    @property
    def taking(self) -> MqttLink | None:
        """The connection, if it takes new messages."""
        link = self.link
        if link is None or link.full or self._renewing is not None or self.closing or link.over:
            return None
        return link

    def start(self) -> None:
        """Begin to connect."""
        assert self._task is None, "a link is started once"
        self._task = asyncio.create_task(self._run(), name=f"upstream {self.identity.name}")

    async def close(self, *, at_once: bool) -> None:
        """End for good, with DISCONNECT or `at_once`."""
        self.closing = True
        link = self.link
        if link is not None:
            if at_once:
                link.drop("its link was closed")
            else:
                link.leave()
            await asyncio.wait({link.ended}, timeout=_GOODBYE_SECONDS)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def retry(self) -> None:
        """Connect now, rather than at the end of the present delay."""
        if not self.connected:
            self._nudge.set()

    # -- connecting ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while not self.closing:
            self._nudge.clear()
            closings = self._gate.closings
            try:
                held = await self._one_connection()
            except UpstreamOffline:
                self._failed(_OFFLINE)
                await self._gate.wait_open()
                failures = 0
                continue
            except Refused as error:
                self._turned_away(str(error))
                pause = self._patience.refused(self._chance())
            except ssl.SSLCertVerificationError as error:
                self._turned_away(
                    f"the hub's certificate is not trusted ({error.verify_message}); name the file of its authority "
                    "with SSL_CERT_FILE"
                )
                pause = self._patience.refused(self._chance())
            except OSError as error:  # TimeoutError, ConnectionError, ssl.SSLError and name errors are ones
                failures += 1
                self._failed(in_words(error))
                pause = self._patience.delay(failures, self._chance())
            except Exception:
                log.exception("%s: the connection to %s failed", self.identity.name, self.cloud.hostname)
                failures += 1
                self._failed("a fault of this runtime; its log says more")
                pause = self._patience.delay(failures, self._chance())
            else:
                if self.returning:
                    failures = 0
                    continue
                failures = 1 if held >= self._patience.steady else failures + 1
                pause = self._patience.delay(failures, self._chance())
            await self._rest(pause, closings)

    async def _one_connection(self) -> float:
        """Connect, and stay so; for how many seconds that was.

        Raises UpstreamOffline, Refused, OSError where it did not come to a connection.
        """
        with self._gate.holding(lambda: None):  # a gate is clear once those are told who were cut off
            try:
                async with self._turns:
                    link = await self._gate.run(self._connect())
                with self._gate.holding(lambda: link.drop(_OFFLINE)):
                    while not link.ended.done():
                        await asyncio.wait({link.ended}, timeout=self._patience.tick)
                        if not link.ended.done():
                            self._tick(link)
                return self._clock.monotonic() - self._began
            finally:
                await self._over()

    async def _connect(self) -> MqttLink:
        token = self._token()
        link = MqttLink(
            self.client, self._clock, lambda event, _: self._received(link, event), self._hooks.resumed
        )
        try:
            async with asyncio.timeout(self._patience.connect):
                await connect(self.cloud, lambda: link)
                link.write(self.client.connect(token))
                await link.admitted
        except BaseException:
            link.drop("it was not admitted")
            raise
        return link

    def _token(self) -> str:
        expiry = math.ceil(self._clock.now() + self._patience.token_seconds)
        try:
            return self.identity.token(self.cloud.hostname, expiry)
        except UsageError as error:  # a key that is no base64: the hub would not let it in either
            raise Refused(ConnackCode.NOT_AUTHORIZED, str(error)) from error

    def _received(self, link: MqttLink, event: Event) -> None:
        if isinstance(event, ConnAck):
            self._admitted(link, event)
            return
        self._hooks.received(event)
        if self._renewing is not None:
            self._renew(link)

    def _admitted(self, link: MqttLink, answer: ConnAck) -> None:
        again = " again" if self.connections else ""
        log.info("%s: connected to %s%s", self.identity.name, self.cloud.hostname, again)
        self.link = link
        self.connections += 1
        self.refusal = self.trouble = ""
        self.returning = False
        self._began = self._clock.monotonic()
        self._pinged = self._renewing = None
        link.write(self.client.resend())
        self._hooks.admitted(link, answer)

    async def _over(self) -> None:
        """A connection has ended, or shall; nothing where the hub had not said yes."""
        link = self.link
        if link is None:
            return
        if not link.ended.done():
            link.drop("its link was closed")
            await asyncio.wait({link.ended}, timeout=_GOODBYE_SECONDS)
        self.link = None
        self._renewing = None
        reason = link.fault or "the hub closed the connection"
        if not self._gate.is_open:
            reason = _OFFLINE
        elif self.returning:
            reason = "its token was renewed"
            self.renewals += 1
        elif self.closing:
            reason = "its link was closed"
        self.trouble = reason
        log.info("%s: disconnected from %s: %s", self.identity.name, self.cloud.hostname, reason)
        self._hooks.lost(reason)

    def _failed(self, reason: str) -> None:
        if reason != self.trouble:
            log.info("%s: cannot connect to %s: %s", self.identity.name, self.cloud.hostname, reason)
        self.refusal, self.trouble = "", reason
        self.returning = False
        self._hooks.failed()

    def _turned_away(self, reason: str) -> None:
        known, self.refusal, self.trouble = self.refusal, reason, reason
        self.returning = False
        self._hooks.failed()
        if known != reason:
            log.warning("%s: %s does not let it in: %s", self.identity.name, self.cloud.hostname, reason)
            self._hooks.refused(reason)

    async def _rest(self, seconds: float, closings: int) -> None:
        """Wait; not longer than until somebody asks for a connection, or the gate closes (it will open again)."""
        ends = {
            asyncio.ensure_future(self._nudge.wait()),
            asyncio.ensure_future(self._gate.wait_closing(closings)),
        }
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ends:
                each.cancel()

    def _chance(self) -> float:
        return int.from_bytes(self._clock.token(4), "big") / 2**32

    # -- now and then ----------------------------------------------------------------------------------

    def _tick(self, link: MqttLink) -> None:
        """The token's end, the keep-alive, and a hub that has fallen silent."""
        patience = self._patience
        now = self._clock.monotonic()
        age = (now - self._began) / patience.token_seconds
        if self._pinged is not None and link.heard >= self._pinged:
            self._pinged = None
        if self._renewing is not None or age >= patience.renew_by:
            self._renew(link)
        elif age >= patience.renew_from and self._hooks.quiet():
            self._leave_for_a_token(link)
        elif self._pinged is not None:
            if now - self._pinged > patience.silence:
                link.drop(f"nothing was heard from the hub for {patience.silence:g} s")
        elif now - min(link.heard, link.wrote) > patience.ping_after:
            link.write(self.client.ping())
            self._pinged = now

    def _renew(self, link: MqttLink) -> None:
        """Take nothing new; when all is acknowledged and answered leave, and come again with a new token."""
        now = self._clock.monotonic()
        if self._renewing is None:
            self._renewing = now
        if self._hooks.quiet():
            self._leave_for_a_token(link)
        elif now - self._renewing > self._patience.drain:
            if not self.client.in_flight:
                self._leave_for_a_token(link)
            else:
                self.returning = True
                link.drop("its token is due for renewal")

    def _leave_for_a_token(self, link: MqttLink) -> None:
        self.returning = True
        self.trouble = "its token is being renewed"
        link.leave()
