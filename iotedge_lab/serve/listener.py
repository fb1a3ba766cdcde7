"""One listener for everything: TLS or clear text, and in it MQTT, AMQP or HTTP, on every port.

It stands for the front end of an IoT Hub, which has one port for each protocol (8883, 5671, 443). Here each
port takes all of them: an accepted socket is looked at without reading from it (MSG_PEEK), TLS is put on if
it asks for it, and the first bytes in clear text decide who gets the connection (`sniffing`).

A connection is *pending* until a handler has it: while it is silent, shakes hands or has sent too little to
tell what it speaks. The rules:

- No connection is pending longer than `handshake_timeout`.
- While connections become ready one after another, a window of them is worked on and the others wait in the
  kernel's backlog. So 1,000 honest clients that come at once, from a slow machine too, are served in turn and
  none is dropped.
- When others wait and none has become ready for `grace` seconds, those who are pending are idle or hostile: up
  to `max_pending` are let in, and from there on each new one pushes out the oldest. So however many idle
  connections there are, a good client waits for `grace` at most. The time is counted in steps that the loop
  really made: a process that was itself paused does not take its clients for idle.
- Whatever a connection does, only that connection is closed.

Needs a loop with `add_reader`: uvloop, or asyncio's selector loop (on Windows not the default). Left out:
QUIC, the PROXY protocol, and any address that is not loopback.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import EnvironmentProblem, UsageError
from iotedge_lab.serve.addresses import BACKLOG, Reservation, listen, loopback_addresses
from iotedge_lab.serve.client_certificates import chain_of
from iotedge_lab.serve.connections import OpenConnections, Pending
from iotedge_lab.serve.sniffing import TLS_HANDSHAKE, ConnectionInfo, Handlers, Kind, ServerNames, sniff

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

#: Accepted in one turn of the loop: those who are already in are not kept waiting by a crowd at the door.
_ACCEPTS_A_TURN: Final = 64
#: Pending connections worked on while all goes well. A handshake takes about a millisecond of one core
#: on either side: many at once would only all be late, and pass their clients' time limits together.
_WINDOW: Final = 64
#: Steps in which `grace` is counted.
_STEPS: Final = 5
#: How long accepting rests when the process or the machine has run out of descriptors or memory.
_REST: Final = 0.5
#: How long a closing TLS connection waits for the peer's close_notify; the default of asyncio is 30 s.
_SHUTDOWN_TIMEOUT: Final = 5.0
#: Timers may come a little early (uvloop's count whole milliseconds).
_EARLY: Final = 0.001
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Counters:
    """What a listener has seen so far, and holds now.

    `accepted`: connections taken from the kernel. `pending`: not yet with a handler. `open`: with a handler.
    `refused`: closed by us without one, for want of time, of room, or of a protocol that we know.
    `failed_handshakes`: TLS that was not agreed on, among them clients that do not trust the certificate.
    """

    accepted: int
    pending: int
    open: int
    refused: int
    failed_handshakes: int


class Listener:
    """Accepts on loopback addresses and hands each connection to the handler for what it speaks.

    `ssl_context` may be None: then TLS is refused. Its `sni_callback` is wrapped, to learn the server's name.
    `handshake_timeout` and `grace` are seconds (`grace`: a fifth of the former unless given).
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None,
        handlers: Handlers,
        *,
        max_pending: int = 500,
        handshake_timeout: float = 10.0,
        grace: float | None = None,
    ) -> None:
        if max_pending < 1 or handshake_timeout <= 0:
            raise UsageError("max_pending and handshake_timeout must be above zero.")
        self._ssl = ssl_context
        self._handlers = handlers
        self._max_pending = max_pending
        self._window = min(_WINDOW, max_pending)
        self._timeout = handshake_timeout
        self._grace = handshake_timeout / 5 if grace is None else grace
        self._names = None if ssl_context is None else ServerNames.on(ssl_context)
        self._servers: list[socket.socket] = []
        self._pending: dict[Pending, None] = {}  # the oldest first
        self._open = OpenConnections()
        self._sweeper: asyncio.TimerHandle | None = None
        self._resumer: asyncio.TimerHandle | None = None
        self._accepting = False
        self._full = False
        self._idle_steps = 0  # of `grace`, with others waiting and no connection becoming ready
        self._exhausted = False
        self._closed = False
        self._accepted = self._refused = self._failed_handshakes = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed else ", ".join(f"{host}:{port}" for host, port in self.addresses)
        return f"<Listener {state or 'not started'}>"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens, as (address, port); a port given as 0 shows as what the kernel chose."""
        return [_address(server.getsockname()) for server in self._servers]

    @property
    def counters(self) -> Counters:
        """The numbers at this moment."""
        return Counters(
            self._accepted, len(self._pending), len(self._open), self._refused, self._failed_handshakes
        )

    async def start(self, where: Iterable[tuple[str, int] | socket.socket | Reservation]) -> None:
        """Listen on all of `where`, or on none; a later call adds more.

        Each is (address, port), a bound socket, or a `Reservation`. Sockets given belong to the listener once
        this returns; if it raises they stay the caller's. Raises PortTaken, EnvironmentProblem (a privileged
        port, no such address, a loop without `add_reader`) and UsageError (not loopback, already closed).
        """
        if self._closed:
            raise UsageError("This listener was closed: make a new one.")
        loop = asyncio.get_running_loop()
        bound: list[socket.socket] = []
        ready: list[socket.socket] = []
        reservations: list[Reservation] = []
        try:
            for each in where:
                if isinstance(each, Reservation):
                    reservations.append(each)
                    ready += each.sockets
                elif isinstance(each, socket.socket):
                    _check(each)
                    ready.append(each)
                else:
                    bound += listen(*each)
            for server in ready:
                server.setblocking(False)
                server.listen(BACKLOG)
            servers = [*ready, *bound]
            self._watch(loop, servers)
        except BaseException:
            for server in bound:
                server.close()
            raise
        for reservation in reservations:
            reservation.take()
        self._loop = loop
        self._servers += servers
        self._accepting = False
        self._resume()  # those that were there before too, if they rest just now

    def _watch(self, loop: asyncio.AbstractEventLoop, servers: list[socket.socket]) -> None:
        try:
            for server in servers:
                loop.add_reader(server, self._accept, server)
        except NotImplementedError:
            raise EnvironmentProblem(
                f"{type(loop).__name__} cannot watch a socket. Run the hub on a selector loop: "
                "asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)."
            ) from None

    async def close(self) -> None:
        """Stop listening, drop what is pending and cut what is open; a second call does nothing.

        Handlers that want to say goodbye do so before: `stop_accepting`, their own closing, then this.
        """
        self.stop_accepting()
        tasks = [each.task for each in self._pending if each.task is not None]
        for pending in list(self._pending):
            self._end(pending)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open.abort()
        # connection_lost comes within the loop's next turns (TLS, socket, handler), and who closes a listener
        # wants it to have come.
        for _ in range(4):
            await asyncio.sleep(0)

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections go on. A second call does nothing."""
        self._closed = True
        self._rest()
        if self._resumer is not None:
            self._resumer.cancel()
            self._resumer = None
        for server in self._servers:
            server.close()
        self._servers.clear()

    # --- accepting -----------------------------------------------------------------------------------------

    def _accept(self, server: socket.socket) -> None:
        """Take what waits at `server`; called by the loop."""
        for _ in range(_ACCEPTS_A_TURN):
            if not self._may_accept():
                return
            try:
                accepted, peer = server.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # gone before it was taken
                continue
            except OSError as error:
                self._accept_failed(error)
                return
            if len(self._pending) >= self._max_pending:
                self._refuse(self._oldest(), "others are waiting")
            self._exhausted = False
            self._accepted += 1
            accepted.setblocking(False)
            pending = Pending(accepted, _address(peer), self._loop.time(), self._received, self._lost)
            self._pending[pending] = None
            self._arm()
            self._peek(pending)

    def _may_accept(self) -> bool:
        """Whether one more may come in; else accepting rests until there is room or nobody makes progress."""
        if not self._pending:
            self._idle_steps = 0
        if len(self._pending) < self._window or self._idle_steps >= _STEPS:
            return True
        self._full = True
        self._rest()
        if self._resumer is None:
            self._resumer = self._loop.call_later(self._grace / _STEPS, self._step)
        return False

    def _step(self) -> None:
        """One more step without a connection that became ready; after the last one others are let in."""
        self._resumer = None
        self._idle_steps += 1
        if self._idle_steps >= _STEPS:
            self._resume()
        else:
            self._resumer = self._loop.call_later(self._grace / _STEPS, self._step)

    def _accept_failed(self, error: OSError) -> None:
        """Rest for a moment: the reason would be the same in the next turn, and the loop would spin."""
        if not self._exhausted:  # once for each run of failures
            advice = " Raise the limit (ulimit -n) or close connections." if error.errno in _EXHAUSTED else ""
            log.warning(
                "Cannot accept connections now (%s); trying again every %s s.%s",
                error.strerror,
                _REST,
                advice,
            )
        self._exhausted = True
        self._rest(self._loop.time() + _REST)

    def _oldest(self) -> Pending:
        return next(iter(self._pending))

    def _rest(self, until: float | None = None) -> None:
        if self._accepting:
            self._accepting = False
            for server in self._servers:
                self._loop.remove_reader(server)
        if until is not None:
            if self._resumer is not None:
                self._resumer.cancel()
            self._resumer = self._loop.call_at(until, self._resume)

    def _resume(self) -> None:
        self._full = False
        if self._resumer is not None:
            self._resumer.cancel()
            self._resumer = None
        if not self._accepting and not self._closed:
            self._accepting = True
            self._watch(self._loop, self._servers)

    # --- pending connections -------------------------------------------------------------------------------

    def _peek(self, pending: Pending) -> None:
        """Look at the first byte, now or when it comes, and go on accordingly."""
        try:
            first = pending.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            if not pending.watched:
                pending.watched = True
                self._loop.add_reader(pending.sock, self._peek, pending)
            return
        except OSError:
            self._end(pending)
            return
        if not first:  # closed without a word: a port scan, or a doctor's check
            self._end(pending)
            return
        pending.tls = first[0] == TLS_HANDSHAKE
        if self._ssl is None if pending.tls else sniff(first) is Kind.UNKNOWN:
            self._refuse(
                pending, f"it begins with 0x{first[0]:02x}, which is none of TLS, MQTT, AMQP and HTTP"
            )
            return
        self._unwatch(pending)
        pending.task = self._loop.create_task(self._connect(pending))

    async def _connect(self, pending: Pending) -> None:
        """Make a transport of the socket, with TLS if asked for; from here `pending` is its protocol."""
        pending.started = True
        try:
            if pending.tls:
                await self._loop.connect_accepted_socket(
                    lambda: pending,
                    pending.sock,
                    ssl=self._ssl,
                    ssl_handshake_timeout=self._timeout,
                    ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT,
                )
            else:
                await self._loop.connect_accepted_socket(lambda: pending, pending.sock)
        except OSError as error:  # ssl.SSLError is one; so are resets and asyncio's own timeout
            self._handshake_failed(pending, error)
        except Exception:
            log.exception("A connection could not be set up")
            self._end(pending)

    def _handshake_failed(self, pending: Pending, error: OSError) -> None:
        if pending in self._pending:
            self._failed_handshakes += 1
            self._end(pending)
            reason = getattr(error, "reason", None) or str(error) or "the client hung up"
            log.info("TLS was not agreed on with a client (%s).%s", reason, _distrust(reason, error))

    def _received(self, pending: Pending) -> None:
        """Bytes in clear text have come: hand over, wait for more, or refuse."""
        if pending not in self._pending:
            return
        kind = sniff(pending.start)
        if kind is Kind.UNDECIDED:
            return
        handler = self._handlers.of(kind)
        if handler is None:
            self._refuse(pending, f"it speaks {kind.value}, which is not served here")
            return
        transport = pending.transport
        assert transport is not None
        self._idle_steps = 0
        self._release(pending)
        self._open.add(pending.sock, transport)
        try:
            protocol = handler(self._info(pending, transport))
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            if not transport.is_closing():
                protocol.data_received(pending.start)
        except Exception:
            log.exception("The handler for %s failed; its connection is closed", kind.value)
            transport.abort()

    def _info(self, pending: Pending, transport: asyncio.Transport) -> ConnectionInfo:
        # Not the transport's "peername": the kernel forgets it when the peer resets the connection.
        local = _address(pending.sock.getsockname())
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is None:
            return ConnectionInfo(pending.peer, local, tls=False)
        name = self._names.pop(tls) if self._names is not None else None
        chain = chain_of(tls)
        return ConnectionInfo(pending.peer, local, True, chain[0] if chain else None, name, chain)

    def _lost(self, pending: Pending, error: Exception | None) -> None:
        """A connection ended while it was sniffed."""
        if isinstance(error, ssl.SSLError):  # under TLS 1.3 a client's alert comes after our handshake
            self._handshake_failed(pending, error)
        self._end(pending)

    def _refuse(self, pending: Pending, reason: str) -> None:
        self._refused += 1
        log.debug("A connection was closed: %s", reason)
        self._end(pending)

    def _end(self, pending: Pending) -> None:
        """Close a pending connection, whatever state it is in; leave one alone that is not pending."""
        if not self._release(pending):
            return
        if pending.transport is not None:
            pending.transport.abort()
        elif pending.started:
            assert pending.task is not None
            pending.task.cancel()  # closes the transport, and that the socket
        else:
            if pending.task is not None:
                pending.task.cancel()
            self._unwatch(pending)
            pending.sock.close()

    def _release(self, pending: Pending) -> bool:
        """Take `pending` off the list; False if it was not on it."""
        if pending not in self._pending:
            return False
        del self._pending[pending]
        pending.ended = True
        # Not at the first free place: watching and unwatching costs system calls.
        if self._full and len(self._pending) <= self._window * 3 // 4:
            self._resume()
        return True

    def _unwatch(self, pending: Pending) -> None:
        if pending.watched:
            pending.watched = False
            self._loop.remove_reader(pending.sock)

    def _arm(self) -> None:
        """Set the timer for the oldest pending connection, unless it is set: one timer serves all."""
        if self._sweeper is None and self._pending:
            oldest = self._oldest()
            self._sweeper = self._loop.call_at(oldest.since + self._timeout, self._sweep)

    def _sweep(self) -> None:
        """Refuse all whose time is up."""
        self._sweeper = None
        limit = self._loop.time() - self._timeout + _EARLY
        for pending in list(self._pending):
            if pending.since > limit:
                break
            self._refuse(pending, f"it was not ready within {self._timeout} s")
        self._arm()


def _distrust(reason: str, error: OSError) -> str:
    """What to do, if the client may have hung up because it does not know the lab's root."""
    if any(alert in reason for alert in ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")):
        return " It does not trust the lab's root: `iotedge-lab env` shows what to set."
    if isinstance(error, ConnectionError):
        return " Perhaps it does not trust the lab's root: `iotedge-lab env` shows what to set."
    return ""


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> tuple[str, int]:
    return name[0], name[1]


def _check(ready: socket.socket) -> None:
    """Refuse a socket given to `start` that is no TCP socket bound to loopback."""
    if ready.family not in (socket.AF_INET, socket.AF_INET6) or ready.type != socket.SOCK_STREAM:
        raise UsageError(f"{ready!r} is no TCP socket.")
    loopback_addresses(str(ready.getsockname()[0]))
