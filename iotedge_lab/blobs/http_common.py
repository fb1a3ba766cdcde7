"""What every call of the Blob service shares: the request taken apart, its body, the headers of the answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from aiohttp import ClientPayloadError, web

from iotedge_lab.blobs import documents
from iotedge_lab.blobs.access import Access, Asked, Grant
from iotedge_lab.blobs.conditions import Conditions
from iotedge_lab.blobs.errors import BlobError, bad_header, bad_query, not_served
from iotedge_lab.blobs.names import check_blob, check_container
from iotedge_lab.blobs.operations import Level, Operation, operation
from iotedge_lab.wire.storage.shared_key import query_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from iotedge_lab.blobs.catalogue import Catalogue
    from iotedge_lab.blobs.conditions import Versioned
    from iotedge_lab.blobs.contents import Contents
    from iotedge_lab.clock import Clock

LATEST: Final = "2021-12-02"  # told to a client that names no version
STALL_SECONDS: Final = 120.0  # a body of which nothing comes for so long is given up
DOCUMENT_LIMIT: Final = 8 * 1024 * 1024  # 50,000 blocks with the longest ids
_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d")
#: Headers that ask for what is not served: to pass over them would store something else than was meant.
_REFUSED: Final = {
    "x-ms-encryption-key": "encryption with a key of the customer's",
    "x-ms-encryption-scope": "an encryption scope",
    "x-ms-lease-id": "a lease",
    "x-ms-tags": "tags of a blob",
    "x-ms-content-crc64": "a checksum by CRC64 (use Content-MD5)",
    "x-ms-structured-body": "a structured body (validate_content: use MD5)",
    "x-ms-immutability-policy-mode": "an immutability policy",
    "x-ms-legal-hold": "a legal hold",
    "x-ms-blob-public-access": "public access",
}


@dataclass(frozen=True, slots=True)
class Account:
    """What the calls work on. `endpoint`: the account's URL, without a slash at the end."""

    name: str
    endpoint: str
    catalogue: Catalogue
    contents: Contents
    access: Access
    clock: Clock


