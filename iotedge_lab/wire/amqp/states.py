"""States of connections, sessions and links, and their transitions as tables.

Each table maps (state, signal) to the next state; a signal that a state's row does not know is a mistake of
who caused it: a violation for "receive ...", WrongState for "send ...". Connection: part 2, 2.4.6; session:
2.5.5; link: 2.6; SASL: part 5, 5.3.2.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Role(Enum):
    """Which side of the connection this engine plays."""

    SERVER = "server"  # was connected to: offers SASL mechanisms, answers headers, OPEN and BEGIN
    CLIENT = "client"  # connected: speaks first


class ConnectionState(Enum):
    """Where a connection stands (2.4.6)."""

    START = "start"  # nothing but perhaps SASL has passed
    HDR_RCVD = "header received"
    HDR_SENT = "header sent"
    HDR_EXCH = "headers exchanged"
    OPEN_PIPE = "header and open sent, nothing received"
    OC_PIPE = "header, open and close sent, nothing received"
    OPEN_RCVD = "open received"
    OPEN_SENT = "open sent"
    CLOSE_PIPE = "open and close sent, header received"
    OPENED = "opened"
    CLOSE_RCVD = "close received"
    CLOSE_SENT = "close sent"  # whatever the peer sends before its own close is discarded
    END = "end"


class Signal(Enum):
    """What moves a connection."""

    RECV_HEADER = "receive header"
    SEND_HEADER = "send header"
    RECV_OPEN = "receive open"
    SEND_OPEN = "send open"
    RECV_CLOSE = "receive close"
    SEND_CLOSE = "send close"


_C, _S = ConnectionState, Signal
CONNECTION_TRANSITIONS: Final[dict[tuple[ConnectionState, Signal], ConnectionState]] = {
    (_C.START, _S.SEND_HEADER): _C.HDR_SENT,
    (_C.START, _S.RECV_HEADER): _C.HDR_RCVD,
    (_C.HDR_RCVD, _S.SEND_HEADER): _C.HDR_EXCH,
    (_C.HDR_SENT, _S.RECV_HEADER): _C.HDR_EXCH,
    (_C.HDR_SENT, _S.SEND_OPEN): _C.OPEN_PIPE,
    (_C.HDR_EXCH, _S.SEND_OPEN): _C.OPEN_SENT,
    (_C.HDR_EXCH, _S.RECV_OPEN): _C.OPEN_RCVD,
    (_C.OPEN_PIPE, _S.RECV_HEADER): _C.OPEN_SENT,
    (_C.OPEN_PIPE, _S.SEND_CLOSE): _C.OC_PIPE,
    (_C.OC_PIPE, _S.RECV_HEADER): _C.CLOSE_PIPE,
    (_C.OPEN_RCVD, _S.SEND_OPEN): _C.OPENED,
    (_C.OPEN_SENT, _S.RECV_OPEN): _C.OPENED,
    (_C.OPEN_SENT, _S.SEND_CLOSE): _C.CLOSE_PIPE,
    (_C.CLOSE_PIPE, _S.RECV_OPEN): _C.CLOSE_SENT,
    (_C.OPENED, _S.RECV_CLOSE): _C.CLOSE_RCVD,
    (_C.OPENED, _S.SEND_CLOSE): _C.CLOSE_SENT,
    (_C.CLOSE_RCVD, _S.SEND_CLOSE): _C.END,
    (_C.CLOSE_SENT, _S.RECV_CLOSE): _C.END,
}


class SessionState(Enum):
    """Where a session stands (2.5.5)."""

    UNMAPPED = "unmapped"  # not begun, or ended on both sides
    BEGIN_SENT = "begin sent"
    BEGIN_RCVD = "begin received"
    MAPPED = "mapped"
    END_SENT = "end sent"  # whatever the peer sends before its own end is discarded
    END_RCVD = "end received"


class SessionSignal(Enum):
    """What moves a session."""

    RECV_BEGIN = "receive begin"
    SEND_BEGIN = "send begin"
    RECV_END = "receive end"
    SEND_END = "send end"


_E, _G = SessionState, SessionSignal
SESSION_TRANSITIONS: Final[dict[tuple[SessionState, SessionSignal], SessionState]] = {
    (_E.UNMAPPED, _G.SEND_BEGIN): _E.BEGIN_SENT,
    (_E.UNMAPPED, _G.RECV_BEGIN): _E.BEGIN_RCVD,
    (_E.BEGIN_SENT, _G.RECV_BEGIN): _E.MAPPED,
    (_E.BEGIN_RCVD, _G.SEND_BEGIN): _E.MAPPED,
    (_E.MAPPED, _G.RECV_END): _E.END_RCVD,
    (_E.MAPPED, _G.SEND_END): _E.END_SENT,
    (_E.END_RCVD, _G.SEND_END): _E.UNMAPPED,
    (_E.END_SENT, _G.RECV_END): _E.UNMAPPED,
}


class LinkState(Enum):
    """Where a link stands (2.6.3 to 2.6.6)."""

    DETACHED = "detached"  # not attached, or detached on both sides
    ATTACH_SENT = "attach sent"
    ATTACH_RCVD = "attach received"  # the application is to accept or refuse
    ATTACHED = "attached"
    DETACH_SENT = "detach sent"  # whatever the peer sends on it before its own detach is discarded
    DETACH_RCVD = "detach received"


class LinkSignal(Enum):
    """What moves a link."""

    RECV_ATTACH = "receive attach"
    SEND_ATTACH = "send attach"
    RECV_DETACH = "receive detach"
    SEND_DETACH = "send detach"


_L, _K = LinkState, LinkSignal
LINK_TRANSITIONS: Final[dict[tuple[LinkState, LinkSignal], LinkState]] = {
    (_L.DETACHED, _K.SEND_ATTACH): _L.ATTACH_SENT,
    (_L.DETACHED, _K.RECV_ATTACH): _L.ATTACH_RCVD,
    (_L.ATTACH_SENT, _K.RECV_ATTACH): _L.ATTACHED,
    (_L.ATTACH_SENT, _K.SEND_DETACH): _L.DETACH_SENT,
    (_L.ATTACH_RCVD, _K.SEND_ATTACH): _L.ATTACHED,
    (_L.DETACH_SENT, _K.RECV_ATTACH): _L.DETACH_SENT,
    (_L.ATTACHED, _K.RECV_DETACH): _L.DETACH_RCVD,
    (_L.ATTACHED, _K.SEND_DETACH): _L.DETACH_SENT,
    (_L.DETACH_RCVD, _K.SEND_DETACH): _L.DETACHED,
    (_L.DETACH_SENT, _K.RECV_DETACH): _L.DETACHED,
}


class SaslState(Enum):
    """Where the SASL layer stands (part 5, 5.3.2)."""

    IDLE = "idle"  # no SASL header has passed
    HEADER = "header"  # client: sent the header, waits for the server's
    MECHANISMS = "mechanisms"  # client: waits for the mechanisms
    INIT = "init"  # server: waits for the client's choice
    DECIDING = "deciding"  # the application owes a choice (client), a challenge or the outcome (server)
    RESPONSE = "response"  # server: waits for the answer to a challenge
    OUTCOME = "outcome"  # client: waits for a challenge or the outcome
    DONE = "done"  # AMQP follows
    FAILED = "failed"
