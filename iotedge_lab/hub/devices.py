"""Whether a device or module may connect: its name, its token, its state.

Stands for device authentication in "Control access to IoT Hub" (learn.microsoft.com, IoT Hub,
authenticate-authorize-sas): the device's own key signs for `{host}/devices/{device}`, a module's for
`{host}/devices/{device}/modules/{module}`, and a policy with DeviceConnect for the hub as a whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.errors import Unauthorized
from iotedge_lab.hub.access import Access, Right
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identities, Identity
    from iotedge_lab.wire.sas import SasToken


@dataclass(frozen=True, slots=True)
class Admission:
    """An identity that was let in. `expiry`: when its token ends (s since 1970), None for never."""

    identity: Identity
    expiry: int | None
    auth_method: str


class DeviceAccess:
    """Checks the tokens of devices and modules."""

    def __init__(self, identities: Identities, access: Access, clock: Clock) -> None:
        self._identities = identities
        self._access = access
        self._clock = clock

    def admit(self, host: str, device: str, module: str, token: str | None) -> Admission:
        """Let an identity in by its SAS token, or raise `Unauthorized` with the reason.

        The same word for an unknown device and a wrong key would be safer on the open internet; here, on
        one machine and in a log that only the hub's owner reads, the reason helps more.
        """
        if not self._access.speaks_of_us(host):
            raise Unauthorized(f"the user name says host {host!r}, which is not this hub.")
        identity = self._identities.find(device, module)
        if identity is None:
            raise Unauthorized(
                f"there is no identity {_name(device, module)!r} on this hub; register it first."
            )
        owner = identity if not module else self._identities.get(device)
        if not (identity.enabled and owner.enabled):
            raise Unauthorized(f"device {device!r} is disabled: {owner.status_reason or 'no reason given'}.")
        if not token:
            raise Unauthorized(
                f"{_name(device, module)!r} gave no SAS token. Connect with a connection string of the device."
            )
        parsed = sas.parse(token)
        if parsed.key_name:
            return self._by_policy(parsed, token, identity)
        if identity.auth_type != "sas":
            raise Unauthorized(
                f"{_name(device, module)!r} authenticates by {identity.auth_type}, not by SAS."
            )
        target = f"{host}/devices/{device}" + (f"/modules/{module}" if module else "")
        if parsed.resource_decoded.count("/") < 2 or not sas.scope_covers(parsed.resource_decoded, target):
            raise Unauthorized(f"the token speaks for {parsed.resource_decoded!r}, not for {target!r}.")
        sas.verify_any(parsed, (identity.primary_key or "", identity.secondary_key or ""), self._clock.now())
        return Admission(identity, parsed.expiry, _method("module" if module else "device"))

    def _by_policy(self, parsed: SasToken, token: str, identity: Identity) -> Admission:
        policy = self._access.require(token, Right.DEVICE_CONNECT)
        if "/devices/" in parsed.resource_decoded:
            raise Unauthorized(f"a token of the policy {policy.name!r} is signed for the hub's host name.")
        return Admission(identity, parsed.expiry, _method("hub"))


def _name(device: str, module: str) -> str:
    return f"{device}/{module}" if module else device


def _method(scope: str) -> str:
    # As the real hub writes it into iothub-connection-auth-method.
    return json.dumps(
        {"scope": scope, "type": "sas", "issuer": "iothub", "acceptingIpFilterRule": None},
        separators=(",", ":"),
    )
