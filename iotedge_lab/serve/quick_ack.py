"""TCP acknowledgements without delay, where a client waits for one before it goes on.

A client that has not set TCP_NODELAY (paho, and with it azure-iot-device) holds a small packet back until the one
before it is acknowledged (Nagle, RFC 896), and a kernel that has nothing to send acknowledges after 40 ms (RFC 1122,
4.2.3.2). PUBACK and then the answer to a direct method is just that pattern.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it


def acknowledge_now(transport: asyncio.BaseTransport) -> None:
    """Have the kernel acknowledge what was read so far. Does nothing where there is no such option, or no socket."""
    if _QUICK_ACK is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # the socket is closing
            sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
