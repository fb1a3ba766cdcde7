"""The token by which the next page of a query is asked for.

It says of which query it is and where the page begins: behind a twin, so that twins which come and go meanwhile move
nothing, or at a row of the aggregates. It is opaque to who holds it, and checked as what anyone may have written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Self

from iotedge_lab.errors import ArgumentInvalid

_MOST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins. `left`: how many rows TOP still allows, None without TOP."""

    device: str = ""
    module: str = ""
    row: int = 0
    left: int | None = None

    def token(self, query: str) -> str:
        """As the header `x-ms-continuation` carries it."""
        told = json.dumps([_digest(query), self.device, self.module, self.row, self.left])
        return base64.urlsafe_b64encode(told.encode()).decode()

    @classmethod
    def read(cls, token: str, query: str) -> Self:
        """From the header; raises `ArgumentInvalid` for one that is none, or of another query."""
        digest, device, module, row, left = _parts(token)
        if digest != _digest(query):
            raise ArgumentInvalid(
                "x-ms-continuation is of another query; each page is asked for with the same text."
            )
        return cls(device, module, row, left)


def _parts(token: str) -> tuple[str, str, str, int, int | None]:
    try:
        parts: Any = json.loads(base64.b64decode(token.encode(), b"-_", validate=True))
        digest, device, module, row, left = parts
        texts = all(isinstance(part, str) and len(part) <= 256 for part in (digest, device, module))
        f"{device}{module}".encode()
    except (binascii.Error, ValueError, TypeError, RecursionError):
        texts = False
    if not texts or not _number(row) or (left is not None and not _number(left)):
        raise ArgumentInvalid(
            "x-ms-continuation is no token of this hub; send what the page before came with, or none."
        )
    return digest, device, module, row, left


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode("utf-8", "surrogatepass")).hexdigest()[:16]
