"""How long cloud-to-device messages and their feedback live, and how often they are tried.

Stands for "Cloud-to-device configuration options" (learn.microsoft.com, IoT Hub, iot-hub-devguide-messages-c2d).
In JSON they have the names that Azure Resource Manager has (`properties.cloudToDevice`); what has no name there
is the lab's own: `feedback.intervalAsIso8601`, the documented 15 s between two feedback messages.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ArgumentInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = 86_400.0
_TTL = (60.0, 2 * _DAY)
_LOCK = (5.0, 300.0)
_INTERVAL = (0.0, 60.0)
_DELIVERIES = (1, 100)
_ISO_8601 = re.compile(
    r"P(?:(?P<D>\d{1,6})D)?(?:T(?=\d)(?:(?P<H>\d{1,6})H)?(?:(?P<M>\d{1,6})M)?(?:(?P<S>\d{1,6}(?:\.\d{1,6})?)S)?)?"
)


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """Times in seconds. `lock` is that of messages received over HTTPS, which Azure does not let one change."""

    ttl: float = 3600.0
    max_deliveries: int = 10
    lock: float = 60.0
    feedback_ttl: float = 3600.0
    feedback_max_deliveries: int = 10
    feedback_lock: float = 60.0
    feedback_interval: float = 15.0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> CommandSettings:
        """From ARM's shape; what is left out has its default. Raises `ArgumentInvalid` naming the field."""
        feedback = body.get("feedback", {})
        if not isinstance(feedback, dict):
            raise ArgumentInvalid("feedback is an object.")
        known = {"defaultTtlAsIso8601", "maxDeliveryCount", "feedback"}
        known_feedback = {"ttlAsIso8601", "maxDeliveryCount", "lockDurationAsIso8601", "intervalAsIso8601"}
        for name in (
            *(body.keys() - known),
            *(f"feedback.{key}" for key in feedback.keys() - known_feedback),
        ):
            raise ArgumentInvalid(f"there is no cloud-to-device option {name!r}.")
        plain = cls()
        return cls(
            ttl=_seconds(body, "defaultTtlAsIso8601", plain.ttl, _TTL),
            max_deliveries=_count(body, plain.max_deliveries),
            feedback_ttl=_seconds(feedback, "ttlAsIso8601", plain.feedback_ttl, _TTL),
            feedback_max_deliveries=_count(feedback, plain.feedback_max_deliveries),
            feedback_lock=_seconds(feedback, "lockDurationAsIso8601", plain.feedback_lock, _LOCK),
            feedback_interval=_seconds(feedback, "intervalAsIso8601", plain.feedback_interval, _INTERVAL),
        )

    def to_json(self) -> dict[str, Any]:
        """ARM's shape."""
        return {
            "defaultTtlAsIso8601": _iso(self.ttl),
            "maxDeliveryCount": self.max_deliveries,
            "feedback": {
                "ttlAsIso8601": _iso(self.feedback_ttl),
                "maxDeliveryCount": self.feedback_max_deliveries,
                "lockDurationAsIso8601": _iso(self.feedback_lock),
                "intervalAsIso8601": _iso(self.feedback_interval),
            },
        }


def lock_seconds(text: str | None, default: float) -> float:
    """The header `iothub-messagelocktimeout`: 5 to 300 s. Raises `ArgumentInvalid`."""
    if text is None:
        return default
    least, most = _LOCK
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise ArgumentInvalid(
            f"iothub-messagelocktimeout is a whole number of seconds from {least:g} to {most:g}, not {text[:20]!r}."
        )
    return float(text)


def _seconds(body: Mapping[str, Any], name: str, default: float, limits: tuple[float, float]) -> float:
    value = body.get(name)
    if value is None:
        return default
    match = _ISO_8601.fullmatch(value) if isinstance(value, str) else None
    parts = match.groupdict() if match else {}
    if not any(parts.values()):
        raise ArgumentInvalid(
            f"{name} is a time in ISO 8601, for example PT1H or PT30S, not {json.dumps(value)[:40]}."
        )
    seconds = sum(
        float(parts[unit] or 0) * size for unit, size in (("D", _DAY), ("H", 3600), ("M", 60), ("S", 1))
    )
    if not limits[0] <= seconds <= limits[1]:
        raise ArgumentInvalid(f"{name} is from {_iso(limits[0])} to {_iso(limits[1])}, not {value}.")
    return seconds


def _count(body: Mapping[str, Any], default: int) -> int:
    value = body.get("maxDeliveryCount")
    if value is None:
        return default
    least, most = _DELIVERIES
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ArgumentInvalid(
            f"maxDeliveryCount is a whole number from {least} to {most}, not {json.dumps(value)[:40]}."
        )
    return value


def _iso(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else "", f"{rest:g}S" if rest else ""]
    return "PT" + ("".join(parts) or "0S")
