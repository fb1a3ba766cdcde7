"""Identities as the hub's registry shows them to an edge device: its modules, and those that it may act for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from iotedge_lab.errors import ProtocolViolation

SAS = "sas"
_WHERE = "IoT Hub REST, identities"


@dataclass(frozen=True, slots=True)
class Registered:
    """A device's or module's identity. `module` is '' for a device; keys never show in a repr.

    `auth_type` is `sas`, `selfSigned`, `certificateAuthority` or `none`; only `sas` has keys. `thumbprints` are
    those of self-signed certificates, upper-case hex.
    """

    device: str
    module: str = ""
    generation_id: str = ""
    etag: str = ""
    auth_type: str = SAS
    primary_key: str = field(default="", repr=False)
    secondary_key: str = field(default="", repr=False)
    thumbprints: tuple[str, ...] = ()
    enabled: bool = True
    iot_edge: bool = False
    device_scope: str = ""
    parent_scopes: tuple[str, ...] = ()
    managed_by: str = ""

    @classmethod
    def from_json(cls, body: Any) -> Self:
        """From the hub's JSON, or from that of `to_json`. Raises ProtocolViolation where it is none."""
        if not isinstance(body, dict):
            raise ProtocolViolation("an identity that is no JSON object", _WHERE)
        auth = _section(body, "authentication")
        keys, prints = _section(auth, "symmetricKey"), _section(auth, "x509Thumbprint")
        device = _text(body, "deviceId")
        if not device:
            raise ProtocolViolation("an identity without deviceId", _WHERE)
        scopes = body.get("parentScopes") or []
        if not isinstance(scopes, list):
            raise ProtocolViolation("parentScopes that are no list", _WHERE)
        found = (_text(prints, "primaryThumbprint"), _text(prints, "secondaryThumbprint"))
        return cls(
            device=device,
            module=_text(body, "moduleId"),
            generation_id=_text(body, "generationId"),
            etag=_text(body, "etag"),
            auth_type=_text(auth, "type") or SAS,
            primary_key=_text(keys, "primaryKey"),
            secondary_key=_text(keys, "secondaryKey"),
            thumbprints=tuple(each.replace(":", "").upper() for each in found if each),
            enabled=body.get("status", "enabled") != "disabled",
            iot_edge=_section(body, "capabilities").get("iotEdge") is True,
            device_scope=_text(body, "deviceScope"),
            parent_scopes=tuple(str(scope) for scope in scopes),
            managed_by=_text(body, "managedBy"),
        )

    def to_json(self) -> dict[str, Any]:
        """In the hub's shape, keys included: for a cache that is private to its owner."""
        first, second = (*self.thumbprints, None, None)[:2]
        return {
            "deviceId": self.device,
            "moduleId": self.module or None,
            "generationId": self.generation_id,
            "etag": self.etag,
            "authentication": {
                "type": self.auth_type,
                "symmetricKey": {
                    "primaryKey": self.primary_key or None,
                    "secondaryKey": self.secondary_key or None,
                },
                "x509Thumbprint": {"primaryThumbprint": first, "secondaryThumbprint": second},
            },
            "status": "enabled" if self.enabled else "disabled",
            "capabilities": {"iotEdge": self.iot_edge},
            "deviceScope": self.device_scope or None,
            "parentScopes": list(self.parent_scopes),
            "managedBy": self.managed_by or None,
        }

    @property
    def has_key(self) -> bool:
        """Whether it can sign, and be known, by a key."""
        return self.auth_type == SAS and bool(self.primary_key)


@dataclass(frozen=True, slots=True)
class Scope:
    """The devices and modules that an edge device may act for; it and its own modules are among them."""

    devices: tuple[Registered, ...] = ()
    modules: tuple[Registered, ...] = ()


def _section(body: dict[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ProtocolViolation(f"{name} that is no JSON object", _WHERE)
    return found


def _text(body: dict[str, Any], name: str) -> str:
    found = body.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ProtocolViolation(f"{name} that is no text", _WHERE)
    return found
