"""Connection strings: host, identity and key in one line of `Name=value` parts joined by `;`.

Azure: "IoT Hub connection strings" and "Get an Event Hubs connection string". Four kinds:

    service     HostName=...;SharedAccessKeyName=...;SharedAccessKey=...
    device      HostName=...;DeviceId=...;SharedAccessKey=...         or x509=true, [GatewayHostName=...]
    module      the same with ModuleId=...
    Event Hubs  Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=...;[EntityPath=...]
                [UseDevelopmentEmulator=true], or SharedAccessSignature=... in place of name and key

What the SDKs refuse is refused here, with a message that says which part is at fault: azure-iot-device and
azure-iot-hub want the names spelled exactly and no `;` at the end, azure-eventhub takes any case and a `;`.

Leaves out: SharedAccessSignature in place of a key for an IoT Hub; its SDKs refuse that too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from iotedge_lab.errors import ConnectionStringError, UsageError
from iotedge_lab.wire.sas import decode_key


class Kind(Enum):
    """What a connection string is for."""

    SERVICE = "service"
    """The back end: azure-iot-hub, under a shared access policy."""
    DEVICE = "device"
    """A device: azure-iot-device."""
    MODULE = "module"
    """A module of a device: azure-iot-device."""
    EVENT_HUBS = "Event Hubs"
    """The built-in endpoint: azure-eventhub."""


_HUB_PARTS: Final = {
    "HostName": "host_name",
    "SharedAccessKeyName": "shared_access_key_name",
    "SharedAccessKey": "shared_access_key",
    "SharedAccessSignature": "shared_access_signature",
    "DeviceId": "device_id",
    "ModuleId": "module_id",
    "GatewayHostName": "gateway_host_name",
    "x509": "x509",
}
_EVENT_HUBS_PARTS: Final = {
    "Endpoint": "endpoint",
    "SharedAccessKeyName": "shared_access_key_name",
    "SharedAccessKey": "shared_access_key",
    "SharedAccessSignature": "shared_access_signature",
    "EntityPath": "entity_path",
    "UseDevelopmentEmulator": "use_development_emulator",
}
_SECRETS: Final = frozenset(("shared_access_key", "shared_access_signature"))


@dataclass(frozen=True, slots=True, repr=False)
class ConnectionString:
    """A connection string, taken apart. Parts that it does not have are None (or False).

    Made by `parse`, or by keywords; either way a combination that no SDK takes raises
    ConnectionStringError. The key shows as `***` in a repr; `format` gives it whole.
    """

    host_name: str | None = None
    shared_access_key_name: str | None = None
    shared_access_key: str | None = None
    device_id: str | None = None
    module_id: str | None = None
    gateway_host_name: str | None = None
    x509: bool = False
    endpoint: str | None = None
    shared_access_signature: str | None = None
    entity_path: str | None = None
    use_development_emulator: bool = False
    kind: Kind = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name) if part.name != "kind" else None
            if isinstance(value, str):
                name = _name_of(part.name)
                if not value:
                    raise ConnectionStringError(f"{name} is empty; give it a value or leave it out.")
                if ";" in value:
                    raise ConnectionStringError(f"{name} holds a ';', which ends a part.")
        kind = Kind.EVENT_HUBS if self.endpoint is not None else self._hub_kind()
        object.__setattr__(self, "kind", kind)
        if kind is Kind.EVENT_HUBS:
            self._check_event_hubs()
        else:
            self._check_hub()

    @classmethod
    def parse(cls, text: str) -> ConnectionString:
        """Take a connection string apart.

        Raises ConnectionStringError, which names the part that is missing, empty, there twice, or unknown.
        """
        text = text.strip()
        if not text:
            raise ConnectionStringError("The connection string is empty; paste the whole of it.")
        pieces = text.split(";")
        event_hubs = any(piece.partition("=")[0].strip().lower() == "endpoint" for piece in pieces)
        known = _EVENT_HUBS_PARTS if event_hubs else _HUB_PARTS
        if pieces[-1] == "":
            if not event_hubs:
                raise ConnectionStringError(
                    "The connection string ends with ';', which the IoT Hub SDKs refuse; take it away."
                )
            del pieces[-1]
        values: dict[str, str | bool] = {}
        for number, piece in enumerate(pieces, 1):
            written, separator, value = piece.partition("=")
            if not separator:
                # Not echoed: it may be a part of a key.
                raise ConnectionStringError(f"Part {number} has no '='; each part is Name=value.")
            name = _exact_name(number, written, known, any_case=event_hubs)
            attribute = known[name]
            if attribute in values:
                raise ConnectionStringError(f"{name} is there twice; leave one out.")
            if not value:
                raise ConnectionStringError(f"{name} is empty; give it a value or leave it out.")
            if attribute in ("x509", "use_development_emulator"):
                values[attribute] = _flag(name, value)
            else:
                values[attribute] = value
        # A dict of str and bool cannot be told to mypy to fit each keyword; known[] gives the right names.
        return cls(**values)  # type: ignore[arg-type]

    @property
    def host(self) -> str:
        """The host of HostName or Endpoint, without port."""
        return self._split()[0]

    @property
    def port(self) -> int | None:
        """The port of HostName or Endpoint, or None where it gives none."""
        return self._split()[1]

    def format(self) -> str:
        """The connection string in one line, key included."""
        return ";".join(f"{name}={value}" for name, _, value in self._parts())

    def __str__(self) -> str:
        return self.__repr__()  # so that a log or a notebook does not show the key; see `format`

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if attribute in _SECRETS else value}" for name, attribute, value in self._parts()
        )
        return f"<ConnectionString {';'.join(shown)}>"

    def _parts(self) -> list[tuple[str, str, str]]:
        known = _EVENT_HUBS_PARTS if self.kind is Kind.EVENT_HUBS else _HUB_PARTS
        # The order of the portal: a device's id stands before its key.
        order = [name for name in known if not name.startswith("SharedAccess")]
        place = 1 if self.device_id is None else 2 + (self.module_id is not None)
        order = [name for name in order if getattr(self, known[name])]
        order[place:place] = [name for name in known if name.startswith("SharedAccess")]
        parts = []
        for name in order:
            value = getattr(self, known[name])
            if value:
                parts.append((name, known[name], "true" if value is True else str(value)))
        return parts

    def _split(self) -> tuple[str, int | None]:
        if self.endpoint is not None:
            return _host_and_port("Endpoint", urlsplit(self.endpoint).netloc)
        return _host_and_port("HostName", self.host_name or "")

    def _hub_kind(self) -> Kind:
        if self.module_id is not None:
            return Kind.MODULE
        return Kind.DEVICE if self.device_id is not None else Kind.SERVICE

    def _check_hub(self) -> None:
        what = f"A {self.kind.value} connection string"
        if self.host_name is None:
            raise ConnectionStringError(
                f"{what} needs HostName (or Endpoint=sb://... for the built-in Event Hubs endpoint)."
            )
        _host_and_port("HostName", self.host_name)
        if self.shared_access_signature is not None:
            raise ConnectionStringError(
                "SharedAccessSignature is not taken by the IoT Hub SDKs here; give SharedAccessKey."
            )
        for attribute in ("entity_path", "use_development_emulator"):
            if getattr(self, attribute):
                raise ConnectionStringError(f"{_name_of(attribute)} belongs to Event Hubs; leave it out.")
        if self.kind is Kind.SERVICE:
            if self.shared_access_key_name is None:
                raise ConnectionStringError(
                    "The connection string needs SharedAccessKeyName (a service's) or DeviceId (a device's)."
                )
            if self.x509 or self.gateway_host_name is not None:
                raise ConnectionStringError("x509 and GatewayHostName are for devices; DeviceId is missing.")
        elif self.device_id is None:
            raise ConnectionStringError("ModuleId without DeviceId; a module needs both.")
        if self.shared_access_key is None and not self.x509:
            also = " (or x509=true)" if self.kind is not Kind.SERVICE else ""
            raise ConnectionStringError(f"{what} needs SharedAccessKey{also}.")
        if self.shared_access_key is not None:
            if self.x509:
                raise ConnectionStringError("SharedAccessKey and x509 exclude each other; keep one.")
            try:
                decode_key(self.shared_access_key)
            except UsageError:
                raise ConnectionStringError(
                    "SharedAccessKey is not base64; copy it whole, with the '=' at its end."
                ) from None
        if (
            self.gateway_host_name is not None
            and _host_and_port("GatewayHostName", self.gateway_host_name)[1]
        ):
            raise ConnectionStringError("GatewayHostName takes no port: the SDK always uses 8883 and 443.")

    def _check_event_hubs(self) -> None:
        for attribute in ("host_name", "device_id", "module_id", "gateway_host_name", "x509"):
            if getattr(self, attribute):
                raise ConnectionStringError(
                    f"{_name_of(attribute)} belongs to an IoT Hub and Endpoint to Event Hubs; keep one kind."
                )
        parts = urlsplit(self.endpoint or "")
        if parts.scheme != "sb" or not parts.netloc:
            raise ConnectionStringError("Endpoint must read sb://host/ or sb://host:port/.")
        _host_and_port("Endpoint", parts.netloc)
        if self.shared_access_signature is not None:
            if self.shared_access_key is not None:
                raise ConnectionStringError(
                    "SharedAccessKey and SharedAccessSignature exclude each other; keep one."
                )
            return
        for attribute in ("shared_access_key_name", "shared_access_key"):
            if getattr(self, attribute) is None:
                raise ConnectionStringError(f"An Event Hubs connection string needs {_name_of(attribute)}.")


def _name_of(attribute: str) -> str:
    for name, known in (_HUB_PARTS | _EVENT_HUBS_PARTS).items():
        if known == attribute:
            return name
    raise AssertionError(attribute)


def _exact_name(number: int, written: str, known: dict[str, str], *, any_case: bool) -> str:
    if written in known:
        return written
    for name in known:
        if name.lower() == written.strip().lower():
            if any_case and written.lower() == name.lower():
                return name
            raise ConnectionStringError(
                f"{name} is spelled '{written}'; the IoT Hub SDKs take exactly '{name}', without blanks."
            )
    # Not echoed: somebody who pastes a bare key has its text here, as it ends with '='.
    raise ConnectionStringError(f"Part {number} of the connection string is none of {', '.join(known)}.")


def _flag(name: str, value: str) -> bool:
    # azure-iot-device takes any text after x509= for yes, even "false", and azure-eventhub takes "True" for
    # no; here it must be meant.
    if value not in ("true", "false"):
        raise ConnectionStringError(f"{name} is true or false, in small letters.")
    return value == "true"


def _host_and_port(name: str, value: str) -> tuple[str, int | None]:
    if not value or any(character in value for character in "/@?# \t"):
        raise ConnectionStringError(f"{name} is not host or host:port; leave out 'https://' and paths.")
    host, port = value, ""
    if value.startswith("["):  # an IPv6 address in brackets
        host, _, port = value.partition("]")
        host += "]"
        if port:
            if not port.startswith(":"):
                raise ConnectionStringError(f"{name} is not host or host:port.")
            port = port[1:] or "-"
    elif ":" in value:
        host, _, port = value.partition(":")
        port = port or "-"
    if not host:
        raise ConnectionStringError(f"{name} has no host.")
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ConnectionStringError(f"The port in {name} is not a number from 1 to 65535.")
    return host, int(port)
