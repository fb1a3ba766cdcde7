"""What the module says: predictions, the request for a model, and its answers to the direct methods.

A prediction is a JSON object; speeds in mph:

    driveId, time, seconds       of the row
    predicted, actual, error     error: predicted less actual
    low, high                    between these lies the speed, says the model; null where it does not say
    warmup                       true until the model has seen its whole window of rows
    modelVersion                 which model it was
    challenger                   {"modelVersion", "predicted", "error"}, where one runs beside it

Properties, so that a route need not open it: messageType=prediction, modelVersion, driveId. Its message id follows
from the row's, so that a row which is answered twice is recognised.

    status       any payload                               200 and what the reported properties have, as it is now
    fetchModel   {"name", "version", "sha256", "url"}      202; 409: it is not wanted (any more), or serves already

400: a payload that does not fit. 404: no such method. All answer {"error": "..."}.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from azure.iot.device import Message

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from filter_car.release import Release
    from filter_car.serving import Answer

OUTPUT: Final = "output-filter-car"
REQUESTS: Final = "output-model-request"
METHODS: Final = ("fetchModel", "status")
_SPACE: Final = uuid.UUID("0d6f9a52-7c1e-4c57-9a7e-5b1d1f0f6a3c")
_LONGEST_ID: Final = 100  # of the 128 characters that a hub allows
_DECIMALS: Final = 5  # as the blog's log has them

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_new_message: Any = Message


class Controls(Protocol):
    """What the methods act on. Each may be called on any thread."""

    def status(self, *, fresh: bool = False) -> Mapping[str, Any]:
        """As reported; `fresh`: with the figures of this moment."""
        ...

    def offer(self, name: str, version: str, sha256: str, url: str) -> bool:
        """Fetch this model from there, in the background; False where it is not wanted."""
        ...


def answer(controls: Controls, name: str, payload: Any) -> tuple[int, dict[str, Any]]:
    """Status and payload of a call."""
    if name == "status":
        return 200, dict(controls.status(fresh=True))
    if name != "fetchModel":
        return 404, {"error": f"there is no method {name[:100]!r}; there are {', '.join(METHODS)}"}
    try:
        asked = _offer(payload)
    except UsageError as error:
        return 400, {"error": str(error)}
    if not controls.offer(**asked):
        return 409, {"error": f"{asked['name']} {asked['version']} is not wanted here, or serves already"}
    return 202, {"version": asked["version"]}


def _offer(payload: Any) -> dict[str, str]:
    """The members of a fetchModel's payload. Never shows the url: whoever has it may read the model."""
    if not isinstance(payload, Mapping):
        raise UsageError('the payload is no object; {"name", "version", "sha256", "url"} belongs there')
    found = {}
    for name in ("name", "version", "sha256", "url"):
        value = payload.get(name)
        if not isinstance(value, str) or not value:
            raise UsageError(f"{name} is missing or no text")
        found[name] = value
    try:
        parts = urlsplit(found["url"])
        host = parts.hostname
    except ValueError:
        host = None
    # Plain HTTP for an emulator on this machine alone: on a network the address would be read by others.
    here = host in ("localhost", "::1") or str(host).startswith("127.")
    if host is None or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not here):
        raise UsageError("url is no https:// address")
    return found | {"sha256": found["sha256"].lower()}


def body(said: Answer) -> dict[str, Any]:
    """A prediction as the message has it."""
    row, prediction = said.arrival.row, said.prediction
    told: dict[str, Any] = {
        "driveId": said.arrival.drive,
        "time": row.time,
        "seconds": row.seconds,
        "predicted": round(prediction.speed, _DECIMALS),
        "actual": row.speed,
        "error": round(said.error, _DECIMALS),
        "low": None if prediction.low is None else round(prediction.low, _DECIMALS),
        "high": None if prediction.high is None else round(prediction.high, _DECIMALS),
        "warmup": prediction.warmup,
        "modelVersion": said.version,
    }
    if said.challenger is not None:
        told["challenger"] = {
            "modelVersion": said.challenger_version,
            "predicted": round(said.challenger.speed, _DECIMALS),
            "error": round(said.challenger.speed - row.speed, _DECIMALS),
        }
    return told


def to_message(said: Answer) -> Any:
    """The message of a prediction."""
    known = said.arrival.message_id
    if not known:
        identity = str(uuid.uuid4())
    elif len(known) <= _LONGEST_ID:
        identity = f"{known}-predicted"
    else:
        identity = str(uuid.uuid5(_SPACE, known))
    properties = {
        "messageType": "prediction",
        "modelVersion": said.version,
        "driveId": said.arrival.drive,
    }
    return new_message(_to_json(body(said)), identity, properties)


def new_message(text: str, identity: str, properties: Mapping[str, str]) -> Any:
    """A message with a JSON body."""
    message = _new_message(text, identity, "utf-8", "application/json")
    message.custom_properties.update(properties)
    return message


def request(release: Release) -> Any:
    """The message that asks for a model."""
    asked = {
        "name": release.name,
        "version": release.version,
        "sha256": release.sha256,
        "blob": release.blob,
    }
    return new_message(_to_json(asked), str(uuid.uuid4()), {"messageType": "modelRequest"})


def size(message: Any) -> int:
    """Bytes of a message's body and properties."""
    return len(message.data) + sum(
        len(name) + len(value) for name, value in message.custom_properties.items()
    )
