"""The hub's question to a storage account: whether a blob is there.

Get Blob Properties (learn.microsoft.com, rest/api/storageservices), signed with the account's key. The account is the
lab's own, one on Azure, or an emulator; the lab's authority is trusted beside the machine's.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from iotedge_lab.errors import StoreUnavailable
from iotedge_lab.hub.files import Found
from iotedge_lab.wire.storage import shared_key

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.clock import Clock
    from iotedge_lab.wire.storage.account import StorageAccount

VERSION: Final = "2021-08-06"
_SECONDS: Final = 30.0


class StorageClient:
    """Asks storage accounts; `ca_file` is the lab's authority."""

    def __init__(self, ca_file: Path, clock: Clock) -> None:
        self._ca_file = ca_file
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def find(self, account: StorageAccount, container: str, blob: str) -> Found | None:
        """A blob's size and time, None where it is not there. Raises `StoreUnavailable` if nobody can tell."""
        path = f"{urlsplit(account.endpoint).path}/{quote(container)}/{quote(blob, safe='~/')}"
        headers = {
            "x-ms-date": format_datetime(datetime.fromtimestamp(self._clock.now(), UTC), usegmt=True),
            "x-ms-version": VERSION,
        }
        headers["Authorization"] = shared_key.authorization(
            "HEAD", path, list(headers.items()), account=account.name, key=account.key
        )
        url = URL(account.endpoint.removesuffix(urlsplit(account.endpoint).path) + path, encoded=True)
        try:
            async with self._opened().head(url, headers=headers) as answer:
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    code = answer.headers.get("x-ms-error-code", "no reason given")
                    raise StoreUnavailable(
                        f"the storage account {account.name!r} answered {answer.status} ({code}) when the hub looked "
                        "for the file. Check the connection string for file upload, then report the upload again."
                    )
                modified = parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
                return Found(int(answer.headers["Content-Length"]), modified)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            raise StoreUnavailable(
                f"the storage account {account.name!r} at {account.host} cannot be asked for the file "
                f"({type(error).__name__}). Report the upload again later."
            ) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context()
            context.load_verify_locations(self._ca_file)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=20),
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
            )
        return self._session

    async def close(self) -> None:
        """Close its connections. Again does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
