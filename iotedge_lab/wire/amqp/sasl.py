"""SASL as AMQP carries it (part 5, section 5.3): its exchange, its outcomes, PLAIN (RFC 4616)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.amqp.composite import SASL_FRAMES, decode_composite
from iotedge_lab.wire.amqp.conditions import NOT_ALLOWED, AmqpViolation, WrongState
from iotedge_lab.wire.amqp.events import SaslChallenge, SaslInit, SaslMechanisms, SaslOutcome, SaslResponse
from iotedge_lab.wire.amqp.frames import SASL_HEADER, TYPE_SASL, encode_frame
from iotedge_lab.wire.amqp.performatives import (
    SaslChallengeFrame,
    SaslInitFrame,
    SaslMechanismsFrame,
    SaslOutcomeFrame,
    SaslResponseFrame,
)
from iotedge_lab.wire.amqp.states import Role, SaslState

if TYPE_CHECKING:
    from iotedge_lab.wire.amqp.events import Event


class SaslCode(IntEnum):
    """How an authentication ended (5.3.3.6)."""

    OK = 0  # AMQP follows
    AUTH = 1  # wrong credentials
    SYS = 2  # a system error
    SYS_PERM = 3  # a system error that will last
    SYS_TEMP = 4  # a system error that may pass


class PlainCredentials(NamedTuple):
    """What SASL PLAIN carries."""

    authorization_id: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"PlainCredentials(user={self.user!r})"


def parse_plain(response: bytes | None) -> PlainCredentials:
    """The parts of a PLAIN response. Raises ProtocolViolation unless it is three texts with NULs between."""
    parts = (response or b"").split(b"\x00")
    if len(parts) != 3:
        raise ProtocolViolation(f"a PLAIN response has 3 parts, not {len(parts)}", "RFC 4616, 2")
    try:
        return PlainCredentials(*(part.decode() for part in parts))
    except UnicodeDecodeError:
        raise ProtocolViolation("a PLAIN response is not UTF-8", "RFC 4616, 2") from None


def encode_plain(user: str, password: str) -> bytes:
    """The PLAIN response of `user`."""
    return f"\x00{user}\x00{password}".encode()


class SaslLayer:
    """The SASL exchange before AMQP, either role; the connection drives it.

    Methods that write take the list of what is to be sent.
    """

    def __init__(self, role: Role, mechanisms: tuple[str, ...], hostname: str | None) -> None:
        self.state = SaslState.IDLE
        self.mechanism: str | None = None  # chosen; None where there was no SASL
        self._server = role is Role.SERVER
        self._mechanisms = mechanisms
        self._hostname = hostname

    @property
    def takes_header(self) -> bool:
        """Whether the peer's SASL header may come now."""
        return self.state is SaslState.IDLE if self._server else self.state is SaslState.HEADER

    @property
    def deciding(self) -> bool:
        """Server: the application owes an answer, so nothing is read on."""
        return self._server and self.state is SaslState.DECIDING

    @property
    def failed(self) -> bool:
        """No success; the connection is over."""
        return self.state is SaslState.FAILED

    @property
    def busy(self) -> bool:
        """SASL has begun and has not succeeded: no AMQP may be written."""
        return self.state not in (SaslState.IDLE, SaslState.DONE)

    @property
    def client_done(self) -> bool:
        """Client: the server said yes."""
        return not self._server and self.state is SaslState.DONE

    def allows_amqp(self, required: bool) -> bool:
        """Whether AMQP's header may come now; `required`: not without SASL before."""
        return self.state is SaslState.DONE or (self.state is SaslState.IDLE and not required)

    def start(self, out: list[bytes]) -> None:
        """Client: send the header."""
        self.state = SaslState.HEADER
        out.append(SASL_HEADER)

    def on_header(self, out: list[bytes]) -> None:
        """The peer's header: a server answers it and offers."""
        if not self._server:
            self.state = SaslState.MECHANISMS
            return
        if not self._mechanisms:
            raise AmqpViolation("SASL is not spoken here", "2.2", NOT_ALLOWED)
        self.state = SaslState.INIT
        out.append(SASL_HEADER)
        self._write(out, SaslMechanismsFrame(self._mechanisms))

    def init(self, out: list[bytes], mechanism: str, initial_response: bytes | None) -> None:
        """Client: choose."""
        self._expect(SaslState.DECIDING, not self._server, "after SaslMechanisms")
        self.mechanism = mechanism
        self.state = SaslState.OUTCOME
        self._write(out, SaslInitFrame(mechanism, initial_response, self._hostname))

    def respond(self, out: list[bytes], response: bytes) -> None:
        """Client: answer a challenge."""
        self._expect(SaslState.OUTCOME, not self._server, "after SaslChallenge")
        self._write(out, SaslResponseFrame(response))

    def challenge(self, out: list[bytes], challenge: bytes) -> None:
        """Server: ask."""
        self._expect(SaslState.DECIDING, self._server, "after SaslInit or SaslResponse")
        self.state = SaslState.RESPONSE
        self._write(out, SaslChallengeFrame(challenge))

    def decide(self, out: list[bytes], code: int) -> None:
        """Server: the outcome."""
        self._expect(SaslState.DECIDING, self._server, "after SaslInit or SaslResponse")
        self.state = SaslState.FAILED if code else SaslState.DONE
        self._write(out, SaslOutcomeFrame(code))

    def on_frame(self, body: bytes, out: list[bytes]) -> Event | None:
        """The peer's frame. Raises ProtocolViolation for one that has no place here."""
        if not body:
            return None
        frame, _ = decode_composite(body, 0, SASL_FRAMES)
        state = self.state
        if isinstance(frame, SaslInitFrame) and state is SaslState.INIT:
            if frame.mechanism not in self._mechanisms:
                self.state = SaslState.FAILED
                self._write(out, SaslOutcomeFrame(SaslCode.AUTH))
                return None
            self.mechanism = frame.mechanism
            self.state = SaslState.DECIDING
            return SaslInit(frame.mechanism, frame.initial_response, frame.hostname)
        if isinstance(frame, SaslResponseFrame) and state is SaslState.RESPONSE:
            self.state = SaslState.DECIDING
            return SaslResponse(frame.response)
        if isinstance(frame, SaslMechanismsFrame) and state is SaslState.MECHANISMS:
            self.state = SaslState.DECIDING
            return SaslMechanisms(frame.sasl_server_mechanisms)
        if isinstance(frame, SaslChallengeFrame) and state is SaslState.OUTCOME:
            return SaslChallenge(frame.challenge)
        if isinstance(frame, SaslOutcomeFrame) and state is SaslState.OUTCOME:
            self.state = SaslState.FAILED if frame.code else SaslState.DONE
            return SaslOutcome(frame.code)
        raise AmqpViolation(
            f"{type(frame).__name__} in SASL state {state.value!r}", "part 5, 5.3.2", NOT_ALLOWED
        )

    def _expect(self, state: SaslState, right_role: bool, when: str) -> None:
        if self.state is not state or not right_role:
            raise WrongState(f"this SASL call belongs {when}, not in state {self.state.value!r}")

    def _write(self, out: list[bytes], frame: Any) -> None:
        out.append(encode_frame(0, frame, kind=TYPE_SASL))
