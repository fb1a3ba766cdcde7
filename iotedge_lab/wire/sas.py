"""Shared access signatures: the tokens with which devices and services prove that they hold a key.

Azure: "Control access to IoT Hub by using shared access signatures" (iot-hub/authenticate-authorize-sas),
"Authenticate access to Event Hubs resources using shared access signatures".

    SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={key name}]

The signature is HMAC-SHA256 over the resource *as it stands in the token*, a line feed, and the expiry. So
the resource is kept as it was sent: the SDKs differ in whether and how they percent-encode it, and only the
literal text verifies.

    who                      sr                              key
    azure-iot-device         {host}%2Fdevices%2Fdev1         base64-decoded
    azure-iot-hub, REST      localhost%3A8443                base64-decoded
    azure-iot-hub, AMQP      localhost (not encoded)         base64-decoded
    azure-eventhub           sb%3A%2F%2F{host}%2F{hub}       the key's text itself, not decoded

Leaves out: the policies (which rights a key name carries), which are the hub's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from iotedge_lab.errors import AccessDenied, Unauthorized, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "SharedAccessSignature "

_FIELDS = {"sr": "the resource", "sig": "the signature", "se": "the expiry"}
_KNOWN = (*_FIELDS, "skn")
_MAX_EXPIRY_DIGITS = 15  # seconds; far beyond any date


@dataclass(frozen=True, slots=True)
class SasToken:
    """A token, taken apart.

    `resource` is `sr` as it was sent, `signature` is base64 (never in a repr), `expiry` is in seconds since
    1970-01-01 UTC, `key_name` the policy, which device tokens do not name.
    """

    resource: str
    signature: str = field(repr=False)
    expiry: int
    key_name: str | None = None

    @property
    def resource_decoded(self) -> str:
        """The resource without percent-encoding, to be compared with what is asked for."""
        return unquote(self.resource)


def parse(token: str) -> SasToken:
    """Take a token apart. Raises Unauthorized, which names the part that is missing and shows none."""
    if token[: len(PREFIX)].lower() != PREFIX.lower():
        raise Unauthorized("The token does not begin with 'SharedAccessSignature '; send a SAS token.")
    parts: dict[str, str] = {}
    for item in token[len(PREFIX) :].strip().split("&"):
        name, separator, value = item.partition("=")
        name = name.strip()
        if not separator:
            raise Unauthorized("The SAS token has a part without '='; it is name=value, joined by '&'.")
        if name not in _KNOWN:
            continue
        if name in parts:
            raise Unauthorized(f"The SAS token has {name}= twice; leave one out.")
        parts[name] = value.strip()
    for name, meaning in _FIELDS.items():
        if not parts.get(name):
            raise Unauthorized(f"The SAS token lacks {meaning} ({name}=).")
    expiry = parts["se"]
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= _MAX_EXPIRY_DIGITS):
        raise Unauthorized(
            "The expiry (se=) in the SAS token is not a whole number of seconds since 1970-01-01 UTC."
        )
    key_name = unquote(parts["skn"]) if parts.get("skn") else None
    # unquote, not unquote_plus: a '+' that was not encoded belongs to the base64.
    return SasToken(parts["sr"], unquote(parts["sig"]), int(expiry), key_name)


def decode_key(key_b64: str) -> bytes:
    """A shared access key as bytes. Raises UsageError when it is not base64; never shows it."""
    try:
        key = base64.b64decode(key_b64, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise UsageError("The shared access key is not base64; copy it whole, with the '=' at its end.")
    return key


def sign(resource_as_sent: str, expiry: int, key: str, *, raw_key: bool = False) -> str:
    """The signature, in base64, over a resource exactly as the token has it.

    `key` is base64, as the portal shows it. With `raw_key` its text itself is the key, as at Event Hubs.
    Raises UsageError for a key that is not base64.
    """
    secret = key.encode() if raw_key else decode_key(key)
    message = f"{resource_as_sent}\n{expiry}".encode()
    return base64.b64encode(hmac.digest(secret, message, hashlib.sha256)).decode()


def build(resource: str, key: str, expiry: int, key_name: str | None = None, *, raw_key: bool = False) -> str:
    """A token for `resource`, which is not yet percent-encoded, as azure-iot-device builds it.

    `expiry` is in seconds since 1970-01-01 UTC. Raises UsageError for a key that is not base64.
    """
    sent = quote(resource, safe="")
    signature = quote(sign(sent, expiry, key, raw_key=raw_key), safe="")
    named = f"&skn={quote(key_name, safe='')}" if key_name else ""
    return f"{PREFIX}sr={sent}&sig={signature}&se={expiry}{named}"


def verify(token: SasToken, key: str, now: float, *, raw_key: bool = False) -> None:
    """Check that `token` was signed with `key` and has not expired at `now` (seconds since 1970 UTC).

    What the token speaks for is another question: `scope_covers`. Raises Unauthorized (401002) for a wrong
    signature, and its subclass AccessDenied (401003) for a token that is right and too old.
    """
    verify_any(token, (key,), now, raw_key=raw_key)


def verify_any(token: SasToken, keys: Iterable[str], now: float, *, raw_key: bool = False) -> int:
    """`verify` with several keys, as an identity has a primary and a secondary one.

    Returns the index of the key that fits. Raises Unauthorized.
    """
    sent = token.signature.encode(errors="replace")
    match = -1
    for index, key in enumerate(keys):
        expected = sign(token.resource, token.expiry, key, raw_key=raw_key).encode()
        if hmac.compare_digest(expected, sent) and match < 0:
            match = index
    if match < 0:
        raise Unauthorized(
            f"The SAS token for {token.resource_decoded!r} was signed with another key; "
            "check that the connection string holds the key of this identity or policy."
        )
    if now >= token.expiry:
        raise AccessDenied(
            f"The SAS token for {token.resource_decoded!r} expired {now - token.expiry:,.0f} s ago; "
            "make a new one, and check the clock of the machine that made it."
        )
    return match


def scope_covers(token_resource: str, target_resource: str) -> bool:
    """Whether a token for one resource speaks for another; both without percent-encoding.

    A resource covers itself and all below it, segment by segment: `host` covers `host/devices/dev1`, which
    covers `host/devices/dev1/modules/m` and not `host/devices/dev10`. The scheme, the port and the case of
    the host do not matter; the case of an id does.
    """
    host, path = _host_and_path(token_resource)
    target_host, target_path = _host_and_path(target_resource)
    return bool(host) and host == target_host and target_path[: len(path)] == path


def _host_and_path(resource: str) -> tuple[str, list[str]]:
    _, scheme, rest = resource.partition("://")
    host, _, path = (rest if scheme else resource).partition("/")
    host = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    path = path.strip("/")
    return host.lower(), path.split("/") if path else []
