"""What is posted to the simulator: JSON in, a message for the module out; no socket, no clock.

Stands for the body of `POST /api/v1/messages` of the testing utility (Azure/iot-edge-testing-utility, swagger.json
and src/utilityModule.js): the data goes to the module as JSON, so that the text hello arrives as `"hello"`, with its
quotes. Stricter than the utility, which drops what no input takes and answers 202 all the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker import strict_json
from iotedge_lab.broker.connection import MESSAGE_LIMIT
from iotedge_lab.errors import UsageError
from iotedge_lab.wire.topics import encode_properties

if TYPE_CHECKING:
    from collections.abc import Collection

    from iotedge_lab.wire.topics import Properties

DEFAULT_PORT: Final = 53000
MESSAGES_PATH: Final = "/api/v1/messages"
_SYSTEM: Final = {"messageId": "message-id", "correlationId": "correlation-id", "userId": "user-id"}


@dataclass(frozen=True, slots=True)
class Posted:
    """A message for an input of the module. `bag` is its property bag, as it stands in a topic."""

    input: str
    body: bytes
    bag: str


def read_posted(body: bytes, inputs: Collection[str]) -> Posted:
    """Read what was posted. Raises UsageError with a word that says what to post instead."""
    if not body.strip():
        raise UsageError('No request body provided. Post {"inputName": "input1", "data": "hello world"}.')
    try:
        said = strict_json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"Failed to parse the message JSON - please ensure that JSON is valid. {str(error)[:120]}."
        ) from error
    if not isinstance(said, dict):
        raise UsageError(f"The request body is a JSON {_kind(said)}, and an object belongs there.")
    name = said.get("inputName")
    if not isinstance(name, str) or not name:
        raise UsageError(
            'Cannot get inputName in request body. It is the name of an input: "inputName": "input1".'
        )
    if name not in inputs:
        raise UsageError(
            f"The simulator was started without the input {name!r}; it has {', '.join(inputs)}. "
            f'Stop it, and start it with -i "{",".join([*inputs, name])}".'
        )
    if said.get("data") is None:
        raise UsageError("Cannot find message data in request body. Any JSON value but null will do.")
    data = _json(said["data"])
    if len(data) > MESSAGE_LIMIT:
        raise UsageError(f"The data is {len(data)} bytes as JSON; a message has {MESSAGE_LIMIT} at most.")
    system = {wire: _text(said[key], key) for key, wire in _SYSTEM.items() if said.get(key) is not None}
    return Posted(name, data, encode_properties({**system, "iothub-outputname": name}, _properties(said)))


def _json(value: Any) -> bytes:
    """As `JSON.stringify` writes it: no blanks, characters as they are, half a surrogate pair escaped."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _properties(said: dict[str, Any]) -> Properties:
    given = said.get("properties")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UsageError(f'"properties" is a JSON {_kind(given)}, and an object of texts belongs there.')
    found: Properties = {}
    for name, value in given.items():
        if not name or name.startswith("$.") or not _encodable(name):
            raise UsageError(
                f"{name!r} cannot be the name of a property: it is empty, begins with '$.', or is no UTF-8."
            )
        found[name] = _text(value, name)
    return found


def _text(value: Any, name: str) -> str:
    """A property's value; a number or truth value as JSON writes it."""
    if isinstance(value, str) and _encodable(value):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise UsageError(f"The property {name!r} is a JSON {_kind(value)}, and text belongs there.")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can name it, and no topic can carry it
        return False
    return True


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "number"
