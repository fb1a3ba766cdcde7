"""Who is at the other end of a connection, as the kernel tells: nothing that a caller says about itself counts.

The real daemon asks which container a caller's process is in. Here the modules are processes of the user who
runs the edge, so the user must be that one, on the unix socket (SO_PEERCRED, unix(7)) and on the loopback port
(the owner of the peer's socket in /proc/net/tcp, proc(5)); and a process that belongs to a known module may not
speak for another one. Where the system tells nothing (the loopback port on macOS), the generation id decides alone.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CREDENTIALS: Final = struct.Struct("=iII")  # pid, uid, gid: struct ucred
_TABLES: Final = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a caller; None where the system does not tell."""

    uid: int | None = None
    pid: int | None = None


def caller_of(descriptor: int) -> Caller:
    """The caller at the other end of a connected socket, given by its file descriptor (which stays open)."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sock.family == getattr(socket, "AF_UNIX", None):
            return _of_unix(sock)
        return Caller(uid=_owner(sock))


def _of_unix(sock: socket.socket) -> Caller:
    if sys.platform == "linux":
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return Caller(uid=uid, pid=pid or None)
    return Caller()  # the folder's mode keeps others out


def _owner(sock: socket.socket) -> int | None:
    """The user whose socket is the peer of `sock`; None where the kernel's table cannot be read or lacks it."""
    table = _TABLES.get(sock.family)
    if table is None or sys.platform != "linux":
        return None
    wanted = (_hex(sock.family, sock.getpeername()), _hex(sock.family, sock.getsockname()))
    try:
        lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if (fields[1], fields[2]) == wanted:
            return int(fields[7])
    return None


def _hex(family: int, name: tuple[str, int]) -> str:
    """An address as the kernel's table writes it: each 32-bit word in the machine's order, then the port."""
    packed = socket.inet_pton(family, name[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{name[1]:04X}"
