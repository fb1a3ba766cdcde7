"""The body of a request that makes or changes an identity, field by field.

Each reader gives the value in the form in which it is kept, or raises `ArgumentInvalid` (400004) naming the field.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.wire.topics import check_device_id, check_module_id

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_ids(device: str, module: str, body: Mapping[str, Any]) -> None:
    """The ids of the address, and those of the body where it names them; raises `ArgumentInvalid`."""
    check_device_id(device)
    if module:
        check_module_id(module)
    for name, asked in (("deviceId", device), ("moduleId", module)):
        given = body.get(name)
        if given is not None and given != asked and asked:
            raise ArgumentInvalid(f"the body's {name} is {repr(given)[:140]} and the address says {asked!r}.")


def read_section(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under `name`, empty where it is null or left out; raises `ArgumentInvalid`."""
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ArgumentInvalid(f"{name} is an object, not {json.dumps(found)[:40]}.")
    return found


def read_text(body: Mapping[str, Any], name: str, otherwise: str | None) -> str | None:
    """A text of the body that may be null; `otherwise` where it is not named."""
    value = body.get(name, otherwise)
    if value is None:
        return None
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ArgumentInvalid(f"{name} is a text, not {json.dumps(value)[:40]}.")
    return value


def guess_type(auth: Mapping[str, Any]) -> str:
    """The kind of authentication where the body does not say it."""
    thumbs = read_section(auth, "x509Thumbprint")
    return "selfSigned" if thumbs.get("primaryThumbprint") else "sas"


def read_key(keys: Mapping[str, Any], name: str) -> str | None:
    """A symmetric key (base64), None where one is to be made; raises `ArgumentInvalid`."""
    key = keys.get(name)
    if key is None or key == "":
        return None
    try:
        size = len(base64.b64decode(key, validate=True)) if isinstance(key, str) else 0
    except (binascii.Error, ValueError):
        size = 0
    if not 16 <= size <= 64:
        raise ArgumentInvalid(
            f"authentication.symmetricKey.{name} is base64 of 16 to 64 bytes; leave it out to have one made."
        )
    return str(key)


def read_thumbprint(thumbs: Mapping[str, Any], name: str) -> str | None:
    """A thumbprint as upper-case hex digits, or None; raises `ArgumentInvalid`."""
    value = thumbs.get(name)
    if value is None or value == "":
        return None
    text = value.replace(":", "").upper() if isinstance(value, str) else ""
    if len(text) not in (40, 64) or any(letter not in "0123456789ABCDEF" for letter in text):
        raise ArgumentInvalid(
            f"authentication.x509Thumbprint.{name} is 40 (SHA-1) or 64 (SHA-256) hex digits."
        )
    return text
