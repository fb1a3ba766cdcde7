"""What the hub's answers of other than success mean: an error of ours for each.

Azure: "Understand Azure IoT Hub error codes" (troubleshoot-error-codes). The header `iothub-errorcode` decides where
it names one of them, else the status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab import errors
from iotedge_lab.edge.errors import UpstreamAway, UpstreamRefused

if TYPE_CHECKING:
    from iotedge_lab.errors import LabError, ServiceError

_NAMED: Final[dict[str, type[ServiceError]]] = {
    kind.name: kind
    for kind in (
        errors.ArgumentInvalid,
        errors.Unauthorized,
        errors.QuotaExceeded,
        errors.DeviceNotFound,
        errors.ModuleNotFound,
        errors.DeviceAlreadyExists,
        errors.ModuleAlreadyExists,
        errors.PreconditionFailed,
        errors.MessageTooLarge,
    )
}
_BY_STATUS: Final[dict[int, type[ServiceError]]] = {
    400: errors.ArgumentInvalid,
    401: errors.Unauthorized,
    404: errors.DeviceNotFound,
    412: errors.PreconditionFailed,
    413: errors.MessageTooLarge,
}
#: 408 and 504 came too late, 429 is throttled, 500, 502 and 503 are the hub's or a proxy's own trouble.
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})


def refusal(status: int, error: str, message: str, retry_after: float | None = None) -> LabError:
    """The error for an answer. `error` is the header `iothub-errorcode` ('' for none), `message` its words."""
    if status in _TRANSIENT:
        why = "is throttling this device" if status == 429 else "has a fault of its own"
        return UpstreamAway(f"The hub {why} ({status}): {message or error or 'no word'}.", retry_after)
    kind = _NAMED.get(error) or _BY_STATUS.get(status)
    if kind is None or kind.status != status:
        return UpstreamRefused(status, error, f"The hub refuses ({status} {error}): {message or 'no word'}.")
    return kind(message or f"the hub answered {status}.")
