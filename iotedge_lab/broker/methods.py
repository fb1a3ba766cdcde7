"""Direct methods: a call from the service to a connected device, and its answer.

Stands for "Understand and invoke direct methods from IoT Hub" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-direct-methods), at the hub and between the modules of an edge: nothing is stored; a device that
is not there is 404103, one that does not answer in time is 504.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from iotedge_lab.broker import strict_json
from iotedge_lab.errors import ArgumentInvalid, DeviceNotOnline, GatewayTimeout
from iotedge_lab.wire.topics import method_call_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAYLOAD_LIMIT = 128 * 1024
RESPONSE_SECONDS = (5, 300, 30)  # least, most, default
CONNECT_SECONDS = (0, 300, 0)
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: JSON can name it, and no topic can carry it


class Callee(Protocol):
    """A live connection that may take a method call."""

    def deliver(self, topic: str, payload: bytes) -> bool:
        """Send, if the device is subscribed to the topic; whether it was."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A checked request. Times in seconds."""

    name: str
    payload: bytes
    response_seconds: int
    connect_seconds: int

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Call:
        """From the REST body; raises `ArgumentInvalid` (400004) naming the field."""
        name = body.get("methodName")
        if not isinstance(name, str) or not 0 < len(name) <= 100 or _SURROGATE.search(name):
            raise ArgumentInvalid("methodName is a text of 1 to 100 characters.")
        payload = _encoded(body.get("payload"))
        if len(payload) > PAYLOAD_LIMIT:
            raise ArgumentInvalid(f"the payload has {len(payload)} bytes, and {PAYLOAD_LIMIT} is the most.")
        return cls(
            name,
            payload,
            _seconds(body, "responseTimeoutInSeconds", RESPONSE_SECONDS),
            _seconds(body, "connectTimeoutInSeconds", CONNECT_SECONDS),
        )


class Methods:
    """The calls under way. Devices answer by request id; a foreign or second answer is ignored.

    `known(device, module)` raises `DeviceNotFound` or `ModuleNotFound` where there is no such identity.
    """

    def __init__(self, known: Callable[[str, str], object]) -> None:
        self._known = known
        self._callees: dict[tuple[str, str], Callee] = {}
        self._arrivals: dict[tuple[str, str], list[asyncio.Future[None]]] = {}
        self._calls: dict[str, tuple[tuple[str, str], asyncio.Future[tuple[int, Any]]]] = {}
        self._last = 0

    def ready(self, device: str, module: str, callee: Callee) -> None:
        """The device is connected and subscribed to method calls."""
        self._callees[(device, module)] = callee
        for waiting in self._arrivals.pop((device, module), []):
            if not waiting.done():
                waiting.set_result(None)

    def gone(self, device: str, module: str, callee: Callee) -> None:
        """Its connection has ended: what it was asked stays unanswered."""
        if self._callees.get((device, module)) is not callee:
            return
        del self._callees[(device, module)]
        for who, answer in tuple(self._calls.values()):
            if who == (device, module) and not answer.done():
                answer.set_exception(
                    DeviceNotOnline(_offline(device, module, "went away before it answered"))
                )

    async def invoke(self, device: str, module: str, call: Call) -> tuple[int, Any]:
        """The device's status and payload.

        Raises `DeviceNotFound`, `ModuleNotFound`, `DeviceNotOnline` (404103), `GatewayTimeout` (504101).
        """
        self._known(device, module)
        callee = await self._callee(device, module, call.connect_seconds)
        self._last += 1
        request_id = f"{self._last:x}"
        answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        self._calls[request_id] = ((device, module), answer)
        try:
            if not callee.deliver(method_call_topic(call.name, request_id), call.payload):
                raise DeviceNotOnline(_offline(device, module, "is not subscribed to direct methods"))
            async with asyncio.timeout(call.response_seconds):
                return await answer
        except TimeoutError:
            raise GatewayTimeout(
                f"{device}{'/' + module if module else ''} did not answer {call.name!r} within "
                f"{call.response_seconds} s."
            ) from None
        finally:
            del self._calls[request_id]

    def answered(self, device: str, module: str, request_id: str, status: int, body: bytes) -> None:
        """A device's answer. Ignored if nobody waits for it, or if another device was asked."""
        who, answer = self._calls.get(request_id, (None, None))
        if who != (device, module) or answer is None or answer.done():
            return
        if len(body) > PAYLOAD_LIMIT:
            answer.set_exception(
                ArgumentInvalid(f"the device answered {len(body)} bytes; {PAYLOAD_LIMIT} is the most.")
            )
            return
        try:
            payload = strict_json.loads(body) if body.strip() else None
        except (ValueError, RecursionError):
            answer.set_exception(ArgumentInvalid("the device answered with a payload that is not JSON."))
            return
        answer.set_result((status, payload))

    async def _callee(self, device: str, module: str, seconds: int) -> Callee:
        found = self._callees.get((device, module))
        if found is not None:
            return found
        if seconds:
            arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._arrivals.setdefault((device, module), [])
            waiting.append(arrival)
            try:
                async with asyncio.timeout(seconds):
                    await arrival
                return self._callees[(device, module)]
            except (TimeoutError, KeyError):
                pass
            finally:
                if arrival in waiting:
                    waiting.remove(arrival)
                if not waiting and self._arrivals.get((device, module)) is waiting:
                    del self._arrivals[(device, module)]
        raise DeviceNotOnline(
            _offline(device, module, "is not connected, or not subscribed to direct methods")
        )


def _encoded(payload: Any) -> bytes:
    """Compact JSON in UTF-8: the limit counts what is meant, not how its sender escaped it."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can name and UTF-8 cannot carry
        return json.dumps(payload, separators=(",", ":")).encode()


def _seconds(body: Mapping[str, Any], name: str, limits: tuple[int, int, int]) -> int:
    least, most, default = limits
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ArgumentInvalid(
            f"{name} is a whole number from {least} to {most}, not {json.dumps(value)[:40]}."
        )
    return value


def _offline(device: str, module: str, why: str) -> str:
    name = f"{device}/{module}" if module else device
    return f"Timed out waiting for device to connect: {name} {why}."
