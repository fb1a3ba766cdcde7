"""How long cloud-to-device messages and their feedback live, and how often they are tried.

Stands for "Cloud-to-device configuration options" (learn.microsoft.com, IoT Hub, iot-hub-devguide-messages-c2d).
In JSON they have the names that Azure Resource Manager has (`properties.cloudToDevice`); what has no name there
is the lab's own: `feedback.intervalAsIso8601`, the documented 15 s between two feedback messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.options import count, iso_duration, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = 86_400.0
_TTL = (60.0, 2 * _DAY)
_LOCK = (5.0, 300.0)
_INTERVAL = (0.0, 60.0)


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
            ttl=seconds(body, "defaultTtlAsIso8601", plain.ttl, _TTL),
            max_deliveries=count(body, plain.max_deliveries),
            feedback_ttl=seconds(feedback, "ttlAsIso8601", plain.feedback_ttl, _TTL),
            feedback_max_deliveries=count(feedback, plain.feedback_max_deliveries),
            feedback_lock=seconds(feedback, "lockDurationAsIso8601", plain.feedback_lock, _LOCK),
            feedback_interval=seconds(feedback, "intervalAsIso8601", plain.feedback_interval, _INTERVAL),
        )

    def to_json(self) -> dict[str, Any]:
        """ARM's shape."""
        return {
            "defaultTtlAsIso8601": iso_duration(self.ttl),
            "maxDeliveryCount": self.max_deliveries,
            "feedback": {
                "ttlAsIso8601": iso_duration(self.feedback_ttl),
                "maxDeliveryCount": self.feedback_max_deliveries,
                "lockDurationAsIso8601": iso_duration(self.feedback_lock),
                "intervalAsIso8601": iso_duration(self.feedback_interval),
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
