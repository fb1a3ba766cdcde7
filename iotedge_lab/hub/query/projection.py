"""What a query selects of a twin, and values of SQL as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Column:
    """A property that is selected, and its name in the result."""

    name: str
    path: tuple[str, ...]


def output_name(names: Sequence[str]) -> str:
    """The name of a property that has no alias: the last of its path."""
    return names[-1]


def project(document: dict[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """The columns of one document; one that it does not have is left out."""
    made: dict[str, Any] = {}
    for column in columns:
        found: Any = document
        for name in column.path:
            if not isinstance(found, dict) or name not in found:
                break
            found = found[name]
        else:
            made[column.name] = found
    return made


def json_value(kind: str | None, value: Any) -> tuple[bool, Any]:
    """Whether a value of SQL is defined, and it as JSON. `kind` is that of `json_type`."""
    match kind:
        case None:
            return False, None
        case "null":
            return True, None
        case "true" | "false":
            return True, kind == "true"
        case "object" | "array":
            return True, json.loads(value)
    if value is None:
        return False, None
    if isinstance(value, float):
        if not math.isfinite(value):
            return False, None
        if value.is_integer() and abs(value) < 2**53:
            return True, int(value)
    return True, value
