"""The REST calls that write a blob.

Put Blob, Put Block, Put Block List, Copy Blob, Set Blob Properties, Set Blob Metadata, Delete Blob: the pages of these
names below learn.microsoft.com, rest/api/storageservices. A body is checked against Content-MD5 before anything of it
can be seen; conditions and permissions are looked at before the body comes, and again when it is there.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

from iotedge_lab.blobs import documents
from iotedge_lab.blobs.access import Asked
from iotedge_lab.blobs.conditions import Conditions
from iotedge_lab.blobs.errors import BlobError, bad_header, not_served
from iotedge_lab.blobs.http_common import check_md5, document, md5_header, pieces, stamp
from iotedge_lab.blobs.names import check_block_id, read_metadata
from iotedge_lab.blobs.operations import GET_BLOB
from iotedge_lab.blobs.records import CONTENT_HEADERS, TIER, Draft
from iotedge_lab.wire.storage.shared_key import query_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.blobs.http_common import Call
    from iotedge_lab.blobs.records import Blob

BLOB_LIMIT: Final = 5000 * 1024 * 1024  # in one piece
BLOCK_LIMIT: Final = 4000 * 1024 * 1024
_TIERS: Final = ("Hot", "Cool", "Cold", "Archive")
_ENCRYPTED: Final = {"x-ms-request-server-encrypted": "true"}


async def put(call: Call) -> web.Response:
    """PUT: a block blob in one piece."""
    kind = call.headers.get("x-ms-blob-type")
    if kind is None:
        raise BlobError(
            400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified.",
            {"HeaderName": "x-ms-blob-type"},
        )  # fmt: skip
    if kind != "BlockBlob":
        if kind in ("PageBlob", "AppendBlob"):
            raise not_served(f"a {kind}")
        raise bad_header("x-ms-blob-type", kind, "is BlockBlob")
    check = _checker(call)
    check(call.account.catalogue.find(call.container, call.blob))
    headers, metadata = _content_headers(call), read_metadata(call.asked.headers)
    transactional = md5_header(call.headers, "Content-MD5")
    whole = md5_header(call.headers, "x-ms-blob-content-md5")
    _check_length(call, BLOB_LIMIT)
    content = await call.account.contents.receive(pieces(call.request), BLOB_LIMIT)
    try:
        check_md5(transactional, content.md5)
        check_md5(whole, content.md5)
    except BlobError:
        call.account.contents.delete([content.file])
        raise
    md5 = base64.b64encode(content.md5).decode()
    draft = Draft(call.container, call.blob, headers | {"Content-MD5": md5}, metadata)
    made = call.account.catalogue.put(draft, content, check)
    return web.Response(status=201, headers=stamp(made) | _ENCRYPTED | {"Content-MD5": md5})


async def put_block(call: Call) -> web.Response:
    """PUT ?comp=block&blockid=...: kept until a list names it."""
    block_id = check_block_id(call.query.get("blockid", ""))
    call.account.catalogue.container(call.container)
    transactional = md5_header(call.headers, "Content-MD5")
    if call.request.content_length == 0:
        raise bad_header("Content-Length", "0", "is more than 0: a block is not empty")
    _check_length(call, BLOCK_LIMIT)
    content = await call.account.contents.receive(pieces(call.request), BLOCK_LIMIT)
    try:
        check_md5(transactional, content.md5)
    except BlobError:
        call.account.contents.delete([content.file])
        raise
    call.account.catalogue.put_block(call.container, call.blob, block_id, content)
    return web.Response(
        status=201, headers=_ENCRYPTED | {"Content-MD5": base64.b64encode(content.md5).decode()}
    )


async def put_block_list(call: Call) -> web.Response:
    """PUT ?comp=blocklist: the blob is these blocks from now on.

    `x-ms-blob-content-md5` is kept and not checked, as on Azure: it would mean to read the whole blob.
    """
    headers, metadata = _content_headers(call), read_metadata(call.asked.headers)
    md5_header(call.headers, "x-ms-blob-content-md5")
    wanted_md5 = md5_header(call.headers, "Content-MD5")
    body = await document(call)
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    check_md5(wanted_md5, digest)
    wanted = documents.read_block_list(body)
    for _, block_id in wanted:
        check_block_id(block_id, "a block's id")
    draft = Draft(call.container, call.blob, headers, metadata)
    made = call.account.catalogue.commit(draft, wanted, _checker(call))
    return web.Response(
        status=201, headers=stamp(made) | _ENCRYPTED | {"Content-MD5": base64.b64encode(digest).decode()}
    )


async def copy(call: Call) -> web.Response:
    """PUT with x-ms-copy-source: at once, from a blob of this account; from elsewhere it is not served."""
    if "x-ms-blob-type" in call.headers:
        raise not_served("Put Blob From URL")
    account = call.account
    text = call.headers["x-ms-copy-source"]
    url = urlsplit(text)
    path = (
        url.path
        if text.startswith("/")
        else text.partition("?")[0].removeprefix(account.endpoint.rpartition("/")[0])
    )
    first, _, rest = path.lstrip("/").partition("/")
    if text == path or not path.startswith("/") or first != account.name:
        raise not_served("a copy from another account or server")
    container, _, blob = rest.partition("/")
    container, blob = unquote(container), unquote(blob)
    query = query_of(url.query)
    if "sig" in dict(query):
        asked = Asked("GET", path, query, (), account.name, container, blob, call.asked.peer)
        account.access.by_token(asked, dict(query), GET_BLOB)
    elif "sig" in call.query:
        raise BlobError(
            403,
            "CannotVerifyCopySource",
            "The source of the copy needs a shared access signature of its own.",
        )
    try:
        source = account.catalogue.get(container, blob)
    except BlobError as error:
        raise BlobError(404, "CannotVerifyCopySource", error.message) from error
    Conditions.read(call.headers, "x-ms-source-").require(source, code="SourceConditionNotMet")
    metadata = read_metadata(call.asked.headers)
    copied = {
        "x-ms-copy-id": account.clock.new_id(),
        "x-ms-copy-status": "success",
        "x-ms-copy-source": text.partition("?")[0],
        "x-ms-copy-progress": f"{source.size}/{source.size}",
        "x-ms-copy-completion-time": documents.http_date(account.clock.now()),
    }
    draft = Draft(call.container, call.blob, source.headers, metadata or source.metadata, copied)
    made = account.catalogue.copy(source, draft, _checker(call))
    told = {name: copied[name] for name in ("x-ms-copy-id", "x-ms-copy-status")}
    return web.Response(status=202, headers=stamp(made) | told)


async def set_properties(call: Call) -> web.Response:
    """PUT ?comp=properties: what is not said is cleared, as on Azure; the tier stays."""
    catalogue = call.account.catalogue
    found = catalogue.get(call.container, call.blob)
    call.conditions.require(found)
    md5_header(call.headers, "x-ms-blob-content-md5")
    told = _said(call)
    if TIER in found.headers:
        told[TIER] = found.headers[TIER]
    return web.Response(headers=stamp(catalogue.change(found, headers=told)))


async def set_metadata(call: Call) -> web.Response:
    """PUT ?comp=metadata: in place of all that there was."""
    catalogue = call.account.catalogue
    found = catalogue.get(call.container, call.blob)
    call.conditions.require(found)
    made = catalogue.change(found, metadata=read_metadata(call.asked.headers))
    return web.Response(headers=stamp(made) | _ENCRYPTED)


async def delete(call: Call) -> web.Response:
    """DELETE: for good."""
    if call.headers.get("x-ms-delete-snapshots", "").lower() == "only":
        raise not_served("a snapshot of a blob")
    found = call.account.catalogue.get(call.container, call.blob)
    call.conditions.require(found)
    call.account.catalogue.delete(found)
    return web.Response(status=202, headers={"x-ms-delete-type-permanent": "true"})


# -- what they share -----------------------------------------------------------------------------------


def _checker(call: Call) -> Callable[[Blob | None], None]:
    """Whether the blob may be written in place of what there is: raises `BlobError` (403, 409, 412)."""
    conditions = call.conditions

    def check(found: Blob | None) -> None:
        if found is not None and conditions.none_match is not None and conditions.none_match.strip() == "*":
            raise BlobError(409, "BlobAlreadyExists", "The specified blob already exists.")
        conditions.require(found)
        if found is not None and not call.grant.may_overwrite:
            raise BlobError(
                403,
                "UnauthorizedBlobOverwrite",
                "This request is not authorized to perform blob overwrites: the token has permission c and not w.",
            )

    return check


def _check_length(call: Call, limit: int) -> None:
    length = call.request.content_length
    if length is not None and length > limit:
        raise BlobError(
            413,
            "RequestBodyTooLarge",
            "The request body is too large and exceeds the maximum permissible limit.",
            {"MaxLimit": str(limit)},
        )


def _said(call: Call) -> dict[str, str]:
    """What the request says of the content: the headers `x-ms-blob-content-type` and so on."""
    told = {name: call.headers.get(f"x-ms-blob-{name.lower()}") for name in CONTENT_HEADERS}
    return {name: value for name, value in told.items() if value}


def _content_headers(call: Call) -> dict[str, str]:
    """For a blob that is written whole: `x-ms-blob-...`, in their place the standard headers, and the tier."""
    told = _said(call)
    if call.operation.creates:  # Put Blob; the body of the other call is a list
        for name in CONTENT_HEADERS:
            value = call.headers.get(name)
            if value and name != "Content-MD5":
                told.setdefault(name, value)
    told.setdefault("Content-Type", "application/octet-stream")
    tier = call.headers.get(TIER)
    if tier is not None:
        if tier not in _TIERS:
            raise bad_header(TIER, tier, f"is one of {', '.join(_TIERS)}")
        if tier == "Archive":
            raise not_served("the tier Archive")
        told[TIER] = tier
    return told
