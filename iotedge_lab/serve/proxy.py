"""An HTTP CONNECT proxy on loopback that leads names to the lab: for machines where port 443 needs root.

RFC 9110, section 9.3.6. The SDKs fix port 443 for REST, file upload and MQTT over WebSocket, and the name in
HostName for TLS; with `HTTPS_PROXY` (requests, azure-core) and `mqtt_proxy` (paho) pointing here, a client that
asks for `lab.azure-devices.net:443` reaches 127.0.0.1:8443 and checks the certificate against the name it
asked for. What no route names passes through untouched, directly or by the proxy that this network demands.

What went wrong stands in the reason phrase too, as PySocks and http.client show nothing else of an answer.

Left out: plain HTTP requests (405: set HTTPS_PROXY, not HTTP_PROXY), clients' proxy passwords (it listens on
loopback only), proxy auto-configuration. uamqp knows no proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit

from iotedge_lab.errors import UsageError
from iotedge_lab.serve.addresses import BACKLOG, listen, loopback_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_HEAD_LIMIT: Final = 64 * 1024
_CHUNK: Final = 64 * 1024
_TARGET: Final = re.compile(r"(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}


@dataclass(frozen=True, slots=True)
class Route:
    """Leads clients of `name` (`*` stands for any run of characters) and `port` (None: any) to an address."""

    name: str
    port: int | None
    to_host: str
    to_port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `*.azure-devices.net:443 -> 127.0.0.1:8443`; the first port may be `*`. UsageError otherwise."""
        left, arrow, right = (part.strip() for part in text.partition("->"))
        name, _, port = left.rpartition(":")
        to_host, _, to_port = right.rpartition(":")
        if not (arrow and name and to_host and to_port.isdecimal() and (port == "*" or port.isdecimal())):
            raise UsageError(f"{text!r} is no route: write name:port -> address:port, with * as you need it.")
        return cls(name.strip("[]"), None if port == "*" else int(port), to_host.strip("[]"), int(to_port))

    def __str__(self) -> str:
        port = "*" if self.port is None else self.port
        return f"{_shown(self.name)}:{port} -> {_shown(self.to_host)}:{self.to_port}"

    def matches(self, host: str, port: int) -> bool:
        """Whether a CONNECT to `host` and `port` goes this way; names compare without case."""
        return self.port in (None, port) and fnmatchcase(host.lower().rstrip("."), self.name.lower())


