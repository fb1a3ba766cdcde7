"""What the hub says in JSON, made fit to be shown: identities, twins, refusals, connection strings.

Stands for what `az iot hub device-identity show` and `device-twin show` print: two blanks of indentation,
names in alphabetical order. A key never shows: whatever is named like a secret is `***`. Takes the SDK's
models and plain dicts alike; wraps no call.

Leaves out: what is empty or null, a twin's `$metadata`, a refusal's tracking id.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.connection_string import ConnectionString

MASK = "***"

_SECRET = re.compile(r"key$|token$|signature$|password$|connectionstring$", re.IGNORECASE)
_TWIN = ("deviceId", "moduleId", "tags", "properties")

# The code and the word in a refusal's body, whichever way it is wrapped: as JSON within JSON's text
# ({"Message": "{\"errorCode\":404103,...}"}), or as "ErrorCode:DeviceNotOnline;..." with JSON behind it.
_CODE = re.compile(r'errorCode[\\"\s:]+(?P<code>\d{6})')
_NAME = re.compile(r"ErrorCode:(?P<name>\w+);")


# As JupyterLab shows plain text, but that a long line is broken between words, and no device scope is a link.
_AS_TEXT = (
    "margin:0;padding:var(--jp-code-padding);font-size:var(--jp-code-font-size);line-height:var(--jp-code-line-height);"
    "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A text as it is to be read, without a secret in it; the value of a cell."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        parts = re.split(r"(?<=;)", self.text)  # a connection string is best broken between its parts
        return f'<pre style="{_AS_TEXT}">{"<wbr>".join(map(html.escape, parts))}</pre>'


def identity(device: Any) -> Document:
    """A device's or module's identity, as `registry.get_device` gives it or as REST has it; keys are `***`.

    Raises `UsageError` for anything else.
    """
    return _document(_plain(device))


def twin(found: Any) -> Document:
    """A twin as `registry.get_twin` gives it: id, tags, desired and reported with their `$version`.

    Raises `UsageError` for anything else.
    """
    known = _plain(found)
    shown = {name: known[name] for name in _TWIN if name in known}
    sides = shown.get("properties") or {}
    shown["properties"] = {
        side: {name: value for name, value in content.items() if name != "$metadata"}
        for side, content in sides.items()
    }
    return _document(shown)


def connection_string(text: str) -> Document:
    """A connection string in one line, its key as `***`. Raises `ConnectionStringError` if it is none."""
    parsed = ConnectionString.parse(text)
    shown = parsed.format()
    for secret in (parsed.shared_access_key, parsed.shared_access_signature):
        if secret:
            shown = shown.replace(secret, MASK)
    return Document(shown)


def refusal(error: BaseException) -> Document:
    """The hub's refusal within an error of azure.iot.hub: HTTP status, six-digit code, word and message.

    Raises `UsageError` for an error that carries no answer of a hub, such as a lost connection.
    """
    response = getattr(error, "response", None)
    body, status = getattr(response, "text", None), getattr(response, "status_code", None)
    if not isinstance(body, str) or status is None:
        raise UsageError(
            f"{type(error).__name__} carries no answer of a hub; hand over the HttpOperationError "
            "that a call of IoTHubRegistryManager raised"
        )
    name, message = _spoken(body)
    code = _CODE.search(body)
    word = (getattr(response, "headers", None) or {}).get("iothub-errorcode")
    shown = {
        "httpStatus": status,
        "errorCode": int(code["code"]) if code else None,
        "name": name or word,
        "message": message,
    }
    return Document(json.dumps({key: value for key, value in shown.items() if value}, indent=2))


def _spoken(body: str) -> tuple[str | None, str]:
    """The word and the sentence of a refusal's body."""
    try:
        message = str(json.loads(body)["Message"])
    except (ValueError, KeyError, TypeError):
        return None, body.strip()
    try:
        within = json.loads(message)
    except ValueError:
        named = _NAME.match(message)
        return (named["name"], message[named.end() :]) if named else (None, message)
    return None, str(within["message"]) if isinstance(within, dict) and "message" in within else message


def _plain(model: Any) -> dict[str, Any]:
    """The REST form of a model of azure.iot.hub; a mapping as it is."""
    if isinstance(model, Mapping):
        return dict(model)
    serialize = getattr(model, "serialize", None)
    if not callable(serialize):
        raise UsageError(
            f"a {type(model).__name__} is no identity and no twin; hand over what "
            "registry.get_device(...) or registry.get_twin(...) gave"
        )
    made: dict[str, Any] = serialize(keep_readonly=True)
    return made


def _document(content: Mapping[str, Any]) -> Document:
    return Document(json.dumps(_masked(content), indent=2, sort_keys=True, default=str))


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {
            name: MASK if isinstance(inner, str) and _SECRET.search(name) else _masked(inner)
            for name, inner in value.items()
        }
        return {name: inner for name, inner in kept.items() if inner is not None and inner != {}}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value
