"""One identity's MQTT connection to the hub, kept up until it is closed.

Azure: "Communicate with an IoT hub using the MQTT protocol" (iot-mqtt-connect-to-iot-hub): one connection an
identity, a persistent session, a SAS token that is renewed by connecting again.

What was sent and not acknowledged when a connection broke goes first on the next, with DUP, with its packet id and
in order [MQTT-4.4.0-1]. A DISCONNECT would have the hub forget which those were, so one is sent only when nothing
is in flight. Twin requests and answers to methods go at QoS 0, as from the SDK for C: they have answers of their
own, and mean nothing to a later connection.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.upstream.inbox import Inbox
from iotedge_lab.edge.upstream.keeper import Hooks, Keeper
from iotedge_lab.edge.upstream.listener import LinkListener, LinkStatus
from iotedge_lab.edge.upstream.patience import Patience
from iotedge_lab.edge.upstream.subscriptions import Subscriptions, Topic
from iotedge_lab.edge.upstream.telemetry import Telemetry
from iotedge_lab.edge.upstream.twin_requests import TwinRequests, read_twin, read_version, write_patch
from iotedge_lab.errors import ArgumentInvalid, UsageError
from iotedge_lab.wire import topics
from iotedge_lab.wire.mqtt.packets import PubAcks, Publish, PublishRun, SubAck
from iotedge_lab.wire.mqtt.runs import iter_publishes

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.serve.mqtt_link import MqttLink
    from iotedge_lab.wire.mqtt.packets import ConnAck, Event

log = logging.getLogger(__name__)

_ANSWER_LIMIT: Final = 128 * 1024  # bytes of the answer to a method


class CloudLink:
    """The connection of one identity. `start` begins it, `close` ends it; in between it connects by itself.

    A message that `send` has taken is the link's until `done`: after a reconnect it is sent again, first and in
    order, so its caller must not give it again (`Pump.lost` is for an outlet that forgets; this one does not).

    `window` messages or `window_bytes` are on their way at most. Links that share `turns` connect as many at a time
    as it has. All methods belong to the loop on which it was started.
    """

    def __init__(
        self,
        cloud: Cloud,
        identity: CloudIdentity,
        clock: Clock,
        *,
        listener: LinkListener,
        gate: Gate,
        patience: Patience | None = None,
        window: int = 2048,
        window_bytes: int = 8 * 1024 * 1024,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._clock = clock
        self._listener = listener
        self._patience = patience or Patience()
        self._keeper = Keeper(
            Hooks(
                admitted=self._admitted,
                received=self._received,
                resumed=self._room,
                lost=self._lost,
                failed=self._announce,
                refused=lambda reason: self._tell(listener.refused, reason),
                quiet=self._quiet,
            ),
            cloud,
            identity,
            clock,
            gate=gate,
            patience=self._patience,
            turns=turns or asyncio.Semaphore(),
        )
        self._client = self._keeper.client
        self._telemetry = Telemetry(identity, window, window_bytes)
        self._subscriptions = Subscriptions(identity)
        self._twin = TwinRequests()
        self._inbox = Inbox(identity.name, listener, self._twin, self._tell)
        self._change = (
            asyncio.Event()
        )  # replaced by another whenever something that is waited for has changed
        self._hungry = False  # `send` has said False

    def __repr__(self) -> str:
        state = self._keeper.why_not or "connected"
        return f"<CloudLink {self.identity.name!r} {state}, {len(self._telemetry)} in flight>"

    # -- how it is -------------------------------------------------------------------------------------

    @property
    def identity(self) -> CloudIdentity:
        """Who connects."""
        return self._keeper.identity

    @property
    def connected(self) -> bool:
        """Whether the hub has let it in, and it is still there."""
        return self._keeper.connected

    def status(self) -> LinkStatus:
        """How it is."""
        keeper = self._keeper
        return LinkStatus(
            keeper.identity.name,
            keeper.connected,
            keeper.refusal,
            keeper.why_not,
            len(self._telemetry),
            self._telemetry.sent,
            self._telemetry.acknowledged,
            keeper.connections,
            keeper.renewals,
        )

    async def wait_connected(self) -> None:
        """Until it is connected. Raises UpstreamAway once it is closed."""
        while not self.connected:
            if self._keeper.closing:
                raise self._away("its link was closed")
            await self._changed()

    @property
    def is_beginning(self) -> bool:
        """Whether its first attempt to connect is still under way."""
        keeper = self._keeper
        return not (keeper.connections or keeper.trouble or keeper.closing)

    async def wait_begun(self) -> None:
        """Until its first attempt to connect has come to something, or to nothing."""
        while self.is_beginning:
            await self._changed()

    # -- its life --------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to connect; returns at once."""
        self._keeper.start()
        return self

    async def close(self, *, at_once: bool = False) -> int:
        """End for good: in order (what is in flight has some seconds, then DISCONNECT), or `at_once`.

        Returns how many messages were left without acknowledgement: their `done` is never called.
        """
        self._keeper.closing = True
        self._announce()
        if not at_once:
            await self._drained()
        await self._keeper.close(at_once=at_once)
        return self._telemetry.forget()

    async def _drained(self) -> None:
        """Until nothing is in flight, for the time that there is, and while there is a connection."""
        try:
            async with asyncio.timeout(self._patience.drain):
                while len(self._telemetry) and self.connected:
                    await self._changed()
        except TimeoutError:
            pass

    def retry(self) -> None:
        """Connect now, rather than at the end of the present delay."""
        self._keeper.retry()

    def rekey(self, key: str) -> None:
        """The identity has another key: for the next connection, which is tried at once if there is none."""
        self._keeper.identity = replace(self._keeper.identity, key=key)
        self._keeper.retry()

    # -- telemetry -------------------------------------------------------------------------------------

    def send(self, bag: str, body: bytes, done: Callable[[], None]) -> bool:
        """Telemetry: the property bag as in a topic, and the body; `done` once the hub has it.

        False when not connected, or too much is on its way: `LinkListener.connected` or `writable` tells when to
        try again. Raises MessageTooLarge or ArgumentInvalid for a message that the hub would never take.
        """
        link = self._keeper.taking
        if link is None or not self._telemetry.room:
            self._hungry = True
            return False
        link.write_soon(self._telemetry.publish(self._client, bag, body, done))
        return True

    def _acknowledged(self, packet_ids: tuple[int, ...]) -> None:
        for done in self._telemetry.arrived(packet_ids):
            self._tell(done)
        if not len(self._telemetry):
            self._announce()
        self._room()

    def _room(self) -> None:
        """Tell whoever was sent away, if there is room again."""
        if self._hungry and self._telemetry.room and self._keeper.taking is not None:
            self._hungry = False
            self._tell(self._listener.writable)

    # -- the twin --------------------------------------------------------------------------------------

    async def twin(self) -> dict[str, Any]:
        """`{"desired": {...}, "reported": {...}}`, each with `$version`. Raises UpstreamAway."""
        return read_twin(*await self._ask(topics.twin_get_topic, b" "))

    async def report(self, patch: dict[str, Any]) -> int:
        """Patch the reported properties; their new version.

        Raises UpstreamAway, ArgumentInvalid (the hub's 400, with its word), other ServiceErrors.
        """
        return read_version(*await self._ask(topics.reported_patch_topic, write_patch(patch)))

    async def _ask(self, topic: Callable[[str], str], body: bytes) -> tuple[topics.TwinResponse, bytes]:
        request_id = self._clock.new_id()
        try:
            async with asyncio.timeout(self._patience.answer):
                while self._keeper.pausing:
                    await self._changed()
                await self._listening(Topic.ANSWERS)
                answer = self._twin.ask(request_id)
                self._publish(topic(request_id), body)
                return await answer
        except TimeoutError:
            raise self._away(f"it did not answer a twin request within {self._patience.answer:g} s") from None
        finally:
            self._twin.forget(request_id)

    # -- listening -------------------------------------------------------------------------------------

    def listen_methods(self, on: bool) -> None:
        """Subscribe to direct methods, or no more; kept over reconnects."""
        self._listen(Topic.METHODS, on)

    def listen_desired(self, on: bool) -> None:
        """Subscribe to changes of the desired properties, or no more; kept over reconnects."""
        self._listen(Topic.DESIRED, on)

    def listen_commands(self, on: bool) -> None:
        """Subscribe to cloud-to-device messages, or no more; kept over reconnects.

        Raises UsageError for a module: an IoT Hub has no such messages for it.
        """
        if not self._subscriptions.knows(Topic.COMMANDS):
            raise UsageError(
                f"{self.identity.name!r} is a module, and cloud-to-device messages are for devices."
            )
        self._listen(Topic.COMMANDS, on)
        self._inbox.listen(on)

    async def wait_listening(self) -> None:
        """Until the hub has confirmed what is listened to.

        Raises UpstreamAway where there is no connection, or it ends meanwhile, and UpstreamRefused for what the
        hub does not grant.
        """
        while self._present() and not self._subscriptions.settled:
            await self._changed()
        self._subscriptions.check(self._subscriptions.wanted)

    async def _listening(self, topic: Topic) -> None:
        """Be subscribed to `topic`, confirmed by the hub; raises as `wait_listening` does."""
        self._present()
        self._listen(topic, on=True)
        while self._present() and not self._subscriptions.has(topic):
            self._subscriptions.check({topic})
            await self._changed()

    def _listen(self, topic: Topic, on: bool) -> None:
        link = self._keeper.link
        if link is None:
            self._subscriptions.want_later(topic, on)
        else:
            link.write_soon(self._subscriptions.want(self._client, topic, on))
            self._announce()

    # -- methods and messages --------------------------------------------------------------------------

    def answer_method(self, request_id: str, status: int, body: bytes) -> bool:
        """Answer a direct method; False if nobody waits any more (its connection has ended, or it was answered).

        Raises ArgumentInvalid for an answer of more than 128 KB.
        """
        if len(body) > _ANSWER_LIMIT:
            raise ArgumentInvalid(f"the answer has {len(body):,} bytes, and {_ANSWER_LIMIT:,} is the most.")
        if not self.connected or not self._inbox.answered(request_id):
            return False
        self._publish(topics.method_response_topic(status, request_id), body)
        return True

    def command_done(self, receipt: int) -> bool:
        """Whom the message is for has it: the hub may forget it. False if the receipt is not known, or no more.

        Done while there is no connection, it is acknowledged when the hub sends it again.
        """
        known = self._inbox.receipts.done(receipt)
        self._write_acks()
        return known

    def _write_acks(self) -> None:
        link = self._keeper.link
        if link is not None:
            link.write_soon(self._inbox.receipts.acks())

    # -- what comes from the hub -----------------------------------------------------------------------

    def _received(self, event: Event) -> None:
        match event:
            case PubAcks():
                self._acknowledged(event.packet_ids)
            case PublishRun():
                for topic, body, packet_id in iter_publishes(event.raw):
                    self._inbox.came(topic, body, packet_id, dup=False)
                self._write_acks()
            case Publish():
                self._inbox.came(event.topic.encode(), event.payload, event.packet_id, dup=event.dup)
                self._write_acks()
            case SubAck():
                for denied in self._subscriptions.confirmed(event.packet_id, event.codes):
                    log.warning("%s: the hub does not let it listen to %s", self.identity.name, denied.value)
                self._announce()
            case _:  # UNSUBACK needs nothing; PINGRESP: being heard is all that it is for
                pass

    def _admitted(self, link: MqttLink, answer: ConnAck) -> None:
        link.write(self._subscriptions.connected(self._client, present=answer.session_present))
        self._hungry = False
        self._announce()
        self._tell(self._listener.connected, answer.session_present)

    def _lost(self, reason: str) -> None:
        self._subscriptions.lost()
        self._inbox.lost()
        self._twin.lost(reason)
        self._announce()
        self._tell(self._listener.disconnected, reason)

    def _quiet(self) -> bool:
        return not (self._client.in_flight or len(self._twin)) and self._inbox.quiet

    # -- inside ----------------------------------------------------------------------------------------

    def _present(self) -> MqttLink:
        """The connection; raises UpstreamAway where there is none."""
        link = self._keeper.link
        if link is None or link.over:
            raise self._away(self._keeper.why_not)
        return link

    def _away(self, reason: str) -> UpstreamAway:
        keeper = self._keeper
        return UpstreamAway(f"{keeper.cloud.hostname} cannot be asked for {keeper.identity.name}: {reason}.")

    def _publish(self, topic: str, body: bytes) -> None:
        """At QoS 0."""
        _, data = self._client.publish(topic, body, qos=0)
        self._present().write_soon(data)

    def _announce(self) -> None:
        """Wake whoever waits for a change."""
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def _changed(self) -> None:
        await self._change.wait()

    def _tell(self, what: Callable[..., None], *told: Any) -> None:
        """Call somebody else's code: a fault of theirs is logged, and does not end the connection."""
        try:
            what(*told)
        except Exception:
            log.exception("%s: a listener failed", self.identity.name)
