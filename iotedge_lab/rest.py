"""A few REST calls to a hub, local or on Azure, signed with a service connection string.

What notebooks show is the vendor's `azure.iot.hub`; this is what the lab itself uses, because that package
has no wheel for ARM and its uamqp takes half a second to import.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, LabError, ServiceError
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

API_VERSION = "2021-04-12"
_TOKEN_SECONDS = 300


class RestError(ServiceError):
    """The hub refused: `http_status` and `error` (the header `iothub-errorcode`) are its answer.

    `retry_after`: the seconds to wait that it asks for (429, mostly); None if it asks for none.
    """

    def __init__(self, http_status: int, error: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{http_status} {error}: {message}" if error else f"{http_status}: {message}")
        self.http_status = http_status
        self.error = error
        self.retry_after = retry_after


class RestClient:
    """Calls with a fresh token each. `ca_file`: the lab's bundle for a local hub, None for Azure."""

    def __init__(
        self, connection_string: str, ca_file: Path | None = None, clock: Clock | None = None
    ) -> None:
        self._to = ConnectionString.parse(connection_string)
        self._clock = clock or SystemClock()
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        handlers: list[Any] = [urllib.request.HTTPSHandler(context=context)]
        if ca_file is not None:
            handlers.append(urllib.request.ProxyHandler({}))  # the local hub is reached directly
        self._open = urllib.request.build_opener(*handlers).open

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Any:
        """The JSON that the hub answers (None for an empty answer).

        Raises `RestError` for a refusal, `HubNotRunning` if nothing answers, `EnvironmentProblem` for TLS.
        """
        text, _ = self._exchange(method, path, body, headers=headers, query=query, timeout=timeout)
        return json.loads(text) if text else None

    def query(self, text: str, *, page: int = 100) -> Iterator[Any]:
        """The rows that a query in IoT Hub's query language finds, `page` at a time. Raises as `call` does."""
        following: str | None = None
        while True:
            rows, following = self.query_page(text, size=page, following=following)
            yield from rows
            if not following:
                return

    def query_page(
        self, text: str, *, size: int = 100, following: str | None = None
    ) -> tuple[list[Any], str | None]:
        """One page of what a query finds, and what leads to the next (`following`), or None. Raises as `call` does."""
        headers = {"x-ms-max-item-count": str(size)}
        if following:
            headers["x-ms-continuation"] = following
        found, answered = self._exchange("POST", "/devices/query", {"query": text}, headers=headers)
        return json.loads(found) if found else [], answered.get("x-ms-continuation")

    def _exchange(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> tuple[bytes, Message]:
        """One call: the body and the headers of its answer."""
        host, key = self._to.host_name, self._to.shared_access_key
        assert host is not None
        assert key is not None
        token = sas.build(host, key, int(self._clock.now()) + _TOKEN_SECONDS, self._to.shared_access_key_name)
        asked = urllib.parse.urlencode({"api-version": API_VERSION} | (query or {}))
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"https://{host}{path}?{asked}",
            data=data,
            method=method,
            headers={"Authorization": token, "Content-Type": "application/json"} | (headers or {}),
        )
        try:
            with self._open(request, timeout=timeout) as response:
                return response.read(), response.headers
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise _unreachable(host, error) from error


def quote(part: str) -> str:
    """A device or module id as one segment of a path."""
    return urllib.parse.quote(part, safe="")


def _refusal(error: urllib.error.HTTPError) -> RestError:
    with error:
        text = error.read().decode("utf-8", "replace")
    try:
        message = str(json.loads(text).get("Message", text))
    except (ValueError, AttributeError):
        message = text[:300]
    name = error.headers.get("iothub-errorcode", "")
    wait = error.headers.get("Retry-After", "")  # in seconds; a date, which HTTP allows too, is left out
    seconds = float(wait) if wait.isdecimal() else None
    return RestError(error.code, name, message.removeprefix(f"ErrorCode:{name};"), seconds)


def _unreachable(host: str, error: Exception) -> LabError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        return EnvironmentProblem(
            f"{host} answers, and its certificate is not trusted ({reason}). 'iotedge-lab doctor' says more."
        )
    return HubNotRunning(
        f"no hub answers at {host} ({reason}). Start it with 'iotedge-lab up' or Lab.open()."
    )
