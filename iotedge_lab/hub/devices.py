"""Whether a device or module may connect: its name, its token or certificate, its state.

Stands for device authentication in "Control access to IoT Hub" (learn.microsoft.com, IoT Hub,
authenticate-authorize-sas): the device's own key signs for `{host}/devices/{device}`, a module's for
`{host}/devices/{device}/modules/{module}`, and a policy with DeviceConnect for the hub as a whole or, as a
token service does, for one device. What a certificate must be like is in `certificates`.

A token that was good when a connection was opened keeps it until the token's end, even if the identity's keys
are made anew meanwhile, as on Azure: a new connection needs a new key. Disable the identity to end it at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.broker.tokens import check_own, resource
from iotedge_lab.errors import AccessDenied, Unauthorized
from iotedge_lab.hub.access import Access, Right
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.certificates import Certificates
    from iotedge_lab.hub.identities import Identities, Identity
    from iotedge_lab.wire.sas import SasToken


@dataclass(frozen=True, slots=True)
class Admission:
    """An identity that was let in. `expiry`: when its token ends (s since 1970), None for a certificate."""

    identity: Identity
    expiry: int | None
    auth_method: str


class DeviceAccess:
    """Checks the tokens and certificates of devices and modules.

    `no_certificates`: why this process cannot ask for certificates in TLS handshakes, '' if it can.
    """

    def __init__(
        self,
        identities: Identities,
        access: Access,
        clock: Clock,
        certificates: Certificates | None = None,
    ) -> None:
        self._identities = identities
        self._access = access
        self._clock = clock
        self._certificates = certificates
        self.no_certificates = ""

    def admit(
        self, host: str, device: str, module: str, token: str | None, certificates: Sequence[bytes] = ()
    ) -> Admission:
        """Let an identity in by its SAS token or certificate, or raise `Unauthorized` with the reason.

        401002 for a token that is none, or wrongly signed, or another's; 401003 for an identity that is not there
        or disabled, a token that has ended, a certificate that does not fit.

        `certificates`: what the client sent in the TLS handshake, as DER, its own first.

        The same word for an unknown device and a wrong key would be safer on the open internet; here, on
        one machine and in a log that only the hub's owner reads, the reason helps more.
        """
        if not self._access.speaks_of_us(host):
            raise Unauthorized(f"the user name says host {host!r}, which is not this hub.")
        identity = self._identities.find(device, module)
        if identity is None:
            raise AccessDenied(
                f"there is no identity {_name(device, module)!r} on this hub; register it first."
            )
        owner = identity if not module else self._identities.get(device)
        if not (identity.enabled and owner.enabled):
            raise AccessDenied(f"device {device!r} is disabled: {owner.status_reason or 'no reason given'}.")
        if not token:
            return self._by_certificate(identity, certificates)
        parsed = sas.parse(token)
        if parsed.key_name:
            return self._by_policy(parsed, token, identity)
        if identity.auth_type != "sas":
            raise Unauthorized(
                f"{_name(device, module)!r} authenticates by {identity.auth_type}, not by SAS."
            )
        keys = (identity.primary_key or "", identity.secondary_key or "")
        check_own(parsed, resource(host, device, module), keys, self._clock.now())
        return Admission(identity, parsed.expiry, _method("module" if module else "device"))

    def _by_certificate(self, identity: Identity, sent: Sequence[bytes]) -> Admission:
        name = _name(identity.device, identity.module)
        if identity.auth_type not in ("selfSigned", "certificateAuthority"):
            shown = "a certificate, and authenticates by SAS" if sent else "no SAS token"
            raise Unauthorized(f"{name!r} gave {shown}. Connect with a connection string of the device.")
        if self._certificates is None or self.no_certificates:
            raise Unauthorized(
                f"{name!r} authenticates by {identity.auth_type}, and this hub cannot ask for certificates: "
                f"{self.no_certificates or 'it knows none.'} Register the device with keys instead."
            )
        if not sent:
            raise AccessDenied(
                f"{name!r} authenticates by {identity.auth_type} and showed no certificate. Connect over TLS "
                "with create_from_x509_certificate."
            )
        self._certificates.check(identity, sent)
        return Admission(identity, None, _by_x509("module" if identity.module else "device"))

    def _by_policy(self, parsed: SasToken, token: str, identity: Identity) -> Admission:
        path = f"/devices/{identity.device}" + (f"/modules/{identity.module}" if identity.module else "")
        self._access.require(token, Right.DEVICE_CONNECT, path)
        return Admission(identity, parsed.expiry, _method("hub"))


def _name(device: str, module: str) -> str:
    return f"{device}/{module}" if module else device


# As the real hub writes it into iothub-connection-auth-method.


def _method(scope: str, kind: str = "sas", issuer: str = "iothub") -> str:
    return json.dumps(
        {"scope": scope, "type": kind, "issuer": issuer, "acceptingIpFilterRule": None},
        separators=(",", ":"),
    )


def _by_x509(scope: str) -> str:
    # For both kinds of certificate; seen in Azure's logs of connections ("Monitor Azure IoT Hub").
    return _method(scope, "x509Certificate", "external")
