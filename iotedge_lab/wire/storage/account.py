"""Connection strings of Azure Storage: the account, its key, and where its blobs are.

Azure: "Configure Azure Storage connection strings" (learn.microsoft.com, storage/common,
storage-configure-connection-string). Parts are `Name=value` joined by `;`, in any case; an AccountKey ends with `=`.

    DefaultEndpointsProtocol=https;AccountName=a;AccountKey=...;EndpointSuffix=core.windows.net     on Azure
    DefaultEndpointsProtocol=https;AccountName=a;AccountKey=...;BlobEndpoint=https://127.0.0.1:1/a  the lab's

Leaves out: queues, tables and files, and strings that hold a SharedAccessSignature in place of a key: what is made
from the string here (an upload's SAS) needs the key. `UseDevelopmentStorage=true` stands for a fixed endpoint of
Azurite over plain HTTP, which devices are not led to; write its endpoint out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from iotedge_lab.errors import ConnectionStringError, UsageError
from iotedge_lab.wire.sas import decode_key

DEFAULT_SUFFIX = "core.windows.net"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """An account: `endpoint` is the URL of its blobs without a slash at the end, `key` is base64."""

    name: str
    key: str = field(repr=False)
    endpoint: str

    @classmethod
    def parse(cls, text: str) -> StorageAccount:
        """Take a connection string apart. Raises `ConnectionStringError`, which names the part and shows no key."""
        parts: dict[str, str] = {}
        for number, piece in enumerate(filter(None, text.strip().split(";")), 1):
            name, separator, value = piece.partition("=")
            if not separator:
                raise ConnectionStringError(f"Part {number} has no '='; each part is Name=value.")
            parts[name.strip().lower()] = value.strip()
        name, key = parts.get("accountname", ""), parts.get("accountkey", "")
        if not (name and key):
            missing = "AccountKey" if name else "AccountName"
            raise ConnectionStringError(
                f"The storage connection string has no {missing}; copy the whole of it from the portal (storage "
                "account, Access keys). A shared access signature in it does not do: SAS URIs are signed with the key."
            )
        if _ACCOUNT.fullmatch(name) is None:
            raise ConnectionStringError("AccountName is 3 to 24 small letters and digits.")
        try:
            decode_key(key)
        except UsageError:
            raise ConnectionStringError(
                "AccountKey is not base64; copy it whole, with the '=' at its end."
            ) from None
        scheme = parts.get("defaultendpointsprotocol", "https")
        suffix = parts.get("endpointsuffix", DEFAULT_SUFFIX)
        endpoint = parts.get("blobendpoint") or f"{scheme}://{name}.blob.{suffix}"
        split = urlsplit(endpoint)
        if split.scheme not in ("http", "https") or not split.netloc:
            raise ConnectionStringError("BlobEndpoint reads https://host[:port][/account].")
        return cls(name, key, endpoint.rstrip("/"))

    def format(self) -> str:
        """The connection string in one line, key included."""
        scheme = urlsplit(self.endpoint).scheme
        return (
            f"DefaultEndpointsProtocol={scheme};AccountName={self.name};AccountKey={self.key};"
            f"BlobEndpoint={self.endpoint};"
        )

    @property
    def host(self) -> str:
        """The host of the endpoint, without port."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def authority(self) -> str:
        """What stands between `https://` and the container in the URL of a blob; it may have a path."""
        return self.endpoint.partition("://")[2]
