"""What edges send: predictions and requests for a model, read from events of the built-in endpoint.

An event is told by its property `messageType`; whatever else comes by is none of this room's. A message that says it is
one of these and is not (an older module, a hand-made test) is counted and passed over: the endpoint is open to every
device of the hub, so nothing in a message is believed beyond its own numbers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

    from azure.eventhub import EventData

PREDICTION: Final = "prediction"
REQUEST: Final = "modelRequest"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent it, as the hub has it, not as the message says."""

    device: str
    module: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What the challenger said of the same row."""

    version: str
    predicted: float
    error: float
    """mph off, never negative; infinite where it gave no number"""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One live row, predicted at an edge; mph."""

    sender: Sender
    enqueued: datetime
    drive: str
    time: str
    seconds: float
    predicted: float
    actual: float
    version: str
    warmup: bool
    beside: Beside | None = None

    @property
    def error(self) -> float:
        """How far off it is, mph, never negative."""
        return abs(self.predicted - self.actual)


@dataclass(frozen=True, slots=True)
class Request:
    """An edge asks for a model that its twin names."""

    sender: Sender
    name: str
    version: str
    sha256: str
    blob: str


def read(event: EventData) -> Prediction | Request | None:
    """The message in an event; None for one of another kind. Raises `ValueError` for one that is not what it says."""
    kind = _text((event.properties or {}).get(b"messageType"))
    if kind not in (PREDICTION, REQUEST):
        return None
    system = event.system_properties
    sender = Sender(
        _text(system.get(b"iothub-connection-device-id")), _text(system.get(b"iothub-connection-module-id"))
    )
    body = json.loads(event.body_as_str())
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")  # noqa: TRY004 - what is wrong is the message
    if kind == REQUEST:
        return Request(sender, *(_word(body, key) for key in ("name", "version", "sha256", "blob")))
    if event.enqueued_time is None:
        raise ValueError("the event has no time")
    beside = body.get("challenger")
    return Prediction(
        sender=sender,
        enqueued=event.enqueued_time,
        drive=str(body.get("driveId") or ""),
        time=str(body.get("time") or ""),
        seconds=_number(body, "seconds"),
        predicted=_number(body, "predicted"),
        actual=_number(body, "actual"),
        version=_word(body, "modelVersion"),
        warmup=bool(body.get("warmup")),
        beside=_beside(beside, _number(body, "actual")) if isinstance(beside, dict) else None,
    )


def _beside(told: dict[str, Any], actual: float) -> Beside:
    version = _word(told, "modelVersion")
    try:
        predicted = _number(told, "predicted")
    except ValueError:
        return Beside(version, math.nan, math.inf)  # the champion's part of the row is as good as ever
    return Beside(version, predicted, abs(predicted - actual))


def _number(body: dict[str, Any], key: str) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is no finite number")
    return float(value)


def _word(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"{key} is missing")
    return str(value)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
