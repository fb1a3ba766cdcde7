"""REST calls with an edge device's token: signed, bounded in time and size, each failure told by its kind."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from iotedge_lab.edge.errors import UpstreamAway, UpstreamUntrusted
from iotedge_lab.edge.upstream.answers import refusal
from iotedge_lab.edge.upstream.patience import Patience
from iotedge_lab.errors import Unauthorized
from iotedge_lab.serve.mqtt_link import in_words

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.errors import LabError

_MOST_BYTES: Final = 64 * 1024 * 1024  # of an answer: a page of a scope, with fifty modules a device
_CHUNK: Final = 256 * 1024
_RENEW_FROM: Final = 0.8  # of a token's life
_SKEW: Final = 120.0  # s that the two clocks may differ before it is worth a word


class HttpCalls:
    """One session of HTTPS. A gate that closes cuts its connections, those that only wait for the next call too."""

    def __init__(
        self, cloud: Cloud, edge: CloudIdentity, clock: Clock, gate: Gate, patience: Patience | None = None
    ) -> None:
        self._cloud = cloud
        self._edge = edge
        self._clock = clock
        self._gate = gate
        self._patience = patience or Patience()
        self._session: aiohttp.ClientSession | None = None
        self._held = ExitStack()
        self._closing: set[asyncio.Task[None]] = set()
        self._token = ""
        self._token_until = 0.0  # monotonic

    async def call(self, method: str, path: str, body: Any = None, *, if_match: str | None = None) -> Any:
        """The JSON that the hub answers (None for an empty answer). `path` is encoded, and has its query.

        Raises what `CloudRest` says.
        """
        signed_before = self._clock.monotonic() < self._token_until
        try:
            return await self._once(method, path, body, if_match)
        except Unauthorized:
            if not signed_before:
                raise
        # The token was signed by a clock that may have been set right since.
        return await self._once(method, path, body, if_match)

    async def _once(self, method: str, path: str, body: Any, if_match: str | None) -> Any:
        session = self._open()
        return await self._gate.run(self._exchange(session, method, path, body, if_match))

    async def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._drop()
        await asyncio.gather(*self._closing)

    # -- the session -----------------------------------------------------------------------------------

    def _open(self) -> aiohttp.ClientSession:
        self._gate.check()
        if self._session is None:
            # Before the call's own hold: what is cut first is the socket, which aiohttp would close politely when
            # the call is cancelled, and so wait for a hub that may not answer.
            held = ExitStack()
            held.enter_context(self._gate.holding(self._drop))
            self._held = held
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._cloud.context, limit=8),
                timeout=aiohttp.ClientTimeout(total=self._patience.call),
            )
        return self._session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            task = asyncio.create_task(self._end(session, self._held))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    @staticmethod
    async def _end(session: aiohttp.ClientSession, held: ExitStack) -> None:
        try:
            await session.close()
        finally:
            held.close()

    # -- one call --------------------------------------------------------------------------------------

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, path: str, body: Any, if_match: str | None
    ) -> Any:
        headers = {"Authorization": self._signed(), "Accept": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match if if_match == "*" else f'"{if_match}"'
        proxy = self._cloud.https_proxy
        try:
            async with session.request(
                method,
                self._cloud.url(path),
                json=body,
                headers=headers,
                proxy=proxy.url if proxy is not None else None,
                allow_redirects=False,
            ) as answer:
                text = await _read(answer)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._failed(error) from error
        if not 200 <= answer.status < 300:
            raise self._refused(answer, text)
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise self._no_hub("with something that is not JSON") from None

    def _signed(self) -> str:
        now = self._clock.monotonic()
        if now >= self._token_until:
            life = self._patience.token_seconds
            self._token = self._edge.token(self._cloud.hostname, math.ceil(self._clock.now() + life))
            self._token_until = now + life * _RENEW_FROM
        return self._token

    # -- what went wrong -------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> LabError:
        host = self._cloud.hostname
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = error.certificate_error
            word = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)
            return UpstreamUntrusted(
                f"{host} answers, and its certificate is not trusted ({word}). Name the file of the authority that "
                "signed it, with SSL_CERT_FILE; 'iotedge-lab env' has that of a local hub."
            )
        proxy = self._cloud.https_proxy
        if isinstance(error, aiohttp.ClientHttpProxyError) and proxy is not None:
            why = f"the proxy {proxy.host}:{proxy.port} answered {error.status} {error.message}"
        elif isinstance(error, aiohttp.ClientProxyConnectionError) and proxy is not None:
            why = f"the proxy {proxy.host}:{proxy.port} cannot be reached: {in_words(error.os_error)}"
        elif isinstance(error, aiohttp.ClientConnectorError):
            why = in_words(error.os_error)
        elif isinstance(error, TimeoutError):
            why = f"no answer came within {self._patience.call:g} s"
        elif isinstance(error, aiohttp.ServerDisconnectedError):
            why = "the hub closed the connection before it answered"
        else:
            why = str(error) or type(error).__name__
        return UpstreamAway(f"{host} cannot be asked over HTTPS: {why}.")

    def _no_hub(self, how: str) -> UpstreamAway:
        return UpstreamAway(
            f"What answers at {self._cloud.hostname}:{self._cloud.https_port} does so {how}: it is no IoT Hub, or a "
            "proxy stands in between. Check HostName and its port."
        )

    def _refused(self, answer: aiohttp.ClientResponse, text: bytes) -> LabError:
        name = answer.headers.get("iothub-errorcode", "")
        message = _message(text, name)
        if 300 <= answer.status < 400:
            return self._no_hub(f"with a redirection ({answer.status})")
        error = refusal(answer.status, name, message, _seconds(answer.headers.get("Retry-After")))
        if isinstance(error, Unauthorized):
            self._token_until = 0.0  # the next attempt signs anew, by the clock as it is then
            return Unauthorized(
                f"{self._cloud.hostname} does not accept the token of the edge device {self._edge.device!r}: "
                f"{error.message} Check that its connection string is the present one (HostName, DeviceId, key), that "
                f"the device exists, is enabled and is an IoT Edge device, and this machine's clock"
                f"{self._skew(answer.headers.get('Date'))}."
            )
        return error

    def _skew(self, date: str | None) -> str:
        """What the hub's clock says of ours."""
        try:
            ahead = self._clock.now() - parsedate_to_datetime(date or "").timestamp()
        except (ValueError, TypeError, OverflowError):
            return ""
        if abs(ahead) < _SKEW:
            return ""
        return f", which is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the hub's"


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body. Raises ClientError for one that is longer than any that a hub gives."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise aiohttp.ClientPayloadError(f"an answer of more than {_MOST_BYTES // 2**20} MB")
    return b"".join(parts)


def _message(text: bytes, name: str) -> str:
    """The hub's words, without the code that stands before them."""
    try:
        said = str(json.loads(text)["Message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = text[:300].decode("utf-8", "replace")
    return said.removeprefix(f"ErrorCode:{name};")[:1000]


def _seconds(retry_after: str | None) -> float | None:
    text = (retry_after or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
