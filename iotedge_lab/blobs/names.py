"""What names, metadata and block ids may be.

"Naming and referencing containers, blobs, and metadata" (learn.microsoft.com, rest/api/storageservices).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from iotedge_lab.blobs.errors import BlobError, bad_query

if TYPE_CHECKING:
    from collections.abc import Iterable

META: Final = "x-ms-meta-"
METADATA_LIMIT: Final = 8 * 1024  # names and values together
BLOCK_ID_LIMIT: Final = 64  # bytes, decoded
_CONTAINER: Final = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLOB_LIMIT: Final = 1024
_SEGMENT_LIMIT: Final = 254


def check_container(name: str) -> str:
    """The name of a container, or `BlobError` (400 InvalidResourceName)."""
    if _CONTAINER.fullmatch(name) is None:
        raise BlobError(
            400,
            "InvalidResourceName",
            f"The specified resource name contains invalid characters: {name[:80]!r}. A container has 3 to 63 small "
            "letters, digits and single '-', a letter or digit first and last.",
        )
    return name


def check_blob(name: str) -> str:
    """The name of a blob, or `BlobError` (400 InvalidUri)."""
    if not 1 <= len(name) <= _BLOB_LIMIT or name.count("/") >= _SEGMENT_LIMIT:
        raise BlobError(
            400,
            "InvalidUri",
            f"The requested URI does not represent any resource on the server: a blob's name has 1 to {_BLOB_LIMIT} "
            f"characters, in at most {_SEGMENT_LIMIT} segments.",
        )
    return name


def read_metadata(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The metadata in a request's headers, names as they were spelled. Raises `BlobError` (400)."""
    found: dict[str, str] = {}
    for name, value in headers:
        if not name.lower().startswith(META):
            continue
        key = name[len(META) :]
        if not key:
            raise BlobError(
                400, "EmptyMetadataKey", "The key for one of the metadata key-value pairs is empty."
            )
        if _IDENTIFIER.fullmatch(key) is None or not (value.isascii() and value.isprintable()):
            raise BlobError(
                400,
                "InvalidMetadata",
                f"The metadata specified is invalid: {key[:60]!r} needs a name of letters, digits and '_', no digit "
                "first, and a value in ASCII.",
            )
        found[key] = f"{found[key]},{value}" if key in found else value
    size = sum(len(key) + len(value) for key, value in found.items())
    if size > METADATA_LIMIT:
        raise BlobError(
            400,
            "MetadataTooLarge",
            f"The size of the specified metadata ({size} bytes) exceeds the maximum size permitted ({METADATA_LIMIT}).",
        )
    return found


def check_block_id(text: str, where: str = "blockid") -> str:
    """The id of a block: base64 of 1 to 64 bytes. Raises `BlobError` (400)."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not 1 <= size <= BLOCK_ID_LIMIT:
        raise bad_query(where, text, f"is base64 of 1 to {BLOCK_ID_LIMIT} bytes")
    return text
