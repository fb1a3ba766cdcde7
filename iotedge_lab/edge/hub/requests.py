"""What a client asks of the edge hub at `$iothub/...`: its twin, and how a direct method ended.

Stands for the twin and method parts of edgeHub's MQTT head ("Communicate with an IoT hub using the MQTT protocol",
learn.microsoft.com, IoT, iot-mqtt-connect-to-iot-hub: an edge hub speaks the same).
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.strict_json import loads
from iotedge_lab.errors import ArgumentInvalid, LabError, ServiceError, Throttled
from iotedge_lab.wire.topics import (
    MethodResponse,
    ReportedPatch,
    TwinGet,
    desired_patch_topic,
    parse_device_topic,
    twin_response_topic,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from iotedge_lab.edge.hub.hub import EdgeHub
    from iotedge_lab.edge.hub.member import Member

    Work = Coroutine[Any, Any, tuple[int, bytes, int | None]]

log = logging.getLogger(__name__)

AT_ONCE: Final = 100
"""Twin requests of one client that may wait for their answers; more are answered 429."""
_UNAVAILABLE: Final = 503


class Requests:
    """Those of one member."""

    def __init__(self, hub: EdgeHub, member: Member) -> None:
        self._hub = hub
        self._member = member
        self._waiting = 0

    def take(self, topic: bytes, body: bytes) -> None:
        """One request; raises `ProtocolViolation` for a topic that is none."""
        member, counters = self._member, self._hub.counters
        match parse_device_topic(topic):
            case TwinGet() as get:
                counters.twin_reads += 1
                self._begin(get.request_id, self._get)
            case ReportedPatch() as patch:
                counters.reports += 1
                self._begin(patch.request_id, lambda: self._report(body))
            case MethodResponse() as response:
                self._hub.methods.answered(
                    member.device, member.module, response.request_id, response.status, body
                )
            case _:  # telemetry does not come here
                pass

    def tell_desired(self, patch: dict[str, Any], acknowledged: Callable[[], None]) -> bool:
        """Tell of changed desired properties; whether the client listens."""
        return self._deliver(
            desired_patch_topic(int(patch.get("$version") or 0)), json.dumps(patch).encode(), acknowledged
        )

    def _begin(self, request_id: str, work: Callable[[], Work]) -> None:
        if self._waiting >= AT_ONCE:
            error = Throttled(f"{AT_ONCE} twin requests wait for their answers; wait for some of them.")
            self._deliver(twin_response_topic(error.status, request_id), _said(error.code, error.message))
            return
        self._waiting += 1
        self._hub.run(self._answer(request_id, work()))

    async def _get(self) -> tuple[int, bytes, int | None]:
        return 200, json.dumps(await self._member.twin.get()).encode(), None

    async def _report(self, body: bytes) -> tuple[int, bytes, int | None]:
        try:
            patch = loads(body)
        except (ValueError, RecursionError) as error:
            raise ArgumentInvalid(f"the patch is not JSON: {str(error)[:120]}.") from error
        if not isinstance(patch, dict):
            raise ArgumentInvalid("the patch is a JSON object.")
        return 204, b"", await self._member.twin.report(patch)

    async def _answer(self, request_id: str, work: Work) -> None:
        version = None
        try:
            status, body, version = await work
        except ServiceError as error:
            status, body = error.status, _said(error.code, error.message)
        except LabError as error:
            status, body = _UNAVAILABLE, _said(503003, str(error))
        except Exception:  # the client waits for its answer all the same
            log.exception("a twin request of %s failed", self._member.name)
            status, body = 500, _said(500001, "a fault of the edge hub; its log says more.")
        finally:
            self._waiting -= 1
        self._deliver(twin_response_topic(status, request_id, version), body)

    def _deliver(self, topic: str, body: bytes, acknowledged: Callable[[], None] | None = None) -> bool:
        connection = self._member.connection
        if connection is None:
            return False
        try:
            return connection.deliver(topic, body, acknowledged)
        except ServiceError as error:
            connection.drop(str(error))
            return False


def _said(code: int, message: str) -> bytes:
    return json.dumps({"errorCode": code, "message": message}).encode()
