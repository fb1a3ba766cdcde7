"""A version of a model as the twin names it: what it is, and where it lies; never an address that opens it.

{"name": "car-speed", "version": "3", "sha256": "<64 hex>", "size": 12345, "blob": "models/car-speed/3/model.onnx"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LARGEST: Final = 256 * 2**20
LONGEST: Final = 1024
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a model; see above. `size` in bytes."""

    name: str
    version: str
    sha256: str
    size: int
    blob: str

    @classmethod
    def read(cls, told: Any) -> Release:
        """The release in a desired property. Raises ValueError with what belongs there."""
        if not isinstance(told, Mapping):
            raise ValueError("an object with name, version, sha256, size and blob")  # noqa: TRY004 - as every other
        words = {name: _word(told, name) for name in ("name", "version", "blob")}
        sha256 = told.get("sha256")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
            raise ValueError("an object whose sha256 has 64 hexadecimal digits")
        size = told.get("size")
        if isinstance(size, bool) or not isinstance(size, int | float) or size != int(size):
            raise ValueError("an object whose size is a whole number of bytes")
        if not 0 < size <= LARGEST:
            raise ValueError(f"an object whose size is at most {LARGEST:,} bytes")
        return cls(words["name"], words["version"], sha256.lower(), int(size), words["blob"])

    def to_dict(self) -> dict[str, Any]:
        """As `read` reads it."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "size": self.size,
            "blob": self.blob,
        }

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def _word(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or not value.isprintable():
        raise ValueError(f"an object whose {name} is a text")
    return value