ACCOUNT: Final = web.AppKey("account", Account)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in. `query` has the last value of each name."""

    account: Account
    request: web.Request
    operation: Operation
    asked: Asked
    query: Mapping[str, str]
    grant: Grant

    @property
    def container(self) -> str:
        """The container's name."""
        return self.asked.container

    @property
    def blob(self) -> str:
        """The blob's name."""
        return self.asked.blob

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, whatever the case."""
        return self.request.headers

    @property
    def conditions(self) -> Conditions:
        """What the request makes its condition; raises `BlobError`."""
        return Conditions.read(self.request.headers)


def open_call(request: web.Request) -> Call:
    """Take a request apart, and see whether it is allowed. Raises `BlobError`."""
    account = request.app[ACCOUNT]
    raw_path, _, raw_query = request.raw_path.partition("?")
    pairs = query_of(raw_query)
    query = dict(pairs)
    first, _, rest = raw_path.lstrip("/").partition("/")
    container, _, blob = rest.partition("/")
    container, blob = unquote(container), unquote(blob, errors="replace")
    if unquote(first) != account.name:
        raise BlobError(
            404,
            "ResourceNotFound",
            f"There is no account {unquote(first)[:40]!r} here; its URL is {account.endpoint}.",
        )
    _check_version(request)
    level = Level.OBJECT if blob else Level.CONTAINER if container else Level.SERVICE
    found = operation(
        request.method,
        level,
        query.get("restype", ""),
        query.get("comp", ""),
        copies="x-ms-copy-source" in request.headers,
    )
    asked = Asked(
        request.method,
        raw_path,
        pairs,
        list(request.headers.items()),
        account.name,
        container,
        blob,
        request.remote or "",
    )
    grant = account.access.require(asked, found)
    if container:
        check_container(container)
    if blob:
        check_blob(blob)
    for name, what in _REFUSED.items():
        if name in request.headers:
            raise not_served(what)
    for name in ("snapshot", "versionid"):
        if query.get(name):
            raise not_served(f"a {name.removesuffix('id')} of a blob")
    return Call(account, request, found, asked, query, grant)


def _check_version(request: web.Request) -> None:
    text = request.headers.get("x-ms-version")
    if text is not None and (_VERSION.fullmatch(text) is None or text < "2015-02-21"):
        raise bad_header("x-ms-version", text, "is a version of the service from 2015-02-21 on")


def number(query: Mapping[str, str], name: str, most: int) -> int:
    """A count in the query, 1 to `most` (more counts as `most`); `most` where there is none. Raises `BlobError`."""
    text = query.get(name)
    if not text:
        return most
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text)):
        raise BlobError(
            400,
            "OutOfRangeQueryParameterValue",
            "One of the query parameters specified in the request URI is outside the permissible range.",
            {
                "QueryParameterName": name,
                "QueryParameterValue": text[:40],
                "MinimumAllowed": "1",
                "MaximumAllowed": str(most),
            },
        )
    return min(int(text), most)


def includes(query: Mapping[str, str]) -> set[str]:
    """What a listing shall tell besides (`include`)."""
    return set(filter(None, query.get("include", "").lower().split(",")))


def marker(query: Mapping[str, str]) -> str:
    """The name at which a listing goes on. Raises `BlobError` for a marker that none of ours is."""
    text = query.get("marker", "")
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_query("marker", text, "is no marker of a listing of this endpoint") from None


def to_marker(name: str) -> str:
    """The marker at which a listing goes on at `name`; '' for its end."""
    return base64.urlsafe_b64encode(name.encode()).decode()


# -- bodies --------------------------------------------------------------------------------------------


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `BlobError` (400) when it ends early, or stalls."""
    length = request.content_length
    if length is None:
        raise BlobError(411, "MissingContentLengthHeader", "Content-Length HTTP header is missing.")
    seen = 0
    stream = request.content.iter_any()
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await anext(stream, b"")
        except (TimeoutError, ClientPayloadError, ConnectionError) as error:
            raise BlobError(
                400,
                "IncompleteBody",
                f"The request body ended after {seen} of {length} bytes; nothing of it was kept.",
            ) from error
        if not piece:
            break
        seen += len(piece)
        yield piece
    if seen != length:
        raise BlobError(
            400, "IncompleteBody", f"The request body has {seen} bytes, and Content-Length says {length}."
        )


async def document(call: Call) -> bytes:
    """A body that is an XML document. Raises `BlobError`, 400 Md5Mismatch if it is not what Content-MD5 says."""
    found = bytearray()
    async for piece in pieces(call.request):
        found += piece
        if len(found) > DOCUMENT_LIMIT:
            raise BlobError(413, "RequestBodyTooLarge", "The request body is too large.")
    return bytes(found)


def md5_header(headers: Mapping[str, str], name: str) -> bytes | None:
    """A checksum in a header (base64 of 16 bytes), or None. Raises 400 InvalidMd5."""
    text = headers.get(name)
    if not text:
        return None
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != 16:
        raise BlobError(
            400,
            "InvalidMd5",
            f"The MD5 value specified in the request is invalid: {name} is base64 of 16 bytes.",
        )
    return found


def check_md5(wanted: bytes | None, found: bytes) -> None:
    """Raises 400 Md5Mismatch where they differ."""
    if wanted is not None and wanted != found:
        raise BlobError(
            400,
            "Md5Mismatch",
            "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
            {
                "UserSpecifiedMd5": base64.b64encode(wanted).decode(),
                "ServerCalculatedMd5": base64.b64encode(found).decode(),
            },
        )


# -- answers -------------------------------------------------------------------------------------------


def stamp(found: Versioned) -> dict[str, str]:
    """ETag and Last-Modified."""
    return {"ETag": found.etag, "Last-Modified": documents.http_date(found.modified)}


def xml(body: bytes, headers: Mapping[str, str] | None = None, *, status: int = 200) -> web.Response:
    """An answer that is a document."""
    return web.Response(
        body=body, status=status, headers={"Content-Type": "application/xml"} | dict(headers or {})
    )
