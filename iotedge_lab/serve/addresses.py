"""Loopback addresses and ports: what is free, what is taken and by whom, and holding ports without a race.

The SDKs fix their ports (8883, 5671, 443), so a second hub or an edge gateway needs another address, not
another port: Linux and Windows answer on all of 127.0.0.0/8, macOS only on 127.0.0.1 until `ifconfig lo0
alias` adds more. Every socket made here is on loopback; anything else is refused.

Left out: names other than `localhost`, and addresses beyond 127.0.0.0/24 (no certificate covers them).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from iotedge_lab.errors import EnvironmentProblem, LabError, PortTaken, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: How many connections the kernel may hold for us until they are accepted. 1,000 devices may come at once;
#: the kernel cuts this to its own limit (net.core.somaxconn, 4096 on today's Linux).
BACKLOG: Final = 2048
_LAST: Final = 254
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", "*"})
#: Windows tells a port held exclusively as WSAEACCES (10013).
_TAKEN: Final = frozenset({errno.EADDRINUSE, 10048} | ({10013} if sys.platform == "win32" else set()))
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, 10049, 10047})


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket of this machine that listens. `pid` and `name` are None where we may not see them."""

    address: str
    port: int
    pid: int | None
    name: str | None

    @property
    def everywhere(self) -> bool:
        """Whether it listens on all addresses, and so takes the port on each loopback address too."""
        return self.address in _WILDCARDS

    def __str__(self) -> str:
        where = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        if self.pid is None:
            return f"{where} (a process that this user may not see)"
        return f"{where} ({self.name or 'process'}, pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Bindable:
    """The answer of `can_bind`: true if it can be bound, else false with the reason in a sentence."""

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


@dataclass(slots=True)
class Reservation:
    """Ports held on one loopback address by sockets that already listen.

    Give it to `Listener.start`, which takes the sockets over; `close` (or leaving the `with` block) frees
    what was not taken. Clients that connect meanwhile wait in the kernel's backlog.
    """

    address: str
    sockets: list[socket.socket] = field(repr=False)

    @property
    def ports(self) -> list[int]:
        """The ports held, in the order in which they were asked for."""
        return [each.getsockname()[1] for each in self.sockets]

    def take(self) -> list[socket.socket]:
        """The sockets, which are the caller's from now on."""
        taken, self.sockets = self.sockets, []
        return taken

    def close(self) -> None:
        """Free the ports that were not taken over; a second call does nothing."""
        for each in self.take():
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def loopback_addresses(host: str) -> list[str]:
    """The addresses that `host` stands for: itself, or 127.0.0.1 and ::1 for `localhost`.

    Raises UsageError unless all of it is loopback.
    """
    text = host.strip().strip("[]")
    if text.lower() == "localhost":
        return ["127.0.0.1", "::1"]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"{host!r} is no address to listen on: use localhost, 127.0.0.1 or ::1.") from None
    if not address.is_loopback:
        raise UsageError(
            f"{host} would let other machines in, and the lab serves this machine only: "
            "use localhost, an address in 127.0.0.0/8 or ::1."
        )
    return [str(address)]


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return bool(loopback_addresses(host))
    except UsageError:
        return False


