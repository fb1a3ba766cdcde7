"""The REST calls that read a blob: Get Blob, Get Blob Properties, Get Block List.

learn.microsoft.com, rest/api/storageservices, pages of these names. A blob that is deleted or overwritten while it is
read is read to its end.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from iotedge_lab.blobs import documents
from iotedge_lab.blobs.contents import Stretch
from iotedge_lab.blobs.errors import BlobError, bad_header, bad_query, blob_not_found
from iotedge_lab.blobs.http_common import stamp, xml
from iotedge_lab.blobs.names import META
from iotedge_lab.blobs.records import CONTENT_HEADERS, TIER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.blobs.http_common import Call
    from iotedge_lab.blobs.records import Blob, Block

_RANGE: Final = re.compile(r"bytes=(\d{1,19})-(\d{0,19})")
_MD5_LIMIT: Final = 4 * 1024 * 1024  # of a range whose checksum is asked for


async def properties(call: Call) -> web.Response:
    """HEAD, and GET or HEAD ?comp=metadata."""
    found = call.account.catalogue.get(call.container, call.blob)
    call.conditions.require_for_read(found)
    if call.query.get("comp") == "metadata":
        return web.Response(headers=stamp(found) | _metadata(found))
    headers = described(found) | dict(call.grant.response_headers)
    tier = found.headers.get(TIER)
    headers |= {"x-ms-access-tier": tier or "Hot", "Content-Length": str(found.size)}
    if tier is None:
        headers["x-ms-access-tier-inferred"] = "true"
    return web.Response(headers=headers)


def described(found: Blob) -> dict[str, str]:
    """The headers that tell of a blob."""
    headers = stamp(found) | _metadata(found)
    headers |= {name: found.headers[name] for name in CONTENT_HEADERS if found.headers.get(name)}
    headers |= {
        "x-ms-creation-time": documents.http_date(found.created),
        "x-ms-blob-type": "BlockBlob",
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-server-encrypted": "true",
        "Accept-Ranges": "bytes",
    }
    return headers | (found.copied or {})


def _metadata(found: Blob) -> dict[str, str]:
    return {f"{META}{name}": value for name, value in found.metadata.items()}


async def get(call: Call) -> web.StreamResponse:
    """GET: all of it, or a range."""
    catalogue = call.account.catalogue
    found = catalogue.get(call.container, call.blob)
    call.conditions.require_for_read(found)
    asked = _range(call, found.size)
    headers = described(found) | dict(call.grant.response_headers)
    first, size = asked or (0, found.size)
    stretches = cut(catalogue.parts(call.container, call.blob), first, size)
    with call.account.contents.pinned(stretches):
        if asked is not None:
            headers["Content-Range"] = f"bytes {first}-{first + size - 1}/{found.size}"
            whole = headers.pop("Content-MD5", None)
            if whole is not None:
                headers["x-ms-blob-content-md5"] = whole
            if _wants_md5(call, size):
                digest = hashlib.md5(usedforsecurity=False)
                async for piece in call.account.contents.read(stretches):
                    digest.update(piece)
                headers["Content-MD5"] = base64.b64encode(digest.digest()).decode()
        answer = web.StreamResponse(status=200 if asked is None else 206, headers=headers)
        answer.content_length = size
        answer.headers.setdefault("Content-Type", "application/octet-stream")
        await answer.prepare(call.request)
        async with contextlib.aclosing(call.account.contents.read(stretches)) as pieces:
            async for piece in pieces:
                await answer.write(piece)
        await answer.write_eof()
    return answer


def _range(call: Call, size: int) -> tuple[int, int] | None:
    """First byte and length of the range that is asked for; None for all of it. Raises 416 InvalidRange."""
    text = call.headers.get("x-ms-range") or call.headers.get("Range")
    if not text:
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        return None  # "If the range is not valid, it is ignored" (RFC 9110, section 14.2)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if first >= size:
        raise BlobError(
            416,
            "InvalidRange",
            "The range specified is invalid for the current size of the resource.",
            {"ContentRange": f"bytes */{size}"},
        )
    return first, last - first + 1


def _wants_md5(call: Call, size: int) -> bool:
    if call.headers.get("x-ms-range-get-content-md5", "").lower() != "true":
        return False
    if size > _MD5_LIMIT:
        raise bad_header(
            "x-ms-range-get-content-md5",
            "true",
            f"is for ranges of at most {_MD5_LIMIT} bytes; this one has {size}",
        )
    return True


def cut(parts: Sequence[Block], first: int, size: int) -> list[Stretch]:
    """Where `size` bytes from `first` on lie in the files of a blob's parts."""
    found = []
    start, end = 0, first + size
    for part in parts:
        begin, stop = max(first, start), min(end, start + part.size)
        if begin < stop:
            found.append(Stretch(part.file, begin - start, stop - begin))
        start += part.size
    return found


async def block_list(call: Call) -> web.Response:
    """GET ?comp=blocklist: of blobs that were committed, and of names that have waiting blocks alone."""
    catalogue = call.account.catalogue
    kind = call.query.get("blocklisttype", "committed").lower()
    if kind not in ("committed", "uncommitted", "all"):
        raise bad_query("blocklisttype", kind, "is committed, uncommitted or all")
    found = catalogue.find(call.container, call.blob)
    waiting = catalogue.waiting(call.container, call.blob)
    if found is None and not waiting:
        raise blob_not_found(call.blob)
    headers = {"x-ms-blob-content-length": str(found.size if found is not None else 0)}
    if found is not None:
        headers |= stamp(found)
    committed = [part for part in catalogue.parts(call.container, call.blob) if part.id]
    body = documents.block_list(
        committed if kind != "uncommitted" else None, waiting if kind != "committed" else None
    )
    return xml(body, headers)
