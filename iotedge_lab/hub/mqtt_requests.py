"""What a device asks over MQTT besides telemetry: its twin, its reported properties, the answer to a method.

Stands for "Retrieve device twin properties", "Update device twin's reported properties" and "Respond to a
direct method" in "Communicate with an IoT hub using the MQTT protocol" (learn.microsoft.com, IoT,
iot-mqtt-connect-to-iot-hub).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from iotedge_lab.broker import strict_json
from iotedge_lab.errors import ArgumentInvalid, ServiceError
from iotedge_lab.wire.topics import (
    MethodResponse,
    ReportedPatch,
    TwinGet,
    parse_device_topic,
    twin_response_topic,
)

if TYPE_CHECKING:
    from iotedge_lab.hub.mqtt_front import MqttFront

METHODS = "$iothub/methods/POST/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"


def handle(front: MqttFront, device: str, module: str, topic: bytes, body: bytes) -> None:
    """Serve one request; raises `ProtocolViolation` for a topic that is none (the connection is closed then)."""
    request = parse_device_topic(topic)
    hub = front.hub
    hub.identities.heard(device, module)
    match request:
        case TwinGet():
            _answer(front, request.request_id, lambda: (200, hub.twins.for_device(device, module), None))
        case ReportedPatch():
            _answer(
                front,
                request.request_id,
                lambda: (204, None, hub.twins.report(device, module, _object(body), request.version)),
            )
        case MethodResponse():
            hub.methods.answered(device, module, request.request_id, request.status, body)
        case _:  # telemetry does not come here
            pass


def _answer(front: MqttFront, request_id: str, work: Any) -> None:
    version = None
    try:
        status, shown, version = work()
        body = b"" if shown is None else json.dumps(shown).encode()
    except ServiceError as error:
        status = error.status
        body = json.dumps({"errorCode": error.code, "message": error.message}).encode()
    front.deliver(twin_response_topic(status, request_id, version), body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = strict_json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ArgumentInvalid(f"the patch is not JSON: {str(error)[:120]}.") from error
    if not isinstance(found, dict):
        raise ArgumentInvalid("the patch is a JSON object.")
    return found
