"""Cloud-to-device messages, by the vendor's SDK: REST has no such call.

The SDK only says that a message was not sent. Why not is looked up: there are two reasons that a person can do
something about, a full queue and a message that is too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.rest import RestError, quote

if TYPE_CHECKING:
    from iotedge_lab.lab import Lab

DEPTH: Final = 50  # messages that may wait for a device, as on Azure
LARGEST: Final = 64 * 1024  # bytes of a message


def send(lab: Lab, device: str, text: str, properties: dict[str, str]) -> None:
    """Send; among `properties` the SDK takes messageId, correlationId, contentType and contentEncoding for its own.

    Raises `RestError` (403, 413, 502) if the hub does not take it, `EnvironmentProblem` without the SDK.
    """
    size = len(text.encode()) + sum(
        len(name.encode()) + len(value.encode()) for name, value in properties.items()
    )
    if size > LARGEST:
        raise RestError(
            413, "MessageTooLarge", f"the message has {size:,} bytes, and at most {LARGEST:,} are taken."
        )
    try:
        from azure.iot.hub import IoTHubRegistryManager
    except ImportError as error:
        raise EnvironmentProblem(
            f"Sending needs the service SDK, which cannot be imported here ({error}): pip install azure-iot-hub."
        ) from error
    try:
        manager = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
        try:
            manager.send_c2d_message(device, text, properties=dict(properties))
        finally:
            manager.amqp_svc_client.disconnect_sync()
    except Exception as error:
        raise _refusal(lab, device, error) from error


def _refusal(lab: Lab, device: str, error: Exception) -> RestError:
    """Why the SDK failed; it raises `Exception` for a refusal, and uamqp's errors for the connection."""
    waiting = int(lab.rest().call("GET", f"/twins/{quote(device)}").get("cloudToDeviceMessageCount") or 0)
    if waiting >= DEPTH:
        return RestError(
            403,
            "DeviceMaximumQueueDepthExceeded",
            f"{waiting} messages wait for {device}, and no more are taken. Have the device receive them, or purge "
            "the queue.",
        )
    return RestError(502, "MessageNotSent", f"the SDK could not send it ({error or type(error).__name__}).")
