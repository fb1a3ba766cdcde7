r"""The server's end of one MQTT 3.1.1 connection: what it must hold the client to, as a table.

`MqttServer` says which packet may come when; it keeps no session, grants no subscription and sends nothing by
itself. Its helpers give the bytes to write and refuse what a server may not send in the present state, which
is a mistake of ours and raises `UsageError`.

    NEW ---- CONNECT ----> CONNECTING ---- we accept ----> OPEN ---- DISCONNECT ----> CLOSED
     |                         |  \------- we refuse ------------------------------> CLOSED
     |                         \---------- DISCONNECT -----------------------------> CLOSED
     \-- CONNECT that must be refused --> REFUSING -- we refuse -------------------> CLOSED

Whatever the tables do not name is a violation, and leads to CLOSED. A client need not wait for the CONNACK
(section 3.1.4), so in CONNECTING it may send all that it may in OPEN.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.mqtt import encode as e
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.decode import PacketReader

if TYPE_CHECKING:
    from collections.abc import Iterable


class ServerState(Enum):
    """Where the connection stands."""

    NEW = "new"
    """Nothing has come yet; only a CONNECT may."""
    CONNECTING = "connecting"
    """A CONNECT has come and we owe its CONNACK."""
    OPEN = "open"
    """We have accepted."""
    REFUSING = "refusing"
    """A CONNECT has come that MQTT bids us refuse; nothing more is read."""
    CLOSED = "closed"
    """DISCONNECT, a refusal of ours, or a violation: the connection is to be closed."""


_CLIENT_PACKETS: Final = (
    p.PublishRun,
    p.Publish,
    p.PubAck,
    p.PubRec,
    p.PubRel,
    p.PubComp,
    p.Subscribe,
    p.Unsubscribe,
    p.PingReq,
)

RECEIVED: Final[dict[ServerState, dict[type, ServerState]]] = {
    ServerState.NEW: {p.Connect: ServerState.CONNECTING, p.ConnectRefused: ServerState.REFUSING},
    ServerState.CONNECTING: {
        **dict.fromkeys(_CLIENT_PACKETS, ServerState.CONNECTING),
        p.Disconnect: ServerState.CLOSED,
    },
    ServerState.OPEN: {
        **dict.fromkeys(_CLIENT_PACKETS, ServerState.OPEN),
        p.Disconnect: ServerState.CLOSED,
    },
    ServerState.REFUSING: {},
    ServerState.CLOSED: {},
}
"""State and what the client sent, to the next state. What is absent is a violation."""

CONNACK_SENT: Final[dict[tuple[ServerState, bool], ServerState]] = {
    (ServerState.CONNECTING, True): ServerState.OPEN,
    (ServerState.CONNECTING, False): ServerState.CLOSED,
    (ServerState.REFUSING, False): ServerState.CLOSED,
}
"""State and whether our CONNACK accepts, to the next state. What is absent we may not send."""


class MqttServer:
    """One connection, seen from the server.

    `max_packet_size` is the greatest Remaining Length accepted from the client, in bytes.
    """

    __slots__ = ("_allowed", "_reader", "_said_farewell", "connect", "state")

    def __init__(self, max_packet_size: int = p.MAX_REMAINING_LENGTH) -> None:
        self._reader = PacketReader(max_packet_size)
        self._said_farewell = False
        self.state = ServerState.NEW
        self._allowed = RECEIVED[
            ServerState.NEW
        ]  # kept, as hashing an enum costs more than reading a PUBLISH
        self.connect: p.Connect | None = None
        """The CONNECT, once it has come; the will is in it."""

    @property
    def keep_alive(self) -> int:
        """Seconds between packets that the client promised at most; 0 for no promise."""
        return self.connect.keep_alive if self.connect else 0

    @property
    def keep_alive_timeout(self) -> float | None:
        """Seconds of silence after which the client counts as gone [MQTT-3.1.2-24], or None for never."""
        return self.keep_alive * 1.5 or None

    def receive(self, data: bytes | bytearray | memoryview) -> list[p.Event]:
        """What the client sent, in order.

        `Connect`, `ConnectRefused`, `PublishRun`, `Publish`, `PubAck`, `PubRec`, `PubRel`, `PubComp`,
        `Subscribe`, `Unsubscribe`, `PingReq`, `Disconnect`, or `Violation`. A `Violation` or
        `ConnectRefused` is the last event of the connection: what comes later gives an empty list. Bytes
        after a DISCONNECT give one `Violation`.
        """
        events = self._reader.feed(data)
        for index, event in enumerate(events):
            following = self._allowed.get(type(event))
            if following is None:
                if not isinstance(event, p.Violation):
                    events[index:] = [_violation(self.state, event)]
                self._close()
                return events
            if following is not self.state:
                self._enter(following)
                if isinstance(event, p.Connect):
                    self.connect = event
                elif isinstance(event, p.Disconnect):
                    self._said_farewell = True
        if self._said_farewell and self._reader.buffered:
            # Part of a packet after DISCONNECT: it need not be complete to be wrong.
            self._close()
            events.append(_AFTER_DISCONNECT)
        return events

    def connack(
        self, code: p.ConnackCode = p.ConnackCode.ACCEPTED, *, session_present: bool = False
    ) -> bytes:
        """The answer to the CONNECT, section 3.2: the first packet that a server sends, and sent once.

        Raises UsageError in any other state. With a code other than ACCEPTED the connection is to be closed.
        """
        following = CONNACK_SENT.get((self.state, code is p.ConnackCode.ACCEPTED))
        if following is None:
            raise UsageError(f"CONNACK {code.name} cannot be sent in state {self.state.value}.")
        data = e.encode(p.ConnAck(code, session_present))
        self._enter(following)
        if following is ServerState.CLOSED:
            self._close()
        return data

    def suback(self, packet_id: int, codes: Iterable[int]) -> bytes:
        """The answer to a SUBSCRIBE: one code a filter, in order."""
        self._check_open()
        return e.encode(p.SubAck(packet_id, tuple(codes)))

    def unsuback(self, packet_id: int) -> bytes:
        """The answer to an UNSUBSCRIBE."""
        self._check_open()
        return e.encode(p.UnsubAck(packet_id))

    def pingresp(self) -> bytes:
        """The answer to a PINGREQ."""
        self._check_open()
        return e.PINGRESP

    def publish(
        self,
        topic: str | bytes,
        payload: bytes,
        qos: int = 1,
        packet_id: int = 0,
        *,
        dup: bool = False,
        retain: bool = False,
    ) -> bytes:
        """A message to the client; packet ids are the caller's, as the session is."""
        self._check_open()
        return e.encode_publish(topic, payload, qos, packet_id, dup=dup, retain=retain)

    def puback(self, packet_id: int) -> bytes:
        """The answer to one PUBLISH of QoS 1; a `PublishRun` brings its own."""
        self._check_open()
        return e.encode_puback(packet_id)

    def _check_open(self) -> None:
        if self.state is not ServerState.OPEN:
            raise UsageError(f"Nothing but a CONNACK can be sent in state {self.state.value} [MQTT-3.2.0-1].")

    def _enter(self, state: ServerState) -> None:
        self.state = state
        self._allowed = RECEIVED[state]

    def _close(self) -> None:
        self._enter(ServerState.CLOSED)
        self._said_farewell = False
        self._reader.dead = True


_AFTER_DISCONNECT = p.Violation("data after DISCONNECT", "3.14.4, MQTT-3.14.4-2")


def _violation(state: ServerState, event: p.Event) -> p.Violation:
    name = type(event).__name__
    if state is ServerState.NEW:
        return p.Violation(f"{name} before CONNECT", "3.1, MQTT-3.1.0-1")
    if state is ServerState.CLOSED:
        return _AFTER_DISCONNECT
    if isinstance(event, p.Connect | p.ConnectRefused):
        return p.Violation("a second CONNECT", "3.1, MQTT-3.1.0-2")
    return p.Violation(f"{name}, which only a server sends", "2.2.1")
