"""A message as the built-in endpoint gives it, with IoT Hub's names: what azure-eventhub calls annotations.

Names are those of "Read device-to-cloud messages from the built-in endpoint" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-messages-read-builtin).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NOBODY: Final = "-"  # a partition of a Delta table has no empty name
_TELEMETRY: Final = "telemetry"


@dataclass(frozen=True, slots=True)
class Message:
    """One device-to-cloud message. `enqueued` is in ms since 1970."""

    partition: int
    sequence: int
    enqueued: int
    device: str
    module: str | None
    message_type: str | None
    message_id: str | None
    content_type: str
    content_encoding: str
    properties: Mapping[str, str]
    body: bytes
    source: str = _TELEMETRY
    """who speaks: telemetry, or the hub itself of its devices (twinChangeEvents, ...)"""

    @property
    def is_telemetry(self) -> bool:
        """Whether a device sent it, and not the hub."""
        return self.source == _TELEMETRY


def of_event(partition: int, event: Any) -> Message:
    """The message in an `azure.eventhub.EventData`."""
    system = event.system_properties
    custom = event.properties
    named = {_text(name): _text(value) for name, value in custom.items()} if custom else {}
    body = event.body
    module = system.get(b"iothub-connection-module-id")
    identity = system.get(b"message-id")
    source = system.get(b"iothub-message-source")
    return Message(
        partition,
        int(event.sequence_number),
        int(system[b"x-opt-enqueued-time"]),
        _text(system.get(b"iothub-connection-device-id") or NOBODY),
        _text(module) if module else None,
        named.get("messageType"),
        None if identity is None else _text(identity),
        _text(system.get(b"content-type") or ""),
        _text(system.get(b"content-encoding") or ""),
        named,
        body if isinstance(body, bytes) else b"".join(body),
        _text(source).lower() if source else _TELEMETRY,
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else str(value)
