"""Where the IoT Hub is, what of it is trusted, and who connects to it.

Azure: "IoT Hub connection strings"; "Control access to IoT Hub by using shared access signatures": a device signs
for `{host}/devices/{device}`, a module for `.../modules/{module}`.

What decides, in this order:

    port of REST     `https_port`, the port in HostName, 443 (the local hub's is 8443 where 443 needs root)
    port of MQTT     `mqtt_port`, 8883; never the port in HostName, which is for REST
    trust            `ca_file`, the file that SSL_CERT_FILE names, certifi's roots with the system's
    proxy of REST    HTTPS_PROXY, unless NO_PROXY names the hub; a hub on loopback is reached directly, always
    proxy of MQTT    mqtt_proxy, by the same rule (as paho and so the device SDK read it)

Proxies are spoken to by CONNECT, in clear text: `http://[user:password@]host:port`.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from iotedge_lab.edge.upstream.proxies import Proxy, proxy_for
from iotedge_lab.errors import ConnectionStringError, EnvironmentProblem, UsageError
from iotedge_lab.serve.addresses import is_loopback
from iotedge_lab.wire import sas, topics
from iotedge_lab.wire.connection_string import ConnectionString, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HTTPS_PORT: Final = 443
MQTT_PORT: Final = 8883
_CLIENT_TYPE: Final = "iotedge-lab-edge"


@dataclass(frozen=True, slots=True)
class CloudIdentity:
    """Who connects: a device, or a module of it, with its key (base64, never in a repr)."""

    device: str
    module: str = ""
    key: str = field(default="", repr=False)

    @classmethod
    def from_connection_string(cls, text: str) -> Self:
        """The edge device of a device connection string. Raises ConnectionStringError."""
        parsed = _parse(text)
        assert parsed.device_id is not None
        assert parsed.shared_access_key is not None
        return cls(parsed.device_id, "", parsed.shared_access_key)

    @property
    def name(self) -> str:
        """`device` or `device/module`: the MQTT client id, and its name in the log."""
        return f"{self.device}/{self.module}" if self.module else self.device

    def token(self, hostname: str, expiry: int) -> str:
        """A SAS token for itself, until `expiry` (s since 1970). Raises UsageError for a key that is not base64."""
        module = f"/modules/{self.module}" if self.module else ""
        return sas.build(f"{hostname}/devices/{self.device}{module}", self.key, expiry)

    def username(self, hostname: str) -> str:
        """The user name of its CONNECT."""
        return topics.username(hostname, self.device, self.module or None, client_type=_CLIENT_TYPE)


@dataclass(frozen=True, slots=True)
class Cloud:
    """An IoT Hub as an edge device sees it. `hostname` is without port, as it stands in tokens and user names."""

    hostname: str
    context: ssl.SSLContext = field(repr=False, compare=False)
    https_port: int = HTTPS_PORT
    mqtt_port: int = MQTT_PORT
    https_proxy: Proxy | None = None
    mqtt_proxy: Proxy | None = None

    @classmethod
    def from_connection_string(
        cls,
        text: str,
        ca_file: Path | str | None = None,
        *,
        https_port: int | None = None,
        mqtt_port: int = MQTT_PORT,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """The hub of an edge device's connection string.

        Raises ConnectionStringError (it names what is wrong with the string), UsageError for a `ca_file` that
        cannot be used, EnvironmentProblem for a variable that cannot.
        """
        parsed = _parse(text)
        host = parsed.host
        direct = is_loopback(host)
        return cls(
            host,
            trust(ca_file, environment),
            https_port or parsed.port or HTTPS_PORT,
            mqtt_port,
            None if direct else proxy_for(bare(host), "https", environment),
            None if direct else proxy_for(bare(host), "mqtt", environment),
        )

    @property
    def host(self) -> str:
        """What to connect to: the name or address without brackets."""
        return bare(self.hostname)

    def url(self, path: str) -> str:
        """The address of a REST call; `path` is percent-encoded already."""
        port = "" if self.https_port == HTTPS_PORT else f":{self.https_port}"
        return f"https://{self.hostname}{port}{path}"


def trust(ca_file: Path | str | None, environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """A TLS context that verifies the hub; see the module's docstring for whom it trusts."""
    if ca_file is not None:
        return _trusting(
            str(ca_file), UsageError, "Name the file of the authority that signed the hub's certificate."
        )
    named = environment.get("SSL_CERT_FILE")
    if named:
        return _trusting(named, EnvironmentProblem, "Correct SSL_CERT_FILE, or unset it.")
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def segment(part: str) -> str:
    """A device or module id as one segment of a path."""
    return quote(part, safe="")


def bare(host: str) -> str:
    """A host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _trusting(file: str, kind: type[UsageError | EnvironmentProblem], advice: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:  # an OSError too, so it comes first
        raise kind(
            f"{file} holds no certificate in PEM form, so the hub cannot be verified. {advice}"
        ) from None
    except OSError as error:
        raise kind(
            f"{file} cannot be read ({error.strerror}), so the hub cannot be verified. {advice}"
        ) from None


def _parse(text: str) -> ConnectionString:
    """The connection string of an edge device, or ConnectionStringError with what to take instead."""
    parsed = ConnectionString.parse(text)
    if parsed.kind is not Kind.DEVICE:
        held = {
            Kind.SERVICE: "of a back end (it has SharedAccessKeyName)",
            Kind.MODULE: "of a module (it has ModuleId)",
            Kind.EVENT_HUBS: "of an Event Hubs endpoint",
        }[parsed.kind]
        raise ConnectionStringError(
            f"This is the connection string {held}, and an edge runtime needs that of its device: "
            "HostName=...;DeviceId=...;SharedAccessKey=... ('iotedge-lab device connection-string' prints it; on Azure "
            "the portal's page of the IoT Edge device has it)."
        )
    if parsed.gateway_host_name is not None:
        raise ConnectionStringError(
            "GatewayHostName would have this edge device connect through another one, and nested edge devices are "
            "not served by this runtime. Leave GatewayHostName out: it then connects to the hub itself."
        )
    if parsed.shared_access_key is None:
        raise ConnectionStringError(
            "x509=true would have this edge device authenticate by certificate, which this runtime does not do. "
            "Register it with keys, and take the connection string with SharedAccessKey."
        )
    return parsed