@dataclass(frozen=True, slots=True)
class _Upstream:
    """The proxy that foreign hosts are reached by."""

    host: str
    port: int
    tls: bool
    authorization: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the form that HTTPS_PROXY has: http://[user:password@]host[:port]."""
        parts = urlsplit(text if "//" in text else f"http://{text}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if parts.scheme not in ("http", "https") or not host:
            # The text may hold a password, so the message does not repeat it.
            raise UsageError("The upstream proxy (HTTPS_PROXY) must read http://[user:password@]host:port.")
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        tls = parts.scheme == "https"
        return cls(host, port or (443 if tls else 80), tls, authorization)


class _RefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class ConnectProxy:
    """Serves CONNECT on loopback; `routes` are tried in order, and the first that matches decides.

    `upstream` is a proxy URL for hosts that no route names (HTTPS_PROXY's value; None or empty: directly);
    loopback is always reached directly. With `foreign` false such hosts are refused (403). `timeout` is how
    long, in seconds, a client may take to ask and a host may take to answer. UsageError for a malformed URL.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        upstream: str | None = None,
        foreign: bool = True,
        timeout: float = 10.0,
    ) -> None:
        self.routes = tuple(routes)
        self._upstream = _Upstream.parse(upstream) if upstream else None
        self._foreign = foreign
        self._timeout = timeout
        self._servers: list[asyncio.Server] = []
        self._addresses: list[tuple[str, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<ConnectProxy {self.url or 'not started'}, {len(self.routes)} routes>"

    @property
    def url(self) -> str | None:
        """What to set HTTPS_PROXY and mqtt_proxy to; None before `start` and after `close`."""
        return f"http://{_shown(self._addresses[0][0])}:{self._addresses[0][1]}" if self._addresses else None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on `host` and `port` (0: any free one) and return the port. Raises what `listen` raises."""
        if self._servers:
            raise UsageError(f"This proxy runs already, at {self.url}.")
        for made in listen(host, port):
            self._servers.append(
                await asyncio.start_server(self._serve, sock=made, limit=_HEAD_LIMIT, backlog=BACKLOG)
            )
            self._addresses.append(made.getsockname()[:2])
        if self._upstream and self._is_own(self._upstream.host, self._upstream.port):
            # HTTPS_PROXY was set for the lab's clients, and this process inherited it.
            log.info("HTTPS_PROXY names this very proxy: hosts beyond the lab are reached directly")
            self._upstream = None
        return self._addresses[0][1]

    async def close(self) -> None:
        """Stop listening and cut the tunnels; a second call does nothing."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()
        self._addresses.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its request to the end of its tunnel."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            try:
                host, port = await self._request(reader)
                far_reader, far_writer = await self._reach(host, port)
            except _RefusalError as refusal:
                log.debug("CONNECT refused: %d %s", refusal.status, refusal.text)
                await _answer(reader, writer, refusal)
                return
            try:
                # In one piece: PySocks reads the status line and drops whatever came along with it.
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _tunnel((reader, writer), (far_reader, far_writer))
            finally:
                far_writer.transport.abort()
        except (OSError, EOFError):  # a client that left, or a reset on either side: the tunnel is over
            pass
        except asyncio.CancelledError:  # `close`; nobody awaits this task but it
            pass
        except Exception:
            log.exception("The proxy failed on one connection")
        finally:
            # Both ends have had their EOF by now, or one is gone: nothing is left to flush.
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        """The host and port that the client asks for."""
        try:
            async with asyncio.timeout(self._timeout):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise _RefusalError(408, f"no CONNECT request within {self._timeout:g} s") from None
        except asyncio.LimitOverrunError:
            raise _RefusalError(431, f"the request is over {_HEAD_LIMIT // 1024} KB") from None
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise _RefusalError(400, "this is no HTTP/1.1 request")
        if words[0] != "CONNECT":
            raise _RefusalError(
                405, "this proxy serves CONNECT only: set HTTPS_PROXY or mqtt_proxy to it, not HTTP_PROXY"
            )
        target = _TARGET.fullmatch(words[1])
        if target is None or not 0 < int(target["port"]) < 65536:
            raise _RefusalError(400, "CONNECT needs host:port, with a port from 1 to 65535")
        return target["six"] or target["host"], int(target["port"])

    async def _reach(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to where `host` and `port` lead."""
        route = next((each for each in self.routes if each.matches(host, port)), None)
        asked = f"{_shown(host)}:{port}"
        if route is not None:
            where = f"{_shown(route.to_host)}:{route.to_port}, where the lab serves {asked},"
            return await self._open(where, "is the hub running?", route.to_host, route.to_port)
        if self._is_own(host, port):
            raise _RefusalError(403, f"{asked} is this proxy itself")
        if not self._foreign:
            raise _RefusalError(403, f"{asked} is not of this lab, and this proxy leads nowhere else")
        if self._upstream is None or _is_loopback(host):
            return await self._open(asked, "", host, port)
        return await self._reach_by(self._upstream, asked)

    async def _reach_by(
        self, upstream: _Upstream, asked: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        where = f"the upstream proxy {_shown(upstream.host)}:{upstream.port}"
        reader, writer = await self._open(
            where, "check HTTPS_PROXY", upstream.host, upstream.port, upstream.tls
        )
        try:
            request = f"CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n"
            if upstream.authorization:
                request += f"Proxy-Authorization: {upstream.authorization}\r\n"
            writer.write(request.encode() + b"\r\n")
            async with asyncio.timeout(self._timeout):
                head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)[1:]
            if not status or not re.fullmatch("2[0-9][0-9]", status[0]):
                raise _RefusalError(502, f"{where} answered {asked} with {' '.join(status) or 'no status'}")
        except TimeoutError:
            writer.transport.abort()
            raise _RefusalError(504, f"{where} did not answer within {self._timeout:g} s") from None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
            raise _RefusalError(502, f"{where} gave no HTTP answer for {asked}") from None
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _open(
        self, where: str, advice: str, host: str, port: int, tls: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; a refusal that names `where` and ends with `advice` if that fails."""
        advice = f" ({advice})" if advice else ""
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.open_connection(host, port, ssl=tls or None, limit=_CHUNK)
        except TimeoutError:
            text = f"{where} did not answer within {self._timeout:g} s{advice}"
            raise _RefusalError(504, text) from None
        except socket.gaierror:
            raise _RefusalError(502, f"{where} has no address: the name was not found{advice}") from None
        except ConnectionRefusedError:
            raise _RefusalError(502, f"{where} refuses connections{advice}") from None
        except OSError as error:
            raise _RefusalError(
                502, f"{where} cannot be reached: {error.strerror or error}{advice}"
            ) from None

    def _is_own(self, host: str, port: int) -> bool:
        """Whether this proxy listens there: to connect would go round in a circle."""
        return any(port == own_port and own in _addresses_of(host) for own, own_port in self._addresses)


async def _tunnel(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Carry bytes both ways until both sides have ended; OSError if one breaks."""
    ways = [asyncio.create_task(_carry(near[0], far[1])), asyncio.create_task(_carry(far[0], near[1]))]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way of a tunnel, as fast as the receiver takes it; its end is passed on, the other way goes on."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
        await _flushed(writer)
    else:  # TLS to the upstream proxy knows no half-close
        writer.close()
        await writer.wait_closed()


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """Wait until the kernel has all that was written."""
    writer.transport.set_write_buffer_limits(high=0)
    await writer.drain()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refusal: _RefusalError) -> None:
    """Send the refusal, in the reason phrase and as text, and let the client read it before the end."""
    reason = f"{_REASONS[refusal.status]} - {refusal.text}".encode("ascii", "replace")
    body = f"iotedge-lab proxy: {refusal.text}\n".encode()
    writer.write(
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n" % (refusal.status, reason)
        + b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
        + (b"Allow: CONNECT\r\n" if refusal.status == 405 else b"")
        + b"\r\n"
        + body
    )
    writer.write_eof()
    # A close with bytes of the client's unread becomes a reset, which can overtake the answer.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            while await reader.read(_CHUNK):
                pass


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _addresses_of(host: str) -> list[str]:
    """The loopback addresses of `host`, none if it is not loopback."""
    try:
        return loopback_addresses(host.rstrip("."))
    except UsageError:
        return []


def _is_loopback(host: str) -> bool:
    return bool(_addresses_of(host))
