"""Whether a SAS token lets one identity in: the check that hub and edge hub share.

Stands for device authentication in "Control access to IoT Hub" (learn.microsoft.com, IoT Hub,
authenticate-authorize-sas): the identity's own key signs for `{host}/devices/{device}`, a module's for
`{host}/devices/{device}/modules/{module}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.errors import Unauthorized
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iotedge_lab.wire.sas import SasToken


def resource(host: str, device: str, module: str = "") -> str:
    """What an identity's token speaks for."""
    return f"{host}/devices/{device}" + (f"/modules/{module}" if module else "")


def check_own(token: SasToken, target: str, keys: Iterable[str], now: float) -> None:
    """Let the identity of `target` (a `resource`) in by its own keys, or raise `Unauthorized` with the reason.

    `now`: s since 1970.
    """
    spoken = token.resource_decoded
    if spoken.count("/") < 2 or not sas.scope_covers(spoken, target):
        raise Unauthorized(f"the token speaks for {spoken!r}, not for {target!r}.")
    sas.verify_any(token, keys, now)
