"""The AMQP 1.0 connection engine, sans-IO: bytes in, events out (OASIS AMQP 1.0 parts 1, 2, 3 and 5).

    conn = AmqpConnection(role=Role.SERVER, container_id="hub")
    for event in conn.receive(data): ...     # what the peer did; call methods of conn, sessions and links
    transport.write(conn.data_to_send())     # after each receive, and after whatever the application sent
    if conn.closed: ...                      # close the socket once that is written

It serves either role. There is no clock in it: the application calls `heartbeat` often enough for
`remote_idle_timeout_ms`, and closes when it has heard nothing within its own `idle_timeout_ms`.

A breach of the protocol makes `receive` end with a Violation, a CLOSE with the matching condition is queued,
and nothing more is read. A breach that concerns a session or a link ends only that.

Left out: transactions (part 4), resuming links, TLS inside AMQP (5.2; TLS comes below, if at all).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.amqp.composite import PERFORMATIVES, decode_composite
from iotedge_lab.wire.amqp.conditions import (
    INVALID_FIELD,
    NOT_ALLOWED,
    RESOURCE_LIMIT_EXCEEDED,
    AmqpViolation,
    WrongState,
    condition_of,
)
from iotedge_lab.wire.amqp.events import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    Heartbeat,
    Violation,
)
from iotedge_lab.wire.amqp.frames import (
    AMQP_HEADER,
    MIN_MAX_FRAME_SIZE,
    SASL_HEADER,
    TYPE_SASL,
    Frame,
    FrameReader,
    ProtocolHeader,
    empty_frame,
    encode_frame,
)
from iotedge_lab.wire.amqp.limits import Limits
from iotedge_lab.wire.amqp.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Open,
    Transfer,
)
from iotedge_lab.wire.amqp.sasl import SaslLayer
from iotedge_lab.wire.amqp.session import Session
from iotedge_lab.wire.amqp.states import (
    CONNECTION_TRANSITIONS,
    ConnectionState,
    Role,
    SessionState,
    Signal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# These may still come for a session that the peer itself has ended: clients send their DETACH after END.
_STRAGGLERS = (Detach, End, Flow, Disposition)


class AmqpConnection:
    """One end of an AMQP connection.

    `container_id` names us; `hostname` (client) the server we mean. `limits` bounds memory and ids.
    `idle_timeout_ms` is what we ask of the peer: something at least that often. `sasl_mechanisms` (server)
    are offered in this order; a peer may skip SASL, see ConnectionOpened.sasl_mechanism, unless
    `require_sasl`. `sasl` (client) says whether to begin with SASL. `properties` go into our OPEN.

    `context` is the application's.
    """

    def __init__(
        self,
        *,
        role: Role,
        container_id: str,
        hostname: str | None = None,
        limits: Limits | None = None,
        idle_timeout_ms: int | None = None,
        sasl: bool = True,
        sasl_mechanisms: Sequence[str] = ("ANONYMOUS",),
        require_sasl: bool = False,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        self.role = role
        self.limits = limits or Limits()
        self.state = ConnectionState.START
        self.context: Any = None
        self.remote_max_frame_size = MIN_MAX_FRAME_SIZE  # until its OPEN says more (2.4.1)
        self.remote_idle_timeout_ms: int | None = None
        self.out: list[bytes] = []  # engine: frames to write
        self.gathering: list[Session] = []  # engine: sessions with dispositions to write
        self._open = Open(
            container_id=container_id,
            hostname=hostname,
            max_frame_size=self.limits.max_frame_size,
            channel_max=self.limits.channel_max,
            idle_time_out=idle_timeout_ms,
            properties=properties,
        )
        self._require_sasl = require_sasl and bool(sasl_mechanisms)
        self._sasl = SaslLayer(role, tuple(sasl_mechanisms), hostname)
        self._with_sasl = sasl
        self._reader = FrameReader(self.limits.max_frame_size)
        self._events: list[Event] = []
        self._deaf = False  # nothing more is read
        self._discarding = False  # we sent a close: only the peer's is waited for
        self._held = 0  # bytes of unfinished messages
        self._remote_channel_max = self.limits.channel_max
        self._by_channel: dict[int, Session] = {}
        self._by_remote_channel: dict[int, Session] = {}
        self._ended_channels: set[int] = set()

    def __repr__(self) -> str:
        return f"<amqp {self.role.value} {self._open.container_id!r} {self.state.value}>"

    @property
    def closed(self) -> bool:
        """Nothing more will be read: close the socket when `data_to_send` is written."""
        return self._deaf

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that are mapped or about to be."""
        return tuple(self._by_channel.values())

    # What applications call

    def start(self) -> None:
        """Client: send the first header; with SASL, SaslMechanisms comes next. Else: WrongState."""
        if self.role is not Role.CLIENT or self.state is not ConnectionState.START or self.out:
            raise WrongState("only a client starts, and once")
        if self._with_sasl:
            self._sasl.start(self.out)
        else:
            self._send_opening()

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; gives what they complete, however they are cut. Never raises for them."""
        if self._deaf:
            return []
        self._reader.feed(data)
        return self._read()

    def data_to_send(self) -> bytes:
        """All that is to be written since the last call."""
        if self.gathering:
            for session in self.gathering:
                session.flush_settling()
            self.gathering.clear()
        data = b"".join(self.out)
        self.out.clear()
        return data

    def sasl_init(self, mechanism: str, initial_response: bytes | None = None) -> None:
        """Client: choose a mechanism after SaslMechanisms. Raises WrongState at any other time."""
        self._sasl.init(self.out, mechanism, initial_response)

    def sasl_response(self, response: bytes) -> None:
        """Client: answer a SaslChallenge. Raises WrongState at any other time."""
        self._sasl.respond(self.out, response)

    def sasl_challenge(self, challenge: bytes) -> list[Event]:
        """Server: ask on after SaslInit or SaslResponse; gives what the peer had sent already.

        Raises WrongState at any other time.
        """
        self._sasl.challenge(self.out, challenge)
        return self._read()

    def sasl_outcome(self, code: int) -> list[Event]:
        """Server: decide after SaslInit; 0 is success (SaslCode). Gives what the peer had sent already.

        With any other code the connection is over. Raises WrongState at any other time; after a lost
        connection it does nothing.
        """
        if self._deaf:
            return []
        self._sasl.decide(self.out, code)
        if code:
            self._events = []
            self._finish()
            self._events.append(ConnectionClosed(None))
            return self._take_events()
        return self._read()

    def begin_session(self) -> Session:
        """Begin a session; SessionBegun comes when the peer has answered.

        Raises WrongState unless the connection is open and has a free channel.
        """
        if self.state is not ConnectionState.OPENED:
            raise WrongState(f"{self!r} carries no sessions; wait for ConnectionOpened")
        session = Session(self, self._free_channel(None))
        self._by_channel[session.channel] = session
        session.begin()
        return session

    def heartbeat(self) -> None:
        """Queue an empty frame, where anything may be sent: keeps the peer from closing (2.4.5)."""
        if self.state in (ConnectionState.OPENED, ConnectionState.OPEN_SENT):
            self.out.append(empty_frame())

    def close(self, error: Error | None = None) -> None:
        """Close; ConnectionClosed comes when the peer has answered. Nothing happens where it has begun.

        A connection that is not open yet is simply over.
        """
        if self._deaf or self._discarding:
            return
        if self.state is not ConnectionState.OPENED:
            self._close_early(error)
            self._finish()
            return
        self._close_sessions()
        self._send_close(error)
        self._discarding = True

    def connection_lost(self) -> list[Event]:
        """The socket has gone: gives the end of all links and sessions, then ConnectionClosed."""
        if self._deaf:
            return []
        self._events = []
        self._finish()
        self._events.append(ConnectionClosed(None))
        return self._take_events()

    # Engine, for sessions and links

    def emit(self, event: Event) -> None:
        """Engine: an event for the application."""
        self._events.append(event)

    def hold(self, size: int) -> bool:
        """Engine: account for bytes of unfinished messages; False where there is no room for more."""
        if size > 0 and self._held + size > self.limits.max_partial_bytes:
            return False
        self._held += size
        return True

    # Reading

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _read(self) -> list[Event]:
        self._events = []
        reader = self._reader
        try:
            while not self._deaf and not self._sasl.deciding:
                item = reader.next()
                if item is None:
                    break
                if isinstance(item, ProtocolHeader):
                    self._on_header(item.raw)
                elif item.kind == TYPE_SASL:
                    self._on_sasl(item)
                else:
                    self._on_frame(item)
            if self._sasl.deciding and reader.buffered > 2 * self.limits.max_frame_size:
                raise AmqpViolation(
                    "too much is sent before the SASL outcome", "part 5, 5.3", RESOURCE_LIMIT_EXCEEDED
                )
        except ProtocolViolation as broken:
            self._violate(broken)
        return self._take_events()

    def _violate(self, broken: ProtocolViolation) -> None:
        condition = condition_of(broken)
        if not self._discarding:
            self._close_early(Error(condition, str(broken)))
        self._finish()
        self._events.append(Violation(condition, str(broken)))

    def _close_early(self, error: Error | None) -> None:
        """Say CLOSE from whatever state: a close comes after an open, an open after a header (2.4.1)."""
        if self._sasl.busy:
            return  # SASL has no word for it
        if self.state in (ConnectionState.START, ConnectionState.HDR_RCVD):
            if self.role is Role.SERVER:
                # 2.2: what we do speak. SASL has not begun here, or has succeeded.
                refused = self._require_sasl and self._sasl.mechanism is None
                self.out.append(SASL_HEADER if refused else AMQP_HEADER)
            return
        if (self.state, Signal.SEND_OPEN) in CONNECTION_TRANSITIONS:
            self._send_open()
        if (self.state, Signal.SEND_CLOSE) in CONNECTION_TRANSITIONS:
            self._close_sessions()
            self._send_close(error)

    def _close_sessions(self) -> None:
        for session in self._by_channel.values():
            session.flush_settling()
            session.on_connection_closing()
        self.gathering.clear()

    def _finish(self) -> None:
        """Read and hold nothing more; tell the end of what there was."""
        self._deaf = True
        self.state = ConnectionState.END
        self._reader = FrameReader(self.limits.max_frame_size)
        for session in list(self._by_channel.values()):
            session.on_connection_end()
        self.gathering.clear()
        self._by_channel.clear()
        self._by_remote_channel.clear()

    def _step(self, signal: Signal) -> None:
        after = CONNECTION_TRANSITIONS.get((self.state, signal))
        if after is None:
            raise AmqpViolation(f"{signal.value} in state {self.state.value!r}", "2.4.6", NOT_ALLOWED)
        self.state = after

    def _send_open(self) -> None:
        self._step(Signal.SEND_OPEN)
        self.out.append(encode_frame(0, self._open))

    def _send_close(self, error: Error | None) -> None:
        self._step(Signal.SEND_CLOSE)
        self.out.append(encode_frame(0, Close(error)))

    def _send_opening(self) -> None:
        """Client: header and open without waiting in between (2.4.2)."""
        self._step(Signal.SEND_HEADER)
        self.out.append(AMQP_HEADER)
        self._send_open()

    def _on_header(self, raw: bytes) -> None:
        if raw == SASL_HEADER and self.state is ConnectionState.START and self._sasl.takes_header:
            self._sasl.on_header(self.out)
            return
        if raw != AMQP_HEADER:
            # 2.2: write a header that is spoken here, then close.
            raise AmqpViolation(f"protocol header {raw.hex()} is not spoken here", "2.2", NOT_ALLOWED)
        if not self._sasl.allows_amqp(self._require_sasl and self.role is Role.SERVER):
            raise AmqpViolation("AMQP begins before SASL has succeeded", "part 5, 5.3", NOT_ALLOWED)
        self._step(Signal.RECV_HEADER)
        if self.state is ConnectionState.HDR_RCVD:
            self._step(Signal.SEND_HEADER)
            self.out.append(AMQP_HEADER)

    def _on_sasl(self, frame: Frame) -> None:
        event = self._sasl.on_frame(frame.body, self.out)
        if event is not None:
            self._events.append(event)
        if self._sasl.failed:
            self._finish()
            self._events.append(ConnectionClosed(None))
        elif self._sasl.client_done and self.state is ConnectionState.START:
            self._send_opening()

    def _on_frame(self, frame: Frame) -> None:
        if self.state in (ConnectionState.START, ConnectionState.HDR_SENT, ConnectionState.OPEN_PIPE):
            raise AmqpViolation("a frame before the protocol header", "2.2", NOT_ALLOWED)
        if not frame.body:
            if not self._discarding:
                self._events.append(Heartbeat())
            return
        performative, pos = decode_composite(frame.body, 0, PERFORMATIVES)
        kind = type(performative)
        if kind is Close:
            self._on_close(performative)
        elif self._discarding:
            return
        elif kind is Open:
            self._on_open(performative)
        elif self.state is not ConnectionState.OPENED:
            raise AmqpViolation(f"{kind.__name__} before the connection is open", "2.4.1", NOT_ALLOWED)
        elif kind is Begin:
            self._on_begin(performative, frame.channel)
        else:
            session = self._by_remote_channel.get(frame.channel)
            if session is None:
                if frame.channel not in self._ended_channels or kind not in _STRAGGLERS:
                    raise AmqpViolation(
                        f"{kind.__name__} on channel {frame.channel}, which no session is on",
                        "2.5.1",
                        NOT_ALLOWED,
                    )
            elif kind is End:
                self._drop(session, frame.channel)
                session.on_end(performative)
            elif session.state is SessionState.MAPPED:
                if kind is Transfer:
                    session.on_transfer(performative, frame.body[pos:])
                else:
                    _HANDLERS[kind](session, performative)
            # else we ended it: 2.5.4 asks to discard what comes before the peer's END.

    def _on_open(self, theirs: Open) -> None:
        self._step(Signal.RECV_OPEN)
        if theirs.max_frame_size < MIN_MAX_FRAME_SIZE:
            raise AmqpViolation(
                f"max-frame-size {theirs.max_frame_size} is below {MIN_MAX_FRAME_SIZE}",
                "2.7.1",
                INVALID_FIELD,
            )
        # What we write has to fit the peer, and is cut no larger than what we ourselves would take.
        self.remote_max_frame_size = min(theirs.max_frame_size, self.limits.max_frame_size)
        self._remote_channel_max = theirs.channel_max
        self.remote_idle_timeout_ms = theirs.idle_time_out or None
        if self.state is ConnectionState.OPEN_RCVD:
            self._send_open()
        self._events.append(
            ConnectionOpened(
                container_id=theirs.container_id,
                hostname=theirs.hostname,
                idle_timeout_ms=self.remote_idle_timeout_ms,
                max_frame_size=theirs.max_frame_size,
                channel_max=theirs.channel_max,
                properties=theirs.properties or {},
                sasl_mechanism=self._sasl.mechanism,
            )
        )

    def _on_begin(self, begin: Begin, channel: int) -> None:
        if channel > self.limits.channel_max:
            raise AmqpViolation(
                f"channel {channel}; {self.limits.channel_max} is the highest", "2.7.1", NOT_ALLOWED
            )
        if channel in self._by_remote_channel:
            raise AmqpViolation(f"a session is on channel {channel} already", "2.5.1", NOT_ALLOWED)
        if begin.remote_channel is None:
            session = Session(self, self._free_channel(channel))
            self._by_channel[session.channel] = session
        else:
            known = self._by_channel.get(begin.remote_channel)
            if known is None or known.state is not SessionState.BEGIN_SENT:
                raise AmqpViolation(
                    f"a begin answers channel {begin.remote_channel}, where none was sent",
                    "2.7.2",
                    NOT_ALLOWED,
                )
            session = known
        self._by_remote_channel[channel] = session
        self._ended_channels.discard(channel)
        session.on_begin(begin, channel)

    def _drop(self, session: Session, remote_channel: int) -> None:
        del self._by_remote_channel[remote_channel]
        del self._by_channel[session.channel]
        self._ended_channels.add(remote_channel)

    def _free_channel(self, wanted: int | None) -> int:
        """A channel for our side: the peer's own number where it is free: easy to read in a trace."""
        highest = min(self.limits.channel_max, self._remote_channel_max)
        if wanted is not None and wanted <= highest and wanted not in self._by_channel:
            return wanted
        for channel in range(highest + 1):
            if channel not in self._by_channel:
                return channel
        if wanted is None:
            raise WrongState(f"all {highest + 1} channels are in use; end a session first")
        raise AmqpViolation(f"more than {highest + 1} sessions", "2.7.1", NOT_ALLOWED)

    def _on_close(self, close: Close) -> None:
        if self._discarding:
            self._step(Signal.RECV_CLOSE)
        else:
            self._step(Signal.RECV_CLOSE)
            self._close_sessions()
            self._send_close(None)
        self._finish()
        self._events.append(ConnectionClosed(close.error))


_HANDLERS: dict[type, Any] = {
    Attach: Session.on_attach,
    Flow: Session.on_flow,
    Disposition: Session.on_disposition,
    Detach: Session.on_detach,
}
