"""AMQP 1.0 onto the hub: one connection of a service, its tokens and its links.

Stands for the AMQP side of an IoT Hub and of its built-in Event Hubs endpoint: claims-based security
(`$cbs`), `$management`, receivers on the partitions, cloud-to-device messages, their feedback, notices of files. What
each address does is in `amqp_nodes`, `event_links`, `amqp_commands` and `amqp_queues`; here are the connection, who
may attach, and the housekeeping.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.connection import LINGER
from iotedge_lab.errors import ProtocolViolation, Unauthorized
from iotedge_lab.hub.access import Grant, Right
from iotedge_lab.hub.amqp_commands import DEVICEBOUND, CommandTarget, path_of
from iotedge_lab.hub.amqp_nodes import CBS, MANAGEMENT, RequestNode, authorise, manage
from iotedge_lab.hub.amqp_queues import QUEUES, QueueLink
from iotedge_lab.hub.amqp_redirect import leads_to_events, target
from iotedge_lab.hub.event_links import EventLink, parse_address
from iotedge_lab.wire.amqp import conditions
from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.events import (
    ConnectionClosed,
    ConnectionOpened,
    CreditGranted,
    DeliverySettled,
    LinkAttached,
    LinkDetached,
    MessageReceived,
    SaslInit,
    Violation,
)
from iotedge_lab.wire.amqp.performatives import Error
from iotedge_lab.wire.amqp.sasl import SaslCode, parse_plain
from iotedge_lab.wire.amqp.states import Role

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.serve.sniffing import ConnectionInfo
    from iotedge_lab.wire.amqp.link import Link
    from iotedge_lab.wire.amqp.sender import SenderLink

log = logging.getLogger(__name__)

MECHANISMS = ("MSSBCBS", "ANONYMOUS", "EXTERNAL", "PLAIN")
IDLE_TIMEOUT_MS = 240_000  # as Event Hubs says it
_REQUEST_CREDIT = 50
_SILENT_LOGIN = 20.0  # s until a connection without any token is closed


class AmqpFront(asyncio.Protocol):
    """One AMQP connection."""

    def __init__(self, hub: Hub, info: ConnectionInfo) -> None:
        self.hub = hub
        self._info = info
        self.wire = AmqpConnection(
            role=Role.SERVER,
            container_id=f"iotedge-lab-{hub.id[:8]}",
            idle_timeout_ms=IDLE_TIMEOUT_MS,
            sasl_mechanisms=MECHANISMS,
        )
        self._transport: asyncio.Transport | None = None
        self._nodes = {
            CBS: RequestNode(CBS, lambda message: authorise(self, message)),
            MANAGEMENT: RequestNode(MANAGEMENT, lambda message: manage(self, message)),
        }
        self.tokens: dict[str, Grant] = {}  # by audience
        self._hostname: str | None = None  # as the client calls the hub
        self._event_links: set[EventLink | QueueLink] = set()
        self._redirects: list[tuple[Link, dict[Any, Any]]] = []
        self._peer_idle = 0.0
        self._heard = self._spoke = hub.clock.monotonic()
        self._opened = self._heard
        self._hung_up: float | None = None
        self.writable = True

    # -- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over from the listener."""
        self._transport = transport  # type: ignore[assignment] # the listener gives a full transport
        self.hub.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._heard = self.hub.clock.monotonic()
        for event in self.wire.receive(data):
            self._handle(event)
        self.flush()

    def connection_lost(self, _: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self.hub.connections.discard(self)
        for link in tuple(self._event_links):
            link.close()
        self._event_links.clear()

    def pause_writing(self) -> None:
        """The client reads slowly: send no more events for now, and take no more requests."""
        self.writable = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        self.writable = True
        if self._transport is not None:
            self._transport.resume_reading()
        for link in tuple(self._event_links):
            link.pump()

    def flush(self) -> None:
        """Write what the engine has to say."""
        data = self.wire.data_to_send()
        if data and self._transport is not None:
            self._spoke = self.hub.clock.monotonic()
            self._transport.write(data)

    def drop(self, reason: str) -> None:
        """Close the connection with a word."""
        if self._transport is not None and self._hung_up is None:
            log.info("an AMQP connection is closed: %s", reason)
            self.wire.close(Error(conditions.CONNECTION_FORCED, reason))
            self.flush()
            self._hang_up()

    def _hang_up(self) -> None:
        """Close once the peer has read what is written; `tick` cuts one that reads nothing any more."""
        if self._transport is not None and self._hung_up is None:
            self._hung_up = self.hub.clock.monotonic()
            self._transport.close()

    def tick(self, monotonic: float, now: float) -> None:
        """Once a second: heartbeats, silence, tokens that have ended."""
        if self._hung_up is not None:
            if self._transport is not None and monotonic - self._hung_up > LINGER:
                self._transport.abort()
            return
        if self._peer_idle and monotonic - self._spoke > self._peer_idle / 2:
            self.wire.heartbeat()
            self.flush()
        if monotonic - self._heard > IDLE_TIMEOUT_MS / 1000:
            self.drop("nothing was heard for the idle time-out")
        elif not self.tokens and monotonic - self._opened > _SILENT_LOGIN:
            self.drop("no token was put within 20 s")
        self._redirect()
        for audience in [audience for audience, grant in self.tokens.items() if grant.expiry <= now]:
            del self.tokens[audience]
        for link in tuple(self._event_links):
            if not self.granted(Right.SERVICE_CONNECT, link.path):
                link.end(conditions.UNAUTHORIZED_ACCESS, "the token has expired; put a new one to $cbs")

    def granted(self, right: Right, path: str | None = None) -> bool:
        """Whether a token that is still good grants `right` at the address `path` (None: anywhere)."""
        now = self.hub.clock.now()
        return any(
            right in grant.policy.rights and grant.expiry > now and (path is None or grant.covers(path))
            for grant in self.tokens.values()
        )

    # -- events of the engine --------------------------------------------------------------------------

    def _handle(self, event: object) -> None:
        match event:
            case CreditGranted():
                self._credit(event.link, drain=event.drain)
            case MessageReceived():
                self._message(event)
            case LinkAttached():
                self._attach(event.link)
            case LinkDetached():
                context = event.link.context
                if isinstance(context, EventLink | QueueLink):
                    context.close()
                    self._event_links.discard(context)
                elif isinstance(context, RequestNode):
                    context.forget(event.link)
            case DeliverySettled():
                if isinstance(event.link.context, QueueLink):
                    event.link.context.settled(event)
            case SaslInit():
                for later in self.wire.sasl_outcome(self._login(event)):
                    self._handle(later)
            case ConnectionOpened():
                self._peer_idle = (event.idle_timeout_ms or 0) / 1000
                self._hostname = event.hostname
            case ConnectionClosed() | Violation():
                if isinstance(event, Violation):
                    log.info("an AMQP connection broke the protocol: %s", event.reason)
                self.flush()
                self._hang_up()
            case _:  # sessions and heartbeats need nothing of the application
                pass

    def _login(self, event: SaslInit) -> SaslCode:
        """PLAIN carries a token at once, user `{policy}@sas.root.{hub}`; the others leave that to $cbs."""
        if event.mechanism != "PLAIN":
            return SaslCode.OK
        try:
            given = parse_plain(event.initial_response)
            grant = self.hub.access.check(given.password)
            name = grant.policy.name
            if given.user.partition("@")[0] != name:
                raise Unauthorized(f"the user {given.user!r} is not of the token's policy {name!r}")
        except (Unauthorized, ProtocolViolation) as error:
            log.info("an AMQP login was refused: %s", error)
            self.hub.counters.refused += 1
            return SaslCode.AUTH
        self.tokens["PLAIN"] = grant
        return SaslCode.OK

    def _credit(self, link: SenderLink, *, drain: bool) -> None:
        context = link.context
        if isinstance(context, EventLink | QueueLink):
            context.pump()
        elif isinstance(context, RequestNode):
            context.send_waiting()
        if drain:
            link.drained()

    def _message(self, event: MessageReceived) -> None:
        context = event.link.context
        if isinstance(context, RequestNode):
            context.request(event)
        elif isinstance(context, CommandTarget):
            context.receive(event)

    def _attach(self, link: Link) -> None:
        terminus = link.source if link.is_sender else link.target
        address = getattr(terminus, "address", None)
        if not isinstance(address, str):
            link.refuse(conditions.INVALID_FIELD, "the link names no address")
            return
        node = self._nodes.get(address.strip("/"))
        path = path_of(address)
        if node is not None:
            node.attach(link, credit=_REQUEST_CREDIT)
        elif path.startswith("devices/"):
            link.refuse(
                conditions.NOT_IMPLEMENTED, "devices speak MQTT or HTTPS with this hub; AMQP is for services"
            )
        elif not link.is_sender and path != DEVICEBOUND:
            self._refuse_sender(link, address)
        elif not self.granted(Right.SERVICE_CONNECT):
            self._refuse_unauthorised(link, address)
        elif path == DEVICEBOUND or path in QUEUES or leads_to_events(path):
            self._attach_messages(link, address, path)
        else:
            self._attach_events(link, address)

    def _attach_messages(self, link: Link, address: str, path: str) -> None:
        """What lies under `/messages`: to devices, the queues, and the way to what devices send."""
        if not self.granted(Right.SERVICE_CONNECT, path):
            self._refuse_unauthorised(link, address)
        elif leads_to_events(path):
            link.accept()
            self._redirects.append((link, target(self.hub, address, self._hostname, tls=self._info.tls)))
        elif not link.is_sender:
            CommandTarget(self).attach(link)
        elif path in QUEUES:
            reader = QueueLink(self, link, path)
            self._event_links.add(reader)
            reader.attach()
        else:
            link.refuse(conditions.NOT_FOUND, f"nothing to read at {address[:120]!r}")

    @staticmethod
    def _refuse_unauthorised(link: Link, address: str) -> None:
        link.refuse(
            conditions.UNAUTHORIZED_ACCESS,
            f"no token on this connection opens {address[:120]!r}: put one of the policy 'service' or "
            "'iothubowner' to $cbs first, for the host name",
        )

    def _redirect(self) -> None:
        """Tell those at the hub's own address where to go.

        Once a second, and not with the answer to their attach: the sample of @azure/event-hubs listens for the
        error only when its link is open.
        """
        redirects, self._redirects = self._redirects, []
        for link, to in redirects:
            link.detach(
                error=Error(conditions.LINK_REDIRECT, "the built-in endpoint is an Event Hub of its own", to)
            )
        if redirects:
            self.flush()

    def _refuse_sender(self, link: Link, address: str) -> None:
        if path_of(address).startswith(self.hub.events_name.lower()):
            link.refuse(
                conditions.NOT_ALLOWED, "the built-in endpoint is fed by devices; nothing else sends to it"
            )
        else:
            link.refuse(conditions.NOT_FOUND, f"nothing at {address[:120]!r} takes messages")

    def _attach_events(self, link: Any, address: str) -> None:
        try:
            place = parse_address(self.hub, address)
            if not self.granted(Right.SERVICE_CONNECT, place.path(self.hub.events_name)):
                self._refuse_unauthorised(link, address)
                return
            events = EventLink(self, link, place)
        except LookupError as error:
            link.refuse(conditions.NOT_FOUND, str(error.args[0]))
            return
        except ValueError as error:
            link.refuse(conditions.INVALID_FIELD, str(error))
            return
        if not events.claim():
            return
        link.context = events
        self._event_links.add(events)
        link.accept()
        events.pump()