def listen(host: str, port: int, *, backlog: int = BACKLOG, blame: bool = True) -> list[socket.socket]:
    """Non-blocking sockets that listen on `host` and `port` (0: any free port).

    One socket, or for `localhost` one for each of IPv4 and IPv6, on the same port; where the machine has no
    IPv6, only the first. Raises UsageError (not loopback), PortTaken (naming the holder if it can be seen),
    EnvironmentProblem (a privileged port, no such address); none is left open then. `blame` False: a PortTaken
    names nobody, for whoever only tries the next address; to look costs milliseconds for each process there is.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port: 0 to 65535.")
    addresses = loopback_addresses(host)
    # A port that the kernel chose on IPv4 may be taken on IPv6: then it chooses again.
    tries = 8 if port == 0 and len(addresses) > 1 else 1
    for left in reversed(range(tries)):
        try:
            return _listen_all(addresses, port, backlog, blame=blame)
        except PortTaken:
            if not left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def can_bind(host: str, port: int) -> Bindable:
    """Whether `port` of `host` could be listened on at this moment, and if not, why."""
    try:
        sockets = listen(host, port)
    except LabError as error:
        return Bindable(ok=False, reason=str(error))
    for each in sockets:
        each.close()
    return Bindable(ok=True)


def reserve(ports: Sequence[int], first: int | str = 1) -> Reservation:
    """Hold all of `ports` on the first of 127.0.0.N (N from `first` to 254) that has them free.

    `first` is N or an address 127.0.0.N. Two processes that reserve at once never get the same address.
    Raises PortTaken when no address is left (saying so if a listener on 0.0.0.0 is the cause),
    EnvironmentProblem for a privileged port, UsageError for a `first` that is out of range.
    """
    start = _number(first)
    if not ports:
        raise UsageError("No port was named: give the ports that shall be free, e.g. (8883, 5671, 8443).")
    # In one order everywhere: of two processes that meet on an address, one gets the lowest port and the
    # other moves on, instead of each holding a part.
    order = sorted(range(len(ports)), key=lambda at: ports[at])
    blocked: tuple[str, int] | None = None
    for number in range(start, _LAST + 1):
        address = f"127.0.0.{number}"
        held: dict[int, socket.socket] = {}
        try:
            for at in order:
                held[at] = _listen(address, ports[at], BACKLOG)
        except OSError as error:
            for each in held.values():
                each.close()
            port = ports[order[len(held)]]
            if error.errno in _NO_SUCH_ADDRESS and blocked is not None:
                break  # macOS: 127.0.0.1 is all there is
            if error.errno not in _TAKEN:
                raise _explained(address, port, error) from error
            blocked = blocked or (address, port)
        else:
            return Reservation(address, [held[at] for at in range(len(ports))])
    assert blocked is not None
    raise PortTaken(
        f"No address from 127.0.0.{start} to 127.0.0.{number} has the ports "
        f"{', '.join(map(str, ports))} free. {_holder(*blocked)}{_more_addresses()}"
    )


def free_address(ports: Sequence[int], first: int | str = 1) -> str:
    """The first address 127.0.0.N on which all of `ports` can be bound now; raises what `reserve` raises.

    Another process may take them before you do: `reserve` holds them.
    """
    with reserve(ports, first) as reservation:
        return reservation.address


def who_listens(port: int) -> list[Listening]:
    """Who listens on `port`, on any address of this machine, sorted by address.

    What this user may not see is left out, or has no `pid` (on macOS other users' sockets need root).
    """
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []
    found: set[tuple[str, int | None]] = {
        (each.laddr.ip, each.pid)
        for each in connections
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
    }
    result = []
    for address, pid in sorted(found, key=lambda each: (each[0], each[1] or 0)):
        name = None
        if pid is not None:
            with suppress(psutil.Error, OSError):
                name = psutil.Process(pid).name()
        result.append(Listening(address, port, pid, name))
    return result


def _listen_all(addresses: list[str], port: int, backlog: int, *, blame: bool) -> list[socket.socket]:
    """One socket for each address, on one port; where there is no IPv6, without it. All or none."""
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            sockets.append(_listen(address, port, backlog))
        except OSError as error:
            if sockets and error.errno in _NO_SUCH_ADDRESS:
                continue
            for each in sockets:
                each.close()
            if not blame and error.errno in _TAKEN:
                raise PortTaken(f"{address}:{port} is taken.") from error
            raise _explained(address, port, error) from error
        port = sockets[0].getsockname()[1]
    return sockets


def _listen(address: str, port: int, backlog: int) -> socket.socket:
    """Bind and listen; OSError if either fails.

    Only listening makes a port ours: with SO_REUSEADDR (which a restart needs, for the old connections in
    TIME_WAIT) Linux lets two sockets bind the same port as long as neither listens.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        if sys.platform == "win32":
            # There SO_REUSEADDR would let another process steal the port.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
        made.bind((address, port))
        made.listen(backlog)
    except OSError:
        made.close()
        raise
    return made


def _explained(address: str, port: int, error: OSError) -> EnvironmentProblem:
    """The error of this library for a bind that failed."""
    if error.errno in _TAKEN:
        return PortTaken(_holder(address, port))
    if error.errno in (errno.EACCES, errno.EPERM):
        return EnvironmentProblem(
            f"Port {port} is privileged, and this user may not listen on it. Leave it out: the lab's CONNECT "
            f"proxy leads clients of {port} to another port. Or allow it once, on Linux: "
            f"sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"
        )
    if error.errno in _NO_SUCH_ADDRESS:
        return EnvironmentProblem(f"{address} is no address of this machine.{_more_addresses()}")
    return EnvironmentProblem(f"{address}:{port} cannot be listened on: {error.strerror or error}.")


def _holder(address: str, port: int) -> str:
    """A sentence on who holds the port at this address, and what to do."""
    holders = [each for each in who_listens(port) if each.everywhere or each.address == address]
    everywhere = [each for each in holders if each.everywhere]
    shown = f"[{address}]" if ":" in address else address
    if everywhere:
        return (
            f"Port {port} is taken by {_listed(everywhere)}: a listener on all addresses takes the port on "
            "every loopback address as well. Stop it, or let it listen on one address only."
        )
    if any(each.pid == os.getpid() for each in holders):
        return f"{shown}:{port} is taken by this very process (pid {os.getpid()}): close its listener first."
    if holders:
        return f"Port {port} is taken by {_listed(holders)}. Stop it, or choose another port or address."
    return (
        f"{shown}:{port} is taken by a process that this user may not see (`sudo lsof -i :{port}` names it). "
        "Stop it, or choose another port or address."
    )


def _listed(holders: Iterable[Listening]) -> str:
    return " and ".join(map(str, holders))


def _more_addresses() -> str:
    if sys.platform == "darwin":
        return " macOS has only 127.0.0.1 at first; `sudo ifconfig lo0 alias 127.0.0.2 up` adds another."
    return ""


def _number(first: int | str) -> int:
    text = str(first)
    number = text.removeprefix("127.0.0.")
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= _LAST):
        raise UsageError(
            f"{first!r} is no start: give 1 to {_LAST}, or an address 127.0.0.1 to 127.0.0.{_LAST}."
        )
    return int(number)
