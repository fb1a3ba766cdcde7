"""A load of its own process: from one module through the edge hub to another, at a steady rate, over raw MQTT.

Job: host, port, ca, size, rate (messages/s), count, sender and receiver (client_id, username, password), topic (the
sender's), filter (the receiver's). Says the latencies in milliseconds, from writing a message to reading it.
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
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.packets import ConnAck, Publish, PublishRun, SubAck
from iotedge_lab.wire.mqtt.runs import iter_publishes


class End(asyncio.Protocol):
    """One connection; `took` gets the payloads of what comes."""

    def __init__(self, login: dict[str, str], took: Any) -> None:
        self.client = MqttClient(login["client_id"], login["username"], login["password"], keep_alive=0)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._took = took
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.write(self.client.connect())

    def write(self, data: bytes) -> None:
        """To the edge hub."""
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        for event in self.client.receive(data):
            if isinstance(event, ConnAck | SubAck):
                if not self.ready.done():
                    self.ready.set_result(None)
            elif isinstance(event, PublishRun):
                for _, body, _ in iter_publishes(event.raw):
                    self._took(body, now)
                self.write(event.acks)
            elif isinstance(event, Publish):
                self._took(event.payload, now)
                if event.qos:
                    self.write(encode_puback(event.packet_id))


async def _run(job: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=job["ca"])
    sent: dict[bytes, float] = {}
    latencies: list[float] = []
    all_there = asyncio.Event()

    def took(body: bytes, now: float) -> None:
        began = sent.pop(body[:8], None)
        if began is not None:
            latencies.append((now - began) * 1e3)
            if len(latencies) == job["count"]:
                all_there.set()

    async def connect(login: dict[str, str]) -> End:
        _, end = await loop.create_connection(lambda: End(login, took), job["host"], job["port"], ssl=context)
        await end.ready
        return end

    receiver = await connect(job["receiver"])
    receiver.ready = loop.create_future()
    receiver.write(receiver.client.subscribe([(job["filter"], 1)])[1])
    await receiver.ready
    sender = await connect(job["sender"])
    gc.collect()
    gc.freeze()
    gc.disable()
    filler = b"x" * (job["size"] - 8)
    began = loop.time()
    for number in range(job["count"]):
        await asyncio.sleep(max(0.0, began + number / job["rate"] - loop.time()))
        mark = b"%08d" % number
        sent[mark] = time.perf_counter()
        sender.write(sender.client.publish(job["topic"], mark + filler)[1])
    async with asyncio.timeout(60):
        await all_there.wait()
    latencies.sort()
    return {"latencies": latencies}


def main() -> None:
    print(json.dumps(asyncio.run(_run(json.loads(sys.stdin.readline())))), flush=True)


if __name__ == "__main__":
    main()
