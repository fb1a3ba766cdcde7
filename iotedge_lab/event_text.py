"""An event of the built-in endpoint as text: the form of VS Code's Azure IoT Hub extension, and JSON.

    [IoTHubMonitor] [5:59:27 PM] Message received from [car-edge/ModuleSimulatorCar]:
    {
      "speed": 12.5
    }

Leaves out: decoding by content-encoding (UTF-16 and gzip bodies show in base64).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEVICE: Final = "iothub-connection-device-id"
_MODULE: Final = "iothub-connection-module-id"
_SYSTEM: Final = ("message-id", "correlation-id", "user-id", "content-type", "content-encoding")


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One event, with names and values as text. `enqueued` is when the hub took it (aware, UTC)."""

    partition: str
    sequence_number: int
    offset: str
    enqueued: datetime
    device_id: str
    module_id: str
    system: dict[str, Any]
    properties: dict[str, Any]
    body: bytes

    @classmethod
    def of(cls, partition: str, event: Any) -> ShownEvent:
        """From an `azure.eventhub.EventData`."""
        system = {_text(name): _value(value) for name, value in event.system_properties.items()}
        body = event.body
        return cls(
            partition=partition,
            sequence_number=event.sequence_number,
            offset=str(event.offset),
            enqueued=event.enqueued_time or datetime.fromtimestamp(0, UTC),
            device_id=str(system.get(_DEVICE, "")),
            module_id=str(system.get(_MODULE, "")),
            system=system,
            properties={_text(name): _value(value) for name, value in (event.properties or {}).items()},
            body=body if isinstance(body, bytes) else b"".join(body),
        )

    @property
    def sender(self) -> str:
        """`device` or `device/module`."""
        return f"{self.device_id}/{self.module_id}" if self.module_id else self.device_id

    def text(self, *, properties: bool = False, zone: tzinfo | None = None) -> str:
        """As the extension prints it; `zone` is the local one unless given."""
        encoding, body = readable(self.body)
        head = f"[IoTHubMonitor] [{twelve_hours(self.enqueued, zone)}] Message received from [{self.sender}]:"
        if not properties:
            if encoding == "base64":
                return f"{head}\n({len(self.body)} bytes, base64) {body}"
            return f"{head}\n{pretty(body)}"
        shown: dict[str, Any] = {"body": body}
        if encoding == "base64":
            shown["bodyEncoding"] = encoding
        shown["applicationProperties"] = self.properties
        found = {name: self.system[name] for name in _SYSTEM if self.system.get(name) is not None}
        if found:
            shown["properties"] = found
        return f"{head}\n{pretty(shown)}"

    def to_json(self) -> dict[str, Any]:
        """As one object; `bodyEncoding` says whether `body` is JSON, text or base64."""
        encoding, body = readable(self.body)
        return {
            "deviceId": self.device_id,
            "moduleId": self.module_id or None,
            "enqueuedTime": self.enqueued.astimezone(UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "partition": self.partition,
            "sequenceNumber": self.sequence_number,
            "offset": self.offset,
            "bodyEncoding": encoding,
            "body": body,
            "properties": self.properties,
            "systemProperties": self.system,
        }


def behind(properties: Mapping[str, Any]) -> str | int:
    """The place behind a partition's last event, from `get_partition_properties`: what comes from now on."""
    return "-1" if properties["is_empty"] else int(properties["last_enqueued_sequence_number"])


def readable(body: bytes) -> tuple[str, Any]:
    """("json", value), ("text", str) or ("base64", str), the first that the bytes are.

    JSON by RFC 8259: NaN and Infinity, which Python's reader would take, make it text.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", base64.b64encode(body).decode()
    try:
        return "json", json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        pass
    # A NUL, or another control character that no text has, means binary that happens to decode.
    if any(character < " " and character not in "\t\n\r" for character in text):
        return "base64", base64.b64encode(body).decode()
    return "text", text


def pretty(value: Any) -> str:
    """Indented JSON with its letters as they are, unless one of them cannot be printed at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, written as \\ud800 in the message
        return json.dumps(value, indent=2)
    return text


def twelve_hours(when: datetime, zone: tzinfo | None = None) -> str:
    """5:59:27 PM: local time (or `zone`'s), twelve hours, no leading zero."""
    local = when.astimezone(zone)
    return f"{local.hour % 12 or 12}:{local:%M:%S} {'AM' if local.hour < 12 else 'PM'}"


def _refuse(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _value(value: Any) -> Any:
    """A property's value as JSON has it: bytes and what JSON does not know become text."""
    if isinstance(value, bytes):
        return _text(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
