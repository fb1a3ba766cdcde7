"""Values of a hub's options, as Azure Resource Manager writes them: times in ISO 8601, counts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ArgumentInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = 86_400.0
_DELIVERIES = (1, 100)
_ISO_8601 = re.compile(
    r"P(?:(?P<D>\d{1,6})D)?(?:T(?=\d)(?:(?P<H>\d{1,6})H)?(?:(?P<M>\d{1,6})M)?(?:(?P<S>\d{1,6}(?:\.\d{1,6})?)S)?)?"
)


def seconds(body: Mapping[str, Any], name: str, default: float, limits: tuple[float, float]) -> float:
    """A time in ISO 8601, in seconds; `default` where `body` has none. Raises `ArgumentInvalid` beyond `limits`."""
    value = body.get(name)
    if value is None:
        return default
    match = _ISO_8601.fullmatch(value) if isinstance(value, str) else None
    parts = match.groupdict() if match else {}
    if not any(parts.values()):
        raise ArgumentInvalid(
            f"{name} is a time in ISO 8601, for example PT1H or PT30S, not {json.dumps(value)[:40]}."
        )
    total = sum(
        float(parts[unit] or 0) * size for unit, size in (("D", _DAY), ("H", 3600), ("M", 60), ("S", 1))
    )
    if not limits[0] <= total <= limits[1]:
        raise ArgumentInvalid(
            f"{name} is from {iso_duration(limits[0])} to {iso_duration(limits[1])}, not {value}."
        )
    return total


def count(body: Mapping[str, Any], default: int) -> int:
    """`maxDeliveryCount`, 1 to 100; `default` where `body` has none. Raises `ArgumentInvalid`."""
    value = body.get("maxDeliveryCount")
    if value is None:
        return default
    least, most = _DELIVERIES
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ArgumentInvalid(
            f"maxDeliveryCount is a whole number from {least} to {most}, not {json.dumps(value)[:40]}."
        )
    return value


def iso_duration(seconds: float) -> str:
    """A time in seconds as ISO 8601 has it: PT1H30M."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else "", f"{rest:g}S" if rest else ""]
    return "PT" + ("".join(parts) or "0S")
