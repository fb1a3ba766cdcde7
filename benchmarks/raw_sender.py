"""A load of its own process: one or many raw MQTT connections, each with so many messages in flight.

Job: host, port, ca, tag, size (bytes of payload), each (messages a connection), in_flight (a connection), hold
(true: stay connected after the last acknowledgement until told), clients (client_id, username, password, topic).
Says one line when all are connected if `hold`, and one with the result.

A payload is `{tag}.{connection}.{number}.` and filler, so that a reader can tell each message from all others.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
import time
from typing import Any

from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, PubAcks, Violation

try:
    from uvloop import run as run_loop
except ImportError:  # Windows
    run_loop = asyncio.run


class Flow(asyncio.Protocol):
    """One connection: as many messages in flight as allowed, until all are acknowledged."""

    def __init__(self, job: dict[str, Any], index: int) -> None:
        login = job["clients"][index]
        self._client = MqttClient(login["client_id"], login["username"], login["password"], keep_alive=0)
        self._topic = login["topic"].encode()
        self._most, self._each = job["in_flight"], job["each"]
        self._head = f"{job['tag']}.{index:03d}.".encode()
        self._tail = b"." + b"x" * (job["size"] - len(self._head) - 9)
        self.sent = self.acked = 0
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[float] = loop.create_future()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._client.connect())

    def data_received(self, data: bytes) -> None:
        for event in self._client.receive(data):
            if isinstance(event, PubAcks):
                self.acked += len(event.packet_ids)
                if self.acked == self._each:
                    self.done.set_result(time.perf_counter())
                elif self.sent < self._each:
                    self.top_up()
            elif isinstance(event, ConnAck):
                if event.code is ConnackCode.ACCEPTED:
                    self.connected.set_result(None)
                else:
                    self.connected.set_exception(ConnectionError(f"refused: {event.code}"))
            elif isinstance(event, Violation):
                raise ConnectionError(event.reason)

    def top_up(self) -> None:
        """Send what may be in flight besides what is."""
        room = min(self._most - (self.sent - self.acked), self._each - self.sent)
        head, tail = self._head, self._tail
        bodies = [b"%b%08d%b" % (head, number, tail) for number in range(self.sent, self.sent + room)]
        self.sent += room
        self._transport.write(self._client.publish_many(self._topic, bodies)[1])

    def connection_lost(self, error: Exception | None) -> None:
        for waiting in (self.connected, self.done):
            if not waiting.done():
                waiting.set_exception(error or ConnectionError("the server closed the connection"))

    def leave(self) -> None:
        """DISCONNECT."""
        self._transport.write(self._client.disconnect())
        self._transport.close()


async def _send(job: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=job["ca"])
    flows = []
    cipher = None
    for index in range(len(job["clients"])):
        transport, flow = await loop.create_connection(
            lambda index=index: Flow(job, index), job["host"], job["port"], ssl=context
        )
        cipher = transport.get_extra_info("cipher")
        await flow.connected
        flows.append(flow)
    gc.collect()
    gc.freeze()
    gc.disable()  # a pause of the load's would be counted against the server
    began, cpu = time.perf_counter(), time.process_time()
    if job["each"]:
        for flow in flows:
            flow.top_up()
        ends = await asyncio.gather(*(flow.done for flow in flows))
    else:
        ends = [began]
    told = {
        "seconds": max(ends) - began,
        "cpu": time.process_time() - cpu,
        "acked": sum(flow.acked for flow in flows),
        "cipher": cipher,
    }
    if job.get("hold"):
        _say(told)
        await loop.run_in_executor(None, sys.stdin.readline)
    for flow in flows:
        flow.leave()
    await asyncio.sleep(0.05)
    return told


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    told = run_loop(_send(job))
    if not job.get("hold"):
        _say(told)


if __name__ == "__main__":
    main()
