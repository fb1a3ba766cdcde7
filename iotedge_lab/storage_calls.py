"""A few calls to a storage account, signed with its key: what the lab itself needs of it.

What notebooks show is the vendor's `azure.storage.blob`; it is not among what the hub needs to be installed.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.wire.storage import shared_key
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final = "2021-08-06"
_SECONDS: Final = 30.0


class StorageCalls:
    """Calls to the lab's own account. `ca_file`: the lab's authority."""

    def __init__(self, connection_string: str, ca_file: Path, clock: Clock | None = None) -> None:
        self._account = StorageAccount.parse(connection_string)
        self._clock = clock or SystemClock()
        context = ssl.create_default_context(cafile=str(ca_file))
        self._open = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
        ).open

    def empty(self, container: str) -> None:
        """Delete all that is in a container, and make it again; nothing if there is no such container."""
        path = f"/{container}"
        if self._call("DELETE", path, "restype=container") != 404:
            self._call("PUT", path, "restype=container")

    def health(self, timeout: float = _SECONDS) -> dict[str, Any]:
        """What the server says of itself. Raises `EnvironmentProblem` if it does not answer."""
        parts = urlsplit(self._account.endpoint)
        try:
            with self._open(f"{parts.scheme}://{parts.netloc}/lab/health", timeout=timeout) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError) as error:
            raise EnvironmentProblem(
                f"the storage account at {self._account.endpoint} does not answer ({error})."
            ) from error

    def _call(self, method: str, path: str, query: str) -> int:
        full = urlsplit(self._account.endpoint).path + path
        headers = {
            "x-ms-date": format_datetime(datetime.fromtimestamp(self._clock.now(), UTC), usegmt=True),
            "x-ms-version": VERSION,
            "Content-Length": "0",
        }
        headers["Authorization"] = shared_key.authorization(
            method,
            full,
            list(headers.items()),
            account=self._account.name,
            key=self._account.key,
            query=query,
        )
        request = urllib.request.Request(  # noqa: S310 - the scheme is the endpoint's
            f"{self._account.endpoint}{path}?{query}", method=method, headers=headers
        )
        try:
            with self._open(request, timeout=_SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return 404
            raise EnvironmentProblem(
                f"the storage account answered {error.code} to {method} {path} "
                f"({error.headers.get('x-ms-error-code', 'no reason given')})."
            ) from error
        except OSError as error:
            raise EnvironmentProblem(
                f"the storage account at {self._account.endpoint} does not answer ({error})."
            ) from error
