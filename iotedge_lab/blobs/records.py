"""What the catalogue tells of containers, blobs and blocks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Final


@dataclass(frozen=True, slots=True)
class Container:
    """A container; times in s since 1970.

    `policies`: the stored access policies by id, `{"start", "expiry", "permission"}` each.
    """

    name: str
    etag: str
    modified: float
    metadata: dict[str, str]
    policies: dict[str, dict[str, str]]

    COLUMNS: ClassVar = "name, etag, modified, metadata, policies"

    @classmethod
    def read(cls, row: tuple[Any, ...]) -> Container:
        """From a row of `COLUMNS`."""
        return cls(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]))


@dataclass(frozen=True, slots=True)
class Blob:
    """A block blob; times in s since 1970, `size` in bytes.

    `headers`: what was said of its content (`CONTENT_HEADERS`, Content-MD5 in base64 among them). `copied`: how it
    was copied (`x-ms-copy-...` headers), None if it was not.
    """

    container: str
    name: str
    etag: str
    created: float
    modified: float
    size: int
    headers: dict[str, str]
    metadata: dict[str, str]
    copied: dict[str, str] | None

    COLUMNS: ClassVar = "container, name, etag, created, modified, size, headers, metadata, copied"

    @classmethod
    def read(cls, row: tuple[Any, ...]) -> Blob:
        """From a row of `COLUMNS`."""
        container, name, etag, created, modified, size = row[:6]
        copied = json.loads(row[8]) if row[8] else None
        told = json.loads(row[6]), json.loads(row[7])
        return cls(container, name, etag, created, modified, size, *told, copied)


#: What a client may say of a blob's content, as `x-ms-blob-` plus the name in small letters.
CONTENT_HEADERS: Final = (
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Content-MD5",
    "Cache-Control",
    "Content-Disposition",
)
TIER: Final = "x-ms-access-tier"


@dataclass(frozen=True, slots=True)
class Draft:
    """A blob to be written: where, and what is said of it."""

    container: str
    name: str
    headers: dict[str, str]
    metadata: dict[str, str]
    copied: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block: committed to a blob, or waiting to be. `id` is base64."""

    id: str
    size: int
    file: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing: a blob, or a beginning that several have in common (then `blob` is None)."""

    name: str
    blob: Blob | None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing; `following`: where the next one begins, '' at the end."""

    items: tuple[Listed, ...]
    following: str
