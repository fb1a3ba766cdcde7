"""JSON as RFC 8259 has it: Python's reader, without the numbers that JSON does not know.

`NaN`, `Infinity` and what overflows to it (1e999) would be read by Python and written back as a text that no other
reader takes.
"""

from __future__ import annotations

import json
import math
from typing import Any


def loads(text: str | bytes) -> Any:
    """The value; raises ValueError for a text that is not JSON, RecursionError for one that is too deep."""
    return json.loads(text, parse_constant=_constant, parse_float=_finite)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value
