"""A TLS connection to the hub's MQTT port: names to addresses, one after the other, by a proxy where there is one.

The CONNECT method of HTTP: RFC 9110, section 9.3.6.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edge.upstream.cloud import Cloud
    from iotedge_lab.edge.upstream.proxies import Proxy

_ATTEMPT_SECONDS: Final = 5.0  # for one address, where there is another to try
_SHUTDOWN_SECONDS: Final = 2.0  # for the end of TLS
_HEAD_LIMIT: Final = 16 * 1024


async def connect(cloud: Cloud, protocol: Callable[[], asyncio.Protocol]) -> None:
    """Connect `protocol` to the hub over TLS. Raises OSError (ssl.SSLError among them); the caller bounds the time."""
    proxy = cloud.mqtt_proxy
    if proxy is None:
        sock = await _dial(cloud.host, cloud.mqtt_port)
    else:
        sock = await _dial(proxy.host, proxy.port)
    try:
        if proxy is not None:
            await _tunnel(sock, proxy, cloud.host, cloud.mqtt_port)
        await asyncio.get_running_loop().create_connection(
            protocol,
            sock=sock,
            ssl=cloud.context,
            server_hostname=cloud.host,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )
    except BaseException:
        sock.close()  # a transport that has it closed it already: twice does no harm
        raise


async def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    """The addresses of a name, IPv6 and IPv4 as the system orders them. Raises OSError (socket.gaierror)."""
    found: list[tuple[Any, ...]] = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )
    return found


async def _dial(host: str, port: int) -> socket.socket:
    """A TCP connection to the first address of `host` that answers. Raises OSError, of the last one."""
    loop = asyncio.get_running_loop()
    found = await resolve(host, port)
    last: OSError | None = None
    for left, (family, kind, protocol, _, address) in enumerate(found, 1 - len(found)):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_ATTEMPT_SECONDS if left else None):
                await loop.sock_connect(sock, address)
            return sock
        except OSError as error:  # TimeoutError is one
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last or OSError(f"{host} has no address")


async def _tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy lead `sock` to the hub. Raises ConnectionError with its answer."""
    loop = asyncio.get_running_loop()
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.authorization is not None:
        request += f"Proxy-Authorization: {proxy.authorization}\r\n"
    await loop.sock_sendall(sock, request.encode() + b"\r\n")
    where = f"the proxy {proxy.host}:{proxy.port}"
    head = b""
    while b"\r\n\r\n" not in head:  # nothing follows: in TLS the client speaks first
        data = await loop.sock_recv(sock, 4096)
        head += data
        if not data or len(head) > _HEAD_LIMIT:
            raise ConnectionError(f"{where} gave no HTTP answer")
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].startswith("2"):
        raise ConnectionError(f"{where} answered: {' '.join(words[1:])[:200]}")
