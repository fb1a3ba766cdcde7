"""The devices of the measurements in `service`, in a process of their own.

Job: kind, host, port, ca, and
- `methods-sdk`: connection_string. The vendor's device SDK, which answers each method.
- `methods-raw`: client_id, username, password. A raw client that does.
- `fleet`: size (bytes), seconds, clients (client_id, username, password, topic). Each sends once a second.

Says one line when all are connected, waits to be told, and says one with the result.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, PubAcks, PublishRun, SubAck, Violation
from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import method_response_topic

try:
    from uvloop import run as run_loop
except ImportError:  # Windows
    run_loop = asyncio.run

_METHODS = "$iothub/methods/POST/#"
_AT_ONCE = 50  # handshakes


def _say(**told: Any) -> None:
    print(json.dumps(told), flush=True)


async def _told() -> None:
    """Until the parent says to go on."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


class Device(asyncio.Protocol):
    """One raw connection: sends when asked, answers methods, notes how long each acknowledgement took."""

    def __init__(self, login: dict[str, str], *, methods: bool) -> None:
        self._client = MqttClient(login["client_id"], login["username"], login["password"], keep_alive=0)
        self._topic = login.get("topic", "").encode()
        self._methods = methods
        self._since: dict[int, float] = {}
        self.times: list[float] = []
        self.sent = 0
        self.idle = asyncio.Event()  # nothing is unacknowledged
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._client.connect())

    def data_received(self, data: bytes) -> None:
        for event in self._client.receive(data):
            if isinstance(event, PubAcks):
                now = time.perf_counter()
                self.times += [
                    now - self._since.pop(number) for number in event.packet_ids if number in self._since
                ]
                if not self._since:
                    self.idle.set()
            elif isinstance(event, PublishRun):
                self._answer(event)
            elif isinstance(event, ConnAck):
                self._connected(event)
            elif isinstance(event, SubAck):
                self.ready.set_result(None)
            elif isinstance(event, Violation):
                self._fail(event.reason)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"connection lost: {error}")

    def send(self, body: bytes) -> None:
        """One message."""
        number, data = self._client.publish(self._topic, body)
        self._since[number] = time.perf_counter()
        self.idle.clear()
        self.sent += 1
        self._transport.write(data)

    def close(self) -> None:
        """End the connection."""
        self._transport.write(self._client.disconnect())
        self._transport.close()

    def _connected(self, event: ConnAck) -> None:
        if event.code is not ConnackCode.ACCEPTED:
            self._fail(f"refused: {event.code}")
        elif self._methods:
            self._transport.write(self._client.subscribe([_METHODS])[1])
        else:
            self.ready.set_result(None)

    def _answer(self, run: PublishRun) -> None:
        out = [run.acks]
        for topic, body, _ in iter_publishes(run.raw):
            rid = topic.decode().partition("$rid=")[2]
            out.append(self._client.publish(method_response_topic(200, rid), body)[1])
        self._transport.write(b"".join(out))

    def _fail(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(reason))


async def _connect(
    job: dict[str, Any], login: dict[str, str], context: ssl.SSLContext, *, methods: bool
) -> Device:
    loop = asyncio.get_running_loop()
    _, device = await loop.create_connection(
        lambda: Device(login, methods=methods), job["host"], job["port"], ssl=context
    )
    await device.ready
    return device


async def _fleet(job: dict[str, Any]) -> None:
    context = ssl.create_default_context(cafile=job["ca"])
    gate = asyncio.Semaphore(_AT_ONCE)

    async def open_one(login: dict[str, str]) -> Device:
        async with gate:
            return await _connect(job, login, context, methods=False)

    began = time.perf_counter()
    devices = await asyncio.gather(*(open_one(login) for login in job["clients"]))
    _say(seconds=time.perf_counter() - began)
    await _told()
    gc.freeze()
    loop = asyncio.get_running_loop()
    start, body = loop.time(), b"x" * job["size"]
    for second in range(job["seconds"]):
        for index, device in enumerate(devices):
            due = start + second + index / len(devices)  # spread over the second, as in life
            if due - loop.time() > 0.002:
                await asyncio.sleep(due - loop.time())
            device.send(body)
    async with asyncio.timeout(30):
        await asyncio.gather(*(device.idle.wait() for device in devices))
    times = [taken * 1000 for device in devices for taken in device.times]
    _say(
        sent=sum(device.sent for device in devices),
        acked=len(times),
        p50=median(times),
        p99=quantiles(times, n=100)[98],
    )
    for device in devices:
        device.close()


async def _methods_raw(job: dict[str, Any]) -> None:
    device = await _connect(job, job, ssl.create_default_context(cafile=job["ca"]), methods=True)
    _say(ready=True)
    await _told()
    device.close()
    _say(done=True)


def _methods_sdk(job: dict[str, Any]) -> None:
    from azure.iot.device import IoTHubDeviceClient, MethodResponse

    client = IoTHubDeviceClient.create_from_connection_string(
        job["connection_string"], server_verification_cert=Path(job["ca"]).read_text(encoding="utf-8")
    )
    answered = threading.Lock()

    def answer(request: Any) -> None:
        with answered:
            client.send_method_response(
                MethodResponse.create_from_method_request(request, 200, request.payload)
            )

    client.on_method_request_received = answer
    client.connect()
    _say(ready=True)
    sys.stdin.readline()
    client.shutdown()
    _say(done=True)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    if job["kind"] == "methods-sdk":
        _methods_sdk(job)
    else:
        run_loop({"methods-raw": _methods_raw, "fleet": _fleet}[job["kind"]](job))


if __name__ == "__main__":
    main()
